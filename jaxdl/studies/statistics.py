"""How certain is it that one optimizer beats another? Intervals, tests, times to a target, profiles, tallies, in numpy.

Lower values are better throughout. A run that diverged has the value infinity, worse than any other; a missing run has
the value NaN and is left out. Arrays may be anything that numpy converts to float64.
"""

from __future__ import annotations

import itertools
import math
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxdl.studies.resampling import METHODS, Interval, bootstrap, check_sample

__all__ = [
    "METHODS",
    "MIN_SEEDS",
    "RESOLUTION",
    "Interval",
    "PairedTest",
    "Tally",
    "bootstrap",
    "expected_best",
    "holm",
    "paired_difference",
    "paired_test",
    "performance_profile",
    "profile_score",
    "student",
    "time_to_target",
    "usable_rates",
    "win_tie_loss",
]

RESOLUTION: Final = 16 * 2.0**-23
"""16 ulps of float32, in which metrics are computed: equivalent runs stay below it."""

MIN_SEEDS: Final = 3
"""Fewest seeds that carry a verdict. Two values of a metric with steps, as an accuracy has, are too often equal."""


class PairedTest(NamedTuple):
    """The comparison of two optimizers over the seeds that both have."""

    interval: Interval  # of the mean of a − b
    p_value: float  # two-sided, of equal means; NaN for fewer than MIN_SEEDS seeds
    effect: float  # mean of a − b over its standard deviation across seeds (Cohen's d_z)
    seeds: int  # that both have


class Tally(NamedTuple):
    """Numbers of problems on which the row's optimizer beats, ties with and loses to the column's."""

    wins: Float[np.ndarray, "s s"]
    ties: Float[np.ndarray, "s s"]
    losses: Float[np.ndarray, "s s"]


def student(values: ArrayLike, *, level: float | int = 0.95) -> Interval:
    """Return the mean of a sample with Student's interval, mean ± t₍ₙ₋₁₎ s/√n.

    For normal values, the interval covers the mean with the probability ``level`` at every n. For a nominal 95 %,
    ``benchmarks/coverage.md`` holds the coverage for other distributions, simulated for n = 2...30. Equal values give
    the interval [v, v]. Fewer than `MIN_SEEDS` values, or diverged runs among others, give [−∞, ∞].

    Args:
        values: one per run, shape (n,); infinity for a run that diverged.
        level: probability with which the interval is to cover, between 0 and 1.

    Raises:
        ValueError: an argument is out of range, there are no values, or NaN is among them.

    Examples:
        >>> found = statistics.student([1.0, 2.0, 3.0])  # 2 ± 4.30 / √3
        >>> [round(float(one), 2) for one in found]
        [2.0, -0.48, 4.48]
    """
    values = np.asarray(values, np.float64)
    check_sample(values, level)
    gone = np.isinf(values)
    if gone.any():
        estimate = float(values[gone][0]) if (values[gone] == values[gone][0]).all() else math.nan
        everything = gone.all() and not math.isnan(estimate) and values.size >= MIN_SEEDS
        return Interval(estimate, *((estimate, estimate) if everything else (-math.inf, math.inf)))
    mean, error = _mean_and_error(values)
    if values.size < MIN_SEEDS:
        return Interval(mean, -math.inf, math.inf)
    from scipy import special  # slow to import, and `--help` need not wait for it

    half = float(special.stdtrit(values.size - 1, (1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half)


def paired_test(
    a: ArrayLike, b: ArrayLike, *, resolution: float | int = RESOLUTION, level: float | int = 0.95
) -> PairedTest:
    """Compare two optimizers by the differences a − b over seeds: paired t test, Student's interval, effect size.

    Runs of one seed share initial parameters and batches, so the effect of the seed on both cancels. A difference
    smaller than `resolution` times the larger value counts as 0, so identical and equivalent runs give [0, 0] and a p
    of 1. If both runs diverge, the difference is 0; if one does, it is ±∞ in favour of the other. The interval excludes
    0 if p is below 1 − level.

    Divergence is tested as an event, because it has no size. If k of n differences are infinite with one sign and none
    with the other, p is the probability of k or more such differences on either side, if both optimizers diverge
    independently with equal probability, at the probability for which this is largest. Both ends of the interval are
    infinite with that sign if p is at most 1 − level; otherwise it is [−∞, ∞].

    Args:
        a: values of one optimizer, one per seed, shape (n,); NaN where there is no run.
        b: values of the other optimizer for the same seeds.
        resolution: relative difference that rounding explains.
        level: probability with which the interval is to cover, between 0 and 1.

    Raises:
        ValueError: the shapes differ, no seed has both runs, or the level is out of range.

    References: Student, The probable error of a mean, 1908; Cohen, Statistical power analysis for the behavioral
    sciences, 1988, section 2.3.5 (d_z).

    Examples:
        >>> found = statistics.paired_test([1.0, 2.0, 3.1], [0.0, 1.1, 2.0])
        >>> found.seeds, found.p_value < 0.05
        (3, True)
    """
    d = _differences(a, b, resolution)
    n, infinite = d.size, np.isinf(d)
    interval = student(d, level=level)
    if n < MIN_SEEDS:
        return PairedTest(interval, math.nan, _effect(d), n)
    if infinite.any():
        sign = interval.estimate
        p = 1.0 if math.isnan(sign) else _p_of_divergence(int(infinite.sum()), n)
        ends = (sign, sign) if p <= 1 - level else (-math.inf, math.inf)
        return PairedTest(Interval(sign, *ends), p, _effect(d), n)
    mean, error = _mean_and_error(d)
    if mean == 0 or error == 0:
        return PairedTest(interval, float(mean == 0), _effect(d), n)
    from scipy import special  # see student

    return PairedTest(interval, float(2 * special.stdtr(n - 1, -abs(mean / error))), _effect(d), n)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, resolution: float | int = RESOLUTION, level: float | int = 0.95
) -> Interval:
    """Return the mean of a − b over seeds with its interval. See ``paired_test``.

    The optimizers are told apart if the interval excludes 0. One in twenty equal pairs is told apart by chance; if you
    look at several pairs, correct their p-values by ``holm``.
    """
    return paired_test(a, b, resolution=resolution, level=level).interval


def holm(p_values: ArrayLike) -> Float[np.ndarray, " m"]:
    """Return p-values adjusted for the number of comparisons by Holm's method.

    If comparisons with an adjusted p of at most α are decided, then the probability of deciding any pair of equals is
    at most α, however the comparisons depend on each other. With p₍₁₎ ≤ ... ≤ p₍ₘ₎, the adjusted value is
    max over j ≤ i of min(1, (m − j + 1) p₍ⱼ₎).

    Args:
        p_values: between 0 and 1, shape (m,). NaN is a comparison that was not made; it stays NaN and does not count.

    Raises:
        ValueError: a p-value is not in [0, 1], or the shape is not (m,).

    Reference: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Examples:
        >>> statistics.holm([0.01, 0.04])  # 2 * 0.01, 1 * 0.04
        array([0.02, 0.04])
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise ValueError(f"p_values must be numbers in [0, 1] of shape (m,), got {p_values}")
    made = int((~np.isnan(p)).sum())
    order = np.argsort(p)[:made]  # NaN comes last
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(made, 0, -1) * p[order]))
    return adjusted


def time_to_target(times: ArrayLike, values: ArrayLike, target: float | int) -> float:
    """Return the first time at which the value is at most the target; infinity if there is none.

    Args:
        times: of the measurements, ascending, shape (n,); steps, examples or seconds.
        values: the measurements, shape (n,).
        target: the value to reach.

    Examples:
        >>> statistics.time_to_target([1, 2, 3], [0.9, 0.4, 0.5], target=0.5)
        2.0
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

    Examples:
        >>> statistics.usable_rates([0.01, 0.1, 1.0], [0.4, 0.3, 9.0], limit=0.5)
        (2, 1.0)
    """
    good = np.asarray(rates, np.float64)[np.asarray(values, np.float64) <= limit]
    return good.size, float(np.log10(good.max() / good.min())) if good.size else math.nan


def expected_best(values: ArrayLike, *, worst: float | int, replacement: bool = True) -> Float[np.ndarray, " n"]:
    """Return the expected best value of k tuning points drawn at random from those tried, for k = 1...n.

    With the sorted values v₁ ≤ ... ≤ vₙ and drawing with replacement, E[min] = Σᵢ vᵢ (((n−i+1)/n)ᵏ − ((n−i)/n)ᵏ).
    Without, which suits the points of a grid as none is tried twice, E[min] = Σᵢ vᵢ C(n−i, k−1)/C(n, k); the last one
    is v₁.

    Args:
        values: one per tuning point, shape (n,).
        worst: value of a point that diverged or did worse than this; the value before training is a good choice.
        replacement: whether a point may be drawn twice.

    Reference: Dodge et al., Show your work, 2019, https://arxiv.org/abs/1909.03004, equation 3 for the minimum.

    Examples:
        The better of two draws from {1, 2} is 1 in three of four cases:

        >>> statistics.expected_best([1.0, 2.0], worst=10.0)
        array([1.5 , 1.25])
    """
    values = np.sort(np.minimum(np.nan_to_num(np.asarray(values, np.float64), nan=np.inf), worst))
    n = values.size
    if not n:
        raise ValueError("values must hold at least one tuning point, got none")
    if not replacement:
        chances = [[math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)] for k in range(1, n + 1)]
        return np.array(chances) @ values
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

    Examples:
        The first optimizer is the fastest on both problems, and the second within twice its time on one of them:

        >>> statistics.performance_profile([[10.0, 20.0], [10.0, 50.0]], [1.0, 2.0])
        array([[1. , 1. ],
               [0. , 0.5]])
    """
    ratios = _ratios(times)
    return (ratios[:, :, None] <= np.asarray(factors, np.float64) * (1 + 1e-12)).mean(0)


def profile_score(times: ArrayLike, limit: float | int = 4.0) -> Float[np.ndarray, " s"]:
    """Return the area under each performance profile from 1 to `limit`, over limit − 1: 1 is fastest everywhere.

    Reference: Dahl et al., Benchmarking neural network training algorithms, 2023, https://arxiv.org/abs/2306.07179,
    section 4. See ``performance_profile``.

    Examples:
        >>> statistics.profile_score([[10.0, 20.0], [10.0, 50.0]], limit=3.0)  # the second: ½ on half of the way
        array([1.  , 0.25])
    """
    if not limit > 1:
        raise ValueError(f"limit must be above 1, got {limit}")
    return (np.maximum(limit - _ratios(times), 0) / (limit - 1)).mean(0)


def win_tie_loss(
    values: ArrayLike, *, level: float | int = 0.95, resolution: float | int = RESOLUTION, corrected: bool = True
) -> Tally:
    """Count the problems that each optimizer wins, ties and loses against each other.

    A problem is decided by the paired t test over seeds. With Holm's correction over all pairs and problems, a study
    of equal optimizers decides any pair with a probability of at most 1 − level. Pairs that share fewer than
    `MIN_SEEDS` seeds on a problem do not count.

    Args:
        values: final values, shape (problems, optimizers, seeds); see the top of the module for infinity and NaN.
        level: a comparison is decided if its p-value is at most 1 − level.
        resolution: see ``paired_test``.
        corrected: whether to apply Holm's correction; without it, one in twenty pairs of equals is decided.

    Examples:
        >>> first, second = [0.1, 0.11, 0.09], [0.5, 0.52, 0.49]  # on one problem, by seed
        >>> statistics.win_tie_loss(np.array([[first, second]])).wins
        array([[0., 1.],
               [0., 0.]])
    """
    values = np.asarray(values, np.float64)
    size = values.shape[1]
    wins, ties = np.zeros((size, size)), np.zeros((size, size))
    places, tests = [], []
    for problem, (i, j) in itertools.product(values, itertools.combinations(range(size), 2)):
        if (~np.isnan(problem[[i, j]]).any(0)).sum() >= MIN_SEEDS:
            places.append((i, j))
            tests.append(paired_test(problem[i], problem[j], resolution=resolution, level=level))
    p_values = np.array([test.p_value for test in tests])
    decided = (holm(p_values) if corrected else p_values) <= 1 - level
    for (i, j), test, told in zip(places, tests, decided, strict=True):
        better, worse = (i, j) if test.interval.estimate < 0 else (j, i)
        wins[better, worse] += told
        ties[i, j] += not told
        ties[j, i] += not told
    return Tally(wins, ties, wins.T.copy())


def _differences(a, b, resolution):
    """Return a − b for the seeds that both have, with 0 for what rounding explains."""
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
    return np.where(same & np.isfinite(difference), 0.0, difference)


def _mean_and_error(values):
    """Return the mean and its standard error (infinite for one value), which is exactly 0 for equal values."""
    moved = values - values[0]  # the mean of equal values is then exact
    mean = float(values[0] + moved.mean())
    error = moved.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else math.inf
    return mean, float(error)


def _effect(d):
    if np.isinf(d).any():
        return float(d[np.isinf(d)].sum()) if len({*d[np.isinf(d)]}) == 1 else math.nan
    mean, error = _mean_and_error(d)
    if d.size < 2:
        return math.nan
    deviation = error * math.sqrt(d.size)
    return mean / deviation if deviation else math.copysign(math.inf, mean) if mean else 0.0


def _p_of_divergence(k, n):
    """Return the largest probability of k or more infinite differences of one sign and none of the other."""
    rate = np.linspace(0, 0.5, 501)[1:]  # of divergence; 1 − rate gives the same probabilities
    one_sided = rate * (1 - rate)
    tail = sum(math.comb(n, j) * one_sided**j * (1 - 2 * one_sided) ** (n - j) for j in range(k, n + 1))
    return float(min(1.0, 2 * np.max(tail)))


def _ratios(times):
    """Return each optimizer's time over the shortest of its problem; infinity if the target is not reached."""
    times = np.asarray(times, np.float64)
    if times.ndim != 2 or (times <= 0).any() or np.isnan(times).any():
        raise ValueError("times must be positive numbers of shape (problems, optimizers), infinity for not reached")
    best = times.min(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(times), times / best, np.inf)
