"""One image classification data set in memory, and the checks that everything loaded has to pass.

Images are `(N, H, W, C)` in the type that the source stores (uint8 wherever possible: a quarter of float32's
memory); `scale` is the pixel value that means 1.0. Values are checked here, once, because functions under
trace never check them.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """An image classification data set with, where the source has one, its own test set.

    Attributes:
        name: What to print beside every number, e.g. "mnist".
        images: uint8 or float32 `(N, H, W, C)`.
        labels: int32 `(N,)`, each in `[0, len(classes))`.
        test_images: Like `images`, or None where the source has no test set.
        test_labels: Like `labels`, or None.
        classes: Names of the classes; a label is an index into it.
        scale: The pixel value that means 1.0: 255.0 for bytes, 16.0 for digits, 1.0 for floats.
        checksums: File name -> SHA-256 of the bytes that were read (of IDX files: of the unpacked bytes).
        note: What a reader of a result has to know, e.g. that the images are lossy copies; else "".
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray | None
    test_labels: np.ndarray | None
    classes: tuple[str, ...]
    scale: float
    checksums: dict[str, str]
    note: str = ""


def sha256(data: bytes | memoryview | np.ndarray) -> str:
    """SHA-256 of some bytes as 64 hexadecimal digits."""
    view = np.ascontiguousarray(data).data if isinstance(data, np.ndarray) else data
    return hashlib.sha256(view).hexdigest()


def from_arrays(
    images: Any,
    labels: Any,
    *,
    test_images: Any = None,
    test_labels: Any = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    scale: float | int | None = None,
) -> Dataset:
    """A data set from the user's own arrays, checked.

    Args:
        images: uint8, or floats in `[0, 1]` (kept as float32), `(N, H, W)` or `(N, H, W, C)`.
        labels: Integers `(N,)`, counted from 0.
        test_images: Like `images`, or None.
        test_labels: Like `labels`, or None.
        classes: Names of the classes; None numbers them.
        name: What to print beside every number.
        scale: The pixel value that means 1.0; None is 255 for uint8 and 1 for floats.

    Raises:
        ValueError: For other types or ranks, pixels that are not finite or not in `[0, scale]`, labels that
            are not whole numbers, out of range or not as many as the images.
    """
    if (test_images is None) != (test_labels is None):
        raise ValueError("test_images and test_labels must be given together; only one of them came")
    train_x, train_y = _images("images", images, scale), _labels("labels", labels)
    test_x = None if test_images is None else _images("test_images", test_images, scale)
    test_y = None if test_labels is None else _labels("test_labels", test_labels)
    count = 1 + max(int(y.max(initial=0)) for y in (train_y, test_y) if y is not None)
    names = tuple(classes) if classes is not None else tuple(str(i) for i in range(count))
    if scale is None:
        scale = 255.0 if train_x.dtype == np.uint8 else 1.0
    parts = {"images": train_x, "labels": train_y, "test_images": test_x, "test_labels": test_y}
    sums = {key: sha256(value) for key, value in parts.items() if value is not None}
    return checked(Dataset(name, train_x, train_y, test_x, test_y, names, float(scale), sums))


def checked(dataset: Dataset, *, where: str | None = None) -> Dataset:
    """The data set itself, after checking that its parts fit together.

    Args:
        dataset: What a source has read.
        where: The file or folder that messages name; None is the data set's name.

    Raises:
        ValueError: If there are no images, lengths differ, a label has no class, or train and test images
            differ in size or type.
    """
    where = dataset.name if where is None else where
    _check_part(f"{where} (train)", dataset.images, dataset.labels, dataset.classes)
    if dataset.test_images is not None and dataset.test_labels is not None:
        _check_part(f"{where} (test)", dataset.test_images, dataset.test_labels, dataset.classes)
        train, test = dataset.images, dataset.test_images
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise ValueError(
                f"{where}: train images are {train.shape[1:]} {train.dtype}, test images are "
                f"{test.shape[1:]} {test.dtype}; both must be alike"
            )
    return dataset


def _check_part(where: str, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    if len(images) != len(labels):
        raise ValueError(f"{where}: {len(images)} images, but {len(labels)} labels; there must be one label per image")
    if len(images) == 0:
        raise ValueError(f"{where}: no images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        bad = int(np.flatnonzero((labels < 0) | (labels >= len(classes)))[0])
        raise ValueError(
            f"{where}: label {labels[bad]} of example {bad} is out of range; with {len(classes)} classes "
            f"labels go from 0 to {len(classes) - 1}"
        )


def _images(argument: str, images: Any, scale: float | int | None) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4:
        raise ValueError(f"{argument} has shape {images.shape}; expected (N, H, W) or (N, H, W, C)")
    if images.dtype != np.uint8:
        if images.dtype.kind != "f":
            raise ValueError(f"{argument} has type {images.dtype}; expected uint8, or floats in [0, 1]")
        images = images.astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            bad = tuple(int(i) for i in np.argwhere(~np.isfinite(images))[0])
            raise ValueError(f"{argument} has a pixel that is not finite: {images[bad]} at {bad}")
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}; it must be a positive number")
    top = scale if scale is not None else (255.0 if images.dtype == np.uint8 else 1.0)
    if images.size and (images.min() < 0 or images.max() > top):
        raise ValueError(
            f"{argument} has pixels from {images.min()} to {images.max()}; expected 0 to {top:g} "
            "(scale says which value means 1.0)"
        )
    return images


def _labels(argument: str, labels: Any) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{argument} has shape {labels.shape} and type {labels.dtype}; expected integers (N,)")
    limit = np.iinfo(np.int32).max
    if labels.size and int(labels.max()) > limit:
        raise ValueError(f"{argument} has the value {labels.max()}; the largest possible is {limit}")
    return labels.astype(np.int32, copy=False)
