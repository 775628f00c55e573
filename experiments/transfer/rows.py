"""What results.csv of `experiments.transfer` holds: a row per network that was trained, the source's first."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

COLUMNS: Final = ("task", "way", "examples_per_class", "seed", "test_accuracy")
TASKS: Final = ("similar", "different")
RECOMMENDED: Final = {  # (task, data) → way, as in the lecture's table (Lecture row G11)
    ("similar", "little"): "linear on top",
    ("different", "little"): "linear on an earlier layer",
    ("similar", "much"): "fine-tune few",
    ("different", "much"): "fine-tune many",
}


def mean(rows: Sequence[Mapping[str, str]], task: str, way: str, count: int) -> float:
    """Mean test accuracy over the seeds; NaN where no row is there yet."""
    cell = (task, way, str(count))
    found = [float(r["test_accuracy"]) for r in rows if (r["task"], r["way"], r["examples_per_class"]) == cell]
    return float(np.mean(found)) if found else np.nan
