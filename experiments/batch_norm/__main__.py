"""The command line; see `experiments.batch_norm`."""

from experiments.batch_norm import main
from jaxdl.runs import commandline

commandline.run_main(main)
