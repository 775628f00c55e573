"""Linear probes, against scikit-learn's ridge regression."""

import jax
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
    ],
)
def test_mistakes_are_named(arguments, classes, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        analysis.linear_probe(*arguments, classes=classes)
