"""The command line; see `experiments.compare_optimizers.command`."""

from experiments.compare_optimizers.command import main
from jaxdl.runs import commandline

commandline.run_main(main)
