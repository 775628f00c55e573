"""The statistics of a study against scipy, closed forms, cases by hand and simulated coverage."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from benchmarks import coverage
from jaxdl.studies import statistics
from jaxdl.studies.statistics import bootstrap, paired_difference, student

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


@pytest.mark.parametrize("values", [FIVE, TWELVE, FIVE[:3]], ids=["five", "twelve", "three"])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_students_interval_is_scipys(values, level):
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
    assert student(values, level=level) == pytest.approx((values.mean(), *theirs))


def test_few_equal_and_diverged_values_of_students_interval():
    assert student([0.1] * 3) == (0.1, 0.1, 0.1)
    assert student([0.1]) == (0.1, -INF, INF)
    assert student([1.0, 2.0]) == (1.5, -INF, INF)  # two seeds carry no verdict
    assert student([1.0, 2.0, INF]) == (INF, -INF, INF)
    assert student([INF] * 3) == (INF, INF, INF)
    assert student([INF] * 2) == (INF, -INF, INF)
    assert math.isnan(student([INF, -INF, 0.0]).estimate)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        student(FIVE, level=95)
    with pytest.raises(ValueError, match="values must not hold NaN"):
        student([1.0, NAN])


def test_the_paired_test_is_scipys_of_the_differences():
    a, b = TWELVE, TWELVE[::-1] + 0.3
    found, theirs = statistics.paired_test(a, b), scipy.stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.interval[1:] == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.effect == pytest.approx((a - b).mean() / (a - b).std(ddof=1))
    assert found.effect * math.sqrt(12) == pytest.approx(theirs.statistic)
    assert found.seeds == 12


def test_the_interval_excludes_0_exactly_where_p_is_small():
    for seed in range(50):
        a, b = np.random.default_rng(seed).normal([[0.0], [1.0]], 1.0, (2, 6))
        for level in (0.8, 0.95):
            found = statistics.paired_test(a, b, level=level)
            assert found.interval.contains(0) == (found.p_value > 1 - level)


def test_seeds_that_cancel_tell_apart_what_an_unpaired_test_does_not():
    other = FIVE + np.array([0.2, 0.1, 0.3, 0.2, 0.1])
    assert paired_difference(FIVE, other) == pytest.approx(student([-0.2, -0.1, -0.3, -0.2, -0.1]))
    assert not paired_difference(FIVE, other).contains(0)
    assert student(FIVE).high > student(other).low


def test_identical_and_equivalent_runs_differ_by_nothing():
    assert paired_difference(FIVE, FIVE) == (0, 0, 0)
    assert paired_difference(FIVE, FIVE * (1 + 1e-6)) == (0, 0, 0)
    assert paired_difference(FIVE, FIVE * (1 + 3e-6)).high < 0
    assert paired_difference(FIVE, FIVE * (1 + 1e-6), resolution=0).high < 0
    assert statistics.paired_test(FIVE, FIVE)[1:] == (1, 0, 5)
    assert statistics.paired_test([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])[1:] == (0, -INF, 3)  # seeds do not matter


def test_divergence_counts_as_worse_than_any_value():
    assert paired_difference([INF] * 3, [INF] * 3) == (0, 0, 0)
    assert paired_difference([1.0] * 5, [INF] * 5) == (-INF, -INF, -INF)
    assert paired_difference([1, 2, 3, 4, INF], FIVE) == (INF, -INF, INF)  # one of five says nothing
    assert paired_difference([1, INF, INF, INF, INF], FIVE) == (INF, INF, INF)
    assert paired_difference([1, 2, 3, 4, INF], [INF, 2, 3, 4, 5]).contains(0)
    mixed = statistics.paired_test([1, 2, 3, 4, INF], [INF, 2, 3, 4, 5])
    assert mixed.p_value == 1
    assert math.isnan(mixed.effect)
    assert statistics.paired_test([INF] * 4, [1.0] * 4)[1:] == (pytest.approx(2 / 4**4), INF, 4)


def test_p_of_divergence_is_that_of_all_outcomes():
    # both diverge with a probability of one half: enumerate who does in each of five pairs
    kinds = np.array(list(itertools.product([INF, 1.0], repeat=2)))  # four pairs of equal probability
    counts = [[(kinds[k] == (INF, 1)).all() - 1 * (kinds[k] == (1, INF)).all() for k in one]
              for one in itertools.product(range(4), repeat=5)]  # fmt: skip
    plus, minus = (np.sum(np.array(counts) == sign, 1) for sign in (1, -1))
    extreme = np.mean(((plus >= 4) & (minus == 0)) | ((minus >= 4) & (plus == 0)))
    found = statistics.paired_test([INF] * 4 + [1.0], [1.0] * 5)
    assert found.p_value == pytest.approx(extreme)
    # false decisions stay below 5 % at any rate of divergence
    for rate in (0.1, 0.3, 0.5):
        runs = np.where(np.random.default_rng(0).random((2000, 2, 6)) < rate, INF, 1.0)
        assert np.mean([statistics.paired_test(a, b).p_value <= 0.05 for a, b in runs]) <= 0.05


def test_missing_runs_are_left_out():
    a, b = [1, NAN, 3, 4, 5, 7], [2, 2, NAN, 4.5, 5.1, 7.2]
    assert paired_difference(a, b) == paired_difference([1, 4, 5, 7], [2, 4.5, 5.1, 7.2])
    with pytest.raises(ValueError, match="no seed in common"):
        paired_difference([1, NAN], [NAN, 1])
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3])


def test_two_seeds_carry_no_verdict():
    few = statistics.paired_test([1.0, 1.0], [2.0, 2.0])
    assert few.interval == (-1, -INF, INF)
    assert math.isnan(few.p_value)
    assert few.seeds == 2
    tally = statistics.win_tie_loss([[[1.0, 1.0], [2.0, 2.0]]])
    assert not tally.wins.any()
    assert not tally.ties.any()


def test_holms_adjustment_is_that_of_r():
    # p.adjust(c(.01, .04, .03, .005, .5), "holm") of R 4.3
    assert statistics.holm([0.01, 0.04, 0.03, 0.005, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.5])
    assert statistics.holm([0.4, NAN, 0.02]) == pytest.approx([0.4, NAN, 0.04], nan_ok=True)
    assert statistics.holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert statistics.holm([]).size == 0
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        statistics.holm([0.5, 1.5])


TABLES = Path(coverage.__file__).with_suffix(".md").read_text().splitlines()
COVERED = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLES if line.startswith("| ")]


def test_the_committed_coverage_is_right_at_every_number_of_seeds():
    rows = [row for row in COVERED if len(row) == 7 and row[0].isdigit() and int(row[0]) >= statistics.MIN_SEEDS]
    assert [int(row[0]) for row in rows] == [n for n in coverage.SIZES if n >= statistics.MIN_SEEDS]
    assert all(93 <= float(cell) <= 97 for row in rows for cell in row[1:4])
    two = next(row for row in COVERED if row[0] == "2" and len(row) == 7)
    assert float(two[5]) < 93  # the reason for MIN_SEEDS: metrics with steps
    null = [row for row in COVERED if len(row) == 4 and row[0].isdigit()]
    assert len(null) == 16
    # the correction is all but exact for normal values, and a share of 5 % has a standard error of .3
    assert all(float(row[3]) <= 5.6 < float(row[2]) for row in null)


@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("kind", ["normal", "t3", "real"])
def test_coverage_simulated_again_with_the_librarys_intervals(kind, n):
    row = next(row for row in COVERED if row[0] == str(n) and len(row) == 7)
    draw, mean = coverage.distributions()[kind]
    found = [student(one).contains(mean) for one in draw(np.random.default_rng(7), (2000, n))]
    # a share of 95 % of 2,000 samples has a standard error of .5 %
    assert 100 * np.mean(found) == pytest.approx(float(row[1 + ["normal", "t3", "real"].index(kind)]), abs=2)


@pytest.mark.parametrize("corrected", [False, True])
def test_studies_of_equal_optimizers_decide_as_often_as_simulated(corrected):
    values = coverage.null_values(5, "real", studies=60)
    decided = [statistics.win_tie_loss(one, corrected=corrected).wins.any() for one in values]
    assert 100 * np.mean(decided) == pytest.approx(
        coverage.null_studies(5, "real", corrected=corrected, studies=60), abs=0.1
    )
    assert np.mean(decided) <= 0.12 if corrected else np.mean(decided) > 0.5


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
    for count in (1, 2, 3, 4):
        subsets = [min(one) for one in itertools.combinations(values, count)]
        found = statistics.expected_best(values, worst=10, replacement=False)
        assert found[count - 1] == pytest.approx(np.mean(subsets))
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
    values = [[better, worse, noisy], [worse, better, worse], [better, better, absent]]
    tally = statistics.win_tie_loss(values, corrected=False)
    assert tally.wins.tolist() == [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert tally.ties.tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
    assert (tally.losses == tally.wins.T).all()
    # p = .008 on each of three decided pairs: seven comparisons are too many for it
    corrected = statistics.win_tie_loss(values)
    assert not corrected.wins.any()
    assert (corrected.ties == tally.wins + tally.ties + tally.losses).all()
    assert statistics.win_tie_loss([[better, worse]]).wins.tolist() == [[0, 1], [0, 0]]
