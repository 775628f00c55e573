"""Convert between a network's params and state and another framework's flat dict of arrays by name."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import nn

Names = Mapping[str, str] | Callable[[nn.Layer], Mapping[str, str]]
"""{path of a leaf with parameters: its name in the other framework}, or a function layer → that."""

NAMED = ("conv", "dense", "batch_norm")  # kinds of leaves whose arrays the other frameworks have, too
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
    """An array of the network and its counterpart in the other framework."""

    tree: str  # "params" or "state"
    path: tuple[str, ...]
    name: str  # in the other framework
    to_ours: Callable[[Any], Any]
    to_theirs: Callable[[Any], Any]
    like: Any = None  # the network's shape and dtype


def from_torch(
    tensors: Mapping[str, ArrayLike], layer: nn.Layer, in_shape: Sequence[int], names: Names
) -> tuple[Any, Any]:
    """Convert a PyTorch state dict to the params and state of ``layer``.

    Convolution kernels are transposed from (o, i, h, w) to (h, w, i, o) and dense kernels from (o, i) to (i, o); after
    a flatten, a dense kernel's rows are reordered from (c, h, w) to (h, w, c). ``num_batches_tracked`` is ignored, and
    so are the prefixes ``module.`` and ``_orig_mod.`` that DataParallel and `torch.compile` put before every name.

    Args:
        tensors: name → array, as from `read`.
        layer: the network.
        in_shape: shape of the one input that the weights are for, such as ``(224, 224, 3)``.
        names: maps paths of leaves to names in ``tensors``: a dict, or a function of the layer, such as
            `torchvision.resnet`.

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
    wanted = {_present_name(name): a for name, a in tensors.items() if not name.endswith("num_batches_tracked")}
    slots = _slots(layer, in_shape, _named(names, layer), _torch_slots)
    return _fill(_unwrapped(wanted, {slot.name for slot in slots}), layer, in_shape, slots)


def to_torch(layer: nn.Layer, params: Any, state: Any, in_shape: Sequence[int], names: Names) -> dict[str, Any]:
    """Return the PyTorch state dict of a network, as arrays by name. See `from_torch`.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> tensors = interop.to_torch(net, params, state, (3,), lambda layer: {"fc": "1"})
        >>> {name: array.shape for name, array in tensors.items()}
        {'1.weight': (2, 3), '1.bias': (2,)}
    """
    return _export(params, state, _slots(layer, in_shape, _named(names, layer), _torch_slots))


def from_keras(
    tensors: Mapping[str, ArrayLike], layer: nn.Layer, in_shape: Sequence[int], names: Names
) -> tuple[Any, Any]:
    """Convert Keras' arrays ``LAYER/kernel``, ... to params and state. See `from_torch`; Keras' layouts are ours.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> tensors = {"dense_1/kernel": np.ones((3, 2), np.float32), "dense_1/bias": np.zeros(2, np.float32)}
        >>> params, state = interop.from_keras(tensors, net, (3,), lambda layer: {"fc": "dense_1"})
        >>> params["fc"]["kernel"].shape
        (3, 2)
    """
    return _fill(dict(tensors), layer, in_shape, _slots(layer, in_shape, _named(names, layer), _keras_slots))


def to_keras(layer: nn.Layer, params: Any, state: Any, in_shape: Sequence[int], names: Names) -> dict[str, Any]:
    """Return a network's arrays under Keras' names ``LAYER/kernel``, ..., for `write_keras`. See `from_keras`.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(2))
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> tensors = interop.to_keras(net, params, state, (3,), lambda layer: {"fc": "dense_1"})
        >>> {name: array.shape for name, array in tensors.items()}
        {'dense_1/kernel': (3, 2), 'dense_1/bias': (2,)}
    """
    return _export(params, state, _slots(layer, in_shape, _named(names, layer), _keras_slots))


def renamed(layer: nn.Layer, rename: Callable[[str], str | None], what: str) -> dict[str, str]:
    """Return the new names of all leaves that can have parameters.

    Args:
        layer: the network.
        rename: path → name, or None for a path that this family of networks does not have.
        what: the family's name in the message.

    Raises:
        ValueError: if the network is of another family.
    """
    paths = [path for path in nn.paths(layer) if nn.at(layer, path).op.kind in NAMED]
    names = {path: rename(path) for path in paths}
    foreign = [path for path, name in names.items() if name is None]
    if foreign or not paths:
        found = _listed(foreign or list(layer.children))
        raise ValueError(f"layer: expected {what} of jaxdl.models; got a network with {found}")
    return {path: name for path, name in names.items() if name is not None}


def _fill(tensors: dict[str, ArrayLike], layer: nn.Layer, in_shape: Sequence[int], slots: list[_Slot]):
    needed = {slot.name: jax.eval_shape(slot.to_theirs, slot.like).shape for slot in slots}
    check_match({name: np.shape(array) for name, array in tensors.items()}, needed)
    filled: dict[str, Any] = {"params": {}, "state": {}}
    for slot in slots:
        _put(filled[slot.tree], slot.path, slot.to_ours(jnp.asarray(tensors[slot.name], jnp.float32)))
    params, state = _abstract(layer, in_shape)
    _check_covered({"params": params, "state": state}, _structure(filled))
    return filled["params"], filled["state"]


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
    trees = {"params": params, "state": state}
    named: dict[str, Any] = {"params": {}, "state": {}}
    for slot in slots:
        _put(named[slot.tree], slot.path, slot.name)
    _check_covered(trees, _structure(named))
    return {slot.name: slot.to_theirs(jnp.asarray(_get(trees[slot.tree], slot.path))) for slot in slots}


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


def _slots(layer: nn.Layer, in_shape: Sequence[int], names: Mapping[str, str], of_leaf) -> list[_Slot]:
    """Return the arrays of all named leaves, in the network's order."""
    seen: list[tuple[str, str, Any]] = []
    trees = dict(zip(("params", "state"), _abstract(_noting(layer, "", seen), in_shape), strict=True))
    flattened, slots = _flattened(seen), []
    for path, name in names.items():
        parts, kind = tuple(path.split("/")), nn.at(layer, path).op.kind
        if kind not in NAMED:
            raise ValueError(f"names: got {path!r}, whose kind is {kind}; allowed are paths of {', '.join(NAMED)}")
        for slot in of_leaf(kind, name, flattened.get(path)):
            if slot.path[0] in _get(trees[slot.tree], parts, {}):
                slots.append(
                    slot._replace(path=(*parts, *slot.path), like=_get(trees[slot.tree], (*parts, *slot.path)))
                )
    return slots


def _torch_slots(kind: str, name: str, flattened: tuple[int, ...] | None) -> list[_Slot]:
    if kind == "batch_norm":
        here = [("params", "scale", "weight"), ("params", "offset", "bias")]
        here += [("state", "mean", "running_mean"), ("state", "var", "running_var")]
        return [_Slot(tree, (own,), f"{name}.{there}", _same, _same) for tree, own, there in here]
    if kind == "conv":
        ours, theirs = lambda w: w.transpose(2, 3, 1, 0), lambda k: k.transpose(3, 2, 0, 1)
    elif flattened is None:
        ours, theirs = lambda w: w.T, lambda k: k.T
    else:
        height, width, channels = flattened
        ours = lambda w: w.reshape(-1, channels, height, width).transpose(2, 3, 1, 0).reshape(-1, len(w))
        theirs = lambda k: k.reshape(height, width, channels, -1).transpose(3, 2, 0, 1).reshape(k.shape[1], -1)
    kernel = _Slot("params", ("kernel",), f"{name}.weight", ours, theirs)
    return [kernel, _Slot("params", ("bias",), f"{name}.bias", _same, _same)]


def _present_name(name: str) -> str:
    """Rename norm.1 to norm1: torchvision's DenseNet files are older than its module names."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)


def _keras_slots(kind: str, name: str, flattened: tuple[int, ...] | None) -> list[_Slot]:
    del flattened  # Keras is channels last, as jaxdl is
    here = [("params", "kernel", "kernel"), ("params", "bias", "bias")]
    if kind == "batch_norm":
        here = [("params", "scale", "gamma"), ("params", "offset", "beta")]
        here += [("state", "mean", "moving_mean"), ("state", "var", "moving_variance")]
    return [_Slot(tree, (own,), f"{name}/{there}", _same, _same) for tree, own, there in here]


def _flattened(seen: list[tuple[str, str, Any]]) -> dict[str, tuple[int, ...]]:
    """Return, for each dense layer that follows a flatten, the shape of the flattened image."""
    found, image = {}, None
    for path, kind, shape in seen:
        if kind == "flatten":
            image = shape if len(shape) == 3 else None
        elif kind == "dense":
            if image is not None:
                found[path] = image
            image = None
    return found


def _noting(layer: nn.Layer, path: str, seen: list[tuple[str, str, Any]]) -> nn.Layer:
    """Return the network with leaves that record the input shapes that ``init`` passes them."""
    if layer.op.rebuild is not None:
        below = {name: _noting(child, f"{path}/{name}".lstrip("/"), seen) for name, child in layer.children.items()}
        return layer.op.rebuild(below)

    def init(key, in_shape):
        seen.append((path, layer.op.kind, tuple(in_shape)))
        return layer.init(key, in_shape)

    return layer._replace(init=init)


def _abstract(layer: nn.Layer, in_shape: Sequence[int]) -> tuple[Any, Any]:
    return jax.eval_shape(lambda: layer.init(jax.random.key(0), tuple(in_shape)))


def _same(x: Any) -> Any:
    return x


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
