"""Open Keras' HDF5 files and archives: damage, links and false sizes are found before any array is read.

h5py allocates what a data set claims and follows links, also to other files and around in circles. An honest file of
weights is a tree without links whose arrays take about the size of the file.
"""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from jaxdl import disk
from jaxdl.interop import kerasfiles

MOST_RATIO: Final = 200  # bytes of the arrays, or of an archive's members, per byte of the file, beyond `FREE`
FREE: Final = 64 << 20
_WEIGHTS = "model.weights.h5"
# the errors with which h5py and zipfile answer to mutated files
_DAMAGE = (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
_DAMAGE += (AssertionError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read the weights in a Keras 3 archive (.keras). See `read_hdf5`."""
    most = max(FREE, MOST_RATIO * disk.check_regular(path))
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = {info.filename: info.file_size for info in archive.infolist()}
            big = next((name for name, size in claimed.items() if size > most), None)
            content = archive.read(_WEIGHTS) if big is None else b""
            config = json.loads(archive.read("config.json")) if big is None and "config.json" in claimed else None
    except _DAMAGE as error:
        raise ValueError(f"{path}: is not a complete Keras archive with a {_WEIGHTS} ({_why(error)})") from error
    if big is not None:
        raise ValueError(f"{path}: {big} claims {claimed[big]:,} bytes, far more than the archive has")
    return read_hdf5(path, content, _inner(config))


def read_hdf5(path: Path, content: bytes | None = None, config: Any = None) -> dict[str, np.ndarray]:
    """Read the weights in an HDF5 file of Keras, of any version.

    Args:
        path: the file, and its name in messages.
        content: the file's bytes, if it is a member of an archive.
        config: the config of the model in that archive.

    Raises:
        ValueError: naming the file, if it is damaged, has links, claims more than it can hold, or has arrays that
            cannot be named.
        ImportError: if h5py is not installed.
    """
    import h5py

    size = disk.check_regular(path) if content is None else len(content)
    try:
        with h5py.File(path if content is None else io.BytesIO(content), "r") as file:
            claimed = _claimed(path, file, {_address(file)})
            if claimed > max(FREE, MOST_RATIO * size):
                raise ValueError(f"{path}: its arrays claim {claimed:,} bytes, far more than the file has")
            root: Any = file.get("model_weights", file)
            if "layer_names" in root.attrs:
                return kerasfiles.read_listed(str(path), root, _model_config(path, file))
            return kerasfiles.read_numbered(str(path), root, config)
    except _DAMAGE as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):  # it is ours and says enough
            raise
        raise ValueError(f"{path}: is not a complete HDF5 file of Keras weights ({_why(error)})") from error


def _why(error: BaseException) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__


def _model_config(path: Path, file: Any) -> Any:
    if "model_config" not in file.attrs:
        return None
    try:
        return _inner(json.loads(file.attrs["model_config"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its model_config is not JSON ({error})") from error


def _inner(config: Any) -> Any:
    """Return the config of a model's layers, without the model's own name, which paths omit."""
    return config.get("config") if isinstance(config, dict) else None


def _claimed(path: Path, group: Any, seen: set[int]) -> int:
    """Return the bytes of all arrays below a group, and raise ValueError for links and for groups reached twice."""
    import h5py

    total = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path}: {group.name}/{name} is a link, which is not followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            if (address := _address(item)) in seen:
                raise ValueError(f"{path}: {item.name} is another name of a group, which is not followed")
            seen.add(address)
            total += _claimed(path, item, seen)
        elif not isinstance(item, h5py.Dataset):
            raise ValueError(f"{path}: {item.name} is a {type(item).__name__}, neither a group nor an array")
        elif item.external or item.is_virtual:
            raise ValueError(f"{path}: {item.name} keeps its values in another file, which is not read")
        else:
            total += item.nbytes
    return total


def _address(group: Any) -> int:
    import h5py

    return h5py.h5o.get_info(group.id).addr  # pyright: ignore[reportAttributeAccessIssue]
