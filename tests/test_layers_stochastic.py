"""Noise against its exact distribution: values, frequencies, mean and variance."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import backprop, layers

KEY = jax.random.key(7)
N = 40_000
SIGMAS = 5  # a correct implementation exceeds 5 standard errors once in two million draws


def assert_share(event, probability):
    """Hold the share of true entries to the bound of a binomial of this probability."""
    event = np.asarray(event)
    error = np.sqrt(probability * (1 - probability) / event.size)
    assert abs(event.mean() - probability) <= SIGMAS * error


def assert_moments(sample, mean, var):
    """Hold mean and variance of a nearly normal sample, along axis 0, to their values."""
    sample = np.asarray(sample, np.float64)
    n = len(sample)
    assert (abs(sample.mean(0) - mean) <= SIGMAS * np.sqrt(var / n) + 1e-6).all()
    assert (abs(sample.var(0) - var) <= SIGMAS * var * np.sqrt(2 / n) + 1e-6).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_scaled_or_as_drawn(rate):
    x = 1 + jax.random.uniform(jax.random.key(0), (N,))
    y, drawn = layers.dropout(KEY, x, rate), layers.dropout(KEY, x, rate, mode="as_drawn")
    kept = np.asarray(y) != 0
    assert_share(~kept, rate)
    np.testing.assert_allclose(y, np.where(kept, x / (1 - rate), 0), rtol=1e-6)
    np.testing.assert_array_equal(drawn, np.where(kept, x, 0))


def test_dropped_units_are_independent_of_their_neighbours():
    kept = np.asarray(layers.dropout(KEY, jnp.ones((N // 2, 2)), 0.3)) != 0
    assert_share(kept[:, 0] & kept[:, 1], 0.49)
    assert_share(kept[1:, 0] & kept[:-1, 0], 0.49)


def test_rate_zero_is_the_identity_and_extremes_stay_where_they_are():
    x = jnp.array([1.0, -2, jnp.inf, 0])
    np.testing.assert_array_equal(layers.dropout(KEY, x, 0), x)
    np.testing.assert_array_equal(layers.gaussian_dropout(KEY, x[:2], 0), x[:2])
    np.testing.assert_array_equal(layers.zoneout(KEY, x, -x, 0), x)
    y = layers.dropout(KEY, jnp.full(1000, jnp.inf), 0.5)
    assert set(np.asarray(y).tolist()) == {0.0, np.inf}  # dropped infinities are 0, not NaN
    grad = jax.grad(lambda x: layers.dropout(KEY, x, 0.5).sum())(jnp.ones(1000))
    assert set(np.asarray(grad).tolist()) == {0.0, 2.0}


def test_integers_are_dropped_as_floats(monkeypatch):
    """1 − rate as an int is 0, and dividing by it would give infinity."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    x = np.arange(-3, 5)
    for drop in (lambda x: layers.dropout(KEY, x, 0.5), lambda x: backprop.dropout_forward(KEY, x, rate=0.5)[0]):
        np.testing.assert_array_equal(drop(x), drop(x.astype(np.float32)))


def test_the_rate_may_be_traced():
    x = jnp.ones(100)
    rates = jnp.array([0.25, 0.5])
    together = jax.vmap(lambda rate: layers.dropout(KEY, x, rate))(rates)
    np.testing.assert_array_equal(together[0], layers.dropout(KEY, x, 0.25))
    np.testing.assert_array_equal(together[1], layers.dropout(KEY, x, 0.5))


def test_dropout_is_an_ensemble_of_linear_nets():
    """The mean of all 2⁴ subnets of a linear net is the net in evaluation [Lecture row G8]."""
    x, w = np.arange(1, 5.0), np.array([2.0, -1, 0.5, 3])
    masks = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T
    np.testing.assert_allclose((masks * x @ w).mean(), 0.5 * x @ w)
    keys = jax.random.split(KEY, 4000)
    outputs = jax.vmap(lambda key: layers.dropout(key, jnp.asarray(x, jnp.float32), 0.5, mode="as_drawn") @ w)(keys)
    assert set(np.round(np.unique(outputs), 3)) == set(np.round(np.unique(masks * x @ w), 3))


def test_spatial_dropout_drops_whole_channels_of_single_images():
    y = np.asarray(layers.spatial_dropout(KEY, jnp.ones((100, 3, 4, 50)), 0.3))
    assert ((y == 0).all((1, 2)) | np.isclose(y, 1 / 0.7).all((1, 2))).all()
    assert_share(y[:, 0, 0] == 0, 0.3)
    assert len({tuple(row) for row in y[:, 0, 0]}) == 100
    as_drawn = layers.spatial_dropout(KEY, jnp.ones((3, 4, 50)), 0.3, mode="as_drawn")
    assert set(np.asarray(as_drawn).ravel().tolist()) == {0.0, 1.0}


def test_gaussian_dropout_has_the_moments_of_dropout():
    rate = 0.3
    y = layers.gaussian_dropout(KEY, jnp.full((N,), 2.0), rate)
    assert_moments(y, 2, 4 * rate / (1 - rate))
    dropped = layers.dropout(KEY, jnp.full((N,), 2.0), rate)
    np.testing.assert_allclose(np.var(dropped), 4 * rate / (1 - rate), rtol=0.05)


def test_dropconnect_drops_weights():
    kernel = 1 + jax.random.uniform(jax.random.key(0), (200, 200))
    y = np.asarray(layers.dropconnect(KEY, kernel, 0.4))
    assert_share(y == 0, 0.4)
    np.testing.assert_allclose(y[y != 0], np.asarray(kernel)[y != 0] / 0.6, rtol=1e-6)


@pytest.mark.parametrize("per", ["unit", "weight"])
def test_shakeout_enhances_or_reverses(per):
    """Shakeout as in the lecture, with Kang's sgn(w) [Lecture row G4]."""
    rate, c = 0.3, 0.2
    alpha = 1 / (1 - rate)
    kernel = np.random.default_rng(0).normal(size=(400, 30)).astype(np.float32)
    kernel[0, 0] = 0
    y = np.asarray(layers.shakeout(KEY, kernel, rate, c=c, per=per))
    enhanced, reverse = alpha * kernel + (alpha - 1) * c * np.sign(kernel), -c * np.sign(kernel)
    reversed_ = np.isclose(y, reverse, atol=1e-6)
    np.testing.assert_allclose(y, np.where(reversed_, reverse, enhanced), rtol=1e-5, atol=1e-6)
    assert y[0, 0] == 0
    if per == "unit":
        assert (reversed_[1:] == reversed_[1:, :1]).all()
        assert_share(reversed_[1:, 0], rate)
    else:
        assert_share(reversed_[1:], rate)


def test_shakeout_has_the_mean_of_the_weights():
    kernel = jnp.array([[1.0, -2], [0.5, 0]])
    draws = jax.vmap(lambda key: layers.shakeout(key, kernel, 0.25, c=0.5))(jax.random.split(KEY, N))
    error = np.asarray(draws).std(0) / np.sqrt(N)
    assert (abs(draws.mean(0) - kernel) <= SIGMAS * error + 1e-6).all()


def test_shakeout_without_c_is_inverted_dropout():
    y = np.asarray(layers.shakeout(KEY, jnp.full((1000, 2), 3.0), 0.5, c=0.0))
    np.testing.assert_array_equal(np.unique(y), [0, 6])
    per_channel = np.asarray(layers.shakeout(KEY, jnp.full((3, 3, 50, 2), 3.0), 0.5, c=0.0))
    assert (per_channel == per_channel[:1, :1, :, :1]).all()


@pytest.mark.parametrize("mode", ["additive", "multiplicative"])
def test_whiteout_has_the_moments_of_noise_on_each_connection(mode):
    """The oracle draws connections one by one: x + N(0, v), or x times N(1, v) [Lecture row G4]."""
    x, kernel = np.float32([1, -2, 0.5]), np.float32([[1, 0.3], [-0.2, 0], [2, -1]])
    sigma, gamma, ridge = 0.7, 0.5, 0.1
    noise_var = np.where(kernel == 0, 0, sigma**2 * np.where(kernel == 0, 1, abs(kernel)) ** -gamma + ridge)
    rng = np.random.default_rng(0)
    center, combine = (0, np.add) if mode == "additive" else (1, np.multiply)
    noisy = combine(x[:, None], rng.normal(center, np.sqrt(noise_var), (N, 3, 2)))
    connections = (noisy * kernel).sum(1)
    options = {"sigma": sigma, "gamma": gamma, "ridge": ridge, "mode": mode}
    y = layers.whiteout(KEY, np.broadcast_to(x, (N, 3)), kernel, np.float32([5, 6]), **options)
    factor = 1 if mode == "additive" else x[:, None] ** 2
    assert_moments(y, x @ kernel + [5, 6], (factor * noise_var * kernel**2).sum(0))
    assert_moments(connections, x @ kernel, (factor * noise_var * kernel**2).sum(0))
    correlation = np.corrcoef(np.asarray(y).T)[0, 1]
    assert abs(correlation) < SIGMAS / np.sqrt(N)


def test_whiteout_at_zero_weights_has_finite_gradients():
    grads = jax.grad(lambda x, k: layers.whiteout(KEY, x, k, sigma=0.5, gamma=1.5).sum(), (0, 1))(
        jnp.zeros((2, 3)), jnp.zeros((3, 2)).at[0, 0].set(1)
    )
    assert all(np.isfinite(g).all() for g in grads)
    quiet = layers.whiteout(KEY, jnp.ones((2, 3)), jnp.ones((3, 2)), sigma=0.0)
    np.testing.assert_array_equal(quiet, np.full((2, 2), 3))


def test_zoneout_keeps_old_values():
    new, previous = jnp.arange(1.0, N + 1), -jnp.arange(1.0, N + 1)
    h = np.asarray(layers.zoneout(KEY, new, previous, 0.15))
    assert_share(h < 0, 0.15)
    np.testing.assert_array_equal(abs(h), new)


NOISE = {
    "dropout": lambda key, x: layers.dropout(key, x, 0.5),
    "spatial_dropout": lambda key, x: layers.spatial_dropout(key, x, 0.5),
    "gaussian_dropout": lambda key, x: layers.gaussian_dropout(key, x, 0.5),
    "dropconnect": lambda key, x: layers.dropconnect(key, x, 0.5),
    "shakeout": lambda key, x: layers.shakeout(key, x, 0.5, c=0.1),
    "whiteout": lambda key, x: layers.whiteout(key, x, jnp.ones((8, 8), x.dtype), sigma=1.0),
    "zoneout": lambda key, x: layers.zoneout(key, x, -x, 0.5),
}


@pytest.mark.parametrize("name", NOISE)
def test_a_key_determines_the_noise_and_the_dtype_is_kept(name):
    noise, x = NOISE[name], jnp.ones((2, 3, 4, 8))
    assert (noise(KEY, x) == noise(KEY, x)).all()
    assert (noise(KEY, x) != noise(jax.random.key(8), x)).any()
    np.testing.assert_allclose(jax.jit(noise)(KEY, x), noise(KEY, x), rtol=1e-6)
    assert noise(KEY, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert noise(KEY, x).dtype == jnp.float32


X, K = jnp.ones((2, 3)), jnp.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.dropout(KEY, X, 1.0), "rate: got 1.0, allowed is 0 ≤ rate < 1"),
        (lambda: layers.dropout(KEY, X, -0.1), "rate: got -0.1"),
        (lambda: layers.dropout(KEY, X, float("nan")), "rate: got nan"),
        (lambda: layers.dropout(KEY, X, 0.5, mode="keep"), "mode: got 'keep', allowed are 'inverted'"),
        (lambda: layers.spatial_dropout(KEY, X, 0.5), r"x: got shape \(2, 3\)"),
        (lambda: layers.gaussian_dropout(KEY, X, 1), "rate: got 1"),
        (lambda: layers.dropconnect(KEY, K, 2), "rate: got 2"),
        (lambda: layers.zoneout(KEY, X, X, 1), "rate: got 1"),
        (lambda: layers.dropout(KEY, X, np.float32(1.5)), "rate: got 1.5"),
        (lambda: layers.whiteout(KEY, X, K, sigma=1.0, gamma=np.int64(2)), "gamma: got 2"),
        (lambda: layers.zoneout(KEY, X, K, 0.1), r"previous: got shape \(3, 2\)"),
        (lambda: layers.shakeout(KEY, K, 0.5, c=-1), "c: got -1"),
        (lambda: layers.shakeout(KEY, K[0], 0.5, c=1), r"kernel: got shape \(2,\)"),
        (lambda: layers.shakeout(KEY, K, 0.5, c=1, per="layer"), "per: got 'layer'"),
        (lambda: layers.whiteout(KEY, X, K, sigma=-1.0), "sigma: got -1.0"),
        (lambda: layers.whiteout(KEY, X, K, sigma=1.0, gamma=2), "gamma: got 2"),
        (lambda: layers.whiteout(KEY, X, K, sigma=1.0, ridge=-1), "ridge: got -1"),
        (lambda: layers.whiteout(KEY, X, K, sigma=1.0, mode="both"), "mode: got 'both'"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()
