"""The command line; see `experiments.architecture_search`."""

from experiments.architecture_search import main
from jaxdl.runs import commandline

commandline.run_main(main)
