"""Where PyTorch, whose channels come first, keeps the entries of vectors that were images or sequences before."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import nn
from jaxdl.interop import trials
from jaxdl.nn.layer import as_layer, is_shape
from jaxdl.nn.sharing import same_objects

_FIRST = ("conv", "conv_transpose")  # PyTorch's own have channels before the steps of a sequence,
_LAST = ("rnn", "gru", "lstm", "embedding", "attention", "dense")  # and these behind them
_AS_PYTORCH = "flatten as PyTorch does, by a function such as lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1)"


class _Order(NamedTuple):
    """What is known of an activation in PyTorch."""

    places: np.ndarray | None  # of our entries in PyTorch's flattened array, of the activation's shape; None: the same
    channels_first: bool  # whether PyTorch's channels come first, of what is no vector yet
    convolved: bool = False  # whether a convolution came before, so that PyTorch's channels were first for certain
    lost: str = ""  # why the order is not known; a layer with parameters behind it is refused with these words


def orders(layer: nn.Layer, in_shape: Any) -> dict[str, np.ndarray]:
    """Return for each leaf whose input was flattened in another order: the places of its entries in PyTorch's.

    Functions are tried on numbers, so one that flattens by itself is followed, too.

    Raises:
        ValueError: where a layer with parameters reads entries whose order in PyTorch is not known: behind a function
            that flattens and does more than that, or takes a flattened image apart, or makes steps of the rows and
            channels of an image, and behind a sum of vectors of different orders; and where places that share
            parameters read different orders.
    """
    shapes: dict[str, Any] = {}
    noted = _noting(layer, "", shapes)
    jax.eval_shape(lambda: noted.init(jax.random.key(0), in_shape))
    found: dict[str, np.ndarray] = {}
    _follow(layer, "", _Order(None, is_shape(in_shape) and len(tuple(in_shape)) == 3), shapes, found)
    for path in ("", *nn.paths(layer)):
        _check_shared(path, nn.at(layer, path), found)
    return found


def _check_shared(path: str, layer: nn.Layer, found: Mapping[str, np.ndarray]) -> None:
    """Refuse parameters that several places share, whose inputs have different orders in PyTorch."""
    name, args, options = trials.unwrapped(layer, ("remat", "compute_in")).op.declaration or ("", (), {})
    if name != "shared":
        return
    arguments = dict(zip(("layer", "places"), args, strict=False)) | options
    for places in (arguments.get("places") or same_objects(arguments["layer"])).items():
        starts = [f"{path}/{place}".strip("/") for place in places]
        one, other = ({leaf.removeprefix(start): order for leaf, order in found.items()
                       if f"{leaf}/".startswith(f"{start}/")} for start in starts)  # fmt: skip
        if one.keys() != other.keys() or any(not np.array_equal(one[leaf], other[leaf]) for leaf in one):
            raise ValueError(f"layer: {starts[0]!r} and {starts[1]!r} share parameters, but read vectors of different "
                             f"orders in PyTorch; {_AS_PYTORCH}")  # fmt: skip


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
        behind = _behind_leaf(layer, path, order, shapes[path], found)
        return order if _passes(layer) else behind
    outputs, now = [], order
    for name, child in layer.children.items():
        now = _follow(layer.children[name], below[name], order if layer.op.kind == "parallel" else now, shapes, found)
        outputs.append((now, child.out_shape(shapes[below[name]])))
    if layer.op.kind == "parallel" and not _passes(layer):
        return _joined(path, layer, outputs, layer.out_shape(shapes[path]))
    return order if _passes(layer) else now


def _passes(layer: nn.Layer) -> bool:
    """Whether the input passes through unchanged, beside a head."""
    return (trials.unwrapped(layer, ("shared", "remat", "compute_in")).op.declaration or ("",))[0] == "auxiliary"


def _behind_leaf(layer: nn.Layer, path: str, order: _Order, in_shape: Any, found: dict[str, Any]) -> _Order:
    layer, in_shape = _picked(layer, in_shape)
    kind, out_shape = layer.op.kind, layer.out_shape(in_shape)
    parameters = bool(jax.tree.leaves(jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))))
    if order.lost and parameters:
        raise ValueError(order.lost)
    if not is_shape(in_shape) or not is_shape(out_shape):
        joined = not is_shape(in_shape) and _flattens_several(jax.tree.leaves(in_shape, is_leaf=is_shape), out_shape)
        return order._replace(places=None, lost=order.lost or (_mixing(path) if joined else ""))
    first = (kind in _FIRST or order.channels_first) and kind not in _LAST
    places = order.places if order.places is not None and order.places.shape == tuple(in_shape) else None
    if places is not None and len(in_shape) == 1:
        found[path] = places
    now = _Order(None, first or len(out_shape) == 3, kind in _FIRST or order.convolved, order.lost)
    same = tuple(out_shape) == tuple(in_shape)
    if not in_shape:  # a number, such as a sequence's length, has no order
        return now
    if parameters or kind == "dense" or layer.op.input_dtype != jnp.float32:
        return now._replace(places=places if same and kind != "dense" else None)
    if same and (places is None or len(in_shape) > 1) and not _turns(layer, in_shape):
        return now._replace(places=places)
    if len(in_shape) == 1 and (same or math.prod(out_shape) != math.prod(in_shape)):
        return _of_a_vector(path, layer, now, places, out_shape)
    if math.prod(out_shape) != math.prod(in_shape):
        whole = len(out_shape) > 1 or not (first or len(in_shape) == 3) or trials.pools(layer, in_shape, out_shape)
        return now if whole or now.lost else now._replace(lost=_mixing(path))
    return _reshaped(path, layer, now, places, (tuple(in_shape), tuple(out_shape)), first)


def _picked(layer: nn.Layer, in_shape: Any) -> tuple[nn.Layer, Any]:
    """Return the layer of a `pick`, and the shape of the input that it picks."""
    name, args, options = layer.op.declaration or ("", (), {})
    if name != "pick" or is_shape(in_shape):
        return layer, in_shape
    arguments = dict(zip(("which", "layer"), args, strict=False)) | options
    return as_layer(arguments.get("layer", nn.identity)), in_shape[arguments["which"]]


def _of_a_vector(path: str, layer: nn.Layer, now: _Order, places: np.ndarray | None, out_shape: Any) -> _Order:
    """Return the order behind a function of a flattened image: the same, or none if the function does not depend."""
    if places is None or math.prod(out_shape) == 1:
        return now if places is None else now._replace(lost="")
    for one in (places, None) if places.shape == tuple(out_shape) else (None,):
        if trials.keeps(trials.applied(layer), [places], one):
            return now._replace(places=one)
    return now._replace(lost=_apart(path))


def _reshaped(path: str, layer: nn.Layer, now: _Order, places: np.ndarray | None, shapes: Any, first: bool) -> _Order:
    """Return the order behind a function that makes another shape of as many entries."""
    in_shape, out_shape = shapes
    if len(in_shape) > 3 and len(out_shape) < 3:  # clips (t, h, w, c) are (c, t, h, w) or (t, c, h, w) in PyTorch
        tried = [trials.moved(layer, _fresh(in_shape, axis), out_shape) for axis in range(len(in_shape) - 1)]
        fits = any(one is not None and np.all(np.diff(one, axis=-1) > 0) for one in tried)
        return now if fits else now._replace(lost=now.lost or _unlike(path))
    was = _fresh(in_shape, 0 if first or len(in_shape) == 3 else -1) if places is None else places
    moved = trials.moved(layer, was, out_shape)
    behind = now._replace(channels_first=len(out_shape) == 3 and first)
    if moved is None:
        return behind if len(out_shape) > 1 else behind._replace(lost=now.lost or _mixing(path))
    behind = behind._replace(places=_unless_the_same(moved, len(out_shape) > 1))
    if len(out_shape) == 1:  # a flatten, as of our image or of PyTorch's; of a turned image it may be either
        told = places is not None or behind.places is None or np.array_equal(moved, was.ravel())
        return behind if told else now._replace(lost=now.lost or _unlike(path))
    if behind.places is not None:
        return behind
    if places is not None and len(in_shape) == 1:
        fits = np.array_equal(moved, _fresh(out_shape, 0))
        return behind._replace(channels_first=True) if fits else behind._replace(lost=now.lost or _apart(path))
    steps = len(out_shape) == 2 and len(in_shape) == 3 and now.convolved and np.any(np.diff(moved, axis=-1) < 0)
    return behind._replace(lost=now.lost or _unlike(path)) if steps else behind


def _turns(layer: nn.Layer, in_shape: Any) -> bool:
    """Whether a function of the same shape moves the channels to another axis of the same length."""
    if in_shape[-1] not in in_shape[:-1]:
        return False
    places = np.arange(math.prod(in_shape)).reshape(in_shape)
    moved = trials.moved(layer, places, tuple(in_shape))
    return moved is not None and not np.array_equal(moved, places)


def _fresh(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """Return the places of entries whose channels, the last axis here, are another in PyTorch."""
    theirs = np.moveaxis(np.empty(shape, bool), -1, axis).shape
    return np.moveaxis(np.arange(math.prod(shape)).reshape(theirs), axis, -1)


def _unless_the_same(places: np.ndarray | None, only: bool = False) -> np.ndarray | None:
    """Return None for places that are the same in both, and with ``only`` keep no others."""
    if places is None:
        return None
    same = np.array_equal(places.ravel(), np.arange(places.size))
    return (places if same else None) if only else (None if same else places)


def _joined(path: str, layer: nn.Layer, outputs: list[tuple[_Order, Any]], out_shape: Any) -> _Order:
    """Return the order of a sum, concatenation or another function of vectors; of anything else nothing is known."""
    shapes, places = [shape for _, shape in outputs], [one.places for one, _ in outputs]
    lost = next((one.lost for one, _ in outputs if one.lost), "")
    behind = _Order(None, any(one.channels_first for one, _ in outputs), any(one.convolved for one, _ in outputs), lost)
    if not is_shape(out_shape) or not all(is_shape(shape) and len(shape) == 1 for shape in (*shapes, out_shape)):
        inside = _flattens_several(shapes, out_shape)
        told = is_shape(out_shape) or all(one is None or one.ndim > 1 for one in places)
        return behind if told and not inside else behind._replace(lost=lost or _mixing(path))
    if all(one is None for one in places):
        return behind
    known = [np.arange(n) if one is None else one for one, (n,) in zip(places, shapes, strict=True)]
    starts = np.cumsum([0, *(len(one) for one in known[:-1])])
    beside = np.concatenate([start + one for start, one in zip(starts, known, strict=True)])
    for one in (beside, *known, np.arange(*out_shape)):
        if len(one) == out_shape[0] and trials.keeps(trials.merging(layer, len(known)), known, one):
            return behind._replace(places=_unless_the_same(one))
    return behind._replace(
        lost=lost
        or f"layer: {path!r} joins a flattened image with vectors of another order, which PyTorch's weights "
        f"do not tell apart; {_AS_PYTORCH}"
    )


def _flattens_several(shapes: list[Any], out_shape: Any) -> bool:
    """Whether a function of several arrays flattens them, as the size of its output shows."""
    arrays = all(map(is_shape, [*shapes, out_shape])) and len(out_shape) == 1
    return arrays and any(len(one) > 1 for one in shapes) and out_shape[0] == sum(map(math.prod, shapes))


def _mixing(path: str) -> str:
    return f"layer: {path!r} flattens and mixes; put nn.flatten before it, so that weights can be put in order"


def _apart(path: str) -> str:
    return f"layer: {path!r} takes a flattened image apart, whose entries PyTorch has in another order; {_AS_PYTORCH}"


def _unlike(path: str) -> str:
    return (
        f"layer: {path!r} mixes an image's places and channels in another order than PyTorch, which has (c, h, w); "
        "write it for arrays of that order, by x.transpose(0, 3, 1, 2) before a reshape, so that the weights fit"
    )
