"""Open Keras' HDF5 files and archives: damage, links and false sizes are found before any array is read.

h5py allocates what a data set claims and follows links, also to other files and around in circles; libhdf5 may crash or
not return from a damaged file. So `hdf5child` reads in a process of its own, with a limit of time and memory. An honest
file of weights is a tree without links whose arrays take about the size of the file.
"""

import json
import math
import os
import signal
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from jaxdl import disk
from jaxdl.extras import need
from jaxdl.interop import kerasfiles

MOST_RATIO: Final = 200  # bytes of an archive's member per byte of the archive, beyond `FREE`; of arrays: `hdf5child`
FREE: Final = 64 << 20
SECONDS: Final = 30.0  # for any file; one more for each `BYTES_A_SECOND`
BYTES_A_SECOND: Final = 10 << 20
_WEIGHTS = "model.weights.h5"
_CHILD = Path(__file__).with_name("hdf5child.py")
_REFUSED = 3  # of hdf5child, which imports h5py
# the errors of zipfile and json for mutated archives
_DAMAGE = (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
_DAMAGE += (AssertionError, MemoryError, zipfile.BadZipFile, zlib.error)


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
        ValueError: naming the file, if it is damaged, has links, claims more than it can hold, cannot be read in
            `SECONDS`, or has arrays that cannot be named.
        ImportError: if h5py is not installed.
    """
    tree = _read_apart(path, content)
    root = tree.group("model_weights") or tree
    try:
        if "layer_names" in root.attrs:
            return kerasfiles.read_listed(str(path), root, _model_config(path, tree))
        return kerasfiles.read_numbered(str(path), root, config)
    except _DAMAGE as error:
        if isinstance(error, ValueError) and str(error).startswith(f"{path}: "):  # it is ours and says enough
            raise
        raise ValueError(f"{path}: is not a complete HDF5 file of Keras weights ({_why(error)})") from error


def _read_apart(path: Path, content: bytes | None) -> kerasfiles.StoredGroup:
    """Read all groups and arrays of a file in another process."""
    need("h5py", purpose=f"reading {path.name}", extra="interop")  # here rather than in the other process

    size = disk.check_regular(path) if content is None else len(content)
    seconds = SECONDS + size / BYTES_A_SECOND
    command = [sys.executable, "-P", str(_CHILD), "-" if content is not None else str(path.absolute())]
    # OpenBLAS reserves addresses for each of its threads, which the child's limit of memory would count
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, input=content or b"", capture_output=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired as error:
        why = f"libhdf5 did not return within {seconds:.0f} seconds"
        raise ValueError(f"{path}: is not a complete HDF5 file of Keras weights ({why})") from error
    why = " ".join(done.stderr.decode(errors="replace").split())
    if done.returncode == _REFUSED:
        raise ValueError(f"{path}: {why}")
    if done.returncode < 0:
        why = f"libhdf5 ended with {signal.Signals(-done.returncode).name}"
    if done.returncode:
        raise ValueError(f"{path}: is not a complete HDF5 file of Keras weights ({why})")
    header, _, values = done.stdout.partition(b"\n")
    return group_of(json.loads(header), memoryview(values))


def group_of(tree: dict[str, Any], values: memoryview) -> kerasfiles.StoredGroup:
    """Return a group of the other process's tree, whose arrays lie one after the other in its output."""
    offset = 0

    def of(tree: dict[str, Any]) -> kerasfiles.StoredGroup:
        return kerasfiles.StoredGroup(
            tree["name"], tree["attrs"], {name: item(one) for name, one in tree["items"].items()}
        )

    def item(one: dict[str, Any]) -> kerasfiles.StoredGroup | kerasfiles.StoredArray:
        nonlocal offset
        if "items" in one:
            return of(one)
        dtype, shape = np.dtype(one["dtype"]), tuple(one["shape"])
        start, offset = offset, offset + dtype.itemsize * math.prod(shape)
        # a copy, because a user may write into an array, and does not keep the others alive with it
        return kerasfiles.StoredArray(one["name"], np.frombuffer(values[start:offset], dtype).reshape(shape).copy())

    return of(tree)


def _why(error: BaseException) -> str:
    return " ".join(f"{error}".split()) or type(error).__name__


def _model_config(path: Path, root: kerasfiles.StoredGroup) -> Any:
    if "model_config" not in root.attrs:
        return None
    try:
        return _inner(json.loads(root.attrs["model_config"]))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its model_config is not JSON ({error})") from error


def _inner(config: Any) -> Any:
    """Return the config of a model's layers, without the model's own name, which paths omit."""
    return config.get("config") if isinstance(config, dict) else None
