"""The command line; see `experiments.train_cnn.command`."""

from experiments.train_cnn.command import main
from jaxdl.runs import commandline

commandline.run_main(main)
