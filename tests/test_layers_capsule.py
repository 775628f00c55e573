"""Capsules against loops over the paper's formulas."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import layers


def squash(s):
    norm = np.linalg.norm(s)
    return norm**2 / (1 + norm**2) * s / norm


def route(votes, iterations):
    """Run the paper's procedure 1 on one example, capsule by capsule."""
    n_in, n_out, _ = votes.shape
    b = np.zeros((n_in, n_out))
    for _ in range(iterations):
        c = np.array([np.exp(row) / np.exp(row).sum() for row in b])
        v = np.array([squash(sum(c[i, j] * votes[i, j] for i in range(n_in))) for j in range(n_out)])
        b += np.array([[votes[i, j] @ v[j] for j in range(n_out)] for i in range(n_in)])
    return v


def test_squash_is_the_formula_along_any_axis():
    s = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    expected = np.array([[squash(v) for v in row] for row in s])
    np.testing.assert_allclose(layers.squash(s), expected, rtol=1e-5, atol=1e-6)
    moved = layers.squash(np.moveaxis(s, -1, 0), axis=0)
    np.testing.assert_allclose(moved, np.moveaxis(expected, -1, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layers.squash(jnp.array([3.0, 4])), 25 / 26 * np.array([0.6, 0.8]), rtol=1e-6)


def test_zero_and_extreme_vectors():
    zero = jnp.zeros(4)
    np.testing.assert_array_equal(layers.squash(zero), 0)
    np.testing.assert_array_equal(jax.jacobian(layers.squash)(zero), np.zeros((4, 4)))
    np.testing.assert_array_equal(jax.grad(layers.capsule_length)(zero), np.zeros(4))
    far = layers.squash(jnp.array([1e4, 0, 0, 1e4]))
    np.testing.assert_allclose(far, np.array([1, 0, 0, 1]) / np.sqrt(2), rtol=1e-6)
    assert layers.squash(jnp.array([1e4, 1e4], jnp.bfloat16)).dtype == jnp.bfloat16
    assert layers.capsule_length(far) <= 1


def test_capsule_length():
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(layers.capsule_length(x), np.linalg.norm(x, axis=-1), rtol=1e-6)
    np.testing.assert_allclose(layers.capsule_length(x, axis=1), np.linalg.norm(x, axis=1), rtol=1e-6)


@pytest.mark.parametrize("iterations", [1, 3])
def test_dynamic_routing_is_the_papers_procedure(iterations):
    votes = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
    v = layers.dynamic_routing(votes, iterations=iterations)
    np.testing.assert_allclose(v, [route(one, iterations) for one in votes], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layers.dynamic_routing(votes[1], iterations=iterations), v[1], rtol=1e-5, atol=1e-6)
    assert layers.dynamic_routing(votes[:0]).shape == (0, 4, 3)


def test_routing_follows_agreement():
    """Five inputs agree on output 0 and cancel on output 1: routing makes the first longer."""
    votes = np.zeros((5, 2, 2), np.float32)
    votes[:, 0] = [1, 0]
    votes[:, 1] = [[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]]
    once, thrice = (layers.capsule_length(layers.dynamic_routing(votes, iterations=n)) for n in (1, 3))
    assert thrice[0] > once[0] > 0.8
    assert thrice[1] < 0.1


def test_gradients_of_routing_are_finite_at_zero_votes():
    grad = jax.jit(jax.grad(lambda votes: layers.dynamic_routing(votes).sum()))(jnp.zeros((3, 2, 4)))
    np.testing.assert_array_equal(grad, 0)


def test_mistakes_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"votes: got shape \(2, 3\)"):
        layers.dynamic_routing(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="x: got a scalar"):
        layers.squash(1.0)
    with pytest.raises(ValueError, match="iterations: got 0"):
        layers.dynamic_routing(jnp.ones((2, 3, 4)), iterations=0)
