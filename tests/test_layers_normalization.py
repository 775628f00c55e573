"""Norms against flax.linen, numpy and loops over the papers' formulas."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import layers

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def affine(channels):
    return images(channels, seed=1), images(channels, seed=2)


def test_batch_norm_in_training_is_flaxs_with_its_gradient():
    x, (scale, offset), g = images(4, 3, 5, 6), affine(6), images(4, 3, 5, 6, seed=3)
    module = nn.BatchNorm(use_running_average=False, epsilon=1e-5, use_fast_variance=False)
    variables = module.init(jax.random.key(0), x)

    def peer(x, scale, offset):
        params = {"scale": scale, "bias": offset}
        return module.apply({**variables, "params": params}, x, mutable=["batch_stats"])[0]

    def ours(x, scale, offset):
        return layers.batch_norm(x, *layers.batch_statistics(x), scale, offset)

    for name, a, b in zip(
        ("y", "x", "scale", "offset"), *map(value_and_vjp, (ours, peer), [(x, scale, offset, g)] * 2), strict=True
    ):
        np.testing.assert_allclose(a, b, **CLOSE, err_msg=name)


def value_and_vjp(f, arguments):
    *primals, g = arguments

    @jax.jit
    def run(g, *primals):
        y, vjp = jax.vjp(f, *primals)
        return y, *vjp(g)

    return run(g, *primals)


def test_second_derivatives_of_batch_norm_are_those_of_its_formula():
    """∂²σ²/∂x_i∂x_j = 2/m (δ_ij − 1/m), and JAX's own derivative of the formula written out."""
    x, scale, offset = images(5, 2), *affine(2)
    hessian = jax.hessian(lambda x: layers.batch_statistics(x[:, None])[1][0])(x[:, 0])
    np.testing.assert_allclose(hessian, 2 / 5 * (np.eye(5) - 1 / 5), atol=1e-6)

    def formula(x, scale, offset):
        centred = x - x.mean(0, keepdims=True)
        y = centred / jnp.sqrt((centred**2).mean(0, keepdims=True) + 1e-5) * scale[None] + offset[None]
        return jnp.sum(jnp.sin(y))

    def ours(x, scale, offset):
        return jnp.sum(jnp.sin(layers.batch_norm(x, *layers.batch_statistics(x), scale, offset)))

    every = lambda f: jax.tree.leaves(jax.jit(jax.hessian(f, (0, 1, 2)))(x, scale, offset))
    for a, b in zip(every(ours), every(formula), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_batch_norm_backward_sums_the_cotangent_and_one_product_with_it():
    """XLA on CPU would write any other summand to memory first."""
    x = images(4, 3, 2)
    ours = lambda x, scale, offset: layers.batch_norm(x, *layers.batch_statistics(x), scale, offset)
    _, pullback = jax.vjp(ours, x, *affine(2))
    jaxpr = jax.make_jaxpr(pullback)(x).jaxpr
    sums = [equation.invars[0] for equation in jaxpr.eqns if equation.primitive.name == "reduce_sum"]
    summed = {one for one in sums if one.aval.shape == x.shape}
    assert len(summed) == 2
    assert jaxpr.invars[-1] in summed


def test_batch_norm_with_given_statistics():
    x, (scale, offset) = images(2, 3, 4), affine(4)
    mean, var = images(4, seed=5), abs(images(4, seed=6))
    y = layers.batch_norm(x, mean, var, scale, offset, eps=0.1)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 0.1) * scale + offset, **CLOSE)
    np.testing.assert_allclose(layers.batch_norm(x, mean, var, eps=0.1), (x - mean) / np.sqrt(var + 0.1), **CLOSE)


def test_statistics_are_the_mean_and_the_biased_variance():
    x = images(4, 3, 5, 6)
    mean, var = layers.batch_statistics(x)
    assert mean.shape == var.shape == (6,)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), **CLOSE)
    np.testing.assert_allclose(var, x.var((0, 1, 2)), **CLOSE)
    mean, var = layers.batch_statistics(x, axis=(1, -1))
    np.testing.assert_allclose(mean, x.mean((1, 3), keepdims=True), **CLOSE)
    np.testing.assert_allclose(var, x.var((1, 3), keepdims=True), **CLOSE)
    mean, var = layers.batch_statistics(x, axis=0)
    np.testing.assert_allclose(layers.batch_norm(x, mean, var), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), **CLOSE)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_statistics_over_devices_are_those_of_the_whole_batch(size):
    """The shards' means differ so much that only the right combination gives the whole batch's variance."""
    x = images(16, 3) + np.linspace(-1000, 1000, 16, dtype=np.float32)[:, None]
    shards = x.reshape(size, 16 // size, 3)
    mean, var = jax.pmap(lambda x: layers.batch_statistics(x, axis_name="d"), axis_name="d")(shards)
    np.testing.assert_allclose(mean[0], x.astype(np.float64).mean(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(var[0], x.astype(np.float64).var(0), rtol=1e-5)
    np.testing.assert_array_equal(var, np.broadcast_to(var[0], var.shape))


def test_gradients_through_synchronised_statistics_are_those_of_the_whole_batch():
    x, g = images(8, 3), images(8, 3, seed=1)

    def normalised(x, axis_name=None):
        return layers.batch_norm(x, *layers.batch_statistics(x, axis_name=axis_name))

    whole = jax.vjp(normalised, x)[1](g)[0]
    shards = jax.vmap(lambda x, g: jax.vjp(lambda x: normalised(x, "d"), x)[1](g)[0], axis_name="d")
    np.testing.assert_allclose(shards(x.reshape(4, 2, 3), g.reshape(4, 2, 3)).reshape(8, 3), whole, **CLOSE)


def test_a_large_mean_costs_no_digits():
    x = 1e4 + images(1000, 1) / 2
    np.testing.assert_allclose(layers.batch_statistics(x)[1], x.astype(np.float64).var(0), rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_statistics_of_narrow_types_are_float32(dtype):
    x = jnp.asarray(200 + images(4096, 2), dtype)
    mean, var = layers.batch_statistics(x)
    assert mean.dtype == var.dtype == jnp.float32
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, wide.var(0), rtol=1e-4)
    y = layers.batch_norm(x, mean, var, jnp.ones(2), jnp.zeros(2))
    assert y.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, float), (wide - wide.mean(0)) / wide.std(0), rtol=0.01, atol=0.01)
    for norm in (layers.layer_norm, layers.local_response_norm):
        assert norm(x).dtype == dtype


def test_the_lecture_says_when_batch_norm_is_the_identity_and_that_a_bias_is_lost():
    """With scale √var and offset mean, batch norm is the identity [Lecture row G5]."""
    x = images(32, 4)
    mean, var = layers.batch_statistics(x)
    np.testing.assert_allclose(layers.batch_norm(x, mean, var, jnp.sqrt(var + 1e-5), mean), x, **CLOSE)
    shifted = x + np.float32([3, -2, 7, 0])
    normalised = layers.batch_norm(shifted, *layers.batch_statistics(shifted))
    np.testing.assert_allclose(normalised, layers.batch_norm(x, mean, var), rtol=1e-4, atol=1e-5)


def test_a_constant_channel_has_finite_values_and_gradients():
    x = jnp.full((4, 2), 3.0)
    for norm in (lambda x: layers.batch_norm(x, *layers.batch_statistics(x)), layers.layer_norm):
        np.testing.assert_array_equal(norm(x), 0)
        assert np.isfinite(jax.jacobian(norm)(x)).all()


@pytest.mark.parametrize(
    ("ours", "peer"),
    [
        (layers.layer_norm, nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)),
        (
            lambda x, *affine: layers.layer_norm(x, *affine, axis=(-3, -2, -1)),
            nn.LayerNorm(epsilon=1e-5, reduction_axes=(-3, -2, -1), use_fast_variance=False),
        ),
        (
            lambda x, *affine: layers.group_norm(x, *affine, groups=2),
            nn.GroupNorm(num_groups=2, epsilon=1e-5, use_fast_variance=False),
        ),
        (layers.instance_norm, nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False)),
    ],
    ids=["layer", "layer over images", "group", "instance"],
)
def test_norms_of_one_example_are_flaxs(ours, peer):
    x, (scale, offset) = images(2, 4, 5, 6), affine(6)
    expected = peer.apply({"params": {"scale": scale, "bias": offset}}, x)
    np.testing.assert_allclose(ours(x, scale, offset), expected, **CLOSE)
    np.testing.assert_allclose(ours(x[1], scale, offset), expected[1], **CLOSE)
    assert ours(x[:0], scale, offset).shape == (0, 4, 5, 6)


@pytest.mark.parametrize(("size", "per_size"), [(5, False), (5, True), (4, False), (1, False), (9, False)])
def test_local_response_norm_is_the_papers_sum(size, per_size):
    x = images(2, 3, 7)
    alpha = 0.1 / size if per_size else 0.1
    expected = np.zeros(x.shape)
    for i in range(7):
        near = x[..., max(i - size // 2, 0) : i + (size - 1) // 2 + 1].astype(float)
        expected[..., i] = x[..., i] / (1.5 + alpha * (near**2).sum(-1)) ** 0.6
    y = layers.local_response_norm(x, size=size, alpha=0.1, beta=0.6, k=1.5, per_size=per_size)
    np.testing.assert_allclose(y, expected, **CLOSE)


def test_local_response_norm_has_alexnets_defaults():
    """One pixel of one channel, x = 100, gives 100 / (2 + 1e-4 · 10⁴)^¾ [Lecture row H8]."""
    np.testing.assert_allclose(layers.local_response_norm(jnp.array([100.0])), [100 / 3**0.75], rtol=1e-6)
    np.testing.assert_allclose(
        layers.local_response_norm(jnp.array([100.0]), per_size=True), [100 / 2.2**0.75], rtol=1e-6
    )


def test_local_response_norm_of_a_channel_knows_its_neighbours_alone():
    x = jnp.ones(9).at[0].set(1e30).at[8].set(jnp.nan)  # its square is infinite, and ∞ · 0 would be NaN
    y = layers.local_response_norm(x, size=3, alpha=1.0, k=1.0)
    assert y[:2].tolist() == [0, 0]
    np.testing.assert_allclose(y[2:7], 4**-0.75, rtol=1e-6)
    assert np.isnan(y[7:]).all()


@pytest.mark.parametrize("size", [3, 4])
def test_local_response_norm_has_the_gradient_of_the_papers_sum_in_every_argument(size):
    """Numpy has δ_i d_i^−β − 2αβ x_i Σ_j δ_j x_j d_j^(−β−1); the scalars' gradients are finite differences."""
    x, g = images(2, 7), images(2, 7, seed=1)
    near = np.array([[-(size // 2) <= j - i <= (size - 1) // 2 for j in range(7)] for i in range(7)], float)
    d = 1.5 + 0.1 * (x.astype(float) ** 2) @ near.T
    expected = g * d**-0.6 - 2 * 0.1 * 0.6 * x * ((g * x * d**-1.6) @ near)

    def total(x, alpha, beta, k):
        return jnp.sum(g * layers.local_response_norm(x, size=size, alpha=alpha, beta=beta, k=k))

    def in_numpy(alpha, beta, k):
        return np.sum(g * x / (k + alpha * (x.astype(float) ** 2) @ near.T) ** beta)

    dx, *slopes = jax.grad(total, (0, 1, 2, 3))(x, 0.1, 0.6, 1.5)
    np.testing.assert_allclose(dx, expected, **CLOSE)
    at = np.array([0.1, 0.6, 1.5])
    for step, slope in zip(1e-5 * np.eye(3), slopes, strict=True):
        difference = (in_numpy(*(at + step)) - in_numpy(*(at - step))) / 2e-5
        np.testing.assert_allclose(slope, difference, rtol=1e-3)


def contrast_norm_loop(x, size, across_channels):
    """Apply Jarrett's two steps to one image, pixel by pixel."""
    r = size // 2

    def local_mean(v):
        out = np.zeros(v.shape)
        for i, j in itertools.product(range(v.shape[0]), range(v.shape[1])):
            total, weight = 0, 0
            for p, q in itertools.product(range(-r, r + 1), repeat=2):
                if 0 <= i + p < v.shape[0] and 0 <= j + q < v.shape[1]:
                    w = np.exp(-(p**2 + q**2) / (2 * (size / 4) ** 2))
                    total, weight = total + w * v[i + p, j + q], weight + w
            out[i, j] = total / weight
        return out.mean(-1, keepdims=True) if across_channels else out

    v = x - local_mean(x)
    deviation = np.sqrt(local_mean(v**2))
    return v, v / np.maximum(deviation, deviation.mean((0, 1), keepdims=True))


@pytest.mark.parametrize("across_channels", [True, False])
def test_local_contrast_norm_is_the_loop(across_channels):
    x = images(2, 5, 6, 3)
    options = {"size": 5, "across_channels": across_channels}
    both = layers.local_contrast_norm(x, **options)
    subtractive = layers.local_contrast_norm(x, mode="subtractive", **options)
    for n in range(2):
        v, y = contrast_norm_loop(x[n].astype(float), **options)
        np.testing.assert_allclose(subtractive[n], v, **CLOSE)
        np.testing.assert_allclose(both[n], y, **CLOSE)
    divided = layers.local_contrast_norm(subtractive, mode="divisive", **options)
    np.testing.assert_allclose(divided, both, **CLOSE)


def test_local_contrast_norm_does_not_see_brightness_and_contrast():
    x = images(9, 9, 1)
    y = layers.local_contrast_norm(x)
    np.testing.assert_allclose(layers.local_contrast_norm(5 * x + 7), y, rtol=1e-3, atol=1e-4)
    flat = jnp.full((9, 9, 1), 0.5)
    np.testing.assert_allclose(layers.local_contrast_norm(flat), 0, atol=1e-2)
    zeros = jnp.zeros((4, 4, 1))
    assert np.isfinite(jax.grad(lambda x: layers.local_contrast_norm(x).sum())(zeros)).all()


X = jnp.ones((2, 4, 4, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.batch_norm(X, jnp.ones(5), jnp.ones(6)), r"mean: got shape \(5,\)"),
        (lambda: layers.batch_norm(X, jnp.ones(6), jnp.ones((1, 2, 4, 4, 6))), r"var: got shape \(1, 2, 4, 4, 6\)"),
        (lambda: layers.batch_norm(X, jnp.ones(6), jnp.ones(6), jnp.ones(4)), r"scale: got shape \(4,\)"),
        (lambda: layers.batch_norm(X, jnp.ones(6), jnp.ones(6), None, jnp.ones(4)), r"offset: got shape \(4,\)"),
        (lambda: layers.batch_statistics(jnp.ones(())), "x: got a scalar"),
        (lambda: layers.batch_statistics(X, axis=4), "axis: got 4"),
        (lambda: layers.group_norm(X, groups=4), "groups: got 4, allowed are divisors of 6 channels"),
        (lambda: layers.group_norm(X[0, 0], groups=1), r"x: got shape \(4, 6\)"),
        (lambda: layers.local_response_norm(X, size=0), "size: got 0"),
        (lambda: layers.local_response_norm(X, k=0), "k: got 0, allowed are numbers > 0"),
        (lambda: layers.local_contrast_norm(X, size=4), "size: got 4, allowed are odd"),
        (lambda: layers.local_contrast_norm(X, mode="none"), "mode: got 'none'"),
        (lambda: layers.local_contrast_norm(X[0, 0]), r"x: got shape \(4, 6\)"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()
