"""Which of two classifiers is more often right? McNemar's test and interval on the same examples."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxdl.studies.statistics import Interval

__all__ = ["McNemar", "mcnemar"]


class McNemar(NamedTuple):
    """The comparison of two classifiers on the same examples."""

    difference: Interval  # share that the first gets right less that of the second
    only_first: int  # examples that only the first gets right
    only_second: int  # examples that only the second gets right
    p_value: float  # of the exact test that both kinds are equally likely


def mcnemar(first: ArrayLike, second: ArrayLike, *, level: float | int = 0.95) -> McNemar:
    """Compare two classifiers by the examples on which exactly one of them is right.

    The test is McNemar's exact one, a sign test of those examples. The interval of the difference is Newcombe's, which
    combines Wilson's intervals of both shares with their correlation; unlike Wald's, it stays within [−1, 1] and is
    sound for few differing examples. Both cover the chance in which examples were tested, not that of the seed.

    Args:
        first: whether the first classifier is right on each example, bools (n,).
        second: the same for the second classifier.
        level: probability with which the interval is to cover, between 0 and 1.

    Raises:
        ValueError: if the two are not bools of one shape (n,) with at least one example, or the level is out of range.

    References: McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
    1947; Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired data,
    1998, method 10.

    Examples:
        Of ten examples the first classifier gets three right that the second does not, which proves little:

        >>> first, second = np.array([1] * 10, bool), np.array([1] * 7 + [0] * 3, bool)
        >>> found = proportions.mcnemar(first, second)
        >>> found.only_first, found.only_second, round(found.p_value, 6)  # 2 * ½³
        (3, 0, 0.25)
    """
    from scipy import stats  # slow to import

    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape or not a.size or a.dtype != bool or b.dtype != bool:
        raise ValueError(
            f"first and second must be bools of one shape (n,), got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1")
    n, both, only_a, only_b = a.size, int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    neither, difference = n - both - only_a - only_b, (only_a - only_b) / n
    spread = math.sqrt((both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither))
    together = both * neither - only_a * only_b
    phi = min(together, max(0.0, together - n / 2)) / spread if spread else 0.0  # corrected for continuity
    # distances from each share to the lower and the upper end of its interval
    (down_a, up_a), (down_b, up_b) = (
        (hits / n - wilson.low, wilson.high - hits / n)
        for hits in (both + only_a, both + only_b)
        for wilson in [stats.binomtest(hits, n).proportion_ci(level, method="wilson")]
    )
    interval = Interval(
        difference,
        difference - math.sqrt(max(0.0, down_a**2 - 2 * phi * down_a * up_b + up_b**2)),
        difference + math.sqrt(max(0.0, up_a**2 - 2 * phi * up_a * down_b + down_b**2)),
    )
    differing = only_a + only_b
    p_value = float(stats.binomtest(only_a, differing).pvalue) if differing else 1.0
    return McNemar(interval, only_a, only_b, p_value)
