"""Recurrent cells against flax.linen and a numpy loop; zoneout's draws and expectation."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import layers
from jaxdl import nn as jaxdl_nn

T, D, UNITS = 5, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, T, D)).astype(np.float32)
H, C = RNG.normal(size=(2, 2, UNITS)).astype(np.float32)
W, U, B = (RNG.normal(size=shape).astype(np.float32) for shape in [(D, UNITS), (UNITS, UNITS), (UNITS,)])
W4, U4, B4 = (RNG.normal(size=s).astype(np.float32) for s in [(D, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)])
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def test_rnn_is_the_recursion():
    h, states = H.astype(float), []
    for t in range(T):
        h = np.tanh(X[:, t] @ W + h @ U + B)
        states.append(h)
    y = layers.rnn(X, H, W, U, B)
    np.testing.assert_allclose(y, np.stack(states, 1), **CLOSE)
    np.testing.assert_allclose(layers.rnn(X[1], H[1], W, U, B), y[1], **CLOSE)
    linear = layers.rnn(X, H, W, U, activation=lambda z: z)
    np.testing.assert_allclose(linear[:, 0], X[:, 0] @ W + H @ U, **CLOSE)


def test_lstm_is_flaxs_with_its_gradient():
    cell = nn.OptimizedLSTMCell(UNITS)
    gates = "ifgo"
    names = [{"kernel": k} for k in np.split(W4, 4, 1)]
    hidden = [{"kernel": k, "bias": b} for k, b in zip(np.split(U4, 4, 1), np.split(B4, 4), strict=True)]
    params = {f"i{g}": p for g, p in zip(gates, names, strict=True)} | {
        f"h{g}": p for g, p in zip(gates, hidden, strict=True)
    }

    @jax.jit
    def peer(params, x):
        carry, states = (C, H), []
        for t in range(T):
            carry, h = cell.apply({"params": params}, carry, x[:, t])
            states.append(h)
        return jnp.stack(states, 1)

    hs, cs = layers.lstm(X, (H, C), W4, U4, B4)
    np.testing.assert_allclose(hs, peer(params, X), **CLOSE)
    assert cs.shape == hs.shape == (2, T, UNITS)
    ours = jax.grad(lambda x: jnp.square(layers.lstm(x, (H, C), W4, U4, B4)[0]).sum())(X)
    np.testing.assert_allclose(ours, jax.grad(lambda x: jnp.square(peer(params, x)).sum())(X), **CLOSE)
    alone = layers.lstm(X[0], (H[0], C[0]), W4, U4, B4)
    np.testing.assert_allclose(alone, (hs[0], cs[0]), **CLOSE)


def test_lstm_memory_is_kept_by_an_open_forget_gate():
    """The bias forces the gates: forget 1 and input 0 keep c, output 1 shows tanh(c)."""
    bias = np.repeat(np.float32([-50, 50, 0, 50]), UNITS)
    hs, cs = layers.lstm(X, (H, C), W4 * 0, U4 * 0, bias)
    np.testing.assert_allclose(cs, np.repeat(C[:, None], T, 1), rtol=1e-6)
    np.testing.assert_allclose(hs, np.tanh(cs), rtol=1e-6)


def test_zoneout_in_evaluation_is_the_expected_state():
    h, states = H.astype(float), []
    for t in range(T):
        h = 0.3 * h + 0.7 * np.tanh(X[:, t] @ W + h @ U + B)
        states.append(h)
    y = layers.rnn(X, H, W, U, B, zoneout_rate=0.3)
    np.testing.assert_allclose(y, np.stack(states, 1), **CLOSE)


def test_zoneout_in_training_keeps_units_drawn_anew_at_each_step():
    state = np.zeros((500, UNITS), np.float32)
    x = np.random.default_rng(1).normal(size=(500, T, D)).astype(np.float32)
    h, c = layers.lstm(x, (state, state), W4, U4, B4, zoneout_rate=(0.2, 0.6), train=True, key=jax.random.key(0))
    for values, rate in ((h, 0.2), (c, 0.6)):
        kept = np.asarray(values)[:, 1:] == np.asarray(values)[:, :-1]
        assert abs(kept.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
        both = (kept[:, 1:] & kept[:, :-1]).mean()
        assert abs(both - rate**2) < 0.05  # the draws of neighbouring steps are independent
    same = layers.lstm(x, (state, state), W4, U4, B4, zoneout_rate=0.0, train=True)
    np.testing.assert_array_equal(same, layers.lstm(x, (state, state), W4, U4, B4))


def test_bfloat16_is_kept_and_float32_states_follow_the_promotion():
    narrow = [jnp.asarray(a, jnp.bfloat16) for a in (X, H, W, U, B)]
    assert layers.rnn(*narrow).dtype == jnp.bfloat16
    assert layers.rnn(X, narrow[1], W, U, B).dtype == jnp.float32


def test_gradients_through_time_vanish_and_explode():
    """A linear cell h ← a h gives ∂h_T/∂h_0 = a^T [Lecture rows A8, D5]."""
    for a in (0.5, 1.0, 1.5):
        slope = jax.grad(
            lambda h, a=a: layers.rnn(
                jnp.zeros((20, 1)), h, jnp.ones((1, 1)), jnp.full((1, 1), a), activation=lambda z: z
            )[-1, 0]
        )(jnp.ones(1))
        np.testing.assert_allclose(slope, [a**20], rtol=1e-5)


W3, U3, B3 = np.split(W4, [3 * UNITS], 1)[0], np.split(U4, [3 * UNITS], 1)[0], B4[: 3 * UNITS]
NETWORKS = {
    "rnn": lambda x, n: layers.rnn(x, H, W, U, B, n),
    "gru": lambda x, n: layers.gru(x, H, W3, U3, B3, B, n),
    "lstm": lambda x, n: layers.lstm(x, (H, C), W4, U4, B4, n)[0],
    "reversed": lambda x, n: layers.reverse_sequence(x, n)[:, :2],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_padding_may_be_nan_and_lengths_outside_the_data_are(name):
    network, lengths = NETWORKS[name], jnp.array([2, T])
    spoilt = jnp.asarray(X).at[0, 2:].set(jnp.nan)
    np.testing.assert_array_equal(network(spoilt, lengths), network(X, lengths))
    slopes = [jax.grad(lambda x: jnp.square(network(x, lengths)).sum())(x) for x in (spoilt, jnp.asarray(X))]
    np.testing.assert_array_equal(*slopes)
    assert not np.any(slopes[0][0, 2:])
    for bad in (-1, T + 1):
        assert np.isnan(network(X, jnp.array([bad, T]))).all((1, 2)).tolist() == [True, False]


def test_what_cannot_be_marked_by_nan_is_refused():
    with pytest.raises(ValueError, match="x: got dtype int32 and lengths; allowed are floats"):
        inspect.unwrap(layers.reverse_sequence)(jnp.arange(12).reshape(2, 6, 1), jnp.array([3, 9]))
    last = jaxdl_nn.LSTM(4, output="last")
    params, state = last.init(jax.random.key(0), (3, 2))
    with pytest.raises(
        ValueError, match=r"x: got shape \(2, 0, 2\), but LSTM\(output='last'\) takes at least one step"
    ):
        last.apply(params, state, jnp.zeros((2, 0, 2)))


def test_an_empty_sequence_and_an_empty_batch():
    assert layers.rnn(X[:, :0], H, W, U, B).shape == (2, 0, UNITS)
    assert layers.lstm(X[:0], (H[:0], C[:0]), W4, U4, B4)[0].shape == (0, T, UNITS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.rnn(X, H, W, U, B, zoneout_rate=1.0), "rate: got 1.0"),
        (lambda: layers.rnn(X, H, W, U, B, zoneout_rate=0.1, train=True), "key: got None"),
        (lambda: layers.rnn(X[0, 0], H[0], W, U, B), r"x: got shape \(3,\)"),
        (lambda: layers.lstm(X, (H, C), W4, U4, zoneout_rate=(0.1, -1.0)), "rate: got -1.0"),
        (lambda: layers.lstm(X, (H, C), W, U, B), "kernel: got 4 columns, allowed are 4 · units = 16"),
        (
            lambda: layers.rnn(X, H[0], W, U, B),
            r"h: got shape \(4,\), allowed is \(2, units\) for x of shape \(2, 5, 3\)",
        ),
        (lambda: layers.rnn(X, H[:1], W, U, B), r"h: got shape \(1, 4\), allowed is \(2, units\)"),
        (
            lambda: layers.gru(X, np.zeros((3, 4)), W4[:, :12], U4[:, :12]),
            r"h: got shape \(3, 4\), allowed is \(2, units\)",
        ),
        (lambda: layers.rnn(X[0], np.float32(0), W, U, B), r"h: got shape \(\), allowed is \(units,\)"),
        (lambda: layers.lstm(X, (H[0], C[0]), W4, U4), r"state: got shape \(4,\), allowed is \(2, units\)"),
        (lambda: layers.lstm(X, H, W4, U4), r"state: got ndarray, allowed is the pair \(h, c\)"),
        (lambda: layers.lstm(X, np.stack([H, C]), W4, U4), r"state: got ndarray, allowed is the pair \(h, c\)"),
        (lambda: layers.lstm_cell(H, X[:, 0], W4, U4), r"state: got ndarray, allowed is the pair \(h, c\)"),
        (lambda: layers.lstm(X, (H, C, C), W4, U4), r"state: got tuple, allowed is the pair \(h, c\)"),
        (
            lambda: layers.rnn(X, H, W, U[:3]),
            r"recurrent_kernel: got shape \(3, 4\), allowed is \(4, 4\) for a state of 4",
        ),
        (lambda: layers.rnn(X, H, W[:, :3], U), "kernel: got 3 columns, allowed are 1 · units = 4"),
        (lambda: layers.lstm(X, (H, C), W4, U), r"recurrent_kernel: got shape \(4, 4\), allowed is \(4, 16\)"),
        (lambda: layers.gru(X, H, W4[:, :12], U4), r"recurrent_kernel: got shape \(4, 16\), allowed is \(4, 12\)"),
    ],
)
def test_mistakes_are_named(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32"])
def test_lengths_of_few_bits_count_sequences_of_any_length(dtype):
    x = jnp.arange(300.0).reshape(1, 300, 1)
    reversed_ = layers.reverse_sequence(x, jnp.array([100], dtype))[0, :, 0]
    np.testing.assert_array_equal(reversed_, [*range(99, -1, -1), *range(100, 300)])


# ---------------------------------------------------------------- on several devices, in jax.shard_map


def lstm_of(x, *rest, **options):
    start = jnp.zeros((*x.shape[:-2], 3))
    return layers.lstm(x, (start, start), jnp.ones((4, 12)), jnp.ones((3, 12)), None, *rest, **options)[0]


def gru_of(x, *rest, **options):
    start = jnp.zeros((*x.shape[:-2], 3))
    return layers.gru(x, start, jnp.ones((4, 9)), jnp.ones((3, 9)), None, None, *rest, **options)


def rnn_of(x, *rest, **options):
    return layers.rnn(x, jnp.zeros((*x.shape[:-2], 3)), jnp.ones((4, 3)), jnp.eye(3), None, *rest, **options)


@pytest.mark.parametrize("run", [rnn_of, gru_of, lstm_of])
@pytest.mark.parametrize("what", ["x", "lengths", "key"])
def test_a_state_of_zeros_starts_a_sequence_that_is_split_over_devices(run, what):
    """JAX asks that the carry of a loop varies over the devices from its start if it does at its end."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    part = jax.sharding.PartitionSpec("data")
    x, lengths = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32), np.array([3, 5])
    one = lambda x: run(x[0])
    calls = {
        "x": (one, x),
        "lengths": (lambda n: jnp.nan_to_num(run(x[0], n[0])), lengths),
        "key": (lambda key: run(x[0], zoneout_rate=0.5, train=True, key=key[0]), jax.random.split(jax.random.key(0))),
    }
    f, split = calls[what]
    mapped = jax.shard_map(lambda part: f(part)[None], mesh=mesh, in_specs=part, out_specs=part)
    expected = jnp.stack([f(split[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(jax.jit(mapped)(split), expected, rtol=1e-6, atol=1e-7)
    if what == "x":
        grads = [jax.jit(jax.grad(lambda x, f=f: f(x).sum()))(x) for f in (mapped, lambda x: run(x))]
        np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


def test_a_recurrent_bias_with_the_gates_of_pytorchs_is_refused_by_its_own_name(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as in a program of a user
    with pytest.raises(ValueError, match=r"recurrent_bias: got shape \(9,\), allowed is \(3,\)"):
        layers.gru(jnp.ones((5, 4)), jnp.zeros(3), jnp.ones((4, 9)), jnp.ones((3, 9)), jnp.ones(9), jnp.ones(9))


def test_one_sequence_runs_from_several_states_and_the_pair_may_be_a_list(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with jax.numpy_rank_promotion("allow"):
        y = layers.rnn(X[0], H, W, U, B)
    for h, of_h in zip(H, y, strict=True):
        np.testing.assert_allclose(of_h, layers.rnn(X[0], h, W, U, B), **CLOSE)
    np.testing.assert_array_equal(layers.lstm(X, [H, C], W4, U4)[0], layers.lstm(X, (H, C), W4, U4)[0])
