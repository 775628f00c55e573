"""Linear probes, against scikit-learn's ridge regression."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from jaxdl import analysis


@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_scores_are_those_of_ridge_regression_on_standardised_features(penalty):
    random = np.random.default_rng(0)
    features = (random.normal(size=(60, 5)) * [1, 10, 0.1, 3, 1] + [0, 50, 0, 0, 7]).astype(np.float32)
    labels, others = random.integers(3, size=60), random.normal(size=(9, 5)).astype(np.float32)
    scaler = StandardScaler().fit(features)
    peer = Ridge(alpha=60 * penalty).fit(scaler.transform(features), np.eye(3)[labels])
    found = analysis.linear_probe(features, labels, others, classes=3, penalty=penalty)
    np.testing.assert_allclose(found, peer.predict(scaler.transform(others)), rtol=1e-3, atol=1e-4)
    several = jax.vmap(lambda p: analysis.linear_probe(features, labels, others, classes=3, penalty=p))
    np.testing.assert_allclose(several(np.array([penalty, 5.0], np.float32))[0], found, rtol=1e-4, atol=1e-5)


def test_a_probe_reads_separable_classes_and_ignores_dead_features():
    labels = np.arange(40) % 4
    features = np.eye(4, dtype=np.float32)[labels]
    dead = np.concatenate([features, np.full((40, 2), 3, np.float32)], 1)
    for x in (features, dead):
        scores = analysis.linear_probe(x, labels, x, classes=4)
        assert np.isfinite(scores).all()
        np.testing.assert_array_equal(np.argmax(scores, -1), labels)


@pytest.mark.parametrize(
    ("arguments", "classes", "message"),
    [
        ((np.ones((4, 2)), np.zeros(3, int), np.ones((1, 2))), 2, r"have the shapes \(4, 2\), \(3,\), \(1, 2\)"),
        ((np.ones((4, 2)), np.zeros(4, int), np.ones((1, 3))), 2, r"needed are \(n, d\), \(n,\), \(m, d\)"),
        ((np.ones((4, 2)), np.zeros(4, int), np.ones((1, 2))), 1, "classes=1 is not allowed"),
        ((np.ones((4, 2)), np.zeros(4), np.ones((1, 2))), 2, "labels: got dtype float32, class numbers are integers"),
        ((np.ones((4, 2)), np.zeros(4, int), np.ones((1, 2), complex)), 2, "others: got complex"),
        ((np.ones((0, 2)), np.zeros(0, int), np.ones((1, 2))), 2, "features has no rows"),
    ],
)
def test_mistakes_are_named(arguments, classes, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        analysis.linear_probe(*arguments, classes=classes)


X, LABELS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), np.arange(60) % 3
OTHERS = X[:5] + 0.5


@pytest.mark.parametrize("promotion", ["standard", "strict"])
@pytest.mark.parametrize("kind", ["bfloat16", "float16", "uint8"])
def test_narrow_features_are_probed_in_float32(kind, promotion):
    narrow, others = (jnp.asarray(abs(x) * 9, kind) for x in (X, OTHERS))
    with jax.numpy_dtype_promotion(promotion), jax.numpy_rank_promotion("raise"):
        found = analysis.linear_probe(narrow, LABELS, others, classes=3, penalty=jnp.float32(0.1))
    wide = analysis.linear_probe(np.float32(narrow), LABELS, np.float32(others), classes=3, penalty=0.1)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wide)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scores_do_not_depend_on_the_unit_of_a_feature(scale):
    expected = analysis.linear_probe(X, LABELS, OTHERS, classes=3)
    found = analysis.linear_probe(X * np.float32(scale), LABELS, OTHERS * np.float32(scale), classes=3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_a_constant_whose_mean_rounds_is_a_dead_feature():
    constant = np.concatenate([X, np.full((60, 1), 0.1, np.float32)], 1)
    others = np.concatenate([OTHERS, np.full((5, 1), 0.2, np.float32)], 1)
    found = analysis.linear_probe(constant, LABELS, others, classes=3)
    np.testing.assert_allclose(found, analysis.linear_probe(X, LABELS, OTHERS, classes=3), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_that_is_no_class_is_seen(wrong):
    assert np.isnan(analysis.linear_probe(X, np.append(LABELS[:-1], wrong), OTHERS, classes=3)).all()


@pytest.mark.parametrize("penalty", [0.0, -1.0, np.nan])
def test_a_penalty_is_above_0(penalty):
    with pytest.raises(ValueError, match=r"penalty=.* is not allowed: it must be above 0"):
        analysis.linear_probe(X, LABELS, OTHERS, classes=3, penalty=penalty)
