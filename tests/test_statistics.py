"""The statistics of a study against scipy, closed forms, cases by hand and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from jaxdl.studies import statistics
from jaxdl.studies.statistics import bootstrap, paired_difference

INF, NAN = math.inf, math.nan
FIVE = np.array([3.1, 2.9, 3.4, 3.0, 4.2])
TWELVE = np.random.default_rng(1).gamma(2.0, size=12)


def enumerated(values, statistic):
    """Return all n^n resamples, one after the other."""
    return np.sort([statistic(one) for one in itertools.product(values, repeat=len(values))])


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_five_values_have_the_interval_of_all_their_resamples(statistic):
    found = enumerated(FIVE, getattr(np, statistic))
    interval = bootstrap(FIVE, statistic=statistic, method="percentile")
    assert interval.estimate == pytest.approx(getattr(np, statistic)(FIVE))
    # 2.5 % of the 3,125 resamples lie at or below the 79th
    assert interval[1:] == pytest.approx((found[78], found[-79]))
    assert bootstrap(FIVE, statistic=statistic, method="percentile", resamples=7, seed=3) == interval


@pytest.mark.parametrize("values", [FIVE, TWELVE], ids=["five", "twelve"])
@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_equals_scipys_bootstrap(values, method, level):
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method=method, confidence_level=level, n_resamples=20_000, rng=np.random.default_rng(0)
    )
    ours = bootstrap(values, method=method, level=level, resamples=20_000)
    # both are quantiles of a lumpy distribution; scipy interpolates 20,000 draws of it
    assert ours[1:] == pytest.approx(tuple(theirs.confidence_interval), abs=0.03 * np.ptp(values))


def test_the_expanded_interval_is_students_for_many_normal_values():
    values = scipy.stats.norm.ppf((np.arange(40) + 0.5) / 40)
    half = scipy.stats.t.ppf(0.975, 39) * values.std(ddof=1) / math.sqrt(40)
    assert bootstrap(values, resamples=40_000)[1:] == pytest.approx((-half, half), rel=0.03)


# the docstring's numbers; a share of 2,000 trials has a standard error below .9 %
@pytest.mark.parametrize(("method", "coverage"), [("percentile", 0.84), ("bca", 0.85), ("expanded", 0.93)])
def test_coverage_of_five_normal_values(method, coverage):
    samples = np.random.default_rng(0).normal(size=(2000, 5))
    covered = [bootstrap(one, method=method).contains(0) for one in samples]
    assert np.mean(covered) == pytest.approx(coverage, abs=0.02)


def test_equal_values_and_single_ones():
    assert bootstrap([0.1] * 5) == (0.1, 0.1, 0.1)
    assert bootstrap([0.1] * 12, method="bca") == (0.1, 0.1, 0.1)
    assert bootstrap([0.1]) == (0.1, -INF, INF)


def test_one_diverged_run_leaves_the_interval_one_finite_end():
    estimate, low, high = bootstrap([1.0, 2.0, 3.0, 4.0, INF])
    assert (estimate, high) == (INF, INF)
    assert low == pytest.approx(1.2)  # four times 1 and once 2: the second lightest of all resamples
    assert bootstrap([1.0, 2.0, INF], statistic="median").estimate == 2
    assert bootstrap([INF] * 5) == (INF, INF, INF)
    estimate, low, high = bootstrap([INF, -INF, 0.0])
    assert math.isnan(estimate)
    assert (low, high) == (-INF, INF)


def test_the_seed_decides_what_is_drawn():
    assert bootstrap(TWELVE, seed=0) == bootstrap(TWELVE, seed=0) != bootstrap(TWELVE, seed=1)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one number"),
        ([[1.0]], {}, r"shape \(1, 1\)"),
        ([1.0, NAN], {}, "values must not hold NaN"),
        ([1.0], {"level": 95}, "level must lie between 0 and 1, got 95"),
        ([1.0], {"statistic": "mode"}, "statistic must be 'mean' or 'median', got 'mode'"),
        ([1.0], {"method": "t"}, "method must be one of"),
        ([1.0, INF], {"method": "bca"}, "values must be finite"),
    ],
)
def test_wrong_arguments_of_the_bootstrap_are_named(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(values, **options)


def test_the_paired_difference_is_that_of_the_differences():
    other = FIVE + np.array([0.2, 0.1, 0.3, 0.2, 0.1])
    assert paired_difference(FIVE, other) == pytest.approx(bootstrap([-0.2, -0.1, -0.3, -0.2, -0.1]))
    assert not paired_difference(FIVE, other).contains(0)
    # the seeds differ by more than that, so an unpaired test cannot tell the two apart
    assert bootstrap(FIVE).high > bootstrap(other).low


def test_identical_and_equivalent_runs_differ_by_nothing():
    assert paired_difference(FIVE, FIVE) == (0, 0, 0)
    assert paired_difference(FIVE, FIVE * (1 + 1e-6)) == (0, 0, 0)
    assert paired_difference(FIVE, FIVE * (1 + 3e-6)).high < 0
    assert paired_difference(FIVE, FIVE * (1 + 1e-6), resolution=0).high < 0
    assert paired_difference([0.0, 0.0], [0.0, 0.0]).contains(0)


def test_divergence_counts_as_worse_than_any_value():
    assert paired_difference([INF] * 3, [INF] * 3) == (0, 0, 0)
    assert paired_difference([1.0] * 5, [INF] * 5) == (-INF, -INF, -INF)
    assert paired_difference([1, 2, 3, 4, INF], FIVE).high == INF
    assert paired_difference([1, 2, 3, 4, INF], [INF, 2, 3, 4, 5]).contains(0)


def test_missing_runs_are_left_out():
    assert paired_difference([1, NAN, 3, 4], [2, 2, NAN, 4.5]) == paired_difference([1, 4], [2, 4.5])
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference([1, NAN], [NAN, 1])
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3])


def test_time_to_target_is_the_first_one():
    steps, values = [0, 10, 20, 30], [5.0, 2.0, 1.0, 2.0]
    assert [statistics.time_to_target(steps, values, t) for t in (6, 2, 1.5, 0.5)] == [0, 10, 20, INF]
    assert statistics.time_to_target(steps, [NAN] * 4, 1.0) == INF


def test_usable_rates_are_counted_and_spanned():
    rates, values = [1e-4, 1e-3, 1e-2, 1e-1, 1.0], [3.0, 1.0, 0.9, 1.0, INF]
    assert statistics.usable_rates(rates, values, 1.0) == (3, pytest.approx(2))
    assert statistics.usable_rates(rates, values, 0.9) == (1, 0)
    count, decades = statistics.usable_rates(rates, values, 0.5)
    assert count == 0
    assert math.isnan(decades)


def test_expected_best_is_the_mean_over_all_draws():
    values = np.array([4.0, 1.0, 2.0, 7.0])
    drawn = [np.mean([min(one) for one in itertools.product(values, repeat=k)]) for k in (1, 2, 3, 4)]
    assert statistics.expected_best(values, worst=10) == pytest.approx(drawn)
    assert statistics.expected_best([4, 1, NAN, INF], worst=3) == pytest.approx(
        statistics.expected_best([3, 1, 3, 3], worst=3)
    )
    with pytest.raises(ValueError, match="at least one tuning point"):
        statistics.expected_best([], worst=1)


# two problems by hand: on the first the ratios are 1, 2 and never, on the second 3, 1 and 1; the third nobody solves
TIMES = [[10.0, 20.0, INF], [6.0, 2.0, 2.0], [INF, INF, INF]]


def test_the_performance_profile_counts_problems_within_a_factor():
    profile = statistics.performance_profile(TIMES, [1, 2, 3, 100])
    assert profile * 3 == pytest.approx(np.array([[1, 1, 2, 2], [1, 2, 2, 2], [1, 1, 1, 1]]))


def test_the_score_is_the_area_under_the_profile():
    assert statistics.profile_score(TIMES) * 3 == pytest.approx([1 + 1 / 3, 2 / 3 + 1, 1])
    factors = np.linspace(1, 4, 30_001)
    area = np.trapezoid(statistics.performance_profile(TIMES, factors), factors, axis=1) / 3
    assert statistics.profile_score(TIMES) == pytest.approx(area, abs=1e-4)
    assert statistics.profile_score([[2.0, 4.0]], 2) == pytest.approx([1, 0])
    for wrong in ([[0.0, 1.0]], [[NAN, 1.0]], [1.0, 2.0]):
        with pytest.raises(ValueError, match="times must be positive"):
            statistics.profile_score(wrong)
    with pytest.raises(ValueError, match="limit must be above 1"):
        statistics.profile_score(TIMES, 1)


def test_wins_ties_and_losses_add_up():
    better, worse = FIVE, FIVE + np.array([0.2, 0.1, 0.3, 0.2, 0.1])
    noisy = FIVE + np.array([0.3, -0.3, 0.2, -0.2, 0.01])
    absent = np.full(5, NAN)
    tally = statistics.win_tie_loss([[better, worse, noisy], [worse, better, worse], [better, better, absent]])
    assert tally.wins.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert tally.ties.tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    assert (tally.losses == tally.wins.T).all()
