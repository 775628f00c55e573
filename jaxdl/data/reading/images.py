"""Read folders and tar archives with one folder of images per class; see `layout` for the layouts.

Every file is read once: its header is checked, and its pixels are gathered in the order of reading and put in that of
the data set at the end (see `gathering`). Decoded images are kept in the user's cache, so that the second load takes
only as long as reading an array.
"""

import collections
import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from jaxdl.data.dataset import Dataset, checked
from jaxdl.data.reading import decoded, pixels
from jaxdl.data.reading.archives import ARCHIVES, ArchiveEntry, file_digest, listing, readable, survey
from jaxdl.data.reading.fetching import cache_folder
from jaxdl.data.reading.gathering import GatheredImages
from jaxdl.data.reading.layout import Entry, sort_entries, suffix_of

MOST_DECODED: Final = 16 << 30  # bytes of all images of a data set, decoded


class SizesDiffer(ValueError):
    """The images have several sizes.

    Attributes:
        sizes: heights and widths of two images.
    """

    def __init__(self, message: str, sizes: set[tuple[int, int]]) -> None:
        super().__init__(message)
        self.sizes = sizes


class _Survey(NamedTuple):
    """The findings of the pass over the files, and their pixels."""

    names: list[str]  # of the images
    folders: list[str]
    others: list[str]  # files that are not images by their suffix
    unreadable: list[str]  # messages, each of which names a file
    animated: list[str]  # images of which only the first frame counts
    size: tuple[int, int]  # width and height of every image, pixels
    mode: str  # "L" or "RGB"
    digest: str  # SHA-256 over names and contents
    decoded: list[str]  # names of the images that were decoded, as they are gathered
    damaged: dict[str, str]  # name -> message of each image whose header can be read and whose pixels cannot
    images: GatheredImages  # without any where none are needed, because an error will be raised


def load_images(path: Path, *, skip_unreadable: bool = False) -> Dataset:
    """Load a folder or tar archive with one folder of images per class; all images must have one size.

    If any image has colours, all become RGB. Transparency is dropped, the EXIF orientation is applied, and 16 bits
    become 8; see `pixels`.

    Args:
        path: the folder or archive.
        skip_unreadable: whether to leave out image files that cannot be read.

    Raises:
        ValueError: for another layout, an empty class, classes that differ between the parts, images of two sizes or
            of more than `MOST_DECODED` bytes together, and files that cannot be read unless they are skipped; the
            message names the first of them and how many more there are.
        ImportError: if Pillow is not installed.

    Warns:
        RuntimeWarning: once for each kind of file or frame that is left out, with the number of them.
    """
    fingerprint = (file_digest(path) if path.is_file() else listing(path)) + ("-skipping" if skip_unreadable else "")
    key = fingerprint if path.is_file() else hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    cache = cache_folder() / "decoded" / f"{key}.npz"
    found = decoded.restore(cache, fingerprint)
    if found is None:
        found = _decode_all(path, skip_unreadable=skip_unreadable)
        decoded.store(cache, fingerprint, *found)
    dataset, left_out = found
    for one in left_out:
        warnings.warn(f"{readable(str(path))}: {one}", RuntimeWarning, stacklevel=2)
    name = _name(path)
    # an archive may have been renamed since its images were cached
    sums = {readable(path.name): fingerprint.partition("-")[0]} if path.is_file() else dataset.checksums
    return dataset._replace(name=name, checksums=sums)


def _name(path: Path) -> str:
    """Return the name of the folder, or of the archive without its suffix."""
    name = readable(path.resolve().name)
    return next((name[: -len(end)] for end in ARCHIVES if path.is_file() and name.lower().endswith(end)), name)


def _decode_all(path: Path, *, skip_unreadable: bool) -> tuple[Dataset, list[str]]:
    """Return the data set, and a sentence for each kind of thing that it leaves out."""
    where, found = readable(str(path)), _survey(path, skip_unreadable)
    _check_unreadable(found, skip_unreadable)
    entries = sort_entries(where, found.names, found.folders, found.others)
    _check_total(where, found)
    if found.damaged:
        kept = [name for name in found.names if name not in found.damaged]
        found = found._replace(names=kept, unreadable=[*found.unreadable, *found.damaged.values()])
        _check_unreadable(found, skip_unreadable)
        # the layout again, because a class may have lost its last image
        entries = sort_entries(where, kept, found.folders, found.others)
    number = {name: i for i, name in enumerate(found.decoded)}
    images = found.images.ordered(np.array([number[entry.name] for entry in entries]))
    return _assemble(path, entries, images, found), _left_out(found)


def _check_unreadable(found: _Survey, skip: bool) -> None:
    """Raise ValueError if files cannot be read and are not to be skipped, or if no others are left."""
    if not found.unreadable or (skip and len(found.names) > 0):
        return
    more, total = len(found.unreadable) - 1, len(found.names) + len(found.unreadable)
    rest = f"; {more} more of {total} image files cannot be read either" if more else ""
    advice = "" if skip else "; skip_unreadable=True (--skip-unreadable) leaves such files out"
    raise ValueError(f"{found.unreadable[0]}{rest}{advice}")


def _total(found: _Survey) -> int:
    """Return the bytes of all images whose headers can be read, once they are decoded."""
    return len(found.names) * math.prod(found.size) * (1 if found.mode == "L" else 3)


def _check_total(where: str, found: _Survey) -> None:
    if _total(found) > MOST_DECODED:
        raise ValueError(
            f"{where}: {len(found.names)} images of {found.size[0]} x {found.size[1]} pixels take {_total(found):,} "
            f"bytes; at most {MOST_DECODED:,} are kept in memory"
        )


def _assemble(path: Path, entries: Sequence[Entry], images: np.ndarray, found: _Survey) -> Dataset:
    classes = sorted({entry.label for entry in entries})
    number = {label: i for i, label in enumerate(classes)}
    labels = np.array([number[entry.label] for entry in entries], np.int32)
    counts = collections.Counter(entry.part for entry in entries)
    train, dev = counts["train"], counts["train"] + counts["dev"]
    return checked(
        Dataset(
            _name(path),
            images[:train],
            labels[:train],
            *((images[dev:], labels[dev:]) if dev < len(entries) else (None, None)),
            tuple(classes),
            255.0,
            {_name(path): found.digest},
            pixels.caveats((entry.name for entry in entries), unreadable=len(found.unreadable)),
            *((images[train:dev], labels[train:dev]) if train < dev else (None, None)),
        ),
        where=readable(str(path)),
    )


def _left_out(found: _Survey) -> list[str]:
    """Return a sentence for each kind of thing that the data set leaves out."""
    beside = {name.rpartition("/")[0] for name in found.names}
    others = [name for name in found.others if name.rpartition("/")[0] in beside]
    said = []
    if others:
        said.append(
            f"{len(others)} files beside the images were skipped ({_counted(others)}), the first is {others[0]}; "
            f"images end in {', '.join(pixels.SUFFIXES)}"
        )
    if found.animated:
        said.append(f"{len(found.animated)} files have several frames, of which the first counts: {found.animated[0]}")
    if found.unreadable:
        total = len(found.names) + len(found.unreadable)
        said.append(f"{len(found.unreadable)} of {total} image files were skipped; the first: {found.unreadable[0]}")
    return said


def _counted(names: Sequence[str]) -> str:
    """Return how many of the files have each suffix."""
    ends = collections.Counter(map(suffix_of, names))
    return ", ".join(f"{count} {end}" for end, count in ends.most_common(10))


def _survey(path: Path, skip_unreadable: bool) -> _Survey:
    """Return names, folders, common size and mode of all images, and their pixels."""
    found = _Survey([], [], [], [], [], (0, 0), "L", "", [], {}, GatheredImages())
    digest = hashlib.sha256()
    for each in survey(path, pixels.SUFFIXES):
        match each.kind:
            case "folder":
                found.folders.append(each.name)
            case "other":
                found.others.append(each.name)
            case "unreadable":
                found.unreadable.append(f"{_where(path, each.name)} {each.problem}")
            case "file":
                digest.update(f"{each.name}\0{len(each.contents)}\0".encode() + each.contents)
                found = _with_image(path, found, each, skip_unreadable)
    if not found.names and not found.unreadable:
        there = f"; there are {len(found.others)} other files ({_counted(found.others)})" if found.others else ""
        raise ValueError(f"{readable(str(path))}: no images; looked for {', '.join(pixels.SUFFIXES)}{there}")
    if len(set(found.names)) != len(found.names):
        twice = next(name for name, count in collections.Counter(found.names).items() if count > 1)
        raise ValueError(f"{readable(str(path))}: {twice} occurs twice")
    return found._replace(digest=digest.hexdigest())


def _with_image(path: Path, found: _Survey, entry: ArchiveEntry, skip_unreadable: bool) -> _Survey:
    """Return the findings with one more image file."""
    name, where = entry.name, _where(path, entry.name)
    try:
        header = pixels.read_header(entry.contents, where)
    except pixels.UnreadableImage as error:
        found.unreadable.append(str(error))
        return found
    if found.names and header.size != found.size:
        raise SizesDiffer(
            f"{readable(str(path))}: {name} is {header.size[0]} x {header.size[1]} pixels, but {found.names[0]} is "
            f"{found.size[0]} x {found.size[1]}; all images must have one size, to which "
            "jaxdl.data.streaming.open_images(path, size=N) brings them",
            {(height, width) for width, height in (header.size, found.size)},
        )
    found.names.append(name)
    if header.has_frames:
        found.animated.append(name)
    found = found._replace(size=header.size, mode="RGB" if "RGB" in (found.mode, header.mode) else "L")
    # an error will be raised, and its message needs the other headers alone
    if (found.unreadable and not skip_unreadable) or _total(found) > MOST_DECODED:
        return found._replace(images=GatheredImages())
    _decode(found, entry, where, header)
    return found


def _decode(found: _Survey, entry: ArchiveEntry, where: str, header: pixels.Header) -> None:
    """Add the pixels of a file, or the message about them, to the findings."""
    if header.mode == "RGB":
        found.images.to_colour()
    try:
        one = pixels.decode(entry.contents, where)
    except pixels.UnreadableImage as error:
        found.damaged[entry.name] = str(error)
        return
    if one.shape[1::-1] != header.size:
        found.damaged[entry.name] = f"{where} has {one.shape[1]} x {one.shape[0]} pixels, unlike its header"
        return
    found.images.append(one)
    found.decoded.append(entry.name)


def _where(path: Path, name: str) -> str:
    return f"{readable(str(path))}: the image {name}"
