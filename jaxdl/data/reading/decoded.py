"""A cache of decoded images, with one `.npz` file per source whose checksums are verified on reading.

Its files take at most `limit` bytes together: those that were not read for longest are deleted first, and a data set
that alone takes more is not cached. `JAXDL_CACHE_BYTES=0` turns the cache off.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl import disk
from jaxdl.data.dataset import Dataset, checked

VARIABLE = "JAXDL_CACHE_BYTES"
MOST_CACHED = 8 << 30  # bytes, unless the variable says otherwise
_FORMAT = 2  # raise this when decoding changes, so that sources are decoded again
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def limit() -> int:
    """Return the largest number of bytes of all cached data sets.

    Raises:
        ValueError: if `JAXDL_CACHE_BYTES` is not a whole number of at least 0.
    """
    text = os.environ.get(VARIABLE, "") or str(MOST_CACHED)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{VARIABLE} is {text!r}; expected a number of bytes, or 0 for no cache of decoded images")
    return int(text)


def status(folder: Path) -> str:
    """Return a sentence on where the cache is, how large it is and how to limit it."""
    if not limit():
        return f"decoded images are not cached ({VARIABLE}=0)"
    size, most = sum(size for _, size, _ in _cached(folder)), limit()
    return f"decoded images are cached in {folder}: {size:,} bytes of at most {most:,} ({VARIABLE}, 0 for none)"


def _cached(folder: Path) -> list[tuple[float, int, Path]]:
    """Return time of last use, size and path of each file of the cache, the oldest first."""
    found = []
    for path in folder.glob("*.npz"):
        with contextlib.suppress(FileNotFoundError):  # another process may have deleted it
            state = path.stat()
            found.append((state.st_mtime, state.st_size, path))
    return sorted(found)


def _make_room(new: Path, size: int) -> None:
    """Delete the files that were not used for longest until a new one, which may replace one of them, fits."""
    found = [one for one in _cached(new.parent) if one[2] != new]
    total = sum(each for _, each, _ in found) + size
    for _, each, path in found:
        if total <= limit():
            return
        path.unlink(missing_ok=True)
        total -= each


def store(path: Path, fingerprint: str, dataset: Dataset, left_out: Sequence[str] = ()) -> None:
    """Write a decoded data set, whole or not at all.

    Args:
        path: the file to write.
        fingerprint: identifies the source's contents.
        dataset: the decoded data set.
        left_out: sentences on what it leaves out, to be said at every load.

    Warns:
        RuntimeWarning: if the cache cannot be written, in which case the source is decoded again next time.
    """
    arrays = {key: value for key, value in dataset._asdict().items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in dataset._asdict().items() if key not in arrays}
    meta = json.dumps({"format": _FORMAT, "fingerprint": fingerprint, "fields": rest, "left_out": list(left_out)})
    contents: dict[str, Any] = {"meta": np.array(meta), **arrays}
    size = sum(array.nbytes for array in contents.values()) + (1 << 12)  # headers
    if size > limit():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path, size)
        with disk.replacing(path, shared=True) as part, open(part, "wb") as file:
            np.savez(file, **contents)
    except OSError as error:
        warnings.warn(f"decoded images could not be cached in {path} ({error})", RuntimeWarning, stacklevel=3)


def restore(path: Path, fingerprint: str) -> tuple[Dataset, list[str]] | None:
    """Return the cached data set and the sentences on what it leaves out, or None.

    None stands for a file that is missing, damaged, of other contents, or inconsistent in itself.

    Args:
        path: the file to read.
        fingerprint: identifies the source's present contents.
    """
    if not limit():
        return None
    try:
        arrays = disk.read_arrays(path, most=disk.check_regular(path))  # nothing in it is compressed
        meta = json.loads(str(arrays.pop("meta")))
        if (meta["format"], meta["fingerprint"]) != (_FORMAT, fingerprint):
            return None
        fields = meta["fields"] | arrays
        dataset = Dataset(**(fields | {"classes": tuple(fields["classes"])}))
        if not _is_decoded(dataset, meta["left_out"]):
            return None
        with contextlib.suppress(OSError):  # of a cache that can only be read
            os.utime(path)  # the time of last use
        return checked(dataset), meta["left_out"]
    except _DAMAGE:
        return None


def _is_decoded(dataset: Dataset, left_out: Any) -> bool:
    """Return whether a data set has the types and ranks that `store` is given."""
    pairs = [(dataset.test_images, dataset.test_labels), (dataset.dev_images, dataset.dev_labels)]
    parts = [(dataset.images, dataset.labels), *(pair for pair in pairs if any(one is not None for one in pair))]
    texts = [dataset.name, dataset.note, *dataset.classes, *dataset.checksums, *dataset.checksums.values(), *left_out]
    return (
        all(_is_array(images, np.uint8, 4) and _is_array(labels, np.int32, 1) for images, labels in parts)
        and all(isinstance(text, str) for text in texts)
        and isinstance(left_out, list)
        and dataset.scale == 255.0
    )


def _is_array(value: Any, dtype: Any, ndim: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == ndim
