"""The command line; see `experiments.filters`."""

from experiments.filters import main
from jaxdl.runs import commandline

commandline.run_main(main)
