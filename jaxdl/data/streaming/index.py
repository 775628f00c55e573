"""The place, part and class of every image of a folder, of a tar archive or of a folder of tar shards.

Only names are read here, and the headers of archives. An index keeps the bytes of the names and a few numbers per
image instead of Python objects, so that a million images take some 60 MB.

A folder or archive has the layouts of `data.load`. Archives in a folder that has image files as well are not read: they
count among its other files. Shards have these layouts too, or the one of WebDataset: a file `KEY.cls`
with a class number for every image `KEY.jpg`. The first of train, val, test (and their other spellings) in the name of
a shard is its part. The order is that of part, class and name, so it does not depend on the division into shards.
"""

import collections
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from jaxdl import disk
from jaxdl.data.reading import pixels
from jaxdl.data.reading.archives import ARCHIVES, TarMember, is_archive, is_packed, members, readable, walk
from jaxdl.data.reading.layout import PARTS, SPELLINGS, sort_entries, suffix_of

_KEY_LABEL: Final = ".cls"
_MOST_LABEL: Final = 20  # bytes of a class number


class Index(NamedTuple):
    """Where to find n images, in the order of the data set."""

    root: str  # the folder, or the one around an archive
    places: tuple[str, ...]  # folders or shards below the root
    place: np.ndarray  # int32 (n,): numbers of the places
    names: bytes  # of the files inside their places, as the file system has them, one after another
    ends: np.ndarray  # int64 (n,): where each name ends
    start: np.ndarray | None  # int64 (n,): first byte in the shard; None for folders
    size: np.ndarray | None  # int64 (n,): bytes in the shard
    label: np.ndarray  # int32 (n,)
    part: np.ndarray  # int8 (n,): numbers of `PARTS`
    classes: tuple[str, ...]


class Others(NamedTuple):
    """The files that are not images."""

    suffixes: Mapping[str, int]  # suffix -> number of files
    first: str  # name of one of them


def name_of(index: Index, row: int) -> str:
    """Return the path of an image inside the data set as text."""
    begin = int(index.ends[row - 1]) if row else 0
    place, name = index.places[index.place[row]], index.names[begin : int(index.ends[row])]
    return readable("/".join(one for one in (place, os.fsdecode(name)) if one))


def read(index: Index, row: int) -> bytes:
    """Return the bytes of an image file.

    Raises:
        UnreadableImage: naming the image, if its file is gone, cut off or no regular file.
    """
    begin = int(index.ends[row - 1]) if row else 0
    path = Path(index.root, index.places[index.place[row]])
    try:
        if index.start is None or index.size is None:
            return disk.read_regular(path / os.fsdecode(index.names[begin : int(index.ends[row])]))
        disk.check_regular(path)
        with open(path, "rb") as file:
            file.seek(int(index.start[row]))
            contents = file.read(int(index.size[row]))
    except (OSError, ValueError) as error:
        raise pixels.UnreadableImage(str(error)) from error
    if len(contents) < index.size[row]:
        raise pixels.UnreadableImage(f"{path}: the archive ends within {name_of(index, row)}")
    return contents


def keep(index: Index, rows: np.ndarray) -> Index:
    """Return the index of some rows, in ascending order; classes stay as they are."""
    ends, begins = index.ends, np.concatenate([[0], index.ends[:-1]])
    names = [index.names[begins[row] : ends[row]] for row in rows]
    lengths = np.fromiter(map(len, names), np.int64, len(names))
    start, size = (None if field is None else field[rows] for field in (index.start, index.size))
    return index._replace(
        place=index.place[rows],
        names=b"".join(names),
        ends=np.cumsum(lengths),
        start=start,
        size=size,
        label=index.label[rows],
        part=index.part[rows],
    )


def is_indexable(path: Path) -> bool:
    """Return whether the path is one that `find` can read: a folder with images or shards, or an archive."""
    if not path.is_dir():
        return path.exists() and is_archive(path)
    wanted = (*pixels.SUFFIXES, *ARCHIVES)
    return any(file is not None and name.lower().endswith(wanted) for name, file in walk(path))


def find(path: Path) -> tuple[Index, Others]:
    """Return the index of all images of a folder, an archive or a folder of shards, and the other files.

    Raises:
        ValueError: if there are no images, the layout is another one, an archive is compressed or damaged, or an image
            of a shard has no class.
        OSError: if a folder cannot be listed.
    """
    if not path.is_dir():
        return _of_shards(path.parent, [path.name], readable(str(path)), parts=False)
    shards = shards_in(path)
    return _of_shards(path, shards, readable(str(path)), parts=True) if shards else _of_folder(path)


def shards_in(folder: Path) -> list[str]:
    """Return the paths of the archives inside a folder, or none if it has image files, beside which they do not count.

    Raises:
        OSError: if a folder cannot be listed.
    """
    shards = []
    for name, file in walk(folder):
        if file is not None and name.lower().endswith(pixels.SUFFIXES):
            return []
        if file is not None and name.lower().endswith(ARCHIVES):
            shards.append(str(file.relative_to(folder)))
    return shards


class _Group(NamedTuple):
    """The images of one folder, or of one folder in all shards of a part."""

    names: list[str]  # of the files, as the file system has them
    place: list[int]
    start: list[int]
    size: list[int]


def _append(group: _Group, name: str, place: int, start: int, size: int) -> None:
    group.names.append(name)
    group.place.append(place)
    group.start.append(start)
    group.size.append(size)


def _of_folder(path: Path) -> tuple[Index, Others]:
    where, folders = readable(str(path)), []
    blobs: dict[str, bytearray] = collections.defaultdict(bytearray)  # folder -> names that end in a null character
    others, suffixes = _Kinds(), pixels.SUFFIXES
    real: dict[str, str] = {}
    for name, file in walk(path):
        folder = name.rpartition("/")[0]
        if file is None:
            folders.append(name)
        elif name.lower().endswith(suffixes):
            blobs[folder] += os.fsencode(file.name) + b"\0"
            real.setdefault(folder, str(file.parent.relative_to(path)))
        else:
            others.add(name)
    entries = _laid_out(where, blobs, folders, others)
    places = tuple(real[folder] for _, _, folder in entries)
    counts = [blobs[folder].count(b"\0") for _, _, folder in entries]
    blob = b"".join(blobs[folder] for _, _, folder in entries)
    marks = np.flatnonzero(np.frombuffer(blob, np.uint8) == 0)
    ends = marks - np.arange(len(marks))
    place = np.repeat(np.arange(len(places), dtype=np.int32), counts)
    index = Index(str(path), places, place, blob.replace(b"\0", b""), ends, None, None, *_labels(entries, counts))
    return index, others.found()


def _of_shards(root: Path, shards: Sequence[str], where: str, *, parts: bool) -> tuple[Index, Others]:
    groups: dict[str, _Group] = collections.defaultdict(lambda: _Group([], [], [], []))
    keys: dict[str, int] = {}  # part/KEY -> class number
    folders, others = [], _Kinds()
    named = parts and any(_part_of(shard) for shard in shards)
    for number, shard in enumerate(shards):
        _check_plain(root / shard)
        part = f"{_part_of(shard) or 'train'}/" if named else ""
        for member in members(root / shard):
            folder, _, name = (part + member.name).rpartition("/")
            if member.is_folder:
                folders.append(part + member.name)
            elif name.lower().endswith(pixels.SUFFIXES):
                _append(groups[folder], name, number, member.start, member.size)
            elif name.lower().endswith(_KEY_LABEL):
                keys[(part + member.name)[: -len(_KEY_LABEL)]] = _class_number(root / shard, member)
            else:
                others.add(part + member.name)
    if keys:
        groups, folders = _by_class(where, groups, keys), []
    entries = _laid_out(where, groups, folders, others)
    return _packed_index(root, shards, where, groups, entries), others.found()


def _packed_index(
    root: Path, shards: Sequence[str], where: str, groups: Mapping[str, _Group], entries: list[tuple[str, str, str]]
) -> Index:
    """Return the index of groups, each sorted by name."""
    columns: list[list[np.ndarray]] = [[], [], []]
    names, lengths = bytearray(), []
    for _, _, folder in entries:
        group = groups[folder]
        order = sorted(range(len(group.names)), key=group.names.__getitem__)
        for before, after in itertools.pairwise(order):
            if group.names[before] == group.names[after]:
                raise ValueError(f"{where}: {folder}/{group.names[after]} occurs twice")
        for column, values in zip(columns, (group.place, group.start, group.size), strict=True):
            column.append(np.asarray(values, np.int64)[order])
        for i in order:
            encoded = group.names[i].encode()
            names += encoded
            lengths.append(len(encoded))
    place, start, size = map(np.concatenate, columns)
    counts = [len(groups[folder].names) for _, _, folder in entries]
    place = place.astype(np.int32)
    return Index(
        str(root), tuple(shards), place, bytes(names), np.cumsum(lengths), start, size, *_labels(entries, counts)
    )


def _by_class(where: str, groups: Mapping[str, _Group], keys: Mapping[str, int]) -> dict[str, _Group]:
    """Return the groups by part and class number, from the classes of the keys."""
    width = len(str(max(keys.values())))
    found: dict[str, _Group] = collections.defaultdict(lambda: _Group([], [], [], []))
    for folder, group in groups.items():
        for name, *rest in zip(group.names, group.place, group.start, group.size, strict=True):
            path = f"{folder}/{name}" if folder else name
            key = path.rpartition(".")[0]
            if key not in keys:
                raise ValueError(f"{where}: the image {path} has no file {key}{_KEY_LABEL} with its class number")
            top, _, below = path.partition("/")
            part, inside = (top, below) if below and top in PARTS else ("train", path)
            _append(found[f"{part}/{keys[key]:0{width}d}"], inside, *rest)
    return found


def _class_number(shard: Path, member: TarMember) -> int:
    """Read the class number of a WebDataset's `.cls` member."""
    with open(shard, "rb") as file:
        file.seek(member.start)
        text = file.read(min(member.size, _MOST_LABEL)).decode("ascii", "replace").strip()
    if not (text.isascii() and text.isdecimal()) or int(text) >= 1 << 31:
        raise ValueError(f"{shard}: {member.name} holds {text!r}; expected a class number, counted from 0")
    return int(text)


def _check_plain(shard: Path) -> None:
    if is_packed(shard):
        raise ValueError(
            f"{shard}: is a compressed archive, which cannot be read at random; to stream it, unpack it into a .tar or "
            "a folder"
        )


def _part_of(shard: str) -> str | None:
    words = re.split(r"[-_./0-9]+", shard.lower())
    return next((SPELLINGS[word] for word in words if word in SPELLINGS), None)


class _Kinds:
    """Counts files that are not images, and keeps one name of each kind in each folder."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.names: dict[tuple[str, str], str] = {}

    def add(self, name: str) -> None:
        suffix = suffix_of(name)
        self.counts[suffix] += 1
        self.names.setdefault((name.rpartition("/")[0], suffix), name)

    def found(self) -> Others:
        return Others(dict(self.counts), next(iter(self.names.values()), ""))


def _laid_out(
    where: str, groups: Mapping[str, bytearray] | Mapping[str, _Group], folders: Sequence[str], others: _Kinds
) -> list[tuple[str, str, str]]:
    """Return (part, class, folder) of each group in the order of the data set; the layout depends on folders only."""
    if not groups:
        there = f"; there are other files ({_counted(others.counts)})" if others.counts else ""
        raise ValueError(f"{where}: no images; looked for {', '.join(pixels.SUFFIXES)}{there}")
    one_each = [f"{folder}/{_first(group)}" if folder else _first(group) for folder, group in groups.items()]
    entries = sort_entries(where, one_each, folders, list(others.names.values()))
    return [(entry.part, entry.label, entry.name.rpartition("/")[0]) for entry in entries]


def _first(group: bytearray | _Group) -> str:
    """Return the name of an image of a group."""
    return group.names[0] if isinstance(group, _Group) else readable(os.fsdecode(bytes(group).partition(b"\0")[0]))


def _counted(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{count} {end}" for end, count in counts.most_common(10))


def _labels(
    entries: Sequence[tuple[str, str, str]], counts: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the fields label, part and classes."""
    classes = sorted({label for _, label, _ in entries})
    number = {label: i for i, label in enumerate(classes)}
    label = np.repeat(np.array([number[label] for _, label, _ in entries], np.int32), counts)
    return label, np.repeat(np.array([PARTS.index(part) for part, _, _ in entries], np.int8), counts), tuple(classes)
