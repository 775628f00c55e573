"""The dense layer against numpy and the lectures' 2-3-1 example."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import layers


@pytest.mark.parametrize("leading", [(), (4,), (2, 0), (2, 3)])
def test_dense_is_the_matrix_product(leading):
    rng = np.random.default_rng(0)
    x, kernel, bias = rng.normal(size=(*leading, 5)), rng.normal(size=(5, 3)), rng.normal(size=3)
    expected = np.einsum("...i,io->...o", x, kernel) + bias
    np.testing.assert_allclose(layers.dense(*map(np.float32, (x, kernel, bias))), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layers.dense(np.float32(x), np.float32(kernel)), expected - bias, rtol=1e-5, atol=1e-5)


def test_linear_network_of_the_lecture_has_its_worked_gradients():
    """A linear 2-3-1 net of ones at x = (1, 1), y = 0, with the loss ½(ŷ − y)² [Lecture row D2]."""
    params = [(jnp.ones((2, 3)), jnp.ones(3)), (jnp.ones((3, 1)), jnp.ones(1))]

    def loss(params):
        hidden = layers.dense(jnp.ones(2), *params[0])
        output = layers.dense(hidden, *params[1])
        return 0.5 * jnp.sum(output**2), (hidden, output)

    (_, (hidden, output)), grads = jax.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_array_equal(hidden, [3, 3, 3])
    np.testing.assert_array_equal(output, [10])
    np.testing.assert_array_equal(grads[1][0], [[30], [30], [30]])
    np.testing.assert_array_equal(grads[0][0], np.full((2, 3), 10))
    np.testing.assert_array_equal(grads[0][1], [10, 10, 10])
    np.testing.assert_array_equal(grads[1][1], [10])


def test_mixed_dtypes_are_promoted():
    y = layers.dense(jnp.ones(2, jnp.bfloat16), jnp.ones((2, 2), jnp.float32), jnp.ones(2, jnp.bfloat16))
    assert y.dtype == jnp.float32
    assert layers.dense(jnp.ones(2, jnp.bfloat16), jnp.ones((2, 2), jnp.bfloat16)).dtype == jnp.bfloat16


def test_mistakes_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"x: got shape \(2, 4\), allowed are \(\.\.\., 3\)"):
        layers.dense(jnp.ones((2, 4)), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"kernel: got shape \(3,\)"):
        layers.dense(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match=r"bias: got shape \(3,\), allowed is \(2,\)"):
        layers.dense(jnp.ones(3), jnp.ones((3, 2)), jnp.ones(3))
