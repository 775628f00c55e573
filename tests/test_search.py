"""Search of hyperparameters, against worked cases and closed forms."""

import math
import sys

import jaxtyping
import numpy as np
import pytest

from jaxdl.applications import search

SPACE = {"rate": search.log_uniform(1e-4, 1.0), "width": search.choice((32, 64, 128)), "momentum": search.uniform(0, 1)}


def test_a_grid_is_made_of_the_middles_of_equal_shares():
    found = search.grid(SPACE, {"rate": 2, "width": 3, "momentum": 1})
    expected = [(rate, width, 0.5) for rate in (1e-3, 1e-1) for width in (32, 64, 128)]
    np.testing.assert_allclose([list(one.values()) for one in found], expected)
    assert len(search.grid(SPACE, 2)) == 8


@pytest.mark.parametrize(
    "draw",
    [
        lambda space: search.grid(space, 2),
        lambda space: search.random(space, 2, seed=0),
        lambda space: search.evolution(len, space, trials=2, seed=0),
        lambda space: search.tree_parzen(len, space, trials=2, seed=0),
    ],
)
@pytest.mark.parametrize(("given", "said"), [((32, 64), r"\(\(32, 64\)\)"), (3, r"\(\[3\]\)")])
def test_a_dimension_that_is_no_function_is_named(monkeypatch, draw, given, said):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as where the library is used
    with pytest.raises(ValueError, match=rf"^space\['width'\]: got .*as search.choice{said}"):
        draw({"width": given})


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


BITS = {f"bit {i}": search.choice((0, 1)) for i in range(12)}
REALS = {f"x{i}": search.uniform(0, 1) for i in range(6)}  # no two draws are equal, so that a parent is known


def parents(trials, population):
    """Return for each child the place of its parent among the living, and the living themselves."""
    for place in range(population, len(trials)):
        living, child = trials[place - population : place], trials[place].candidate
        shared = [sum(child[name] == value for name, value in one.candidate.items()) for one in living]
        assert max(shared) == len(child) - 1, "a child differs from a living parent in one dimension"
        yield shared.index(max(shared)), [one.loss for one in living]


def test_evolution_begins_as_random_search_and_mutates_one_dimension_of_the_living():
    trials = search.evolution(lambda c: c["x0"], REALS, trials=60, population=5, sample=50, seed=3)
    assert [one.candidate for one in trials[:5]] == search.random(REALS, 5, seed=3)
    assert [one.loss for one in trials] == [one.candidate["x0"] for one in trials]
    for parent, losses in parents(trials, 5):
        assert losses[parent] == min(losses)  # of so large a sample: the best of the five youngest, not of all
    assert [one.candidate for one in search.evolution(lambda c: 0.0, REALS, trials=3, seed=3)] == search.random(
        REALS, 3, seed=3
    )


def test_parents_have_the_ranks_of_the_best_of_draws_with_replacement():
    """Of 4 living, the best is in a sample of 2 with probability 1 − (3/4)², the worst is the best of it with 1/4²."""
    loss = lambda c: math.sin(1e4 * sum(c.values()))  # no two are equal, as they would be by a part of the values
    trials = search.evolution(loss, REALS, trials=3000, population=4, sample=2, seed=0)
    ranks = [sorted(losses).index(losses[parent]) for parent, losses in parents(trials, 4)]
    shares = np.bincount(ranks, minlength=4) / len(ranks)
    np.testing.assert_allclose(shares, [7 / 16, 5 / 16, 3 / 16, 1 / 16], atol=0.035)


def test_evolution_climbs_where_random_search_does_not():
    """Of 12 bits, all are to be 1: 120 random draws find about 10 of them."""
    loss = lambda c: 12 - sum(c.values())
    ends = [search.best(search.evolution(loss, BITS, trials=120, seed=seed)).loss for seed in range(20)]
    drawn = [min(map(loss, search.random(BITS, 120, seed=seed))) for seed in range(20)]
    assert np.mean(ends) < 0.3 < 1.5 < np.mean(drawn)


def test_without_optuna_the_parzen_estimator_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"search\.tree_parzen needs optuna: install it with `pip install 'jaxdl\[se"):
        search.tree_parzen(len, SPACE, trials=1, seed=0)


def test_the_parzen_estimator_begins_at_random_and_goes_where_losses_are_low():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    loss = lambda c: math.nan if c["width"] == 128 else abs(math.log10(c["rate"]) + 1) + c["momentum"]
    trials = search.tree_parzen(loss, SPACE, trials=60, seed=3)
    again = search.tree_parzen(loss, SPACE, trials=12, seed=3)
    assert [one.candidate for one in again] == [one.candidate for one in trials[:12]]
    assert all(one.candidate["width"] in (32, 64, 128) and 1e-4 <= one.candidate["rate"] < 1 for one in trials)
    early, late = ([one.loss for one in part] for part in (trials[:10], trials[-30:]))
    assert np.nanmedian(late) < 0.6 * np.nanmedian(early)
    assert np.isnan(late).sum() < 8


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
        (lambda: search.tree_parzen(len, SPACE, trials=-1, seed=0), "trials=-1, startup=10, seed=0: allowed are"),
        (lambda: search.evolution(len, SPACE, trials=9, population=0, seed=0), "population=0 is not allowed"),
        (lambda: search.evolution(len, SPACE, trials=9, sample=0, seed=0), "sample=0 is not allowed"),
        (lambda: search.evolution(len, SPACE, trials=-1, seed=0), "trials=-1 is not allowed"),
        (lambda: search.evolution(len, {"k": search.choice((3,))}, trials=20, seed=0), r"needs two candidates or more"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
