"""Activations against jax.nn, scipy and the lectures' numbers, and their behaviour at kinks and extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxdl import activations

Z = np.linspace(-8, 8, 41).astype(np.float32)

# name -> (an independent value, an independent derivative) of float64 numpy arrays
FORMULAS = {
    "linear": (lambda z: z, np.ones_like),
    "threshold": (lambda z: np.heaviside(z, 1), np.zeros_like),
    "sigmoid": (scipy.special.expit, lambda z: scipy.special.expit(z) * scipy.special.expit(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "relu6": (lambda z: np.clip(z, 0, 6), lambda z: ((z > 0) & (z < 6)).astype(float)),
    "leaky_relu": (lambda z: np.maximum(z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(z)), lambda z: np.where(z > 0, 1, np.exp(z))),
    "softplus": (lambda z: np.logaddexp(z, 0), scipy.special.expit),
    "gelu": (
        lambda z: z * scipy.stats.norm.cdf(z),
        lambda z: scipy.stats.norm.cdf(z) + z * scipy.stats.norm.pdf(z),
    ),
    "swish": (
        lambda z: z * scipy.special.expit(z),
        lambda z: scipy.special.expit(z) * (1 + z * scipy.special.expit(-z)),
    ),
    "silu": (
        lambda z: z / (1 + np.exp(-z)),
        lambda z: scipy.special.expit(z) * (1 + z * scipy.special.expit(-z)),
    ),
    "mish": (
        lambda z: z * np.tanh(np.logaddexp(z, 0)),
        lambda z: np.tanh(np.logaddexp(z, 0)) + z * scipy.special.expit(z) / np.cosh(np.logaddexp(z, 0)) ** 2,
    ),
    "selu": (
        lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
        lambda z: 1.0507009873554805 * np.where(z > 0, 1, 1.6732632423543772 * np.exp(z)),
    ),
    "hard_swish": (
        lambda z: z * np.clip(z + 3, 0, 6) / 6,
        lambda z: np.where(np.abs(z) < 3, (2 * z + 3) / 6, z >= 3),
    ),
}
ELEMENTWISE = sorted(FORMULAS)


def derivative(name, z):
    return jax.grad(lambda z: getattr(activations, name)(z).astype(jnp.float32).sum())(z)


def test_every_activation_has_an_oracle():
    assert set(activations.__all__) == {*FORMULAS, "noisy_relu", "softmax", "log_softmax", "glu", "prelu"}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_value_and_derivative_equal_the_formula(name):
    value, slope = FORMULAS[name]
    z = Z.astype(np.float64)
    np.testing.assert_allclose(getattr(activations, name)(Z), value(z), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(derivative(name, Z), slope(z), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_bfloat16_is_the_rounded_float32_value(name):
    z = jnp.asarray(Z, jnp.bfloat16)
    wide = getattr(activations, name)(z.astype(jnp.float32)).astype(jnp.bfloat16)
    got = getattr(activations, name)(z)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got.astype(np.float32), wide.astype(np.float32))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax", "log_softmax"])
def test_values_and_gradients_are_finite_up_to_1e4(name, dtype):
    z = jnp.array([-1e4, -100.0, -1e-30, 0.0, 1e-30, 100.0, 1e4], dtype)
    assert np.isfinite(getattr(activations, name)(z).astype(np.float32)).all()
    assert np.isfinite(derivative(name, z).astype(np.float32)).all()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_limits_at_infinity(name):
    low, high, nan = np.asarray(getattr(activations, name)(jnp.array([-np.inf, np.inf, np.nan])))
    with np.errstate(invalid="ignore"):
        limits = FORMULAS[name][0](np.array([-np.inf, np.inf]))
    of_products = ("gelu", "hard_swish", "mish", "silu", "swish")
    assert low == pytest.approx(0 if name in of_products else limits[0])  # their formulas are −inf · 0
    assert high == limits[1]
    assert np.isnan(nan)


def test_saturation_numbers_of_the_lecture():
    assert derivative("sigmoid", jnp.array([6.0]))[0] == pytest.approx(0.00247, abs=5e-6)
    assert derivative("tanh", jnp.array([3.0]))[0] == pytest.approx(0.00987, abs=5e-6)


def test_tanh_is_a_stretched_sigmoid():
    np.testing.assert_allclose(activations.tanh(Z), 2 * activations.sigmoid(2 * Z) - 1, atol=2e-7)


@pytest.mark.parametrize("slope", [10.0, 100.0, 1000.0])
def test_sigmoid_and_tanh_tend_to_the_step(slope):
    z = Z[np.abs(Z) > 1 / slope]
    step = activations.threshold(z)
    bound = np.exp(-slope * np.abs(z).min())
    assert np.abs(activations.sigmoid(slope * z) - step).max() <= bound
    assert np.abs((1 + activations.tanh(slope * z)) / 2 - step).max() <= bound


def test_gradient_at_the_kinks():
    zero = jnp.zeros(1)
    assert derivative("relu", zero)[0] == 0
    assert derivative("relu6", jnp.array([0.0, 6.0])).tolist() == [0, 0]
    assert derivative("leaky_relu", zero)[0] == jnp.float32(0.01)
    assert derivative("elu", zero)[0] == 1


def test_relu_at_zeros_infinities_and_nan_in_both_modes():
    z = jnp.array([-0.0, 0.0, 1e-30, np.inf, -np.inf, np.nan])
    expected = [0, 0, 1, 1, 0, 1]  # NaN propagates
    _, forward = jax.jvp(activations.relu, (z,), (jnp.ones(6),))
    assert forward.tolist() == derivative("relu", z).tolist() == expected
    twice = jax.jacfwd(jax.grad(lambda z: jnp.sum(activations.relu(z) ** 2)))(z[1:4])
    assert twice.tolist() == np.diag([0, 2, 2]).tolist()


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "relu6"])
def test_nan_stays_between_two_matrix_products_in_one_program(name):
    """XLA on CPU fuses products and a maximum, and the fused maximum turns NaN into 0 (seen in jaxlib 0.10.2)."""
    f = getattr(activations, name)
    x = np.ones((64, 32), np.float32)
    x[5, 7] = np.nan
    y = jax.jit(lambda x: f(f(x @ np.ones((32, 48), np.float32)) @ np.ones((48, 16), np.float32)))(x)
    np.testing.assert_array_equal(np.isnan(y).all(1), np.isnan(x).any(1))
    assert np.isnan(y).sum() == 16


@pytest.mark.parametrize("name", ["silu", "mish", "selu", "hard_swish"])
def test_equals_the_namesake_of_jax(name):
    np.testing.assert_allclose(getattr(activations, name)(Z), getattr(jax.nn, name)(Z), rtol=1e-5, atol=1e-6)


def test_glu_gates_one_half_by_the_other():
    x = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    for axis in (-1, 1):
        np.testing.assert_allclose(activations.glu(x, axis=axis), jax.nn.glu(x, axis), rtol=1e-6)
    assert activations.glu(jnp.array([2.0, 0.0])).tolist() == [1]
    for wrong in (x[..., :5], np.float32(1)):
        with pytest.raises(ValueError, match=r"^x: got shape .* needs an axis -1 of even length"):
            activations.glu(wrong)


def test_prelu_is_a_leaky_relu_whose_slope_has_a_gradient():
    z = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    slope = jnp.array([0.0, 0.25, 0.5, -1.0])
    got, gradient = jax.value_and_grad(lambda s: activations.prelu(z, s).sum())(slope)
    assert float(got) == pytest.approx(float(np.where(z > 0, z, np.asarray(slope) * z).sum()), rel=1e-5)
    np.testing.assert_allclose(gradient, np.minimum(z, 0).sum((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(activations.prelu(z, 0.1), activations.leaky_relu(z, negative_slope=0.1))
    with pytest.raises(ValueError, match=r"^slope: got shape \(3,\), allowed for x \(3, 2, 4\) are \(\) and \(4,\)"):
        activations.prelu(z, jnp.ones(3))


def test_selu_keeps_mean_0_and_variance_1():
    z = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    y = np.asarray(activations.selu(z))
    assert y.mean() == pytest.approx(0, abs=0.01)
    assert y.var() == pytest.approx(1, abs=0.02)


def test_softplus_has_the_sigmoid_as_derivative_in_every_order():
    third = jax.vmap(jax.grad(jax.grad(jax.grad(activations.softplus))))(Z)
    s = scipy.special.expit(Z.astype(np.float64))
    np.testing.assert_allclose(third, s * (1 - s) * (1 - 2 * s), atol=1e-6)


def test_options():
    z = jnp.array([-2.0, 3.0])
    assert activations.leaky_relu(z, negative_slope=0.5).tolist() == [-1, 3]
    np.testing.assert_allclose(activations.elu(z, alpha=2.0), [2 * np.expm1(-2), 3], rtol=1e-6)
    np.testing.assert_allclose(activations.swish(z, beta=2.0), z * scipy.special.expit(2 * z), rtol=1e-6)
    assert activations.threshold(z, at=3.0).tolist() == [0, 1]
    np.testing.assert_allclose(activations.gelu(Z, approximate=True), jax.nn.gelu(Z), atol=1e-6)


def test_elu_brings_the_mean_activation_closer_to_zero():
    z = jax.random.normal(jax.random.key(0), (10_000,))
    means = {f.__name__: abs(float(f(z).mean())) for f in (activations.relu, activations.elu)}
    # E[max(0, z)] = 1/√(2π) = 0.399; E[elu(z)] = 0.399 + √e Φ(−1) − ½ = 0.161
    assert means["relu"] == pytest.approx(0.3989, abs=0.02)
    assert means["elu"] == pytest.approx(0.1605, abs=0.02)


def test_softmax_sums_to_one_and_sigmoids_do_not():
    z = jax.random.normal(jax.random.key(0), (5, 7)) * 3
    np.testing.assert_allclose(activations.softmax(z), scipy.special.softmax(z, -1), rtol=1e-5)
    np.testing.assert_allclose(activations.softmax(z, axis=0), scipy.special.softmax(z, 0), rtol=1e-5)
    np.testing.assert_allclose(activations.log_softmax(z), scipy.special.log_softmax(z, -1), rtol=1e-5)
    np.testing.assert_allclose(activations.softmax(z).sum(-1), 1, rtol=1e-6)
    moved = z.at[:, 0].add(5.0)  # sigmoids are independent of each other, probabilities are not
    np.testing.assert_array_equal(activations.sigmoid(moved)[:, 1:], activations.sigmoid(z)[:, 1:])
    assert (activations.softmax(moved)[:, 1:] < activations.softmax(z)[:, 1:]).all()


def test_softmax_gradient_has_the_factor_that_the_lecture_forgot():
    z = np.array([0.3, -1.2, 2.0], np.float32)
    y = np.array([0.2, 0.5, 0.3], np.float32)
    p = scipy.special.softmax(z.astype(np.float64))
    got = jax.grad(lambda z: -(y * activations.log_softmax(z)).sum())(z)
    delta = p[None, :] - np.eye(3)
    np.testing.assert_allclose(got, (y[:, None] * delta).sum(0), atol=1e-6)
    assert not np.allclose(got, delta.sum(0), atol=0.1)  # the printed form


def test_softmax_of_excluded_and_of_infinite_logits():
    z = jnp.array([1.0, -jnp.inf, 1.0])
    np.testing.assert_allclose(activations.softmax(z), [0.5, 0, 0.5])
    np.testing.assert_allclose(jax.grad(lambda z: activations.softmax(z)[0])(z), [0.25, 0, -0.25])
    assert np.isnan(activations.softmax(jnp.array([jnp.inf, 0.0]))).any()


@pytest.mark.parametrize("sigmoid_is", ["variance", "deviation"])
def test_noisy_relu_draws_with_the_stated_spread(sigmoid_is):
    n = 40_000
    for z in (3.0, 6.0):  # far from the cut at 0
        got = activations.noisy_relu(jax.random.key(1), jnp.full(n, z), sigmoid_is=sigmoid_is)
        s = scipy.special.expit(z)
        variance = s if sigmoid_is == "variance" else s**2
        assert got.min() >= 0
        if z == 6.0:
            assert float(got.mean()) == pytest.approx(z, abs=4 * np.sqrt(variance / n))
            assert float(got.var()) == pytest.approx(variance, rel=4 * np.sqrt(2 / n))
    below = activations.noisy_relu(jax.random.key(1), jnp.full(n, -1.0), sigmoid_is=sigmoid_is)
    deviation = np.sqrt(scipy.special.expit(-1.0)) if sigmoid_is == "variance" else scipy.special.expit(-1.0)
    share = scipy.stats.norm.sf(1 / deviation)  # of the units that noise wakes up
    assert float((below > 0).mean()) == pytest.approx(share, abs=4 * np.sqrt(share / n))


def test_noisy_relu_depends_on_the_key_and_its_gradient_is_finite():
    z = jnp.array([-1e4, -200.0, 0.0, 200.0, 1e4])
    gradient = jax.grad(lambda z: activations.noisy_relu(jax.random.key(0), z).sum())(z)
    assert np.isfinite(gradient).all()
    first, again, other = (activations.noisy_relu(jax.random.key(k), jnp.ones(8)) for k in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).all()


def test_noisy_relu_refuses_an_unknown_spread():
    with pytest.raises(ValueError, match=r"^sigmoid_is"):
        activations.noisy_relu(jax.random.key(0), jnp.ones(3), sigmoid_is="sigma")
