"""Recurrent networks over sequences (steps, features), in one direction or both, several on top of one another."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import initializers, layers, sizes
from jaxdl.layers import stochastic
from jaxdl.nn import shapes
from jaxdl.nn.combinators import parallel
from jaxdl.nn.layer import Layer, Op, Shape, Tree, checked, child_key, declared, inside, own_arrays

Output = Literal["sequence", "last"]


class _Options(NamedTuple):
    """What `RNN`, `GRU` and `LSTM` have in common."""

    units: int
    depth: int
    bidirectional: bool
    output: Output
    lengths: bool
    zoneout_rate: float
    kernel_init: Any
    recurrent_init: Any


class _Cell(NamedTuple):
    """One kind of recurrent network: its arrays beside the two kernels, and how it runs."""

    what: str
    kind: str
    gates: int
    biases: Callable[[int], Tree]  # units -> how they start
    run: Callable[..., Array]  # (x, start, arrays, lengths, options) -> output of every step


@declared
def RNN(
    units: int,
    *,
    depth: int = 1,
    bidirectional: bool = False,
    output: Output = "sequence",
    lengths: bool = False,
    activation: Callable[[Array], Array] = jnp.tanh,
    zoneout_rate: float = 0.0,
    kernel_init=None,
    recurrent_init=None,
) -> Layer:
    """Elman network: h_t = g(Wᵀ x_t + Uᵀ h_{t−1} + b). See `layers.rnn`.

    Params ``kernel (d, units)``, ``recurrent_kernel (units, units)`` and ``bias``; those of both directions are named
    forward and backward, those of several layers layer1, layer2, ...

    Args:
        units: size of the state of one direction.
        depth: number of layers on top of one another.
        bidirectional: whether each layer runs in both directions; outputs stand side by side, 2 · units of them.
        output: the state of every step, or of the last one alone: of each direction's own last step.
        lengths: whether the input is a pair (sequences, lengths), sequences of different length padded at their end;
            behind its end, a state stands still.
        activation: g.
        zoneout_rate: probability that a unit keeps its last value in training, which needs a key then.
        kernel_init: of W, `initializers.lecun_normal` by default.
        recurrent_init: of U, gate by gate; `initializers.orthogonal` by default.

    Raises:
        ValueError: for an option out of its range, and from ``init`` for what is no sequence.

    Examples:
        >>> nn.RNN(4).out_shape((5, 3))
        (5, 4)
    """

    def run(x, start, own, lengths, options):
        arrays = (own["kernel"], own["recurrent_kernel"], own["bias"])
        return layers.rnn(x, start, *arrays, lengths, activation=activation, **options)

    cell = _Cell("RNN", "rnn", 1, lambda units: {"bias": jnp.zeros(units)}, run)
    return _network(
        cell, _Options(units, depth, bidirectional, output, lengths, zoneout_rate, kernel_init, recurrent_init)
    )


@declared
def GRU(
    units: int,
    *,
    depth: int = 1,
    bidirectional: bool = False,
    output: Output = "sequence",
    lengths: bool = False,
    zoneout_rate: float = 0.0,
    kernel_init=None,
    recurrent_init=None,
) -> Layer:
    """Network of gated recurrent units. See `layers.gru`; arguments as in `RNN`.

    Params ``kernel (d, 3 units)``, ``recurrent_kernel (units, 3 units)``, ``bias (3 units)`` in the order r, z, n, and
    ``recurrent_bias (units)``, the second bias of n. PyTorch's ``bias_ih + bias_hh`` is the first, with 0 for n in
    ``bias_hh``, whose last third is the second; flax's biases are those of ir, iz, in and of hn.

    Examples:
        >>> nn.GRU(4).out_shape((5, 3))
        (5, 4)
    """

    def run(x, start, own, lengths, options):
        arrays = (own["kernel"], own["recurrent_kernel"], own["bias"], own["recurrent_bias"])
        return layers.gru(x, start, *arrays, lengths, **options)

    biases = lambda units: {"bias": jnp.zeros(3 * units), "recurrent_bias": jnp.zeros(units)}
    options = _Options(units, depth, bidirectional, output, lengths, zoneout_rate, kernel_init, recurrent_init)
    return _network(_Cell("GRU", "gru", 3, biases, run), options)


@declared
def LSTM(
    units: int,
    *,
    depth: int = 1,
    bidirectional: bool = False,
    output: Output = "sequence",
    lengths: bool = False,
    zoneout_rate: float = 0.0,
    forget_bias: float = 1.0,
    kernel_init=None,
    recurrent_init=None,
) -> Layer:
    """Long short-term memory. See `layers.lstm`; arguments as in `RNN`.

    Params ``kernel (d, 4 units)``, ``recurrent_kernel (units, 4 units)`` and ``bias (4 units)``, in the order i, f, g,
    o; PyTorch's ``bias_ih + bias_hh`` is the bias, flax's those of hi, hf, hg, ho.

    Args:
        units, depth, bidirectional, output, lengths, kernel_init, recurrent_init: as in `RNN`.
        zoneout_rate: as in `RNN`, for the output and the memory.
        forget_bias: where the bias of the forget gate starts; the others start at 0.

    Examples:
        >>> nn.LSTM(4).out_shape((5, 3))
        (5, 4)
    """

    def run(x, start, own, lengths, options):
        arrays = (own["kernel"], own["recurrent_kernel"], own["bias"])
        return layers.lstm(x, (start, start), *arrays, lengths, **options)[0]

    biases = lambda units: {"bias": jnp.zeros(4 * units).at[units : 2 * units].set(forget_bias)}
    options = _Options(units, depth, bidirectional, output, lengths, zoneout_rate, kernel_init, recurrent_init)
    return _network(_Cell("LSTM", "lstm", 4, biases, run), options)


def _network(cell: _Cell, options: _Options) -> Layer:
    """Return the layers on top of one another; one alone without a name of its own."""
    for name in ("units", "depth"):
        sizes.check_at_least_one(name, getattr(options, name))
    if options.output not in ("sequence", "last"):
        raise ValueError(f"output: got {options.output!r}, allowed are 'sequence' and 'last'")
    stochastic.check_rate(options.zoneout_rate)
    outputs = ["sequence"] * (options.depth - 1) + [options.output]
    parts = [_level(cell, options._replace(output=output)) for output in outputs]
    return parts[0] if len(parts) == 1 else _stack({f"layer{i}": part for i, part in enumerate(parts, 1)}, options)


def _level(cell: _Cell, options: _Options) -> Layer:
    if not options.bidirectional:
        return _direction(cell, options, reverse=False)
    ways = {name: _direction(cell, options, reverse=name == "backward") for name in ("forward", "backward")}
    return parallel("concat", **ways)


def _direction(cell: _Cell, options: _Options, *, reverse: bool) -> Layer:
    """Return the leaf that runs one cell over the sequences, in one direction."""
    units, columns = options.units, cell.gates * options.units

    def init(key, in_shape):
        features = _sequence_shape(cell, options, in_shape)[-1]
        kernel_key, recurrent_key = child_key(key, "kernel"), child_key(key, "recurrent_kernel")
        kernel = (options.kernel_init or initializers.lecun_normal())(kernel_key, (features, columns))
        gate = options.recurrent_init or initializers.orthogonal()
        gates = [gate(child_key(recurrent_key, str(i)), (units, units)) for i in range(cell.gates)]
        own = {"kernel": jnp.array(kernel), "recurrent_kernel": jnp.concatenate(gates, axis=-1)}
        return own | cell.biases(units), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del axis_name
        x, lengths = _sequences(cell, options, x)
        wanted = {"kernel": (None, columns), "recurrent_kernel": (units, columns)}
        wanted |= {name: bias.shape for name, bias in cell.biases(units).items()}
        own = own_arrays(cell.what, {"params": params, "state": state}, "params", wanted)
        if train and options.zoneout_rate and key is None:
            raise ValueError(f"key: got None, but {cell.what} draws at random: apply(..., train=True) needs a key")
        start = jnp.zeros((x.shape[0], units), x.dtype)
        along = layers.reverse_sequence(x, lengths) if reverse else x
        random = {"zoneout_rate": options.zoneout_rate, "train": train, "key": key}
        y = cell.run(along, start, own, lengths, random)
        if options.output == "last":
            return y[:, -1], state
        return (layers.reverse_sequence(y, lengths) if reverse else y), state

    def out_shape(in_shape):
        steps, _ = _sequence_shape(cell, options, in_shape)
        return (units,) if options.output == "last" else (steps, units)

    op = Op(cell.kind, input_dtype={1: jnp.int32} if options.lengths else jnp.float32)
    return checked(Layer(init, apply, out_shape, {}, op))


def _sequences(cell: _Cell, options: _Options, x: Any) -> tuple[Array, Any]:
    """Return the sequences (n, steps, features) and their lengths, or None."""
    if options.lengths and not (isinstance(x, tuple | list) and len(x) == 2):
        raise ValueError(f"x: got a {type(x).__name__}, allowed for {cell.what} are pairs (sequences, lengths)")
    x, lengths = x if options.lengths else (x, None)
    x = jnp.asarray(x)
    if x.ndim != 3:
        raise ValueError(f"x: got shape {x.shape}, allowed for {cell.what} are batches (n, steps, features)")
    if options.output == "last" and not x.shape[1]:
        raise ValueError(f"x: got shape {x.shape}, but {cell.what}(output='last') takes at least one step")
    return x, lengths


def _sequence_shape(cell: _Cell, options: _Options, in_shape: Any) -> Shape:
    """Return (steps, features) of the sequences, which may come with their lengths."""
    if options.lengths:
        in_shape, one = shapes.several(cell.what, in_shape, "the sequences and of their lengths", 2)
        if one != ():
            raise ValueError(f"in_shape: got {one} for the lengths, allowed is (): one number for each sequence")
    return shapes.sequence_shape(cell.what, in_shape)


def _stack(parts: dict[str, Layer], options: _Options) -> Layer:
    """Return the parts one after another, each of which gets the lengths, too, where there are any."""

    def given(x: Any, lengths: Any) -> Any:
        return (x, lengths) if options.lengths else x

    def split(in_shape: Any) -> tuple[Any, Any]:
        if not options.lengths:
            return in_shape, ()
        in_shape, lengths = shapes.several("the network", in_shape, "the sequences and of their lengths", 2)
        return in_shape, lengths

    def init(key, in_shape):
        in_shape, lengths = split(in_shape)
        params = {}
        for name, part in parts.items():
            with inside(name):
                params[name], _ = part.init(child_key(key, name), given(in_shape, lengths))
                in_shape = part.out_shape(given(in_shape, lengths))
        return params, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        x, lengths = x if options.lengths else (x, None)
        new_state = {}
        for name, part in parts.items():
            options_now = {"train": train, "key": None if key is None else child_key(key, name)}
            with inside(name):
                own = params.get(name, {}), state.get(name, {})
                x, own_state = part.apply(*own, given(x, lengths), axis_name=axis_name, **options_now)
            new_state |= {name: own_state} if own_state else {}
        return x, new_state

    def out_shape(in_shape):
        in_shape, lengths = split(in_shape)
        for name, part in parts.items():
            with inside(name):
                in_shape = part.out_shape(given(in_shape, lengths))
        return in_shape

    op = Op("stack", rebuild=lambda new: _stack(dict(new), options), input_dtype=parts["layer1"].op.input_dtype)
    return checked(Layer(init, apply, out_shape, parts, op))
