"""The one pass over all images of a stream: which can be read, their sums for normalisation, and a digest.

The pass decodes every image once, in Grain's workers, before training begins. So a damaged file is found at the start
and not in the third hour, and the statistics of any training part are sums over its rows: there is no second pass. The
result is kept in the user's cache until names, sizes or times of the files change. If all images fit into a given
number of bytes, the pass keeps their pixels as well, which are not cached.
"""

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from jaxdl import disk
from jaxdl.data.reading import pixels
from jaxdl.data.reading.archives import listing
from jaxdl.data.reading.fetching import cache_folder
from jaxdl.data.reading.gathering import GatheredImages
from jaxdl.data.streaming import cropping
from jaxdl.data.streaming.index import Index, name_of, read
from jaxdl.data.streaming.workers import Reader

PIECE: Final = 32  # images per element
_FORMAT: Final = 1


class Findings(NamedTuple):
    """The findings about n images."""

    sums: np.ndarray  # int64 (n, 2, 3): sums of pixels and of their squares per channel, after resizing
    sizes: np.ndarray  # int32 (n, 2): height and width in the file
    colour: np.ndarray  # bool (n,)
    frames: np.ndarray  # bool (n,): whether there are more frames than the first
    problems: dict[int, str]  # row -> why it cannot be read
    digest: str  # SHA-256 over names and contents
    pixels: GatheredImages | None = None  # of the images that can be read, in order, if they were kept


def survey(
    index: Index,
    size: tuple[int, int] | None,
    *,
    workers: int = 0,
    cache: bool = True,
    on_progress: Callable[[int, int], Any] | None = None,
    keep: int = 0,
) -> Findings:
    """Return the findings about all images, from the cache if it has them.

    Args:
        index: where to find the images.
        size: height and width to which central windows are resized; None keeps each image's own.
        workers: see `Reader`.
        cache: whether to read and write the cache.
        on_progress: called with (images seen, all images).
        keep: bytes; the pixels are kept if all images take at most that many as RGB.
    """
    path = cache_folder() / "surveys" / f"{_digest(os.fsencode(Path(index.root).resolve()), index.places)}.npz"
    fingerprint = _fingerprint(index, size)
    if cache and (known := restore(path, fingerprint, len(index.label))) is not None:
        return known
    found = _pass(index, size, workers, on_progress, keep)
    if cache:
        store(path, fingerprint, found)
    return found


def _pass(index: Index, size: tuple[int, int] | None, workers: int, on_progress: Any, keep: int) -> Findings:
    count, source, pieces = len(index.label), _Examined(index, size, keep), max(workers, 8)
    digest, problems, seen, columns, kept = hashlib.sha256(), {}, 0, [], _Kept()
    # pieces with pixels are larger than those without
    for found in Reader(source, workers=workers, ahead=4 if keep else 2 * pieces).read_all(len(source)):
        for i, content in enumerate(found["digest"]):
            digest.update(f"{name_of(index, seen + i)}\0".encode() + content.tobytes())
        problems |= {seen + i: text for i, text in zip(found["bad"].tolist(), found["problems"], strict=True)}
        columns.append([np.array(found[name]) for name in ("sums", "sizes", "colour", "frames")])
        kept.add(found["pixels"], len(found["digest"]) - len(found["problems"]))
        seen += len(found["digest"])
        if on_progress is not None:
            on_progress(seen, count)
    sums, sizes, colour, frames = map(np.concatenate, zip(*columns, strict=True))
    return Findings(sums, sizes, colour, frames, problems, digest.hexdigest(), kept.images)


class _Kept:
    """The pixels of all images, unless one of them was not kept or has another size."""

    def __init__(self) -> None:
        self.images: GatheredImages | None = None
        self._complete = True

    def add(self, images: Sequence[np.ndarray], wanted: int) -> None:
        """Add the next images, which should be ``wanted`` ones."""
        for image in images:
            if self.images is None:
                self.images = GatheredImages()
            self._complete = self._complete and self.images.fits(image)
            if self._complete:
                self.images.append(image)
        self._complete = self._complete and len(images) == wanted
        if not self._complete:
            self.images = None


class _Examined:
    """The findings about the images, piece by piece."""

    def __init__(self, index: Index, size: tuple[int, int] | None, keep: int) -> None:
        self.index, self.size, self.keep = index, size, keep

    def __len__(self) -> int:
        return -(-len(self.index.label) // PIECE)

    def __getitem__(self, position: int) -> dict[str, Any]:
        rows = range(position * PIECE, min((position + 1) * PIECE, len(self.index.label)))
        count, bad, problems, images = len(rows), [], [], []
        found = {
            "sums": np.zeros((count, 2, 3), np.int64),
            "sizes": np.zeros((count, 2), np.int32),
            "colour": np.zeros(count, bool),
            "frames": np.zeros(count, bool),
            "digest": np.zeros((count, 32), np.uint8),
        }
        for i, row in enumerate(rows):
            try:
                image = self._examine(row, {name: field[i : i + 1] for name, field in found.items()})
            except pixels.UnreadableImage as error:
                bad.append(i)
                problems.append(str(error))
                continue
            if 3 * len(self.index.label) * math.prod(image.shape[:2]) <= self.keep:
                images.append(image)
        return {**found, "bad": np.array(bad, np.int64), "problems": problems, "pixels": images}

    def _examine(self, row: int, found: dict[str, np.ndarray]) -> np.ndarray:
        """Fill in the findings about one image and return its pixels, resized."""
        contents, where = read(self.index, row), f"{self.index.root}: the image {name_of(self.index, row)}"
        found["digest"][:] = np.frombuffer(hashlib.sha256(contents).digest(), np.uint8)
        header = pixels.read_header(contents, where)
        image = pixels.decode(contents, where)
        height, width = image.shape[:2]
        found["sizes"][:], found["colour"][:], found["frames"][:] = (height, width), image.ndim == 3, header.has_frames
        if self.size is not None:
            image = cropping.central(image, self.size)
        wide = image.reshape(-1, 3 if image.ndim == 3 else 1).astype(np.int64)
        found["sums"][:] = np.stack([wide.sum(0), (wide * wide).sum(0)])
        return image


# ---------------------------------------------------------------- the cache


def _digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _fingerprint(index: Index, size: tuple[int, int] | None) -> str:
    """Identify the files by their names, sizes and times of modification."""
    if index.start is None:
        return _digest(_FORMAT, size, listing(Path(index.root)))
    states = [os.stat(Path(index.root, shard)) for shard in index.places]
    return _digest(_FORMAT, size, index.places, [(state.st_size, state.st_mtime_ns) for state in states])


def store(path: Path, fingerprint: str, found: Findings) -> None:
    """Keep the findings, whole or not at all; a failure is a RuntimeWarning."""
    meta = json.dumps({"fingerprint": fingerprint, "problems": list(found.problems.items()), "digest": found.digest})
    arrays: dict[str, Any] = {name: getattr(found, name) for name in ("sums", "sizes", "colour", "frames")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk.replacing(path, shared=True) as part, open(part, "wb") as file:
            np.savez(file, meta=np.array(meta), **arrays)
    except OSError as error:
        warnings.warn(f"findings about the images could not be kept in {path} ({error})", RuntimeWarning, stacklevel=4)


def restore(path: Path, fingerprint: str, count: int) -> Findings | None:
    """Return the findings in the cache; None if there are none about these files, or they are damaged."""
    try:
        arrays = disk.read_arrays(path, most=disk.check_regular(path))
        meta = json.loads(str(arrays["meta"]))
        if meta["fingerprint"] != fingerprint:
            return None
        problems = {int(row): str(text) for row, text in meta["problems"]}
        columns, digest = [arrays[name] for name in ("sums", "sizes", "colour", "frames")], str(meta["digest"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    shapes = [((count, 2, 3), np.int64), ((count, 2), np.int32), ((count,), bool), ((count,), bool)]
    fits = all(a.shape == shape and a.dtype == kind for a, (shape, kind) in zip(columns, shapes, strict=True))
    fits = fits and all(0 <= row < count for row in problems)
    sums, sizes, colour, frames = columns
    return Findings(sums, sizes, colour, frames, problems, digest) if fits else None
