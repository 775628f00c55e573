"""Read and write files of weights as dicts of numpy arrays by name, without running code that a file contains."""

import functools
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.interop import kerasfiles

Tensors = dict[str, np.ndarray]
SUFFIXES = (".safetensors", ".pth", ".pt", ".h5", ".hdf5", ".keras")
_IN_ARCHIVE = "model.weights.h5"


def read(path: str | os.PathLike) -> Tensors:
    """Read all arrays of a file of weights by name.

    The formats are ``.safetensors``; PyTorch's ``.pth`` and ``.pt`` (needs torch; only tensors are read, with
    ``weights_only=True``); and Keras' ``.h5``, ``.weights.h5`` and ``.keras`` (needs h5py). Keras' names are
    ``LAYER/kernel``, ``LAYER/gamma``, ..., in nested models ``MODEL/LAYER/kernel``, in recurrent layers
    ``LAYER/CELL/kernel``.

    Raises:
        ValueError: naming the file, if it is missing, truncated, of another format or holds anything but tensors, such
            as pickled objects or links to other files, or if the arrays of a Keras layer cannot be named.
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
        metadata: strings to store in the header, such as the origin of the weights.

    Raises:
        ValueError: for a dtype that safetensors does not support, such as complex128, and for random keys.
    """
    from safetensors.numpy import save

    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    _write_whole(path, save(arrays, None if metadata is None else dict(metadata)))


def _storable(name: str, array: Any) -> np.ndarray:
    """Return an array as safetensors takes it: of a supported dtype, in C order and native byte order."""
    if name == "__metadata__":
        raise ValueError("tensors: the name '__metadata__' is safetensors' own")
    if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise ValueError(f"tensors: {name} is a random key; jax.random.key_data gives an array that can be stored")
    # ascontiguousarray would turn shape () into (1,)
    plain = np.asarray(array, order="C")
    plain = plain.astype(plain.dtype.newbyteorder("="), copy=False)
    if plain.dtype not in _dtypes().values():
        raise ValueError(f"tensors: {name} is {plain.dtype}; safetensors supports {_listed_dtypes()}")
    return plain


@functools.cache
def _dtypes() -> dict[str, np.dtype]:
    """Return numpy's dtype for each dtype name of safetensors."""
    plain = {"BOOL": "bool", "C64": "complex64"}
    plain |= {
        f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
    }
    plain |= {f"F{bits}": f"float{bits}" for bits in (16, 32, 64)}
    eight = {"F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2, "F8_E8M0": jnp.float8_e8m0fnu}
    eight |= {"F8_E4M3FNUZ": jnp.float8_e4m3fnuz, "F8_E5M2FNUZ": jnp.float8_e5m2fnuz, "BF16": jnp.bfloat16}
    return {name: np.dtype(kind) for name, kind in (plain | eight).items()}


def _listed_dtypes() -> str:
    return ", ".join(str(dtype) for dtype in _dtypes().values())


def write_keras(path: str | os.PathLike, tensors: Mapping[str, ArrayLike]) -> None:
    """Write arrays named ``LAYER/kernel``, ... into an HDF5 file for Keras' ``load_weights(path, by_name=True)``.

    Keras assigns the arrays of a layer by their order. Those of a nested model, ``MODEL/LAYER/kernel``, are written in
    the given order, which must be the network's, except that running statistics come last, as Keras expects.

    Raises:
        ValueError: if the path does not end in ``.h5``, a name lacks its layer or lies within another name, or Keras
            does not support an array's dtype.
    """
    import h5py

    if Path(path).suffix != ".h5" or Path(path).name.endswith(".weights.h5"):
        raise ValueError(f"{path}: Keras loads by name from files that end in .h5 but not in .weights.h5")
    layers: dict[str, list[str]] = {}
    for name in tensors:
        layer, _, _ = name.partition("/")
        if layer == name:
            raise ValueError(f"tensors: the name {name!r} is not of the form LAYER/kernel")
        outer = [other for other in tensors if name.startswith(f"{other}/")]
        if outer or np.asarray(tensors[name]).dtype.kind not in "fiub":
            why = f"lies within {outer[0]!r}" if outer else f"is {np.asarray(tensors[name]).dtype}; expected float32"
            raise ValueError(f"tensors: {name!r} {why}")
        layers.setdefault(layer, []).append(name)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            names.sort(key=lambda name: name.rpartition("/")[2].startswith("moving_"))
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
    from safetensors import SafetensorError, deserialize

    try:
        stored = deserialize(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: is not a complete safetensors file ({error})") from error
    tensors = {}
    for name, about in stored:  # safetensors' own numpy functions do not support float8
        if about["dtype"] not in _dtypes():
            raise ValueError(f"{path}: {name} is {about['dtype']}; allowed are {', '.join(_dtypes())}")
        values = np.frombuffer(about["data"], _dtypes()[about["dtype"]])
        tensors[name] = values.reshape(about["shape"])
    return tensors


def _read_torch(path: Path) -> Tensors:
    import pickle

    import torch  # pyright: ignore[reportMissingImports]

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message suggests loading it anyway
        raise ValueError(f"{path}: holds Python objects other than tensors, which are not loaded") from error
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        why = f"{error}".partition(". ")[0] or type(error).__name__
        raise ValueError(f"{path}: is not a complete PyTorch file ({why})") from error
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise ValueError(f"{path}: holds a {type(loaded).__name__}; expected a dict of tensors by name")
    return {name: value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
            for name, value in loaded.items()}  # fmt: skip


def _read_archive(path: Path) -> Tensors:
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(_IN_ARCHIVE)
            config = json.loads(archive.read("config.json")) if "config.json" in archive.namelist() else None
    except (zipfile.BadZipFile, zlib.error, KeyError, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path}: is not a complete Keras archive with a {_IN_ARCHIVE} ({error})") from error
    return _read_hdf5(path, io.BytesIO(content), _inner(config))


def _model_config(path: Path, file: Any) -> Any:
    if "model_config" not in file.attrs:
        return None
    try:
        return _inner(json.loads(file.attrs["model_config"]))
    except ValueError as error:
        raise ValueError(f"{path}: its model_config is not JSON ({error})") from error


def _inner(config: Any) -> Any:
    """Return the config of a model's layers, without the model's own name, which paths omit."""
    return config.get("config") if isinstance(config, dict) else None


def _read_hdf5(path: Path, content: io.BytesIO | None = None, config: Any = None) -> Tensors:
    import h5py

    try:
        with h5py.File(path if content is None else content, "r") as file:
            _check_links(path, file)
            root: Any = file.get("model_weights", file)
            if "layer_names" in root.attrs:
                return kerasfiles.read_listed(str(path), root, _model_config(path, file))
            return kerasfiles.read_numbered(str(path), root, config)
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: is not a complete HDF5 file of Keras weights ({error})") from error


def _check_links(path: Path, group: Any) -> None:
    """Raise ValueError if a file links to other files, whose contents h5py would read as its own."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path}: {group.name}/{name} is a link, which is not followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            _check_links(path, item)
        elif item.external or item.is_virtual:
            raise ValueError(f"{path}: {item.name} keeps its values in another file, which is not read")
