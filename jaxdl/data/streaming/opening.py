"""Open a folder or tar archives of images as a stream, and divide it into parts."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl.data import splits
from jaxdl.data.dataset import Dataset
from jaxdl.data.normalization import Normalization
from jaxdl.data.reading import pixels
from jaxdl.data.reading.archives import ARCHIVES, readable
from jaxdl.data.reading.gathering import GatheredImages
from jaxdl.data.reading.layout import PARTS
from jaxdl.data.splits import Examples, Splits, check_whole
from jaxdl.data.streaming.images import Decoding, StreamedImages
from jaxdl.data.streaming.index import Index, Others, find, is_indexable, keep, name_of, read
from jaxdl.data.streaming.loader import eval_batches
from jaxdl.data.streaming.surveying import Findings, survey


class ImageStream(NamedTuple):
    """A data set of images on disk.

    Attributes:
        name: name to print beside results.
        index: where to find the images that can be read.
        how: height, width and mode of all decoded images.
        sums: int64 (n, 2, 3), sums of pixels and of their squares per channel of each image.
        checksum: SHA-256 over names and contents of all image files.
        note: a caveat for readers of results, or "".
        pixels: all images, if the pass over them kept them, for `in_memory`.
    """

    name: str
    index: Index
    how: Decoding
    sums: np.ndarray
    checksum: str
    note: str
    pixels: GatheredImages | None = None

    def dataset(self) -> Dataset:
        """Return the description of the data set, with `StreamedImages` in place of arrays."""
        train, dev, test = map(self._part, range(len(PARTS)))
        sums, classes = {self.name: self.checksum}, self.index.classes
        return Dataset(self.name, *train, *test, classes, 255.0, sums, self.note, *dev)

    def _part(self, part: int) -> tuple[Any, Any]:
        rows = np.flatnonzero(self.index.part == part)
        if not len(rows):
            return None, None
        return StreamedImages(self.index, rows, self.how), self.index.label[rows]


def looks_streamable(path: str | Path) -> bool:
    """Return whether a path exists and is a folder of images, an archive, or a folder of tar shards."""
    return is_indexable(Path(path).expanduser())


def peek(path: str | Path, most: int = 256) -> tuple[int, set[tuple[int, int]]]:
    """Return the number of images, and the heights and widths of at most ``most`` of them, evenly spread.

    Files that cannot be read count, but have no size.

    Raises:
        ValueError: see `open_images`.
    """
    index, _ = find(Path(path).expanduser())
    count, sizes = len(index.label), set()
    for row in range(0, count, max(1, count // most)):
        try:
            width, height = pixels.read_header(read(index, row), name_of(index, row)).size
        except pixels.UnreadableImage:
            continue
        sizes.add((height, width))
    return count, sizes


def estimate(path: str | Path) -> int:
    """Return the bytes that all images of a path take as RGB, if they have the size of the first that can be read.

    Raises:
        ValueError: see `open_images`.
    """
    index, _ = find(Path(path).expanduser())
    for row in range(len(index.label)):
        try:
            size = pixels.read_header(read(index, row), name_of(index, row)).size
        except pixels.UnreadableImage:
            continue
        return 3 * len(index.label) * math.prod(size)
    return 0


def open_images(
    path: str | Path,
    *,
    size: int | None = None,
    skip_unreadable: bool = False,
    workers: int = 0,
    cache: bool = True,
    on_progress: Callable[[int, int], Any] | None = None,
    keep_pixels: int = 0,
) -> ImageStream:
    """Open a folder, a tar archive or a folder of tar shards, and look at every image once.

    Args:
        path: the folder or archive, in a layout of `data.load`, or shards in WebDataset's (see `index`).
        size: height and width of all images. Of each, the largest central square is resized to it. None is for images
            that have one size already.
        skip_unreadable: whether to leave out, with a warning, image files that cannot be read.
        workers: number of processes that decode; 0 decodes in threads.
        cache: whether the findings of the pass are kept in the user's cache, from which they are read next time.
        on_progress: called with (images seen, all images) during the pass.
        keep_pixels: bytes; if all images take at most that many as RGB, the pass keeps them for `in_memory`. Findings
            from the cache come without pixels.

    Raises:
        ValueError: for another layout, images of several sizes if ``size`` is None, a compressed archive, or files that
            cannot be read unless they are skipped; the message names the first and how many more there are.
        FileNotFoundError: if there is no such path.
        ImportError: if Grain (the extra `streaming`) or Pillow is not installed.

    Warns:
        RuntimeWarning: once for each kind of file or frame that is left out, with the number of them.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such folder or archive")
    if size is not None:
        check_whole("size", size, low=1)
    where, (index, others) = readable(str(path)), find(path)
    square = None if size is None else (size, size)
    found = survey(index, square, workers=workers, cache=cache, on_progress=on_progress, keep=keep_pixels)
    _check_problems(found, len(index.label), skip_unreadable)
    good = np.setdiff1d(np.arange(len(index.label)), list(found.problems))
    if size is None:
        square = _common_size(where, index, found, good)
    mode = "RGB" if found.colour[good].any() else "L"
    said = _left_out(index, others, found, good)
    for one in said:
        warnings.warn(f"{where}: {one}", RuntimeWarning, stacklevel=2)
    kept = keep(index, good) if found.problems else index
    _check_classes(where, kept)
    note = _note(kept, size, found, good)
    return ImageStream(_name(path), kept, Decoding(square, mode), found.sums[good], found.digest, note, found.pixels)


def split(stream: ImageStream, *, seed: int, dev_fraction: float | int, test_fraction: float | None = None) -> Splits:
    """Split a stream as `data.split` splits a data set in memory, with the same parts, errors and warnings."""
    whole = stream.dataset()
    images: dict[str, Any] = {
        name: None if field is None else field.rows
        for name in ("images", "test_images", "dev_images")
        for field in [getattr(whole, name)]
    }
    parts = splits.split(whole._replace(**images), seed=seed, dev_fraction=dev_fraction, test_fraction=test_fraction)
    train, dev, test = (_with_images(stream, part) for part in parts)
    return Splits(train, dev, test)


def _with_images(stream: ImageStream, part: Examples) -> Examples:
    """Return the examples whose images are row numbers with the images of these rows."""
    images: Any = StreamedImages(stream.index, part.images, stream.how)
    return Examples(images, part.labels)


def in_memory(stream: ImageStream, parts: Splits) -> Splits:
    """Return the parts of a stream as `split` gives them, with arrays in place of `StreamedImages`.

    The arrays are the pixels that `open_images` kept, in another order. Without these, which one call uses up, the
    images are read and decoded.
    """
    rows = np.concatenate([_rows(part) for part in parts])
    if stream.pixels is None or len(stream.pixels) != len(rows):
        return Splits(*map(_decoded, parts))
    images = stream.pixels.ordered(rows)
    train, dev, test = np.split(images, np.cumsum([len(part.labels) for part in parts])[:-1])
    return Splits(*(Examples(*pair) for pair in zip((train, dev, test), (part.labels for part in parts), strict=True)))


def _rows(part: Examples) -> np.ndarray:
    images: Any = part.images
    return images.rows


def _decoded(part: Examples) -> Examples:
    if not len(part.labels):
        return Examples(part.images[:], part.labels)
    images = np.empty(part.images.shape, np.uint8)
    for batch in eval_batches(part, 64):
        images[batch.index[batch.weight > 0]] = batch.image[batch.weight > 0]
    return Examples(images, part.labels)


def fit_normalization(stream: ImageStream, images: StreamedImages) -> Normalization:
    """Return mean and standard deviation of every channel over images of the stream, without reading them again.

    The sums are whole numbers, so the statistics do not depend on the number of workers. See `data.fit_normalization`.

    Raises:
        ValueError: if there are no images.
    """
    if not len(images):
        raise ValueError("images is empty; there must be at least one")
    channels, count = images.shape[-1], math.prod(images.shape[:3])
    totals = stream.sums[images.rows].sum(axis=0).tolist()
    mean = [total / count for total in totals[0]]
    std = [math.sqrt(count * squares - total * total) / count for total, squares in zip(*totals, strict=True)]
    mean, std = ((np.array(values[:channels]) / 255).astype(np.float32) for values in (mean, std))
    return Normalization(mean, std, 255.0)


def _left_out(index: Index, others: Others, found: Findings, good: np.ndarray) -> list[str]:
    """Return a sentence for each kind of thing that the stream leaves out."""
    said = []
    if others.suffixes:
        kinds = ", ".join(f"{count} {end}" for end, count in others.suffixes.items())
        said.append(f"{sum(others.suffixes.values())} other files were skipped ({kinds}), the first is {others.first}")
    if count := int(found.frames[good].sum()):
        first = name_of(index, int(good[found.frames[good]][0]))
        said.append(f"{count} files have several frames, of which the first counts: {first}")
    if found.problems:
        said.append(
            f"{len(found.problems)} of {len(index.label)} image files were skipped; the first: "
            f"{next(iter(found.problems.values()))}"
        )
    return said


def _note(kept: Index, size: int | None, found: Findings, good: np.ndarray) -> str:
    return pixels.caveats(
        (name_of(kept, row) for row in range(len(kept.label))),
        unreadable=len(found.problems),
        resized=size if size is not None and (found.sizes[good] != size).any() else None,
    )


def _check_problems(found: Findings, count: int, skip: bool) -> None:
    """Raise ValueError if files cannot be read and are not to be skipped, or if no others are left."""
    if not found.problems or (skip and len(found.problems) < count):
        return
    more = len(found.problems) - 1
    rest = f"; {more} more of {count} image files cannot be read either" if more else ""
    advice = "" if skip else "; skip_unreadable=True (--skip-unreadable) leaves such files out"
    raise ValueError(f"{next(iter(found.problems.values()))}{rest}{advice}")


def _common_size(where: str, index: Index, found: Findings, good: np.ndarray) -> tuple[int, int]:
    sizes = found.sizes[good]
    other = np.flatnonzero((sizes != sizes[0]).any(axis=1))
    if len(other):
        (h, w), (height, width) = sizes[0], sizes[other[0]]
        raise ValueError(
            f"{where}: {name_of(index, int(good[other[0]]))} is {width} x {height} pixels, but "
            f"{name_of(index, int(good[0]))} is {w} x {h}; size=N (--image-size N) resizes all images to N x N"
        )
    return int(sizes[0][0]), int(sizes[0][1])


def _check_classes(where: str, index: Index) -> None:
    for part in np.unique(index.part):
        present = np.unique(index.label[index.part == part])
        if len(present) < len(index.classes):
            lost = sorted(set(index.classes) - {index.classes[label] for label in present})
            raise ValueError(f"{where}: the part {PARTS[part]} has no image of the classes {', '.join(lost[:10])}")


def _name(path: Path) -> str:
    name = readable(path.resolve().name)
    return next((name[: -len(end)] for end in ARCHIVES if path.is_file() and name.lower().endswith(end)), name)
