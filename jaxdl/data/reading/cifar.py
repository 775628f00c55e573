"""Read CIFAR-10 from its binary archive, which needs no unpickling, or from an archive of re-encoded images.

A binary file holds records of 3,073 bytes: the label, then 32 x 32 red, green and blue values, row by row.
Reference: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import re
from pathlib import Path

import numpy as np

from jaxdl.data.dataset import Dataset, checked, sha256
from jaxdl.data.reading.archives import file_digest, files, is_archive
from jaxdl.data.reading.fetching import fetch
from jaxdl.data.reading.images import load_images
from jaxdl.data.reading.pixels import SUFFIXES
from jaxdl.data.reading.sources import CIFAR10_ARCHIVE, CIFAR10_BYTES, CIFAR10_CLASSES, CIFAR10_MIRRORS, CIFAR10_SHA256

TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
RECORD, PER_FILE = 3073, 10_000
_LOSSY_NOTE = "CIFAR-10 (JPEG): lossy copies, not comparable with published CIFAR-10 figures"


def load_cifar10(folder: Path, *, allow_download: bool) -> Dataset:
    """Load CIFAR-10 from the data folder: its binary archive, unpacked or not, or images, or else a download.

    Args:
        folder: the data folder; a sub-folder `cifar10` (or `cifar-10`) is searched as well.
        allow_download: whether to download; False never goes to the network.

    Returns:
        The data set named "cifar10", or "cifar10-jpeg" with a note if the images are JPEG files.

    Raises:
        FileNotFoundError: if nothing is found and downloads are not allowed.
        ConnectionError: if the download fails.
        ValueError: if a file found is damaged.
    """
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    ours = [path for path in inside if re.match(r"cifar[-_]?10(?!\d)", path.name.lower())]
    within = [path for place in ours if place.is_dir() for path in sorted(place.iterdir())]
    for path in (*ours, *within):
        if path.is_dir() and is_binary_folder(path):
            return load_binary(path)
        if path.name == CIFAR10_ARCHIVE:
            _check_archive(path)
            return load_binary(path)
    for path in ours:
        if _has_images(path):
            return _from_images(path)
    if not allow_download:
        raise FileNotFoundError(f"cifar10: {CIFAR10_ARCHIVE} not found in {folder}; put it there by hand")
    target = folder / "cifar10" / CIFAR10_ARCHIVE
    urls = [mirror + CIFAR10_ARCHIVE for mirror in CIFAR10_MIRRORS]
    return load_binary(fetch(urls, target, check=_check_archive, most_bytes=CIFAR10_BYTES))


def is_binary_folder(path: Path) -> bool:
    """Return whether a folder holds the binary files."""
    return (path / TRAIN_FILES[0]).is_file()


def is_binary_archive(path: Path) -> bool:
    """Return whether an archive holds the binary files, which its first image or binary file decides."""
    first = next((name for name, _ in files(path, (".bin", *SUFFIXES))), "")
    return Path(first).name in (*TRAIN_FILES, TEST_FILE)


def load_binary(path: Path) -> Dataset:
    """Load CIFAR-10 from the binary archive, or from the folder that it unpacks to.

    Raises:
        ValueError: if a file is missing, does not have 10,000 records, or has a label above 9.
    """
    found = {Path(name).name: data for name, data in files(path, (".bin",))}
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if name not in found]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing")
    sums = {path.name: file_digest(path)} if path.is_file() else {name: sha256(found[name]) for name in found}
    train = [_records(f"{path}: {name}", found.pop(name)) for name in TRAIN_FILES]
    test_x, test_y = _records(f"{path}: {TEST_FILE}", found.pop(TEST_FILE))
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return checked(Dataset("cifar10", images, labels, test_x, test_y, CIFAR10_CLASSES, 255.0, sums), where=str(path))


def _records(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    if len(data) != RECORD * PER_FILE:
        what = "truncated" if len(data) < RECORD * PER_FILE else "too long"
        raise ValueError(f"{name} is {what}: {len(data)} bytes, expected {PER_FILE} records of {RECORD}")
    table = np.frombuffer(data, np.uint8).reshape(PER_FILE, RECORD)
    if table[:, 0].max() >= len(CIFAR10_CLASSES):
        bad = int(np.argmax(table[:, 0] >= len(CIFAR10_CLASSES)))
        raise ValueError(f"{name}: label {table[bad, 0]} of record {bad} is out of range; labels go from 0 to 9")
    images = table[:, 1:].reshape(PER_FILE, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), table[:, 0].astype(np.int32)


def _check_archive(path: Path) -> None:
    found = file_digest(path)
    if found != CIFAR10_SHA256:
        raise ValueError(f"{path}: not the official archive (SHA-256 is {found}, expected {CIFAR10_SHA256})")


def _has_images(path: Path) -> bool:
    if path.is_file():
        return is_archive(path) and "python" not in path.name
    return any((path / part).is_dir() for part in ("train", *CIFAR10_CLASSES))


def _from_images(path: Path) -> Dataset:
    dataset = load_images(path)
    if dataset.classes != CIFAR10_CLASSES:
        raise ValueError(f"{path}: its classes are {', '.join(dataset.classes)}, not CIFAR-10's")
    if not dataset.note:
        return dataset._replace(name="cifar10")
    return dataset._replace(name="cifar10-jpeg", note=_LOSSY_NOTE)
