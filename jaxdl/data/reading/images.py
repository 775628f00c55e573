"""Read folders and tar archives with one folder of images per class; see `layout` for the layouts.

Decoded images are kept in the user's cache, so that the second load takes only as long as reading an array.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data.dataset import Dataset, checked
from jaxdl.data.reading import decoded
from jaxdl.data.reading.archives import ARCHIVES, file_digest, files, listing
from jaxdl.data.reading.fetching import cache_folder
from jaxdl.data.reading.layout import Entry, sort_entries
from jaxdl.data.reading.pixels import opened

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff")
_GREY = ("1", "L")
_COLOUR = ("RGB", "RGBA", "P", "PA", "LA", "CMYK", "YCbCr")


class _Survey(NamedTuple):
    """The findings of the first pass over the files."""

    names: list[str]
    folders: list[str]
    size: tuple[int, int]  # width and height of every image, pixels
    mode: str  # "L" or "RGB"
    digest: str  # SHA-256 over names and contents


def load_images(path: Path) -> Dataset:
    """Load a folder or tar archive with one folder of images per class; all images must have one size.

    If any image has colours, all become RGB. Transparency is dropped. Other files are ignored.

    Args:
        path: the folder or archive.

    Raises:
        ValueError: for another layout, an empty class, classes that differ between train and test, or an image that
            cannot be read, has a format outside of `pixels.FORMATS` or another size; the message names the file.
        ImportError: if Pillow is not installed.
    """
    fingerprint = file_digest(path) if path.is_file() else listing(path)
    key = fingerprint if path.is_file() else hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    cache = cache_folder() / "decoded" / f"{key}.npz"
    dataset = decoded.restore(cache, fingerprint)
    if dataset is None:
        dataset = _decode_all(path)
        decoded.store(cache, fingerprint, dataset)
    name = _name(path)
    # an archive may have been renamed since its images were cached
    sums = {path.name: fingerprint} if path.is_file() else dataset.checksums
    return dataset._replace(name=name, checksums=sums)


def _name(path: Path) -> str:
    """Return the name of the folder, or of the archive without its suffix."""
    name = path.resolve().name
    return next((name[: -len(end)] for end in ARCHIVES if path.is_file() and name.lower().endswith(end)), name)


def _decode_all(path: Path) -> Dataset:
    survey = _survey(path)
    entries = sort_entries(str(path), survey.names, survey.folders)
    row = {entry.name: i for i, entry in enumerate(entries)}
    width, height = survey.size
    images = np.empty((len(entries), height, width, 1 if survey.mode == "L" else 3), np.uint8)
    for name, contents in _image_files(path):
        with _opened(path, name, contents) as image:
            images[row[name]] = np.asarray(image.convert(survey.mode)).reshape(images.shape[1:])
    return _assemble(path, entries, images, survey.digest)


def _assemble(path: Path, entries: list[Entry], images: np.ndarray, digest: str) -> Dataset:
    classes = sorted({entry.label for entry in entries})
    labels = np.array([classes.index(entry.label) for entry in entries], np.int32)
    count = sum(entry.part == "train" for entry in entries)
    test = (images[count:], labels[count:]) if count < len(entries) else (None, None)
    lossy = any(entry.name.lower().endswith((".jpg", ".jpeg")) for entry in entries)
    note = "decoded from JPEG files, which are lossy copies" if lossy else ""
    return checked(
        Dataset(
            _name(path),
            images[:count],
            labels[:count],
            *test,
            tuple(classes),
            255.0,
            {_name(path): digest},
            note,
        ),
        where=str(path),
    )


def _survey(path: Path) -> _Survey:
    """Return names, folders, common size and mode of all images, from their headers."""
    names: list[str] = []
    folders: list[str] = []
    size, first, colour = (0, 0), "", False
    digest = hashlib.sha256()
    for name, contents in files(path, EXTENSIONS):
        if contents is None:
            folders.append(name)
            continue
        with _opened(path, name, contents) as image:
            if names and image.size != size:
                raise ValueError(
                    f"{path}: {name} is {image.size[0]} x {image.size[1]} pixels, but {first} is {size[0]} x "
                    f"{size[1]}; all images must have one size"
                )
            size, first = image.size, first or name
            colour |= image.mode not in _GREY
        digest.update(f"{name}\0{len(contents)}\0".encode() + contents)
        names.append(name)
    if not names:
        raise ValueError(f"{path}: no images; looked for {', '.join(EXTENSIONS)}")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: {twice} occurs twice")
    return _Survey(names, folders, size, "RGB" if colour else "L", digest.hexdigest())


def _image_files(path: Path) -> Iterator[tuple[str, bytes]]:
    return ((name, contents) for name, contents in files(path, EXTENSIONS) if contents is not None)


@contextmanager
def _opened(path: Path, name: str, contents: bytes) -> Iterator[Any]:
    """Open a Pillow image of 8 bits per channel, or raise an error that names the file."""
    with opened(io.BytesIO(contents), f"{path}: the image {name}") as image:
        if image.mode not in _GREY + _COLOUR:
            raise ValueError(
                f"{path}: the image {name} has mode {image.mode}; expected 8 bits per channel, grey or colour"
            )
        yield image
