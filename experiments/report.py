"""Remakes the report of a run or a study, for instance after its figures were changed in `jaxdl.plots`.

    python -m experiments.report runs/train_cnn/2025-01-31_12-00-00
    python -m experiments.report runs/compare_optimizers/2025-01-31_12-00-00
    python -m experiments.report runs/transfer/2025-01-31_12-00-00

writes ``figures/*.png``, ``report.md`` and ``report.html`` into the folder again and prints the page's path,
in a few seconds. It trains nothing: of a run it reads config.json, manifest.json, summary.json, metrics.csv and
predictions.npz, of a study, finished or not, results.csv and curves.csv, of transfer config.json, manifest.json and
results.csv.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro


def main(args: Sequence[str] | None = None) -> None:
    """The command line: one positional argument, the run folder."""
    folder = tyro.cli(_folder, args=args, prog="python -m experiments.report")
    try:
        print(writer(folder)(folder))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def writer(folder: Path) -> Callable[[Path], Path]:
    """What makes the report of a folder, by the files in it."""
    from jaxdl.runs import report, study_report, transfer_report  # with matplotlib, which --help need not wait for

    results = folder / "results.csv"
    if not results.exists():
        return report.write
    with results.open() as file:
        of_transfer = file.readline().rstrip("\n").split(",") == [*transfer_report.COLUMNS]
    return transfer_report.write_transfer_report if of_transfer else study_report.write_study_report


def _folder(folder: Annotated[Path, tyro.conf.Positional]) -> Path:
    """Remake the report of a finished run, of a study or of transfer learning.

    Args:
        folder: the run folder, as experiments.train_cnn, compare_optimizers or transfer leaves it.
    """
    return folder


if __name__ == "__main__":
    main()
