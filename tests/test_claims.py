"""The measured rows of benchmarks/, held to closed forms and published numbers."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import claims, quadratic_deep
from jaxdl import optimizers, studies

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("form", claims.FORMS)
def test_largest_stable_rate_is_that_of_the_spectral_radius(form):
    build, limit, _ = claims.FORMS[form]
    assert studies.largest_stable_rate(build, steps=2000) == pytest.approx(limit, rel=3e-3)


def test_largest_stable_rate_names_ends_that_do_not_enclose_it():
    with pytest.raises(ValueError, match=r"low=3\.0 must be a stable rate"):
        studies.largest_stable_rate(optimizers.sgd, low=3.0, steps=100)
    with pytest.raises(ValueError, match=r"high=1\.0 must not be one"):
        studies.largest_stable_rate(optimizers.sgd, high=1.0, steps=100)


def test_a_path_of_plain_descent_on_a_bowl_is_geometric():
    path = studies.descent_path(studies.landscapes.bowl_value, optimizers.sgd(0.02), [-10.0, 1.0], 30)
    t = np.arange(31)
    np.testing.assert_allclose(path, np.stack([-10 * 0.98**t, 0.5**t], 1), rtol=1e-5)


def test_momentum_damps_oscillation_and_allows_a_larger_rate():
    (_, plain_crossings, plain_motion, *_), (_, crossings, motion, left, _) = claims.oscillation()
    # plain descent multiplies y by −.98 in each of the 100 steps
    assert plain_crossings == 100
    assert plain_motion == pytest.approx(1.98 * (1 - 0.98**100) / 0.02, rel=1e-3)
    assert crossings < 20
    assert motion < plain_motion / 10
    assert left < 0.02
    above = {name: left for name, _, _, left, _ in claims.oscillation(2.2)}
    assert above["plain"] > 1e6
    assert above["momentum, average"] < 0.02


def test_momentum_equals_its_average_form_after_rescaling():
    assert claims.rescaling() <= 16


def test_all_leave_a_saddle_and_momentum_leaves_it_sooner():
    rows = {name: (steps, on_ridge) for name, steps, on_ridge in claims.saddle_escape()}
    assert all(steps for steps, _ in rows.values())
    assert all(on_ridge == 0 for _, on_ridge in rows.values())
    assert rows["momentum"][0] < rows["sgd"][0]
    assert rows["adam"][0] < rows["sgd"][0]


def test_almost_adam_steps_too_far_at_first():
    (_, full, full_end), (_, almost, almost_end) = claims.almost_adam()
    t = np.array(claims.EARLY)
    np.testing.assert_allclose(full, 1.0, rtol=1e-4)
    np.testing.assert_allclose(almost, (1 - 0.9**t) / np.sqrt(1 - 0.999**t), rtol=1e-4)
    assert max(almost) > 6
    assert full_end != pytest.approx(almost_end, rel=0.1)


def test_adagrad_s_rate_decays_to_zero_and_rmsprop_s_does_not():
    (_, adagrad), (_, rmsprop) = claims.effective_rates()
    t = np.array(claims.LATE)
    np.testing.assert_allclose(adagrad, 1 / np.sqrt(0.1 + t), rtol=1e-3)  # the accumulator starts at .1
    np.testing.assert_allclose(rmsprop, 1 / np.sqrt(1 - 0.9**t), rtol=1e-3)


@pytest.mark.parametrize("name", quadratic_deep.BASELINES)
def test_the_published_baselines_are_reproduced(name):
    baseline = quadratic_deep.BASELINES[name]
    losses = quadratic_deep.final_losses(baseline.build)
    assert losses.mean() == pytest.approx(baseline.mean, abs=2 * baseline.deviation)


def test_fresh_orders_spread_momentum_s_results():
    losses = quadratic_deep.final_losses(quadratic_deep.BASELINES["momentum"].build, shuffle="fresh")
    # published: 88.55 ± 1.04; the mean of ten seeds has a third of that deviation
    assert losses.mean() == pytest.approx(88.55, abs=1.0)
    assert losses.std() > 0.5


@pytest.mark.parametrize("name", ["claims", "quadratic_deep"])
def test_the_committed_pages_have_the_tables_of_their_commands(name):
    text = (ROOT / "benchmarks" / f"{name}.md").read_text()
    assert f"`python -m benchmarks.{name}`" in text
    assert len(re.findall(r"^\|", text, re.MULTILINE)) > 4
