"""Tell the part and class of an image from its folders.

There are two layouts, `CLASS/IMAGE` and `train/CLASS/IMAGE` beside `test/CLASS/IMAGE`, each of which may be inside
further folders. Classes are sorted by name, and images by class and name, so that a folder and its archive give the
same data set.
"""

from typing import NamedTuple

PARTS = ("train", "test")


class Entry(NamedTuple):
    """One image of a data set."""

    part: str  # "train" or "test"
    label: str  # the class folder's name
    name: str  # path inside the folder or archive


def sort_entries(where: str, names: list[str], folders: list[str]) -> list[Entry]:
    """Return the images in the order of the data set.

    Args:
        where: the folder's or archive's name in messages.
        names: paths of the images, relative to the top.
        folders: paths of all folders, which reveal empty classes.

    Raises:
        ValueError: for an image in another place, an empty class, or classes that differ between train and test.
    """
    top = _wrapping(names)
    tails = [name.split("/")[top:] for name in names]
    split = all(tail[0] in PARTS for tail in tails)
    depth = 3 if split else 2
    for name, tail in zip(names, tails, strict=True):
        if len(tail) != depth:
            raise ValueError(
                f"{where}: {name} is not at {'train|test/CLASS/IMAGE' if split else 'CLASS/IMAGE'}; the "
                f"layout is CLASS/IMAGE or train|test/CLASS/IMAGE, and the top folders are "
                f"{', '.join(sorted({tail[0] for tail in tails})[:10])}"
            )
    pairs = zip(names, tails, strict=True)
    entries = [Entry(tail[0] if split else "train", tail[-2], name) for name, tail in pairs]
    _check_classes(where, entries, [folder.split("/")[top:] for folder in folders], split)
    return sorted(entries, key=lambda entry: (PARTS.index(entry.part), entry.label, entry.name))


def _wrapping(names: list[str]) -> int:
    """Return the number of folders around the whole data set."""
    parts = [name.split("/") for name in names]
    top = 0
    while min(map(len, parts)) - top > 2 and parts[0][top] not in PARTS and len({p[top] for p in parts}) == 1:
        top += 1
    return top


def _check_classes(where: str, entries: list[Entry], folders: list[list[str]], split: bool) -> None:
    found = {(entry.part, entry.label) for entry in entries}
    for tail in folders:
        part, label = (tail[0], tail[1:]) if split and tail else ("train", tail)
        if len(label) == 1 and part in PARTS and (part, label[0]) not in found:
            raise ValueError(f"{where}: the class folder {'/'.join(tail)} has no images")
    train, test = ({label for part, label in found if part == which} for which in PARTS)
    if not train:
        raise ValueError(f"{where}: there are images in a folder test, but none in a folder train")
    if test and test != train:
        only_train, only_test = (", ".join(sorted(x)) or "none" for x in (train - test, test - train))
        raise ValueError(
            f"{where}: train and test have different classes; only in train: {only_train}; only in test: {only_test}"
        )
