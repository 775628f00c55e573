"""The report of `experiments.transfer`: the lecture's four cells, curves and all means. [Lecture row G11]"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.transfer.records import RECOMMENDED, RESULTS, TASKS, Options, TransferResult, mean
from jaxdl import plots
from jaxdl.runs import folder as folders
from jaxdl.runs import pages, records
from jaxdl.texts import quoted

Mean = Callable[[str, str, int], float]  # (task, way, examples per class) → accuracy, NaN where there is none


def write(folder: Path) -> Path:
    """Write report.md and report.html from config.json, manifest.json and results.csv, and return the latter's path.

    Raises:
        ValueError: if a file is missing or damaged; the message names it.
    """
    config = records.read_record(folder / folders.CONFIG, Options)
    if not config.examples:
        raise ValueError(f"{folder / folders.CONFIG}: examples must hold at least one number")
    manifest = records.read_record(folder / folders.MANIFEST, folders.Manifest)
    rows = records.read_table(folder / RESULTS, TransferResult, unfinished=True)
    source = [row for row in rows if row.task == "source"]
    if not source:
        raise ValueError(f"{folder}: its source network is not trained yet; resume with --resume {quoted(folder)}")
    ways = list(dict.fromkeys(row.way for row in rows if row.task != "source"))
    counts = sorted(config.examples)
    text = (f"A network trained on the first classes of {config.source} "
            f"({100 * source[0].test_accuracy:.2f} % test accuracy), moved to the other classes (similar) "
            f"and to {config.different} (different). Means of {config.seeds} seeds, test accuracy in percent; "
            "A – is not measured yet.")  # fmt: skip

    def found(task: str, way: str, count: int) -> float:
        return mean(rows, task, way, count)

    header = ["task and data", "the lecture's way", "its accuracy", "best here", "its accuracy"]
    means = [[task, way, *(_percent(found(task, way, n)) for n in counts)] for task in TASKS for way in ways]
    alt = "Test accuracy of five ways against training examples per class"
    measured = (
        []
        if not ways
        else [
            "## Accuracy against examples",
            pages.figure(folder, "accuracy", _curves(found, ways, counts), alt, chart=True),
            pages.table(["task", "way", *(f"{n} per class" for n in counts)], means, left=2),
        ]
    )
    return pages.write(folder, [
        f"# Transfer from {pages.plain(config.source)}",
        pages.plain(text),
        "## The four cells",
        pages.table(header, _cells(found, ways, counts), left=2),
        *measured,
        *pages.made(manifest, records.read_json(folder / folders.CONFIG)),
    ])  # fmt: skip


def _cells(found: Mean, ways: Sequence[str], counts: Sequence[int]) -> list[list[str]]:
    """Return a row per cell of the lecture's table: its way and the best one here."""
    cells = []
    for (task, amount), way in RECOMMENDED.items():
        count = counts[0] if amount == "little" else counts[-1]
        by_way = {name: found(task, name, count) for name in ways}
        there = [name for name in ways if not math.isnan(by_way[name])]
        best = max(there, key=lambda name: by_way[name], default="")
        what = f"{task}, {amount} ({count} per class)"
        cells.append([what, way, _percent(found(task, way, count)), best or "–", _percent(by_way.get(best, math.nan))])
    return cells


def _curves(found: Mean, ways: Sequence[str], counts: Sequence[int]) -> Figure:
    curves = {
        way: {"test accuracy (%)": {
            task: (np.array(counts), np.array([100 * found(task, way, n) for n in counts])) for task in TASKS
        }}
        for way in ways
    }  # fmt: skip
    figure = plots.learning_curves(curves, xlabel="training examples per class")
    for axes in figure.axes:
        axes.set_xscale("log")
    return figure


def _percent(accuracy: float) -> str:
    return "–" if math.isnan(accuracy) else f"{100 * accuracy:.2f}"
