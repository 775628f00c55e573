"""A data set in memory, and the checks that all loaded data must pass.

Images are `(N, H, W, C)` in the type that the source stores, uint8 if possible, which takes a quarter of float32's
memory; `scale` is the pixel value that means 1.0. The user's own data may also be float32 tables `(N, features)`, and
labels may be real targets instead of classes. Values are checked here, once, because functions under trace never
check them.
"""

import hashlib
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np


class Dataset(NamedTuple):
    """Examples, with a test set and a development set if the source has them.

    Attributes:
        name: name to print beside results, e.g. "mnist".
        images: uint8 or float32 `(N, H, W, C)`, or float32 features `(N, features)`.
        labels: int32 `(N,)`, each in `[0, len(classes))`; or real targets, float32 `(N,)` or `(N, targets)`.
        test_images: like `images`, or None if the source has no test set.
        test_labels: like `labels`, or None.
        classes: names of the classes; a label is an index into it. Empty for real targets.
        scale: the pixel value that means 1.0: 255.0 for bytes, 16.0 for digits, 1.0 for floats and features.
        checksums: file name -> SHA-256 of the bytes that were read (for IDX files, of the unpacked bytes).
        note: a caveat for readers of results, e.g. that the images are lossy copies; else "".
        dev_images: like `images`, or None if the source has no development set of its own.
        dev_labels: like `labels`, or None.
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
    dev_images: np.ndarray | None = None
    dev_labels: np.ndarray | None = None


def sha256(data: bytes | memoryview | np.ndarray) -> str:
    """Return the SHA-256 of some bytes as 64 hexadecimal digits."""
    view = np.ascontiguousarray(data).data if isinstance(data, np.ndarray) else data
    return hashlib.sha256(view).hexdigest()


def from_arrays(
    images: Any,
    labels: Any,
    *,
    test_images: Any = None,
    test_labels: Any = None,
    dev_images: Any = None,
    dev_labels: Any = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    scale: float | int | None = None,
) -> Dataset:
    """Make a data set from the user's own arrays, and check it.

    Args:
        images: uint8, or floats in `[0, 1]` (kept as float32), `(N, H, W)` or `(N, H, W, C)`; or the features of a
            table `(N, features)`, any finite numbers (kept as float32).
        labels: classes as integers `(N,)` counted from 0, or as bools; or real targets as floats `(N,)` or
            `(N, targets)` (kept as float32).
        test_images: like `images`, or None.
        test_labels: like `labels`, or None.
        dev_images: like `images`, or None; then `data.split` takes the development part from `images`.
        dev_labels: like `labels`, or None.
        classes: names of the classes; None numbers them. `()` makes integer labels real targets, too.
        name: name to print beside results.
        scale: the pixel value that means 1.0; None stands for 255 with uint8 images and 1 otherwise.

    Raises:
        ValueError: for other types or ranks; pixels that are not finite or not in `[0, scale]`; labels that are out
            of range, not finite, or not whole numbers although classes are named; and if images and labels differ in
            number.

    Examples:
        >>> images, labels = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 1, 0])
        >>> own = data.from_arrays(images, labels, classes=["cat", "dog"], name="pets")
        >>> own.images.shape, own.classes
        ((4, 8, 8, 1), ('cat', 'dog'))
    """
    pairs = {"test": (test_images, test_labels), "dev": (dev_images, dev_labels)}
    for part, (x, y) in pairs.items():
        if (x is None) != (y is None):
            raise ValueError(f"{part}_images and {part}_labels must be given together; only one of them came")
    shape, label_shape = (_array(name, value).shape for name, value in (("images", images), ("labels", labels)))
    if len(shape) == 1 < len(label_shape):
        raise ValueError(f"images has shape {shape} and labels {label_shape}: the order is (images, labels)")
    if isinstance(classes, str):
        raise ValueError(f"classes is the string {classes!r}; expected a sequence of names, one for each class")
    train_x, train_y = _images("images", images, scale), _labels("labels", labels, classes)
    others = {}
    for part, (x, y) in pairs.items():
        others[f"{part}_images"] = None if x is None else _images(f"{part}_images", x, scale)
        others[f"{part}_labels"] = None if y is None else _labels(f"{part}_labels", y, classes)
    held = (others["test_labels"], others["dev_labels"])
    names = numbered_classes(name, train_y, *held) if classes is None else tuple(classes)
    if scale is None:
        scale = 255.0 if train_x.dtype == np.uint8 else 1.0
    parts = {"images": train_x, "labels": train_y, **others}
    sums = {key: sha256(value) for key, value in parts.items() if value is not None}
    return checked(Dataset(name, **parts, classes=names, scale=float(scale), checksums=sums))


MOST_CLASSES = 10_000  # that are numbered without names, unless there are more examples


def numbered_classes(where: str, labels: np.ndarray, *others: np.ndarray | None) -> tuple[str, ...]:
    """Return the class numbers as names, or none for real targets.

    Raises:
        ValueError: if a label is so far beyond the number of examples that it cannot count classes; a single one
            would otherwise make tables of billions of classes.
    """
    if labels.dtype.kind == "f":
        return ()
    count = 1 + max(int(y.max(initial=0)) for y in (labels, *others) if y is not None)
    most = max(MOST_CLASSES, len(labels))
    if count > most:
        raise ValueError(
            f"{where}: label {count - 1} is too large for {len(labels)} examples; without names of the classes, "
            f"labels go up to {most - 1}"
        )
    return tuple(str(i) for i in range(count))


def is_classes(labels: Any) -> bool:
    """Return whether labels are class numbers rather than real targets."""
    return np.dtype(labels.dtype).kind in "iu"


def checked(dataset: Dataset, *, where: str | None = None) -> Dataset:
    """Check that the parts of a data set fit together, and return it.

    Args:
        dataset: the data set as read.
        where: the file or folder to name in messages; None stands for the data set's name.

    Raises:
        ValueError: if there are no images, lengths differ, a label has no class, or images or labels of the test or
            development set differ from the training set's in size or type.
    """
    where = dataset.name if where is None else where
    train, labels = dataset.images, dataset.labels
    _check_part(f"{where} (train)", train, labels, dataset.classes)
    others = {"test": (dataset.test_images, dataset.test_labels), "dev": (dataset.dev_images, dataset.dev_labels)}
    for part, (x, y) in others.items():
        if x is None or y is None:
            continue
        one, other = (f"{each.shape[1:]} {each.dtype}" for each in (labels, y))
        if one != other:
            raise ValueError(f"{where}: train labels are {one}, {part} labels are {other}; they must match")
        _check_part(f"{where} ({part})", x, y, dataset.classes)
        if train.shape[1:] != x.shape[1:] or train.dtype != x.dtype:
            raise ValueError(
                f"{where}: train images are {train.shape[1:]} {train.dtype}, {part} images are {x.shape[1:]} "
                f"{x.dtype}; they must match"
            )
    return dataset


def _check_part(where: str, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    if len(images) != len(labels):
        raise ValueError(f"{where}: {len(images)} images, but {len(labels)} labels; there must be one label per image")
    if len(images) == 0:
        raise ValueError(f"{where}: no images")
    if not is_classes(labels):
        if classes:
            raise ValueError(f"{where}: labels are real targets, but there are {len(classes)} classes")
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        bad = int(np.flatnonzero((labels < 0) | (labels >= len(classes)))[0])
        raise ValueError(
            f"{where}: label {labels[bad]} of example {bad} is out of range; with {len(classes)} classes "
            f"labels go from 0 to {len(classes) - 1}{_signs(labels)}"
        )


def channels_last_hint(shape: Sequence[int]) -> str:
    """Return a hint for a shape that must be a square image of 1 or 3 channels with the channels first, else ""."""
    if len(shape) == 3 and shape[0] in (1, 3) and shape[1] == shape[2] > 4:
        return f"channels come last here: {(*shape[1:], shape[0])} instead of {tuple(shape)}"
    return ""


def _signs(labels: np.ndarray) -> str:
    """Return advice for classes called -1 and 1, else nothing."""
    if not np.isin(labels, (-1, 1)).all():
        return ""
    return "; classes -1 and 1 are (labels + 1) // 2 here, and as floats they are the targets that losses.hinge takes"


def _images(argument: str, images: Any, scale: float | int | None) -> np.ndarray:
    images = _array(argument, images)
    if scale is not None and not (isinstance(scale, Real) and np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale!r}; it must be a positive number")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim not in (2, 4):
        column = "; one feature per example is x[:, None]" if images.ndim == 1 else ""
        raise ValueError(
            f"{argument} has shape {images.shape}; expected (N, H, W), (N, H, W, C) or, for a table, (N, features)"
            f"{column}"
        )
    if hint := channels_last_hint(images.shape[1:]):
        raise ValueError(f"{argument} has shape {images.shape}; {hint}, as x.transpose(0, 2, 3, 1) gives them")
    allowed = "fiub" if images.ndim == 2 else "f"
    if images.dtype != np.uint8 or images.ndim == 2:
        if not _is_kind(images, allowed):
            wanted = "numbers" if images.ndim == 2 else "uint8, or floats in [0, 1]"
            raise ValueError(f"{argument} has type {images.dtype}; expected {wanted}")
        images = _float32(argument, images, "a pixel" if images.ndim == 4 else "a feature")
    if images.ndim == 2:
        return images
    top = scale if scale is not None else (255.0 if images.dtype == np.uint8 else 1.0)
    if images.size and (images.min() < 0 or images.max() > top):
        raise ValueError(
            f"{argument} has pixels from {images.min()} to {images.max()}; expected 0 to {top:g} "
            "(scale says which value means 1.0)"
        )
    return images


def _labels(argument: str, labels: Any, classes: Sequence[str] | None) -> np.ndarray:
    labels = _array(argument, labels)
    about = f"{argument} has shape {labels.shape} and type {labels.dtype}"
    real = _is_kind(labels, "f") or (classes is not None and not len(classes))
    if real and classes:
        raise ValueError(f"{about}, but classes are named; expected integers (N,) that count them from 0")
    if real:
        if labels.ndim not in (1, 2) or not _is_kind(labels, "fiu"):
            raise ValueError(f"{about}; expected real targets (N,) or (N, targets)")
        return _float32(argument, labels, "a target")
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise ValueError(
            f"{about}; expected integers (N,) for classes, or floats (N,) or (N, targets) for real targets"
        )
    limit = np.iinfo(np.int32).max
    if labels.size and int(labels.max()) > limit:
        raise ValueError(f"{argument} has the value {labels.max()}; the largest possible is {limit}")
    return labels.astype(np.int32, copy=False)


def _array(argument: str, values: Any) -> np.ndarray:
    if isinstance(values, dict):
        raise ValueError(
            f"{argument}: got a dict, allowed is one array; data.Examples takes several, as data.batches do"
        )
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{argument}: examples must be of one shape ({error})") from error


def _is_kind(array: np.ndarray, kinds: str) -> bool:
    """Return whether an array is of one of numpy's kinds; bfloat16 and its like, unknown to numpy, are floats."""
    return array.dtype.kind in kinds or ("f" in kinds and jnp.issubdtype(array.dtype, jnp.floating))


def _float32(argument: str, values: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which is refused below
        narrow = values.astype(np.float32, copy=False)
    if not np.isfinite(narrow).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(narrow))[0])
        raise ValueError(f"{argument} has {what} that is not finite: {values[bad]} at {bad}")
    return narrow
