"""Remakes the report of a run or a study, for instance after its figures were changed in `jaxdl.plots`.

    python -m experiments.report runs/train_cnn/2025-01-31_12-00-00
    python -m experiments.report runs/compare_optimizers/2025-01-31_12-00-00

writes ``figures/*.png``, ``report.md`` and ``report.html`` into the folder again and prints the page's path,
in a few seconds. It trains nothing: of a run it reads config.json, manifest.json, summary.json, metrics.csv and
predictions.npz, of a study, finished or not, results.csv and curves.csv.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro


def main(args: Sequence[str] | None = None) -> None:
    """The command line: one positional argument, the run folder."""
    folder = tyro.cli(_folder, args=args, prog="python -m experiments.report")
    from jaxdl.runs import report, study_report  # matplotlib takes over a second to import; --help need not wait

    write = study_report.write_study_report if (folder / "results.csv").exists() else report.write
    try:
        print(write(folder))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _folder(folder: Annotated[Path, tyro.conf.Positional]) -> Path:
    """Remake the report of a finished run or of a study.

    Args:
        folder: the run folder, as experiments.train_cnn or experiments.compare_optimizers leaves it.
    """
    return folder


if __name__ == "__main__":
    main()
