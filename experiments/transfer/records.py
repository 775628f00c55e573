"""The record of `experiments.transfer`: a row of results.csv per trained network, the source's first."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

RESULTS: Final = "results.csv"
TASKS: Final = ("similar", "different")
RECOMMENDED: Final = {  # (task, data) → way, the lecture's table (Lecture row G11)
    ("similar", "little"): "linear on top",
    ("different", "little"): "linear on an earlier layer",
    ("similar", "much"): "fine-tune few",
    ("different", "much"): "fine-tune many",
}


class Options(NamedTuple):
    """The part of config.json that the report needs."""

    source: str
    different: str
    examples: tuple[int, ...]
    seeds: int


class TransferResult(NamedTuple):
    """A trained network: a row of results.csv. The first four fields identify it."""

    task: str  # source, similar or different
    way: str
    examples_per_class: int
    seed: int
    test_accuracy: float


def mean(rows: Sequence[TransferResult], task: str, way: str, count: int) -> float:
    """Return the mean test accuracy over the seeds; NaN if there is no row yet."""
    found = [row.test_accuracy for row in rows if row[:3] == (task, way, count)]
    return float(np.mean(found)) if found else np.nan
