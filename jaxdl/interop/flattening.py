"""Where PyTorch, whose channels come first, keeps the entries of vectors that were images or sequences before."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import nn
from jaxdl.nn.layer import is_shape

_FIRST = ("conv", "conv_transpose")  # PyTorch's own have channels before the steps of a sequence,
_LAST = ("rnn", "gru", "lstm", "embedding", "attention", "dense")  # and these behind them


class _Order(NamedTuple):
    """What is known of an activation in PyTorch."""

    places: np.ndarray | None  # of our entries in PyTorch's flattened array, of the activation's shape; None: the same
    channels_first: bool  # whether PyTorch's channels come first, of what is no vector yet


def orders(layer: nn.Layer, in_shape: Any) -> dict[str, np.ndarray]:
    """Return for each leaf whose input was flattened in another order: the places of its entries in PyTorch's.

    A function is tried on numbers that grow along the input, so one that flattens by itself is followed, too.

    Raises:
        ValueError: where a sum adds vectors whose entries have different orders in PyTorch, or a function that flattens
            does more than that.
    """
    shapes: dict[str, Any] = {}
    noted = _noting(layer, "", shapes)
    jax.eval_shape(lambda: noted.init(jax.random.key(0), in_shape))
    found: dict[str, np.ndarray] = {}
    _follow(layer, "", _Order(None, len(tuple(in_shape)) == 3), shapes, found)
    return found


def _noting(layer: nn.Layer, path: str, shapes: dict[str, Any]) -> nn.Layer:
    """Return the network with layers that record the input shapes that ``init`` passes them."""
    inner = layer
    if layer.op.rebuild is not None:
        below = {name: _noting(child, f"{path}/{name}".lstrip("/"), shapes) for name, child in layer.children.items()}
        inner = layer.op.rebuild(below)

    def init(key, in_shape):
        shapes[path] = in_shape
        return inner.init(key, in_shape)

    return inner._replace(init=init)


def _follow(layer: nn.Layer, path: str, order: _Order, shapes: Mapping[str, Any], found: dict[str, Any]) -> _Order:
    """Return the order of a layer's output, after adding that of each leaf's input to what was found."""
    below = {name: f"{path}/{name}".lstrip("/") for name in layer.children}
    if not below or not shapes.keys() >= {*below.values()}:
        return _behind_leaf(layer, path, order, shapes[path], found)
    outputs, now = [], order
    for name, child in layer.children.items():
        now = _follow(layer.children[name], below[name], order if layer.op.kind == "parallel" else now, shapes, found)
        outputs.append((now, child.out_shape(shapes[below[name]])))
    if layer.op.kind == "parallel":
        return _joined(path, outputs, layer.out_shape(shapes[path]), order)
    passes = layer.op.declaration is not None and layer.op.declaration[0] == "auxiliary"
    return order if passes else now


def _behind_leaf(layer: nn.Layer, path: str, order: _Order, in_shape: Any, found: dict[str, Any]) -> _Order:
    kind, out_shape = layer.op.kind, layer.out_shape(in_shape)
    if not is_shape(in_shape) or not is_shape(out_shape):
        return _Order(None, order.channels_first)
    first = (kind in _FIRST or order.channels_first) and kind not in _LAST
    places = order.places if order.places is not None and order.places.shape == tuple(in_shape) else None
    if places is not None and len(in_shape) == 1:
        found[path] = places
    if kind == "dense" or math.prod(out_shape) != math.prod(in_shape):
        return _Order(None, first or len(out_shape) == 3)
    if tuple(out_shape) == tuple(in_shape):
        return _Order(places, first or len(out_shape) == 3)
    if places is None:
        places = _fresh(tuple(in_shape), first or len(in_shape) == 3)
    places = _moved(path, layer, places, tuple(out_shape))
    return _Order(_unless_the_same(places, len(out_shape) > 1), len(out_shape) == 3 and first)


def _fresh(shape: tuple[int, ...], channels_first: bool) -> np.ndarray:
    places = np.arange(math.prod(shape))
    return np.moveaxis(places.reshape(shape[-1], *shape[:-1]), 0, -1) if channels_first else places.reshape(shape)


def _moved(path: str, layer: nn.Layer, places: np.ndarray, out_shape: tuple[int, ...]) -> np.ndarray | None:
    """Return where a layer without parameters puts the places; None for one with parameters, or of tokens.

    Raises:
        ValueError: for one that makes a vector and does not grow, or fall, with each entry alone.
    """
    own = jax.eval_shape(lambda: layer.init(jax.random.key(0), places.shape))
    if layer.op.input_dtype != jnp.float32 or jax.tree.leaves(own):
        return None
    count = places.size
    shuffled = np.random.default_rng(0).permutation(count)
    straight, mixed = (_ranks(layer, ranks.reshape(places.shape)) for ranks in (np.arange(count), shuffled))
    for came, upwards in ((straight, True), (count - 1 - straight, False)):
        if np.array_equal(mixed, shuffled[came] if upwards else count - 1 - shuffled[came]):
            return places.ravel()[came].reshape(out_shape)
    if len(out_shape) > 1:
        return None
    raise ValueError(
        f"layer: {path!r} flattens and mixes; put nn.flatten before it, so that weights can be put in order"
    )


def _ranks(layer: nn.Layer, ranks: np.ndarray) -> np.ndarray:
    """Return the ranks of a layer's outputs for inputs between 1 and 2 of the given ranks."""
    with jax.ensure_compile_time_eval():
        x = 1 + jnp.asarray(ranks[None], jnp.float32) / ranks.size
        return np.argsort(np.argsort(np.asarray(layer.apply({}, {}, x)[0], np.float32).ravel(), kind="stable"))


def _unless_the_same(places: np.ndarray | None, only: bool = False) -> np.ndarray | None:
    """Return None for places that are the same in both, and with ``only`` keep no others."""
    if places is None:
        return None
    same = np.array_equal(places.ravel(), np.arange(places.size))
    return (places if same else None) if only else (None if same else places)


def _joined(path: str, outputs: list[tuple[_Order, Any]], out_shape: Any, order: _Order) -> _Order:
    """Return the order of a sum or concatenation of vectors; of anything else nothing is known."""
    shapes = [shape for _, shape in outputs]
    first = any(one.channels_first for one, _ in outputs)
    vectors = all(is_shape(shape) and len(shape) == 1 for shape in (*shapes, out_shape))
    if not vectors or all(one.places is None for one, _ in outputs):
        return _Order(None, first)
    sizes = [shape[0] for shape in shapes]
    places = [np.arange(n) if one.places is None else one.places for (one, _), n in zip(outputs, sizes, strict=True)]
    if out_shape[0] == sum(sizes):
        starts = np.cumsum([0, *sizes[:-1]])
        return _Order(np.concatenate([start + one for start, one in zip(starts, places, strict=True)]), first)
    if not all(np.array_equal(one, places[0]) for one in places):
        raise ValueError(
            f"layer: {path!r} joins a flattened image with vectors of another order, which PyTorch's weights do not "
            "tell apart; flatten as PyTorch does, by a function such as "
            "lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1)"
        )
    return _Order(places[0], order.channels_first)
