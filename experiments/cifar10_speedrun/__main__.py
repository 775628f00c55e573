"""The command line; see `experiments.cifar10_speedrun.command`."""

import experiments

experiments.restart_with_huge_pages()  # before what is slow to import
experiments.announce("cifar10_speedrun")

from experiments.cifar10_speedrun.command import main  # noqa: E402
from jaxdl.runs import commandline  # noqa: E402

commandline.run_main(main)
