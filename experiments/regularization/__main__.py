"""The command line; see `experiments.regularization`."""

from experiments.regularization import main
from jaxdl.runs import commandline

commandline.run_main(main)
