"""Norms of the gradients that reach each part, held to closed forms and to plain differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import activations, analysis, initializers, nn


def test_norms_of_the_lecture_s_worked_example():
    """E's linear 2-3-1 net, x = (1, 1), all weights and biases 1, loss ½ŷ²: δ = 10, ∂L/∂W¹ = 30, ∂L/∂W⁰ = 10."""
    ones = initializers.ones()
    net = nn.serial(hidden=nn.Dense(3, kernel_init=ones), out=nn.Dense(1, kernel_init=ones))
    params = jax.tree.map(jnp.ones_like, net.init(jax.random.key(0), (2,))[0])
    half = lambda y: 0.5 * jnp.sum(y**2)
    found = analysis.gradient_norms(net, half, params, {}, jnp.ones((1, 2)), ["hidden", "out"])
    np.testing.assert_allclose(found.outputs["out"], 10, rtol=1e-6)
    np.testing.assert_allclose(found.outputs["hidden"], 10 * 3**0.5, rtol=1e-6)
    np.testing.assert_allclose(found.params["out"], (3 * 30**2 + 10**2) ** 0.5, rtol=1e-6)  # the bias's is 10
    np.testing.assert_allclose(found.params["hidden"], 10 * 9**0.5, rtol=1e-6)


def test_any_path_in_any_combinator_and_parts_without_parameters():
    body = nn.serial(fc=nn.Dense(4), act=activations.tanh)
    net = nn.serial(first=nn.residual(body), second=nn.parallel("concat", old=nn.identity, new=nn.Dense(2)))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    params, state = net.init(jax.random.key(1), (4,))
    loss = lambda y: jnp.sum(jnp.sin(y))
    paths = ["first", "first/body", "first/body/act", "second/new"]
    norms = jax.jit(lambda params: analysis.gradient_norms(net, loss, params, state, x, paths))
    found = norms(params)
    assert set(found.params) == {"first", "first/body", "second/new"}
    grads = jax.grad(lambda p: loss(net.apply(p, state, x)[0]))(params)
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    np.testing.assert_allclose(found.params["second/new"], np.linalg.norm(flat(grads["second"]["new"])), rtol=1e-5)
    np.testing.assert_allclose(found.params["first"], found.params["first/body"], rtol=1e-6)
    # the residual branch adds to the output, so that the gradient there is the output's
    np.testing.assert_allclose(found.outputs["first"], found.outputs["first/body/act"], rtol=1e-6)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    mapped = jax.vmap(norms)(stacked)
    np.testing.assert_allclose(mapped.outputs["first"][0], found.outputs["first"], rtol=1e-5)


def test_norms_whose_squares_underflow_are_measured():
    net = nn.serial(fc=nn.Dense(1, bias=False))
    params, _ = net.init(jax.random.key(0), (3,))
    found = analysis.gradient_norms(net, lambda y: 1e-30 * jnp.sum(y), params, {}, jnp.full((1, 3), 2.0), ["fc"])
    np.testing.assert_allclose(found.params["fc"], 2e-30 * 3**0.5, rtol=1e-5)
    zero = analysis.gradient_norms(net, lambda y: 0.0 * jnp.sum(y), params, {}, jnp.ones((1, 3)), ["fc"])
    assert zero.outputs["fc"] == 0


def test_what_is_no_scalar_or_no_path_is_named():
    net = nn.serial(fc=nn.Dense(2))
    params, _ = net.init(jax.random.key(0), (3,))
    with pytest.raises(ValueError, match=r"loss: returns shape \(1, 2\), allowed is a scalar"):
        analysis.gradient_norms(net, lambda y: y, params, {}, jnp.ones((1, 3)), ["fc"])
    with pytest.raises(ValueError, match="path: got 'fd', which does not exist"):
        analysis.gradient_norms(net, jnp.sum, params, {}, jnp.ones((1, 3)), ["fd"])
