"""Bias and variance, diagnoses, folds and toy data, held to identities, scikit-learn's properties and geometry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from jaxdl import analysis, data


def test_bias_and_variance_add_up_to_the_error():
    random = np.random.default_rng(0)
    predictions, truth = random.normal(size=(7, 4, 2)).astype(np.float32), random.normal(size=(4, 2)).astype(np.float32)
    found = jax.jit(analysis.bias_variance)(predictions, truth)
    np.testing.assert_allclose(found.variance, predictions.var(0), rtol=1e-5)
    np.testing.assert_allclose(found.bias_squared, (predictions.mean(0) - truth) ** 2, rtol=1e-4)
    np.testing.assert_allclose(found.bias_squared + found.variance, np.mean((predictions - truth) ** 2, 0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"predictions: got shape \(7, 4, 2\) for truth of shape \(4,\)"):
        analysis.bias_variance(predictions, truth[:, 0])
    with pytest.raises(ValueError, match="at least one resample"):
        analysis.bias_variance(predictions[:0], truth)


@pytest.mark.parametrize(
    ("errors", "problem"),
    [  # the lecture's four cases, in percent, where people err by 0 %
        ((1, 11, {}), "high variance"),
        ((15, 16, {}), "high bias"),
        ((15, 30, {"best_error": 14}), "high variance"),
        ((0.5, 1, {"tolerance": 1}), "none"),
        ((1, 10, {"held_out_error": 1.5}), "data mismatch"),
    ],
)
def test_the_largest_gap_names_the_problem(errors, problem):
    train, dev, options = errors
    found = analysis.diagnose(train, dev, **options)
    assert found.problem == problem
    assert found.bias + found.variance + found.mismatch == pytest.approx(dev - options.get("best_error", 0))
    assert found.advice
    with pytest.raises(ValueError, match="dev_error=nan: must be a finite number"):
        analysis.diagnose(train, float("nan"))


def test_folds_cover_all_rows_once_and_spread_the_classes_like_scikit_learns():
    labels = np.random.default_rng(1).choice(3, p=[0.7, 0.2, 0.1], size=53)
    folds = data.k_fold(labels, 5, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([dev for _, dev in folds])), np.arange(53))
    for train, dev in folds:
        np.testing.assert_array_equal(np.sort(np.append(train, dev)), np.arange(53))
    counts = np.array([np.bincount(labels[dev], minlength=3) for _, dev in folds])
    theirs = [np.bincount(labels[dev], minlength=3) for _, dev in StratifiedKFold(5).split(labels, labels)]
    np.testing.assert_array_equal(np.sort(counts, 0), np.sort(theirs, 0))
    assert np.ptp(counts.sum(1)) <= 1
    again, other = data.k_fold(labels, 5, seed=3), data.k_fold(labels, 5, seed=4)
    np.testing.assert_array_equal(folds[0][1], again[0][1])
    assert folds[0][1].tolist() != other[0][1].tolist()
    real = data.k_fold(np.linspace(0, 1, 7), 7, seed=0)
    assert sorted(len(dev) for _, dev in real) == [1] * 7
    with pytest.raises(ValueError, match="folds is 1; it must be an integer of at least 2"):
        data.k_fold(labels, 1, seed=0)
    with pytest.raises(ValueError, match="folds is 54; there are 53 examples"):
        data.k_fold(labels, 54, seed=0)


def test_rings_and_spirals_are_where_their_formulas_say():
    ring = data.toy.rings(9, seed=0, radii=(0.5, 1, 3), noise=0)
    np.testing.assert_allclose(np.hypot(*ring.images.T), np.array([0.5, 1, 3])[ring.labels], rtol=1e-6)
    np.testing.assert_array_equal(np.bincount(ring.labels), [3, 3, 3])
    arm = data.toy.spiral(400, seed=0, arms=3, turns=2, noise=0)
    radius, angle = np.hypot(*arm.images.T), np.arctan2(*arm.images.T[::-1])
    turned = np.exp(1j * (angle - 2 * np.pi * (2 * radius + arm.labels / 3)))
    np.testing.assert_allclose(turned, 1, atol=1e-4)
    assert 0.4 < np.mean(radius < 0.5**0.5) < 0.6, "half of the points lie in half of the disc"
    noisy = data.toy.rings(20_000, seed=1, radii=(2,), noise=0.1)
    assert np.hypot(*noisy.images.T).std() == pytest.approx(0.1, rel=0.05)
    assert data.toy.rings(5, seed=2).images.tolist() == data.toy.rings(5, seed=2).images.tolist()
    for call, message in (
        (lambda: data.toy.rings(1, seed=0), "count=1: must be at least 2, one point per class"),
        (lambda: data.toy.rings(4, seed=0, radii=(-1.0, 1.0)), r"radii=\(-1\.0, 1\.0\): allowed"),
        (lambda: data.toy.rings(4, seed=0, noise=-1), "noise=-1: allowed are finite numbers"),
        (lambda: data.toy.spiral(4, seed=0, arms=0), "arms=0: must be at least 1"),
        (lambda: data.toy.spiral(4, seed=-1), "seed is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert jnp.asarray(ring.images).dtype == jnp.float32
