"""A cache of decoded images, with one `.npz` file per source whose checksums are verified on reading."""

import json
import os
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.dataset import Dataset
from jaxdl.data.reading.fetching import partial_path

_FORMAT = 1  # raise this when decoding changes, so that sources are decoded again


def store(path: Path, fingerprint: str, dataset: Dataset) -> None:
    """Write a decoded data set, whole or not at all.

    Args:
        path: the file to write.
        fingerprint: identifies the source's contents.
        dataset: the decoded data set.

    Warns:
        RuntimeWarning: if the cache cannot be written, in which case the source is decoded again next time.
    """
    arrays = {key: value for key, value in dataset._asdict().items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in dataset._asdict().items() if key not in arrays}
    meta = json.dumps({"format": _FORMAT, "fingerprint": fingerprint, "fields": rest})
    contents: dict[str, Any] = {"meta": np.array(meta), **arrays}
    part = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            np.savez(file, **contents)
        os.replace(part, path)
    except OSError as error:
        warnings.warn(f"decoded images could not be cached in {path} ({error})", RuntimeWarning, stacklevel=3)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def restore(path: Path, fingerprint: str) -> Dataset | None:
    """Return the cached data set, or None if the file is missing, damaged or of other contents.

    Args:
        path: the file to read.
        fingerprint: identifies the source's present contents.
    """
    try:
        # reading checks the CRC of every member of the zip file
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            if (meta["format"], meta["fingerprint"]) != (_FORMAT, fingerprint):
                return None
            arrays = {key: file[key] for key in file.files if key != "meta"}
        fields = meta["fields"] | arrays
        return Dataset(**(fields | {"classes": tuple(fields["classes"])}))
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
