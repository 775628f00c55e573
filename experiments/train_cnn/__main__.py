"""The command line; see `experiments.train_cnn.command`."""

import experiments

experiments.restart_with_huge_pages()  # before what is slow to import
experiments.announce("train_cnn")

from experiments.train_cnn.command import main  # noqa: E402
from jaxdl.runs import commandline  # noqa: E402

commandline.run_main(main)
