"""Make the report of a run or a study again, for instance after a change of its figures.

    python -m experiments.report runs/train_cnn/2025-01-31_12-00-00
    python -m experiments.report runs/compare_optimizers/2025-01-31_12-00-00
    python -m experiments.report runs/transfer/2025-01-31_12-00-00

This writes ``figures/*.png``, ``report.md`` and ``report.html`` into the folder and prints the page's path, in a few
seconds. --svg and --pdf save the figures in these formats, too. Nothing is trained: the report is made from the JSON,
CSV and npz files of the folder. A study may be unfinished.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from experiments import catalogue
from experiments.transfer.records import TransferResult
from jaxdl import disk
from jaxdl.runs import folder as folders
from jaxdl.runs import progress, records
from jaxdl.texts import printable, shortened


def main(args: Sequence[str] | None = None) -> None:
    """Parse the command line, one run folder, and write its report."""
    progress.show_any_text()
    folder, formats = tyro.cli(_options, args=args, prog="python -m experiments.report")
    try:
        write = writer(folder)
        from jaxdl.runs import pages  # see writer

        with pages.also(formats):
            print(write(folder))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {printable(str(error))}")


def writer(folder: Path) -> Callable[[Path], Path]:
    """Return the ``write`` of the experiment that a folder belongs to: its file's, or its folder's ``report.py``."""
    name = experiment(folder)  # imported here, because a report imports matplotlib, which would delay --help
    return catalogue.load(name, ".report" if (catalogue.HERE / name / "report.py").exists() else "").write


def experiment(folder: Path) -> str:
    """Return the name of the experiment that a folder belongs to.

    Raises:
        ValueError: if config.json names an experiment without a report.
    """
    known = catalogue.with_a_report()
    config = folder / folders.CONFIG
    stored = records.read_json(config) if config.exists() else {}
    name = stored.get("experiment")
    if name is None:
        return _by_its_files(folder)
    if name not in known:
        raise ValueError(f"{config}: experiment is {shortened(name)}; there are reports of {', '.join(known)}")
    return name


def _by_its_files(folder: Path) -> str:
    """Return the experiment of an older folder, whose config.json does not name it."""
    results = folder / "results.csv"
    if not results.exists():
        return "train_cnn"
    header = disk.read_regular(results).partition(b"\n")[0].rstrip(b"\r")
    of_transfer = header == ",".join(TransferResult._fields).encode()
    return "transfer" if of_transfer else "compare_optimizers"


def _options(
    folder: Annotated[Path, tyro.conf.Positional], svg: tyro.conf.FlagCreatePairsOff[bool] = False,
    pdf: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> tuple[Path, list[str]]:  # fmt: skip
    """Make the report of a run, a study or a transfer run again.

    Args:
        folder: the run folder of an experiment.
        svg: also save each figure as SVG.
        pdf: also save each figure as PDF.
    """
    return folder, [kind for kind, wanted in (("svg", svg), ("pdf", pdf)) if wanted]


if __name__ == "__main__":
    main()
