"""The command line; see `experiments.listings`."""

from experiments.listings import main
from jaxdl.runs import commandline

commandline.run_main(main)
