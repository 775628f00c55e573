"""The command line; see `experiments.depth`."""

from experiments.depth import main
from jaxdl.runs import commandline

commandline.run_main(main)
