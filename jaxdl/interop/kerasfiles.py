"""Read Keras' HDF5 files as arrays by full path: ``LAYER/kernel``, ``MODEL/LAYER/kernel``, ``LSTM/CELL/kernel``.

Files from ``Model.save`` to .h5, and from Keras 1 and 2, list the names of all weights. Files of Keras 3 (.keras and
.weights.h5) hold a tree of layers with numbered arrays, whose names follow from the layer's class. Where the class
leaves a choice, such as for a norm without scale or offset, the model's config decides, which only .keras contains.
Every array is read once, under its own name; an array that cannot be named is an error.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

Tensors = dict[str, np.ndarray]

_AFFINE = ("kernel", "bias")
_CELL = ("kernel", "recurrent_kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
# class of a layer as Keras 3 spells it in files -> its variables in order, of which the last may be missing
_NAMES: dict[str, tuple[str, ...]] = {
    **{f"conv{n}d": _AFFINE for n in (1, 2, 3)},
    **{f"conv{n}d_transpose": _AFFINE for n in (1, 2, 3)},
    **{f"depthwise_conv{n}d": _AFFINE for n in (1, 2)},
    **{f"separable_conv{n}d": _SEPARABLE for n in (1, 2)},
    **dict.fromkeys(("lstm_cell", "gru_cell", "simple_rnn_cell"), _CELL),
    "dense": _AFFINE,
    "einsum_dense": _AFFINE,
    "embedding": ("embeddings",),
    "p_re_lu": ("alpha",),
    "rms_normalization": ("scale",),
}
# norm -> its statistics; gamma and beta come first, and each may be missing
_NORMS = {
    "batch_normalization": ("moving_mean", "moving_variance"),
    "layer_normalization": (),
    "group_normalization": (),
}
_TOP = "top_level_model_weights"


class StoredArray(NamedTuple):
    """An array of a file."""

    name: str  # its full path in the file
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class StoredGroup:
    """A group of an HDF5 file, read as a whole."""

    name: str  # its full path in the file
    attrs: Mapping[str, Any]
    items: Mapping[str, "StoredGroup | StoredArray"]

    def at(self, path: str) -> "StoredGroup | StoredArray":
        """Return the group or array at a path below this group."""
        first, _, rest = path.strip("/").partition("/")
        below = self.items[first]
        return below if not rest or not isinstance(below, StoredGroup) else below.at(rest)

    def group(self, name: str) -> "StoredGroup | None":
        """Return a group directly below this one, or None if there is none of that name."""
        below = self.items.get(name)
        return below if isinstance(below, StoredGroup) else None

    def arrays(self) -> Iterator[StoredArray]:
        """Yield all arrays below this group."""
        for below in self.items.values():
            if isinstance(below, StoredGroup):
                yield from below.arrays()
            else:
                yield below


class _Layer(NamedTuple):
    """A layer of a Keras 3 file with arrays of its own."""

    path: str  # names of the layers that lead to it
    kind: str  # its group's name in the file: its class, or the attribute that holds it
    arrays: list[np.ndarray]


def read_listed(where: str, root: StoredGroup, config: Mapping[str, Any] | None = None) -> Tensors:
    """Read weights of Keras 1, 2 and ``Model.save`` to .h5, with a group per layer whose attribute lists its weights.

    Args:
        where: the file's name in messages.
        root: the HDF5 group of the layers.
        config: the model's config, which gives layers of nested models their full path; None if the file has none.

    Raises:
        ValueError: if the lists leave a weight unnamed, or name two alike.
    """
    tensors: Tensors = {}
    known = [] if config is None else [path for path, _ in _configs(config, ())]
    for layer in [*root.attrs["layer_names"], *([_TOP] if _TOP in root.items else [])]:
        group = root.at(layer)
        if not isinstance(group, StoredGroup):
            raise ValueError(f"{where}: the layer {layer!r} is an array")
        listed = group.attrs["weight_names"]
        names = [_full(where, name, known) for name in _of_list(where, layer, listed)]
        for name, stored in zip(names, listed, strict=True):
            _add(where, tensors, name, group.at(stored))
        left = sorted({_relative(group, item) for item in group.arrays()} - {*listed})
        if left:
            raise ValueError(f"{where}: the layer {layer!r} has arrays that its list does not name: {', '.join(left)}")
    return tensors


def _of_list(where: str, layer: str, listed: list[str]) -> list[str]:
    parts = [name.partition(":")[0].split("/") for name in listed]
    if any(len(part) == 1 for part in parts):  # Keras 1 wrote conv_W and conv_b
        if layer == _TOP or len(listed) > len(_AFFINE):
            raise ValueError(
                f"{where}: the layer {layer!r} has {len(listed)} arrays ({', '.join(listed)}), whose names do not tell "
                f"them apart; expected {', '.join(_AFFINE)}"
            )
        return [f"{layer}/{name}" for name in _AFFINE[: len(listed)]]
    # names begin above the layer, at it or, if the layer is a model, below it
    below = [part[part.index(layer) + 1 :] if layer in part[:-1] else part for part in parts]
    return ["/".join(part if layer == _TOP else [layer, *part]) for part in below]


def _full(where: str, name: str, known: list[str]) -> str:
    """Insert into a name the nested models that the list leaves out."""
    layer, _, below = name.partition("/")
    first, slash, _ = below.partition("/")
    if not slash or f"{layer}/{first}" in known:
        return name
    places = {path for path in known if path.startswith(f"{layer}/") and path.endswith(f"/{first}")}
    if len(places) > 1:
        raise ValueError(f"{where}: {name} may belong to {' or '.join(sorted(places))}; give layers unique names")
    return f"{places.pop().removesuffix(first)}{below}" if places else name


def read_numbered(where: str, root: StoredGroup, config: Mapping[str, Any] | None = None) -> Tensors:
    """Read the weights of a Keras 3 file, a tree of layers with numbered variables.

    Args:
        where: the file's name in messages.
        root: the HDF5 file.
        config: the model's config from config.json of a .keras archive; None if the file has none.

    Raises:
        ValueError: if the file holds no Keras weights, or the variables of a layer cannot be named.
    """
    groups = [root, *(group for group in root.items.values() if isinstance(group, StoredGroup))]
    if "layers" not in root.items and not any("vars" in group.items for group in groups):
        inside = ", ".join(sorted(root.items)) or "nothing"
        raise ValueError(f"{where}: is not a Keras weights file; it contains {inside}")
    known = {} if config is None else dict(_configs(config, ()))
    tensors: Tensors = {}
    for layer in _layers(where, root, ()):
        names = _of_class(where, layer, known.get(layer.path))
        for name, array in zip(names, layer.arrays, strict=True):
            _add(where, tensors, f"{layer.path}/{name}", array)
    return tensors


def _layers(where: str, group: StoredGroup, path: tuple[str, ...]) -> Iterator[_Layer]:
    """Yield all layers with arrays below a group, in the file's order."""
    for kind, child in group.items.items():
        if kind in ("vars", "seed_generator"):  # of random layers
            continue
        if not isinstance(child, StoredGroup):
            raise ValueError(f"{where}: the array {child.name} belongs to no layer")
        values = child.group("vars")
        if values is None:  # a list of layers
            yield from _layers(where, child, path)
            continue
        below = (*path, values.attrs.get("name", kind))
        if values.items:
            wanted = [str(i) for i in range(len(values.items))]
            if {*values.items} != {*wanted}:
                listed = ", ".join(values.items)
                raise ValueError(f"{where}: {values.name} has {listed}; expected {', '.join(wanted)}")
            yield _Layer("/".join(below), kind, [_array(where, values.items[i]) for i in wanted])
        yield from _layers(where, child, below)
    own = group.group("vars") if not path else None
    if own is not None and own.items:
        number = len(own.items)
        raise ValueError(f"{where}: the model has {number} arrays that belong to no layer and cannot be named")


def _of_class(where: str, layer: _Layer, config: tuple[str, Mapping[str, Any]] | None) -> list[str]:
    """Return the names of a layer's variables."""
    number = len(layer.arrays)
    spelled = [layer.kind, layer.path.rpartition("/")[2]]
    kinds = [_snake(config[0])] if config is not None else [re.sub(r"_\d+$", "", kind) for kind in spelled]
    kind = next((kind for kind in kinds if kind in _NAMES or kind in _NORMS), None)
    if kind in _NORMS:
        return _of_norm(where, layer, kind, {} if config is None else config[1])
    if kind is None and layer.kind in ("query_dense", "key_dense", "value_dense", "output_dense"):  # of an attention
        kind = "einsum_dense"
    names = _NAMES.get(kind or "", ())
    if not max(1, len(names) - 1) <= number <= len(names):
        about = f"expected {', '.join(names)}" if kind else "its class is unknown, and so are their names"
        raise ValueError(
            f"{where}: the layer {layer.path!r} ({kinds[0]}) has {number} numbered arrays; {about}. "
            "Model.save(NAME.h5) writes a file with the names"
        )
    return list(names[:number])


def _of_norm(where: str, layer: _Layer, kind: str, config: Mapping[str, Any]) -> list[str]:
    statistics, number = _NORMS[kind], len(layer.arrays)
    given = [name for name, flag in (("gamma", "scale"), ("beta", "center")) if config.get(flag, True)]
    if "scale" not in config and number == len(statistics):
        given = []
    if number != len(given) + len(statistics):
        why = "" if "scale" in config else "; only .keras and Model.save(NAME.h5) say which of scale and offset it has"
        expected = ", ".join((*given, *statistics))
        raise ValueError(f"{where}: the norm {layer.path!r} has {number} arrays; expected {expected}{why}")
    return [*given, *statistics]


def _configs(config: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """Yield (path of names, (class, config)) of every layer below a model."""
    if isinstance(config, list | tuple):
        for value in config:
            yield from _configs(value, path)
    elif isinstance(config, Mapping):
        own = config.get("config")
        name = own.get("name") if isinstance(own, Mapping) else None
        if isinstance(own, Mapping) and isinstance(name, str) and "class_name" in config:
            yield "/".join((*path, name)), (str(config["class_name"]), own)
            path = (*path, name)
        for value in config.values():
            yield from _configs(value, path)


def _snake(name: str) -> str:
    """Return a class name as Keras spells it in files: batch_normalization, p_re_lu."""
    words = re.sub(r"\W+", "", name)
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", words)
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _add(where: str, tensors: Tensors, name: str, stored: StoredGroup | StoredArray | np.ndarray) -> None:
    if name in tensors:
        raise ValueError(f"{where}: two arrays are called {name}; give the model's layers unique names")
    tensors[name] = stored if isinstance(stored, np.ndarray) else _array(where, stored)


def _array(where: str, stored: StoredGroup | StoredArray) -> np.ndarray:
    if isinstance(stored, StoredGroup):
        raise ValueError(f"{where}: {stored.name} is a group; expected an array")
    return stored.values


def _relative(group: StoredGroup, item: StoredArray) -> str:
    return item.name.removeprefix(group.name).lstrip("/")
