"""A linear primitive with a given transpose: every mode of differentiation equals JAX's own of the same code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import primitives


def scaled_where(residuals, x):
    mask, weight = residuals
    return jnp.where(mask, weight * x, 0)  # its own transpose


@jax.custom_jvp
def positive(w):
    return w > 0


@positive.defjvp
def _positive_jvp(primals, tangents):
    del tangents
    return positive(*primals), np.zeros(primals[0].shape, jax.dtypes.float0)  # JAX's tangent of a bool


W, X = jnp.array([0.7, -1.3, 2.1]), jnp.array([1.5, 2.5, -0.5])
COMPOSED = {
    "of x": lambda f, x: f((X > 0, W), x**2),
    "of a float in the residuals": lambda f, x: f((X > 0, x**2), W),
    "of both": lambda f, x: f((W > 0, x**2), x**3),
    "where the mask alone depends on it": lambda f, x: x.sum() + f((positive(x), W), X),
    "where the mask depends on it, too": lambda f, x: f((positive(x), W), x**2),
    "of nothing": lambda f, x: f((W > 0, W), X) + x,
    "inside a scan": lambda f, x: jax.lax.scan(lambda c, w: (f((c > 0, w), c), c), x, jnp.stack([W, X]))[0],
    "inside a branch": lambda f, x: jax.lax.cond(x[0] > 0, lambda: f((positive(x), W), x**2), lambda: x),
    "twice": lambda f, x: f((W > 0, x), f((X > 0, x), x)),
}
MODES = {
    "jvp": lambda g: jax.jvp(g, (X,), (W,)),
    "linearize": lambda g: jax.linearize(g, X)[1](W),
    "jacrev": lambda g: jax.jacrev(g)(X),
    "jacfwd of jacrev": lambda g: jax.jacfwd(jax.jacrev(g))(X),
    "jacrev of jacrev": lambda g: jax.jacrev(jax.jacrev(g))(X),
    "jacrev of jacfwd": lambda g: jax.jacrev(jax.jacfwd(g))(X),
    "vmap of jacrev": lambda g: jax.vmap(jax.jacrev(g))(jnp.stack([X, W])),
    "remat": lambda g: jax.jacrev(jax.checkpoint(g))(X),
}


@pytest.mark.parametrize("mode", MODES)
def test_derivatives_of_a_linear_primitive_are_those_of_its_code(mode):
    primitive = primitives.linear("scaled_where", scaled_where, scaled_where)

    def all_of_them(f):
        return {name: MODES[mode](lambda x, g=g: g(f, x)) for name, g in COMPOSED.items()}

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        jax.jit(lambda: all_of_them(primitive))(),
        jax.jit(lambda: all_of_them(scaled_where))(),
    )


def test_reverse_mode_runs_the_transpose_that_was_given():
    primitive = primitives.linear("double", lambda _, x: 2 * x, lambda _, cotangent: 3 * cotangent)
    np.testing.assert_array_equal(jax.grad(lambda x: primitive((), x).sum())(X), np.full(3, 3.0))
    np.testing.assert_array_equal(jax.jvp(lambda x: primitive((), x), (X,), (W,))[1], 2 * W)
