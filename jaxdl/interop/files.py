"""Files of weights as dicts of numpy arrays by name. No code that a file may hold is run."""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike

Tensors = dict[str, np.ndarray]
SUFFIXES = (".safetensors", ".pth", ".pt", ".h5", ".hdf5", ".keras")
_IN_ARCHIVE = "model.weights.h5"
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")  # in Keras' order
_AFFINE = ("kernel", "bias")


def read(path: str | os.PathLike) -> Tensors:
    """Read all arrays of a file of weights by name.

    ``.safetensors``; PyTorch's ``.pth`` and ``.pt``, of which only tensors are read (``weights_only=True``; needs
    torch); Keras' ``.h5``, ``.weights.h5`` and ``.keras`` (needs h5py), as ``LAYER/kernel``, ``LAYER/gamma``, ...

    Raises:
        ValueError: naming the file, for one that is missing, truncated, of another format, or that holds anything but
            tensors: pickled objects, or links to other files.
    """
    path = Path(path)
    readers = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch, ".keras": _read_archive}
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the name ends in {path.suffix!r}, allowed are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    return readers.get(path.suffix, _read_hdf5)(path)


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, ArrayLike], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays by name into a safetensors file, whole or not at all.

    Args:
        path: the file; its folder must exist.
        tensors: name → array.
        metadata: strings that go along, such as where the weights come from.
    """
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    _write_whole(path, save(arrays, None if metadata is None else dict(metadata)))


def write_keras(path: str | os.PathLike, tensors: Mapping[str, ArrayLike]) -> None:
    """Write arrays called ``LAYER/kernel``, ... into an HDF5 file for Keras' ``load_weights(path, by_name=True)``.

    Raises:
        ValueError: for a path that does not end in ``.h5``, or a name without a layer.
    """
    import h5py

    if Path(path).suffix != ".h5" or Path(path).name.endswith(".weights.h5"):
        raise ValueError(f"{path}: Keras loads by name from files that end in .h5, and not in .weights.h5")
    layers: dict[str, list[str]] = {}
    for name in tensors:
        layer, _, _ = name.partition("/")
        if layer == name:
            raise ValueError(f"tensors: the name {name!r} is not of the form LAYER/kernel")
        layers.setdefault(layer, []).append(name)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                group[name] = np.asarray(tensors[name])
    _write_whole(path, buffer.getvalue())


def _write_whole(path: str | os.PathLike, content: bytes) -> None:
    path = Path(path)
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_bytes(content)
    temporary.replace(path)


def _read_safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: is not a whole safetensors file ({error})") from error


def _read_torch(path: Path) -> Tensors:
    import pickle

    import torch  # pyright: ignore[reportMissingImports]

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message recommends to load it all the same
        raise ValueError(f"{path}: holds other Python objects than tensors, which are not loaded") from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        why = f"{error}".partition(". ")[0] or type(error).__name__
        raise ValueError(f"{path}: is not a whole PyTorch file ({why})") from error
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError(f"{path}: holds a {type(loaded).__name__}, allowed is a dict of tensors by name")
    return {name: value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
            for name, value in loaded.items()}  # fmt: skip


def _read_archive(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(_IN_ARCHIVE)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise ValueError(f"{path}: is not a whole Keras archive with a {_IN_ARCHIVE} in it ({error})") from error
    return _read_hdf5(path, io.BytesIO(content))


def _read_hdf5(path: Path, content: io.BytesIO | None = None) -> Tensors:
    import h5py

    try:
        with h5py.File(path if content is None else content, "r") as file:
            _check_links(path, file)
            root: Any = file.get("model_weights", file)
            if "layer_names" in root.attrs:
                return _read_legacy(path, root)
            return _read_saved_model(path, root)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: is not a whole HDF5 file of Keras' weights ({error})") from error


def _check_links(path: Path, group: Any) -> None:
    """Raise ValueError where a file leads to other files, whose contents would come along."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path}: {group.name}/{name} is a link to somewhere else, which is not followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            _check_links(path, item)
        elif item.external or item.is_virtual:
            raise ValueError(f"{path}: {item.name} keeps its values in another file, which is not read")


def _read_legacy(path: Path, root: Any) -> Tensors:
    """Keras 1, 2 and ``Model.save`` to .h5: a group per layer, whose attribute lists its weights in order."""
    tensors = {}
    for layer in map(_text, root.attrs["layer_names"]):
        names = [_text(name) for name in root[layer].attrs["weight_names"]]
        short = [name.rpartition("/")[2].partition(":")[0] for name in names]
        if not set(short) <= {*_AFFINE, *_BATCH_NORM}:  # Keras 1 wrote conv_W and conv_b
            short = _by_order(path, layer, len(names), batch_norm=False)
        tensors |= {f"{layer}/{own}": root[layer][name][()] for own, name in zip(short, names, strict=True)}
    return tensors


def _read_saved_model(path: Path, root: Any) -> Tensors:
    """Keras 3: layers by class and number, whose group of variables says the layer's name; variables by number."""
    if "layers" not in root:
        raise ValueError(f"{path}: is no file of Keras' weights; it has {', '.join(sorted(root)) or 'nothing'} in it")
    tensors = {}
    for kind, group in root["layers"].items():
        values = group.get("vars", {})
        if len(values):
            layer = _text(values.attrs.get("name", kind))
            names = _by_order(path, layer, len(values), batch_norm=kind.startswith("batch_normalization"))
            tensors |= {f"{layer}/{name}": values[str(i)][()] for i, name in enumerate(names)}
    return tensors


def _by_order(path: Path, layer: str, number: int, *, batch_norm: bool) -> list[str]:
    names = _BATCH_NORM if batch_norm else _AFFINE
    if number > len(names) or (batch_norm and number < len(names)):
        raise ValueError(f"{path}: the layer {layer!r} has {number} arrays; expected are {', '.join(names)}")
    return list(names[:number])


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
