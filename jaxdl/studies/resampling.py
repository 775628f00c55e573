"""Bootstrap intervals of the mean and the median of a sample, in numpy."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["METHODS", "Interval", "bootstrap", "check_sample"]

METHODS: Final = ("expanded", "percentile", "bca")
EXACT: Final = 8  # up to this many values, all resamples are enumerated: at most 6,435 distinct ones


class Interval(NamedTuple):
    """An estimate with its interval."""

    estimate: float
    low: float
    high: float

    def contains(self, value: float | int) -> bool:
        """Return whether the value lies in the closed interval."""
        return self.low <= value <= self.high


def bootstrap(
    values: ArrayLike,
    *,
    level: float | int = 0.95,
    statistic: str = "mean",
    method: str = "expanded",
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the mean or median of a sample with its bootstrap interval.

    Up to 8 values, all resamples are enumerated with their probabilities (Fisher & Hall 1991), so that neither
    `resamples` nor `seed` matters; above, `resamples` are drawn. Equal values give the interval [v, v]. A single value
    carries no information about its spread and gives [−∞, ∞].

    The coverage of a nominal 95 % interval for the mean of n = 5 normal values, simulated in the tests, is 84 % for
    percentile, 85 % for bca and 93 % for expanded. For n = 2, 3 and 4, where no resample leaves the range of the
    values, expanded intervals cover 51, 76 and 86 %, so studies use `statistics.student`. Percentile intervals are too
    narrow by √((n−1)/n), and by the normal quantile in place of Student's; "expanded" reads the percentiles at
    Φ(−√(n/(n−1)) t₍ₙ₋₁₎), which corrects both.

    Args:
        values: one per run, shape (n,); infinity for a run that diverged (not with bca).
        level: probability with which the interval is to cover, between 0 and 1.
        statistic: "mean" or "median".
        method: "expanded", "percentile" or "bca" (bias-corrected and accelerated).
        resamples: number of resamples drawn if they are not enumerated.
        seed: of the drawn resamples.

    Returns:
        The statistic of the values and the ends of its interval. An end is infinite if too many resamples contain a
        diverged run for a finite one.

    Raises:
        ValueError: an argument is out of range, there are no values, or NaN is among them.

    References: Efron & Tibshirani, An introduction to the bootstrap, 1993, chapters 13 and 14; Hesterberg, What
    teachers should know about the bootstrap, 2014, https://arxiv.org/abs/1411.5279; Fisher & Hall, Bootstrap
    algorithms for small samples, 1991. scipy's bootstrap draws resamples and does not enumerate them.

    Examples:
        >>> found = statistics.bootstrap([1.0, 2.0, 3.0])
        >>> found.estimate, found.low < 2 < found.high
        (2.0, True)
    """
    values = np.asarray(values, np.float64)
    check_sample(values, level)
    _check(values, statistic, method)
    statistics = _means if statistic == "mean" else _medians
    estimate = float(statistics(values, np.ones((1, values.size)))[0])
    if values.size == 1:
        return Interval(estimate, -math.inf, math.inf)
    if (values == values[0]).all():
        return Interval(estimate, estimate, estimate)
    counts, weights = _resamples(values.size, resamples, seed)
    found = statistics(values, counts)
    if np.isnan(found).any():  # both sides diverged, on different seeds, so anything is possible
        return Interval(estimate, -math.inf, math.inf)
    tail = (1 - level) / 2
    tails = (tail, tail)
    if method == "expanded":
        tails = (_expanded(tail, values.size),) * 2
    elif method == "bca":
        tails = _bca(values, estimate, found, weights, statistics, tail)
    return Interval(estimate, _quantile(found, weights, tails[0]), -_quantile(-found, weights, tails[1]))


def check_sample(values: np.ndarray, level: float | int) -> None:
    """Check a sample and the level of its interval.

    Raises:
        ValueError: the level is not between 0 and 1, there are no values, or NaN is among them.
    """
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values must be a list of at least one number, got shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"values must not hold NaN, got {values}; a run that diverged counts as infinity")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")


def _check(values, statistic, method):
    if statistic not in ("mean", "median"):
        raise ValueError(f"statistic must be 'mean' or 'median', got {statistic!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if method == "bca" and not np.isfinite(values).all():
        raise ValueError(f"values must be finite for the method 'bca', got {values}")


@functools.cache
def _resamples(n: int, resamples: int, seed: int):
    """Return how often each value is in each resample, shape (r, n), and the resamples' probabilities, shape (r,)."""
    if n > EXACT:
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
        return counts.astype(np.float64), np.full(resamples, 1 / resamples)
    chosen = itertools.combinations_with_replacement(range(n), n)
    counts = np.array([np.bincount(one, minlength=n) for one in chosen], np.float64)
    ways = [math.factorial(n) / math.prod(math.factorial(int(c)) for c in row) for row in counts]
    return counts, np.array(ways) / n**n


def _means(values, counts):
    """Return the mean of each resample; NaN if it contains both infinities."""
    finite = np.isfinite(values)
    origin = values[finite][0] if finite.any() else 0.0  # the mean of equal values is then exact
    means = origin + counts @ np.where(finite, values - origin, 0.0) / values.size
    up, down = counts @ (values == np.inf) > 0, counts @ (values == -np.inf) > 0
    return np.select([up & down, up, down], [np.nan, np.inf, -np.inf], means)


def _medians(values, counts):
    """Return the median of each resample."""
    order = np.argsort(values)
    below, n = counts[:, order].cumsum(1), values.size
    middle = [values[order][(below >= k).argmax(1)] for k in ((n + 1) // 2, n // 2 + 1)]
    with np.errstate(invalid="ignore"):
        return (middle[0] + middle[1]) / 2


def _quantile(found, weights, probability):
    """Return the smallest value up to which the resamples have at least this probability."""
    order = np.argsort(found)
    place = np.searchsorted(weights[order].cumsum(), probability * (1 - 1e-12))
    return float(found[order][min(place, found.size - 1)])


def _expanded(tail, n):
    from scipy import special  # slow to import, and `--help` need not wait for it

    student = special.stdtrit(n - 1, 1 - tail)
    return special.ndtr(-math.sqrt(n / (n - 1)) * student)


def _bca(values, estimate, found, weights, statistics, tail):
    """Return the tails at which the bias-corrected and accelerated interval reads the resamples."""
    from scipy import special  # see _expanded

    n = values.size
    below = float(weights[found < estimate].sum() + weights[found == estimate].sum() / 2)
    bias = special.ndtri(min(max(below, 1e-12), 1 - 1e-12))
    left_out = np.array([statistics(np.delete(values, i), np.ones((1, n - 1)))[0] for i in range(n)])
    d = left_out.mean() - left_out
    spread = (d**2).sum()
    acceleration = (d**3).sum() / (6 * spread**1.5) if spread else 0.0

    def shifted(z):
        return special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))

    z = special.ndtri(1 - tail)
    return shifted(-z), 1 - shifted(z)
