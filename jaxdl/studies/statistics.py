"""How certain is it that one optimizer beats another? Intervals, times to a target, profiles and tallies, in numpy.

Lower values are better throughout. A run that diverged has the value infinity, worse than any other; a missing run has
the value NaN and is left out. Arrays may be anything that numpy converts to float64.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

__all__ = [
    "METHODS",
    "RESOLUTION",
    "Interval",
    "Tally",
    "bootstrap",
    "expected_best",
    "paired_difference",
    "performance_profile",
    "profile_score",
    "time_to_target",
    "usable_rates",
    "win_tie_loss",
]

METHODS = ("expanded", "percentile", "bca")
RESOLUTION = 16 * 2.0**-23  # 16 ulps of float32, in which metrics are computed: equivalent runs stay below it
EXACT = 8  # up to this many values, all resamples are enumerated: at most 6,435 distinct ones


class Interval(NamedTuple):
    """An estimate with its interval."""

    estimate: float
    low: float
    high: float

    def contains(self, value: float | int) -> bool:
        """Return whether the value lies in the closed interval."""
        return self.low <= value <= self.high


class Tally(NamedTuple):
    """Numbers of problems on which the row's optimizer beats, ties with and loses to the column's."""

    wins: Float[np.ndarray, "s s"]
    ties: Float[np.ndarray, "s s"]
    losses: Float[np.ndarray, "s s"]


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
    percentile, 85 % for bca and 93 % for expanded. Percentile intervals are too narrow by √((n−1)/n), and by the normal
    quantile in place of Student's; "expanded" reads the percentiles at Φ(−√(n/(n−1)) t₍ₙ₋₁₎), which corrects both.

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
    """
    values = np.asarray(values, np.float64)
    _check(values, level, statistic, method)
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


def paired_difference(a: ArrayLike, b: ArrayLike, *, resolution: float | int = RESOLUTION, **options) -> Interval:
    """Return the mean of a − b over seeds, with the interval from resampling the seeds.

    Runs of one seed share initial parameters and batches, so the effect of the seed on both cancels. A difference
    smaller than `resolution` times the larger value counts as 0, so identical and equivalent runs give [0, 0]. If both
    runs diverge, the difference is 0; if one does, it is ±∞ in favour of the other. One divergence among five makes the
    mean infinite and leaves the interval one finite end.

    The optimizers are distinguishable if the interval excludes 0. With the expanded interval and five seeds, all
    differences, or nearly all, must have one sign. About one in fourteen equal pairs is distinguished by chance, which
    matters if you look at many pairs.

    Args:
        a: values of one optimizer, one per seed, shape (n,); NaN where there is no run.
        b: values of the other optimizer for the same seeds.
        resolution: relative difference that rounding explains.
        options: see ``bootstrap``.

    Raises:
        ValueError: the shapes differ, or no seed has both runs.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b must hold one value per seed each, got shapes {a.shape} and {b.shape}")
    both = ~(np.isnan(a) | np.isnan(b))
    if not both.any():
        raise ValueError("a and b have no seed in common")
    a, b = a[both], b[both]
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, a - b)
        same = np.abs(difference) <= resolution * np.maximum(np.abs(a), np.abs(b))
    return bootstrap(np.where(same & np.isfinite(difference), 0.0, difference), **options)


def time_to_target(times: ArrayLike, values: ArrayLike, target: float | int) -> float:
    """Return the first time at which the value is at most the target; infinity if there is none.

    Args:
        times: of the measurements, ascending, shape (n,); steps, examples or seconds.
        values: the measurements, shape (n,).
        target: the value to reach.
    """
    reached = np.asarray(values, np.float64) <= target
    return float(np.asarray(times)[reached.argmax()]) if reached.any() else math.inf


def usable_rates(rates: ArrayLike, values: ArrayLike, limit: float | int) -> tuple[int, float]:
    """Measure the sensitivity to the learning rate by the rates of a grid that do well enough.

    Args:
        rates: the learning rates tried, shape (n,).
        values: the final values, shape (n,).
        limit: the largest value that is good enough.

    Returns:
        The number of rates with a value of at most `limit`, and the decades between the smallest and the largest of
        them (0 for one rate, NaN for none).
    """
    good = np.asarray(rates, np.float64)[np.asarray(values, np.float64) <= limit]
    return good.size, float(np.log10(good.max() / good.min())) if good.size else math.nan


def expected_best(values: ArrayLike, *, worst: float | int) -> Float[np.ndarray, " n"]:
    """Return the expected best value of k tuning points drawn at random from those tried, for k = 1...n.

    With the sorted values v₁ ≤ ... ≤ vₙ and drawing with replacement, E[min] = Σᵢ vᵢ (((n−i+1)/n)ᵏ − ((n−i)/n)ᵏ).

    Args:
        values: one per tuning point, shape (n,).
        worst: value of a point that diverged or did worse than this; the value before training is a good choice.

    Reference: Dodge et al., Show your work, 2019, https://arxiv.org/abs/1909.03004, equation 3 for the minimum.
    """
    values = np.sort(np.minimum(np.nan_to_num(np.asarray(values, np.float64), nan=np.inf), worst))
    n = values.size
    if not n:
        raise ValueError("values must hold at least one tuning point, got none")
    above = np.arange(n, -1, -1) / n  # share of points at least as bad as the i-th
    powers = above[None] ** np.arange(1, n + 1)[:, None]
    return (powers[:, :-1] - powers[:, 1:]) @ values


def performance_profile(times: ArrayLike, factors: ArrayLike) -> Float[np.ndarray, "s f"]:
    """Return the share of problems that each optimizer solves within a factor of the fastest optimizer's time.

    ρₛ(τ) = |{p: tₚₛ ≤ τ minₛ tₚₛ}| / number of problems. A problem that no optimizer solves counts as unsolved by all.

    Args:
        times: time to target, shape (problems, optimizers); infinity if it is not reached.
        factors: the τ, at least 1, shape (f,).

    Reference: Dolan & Moré, Benchmarking optimization software with performance profiles, 2002,
    https://arxiv.org/abs/cs/0102001.
    """
    ratios = _ratios(times)
    return (ratios[:, :, None] <= np.asarray(factors, np.float64) * (1 + 1e-12)).mean(0)


def profile_score(times: ArrayLike, limit: float | int = 4.0) -> Float[np.ndarray, " s"]:
    """Return the area under each performance profile from 1 to `limit`, over limit − 1: 1 is fastest everywhere.

    Reference: Dahl et al., Benchmarking neural network training algorithms, 2023, https://arxiv.org/abs/2306.07179,
    section 4. See ``performance_profile``.
    """
    if not limit > 1:
        raise ValueError(f"limit must be above 1, got {limit}")
    return (np.maximum(limit - _ratios(times), 0) / (limit - 1)).mean(0)


def win_tie_loss(values: ArrayLike, **options) -> Tally:
    """Count the problems that each optimizer wins, ties and loses against each other.

    A problem is won if the interval of the paired difference lies below 0, lost if it lies above, and tied if it
    contains 0. Problems on which a pair shares fewer than two seeds do not count.

    Args:
        values: final values, shape (problems, optimizers, seeds); see the top of the module for infinity and NaN.
        options: see ``paired_difference``.
    """
    values = np.asarray(values, np.float64)
    size = values.shape[1]
    wins, ties = np.zeros((size, size)), np.zeros((size, size))
    for problem, (i, j) in itertools.product(values, itertools.combinations(range(size), 2)):
        if (~np.isnan(problem[[i, j]]).any(0)).sum() < 2:
            continue
        interval = paired_difference(problem[i], problem[j], **options)
        wins[i, j] += interval.high < 0
        wins[j, i] += interval.low > 0
        ties[i, j] += interval.contains(0)
        ties[j, i] += interval.contains(0)
    return Tally(wins, ties, wins.T.copy())


def _check(values, level, statistic, method):
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values must be a list of at least one number, got shape {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"values must not hold NaN, got {values}; a run that diverged counts as infinity")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
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


def _ratios(times):
    """Return each optimizer's time over the shortest of its problem; infinity if the target is not reached."""
    times = np.asarray(times, np.float64)
    if times.ndim != 2 or (times <= 0).any() or np.isnan(times).any():
        raise ValueError("times must be positive numbers of shape (problems, optimizers), infinity for not reached")
    best = times.min(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(times), times / best, np.inf)
