"""Initialisers: moments against their formulas, fans, orthogonality, gains, and the lecture's experiments."""

import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import scipy.stats

from jaxdl import activations, initializers, nn

KEY = jax.random.key(7)

# kernel shape -> (fan_in, fan_out, groups), counted by hand
KERNELS = {(200, 300): (200, 300, 1), (3, 3, 16, 64): (144, 576, 1), (5, 5, 8, 64): (200, 800, 2)}
N_IN = "1/n_in", lambda i, o: 1 / i
TWO_N_IN = "2/n_in", lambda i, o: 2 / i
AVERAGE = "2/(n_in+n_out)", lambda i, o: 2 / (i + o)
# rule -> (variance by formula, distribution)
RULES = {
    "lecun_normal": (N_IN, "normal"),
    "lecun_uniform": (N_IN, "uniform"),
    "he_normal": (TWO_N_IN, "normal"),
    "he_uniform": (TWO_N_IN, "uniform"),
    "glorot_normal": (AVERAGE, "normal"),
    "glorot_uniform": (AVERAGE, "uniform"),
}
EXCESS_KURTOSIS = {"normal": 0.0, "uniform": -1.2}


def check_moments(sample, variance, distribution):
    """Hold mean, variance, skewness and kurtosis to the formula within five standard errors."""
    x = np.asarray(sample, np.float64).ravel()
    n, excess = x.size, EXCESS_KURTOSIS[distribution]
    assert abs(x.mean()) < 5 * math.sqrt(variance / n)
    assert abs(x.var() / variance - 1) < 5 * math.sqrt((2 + excess) / n)
    assert abs(scipy.stats.skew(x)) < 5 * math.sqrt(6 / n)
    assert abs(scipy.stats.kurtosis(x) - excess) < 5 * math.sqrt(24 / n)


@pytest.mark.parametrize("shape", KERNELS)
@pytest.mark.parametrize("rule", RULES)
def test_moments_of_every_named_rule(rule, shape):
    (_, variance), distribution = RULES[rule]
    fan_in, fan_out, groups = KERNELS[shape]
    sample = getattr(initializers, rule)(groups=groups)(KEY, shape)
    assert sample.shape == shape
    assert sample.dtype == jnp.float32
    check_moments(sample, variance(fan_in, fan_out), distribution)


@pytest.mark.parametrize(("shape", "expected"), KERNELS.items())
def test_fans(shape, expected):
    assert initializers.fans(shape, groups=expected[2]) == expected[:2]


def test_bounds_of_the_uniform_rules():
    shape = (300, 100)
    glorot = np.abs(initializers.glorot_uniform()(KEY, shape)).max()
    assert math.sqrt(6 / 400) * 0.999 < glorot <= math.sqrt(6 / 400)
    relu = np.abs(initializers.he_uniform()(KEY, shape)).max()
    assert math.sqrt(6 / 300) * 0.999 < relu <= math.sqrt(6 / 300)
    four = np.abs(initializers.glorot_uniform(gain=4)(KEY, shape)).max()
    assert four == pytest.approx(4 * glorot, rel=1e-6)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_variance_scaling_has_the_spread_of_jax_own(mode, distribution):
    shape = (3, 3, 20, 50)
    ours = initializers.variance_scaling(1.7, mode, distribution)(KEY, shape)
    theirs = jax.nn.initializers.variance_scaling(1.7, mode, distribution)(jax.random.key(8), shape)
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.04)
    assert float(jnp.abs(ours).max()) == pytest.approx(float(jnp.abs(theirs).max()), rel=0.15)


def test_truncated_normal_has_scipys_moments():
    sample = initializers.truncated_normal(0.5, lower=-1.0, upper=2.0)(KEY, (40_000,))
    exact = scipy.stats.truncnorm(-1, 2, scale=0.5)
    assert float(sample.min()) >= -0.5
    assert float(sample.max()) <= 1.0
    assert float(sample.mean()) == pytest.approx(exact.mean(), abs=5 * exact.std() / 200)
    assert float(sample.std()) == pytest.approx(exact.std(), rel=0.02)


@pytest.mark.slow
def test_normal_and_uniform():
    check_moments(initializers.normal(0.3)(KEY, (200, 200)), 0.09, "normal")
    check_moments(initializers.uniform(0.3)(KEY, (200, 200)), 0.03, "uniform")


def test_constants():
    assert (initializers.constant(0.25)(KEY, (2, 3)) == 0.25).all()
    assert (initializers.zeros()(KEY, (3,)) == 0).all()
    assert (initializers.ones()(KEY, (3,)) == 1).all()


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (3, 3, 2, 5), (1, 1, 3, 16)])
def test_orthogonal_is_orthogonal(shape):
    matrix = np.asarray(initializers.orthogonal(scale=2.0)(KEY, shape)).reshape(-1, shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=2e-6)


def test_orthogonal_is_uniform_over_the_rotations():
    # under Haar measure an entry has mean 0 and variance 1/n; raw QR would give the diagonal one sign
    draws = jax.vmap(lambda key: initializers.orthogonal()(key, (3, 3)))(jax.random.split(KEY, 3000))
    np.testing.assert_allclose(draws.mean(0), 0, atol=5 * math.sqrt(1 / 3 / 3000))
    np.testing.assert_allclose(draws.var(0), 1 / 3, atol=0.05)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dtype_is_kept_and_low_precision_is_the_rounded_draw(dtype):
    shape = (64, 32)
    for make in (initializers.he_normal, initializers.glorot_uniform, initializers.orthogonal):
        low, wide = make()(KEY, shape, dtype), make()(KEY, shape)
        assert low.dtype == dtype
        assert (low == wide.astype(dtype)).all()


def test_initialisers_are_traceable_and_depend_on_the_key():
    init = initializers.he_normal()
    many = jax.jit(jax.vmap(lambda key: init(key, (4, 5))))(jax.random.split(KEY, 3))
    assert many.shape == (3, 4, 5)
    assert len(np.unique(many)) == 60


@pytest.mark.parametrize(
    ("name", "gain"),
    [("relu", math.sqrt(2)), ("linear", 1), ("leaky_relu", math.sqrt(2 / 1.0001)), ("tanh", 1.5925374)],
)
def test_gain_keeps_the_second_moment(name, gain):
    assert initializers.gain(getattr(activations, name)) == pytest.approx(gain, rel=1e-6)


def test_gain_of_the_slope_explains_the_factor_four():
    assert initializers.gain(activations.sigmoid, keeps="slope") == 4
    assert initializers.gain(activations.tanh, keeps="slope") == 1
    traced = jax.jit(lambda x: x * initializers.gain(activations.sigmoid, keeps="slope"))
    assert float(traced(1.0)) == 4


def test_he_keeps_the_signal_of_a_deep_relu_net_and_glorot_loses_it():
    def depth_30(init):
        x = jax.random.normal(KEY, (100, 64))
        for key in jax.random.split(jax.random.key(1), 30):
            x = activations.relu(x @ init(key, (64, 64)))
        return float(jnp.mean(x**2))

    assert 0.05 < depth_30(initializers.he_normal()) < 20
    assert depth_30(initializers.glorot_normal()) < 20 * 0.5**30


def test_a_constant_start_never_breaks_the_symmetry():
    def loss(w):
        return jnp.sum((activations.tanh(jnp.ones((4, 3)) * 0.5 @ w["in"]) @ w["out"]) ** 2)

    init = initializers.constant(0.3)
    gradient = jax.grad(loss)({"in": init(KEY, (3, 5)), "out": init(KEY, (5, 1))})
    assert (gradient["in"] == gradient["in"][:, :1]).all()


BAD = [
    (lambda: initializers.variance_scaling(1.0, "fan", "normal"), "mode"),
    (lambda: initializers.variance_scaling(1.0, "fan_in", "gauss"), "distribution"),
    (lambda: initializers.variance_scaling(0.0, "fan_in", "normal"), "scale"),
    (lambda: initializers.truncated_normal(1.0, lower=2.0, upper=1.0), "lower"),
    (lambda: initializers.he_normal()(KEY, (3,)), "shape"),
    (lambda: initializers.orthogonal()(KEY, (3,)), "shape"),
    (lambda: initializers.he_normal(groups=3)(KEY, (3, 3, 4, 8)), "groups"),
    (lambda: initializers.gain(activations.relu, keeps="mean"), "keeps"),
    (lambda: initializers.gain(activations.relu, keeps="slope"), "activation"),
]


@pytest.mark.parametrize(("call", "argument"), BAD)
def test_mistakes_are_named(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}"):
        call()


@pytest.mark.parametrize("name", sorted({*initializers.__all__} - {"fans", "gain"}))
def test_a_factory_called_as_an_initialiser_is_told_so(name, monkeypatch):
    """As flax and JAX call ``zeros``, and as a layer calls ``kernel_init=initializers.zeros``."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for given in ((KEY, (2, 3)), (KEY, (2, 3), jnp.float32), (jax.random.PRNGKey(0), (2, 3))):
        with pytest.raises(
            TypeError, match=rf"^{name} makes an initialiser, which takes the key: {name}\(\.\.\.\)\(key"
        ):
            getattr(initializers, name)(*given)
    with pytest.raises(TypeError, match=f"{name} makes an initialiser"):
        nn.Dense(3, kernel_init=getattr(initializers, name)).init(KEY, (2,))
