"""Convert between a network's params and state and another framework's flat dict of arrays by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import nn
from jaxdl.interop import flattening, orders

Names = Mapping[str, str] | Callable[[nn.Layer], Mapping[str, str]]
"""{path of a leaf with parameters: its name in the other framework}, or a function layer → that."""

_AFFINE = {"scale": "weight", "offset": "bias"}
_TABLE = {"table": "weight"}
# kinds of leaves whose arrays the other frameworks have, too: our names of arrays → PyTorch's, and → Keras'
_TORCH_KINDS = {
    "conv": {"kernel": "weight", "bias": "bias"},
    "dense": {"kernel": "weight", "bias": "bias"},
    "batch_norm": {**_AFFINE, "mean": "running_mean", "var": "running_var"},
    "conv_transpose": {"kernel": "weight", "bias": "bias"},
    "layer_norm": _AFFINE,
    "group_norm": _AFFINE,
    "instance_norm": _AFFINE,
    "rms_norm": {"scale": "weight"},
    "prelu": {"slope": "weight"},
    "embedding": _TABLE,
    "unembedding": _TABLE,
    "position_embedding": _TABLE,
}
_KERAS_KINDS = {
    "conv": {"kernel": "kernel", "bias": "bias"},
    "dense": {"kernel": "kernel", "bias": "bias"},
    "batch_norm": {"scale": "gamma", "offset": "beta", "mean": "moving_mean", "var": "moving_variance"},
    "conv_transpose": {"kernel": "kernel", "bias": "bias"},
    "layer_norm": {"scale": "gamma", "offset": "beta"},
    "group_norm": {"scale": "gamma", "offset": "beta"},
    "rms_norm": {"scale": "scale"},
    "embedding": {"table": "embeddings"},
}
_SHOWN = 20  # how many names of a mismatch the message lists; the exception holds all of them


class Mismatch(ValueError):
    """A file's weights do not fit the network.

    Attributes:
        missing: names that the network needs but the file lacks.
        unexpected: names in the file that the network does not have.
        shapes: name → (shape in the file, shape that the network needs).
    """

    def __init__(self, missing: list[str], unexpected: list[str], shapes: dict[str, tuple[Any, Any]]):
        self.missing, self.unexpected, self.shapes = missing, unexpected, shapes
        differ = [f"{name} is {there}, expected {needed}" for name, (there, needed) in shapes.items()]
        parts = [("not in the weights", missing), ("not in the network", unexpected), ("of another shape", differ)]
        said = [f"{len(names)} {what}: {_listed(names)}" for what, names in parts if names]
        if prefix := _prefix(missing, unexpected):
            said.append(f"without the prefix {prefix!r} the names in the file would match")
        elif prefix := _prefix(unexpected, missing):
            said.append(f"with the prefix {prefix!r} the names in the file would match")
        super().__init__("weights of another architecture; " + "; ".join(said))


class _Slot(NamedTuple):
    """An array of the network, or all of a recurrent leaf, and its counterparts in the other framework."""

    tree: str  # "params" or "state"
    path: tuple[str, ...]
    like: Any  # the network's shapes and dtypes
    names: tuple[str, ...]  # in the other framework
    to_ours: Callable[..., Any]  # of an array for each name
    to_theirs: Callable[[Any], tuple[Any, ...]]


class _Framework(NamedTuple):
    """How a framework names and lays out the arrays of a layer."""

    kinds: Mapping[str, Mapping[str, str]]  # kind of a leaf → our names of arrays → theirs
    separator: str  # between the layer's name and the array's
    converters: Callable[..., tuple[orders.Convert, orders.Convert]]  # of one array, to ours and to theirs
    recurrent: Callable[[nn.Layer], Mapping[str, orders.Recurrent]]  # of each direction below a recurrent layer
    flattened: Callable[..., Mapping[str, np.ndarray]]  # (layer, in_shape) -> places of entries that stand elsewhere


def from_torch(tensors: Mapping[str, Any], layer: nn.Layer, in_shape: Any, names: Names) -> tuple[Any, Any]:
    """Convert a PyTorch state dict to the params and state of ``layer``.

    Convolution kernels are transposed from (o, i, h, w) to (h, w, i, o) and dense kernels from (o, i) to (i, o); after
    a flatten, a dense kernel's rows and the entries of a norm or PReLU before it are reordered from (c, h, w) to
    (h, w, c). The name of a recurrent layer stands for all of its layers and directions, whose two biases become one.
    ``num_batches_tracked`` is ignored, and so are the prefixes ``module.`` and ``_orig_mod.`` that DataParallel and
    `torch.compile` put before every name.

    Args:
        tensors: name → array, as from `read`, or tensor of PyTorch.
        layer: the network.
        in_shape: shape of the one input that the weights are for, such as ``(224, 224, 3)``, or a tuple of several.
        names: maps paths of leaves to names in ``tensors``: a dict, or a function of the layer, such as
            `torchvision.resnet`; "" is the path of a network that is one leaf, and the name of tensors without prefix.

    Returns:
        ``(params, state)`` of float32 arrays.

    Raises:
        Mismatch: if names or shapes differ; it lists all of them.

    Examples:
        PyTorch keeps a dense kernel as (out, in):

        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> tensors = {"1.weight": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "1.bias": np.zeros(2)}
        >>> params, state = interop.from_torch(tensors, net, (3,), {"fc": "1"})
        >>> params["fc"]["kernel"]
        Array([[1., 4.],
               [2., 5.],
               [3., 6.]], dtype=float32)
    """
    _check_mapping(tensors, "as module.state_dict() gives")
    needless = "num_batches_tracked"
    wanted = {_present_name(name): _detached(a) for name, a in tensors.items() if not name.endswith(needless)}
    slots = _slots(layer, in_shape, _named(names, layer), _PYTORCH)
    return _fill(_unwrapped(wanted, {name for slot in slots for name in slot.names}), layer, in_shape, slots)


def to_torch(layer: nn.Layer, params: Any, state: Any, in_shape: Any, names: Names) -> dict[str, Any]:
    """Return the PyTorch state dict of a network, as arrays by name. See `from_torch`.

    Raises:
        ValueError: if ``params`` and ``state`` are not those of the network at ``in_shape``, or for the names.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> tensors = interop.to_torch(net, params, state, (3,), lambda layer: {"fc": "1"})
        >>> {name: array.shape for name, array in tensors.items()}
        {'1.weight': (2, 3), '1.bias': (2,)}
    """
    return _export(params, state, _slots(layer, in_shape, _named(names, layer), _PYTORCH))


def from_keras(tensors: Mapping[str, ArrayLike], layer: nn.Layer, in_shape: Any, names: Names) -> tuple[Any, Any]:
    """Convert Keras' arrays ``LAYER/kernel``, ... to params and state. See `from_torch`.

    Keras' layouts are ours, except for transposed convolutions and GRUs (``reset_after=True``). The name of a recurrent
    layer, of one direction, is that of its cell, such as ``lstm/lstm_cell``. A depthwise kernel (h, w, c, m) has to be
    reshaped to (h, w, 1, c·m) before.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> tensors = {"dense_1/kernel": np.ones((3, 2), np.float32), "dense_1/bias": np.zeros(2, np.float32)}
        >>> params, state = interop.from_keras(tensors, net, (3,), lambda layer: {"fc": "dense_1"})
        >>> params["fc"]["kernel"].shape
        (3, 2)
    """
    _check_mapping(tensors, "such as dense_1/kernel")
    return _fill(dict(tensors), layer, in_shape, _slots(layer, in_shape, _named(names, layer), _KERAS))


def to_keras(layer: nn.Layer, params: Any, state: Any, in_shape: Any, names: Names) -> dict[str, Any]:
    """Return a network's arrays under Keras' names ``LAYER/kernel``, ..., for `write_keras`. See `from_keras`.

    Raises:
        ValueError: if ``params`` and ``state`` are not those of the network at ``in_shape``, or for the names.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> tensors = interop.to_keras(net, params, state, (3,), lambda layer: {"fc": "dense_1"})
        >>> {name: array.shape for name, array in tensors.items()}
        {'dense_1/kernel': (3, 2), 'dense_1/bias': (2,)}
    """
    return _export(params, state, _slots(layer, in_shape, _named(names, layer), _KERAS))


def renamed(layer: nn.Layer, rename: Callable[[str], str | None], what: str) -> dict[str, str]:
    """Return the new names of all leaves that can have parameters.

    Args:
        layer: the network.
        rename: path → name, or None for a path that this family of networks does not have.
        what: the family's name in the message.

    Raises:
        ValueError: if the network is of another family.
    """
    paths = [path for path in nn.paths(layer) if nn.at(layer, path).op.kind in _TORCH_KINDS]
    names = {path: rename(path) for path in paths}
    foreign = [path for path, name in names.items() if name is None]
    if foreign or not paths:
        found = _listed(foreign or list(layer.children))
        raise ValueError(f"layer: expected {what} of jaxdl.models; got a network with {found}")
    return {path: name for path, name in names.items() if name is not None}


def _fill(tensors: dict[str, ArrayLike], layer: nn.Layer, in_shape: Any, slots: list[_Slot]):
    needed = {}
    for slot in slots:
        theirs = jax.eval_shape(slot.to_theirs, slot.like)
        needed |= {name: array.shape for name, array in zip(slot.names, theirs, strict=True)}
    check_match({name: tuple(np.shape(array)) for name, array in tensors.items()}, needed)
    filled: dict[str, Any] = {"params": {}, "state": {}}
    for slot in slots:
        # copies: JAX would share the memory of an array, which the other framework changes as it trains on
        theirs = (jnp.asarray(np.array(tensors[name], np.float32)) for name in slot.names)
        _put(filled, (slot.tree, *slot.path), slot.to_ours(*theirs))
    params, state = _abstract(layer, in_shape)
    _check_covered({"params": params, "state": state}, _structure(filled))
    return filled["params"], filled["state"]


def _detached(array: Any) -> Any:
    """Return a tensor of PyTorch, of any dtype, on any device and with or without gradient, as an array."""
    return array.detach().cpu().float().numpy() if hasattr(array, "detach") else array


def _check_mapping(tensors: Any, which: str) -> None:
    if not isinstance(tensors, Mapping):
        raise ValueError(f"tensors: got a {type(tensors).__name__}, allowed are arrays by their names, {which}")


def _check_covered(needed: Any, covered: set[str]) -> None:
    if left := _structure(needed) ^ covered:
        raise ValueError(f"names: must cover the network, but leave out {_listed(sorted(left))}")


def check_match(there: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]]) -> None:
    """Raise Mismatch unless a file's names and shapes are those that the network needs."""
    missing, unexpected = ([n for n in a if n not in b] for a, b in ((needed, there), (there, needed)))
    differ = {name: (there[name], shape) for name, shape in needed.items() if name in there and there[name] != shape}
    if missing or unexpected or differ:
        raise Mismatch(missing, unexpected, differ)


def _unwrapped(tensors: dict[str, ArrayLike], needed: set[str]) -> dict[str, ArrayLike]:
    """Return the tensors without PyTorch's wrappers in their names, unless the network's own names have them."""
    if not any("_orig_mod." in name for name in needed):  # which may stand before any compiled part
        plain = {re.sub(r"(^|\.)_orig_mod\.", r"\1", name): array for name, array in tensors.items()}
        tensors = plain if len(plain) == len(tensors) else tensors
    while tensors and not needed & {*tensors} and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    return tensors


def _prefix(short: Sequence[str], long: Sequence[str]) -> str:
    """Return the prefix that turns all the short names into long ones, or ""."""
    found = {name[: -len(short[0])] for name in long if name.endswith(short[0])} if short else set()
    fits = [prefix for prefix in found if prefix[-1:] in (".", "/") and {prefix + name for name in short} <= {*long}]
    return min(fits, default="")


def _export(params: Any, state: Any, slots: list[_Slot]) -> dict[str, Any]:
    """Return the other framework's arrays by name, or raise ValueError for another structure or other shapes."""
    trees = {"params": params, "state": state}
    named: dict[str, Any] = {"params": {}, "state": {}}
    for slot in slots:
        _put(named, (slot.tree, *slot.path), slot.like)
    _check_covered(trees, _structure(named))
    tensors = {}
    for slot in slots:
        ours = jax.tree.map(jnp.asarray, _get(trees[slot.tree], slot.path))
        got, allowed = (jax.tree.map(jnp.shape, tree) for tree in (ours, slot.like))
        if got != allowed:
            raise ValueError(
                f"{slot.tree}: got {got} at {'/'.join(slot.path)!r}; the network at in_shape has {allowed}"
            )
        tensors |= zip(slot.names, slot.to_theirs(ours), strict=True)
    return tensors


def _named(names: Names, layer: nn.Layer) -> Mapping[str, str]:
    """Return path → name.

    Raises:
        ValueError: if it is neither a dict nor a function, or two paths have one name.
    """
    found = names(layer) if callable(names) else names
    if not isinstance(found, Mapping):
        allowed = "allowed are dicts {path: name} and functions layer → dict"
        raise ValueError(f"names: got {type(found).__name__}, {allowed}")
    if twice := sorted({name for name in found.values() if [*found.values()].count(name) > 1}):
        raise ValueError(f"names: give {_listed(twice)} to more than one path")
    return found


def _slots(layer: nn.Layer, in_shape: Any, names: Mapping[str, str], framework: _Framework) -> list[_Slot]:
    """Return the arrays of all named layers, in the network's order."""
    trees = dict(zip(("params", "state"), _abstract(layer, in_shape), strict=True))
    flattened = framework.flattened(layer, in_shape)
    slots, order = [], ["", *nn.paths(layer)]
    parts_of = {path: nn.at(layer, path) for path in names}
    for path, part in sorted(parts_of.items(), key=lambda named: order.index(named[0])):  # Keras goes by the order
        parts, start = _split(path), f"{names[path]}{framework.separator}" if names[path] else ""
        of_recurrent = framework.recurrent(part)
        if part.op.kind not in framework.kinds and not of_recurrent:
            raise ValueError(_of_another_kind(path, part, framework))
        for below, whole in of_recurrent.items():
            place = (*parts, *_split(below))
            like, there = _recurrent_arrays(trees["params"], place, path, slots), tuple(start + n for n in whole.names)
            slots.append(_Slot("params", place, like, there, whole.to_ours, whole.to_theirs))
        for own, there in framework.kinds.get(part.op.kind, {}).items():
            tree, place = "state" if own in ("mean", "var") else "params", (*parts, own)
            if own in _get(trees[tree], parts, {}):
                to_ours, to_theirs = framework.converters(part.op, own, flattened.get(path))
                slots.append(_Slot(tree, place, _get(trees[tree], place), (start + there,), to_ours, _alone(to_theirs)))
    return slots


def _recurrent_arrays(params: Any, place: tuple[str, ...], path: str, slots: list[_Slot]) -> Any:
    """Return the arrays of a recurrent layer.

    Raises:
        ValueError: if it has none of its own, or another path of the names stands for it, too.
    """
    like = _get(params, place, {})
    if not like:
        why = "nn.shared keeps them at the place that owns them"
        raise ValueError(f"names: got {path!r}, but {'/'.join(place)!r} has no parameters of its own; {why}")
    if any(slot.path == place for slot in slots):
        raise ValueError(f"names: got {path!r}, but another path stands for {'/'.join(place)!r}, too")
    return like


def _of_another_kind(path: str, part: nn.Layer, framework: _Framework) -> str:
    allowed = ", ".join((*framework.kinds, *orders.RECURRENT))
    below = [one for one in nn.paths(part) if nn.at(part, one).op.kind in orders.RECURRENT]
    hint = f", such as {_listed([f'{path}/{one}'.lstrip('/') for one in below])}" if below else ""
    return f"names: got {path!r}, whose kind is {part.op.kind}; allowed are paths of {allowed}{hint}"


def _split(path: str) -> tuple[str, ...]:
    return tuple(path.split("/")) if path else ()


def _alone(convert: orders.Convert) -> Callable[[Any], tuple[Any]]:
    return lambda array: (convert(array),)


def _present_name(name: str) -> str:
    """Rename norm.1 to norm1: torchvision's DenseNet files are older than its module names."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)


def _abstract(layer: nn.Layer, in_shape: Any) -> tuple[Any, Any]:
    return jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))


def _get(tree: Any, path: Sequence[str], default: Any = None) -> Any:
    for name in path:
        if name not in tree and default is not None:
            return default
        tree = tree[name]
    return tree


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _structure(tree: Any) -> set[str]:
    return {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}


def _listed(names: Sequence[str]) -> str:
    rest = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


_PYTORCH = _Framework(_TORCH_KINDS, ".", orders.of_torch, orders.recurrent_of_torch, flattening.orders)
_KERAS = _Framework(_KERAS_KINDS, "/", orders.of_keras, orders.recurrent_of_keras, lambda *_: {})
