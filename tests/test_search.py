"""Search of hyperparameters, against worked cases and closed forms."""

import math

import numpy as np
import pytest

from jaxdl.applications import search

SPACE = {"rate": search.log_uniform(1e-4, 1.0), "width": search.choice((32, 64, 128)), "momentum": search.uniform(0, 1)}


def test_a_grid_is_made_of_the_middles_of_equal_shares():
    found = search.grid(SPACE, {"rate": 2, "width": 3, "momentum": 1})
    expected = [(rate, width, 0.5) for rate in (1e-3, 1e-1) for width in (32, 64, 128)]
    np.testing.assert_allclose([list(one.values()) for one in found], expected)
    assert len(search.grid(SPACE, 2)) == 8


def test_random_draws_have_their_distributions_and_do_not_depend_on_their_number():
    drawn = search.random(SPACE, 4000, seed=1)
    assert search.random(SPACE, 5, seed=1) == drawn[:5]
    rates, widths, momenta = ([one[name] for one in drawn] for name in SPACE)
    np.testing.assert_allclose(np.quantile(np.log10(rates), [0.25, 0.5, 0.75]), [-3, -2, -1], atol=0.1)
    np.testing.assert_allclose(np.quantile(momenta, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.03)
    np.testing.assert_allclose([widths.count(width) / 4000 for width in (32, 64, 128)], 1 / 3, atol=0.03)


def test_the_best_of_n_draws_is_among_the_best_twentieth_with_the_known_probability():
    space, n = {"u": search.uniform(0, 1)}, 10
    best = [min(one["u"] for one in search.random(space, n, seed=seed)) for seed in range(2000)]
    assert np.mean(np.less(best, 0.05)) == pytest.approx(1 - 0.95**n, abs=0.035)  # three standard errors


def test_halving_by_hand():
    """Candidate c has the loss c + 8 / resource if c > 0, and candidate 0, which is slow at first, 40 / resource."""
    evaluate = lambda c, resource: c + (8 if c else 40) / resource
    trials = search.successive_halving(evaluate, [0, 5, 3, 8, 2, 7, 6], resource=2, factor=2)
    rounds = {r: [t.candidate for t in trials if t.resource == r] for r in (2, 4, 8)}
    assert rounds == {2: [0, 5, 3, 8, 2, 7, 6], 4: [2, 3, 5], 8: [2]}  # 0 would win in the end
    assert trials[-1] == search.Trial(2, 3.0, 8) == search.best(trials)
    assert sum(trial.resource for trial in trials) == 7 * 2 + 3 * 4 + 8


def test_nan_is_the_worst_loss():
    loss = {1: math.nan, 2: math.inf, 3: 5.0, 4: 6.0}
    trials = search.successive_halving(lambda c, _: loss[c], [1, 2, 3, 4], resource=1, factor=4)
    assert [t.candidate for t in trials] == [1, 2, 3, 4, 3]
    assert search.best(trials[:4]).candidate == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: search.uniform(1, 1), "low=1, high=1: low must be below high"),
        (lambda: search.log_uniform(0, 1), "low=0 is not allowed: it must be above 0"),
        (lambda: search.choice(()), "values: got none"),
        (lambda: search.grid(SPACE, 0), r"counts\['rate'\]=0 is not allowed"),
        (lambda: search.grid(SPACE, {"rate": 1}), r"counts has \['rate'\], the space has"),
        (lambda: search.random(SPACE, -1, seed=0), "n=-1, seed=0"),
        (lambda: search.successive_halving(lambda c, r: 0.0, [], resource=1), "candidates: got none"),
        (lambda: search.successive_halving(lambda c, r: 0.0, [1], resource=1, factor=1), "factor=1"),
        (lambda: search.best([]), "trials: got none"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
