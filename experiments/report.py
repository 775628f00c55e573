"""Remakes the report of a run or a study, for instance after its figures were changed in `jaxdl.plots`.

    python -m experiments.report runs/train_cnn/2025-01-31_12-00-00
    python -m experiments.report runs/compare_optimizers/2025-01-31_12-00-00
    python -m experiments.report runs/transfer/2025-01-31_12-00-00

writes ``figures/*.png``, ``report.md`` and ``report.html`` into the folder again and prints the page's path,
in a few seconds. It trains nothing: of a run it reads config.json, manifest.json, summary.json, metrics.csv and
predictions.npz, of a study, finished or not, results.csv and curves.csv, of transfer config.json, manifest.json and
results.csv.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from experiments.transfer.records import TransferResult
from jaxdl.runs import folder as folders
from jaxdl.runs import records

HERE = Path(__file__).parent


def main(args: Sequence[str] | None = None) -> None:
    """The command line: one positional argument, the run folder."""
    folder = tyro.cli(_folder, args=args, prog="python -m experiments.report")
    try:
        print(writer(folder)(folder))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def writer(folder: Path) -> Callable[[Path], Path]:
    """What makes the report of a folder: the ``report.write`` of the experiment that its config.json names."""
    name = experiment(folder)
    # a report imports matplotlib, which --help need not wait for
    return importlib.import_module(
        f"experiments.{name}.report" if (HERE / name).is_dir() else f"experiments.{name}"
    ).write


def experiment(folder: Path) -> str:
    """The name of the experiment that left a folder.

    Raises:
        ValueError: config.json names none of the experiments that have a report.
    """
    known = sorted({path.parent.name for path in HERE.glob("*/report.py")} | {*_files_with_a_report()})
    config = folder / folders.CONFIG
    stored = records.read_json(config) if config.exists() else {}
    name = stored.get("experiment")
    if name is None:
        return _by_its_files(folder)
    if name not in known:
        raise ValueError(f"{config}: experiment is {name!r}; there are reports of {', '.join(known)}")
    return name


def _files_with_a_report() -> list[str]:
    """Experiments of one file: those that define ``write``."""
    return [path.stem for path in HERE.glob("*.py") if "\ndef write(folder: Path)" in path.read_text(encoding="utf-8")]


def _by_its_files(folder: Path) -> str:
    """The experiment of a folder from before config.json named it."""
    results = folder / "results.csv"
    if not results.exists():
        return "train_cnn"
    with results.open() as file:
        of_transfer = file.readline().rstrip("\n").split(",") == [*TransferResult._fields]
    return "transfer" if of_transfer else "compare_optimizers"


def _folder(folder: Annotated[Path, tyro.conf.Positional]) -> Path:
    """Remake the report of a finished run, of a study or of transfer learning.

    Args:
        folder: the run folder, as experiments.train_cnn, compare_optimizers or transfer leaves it.
    """
    return folder


if __name__ == "__main__":
    main()
