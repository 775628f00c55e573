"""The command line; see `experiments.transfer.command`."""

from experiments.transfer.command import main
from jaxdl.runs import commandline

commandline.run_main(main)
