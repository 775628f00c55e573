"""Orders of the entries of arrays in PyTorch and Keras, and of the gates and biases of their recurrent layers."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdl import nn

RECURRENT = ("rnn", "gru", "lstm")
_PLACE = re.compile(r"(?:layer([1-9]\d*))?(?:(?:^|/)(forward|backward))?")  # of a direction in `nn.LSTM` and the like
_RECURRENT_OF_TORCH = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
Convert = Callable[[Any], Any]


class Recurrent(NamedTuple):
    """The arrays of one direction of a recurrent layer in another framework."""

    names: tuple[str, ...]
    to_ours: Callable[..., dict[str, Array]]  # their arrays, in the order of the names → our params
    to_theirs: Callable[[Mapping[str, Array]], tuple[Array, ...]]


def of_torch(op: nn.Op, own: str, flattened: np.ndarray | None) -> tuple[Convert, Convert]:
    """Return the conversions of an array from and to PyTorch's layout.

    Args:
        op, own: the layer, and our name of its array.
        flattened: where PyTorch has each entry of the layer's input; None where it has the same order.
    """
    if own == "kernel" and op.kind == "dense":
        if flattened is None:
            return (lambda w: w.T), (lambda k: k.T)
        return (lambda w: w.T[flattened]), (lambda k: k[np.argsort(flattened)].T)
    if own == "kernel" and op.kind == "conv":
        return (lambda w: jnp.moveaxis(w, (1, 0), (-2, -1))), (lambda k: jnp.moveaxis(k, (-2, -1), (1, 0)))
    if own == "kernel":  # of a transposed convolution, whose groups divide PyTorch's inputs and our outputs
        groups = op.groups
        ours = lambda w: jnp.moveaxis(_regrouped(w, groups), (0, 1), (-2, -1))
        return ours, lambda k: _degrouped(jnp.moveaxis(k, (-2, -1), (0, 1)), groups)
    if flattened is None or op.kind == "dense" or own == "table":
        return _same, _same
    return (lambda a: a[flattened]), (lambda a: a[np.argsort(flattened)])


def of_keras(op: nn.Op, own: str, flattened: np.ndarray | None) -> tuple[Convert, Convert]:
    """Return the conversions of an array from and to Keras' layout."""
    del flattened  # Keras is channels last, as jaxdl is
    turned = own == "kernel" and op.kind == "conv_transpose"  # its kernels are (..., out, in)
    convert = (lambda k: k.swapaxes(-2, -1)) if turned else _same
    return convert, convert


def recurrent_of_torch(layer: nn.Layer) -> dict[str, Recurrent]:
    """Return PyTorch's layout of each direction of a recurrent layer, by its path below it; {} for any other layer.

    The ends of PyTorch's names are _l0 for the first of several layers, and _l0_reverse for its direction backward.
    Dropout between layers has no arrays. Two recurrent layers that a user puts side by side are not two directions.
    """
    if layer.op.kind in RECURRENT:
        return {"": _direction_of_torch(layer.op.kind, "_l0")}
    parts = {path: nn.at(layer, path) for path in nn.paths(layer)}
    leaves = {path: part.op.kind for path, part in parts.items() if not part.children and part.op.kind != "dropout"}
    found = {path: place for path in leaves if (place := _PLACE.fullmatch(path))}
    declared = any(place[2] and parts[path].op.declaration for path, place in found.items())  # runs forward in any case
    side_by_side = layer.op.kind == "parallel" and any(place[1] for place in found.values())
    if len(found) < len(leaves) or not {*leaves.values()} <= {*RECURRENT} or declared or side_by_side:
        return {}
    end = {None: "", "forward": "", "backward": "_reverse"}
    ends = {path: f"_l{int(place[1] or 1) - 1}{end[place[2]]}" for path, place in found.items()}
    return {path: _direction_of_torch(leaves[path], ends[path]) for path in leaves}


def recurrent_of_keras(layer: nn.Layer) -> dict[str, Recurrent]:
    """Return Keras' layout of a recurrent layer of one direction; {} for any other layer.

    In Keras, a network of several layers or directions has a name for each of them.
    """
    return {"": _direction_of_keras(layer.op.kind)} if layer.op.kind in RECURRENT else {}


def _direction_of_torch(kind: str, end: str) -> Recurrent:
    """Return PyTorch's layout of one direction: transposed kernels, and two biases of which the sum counts.

    The second bias of a GRU's candidate counts by itself, because the reset gate multiplies it.
    """

    def to_ours(kernel, recurrent_kernel, bias, recurrent_bias):
        return {"kernel": kernel.T, "recurrent_kernel": recurrent_kernel.T} | _joined(kind, bias, recurrent_bias)

    def to_theirs(own):
        return (own["kernel"].T, own["recurrent_kernel"].T, *_parted(kind, own))

    return Recurrent(tuple(f"{name}{end}" for name in _RECURRENT_OF_TORCH), to_ours, to_theirs)


def _direction_of_keras(kind: str) -> Recurrent:
    """Return Keras' layout of one direction, which is ours but for the GRU: its gates are z, r, n, its biases rows."""

    def to_ours(kernel, recurrent_kernel, bias):
        if kind != "gru":
            return {"kernel": kernel, "recurrent_kernel": recurrent_kernel, "bias": bias}
        kernels = {"kernel": _swapped(kernel), "recurrent_kernel": _swapped(recurrent_kernel)}
        return kernels | _joined(kind, *_swapped(bias))

    def to_theirs(own):
        if kind != "gru":
            return own["kernel"], own["recurrent_kernel"], own["bias"]
        arrays = own["kernel"], own["recurrent_kernel"], jnp.stack(_parted(kind, own))
        return tuple(map(_swapped, arrays))

    return Recurrent(("kernel", "recurrent_kernel", "bias"), to_ours, to_theirs)


def _joined(kind: str, bias: Array, recurrent_bias: Array) -> dict[str, Array]:
    """Return our biases from those of the input and of the state."""
    if kind != "gru":
        return {"bias": bias + recurrent_bias}
    candidate = 2 * len(bias) // 3
    of_gates = recurrent_bias.at[candidate:].set(0)
    return {"bias": bias + of_gates, "recurrent_bias": recurrent_bias[candidate:]}


def _parted(kind: str, own: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the biases of the input and of the state from ours; see `_joined`."""
    bias, zeros = own["bias"], jnp.zeros_like(own["bias"])
    return bias, zeros if kind != "gru" else zeros.at[2 * len(bias) // 3 :].set(own["recurrent_bias"])


def _swapped(columns: Array) -> Array:
    """Exchange the first two of three gates."""
    first, second, third = jnp.split(columns, 3, axis=-1)
    return jnp.concatenate([second, first, third], axis=-1)


def _regrouped(w: Array, groups: int) -> Array:
    """Turn (groups · i, o, ...) into (i, groups · o, ...)."""
    parts = w.reshape(groups, -1, *w.shape[1:]).swapaxes(0, 1)
    return parts.reshape(parts.shape[0], -1, *w.shape[2:])


def _degrouped(w: Array, groups: int) -> Array:
    """Undo `_regrouped`."""
    parts = w.reshape(w.shape[0], groups, -1, *w.shape[2:]).swapaxes(0, 1)
    return parts.reshape(-1, *parts.shape[2:])


def _same(x: Any) -> Any:
    return x
