"""Eigenvalues of the Hessian, sharpness and the noise of gradients, held to closed forms and numpy."""

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


# ---------------------------------------------------------------- Lanczos and sharpness


@pytest.mark.parametrize("values", [(1, 2, 300), (-5, -3, -1), (-300, 0, 2), (4, 4, 4), (0, 0, 0), (7,)])
def test_the_largest_eigenvalue_is_the_matrix_s_for_any_signs_and_repeats(values):
    values = np.array(values, np.float32)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values),) * 2))[0].astype(np.float32)
    a = turn @ np.diag(values) @ turn.T
    found = analysis.largest_eigenvalue(jax.random.key(1), lambda p: 0.5 * p["x"] @ a @ p["x"], {"x": jnp.ones(len(a))})
    np.testing.assert_allclose(found, values.max(), rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_lanczos_finds_the_edge_of_a_large_spectrum_from_below():
    """Of 500 eigenvalues in [0, 1] and one at 5, twenty products see the largest; one product is a mean of all."""
    values = jnp.append(jnp.linspace(0, 1, 500), 5.0)
    of = lambda n: analysis.largest_eigenvalue(
        jax.random.key(0), lambda x: 0.5 * jnp.sum(values * x**2), jnp.ones(501), iterations=n
    )
    found = [float(of(n)) for n in (1, 3, 5, 20)]
    assert all(np.diff(found) > 0)
    assert 0.3 < found[0] < 0.8
    assert found[-1] == pytest.approx(5, rel=1e-5)
    half = analysis.largest_eigenvalue(jax.random.key(0), lambda x: 3 * jnp.sum(x**2), jnp.ones(4, jnp.bfloat16))
    assert (half.dtype, float(half)) == (jnp.float32, pytest.approx(6, rel=1e-5))


@pytest.mark.slow
def test_it_is_the_dense_hessian_s_of_a_net_under_jit_and_vmap():
    x, y = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    loss = lambda w: losses.softmax_cross_entropy(jnp.tanh(x @ w["a"]) @ w["b"], y).mean()
    points = {
        "a": jax.random.normal(jax.random.key(0), (2, 4, 5)),
        "b": jax.random.normal(jax.random.key(1), (2, 5, 3)),
    }
    found = jax.jit(jax.vmap(lambda w: analysis.largest_eigenvalue(jax.random.key(2), loss, w)))(points)
    dense = jax.jit(jax.vmap(lambda w: analysis.hessian_eigenvalues(loss, w)[-1]))(points)
    np.testing.assert_allclose(found, dense, rtol=1e-3)


def test_sharpness_of_a_quadratic_is_its_taylor_series():
    """L(w + ρu) − L(w) = ρ|g| + ½ρ² uᵀAu, with g = Aw and u = g/|g|."""
    a, w = np.diag([1.0, 10.0]), np.array([2.0, 1.0])
    g = a @ w
    u = g / np.linalg.norm(g)
    of = lambda x: 0.5 * x @ jnp.float32(a) @ x
    found = analysis.sharpness(of, jnp.float32(w), radius=0.1)
    np.testing.assert_allclose(found, 0.1 * np.linalg.norm(g) + 0.005 * u @ a @ u, rtol=1e-5)
    assert float(analysis.sharpness(of, jnp.zeros(2))) == 0
    with pytest.raises(ValueError, match="radius=0 is not above 0"):
        analysis.sharpness(of, jnp.zeros(2), radius=0)
    with pytest.raises(ValueError, match="iterations=0: must be at least 1"):
        analysis.largest_eigenvalue(jax.random.key(0), of, jnp.zeros(2), iterations=0)


# ---------------------------------------------------------------- noise


def test_the_noise_scale_is_that_of_a_known_mean_and_covariance():
    """Gradients G + L z have tr Σ = Σ L², and batches of B of them the same scale; numpy takes all of 40,000."""
    mean, spread = np.array([3.0, -1.0, 0.0]), np.array([[2.0, 0, 0], [1.0, 0.5, 0], [0, 0, 1.0]])
    drawn = mean + np.random.default_rng(0).normal(size=(40_000, 3)) @ spread.T
    trace, square = np.trace(spread @ spread.T), mean @ mean
    for size in (1, 8):
        batches = jnp.float32(drawn.reshape(-1, size, 3).mean(1))
        found = analysis.gradient_noise({"a": batches[:, 0], "b": batches[:, 1:]}, batch_size=size)
        np.testing.assert_allclose(found, (trace, square, trace / square), rtol=0.05)
    np.testing.assert_allclose(
        analysis.gradient_noise(jnp.float32(drawn)).variance, np.trace(np.cov(drawn.T)), rtol=1e-4
    )


def test_the_estimates_are_unbiased_with_few_batches():
    """The means over 4,000 samples of three batches; |Ḡ|² alone would be a half above."""
    drawn = np.random.default_rng(1).normal(1, 1, (4000, 3, 2)).astype(np.float32)
    found = jax.vmap(lambda three: analysis.gradient_noise(three))(drawn)
    np.testing.assert_allclose(found.variance.mean(), 2, rtol=0.03)
    np.testing.assert_allclose(found.norm_squared.mean(), 2, rtol=0.05)
    assert np.isinf(np.asarray(found.scale)[np.asarray(found.norm_squared) <= 0]).all()


def test_the_edges_of_the_noise_scale_and_its_batches():
    assert analysis.gradient_noise(jnp.ones((3, 2))) == (0, 2, 0)
    assert analysis.gradient_noise(jnp.array([1.0, -1.0])) == (2, -1, math.inf)
    assert analysis.gradient_noise(jnp.zeros((2, 1))) == (0, 0, 0)
    np.testing.assert_allclose(analysis.batch_efficiency(30, jnp.array([10, 30, 90])), [0.25, 0.5, 0.75])
    for wrong in (jnp.ones((1, 2)), jnp.ones(()), {"a": jnp.ones((2, 1)), "b": jnp.ones((3, 1))}, {}):
        with pytest.raises(ValueError, match="needed is one leading axis of at least 2 batches"):
            analysis.gradient_noise(wrong)
    with pytest.raises(ValueError, match="batch_size=0: must be at least 1"):
        analysis.gradient_noise(jnp.ones((2, 1)), batch_size=0)
    with pytest.raises(ValueError, match=r"analysis\.watched made"):
        analysis.watched_layers(())


def test_each_device_of_a_shard_map_finds_the_largest_eigenvalue_of_its_own_parameters():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    part, points = jax.sharding.PartitionSpec("data"), jnp.array([[1.0, 2.0], [3.0, 1.0]])
    of = lambda x: analysis.largest_eigenvalue(jax.random.key(0), lambda p: (p**4).sum(), x[0])[None]
    found = jax.jit(jax.shard_map(of, mesh=mesh, in_specs=part, out_specs=part))(points)
    np.testing.assert_allclose(found, [12 * 4, 12 * 9], rtol=1e-5)


@pytest.mark.parametrize("curvature", [2.0, 0.0, -2.0])
def test_debug_nans_passes_the_largest_eigenvalue(curvature):
    with jax.debug_nans(True):
        found = analysis.largest_eigenvalue(jax.random.key(0), lambda p: curvature / 2 * (p**2).sum(), jnp.ones(3))
    np.testing.assert_allclose(found, curvature, atol=1e-6)
