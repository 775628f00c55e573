"""Recurrent cells, and scans of them over a sequence.

A cell maps a state and the input of one time step to the next state. Sequences are `(..., t, d)` and states
`(..., units)`, with the same leading dimensions, if any. Sequences of different lengths are padded at the end and come
with `lengths` `(...)`: the state of a sequence stops changing at its end, so `[..., -1, :]` is its last state. The
padding may hold anything, NaN included; a length below 0 or above t makes its sequence NaN.
[Lecture row A8]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from jaxdl import compat, numerics, sizes
from jaxdl.layers.linear import dense
from jaxdl.layers.stochastic import Rate, check_rate, zoneout, zoneout_mean
from jaxdl.words import own_words

__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "reverse_sequence", "rnn", "rnn_cell"]


@own_words
def rnn_cell(
    h: Float[ArrayLike, "*b units"],
    x: Float[ArrayLike, "*b d"],
    kernel: Float[ArrayLike, "d units"],
    recurrent_kernel: Float[ArrayLike, "units units"],
    bias: Float[ArrayLike, " units"] | None = None,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
) -> Float[Array, "*b units"]:
    """Elman cell: h_t = g(Wᵀ x_t + Uᵀ h_{t−1} + b).

    Reference: Elman, Finding structure in time, 1990. https://doi.org/10.1207/s15516709cog1402_1.

    Examples:
        >>> one = jnp.ones((1, 1))
        >>> layers.rnn_cell(jnp.array([2.0]), jnp.array([3.0]), one, one, activation=jax.nn.relu)
        Array([5.], dtype=float32)

    [Lecture row A8]
    """
    numerics.refuse_complex(h=h, x=x, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias)
    sizes.check_recurrent(jnp.shape(h)[-1], jnp.shape(kernel), jnp.shape(recurrent_kernel), 1)
    return activation(dense(x, kernel, bias) + dense(h, recurrent_kernel))


@own_words
def lstm_cell(
    state: tuple[Float[ArrayLike, "*b units"], Float[ArrayLike, "*b units"]],
    x: Float[ArrayLike, "*b d"],
    kernel: Float[ArrayLike, "d gates"],
    recurrent_kernel: Float[ArrayLike, "units gates"],
    bias: Float[ArrayLike, " gates"] | None = None,
) -> tuple[Float[Array, "*b units"], Float[Array, "*b units"]]:
    """Long short-term memory: c_t = σ(f) c_{t−1} + σ(i) tanh(g), h_t = σ(o) tanh(c_t).

    i, f, g, o are the four parts, in this order, of Wᵀ x_t + Uᵀ h_{t−1} + b. The usual initial forget bias of 1 is part
    of b.

    Args:
        state: (h, c), the output and the memory of the last step.
        x: the input of one step.
        kernel, recurrent_kernel, bias: W, U, b of all four gates, with 4 · units columns.

    Returns:
        The next (h, c).

    Raises:
        ValueError: a number of columns other than 4 · units.

    Reference: Hochreiter and Schmidhuber, Long short-term memory, 1997, with the forget gate of Gers et al., 2000.
    https://doi.org/10.1162/neco.1997.9.8.1735, https://doi.org/10.1162/089976600300015015.

    Examples:
        Without weights all gates are open by half, and nothing new is written:

        >>> h, c = layers.lstm_cell((jnp.zeros(1), jnp.array([2.0])), jnp.ones(3), jnp.zeros((3, 4)), jnp.zeros((1, 4)))
        >>> c, h  # 2 / 2, tanh(1) / 2
        (Array([1.], dtype=float32), Array([0.3807971], dtype=float32))

    [Lecture row A8]
    """
    h, c = map(jnp.asarray, _pair(state))
    numerics.refuse_complex(h=h, c=c, x=x, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias)
    sizes.check_recurrent(c.shape[-1], jnp.shape(kernel), jnp.shape(recurrent_kernel), 4)
    i, f, g, o = jnp.split(dense(x, kernel, bias) + dense(h, recurrent_kernel), 4, axis=-1)
    c = lax.logistic(f) * c + lax.logistic(i) * jnp.tanh(g)
    return lax.logistic(o) * jnp.tanh(c), c


@own_words
def gru_cell(
    h: Float[ArrayLike, "*b units"],
    x: Float[ArrayLike, "*b d"],
    kernel: Float[ArrayLike, "d gates"],
    recurrent_kernel: Float[ArrayLike, "units gates"],
    bias: Float[ArrayLike, " gates"] | None = None,
    recurrent_bias: Float[ArrayLike, " units"] | None = None,
) -> Float[Array, "*b units"]:
    """Gated recurrent unit: h_t = (1 − z) n + z h_{t−1}, n = tanh(a_n + r (u_n + c)).

    a = Wᵀ x_t + b and u = Uᵀ h_{t−1} have three parts each, in the order r, z, n; the gates are r = σ(a_r + u_r) and
    z = σ(a_z + u_z). The reset gate r multiplies after the
    recurrent product, as in PyTorch, cuDNN and flax; the paper multiplies h_{t−1} itself. PyTorch's two biases are
    b = bias_ih + (bias_hh of r and z, 0) and c = bias_hh of n; flax's are those of ir, iz, in and hn.

    Args:
        h: output of the last step.
        x: one input.
        kernel, recurrent_kernel, bias: W, U, b for both gates and the candidate, 3 · units columns.
        recurrent_bias: c, inside the reset gate.

    Raises:
        ValueError: a number of columns that is not 3 · units, or a recurrent bias of another shape than (units,).

    Reference: Cho et al., Learning phrase representations using RNN encoder-decoder, 2014.
    https://arxiv.org/abs/1406.1078.

    Examples:
        Without weights both gates are open by half, and the candidate is 0:

        >>> layers.gru_cell(jnp.array([2.0]), jnp.ones(3), jnp.zeros((3, 3)), jnp.zeros((1, 3)))
        Array([1.], dtype=float32)
    """
    h = jnp.asarray(h)
    numerics.refuse_complex(h=h, x=x, kernel=kernel, recurrent_kernel=recurrent_kernel, bias=bias, c=recurrent_bias)
    units = h.shape[-1]
    sizes.check_recurrent(units, jnp.shape(kernel), jnp.shape(recurrent_kernel), 3)
    if recurrent_bias is not None:
        if jnp.shape(recurrent_bias) != (units,):
            got = f"recurrent_bias: got shape {jnp.shape(recurrent_bias)}, allowed is {(units,)}"
            raise ValueError(f"{got}, that of the candidate; those of the gates r and z belong into bias")
        recurrent_bias = jnp.pad(jnp.asarray(recurrent_bias), (2 * units, 0))
    of_x, of_h = dense(x, kernel, bias), dense(h, recurrent_kernel, recurrent_bias)
    r, z = jnp.split(lax.logistic(of_x[..., : 2 * units] + of_h[..., : 2 * units]), 2, axis=-1)
    n = jnp.tanh(of_x[..., 2 * units :] + r * of_h[..., 2 * units :])
    return (1 - z) * n + z * h


@own_words
def rnn(
    x: Float[ArrayLike, "*b t d"],
    h: Float[ArrayLike, "*b units"],
    kernel: Float[ArrayLike, "d units"],
    recurrent_kernel: Float[ArrayLike, "units units"],
    bias: Float[ArrayLike, " units"] | None = None,
    lengths: Integer[ArrayLike, "*b"] | None = None,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    zoneout_rate: Rate = 0.0,
    train: bool = False,
    key: jax.Array | None = None,
) -> Float[Array, "*b t units"]:
    """Run `rnn_cell` over a sequence and return the state of every step, the last at `[..., -1, :]`.

    Args:
        x: inputs.
        h: state before the first step.
        kernel, recurrent_kernel, bias, activation: see `rnn_cell`.
        lengths: steps of each sequence; None for all t.
        zoneout_rate: probability that a unit keeps its last value.
        train: whether zoneout draws units; otherwise it uses the expected state. See `zoneout`.
        key: a PRNG key, required for zoneout in training; step t draws with `fold_in(key, t)`.

    Raises:
        ValueError: a rate outside [0, 1), zoneout in training without a key, lengths that are no integers or not
            one for each sequence, or a state or kernels of other shapes.

    Examples:
        A unit that adds its input to what it holds:

        >>> x, one = jnp.array([1.0, 2.0, 3.0])[:, None], jnp.ones((1, 1))
        >>> layers.rnn(x, jnp.zeros(1), one, one, activation=lambda z: z).ravel()
        Array([1., 3., 6.], dtype=float32)

    [Lecture row A8]
    """

    def cell(h, x, parameters):
        return rnn_cell(h, x, *parameters, activation=activation)

    return _run(cell, h, x, (kernel, recurrent_kernel, bias), lengths, zoneout_rate, train, key)


@own_words
def gru(
    x: Float[ArrayLike, "*b t d"],
    h: Float[ArrayLike, "*b units"],
    kernel: Float[ArrayLike, "d gates"],
    recurrent_kernel: Float[ArrayLike, "units gates"],
    bias: Float[ArrayLike, " gates"] | None = None,
    recurrent_bias: Float[ArrayLike, " units"] | None = None,
    lengths: Integer[ArrayLike, "*b"] | None = None,
    *,
    zoneout_rate: Rate = 0.0,
    train: bool = False,
    key: jax.Array | None = None,
) -> Float[Array, "*b t units"]:
    """Run `gru_cell` over a sequence; the state of every step comes back. See `rnn`.

    Args:
        x: inputs.
        h: state before the first step.
        kernel, recurrent_kernel, bias, recurrent_bias: see `gru_cell`.
        lengths, zoneout_rate, train, key: as in `rnn`.

    Raises:
        ValueError: as in `rnn` and `gru_cell`.

    Examples:
        >>> x, h = jnp.ones((5, 3)), jnp.zeros(4)
        >>> layers.gru(x, h, jnp.zeros((3, 12)), jnp.zeros((4, 12))).shape
        (5, 4)
    """

    def cell(h, x, parameters):
        return gru_cell(h, x, *parameters)

    parameters = (kernel, recurrent_kernel, bias, recurrent_bias)
    return _run(cell, h, x, parameters, lengths, zoneout_rate, train, key)


@own_words
def lstm(
    x: Float[ArrayLike, "*b t d"],
    state: tuple[Float[ArrayLike, "*b units"], Float[ArrayLike, "*b units"]],
    kernel: Float[ArrayLike, "d gates"],
    recurrent_kernel: Float[ArrayLike, "units gates"],
    bias: Float[ArrayLike, " gates"] | None = None,
    lengths: Integer[ArrayLike, "*b"] | None = None,
    *,
    zoneout_rate: Rate | tuple[Rate, Rate] = 0.0,
    train: bool = False,
    key: jax.Array | None = None,
) -> tuple[Float[Array, "*b t units"], Float[Array, "*b t units"]]:
    """Run `lstm_cell` over a sequence and return (h, c) of every step.

    Args:
        x: inputs.
        state: (h, c) before the first step.
        kernel, recurrent_kernel, bias: see `lstm_cell`.
        zoneout_rate: one probability for h and c, or a pair.
        lengths, train, key: as in `rnn`.

    Raises:
        ValueError: as in `rnn`.

    Examples:
        >>> x, start = jnp.ones((5, 3)), (jnp.zeros(4), jnp.zeros(4))
        >>> h, c = layers.lstm(x, start, jnp.zeros((3, 16)), jnp.zeros((4, 16)))
        >>> h.shape, c.shape
        ((5, 4), (5, 4))

    [Lecture row A8]
    """

    def cell(state, x, parameters):
        return lstm_cell(state, x, *parameters)

    rates = zoneout_rate if isinstance(zoneout_rate, tuple) else (zoneout_rate, zoneout_rate)
    return _run(cell, _pair(state), x, (kernel, recurrent_kernel, bias), lengths, rates, train, key)


@own_words
def reverse_sequence(
    x: Float[ArrayLike, "*b t d"], lengths: Integer[ArrayLike, "*b"] | None = None
) -> Float[Array, "*b t d"]:
    """Reverse each sequence within its own length: y_i = x_{n−1−i} for i < n; the padding behind it stays in place.

    Its own inverse; a bidirectional network runs a second cell over the reversed input and reverses what comes out.

    Args:
        x: sequences, padded at their end.
        lengths: n, steps of each; None for all t.

    Raises:
        ValueError: fewer than two axes, integers with lengths, or lengths as in `rnn`.

    Reference: Schuster and Paliwal, Bidirectional recurrent neural networks, 1997. https://doi.org/10.1109/78.650093.

    Examples:
        >>> layers.reverse_sequence(jnp.array([1.0, 2.0, 3.0, 0.0])[:, None], jnp.array(3)).ravel()  # the padding stays
        Array([3., 2., 1., 0.], dtype=float32)
    """
    numerics.refuse_complex(x=x)
    x = _sequences(x)
    if lengths is None:
        return jnp.flip(x, axis=-2)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise ValueError(
            f"x: got dtype {x.dtype} and lengths; allowed are floats, whose NaN marks an impossible length"
        )
    lengths = _lengths(lengths, x)
    n, place = lengths[..., None], _places(x)
    source = jnp.clip(jnp.where(place < n, n - 1 - place, place), 0, max(x.shape[-2] - 1, 0))
    return _nan_beyond(jnp.take_along_axis(x, source[..., None], axis=-2), lengths)


def _run(cell: Callable, state: Any, x: ArrayLike, parameters: tuple, lengths, rates, train, key) -> Any:
    """Scan a cell over the time axis, with zoneout on each array of its state.

    The scan closes over 16-bit parameters in float32 and rounds them at every step, which is exact, so that reverse
    mode sums their gradients over the steps in float32.
    """
    still = all(isinstance(rate, float | int) and rate == 0 for rate in jax.tree.leaves(rates))
    jax.tree.map(check_rate, rates)
    x, state = _sequences(x), jax.tree.map(jnp.asarray, state)
    for part in jax.tree.leaves(state):
        sizes.check_state("h" if part is state else "state", part.shape, x.shape)
    lengths = None if lengths is None else _lengths(lengths, x)
    running = None if lengths is None else _places(x) < lengths[..., None]
    if running is not None:
        x = jnp.where(running[..., None], x, 0)  # NaN in the padding would reach the gradients
    keys = _keys(key, x.shape[-2]) if train and not still else None

    rates = jax.tree.map(lambda rate: numerics.widen(rate) if isinstance(rate, jax.Array) else rate, rates)
    parameters = jax.tree.map(jnp.asarray, parameters)
    wide = jax.tree.map(numerics.widen, parameters)

    def step(state, inputs):
        x, key, runs = inputs
        new = cell(state, x, jax.tree.map(lambda w, own: w.astype(own.dtype), wide, parameters))
        new = new if still else _zoned(new, state, rates, key)
        if runs is not None:
            new = jax.tree.map(lambda new, old: jnp.where(runs[..., None], new, old), new, state)
        return new, new

    one_input = jax.ShapeDtypeStruct((*x.shape[:-2], x.shape[-1]), x.dtype)
    state = jax.tree.map(lambda a, b: a.astype(b.dtype), state, jax.eval_shape(cell, state, one_input, parameters))
    state = compat.varying_like(state, (x, parameters, rates, lengths, keys))
    running = None if running is None else jnp.moveaxis(running, -1, 0)
    _, states = lax.scan(step, state, (jnp.moveaxis(x, -2, 0), keys, running))
    states = jax.tree.map(lambda states: jnp.moveaxis(states, 0, -2), states)
    return states if lengths is None else jax.tree.map(lambda one: _nan_beyond(one, lengths), states)


def _pair(state: Any) -> tuple[Any, Any]:
    """Return (h, c), or raise ValueError: rows of one array would pass for both."""
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise ValueError(f"state: got {type(state).__name__}, allowed is the pair (h, c)")
    return state[0], state[1]


def _nan_beyond(x: Array, lengths: Array) -> Array:
    """Make sequences NaN whose length cannot be."""
    possible = (lengths >= 0) & (lengths <= x.shape[-2])
    return x + jnp.where(possible, 0, jnp.nan).astype(x.dtype)[..., None, None]


def _sequences(x: ArrayLike) -> Array:
    """Return x as an array, or raise ValueError where it has no time axis."""
    x = jnp.asarray(x)
    if x.ndim < 2:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., t, d)")
    return x


def _places(x: Array) -> Array:
    """Return the number of each step, (..., t)."""
    return lax.broadcasted_iota(jnp.int32, x.shape[:-1], x.ndim - 2)


def _lengths(lengths: ArrayLike, x: Array) -> Array:
    """Return one length per sequence as an array, or raise ValueError."""
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(f"lengths: got dtype {lengths.dtype}, allowed are integers")
    if lengths.shape != x.shape[:-2]:
        raise ValueError(f"lengths: got shape {lengths.shape}, allowed is one for each sequence, {x.shape[:-2]}")
    return numerics.class_numbers(lengths)  # 8 bits cannot hold every t, with which lengths are compared


def _keys(key: jax.Array | None, steps: int) -> jax.Array:
    """Return one key per time step."""
    if key is None:
        raise ValueError("key: got None, allowed is a PRNG key, because zoneout draws at random in training")
    return jax.vmap(lambda step: jax.random.fold_in(key, step))(jnp.arange(steps))


def _zoned(new: Any, old: Any, rates: Any, key: jax.Array | None) -> Any:
    """Return the new state after zoneout: drawn with a key, the expected state without one."""
    parts, structure = jax.tree.flatten(new)
    pairs = zip(parts, jax.tree.leaves(old), jax.tree.leaves(rates), strict=True)
    if key is None:
        return structure.unflatten([zoneout_mean(*pair) for pair in pairs])
    keys = jax.random.split(key, len(parts))
    return structure.unflatten([zoneout(k, *pair) for k, pair in zip(keys, pairs, strict=True)])
