"""A cache of decoded images: one `.npz` file per source, whose checksums are verified when it is read."""

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

_FORMAT = 1  # raise it when decoding changes, so that older files are decoded again


def store(path: Path, fingerprint: str, dataset: Dataset) -> None:
    """Writes a decoded data set, whole or not at all.

    Args:
        path: where to.
        fingerprint: what identifies the source's contents.
        dataset: what was decoded.

    Warns:
        RuntimeWarning: if the cache cannot be written; the data set is good all the same, only slower to load
            again.
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
    """The data set cached there, or None if there is none, it is of other contents, or it is damaged.

    Args:
        path: where from.
        fingerprint: what identifies the source's contents now.
    """
    try:
        # every member of the zip file has a CRC that is checked while reading
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            if (meta["format"], meta["fingerprint"]) != (_FORMAT, fingerprint):
                return None
            arrays = {key: file[key] for key in file.files if key != "meta"}
        fields = meta["fields"] | arrays
        return Dataset(**(fields | {"classes": tuple(fields["classes"])}))
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
