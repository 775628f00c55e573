"""Tell the part and class of an image from its folders.

There are two layouts, `CLASS/IMAGE` and `PART/CLASS/IMAGE`, each of which may be inside further folders. The parts are
train, dev (also called val, valid or validation) and test, in upper or lower case. Classes are sorted by name, and
images by class and name, so that a folder and its archive give the same data set.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

from jaxdl.data.reading.archives import composed

PARTS = ("train", "dev", "test")
SPELLINGS = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}
_LAYOUT = "the layout is CLASS/IMAGE, or train|val|test/CLASS/IMAGE"


class Entry(NamedTuple):
    """One image of a data set."""

    part: str  # one of PARTS
    label: str  # the class folder's name
    name: str  # path inside the folder or archive


def sort_entries(where: str, names: Sequence[str], folders: Sequence[str], others: Sequence[str] = ()) -> list[Entry]:
    """Return the images in the order of the data set.

    Args:
        where: the folder's or archive's name in messages.
        names: paths of the images, relative to the top.
        folders: paths of all folders, which reveal empty classes.
        others: paths of files that are not images, to tell why a class is empty.

    Raises:
        ValueError: for an image in another place, an empty class, two folders for one part, or classes that differ
            between the parts.
    """
    top = _wrapping(names)
    tails = [name.split("/")[top:] for name in names]
    split = all(tail[0].lower() in SPELLINGS for tail in tails)
    depth = 3 if split else 2
    for name, tail in zip(names, tails, strict=True):
        if len(tail) != depth:
            table = "; by a table of classes, docs/data.md sorts images into folders" if len(tail) < 2 else ""
            raise ValueError(
                f"{where}: {name} is not at {'train|val|test/CLASS/IMAGE' if split else 'CLASS/IMAGE'}; {_LAYOUT}, and "
                f"the top folders are {', '.join(sorted({tail[0] for tail in tails})[:10])}{table}"
            )
    if split:
        _check_parts(where, {tail[0] for tail in tails})
    pairs = zip(names, tails, strict=True)
    entries = [
        Entry(SPELLINGS[tail[0].lower()] if split else "train", composed(tail[-2]), name) for name, tail in pairs
    ]
    _check_classes(where, entries, [folder.split("/")[top:] for folder in folders], split, others)
    return sorted(entries, key=lambda entry: (PARTS.index(entry.part), entry.label, entry.name))


def _wrapping(names: Sequence[str]) -> int:
    """Return the number of folders around the whole data set."""
    parts = [name.split("/") for name in names]
    top = 0
    while (
        min(map(len, parts)) - top > 2
        and parts[0][top].lower() not in SPELLINGS
        and len({part[top] for part in parts}) == 1
    ):
        top += 1
    return top


def _check_parts(where: str, tops: set[str]) -> None:
    spelled = collections.defaultdict(list)
    for top in sorted(tops):
        spelled[SPELLINGS[top.lower()]].append(top)
    for part, found in spelled.items():
        if len(found) > 1:
            raise ValueError(f"{where}: the folders {', '.join(found)} are one part, {part}; keep one of them")
    if "train" not in spelled:
        raise ValueError(f"{where}: there are images in a folder {min(tops)}, but none in a folder train")


def _check_classes(
    where: str, entries: list[Entry], folders: list[list[str]], split: bool, others: Sequence[str]
) -> None:
    found = {(entry.part, entry.label) for entry in entries}
    for tail in folders:
        part, label = (SPELLINGS.get(tail[0].lower()), tail[1:]) if split and tail else ("train", tail)
        if len(label) == 1 and part is not None and (part, composed(label[0])) not in found:
            inside = [name for name in others if f"/{'/'.join(tail)}/" in f"/{name}"]
            ends = ", ".join(sorted({suffix_of(name) for name in inside}))
            but = f", but files that end in {ends}" if inside else ""
            raise ValueError(f"{where}: the class folder {'/'.join(tail)} has no images{but}")
    labels = {part: {label for which, label in found if which == part} for part in PARTS}
    for part in ("dev", "test"):
        if labels[part] and labels[part] != labels["train"]:
            pairs = ((labels["train"], labels[part]), (labels[part], labels["train"]))
            only_train, only_part = (", ".join(sorted(a - b)) or "none" for a, b in pairs)
            raise ValueError(
                f"{where}: train and {part} have different classes; only in train: {only_train}; only in {part}: "
                f"{only_part}"
            )


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, or "(no suffix)"."""
    last = name.rpartition("/")[2]
    return f".{last.rpartition('.')[2].lower()}" if "." in last else "(no suffix)"
