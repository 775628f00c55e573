"""Eigenvalues of the Hessian, held to closed forms and numpy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import analysis, losses


def test_eigenvalues_of_a_quadratic_are_those_of_its_matrix():
    a = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
    a = a + a.T
    found = analysis.hessian_eigenvalues(lambda x: 0.5 * x @ a @ x, jnp.ones(5))
    np.testing.assert_allclose(found, np.linalg.eigvalsh(a), rtol=1e-4, atol=1e-5)


def test_a_tree_of_parameters_and_the_hessian_of_least_squares():
    x = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    loss = lambda p: losses.half_squared_error(x @ p["w"] + p["b"], jnp.zeros(20)).mean()
    full = np.append(x, np.ones((20, 1)), 1)
    found = analysis.hessian_eigenvalues(loss, {"b": jnp.zeros(()), "w": jnp.zeros(2)})
    np.testing.assert_allclose(found, np.linalg.eigvalsh(full.T @ full / 20), rtol=1e-4)


def test_it_runs_under_jit_and_vmap_and_is_the_second_derivative():
    points = jnp.linspace(-2, 2, 5)[:, None]
    of = lambda x: analysis.hessian_eigenvalues(lambda x: jnp.sum(x**4), x)
    np.testing.assert_allclose(jax.jit(jax.vmap(of))(points), 12 * points**2, rtol=1e-6)
    np.testing.assert_allclose(of(jnp.bfloat16([2.0])), [48.0])
    assert of(jnp.bfloat16([2.0])).dtype == jnp.float32


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"function: returns shape \(2,\), allowed is a scalar"):
        analysis.hessian_eigenvalues(lambda x: x, jnp.ones(2))
    with pytest.raises(ValueError, match="params: got complex64"):
        analysis.hessian_eigenvalues(lambda x: jnp.sum(x), jnp.ones(2, jnp.complex64))
    with pytest.raises(ValueError, match="params: got no numbers"):
        analysis.hessian_eigenvalues(lambda x: 0.0, {})


def test_the_condition_number_of_a_quadratic_is_that_of_its_matrix():
    a = np.random.default_rng(3).normal(size=(6, 4)).astype(np.float32)
    found = analysis.condition_number(lambda x: 0.5 * jnp.sum((a @ x) ** 2), jnp.zeros(4))
    np.testing.assert_allclose(found, np.linalg.cond(a) ** 2, rtol=1e-3)
    of = lambda *scales: analysis.condition_number(lambda x: jnp.sum(jnp.array(scales) * x**2), jnp.ones(2))
    assert [float(of(1.0, 100.0)), float(of(1.0, 1e-9)), float(of(1.0, -1.0))] == [100, math.inf, math.inf]
