"""`--targets FILE`: images with several labels, or with numbers to predict, from a CSV table beside a folder.

The first column, image, holds paths inside the folder of ``--dataset``; each further column is a target of that name::

    image,cat,dog            image,age,height
    a/1.jpg,1,0              a/1.jpg,31,1.74
    a/2.jpg,1,1              a/2.jpg,8,1.21

Labels are 0 or 1, for ``--loss sigmoid_binary_cross_entropy``; numbers are any, for ``--loss squared_error`` and such.
If all images are in folders train, val (or dev, valid, validation) and test, these are the parts.
"""

import collections
import csv
import io
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np

from jaxdl import data, disk
from jaxdl.data.reading import pixels
from jaxdl.data.reading.archives import readable
from jaxdl.data.reading.layout import SPELLINGS
from jaxdl.data.streaming import cropping
from jaxdl.texts import shortened

FIRST: Final = "image"
MOST_TARGETS: Final = 10_000
LARGE: Final = 30  # of a target's root mean square: a step moves an output by about the learning rate
APART: Final = 10  # of standard deviations: the squares in a loss differ a hundredfold
MOST_DECODED: Final = 16 << 30  # bytes of all images, as of a folder of classes


class TargetTable(NamedTuple):
    """The contents of the file."""

    paths: list[str]
    names: tuple[str, ...]  # of the targets
    values: np.ndarray  # float32 (n, targets)


def read_table(path: Path) -> TargetTable:
    """Read and check the file.

    Raises:
        ValueError: naming the file and the line, if a cell is no finite number, a path leads out of the folder or
            occurs twice, or the header is another one.
    """
    where = f"targets={readable(str(path))!r}"
    try:
        text = disk.read_regular(path).decode("utf-8-sig")
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where}: is no table in UTF-8 ({error})") from error
    except ValueError as error:
        why = str(error) if str(path) in str(error) else "it is empty"
        raise ValueError(f"{where}: {why}") from error
    names = tuple(name.strip() for name in header[1:])
    if not header or header[0].strip() != FIRST or not names or len({*names}) < len(names) or "" in names:
        wanted = f"{FIRST}, and one name or more, each only once"
        commas = "; commas separate columns" if len(header) == 1 else ""
        raise ValueError(
            f"{where}: its first line must name the columns {wanted}; it is {', '.join(header)[:200]}{commas}"
        )
    if len(names) > MOST_TARGETS:
        raise ValueError(f"{where}: has {len(names):,} targets; at most {MOST_TARGETS:,} are read")
    numbered = [(number, line) for number, line in enumerate(lines, 2) if line]
    rows = [_row(f"{where}: line {number}", line, len(header)) for number, line in numbered]
    paths = [name for name, _ in rows]
    if not rows:
        raise ValueError(f"{where}: has no line below its first one")
    if len({*paths}) < len(paths):
        twice = next(name for name, count in collections.Counter(paths).items() if count > 1)
        raise ValueError(f"{where}: the image {twice} occurs twice")
    return TargetTable(paths, names, np.array([values for _, values in rows], np.float32))


def _row(where: str, line: list[str], columns: int) -> tuple[str, list[float]]:
    if len(line) != columns:
        raise ValueError(f"{where} has {len(line)} cells; the first line has {columns}")
    path = PurePosixPath(line[0].strip())
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"{where}: {line[0]!r} is no path inside the folder of --dataset")
    values = []
    for cell in line[1:]:
        hint = ""
        try:
            value = float(cell) if cell.isascii() and "_" not in cell else math.nan  # Python reads more than CSV has
        except ValueError:
            value = math.nan
            named = "; by names of classes docs/data.md sorts images into folders, which need no --targets"
            hint = named if any(map(str.isalpha, cell)) else ""
        if not abs(value) < 3e38:  # beyond float32, or NaN
            raise ValueError(f"{where}: {shortened(cell)} is no finite number{hint}")
        values.append(value)
    return str(path), values


def load(
    folder: Path, table: Path, size: int | None, *, made_for: int | None = None, skip_unreadable: bool = False
) -> tuple[data.Dataset, tuple[str, ...]]:
    """Read the table and its images, and return them as a data set without classes, and the names of the targets.

    Args:
        folder: the folder of the images.
        table: the CSV file.
        size: height and width to resize central squares to; None leaves images of one size as they are.
        made_for: the size for images of several sizes, if none was given; None refuses them.
        skip_unreadable: whether to leave out images that cannot be read; one that is missing is an error all the same.

    Raises:
        ValueError: see `read_table`; also naming an image that is missing, of another size, or unreadable and not to
            be skipped.

    Warns:
        RuntimeWarning: once for images that are left out and once for those of which the first frame counts, with the
            number of them.
    """
    if not folder.is_dir():
        raise ValueError(f"dataset={str(folder)!r} is no folder; with --targets it must be the folder of the images")
    found, where, problems = read_table(table), readable(str(folder)), {}
    files = {name: disk.read_regular(folder / name) for name in found.paths}
    headers = _each(files, lambda name: pixels.read_header(files[name], f"{where}: the image {name}"), problems)
    _check_unreadable(problems, len(files), skip_unreadable)
    if size is None and len({one.size for one in headers.values()}) > 1:
        size = made_for
    shape = _shape(folder, headers, size)
    images = np.empty((len(files), *shape), np.uint8)
    row = {name: i for i, name in enumerate(files)}
    decode = lambda name: _decode(files[name], f"{where}: the image {name}", images[row[name]], size)
    decoded = _each(headers, decode, problems)
    _check_unreadable(problems, len(files), skip_unreadable)
    _say_left_out(where, problems, len(files), [name for name in decoded if headers[name].has_frames])
    values = found.values
    if problems:
        keep = [name in decoded for name in found.paths]
        images, values = images[keep], values[keep]
    dataset = _dataset(readable(folder.resolve().name), images, values, _parts(where, [*decoded]))
    changed = any(headers[name].size != (size, size) for name in decoded)
    note = pixels.caveats(decoded, unreadable=len(problems), resized=size if changed else None)
    return dataset._replace(note=note), found.names


def warn_of_scales(names: Sequence[str], values: np.ndarray) -> None:
    """Warn of numbers whose sizes hinder training: one mean of losses, and outputs that begin near 0, serve them all.

    Args:
        names: the targets.
        values: those of the training part, (n, targets).

    Warns:
        RuntimeWarning: if a root mean square is above `LARGE`, or standard deviations differ by more than `APART`.
    """
    spread, size = np.std(values, 0, np.float64), np.sqrt(np.square(values, dtype=np.float64).mean(0))
    moving = np.flatnonzero(spread)
    advice = "divide or standardise the columns, so that each is about 1 (docs/data.md)"
    largest = int(np.argmax(size))
    if size[largest] > LARGE:
        said = f"the target {names[largest]} has values of about {size[largest]:.2g}, and outputs begin near 0"
        warnings.warn(f"{said}: {advice}", RuntimeWarning, stacklevel=2)
    elif len(moving):
        most, least = (int(moving[find(spread[moving])]) for find in (np.argmax, np.argmin))
        if spread[most] > APART * spread[least]:
            said = f"standard deviations of targets go from {spread[least]:.2g} ({names[least]}) to "
            said += f"{spread[most]:.2g} ({names[most]}), whose error decides the loss"
            warnings.warn(f"{said}: {advice}", RuntimeWarning, stacklevel=2)


def _each(names: Iterable[str], read: Callable[[str], Any], problems: dict[str, str]) -> dict[str, Any]:
    """Return what is read of each image that can be read, and add the messages of the others to the problems."""
    found = {}
    for name in names:
        try:
            found[name] = read(name)
        except pixels.UnreadableImage as error:
            problems[name] = str(error)
    return found


def _check_unreadable(problems: Mapping[str, str], count: int, skip: bool) -> None:
    """Raise ValueError if images cannot be read and are not to be skipped, or if no others are left."""
    if not problems or (skip and len(problems) < count):
        return
    more = len(problems) - 1
    rest = f"; {more} more of {count} image files cannot be read either" if more else ""
    advice = "" if skip else "; --skip-unreadable leaves such files out"
    raise ValueError(f"{next(iter(problems.values()))}{rest}{advice}")


def _shape(folder: Path, headers: Mapping[str, pixels.Header], size: int | None) -> tuple[int, int, int]:
    """Return height, width and channels of the decoded images, if they have one size and fit into memory."""
    first, (width, height) = next((name, one.size) for name, one in headers.items())
    for name, one in headers.items():
        if size is None and one.size != (width, height):
            raise ValueError(
                f"{folder}: {name} is {one.size[0]} x {one.size[1]} pixels, but {first} is {width} x "
                f"{height}; --image-size N resizes all images to N x N"
            )
    channels = 3 if any(one.mode == "RGB" for one in headers.values()) else 1
    shape = (*((size, size) if size else (height, width)), channels)
    if (total := len(headers) * math.prod(shape)) > MOST_DECODED:
        raise ValueError(f"{folder}: its images take {total:,} bytes; at most {MOST_DECODED:,} are kept")
    return shape


def _decode(contents: bytes, where: str, into: np.ndarray, size: int | None) -> None:
    one = pixels.decode(contents, where, "L" if into.shape[-1] == 1 else "RGB")
    if size is not None:
        one = cropping.central(one, (size, size))
    if one.shape[:2] != into.shape[:2]:
        raise pixels.UnreadableImage(f"{where} has {one.shape[1]} x {one.shape[0]} pixels, unlike its header")
    into[:] = one.reshape(into.shape)


def _say_left_out(where: str, problems: Mapping[str, str], count: int, several: Sequence[str]) -> None:
    said = []
    if problems:
        said.append(f"{len(problems)} of {count} image files were skipped; the first: {next(iter(problems.values()))}")
    if several:
        said.append(f"{len(several)} files have several frames, of which the first counts: {several[0]}")
    for one in said:
        warnings.warn(f"{where}: {one}", RuntimeWarning, stacklevel=3)


def _dataset(name: str, images: np.ndarray, values: np.ndarray, parts: np.ndarray) -> data.Dataset:
    given: dict[str, Any] = {}
    for part in ("test", "dev"):
        if (there := parts == part).any():
            given |= {f"{part}_images": images[there], f"{part}_labels": values[there]}
    train = parts == "train"
    return data.from_arrays(images[train], values[train], **given, classes=(), name=name)


def _parts(where: str, paths: Sequence[str]) -> np.ndarray:
    """Return each image's part: of the folder train, val or test that it is in, or train if not all are in one."""
    tops = [PurePosixPath(path).parts[0].lower() if "/" in path else "" for path in paths]
    spelled = sorted({*tops} & SPELLINGS.keys())
    if not {*tops} <= SPELLINGS.keys():
        if len(spelled) > 1:
            other = next(path for path, top in zip(paths, tops, strict=True) if top not in SPELLINGS)
            said = f"the folders {', '.join(spelled)} are not kept apart, because {other} is in none of them"
            warnings.warn(f"{where}: {said}; the parts are drawn at random", RuntimeWarning, stacklevel=3)
        return np.full(len(paths), "train")
    parts = np.array([SPELLINGS[top] for top in tops])
    if not (parts == "train").any():
        raise ValueError(f"{where}: the table has images in {', '.join(spelled)}, and none in train")
    return parts
