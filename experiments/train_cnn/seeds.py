"""The report of `--seeds N`: means over seeds, intervals and paired differences.

This module imports matplotlib, as `experiments.train_cnn.report` does.
"""

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from experiments.train_cnn import records
from experiments.train_cnn.records import OptimizerResult, RunSummary
from jaxdl.runs import folder as folders
from jaxdl.runs import pages
from jaxdl.runs.records import read_json, read_record
from jaxdl.studies import statistics
from jaxdl.studies.statistics import Interval
from jaxdl.texts import quoted, shortened

SURE: Final = 0.05


class Quantity(NamedTuple):
    """What the optimizers are compared by."""

    name: str
    unit: str
    column: str  # of `OptimizerResult`
    factor: int
    digits: str
    better: int  # 1 if larger is better, else -1


ACCURACY: Final = Quantity("test accuracy", " (%)", "test_accuracy", 100, ".2f", 1)
LOSS: Final = Quantity("test loss", "", "test_loss", 1, ".4f", -1)  # where nothing is classified


class SeveralSeeds(NamedTuple):
    """The part of config.json that the report of several seeds needs."""

    seed: int = 0  # the first
    seeds: int = 1


def summaries(folder: Path) -> dict[int, RunSummary]:
    """Return the summary of each seed that has finished.

    Raises:
        ValueError: naming the file, if one is damaged or has other optimizers than the first seed's.
    """
    stored = read_record(folder / folders.CONFIG, SeveralSeeds)
    every = range(stored.seed, stored.seed + stored.seeds)
    names = {path.name: path for path in folder.glob("seed-*") if (path / records.SUMMARY).exists()}
    there = sorted(int(name[5:]) for name in names if re.fullmatch(r"seed-(0|[1-9][0-9]{0,18})", name))
    found = {seed: records.read_summary(names[f"seed-{seed}"]) for seed in there if seed in every}
    trained = {seed: [row.optimizer for row in one.rows] for seed, one in found.items()}
    for seed, optimizers in trained.items():
        if optimizers != (first := next(iter(trained.values()))):
            path = folder / f"seed-{seed}" / records.SUMMARY
            raise ValueError(f"{path}: has rows of {shortened(optimizers)}, another seed of {shortened(first)}")
    return found


def write(folder: Path) -> Path:
    """Write ``report.md`` and ``report.html`` of all seeds that have finished, and return the latter's path.

    Raises:
        ValueError: if none has finished, or a file is damaged.
    """
    found = summaries(folder)
    if not found:
        raise ValueError(f"{folder}: no seed has finished; resume it with --resume {quoted(folder)}")
    first = next(iter(found.values()))
    names = [row.optimizer for row in first.rows]
    manifest = read_record(folder / f"seed-{next(iter(found))}" / folders.MANIFEST, folders.Manifest)
    title = f"{first.model} on {first.dataset}, {len(found)} seeds: {' and '.join(names)}"
    by = ACCURACY if first.task != "numbers" else LOSS
    nats = "" if by is LOSS else " (nats)"
    beyond = "" if by is LOSS else ", and that of accuracies near 100 % may go beyond"
    of_accuracy = [] if by is LOSS else ["test accuracy (%)", "95 % interval (%)"]
    header = ["optimizer", *of_accuracy, f"test loss{nats}", f"95 % interval{nats}", "diverged", "seconds"]
    each = [[str(seed), *(f"{_value(by, row):{by.digits}}" for row in one.rows)] for seed, one in found.items()]
    return pages.write(folder, [
        f"# {pages.plain(title)}",
        "Means over seeds with Student's intervals, which cover the choice of seed: the split, the initial parameters, "
        f"the order of the data and all random layers. An interval needs {statistics.MIN_SEEDS} seeds{beyond}. Each "
        "seed's own report is in its folder.",
        pages.table(header, [_row(name, _of(found, name), by) for name in names]),
        *_differences(found, names, by),
        "## Each seed",
        pages.table(["seed", *(f"{name}, {by.name}{by.unit}" for name in names)], each),
        *pages.made(manifest, read_json(folder / folders.CONFIG)),
    ])  # fmt: skip


def _of(found: dict[int, RunSummary], name: str) -> list[OptimizerResult]:
    return [row for one in found.values() for row in one.rows if row.optimizer == name]


def _value(by: Quantity, row: OptimizerResult) -> float:
    return by.factor * getattr(row, by.column)


def _row(name: str, rows: Sequence[OptimizerResult], by: Quantity) -> list[str]:
    columns = [LOSS] if by is LOSS else [ACCURACY, LOSS]
    means = [cell for one in columns for cell in _written(_mean([_value(one, row) for row in rows]), one.digits)]
    gone = sum(row.diverged_at is not None for row in rows)
    seconds = f"{np.mean([row.seconds for row in rows]):.4g}"
    return [name, *means, f"{gone} of {len(rows)}", seconds]


def _mean(values: Sequence[float]) -> Interval:
    known = [value for value in values if not math.isnan(value)]
    return statistics.student(known) if known else Interval(math.nan, math.nan, math.nan)


def _written(interval: Interval, digits: str) -> tuple[str, str]:
    if math.isnan(interval.estimate):
        return "–", "–"
    ends = f"{interval.low:{digits}} to {interval.high:{digits}}" if math.isfinite(interval.low) else "–"
    return f"{interval.estimate:{digits}}", ends


def _differences(found: dict[int, RunSummary], names: Sequence[str], by: Quantity) -> list[str]:
    """Compare all pairs of optimizers seed by seed; a seed on which one diverged is left out and counted above."""
    tests = {}
    for a, b in itertools.combinations(names, 2):
        pairs = [(_value(by, x), _value(by, y)) for x, y in zip(_of(found, a), _of(found, b), strict=True)]
        known = [pair for pair in pairs if not math.isnan(sum(pair))]
        if len(known) >= 2:
            tests[a, b] = statistics.paired_test(*np.array(known).T)
    if not tests:
        return []
    adjusted = statistics.holm([1 if math.isnan(test.p_value) else test.p_value for test in tests.values()])
    rows = []
    for ((a, b), test), p in zip(tests.items(), adjusted.tolist(), strict=True):
        estimate, ends = _written(test.interval, f"+{by.digits}")
        better = f"{a if by.better * test.interval.estimate > 0 else b} is better"
        few = test.seeds < statistics.MIN_SEEDS
        verdict = "too few seeds" if few else better if p < SURE else "not told apart"
        rows.append([a, b, str(test.seeds), estimate, ends, "–" if few else f"{p:.2g}", verdict])
    header = ["first", "second", "seeds", f"first less second{by.unit}", f"95 % interval{by.unit}", "p", "verdict"]
    said = (
        f"By the {by.name} of the same seeds, which share split, initial parameters and batches; the interval covers "
        "the choice of seed. p is of the paired t test, by Holm's method for as many pairs as there are here; below "
        f"{SURE:g} it is a verdict."
    )
    return ["## Paired differences", said, pages.table(header, rows, left=2)]
