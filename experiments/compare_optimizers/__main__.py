"""The command line; see `experiments.compare_optimizers.command`."""

import experiments

experiments.restart_with_huge_pages()  # before what is slow to import
experiments.announce("compare_optimizers")

from experiments.compare_optimizers.command import main  # noqa: E402
from jaxdl.runs import commandline  # noqa: E402

commandline.run_main(main)
