"""McNemar's test and interval: published examples, symmetry, coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from jaxdl.studies.proportions import mcnemar


def table(both, only_first, only_second, neither):
    counts = (both, only_first, only_second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


PUBLISHED = {
    # Fagerland, Lydersen & Laake 2014, Recommended tests and confidence intervals for paired binomial proportions
    (1, 1, 7, 12): (-0.2857, -0.507, -0.0256, 0.0703),
    # Armitage & Berry 1994, p. 127, as computed by StatsDirect
    (20, 12, 2, 16): (0.2, 0.056156, 0.329207, 0.0129),
}


@pytest.mark.parametrize("counts", PUBLISHED)
def test_published_examples(counts):
    found, wanted = mcnemar(*table(*counts)), PUBLISHED[counts]
    assert [f"{value:.3g}" for value in (*found.difference, found.p_value)] == [f"{value:.3g}" for value in wanted]
    assert (found.only_first, found.only_second) == counts[1:3]


def test_exchanging_the_two_turns_the_sign():
    first, second = table(30, 9, 4, 7)
    one, other = mcnemar(first, second), mcnemar(second, first)
    np.testing.assert_allclose([-other.difference.high, -other.difference.low], one.difference[1:])
    assert one.p_value == other.p_value


@pytest.mark.parametrize("counts", [(5, 0, 0, 0), (0, 0, 0, 5), (0, 5, 0, 0), (0, 0, 1, 0), (3, 0, 0, 2)])
def test_corners_stay_within_bounds(counts):
    found = mcnemar(*table(*counts))
    assert -1 <= found.difference.low <= found.difference.estimate <= found.difference.high <= 1
    assert 0 < found.p_value <= 1


def test_the_interval_covers_and_the_test_is_a_sign_test():
    rng, truth, covered = np.random.default_rng(0), np.array([0.8, 0.06, 0.02, 0.12]), 0
    for _ in range(300):
        counts = rng.multinomial(300, truth)
        found = mcnemar(*table(*counts))
        covered += found.difference.contains(float(truth[1] - truth[2]))
        differing = int(counts[1] + counts[2])
        tail = stats.binom.cdf(min(counts[1:3]), differing, 0.5)
        assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert 0.92 <= covered / 300 <= 0.99


@pytest.mark.parametrize(
    ("first", "second", "level"),
    [([], [], 0.95), ([True], [True, False], 0.95), ([1, 0], [0, 1], 0.95), ([True], [False], 1.0)],
)
def test_bad_arguments_are_named(first, second, level):
    with pytest.raises(ValueError, match=r"^(first and second must be bools|level=1.0 must lie between 0 and 1)"):
        mcnemar(np.array(first, bool) if first == [] else np.array(first), np.array(second), level=level)
