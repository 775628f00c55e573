"""Read and write files of weights as dicts of numpy arrays by name, without running code that a file contains."""

import functools
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import disk, texts
from jaxdl.extras import needed
from jaxdl.interop import hdf5files, torchfiles

Tensors = dict[str, np.ndarray]
# suffix -> reader; names may be in upper case
READERS = {
    **dict.fromkeys((".pth", ".pt", ".pth.tar", ".pt.tar", ".ckpt", ".bin"), torchfiles.read),
    ".h5": hdf5files.read_hdf5,
    ".hdf5": hdf5files.read_hdf5,
    ".keras": hdf5files.read_archive,
}
SUFFIXES = (".safetensors", *READERS)
KERAS = (".h5", ".hdf5", ".keras")


def read(path: str | os.PathLike) -> Tensors:
    """Read all arrays of a file of weights by name.

    The formats are ``.safetensors``; PyTorch's ``.pth``, ``.pt``, ``.pth.tar``, ``.ckpt`` and ``.bin`` (needs torch;
    only tensors are read, with ``weights_only=True``; of a checkpoint with other things, the one dict of tensors under
    ``model``, ``state_dict`` or ``model_state_dict``); and Keras' ``.h5``, ``.weights.h5`` and ``.keras`` (needs h5py).
    Keras' names are ``LAYER/kernel``, ``LAYER/gamma``, ..., in nested models ``MODEL/LAYER/kernel``, in recurrent
    layers ``LAYER/CELL/kernel``.

    Raises:
        ValueError: naming the file, if it is missing, not a regular file, truncated, of another format or holds
            anything but tensors, such as pickled objects or links to other files; if it claims sizes beyond its own; or
            if the arrays of a Keras layer cannot be named.
    """
    path = Path(path)
    suffix = next((end for end in SUFFIXES if path.name.lower().endswith(end)), None)
    disk.check_regular(path)
    if suffix is None:
        raise ValueError(f"{path}: the name ends in {path.suffix!r}, allowed are {', '.join(SUFFIXES)}")
    try:
        return READERS.get(suffix, _read_safetensors)(path)
    except ValueError as error:  # a name in the file may hold line breaks, or megabytes
        if (said := texts.cut(texts.printable(str(error)))) == str(error):
            raise
        raise ValueError(said) from error


def is_keras(path: str | os.PathLike) -> bool:
    """Return whether a file's name is that of Keras' weights."""
    return Path(path).name.lower().endswith(KERAS)


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

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     interop.write_safetensors(f"{folder}/two.safetensors", {"a": np.ones(2, np.float32)})
        ...     interop.read(f"{folder}/two.safetensors")
        {'a': array([1., 1.], dtype=float32)}
    """
    with needed("writing safetensors", "interop"):
        from safetensors.numpy import save

    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    disk.write_whole(path, save(arrays, None if metadata is None else dict(metadata)), shared=True)


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
    with needed("writing HDF5", "interop"):
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
    disk.write_whole(path, buffer.getvalue(), shared=True)


def _read_safetensors(path: Path) -> Tensors:
    with needed(f"reading {path.name}", "interop"):
        from safetensors import SafetensorError, deserialize, safe_open

    try:
        with safe_open(path, "numpy"):  # the header alone, before a file of any size is read into memory
            pass
        stored = deserialize(path.read_bytes())
    except (SafetensorError, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: is not a complete safetensors file ({error})") from error
    tensors = {}
    for name, about in stored:  # safetensors' own numpy functions do not support float8
        if about["dtype"] not in _dtypes():
            raise ValueError(f"{path}: {name} is {about['dtype']}; allowed are {', '.join(_dtypes())}")
        values = np.frombuffer(about["data"], _dtypes()[about["dtype"]])
        try:
            tensors[name] = values.reshape(about["shape"])
        except ValueError as error:  # one size is 0, and the others together exceed an address
            raise ValueError(f"{path}: {name} has sizes {about['shape']}, which make no array ({error})") from error
    return tensors
