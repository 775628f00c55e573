"""What results.csv of `experiments.transfer` holds: a row per network that was trained, the source's first."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

RESULTS: Final = "results.csv"
TASKS: Final = ("similar", "different")
RECOMMENDED: Final = {  # (task, data) → way, as in the lecture's table (Lecture row G11)
    ("similar", "little"): "linear on top",
    ("different", "little"): "linear on an earlier layer",
    ("similar", "much"): "fine-tune few",
    ("different", "much"): "fine-tune many",
}


class TransferResult(NamedTuple):
    """One network that was trained: a row of results.csv. The first four fields say which."""

    task: str  # source, similar or different
    way: str
    examples_per_class: int
    seed: int
    test_accuracy: float


def mean(rows: Sequence[TransferResult], task: str, way: str, count: int) -> float:
    """Mean test accuracy over the seeds; NaN where no row is there yet."""
    found = [row.test_accuracy for row in rows if row[:3] == (task, way, count)]
    return float(np.mean(found)) if found else np.nan
