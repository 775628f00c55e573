"""Stratified, seeded splits into training, development and test examples. [Lecture row G9]"""

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.data.dataset import Dataset, is_classes


class Examples(NamedTuple):
    """Images, or features, with their labels.

    A network of several inputs takes a tuple or a dict of arrays in place of the images, such as sequences
    ``(N, time)`` with their lengths ``(N,)``, and a loss of several targets takes such labels; `batches`,
    `eval_batches` and training steps serve them.
    """

    images: Any  # uint8 or float32 (N, H, W, C), or float32 (N, features); or a `streaming.StreamedImages`
    labels: Any  # int32 (N,); of real targets float32 (N,) or (N, targets)


class Splits(NamedTuple):
    """The three parts: fit on `train`, choose on `dev`, report on `test`."""

    train: Examples
    dev: Examples
    test: Examples


def split(dataset: Dataset, *, seed: int, dev_fraction: float | int, test_fraction: float | None = None) -> Splits:
    """Split a data set so that every part has the classes in the proportions of the whole.

    A part has each class's share rounded up or down, and its total is the rounded share of all examples. The largest
    remainders are rounded up, and the seed breaks ties. Every class keeps its last training example. Real targets have
    no classes, so their parts are drawn from all examples.

    The parts are a function of the labels, the fractions and the seed alone; examples keep their order.

    Args:
        dataset: the data set. If it has a test set, that is the test part and is never mixed with the rest; and so for
            a development set.
        seed: determines the parts, a non-negative integer.
        dev_fraction: share of the examples that are not test examples, in [0, 1); 0 leaves the development set empty.
            It is not used if the data set has its own development set.
        test_fraction: share of all examples, in (0, 1), for a data set without a test set; None stands for 0.2.

    Raises:
        ValueError: if a fraction is out of range, a part would be empty, a class would lose its last training example,
            or a test fraction is given for a data set with its own test set.

    Warns:
        RuntimeWarning: if classes have no example in a part; it names them.

    Examples:
        >>> own = data.from_arrays(np.zeros((10, 4)), np.arange(10) % 2)
        >>> parts = data.split(own, seed=0, dev_fraction=0.25, test_fraction=0.2)
        >>> [len(part.labels) for part in (parts.train, parts.dev, parts.test)]
        [6, 2, 2]

    [Lecture row G9]
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"dataset is a {type(dataset).__name__}; expected a data.Dataset, as data.load and data.from_arrays give"
        )
    check_whole("seed", seed)
    rest = Examples(dataset.images, dataset.labels)
    if dataset.test_images is not None and dataset.test_labels is not None:
        if test_fraction is not None:
            raise ValueError(
                f"test_fraction is {test_fraction}, but {dataset.name} has its own test set; leave it None"
            )
        test = Examples(dataset.test_images, dataset.test_labels)
    else:
        share = 0.2 if test_fraction is None else test_fraction
        rest, test = _divide(rest, share, seed, dataset, "test")
    if dataset.dev_images is not None and dataset.dev_labels is not None:
        train, dev = rest, Examples(dataset.dev_images, dataset.dev_labels)
    elif isinstance(dev_fraction, Real) and not isinstance(dev_fraction, bool) and dev_fraction == 0:
        train, dev = rest, _take(rest, np.zeros(len(rest.labels), bool))
    else:
        train, dev = _divide(rest, dev_fraction, seed, dataset, "dev")
    parts = Splits(train, dev, test)
    if dataset.classes:
        _check_classes(parts, dataset)
    return parts


def k_fold(labels: Any, folds: int, *, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide examples into folds for cross-validation: each fold is the development part once.

    Classes are spread evenly: the numbers of a class, and of examples, in two folds differ by one at most. Real targets
    have no classes and are dealt in random order.

    Args:
        labels: class numbers (integers), or real targets, of n examples.
        folds: number of folds k, from 2 to n.
        seed: determines the folds, a non-negative integer.

    Returns:
        Row numbers (training part, development part) of each fold, both ascending.

    Raises:
        ValueError: if ``folds`` or ``seed`` is out of range, and for labels that are no array over examples.

    Examples:
        >>> [development.size for training, development in data.k_fold(np.array([0, 0, 0, 1, 1, 1]), 3, seed=0)]
        [2, 2, 2]

    [Lecture row G9]
    """
    labels = np.asarray(labels)
    if not labels.ndim or labels.dtype.kind not in "biuf":
        raise ValueError(f"labels has shape {labels.shape} and dtype {labels.dtype}; expected numbers, one per example")
    check_whole("seed", seed)
    check_whole("folds", folds, 2)
    if folds > len(labels):
        raise ValueError(f"folds is {folds}; there are {len(labels)} examples, so it must be at most that")
    classes = labels if is_classes(labels) else np.zeros(len(labels), np.int32)
    order = permutation(_stream(seed, _PURPOSES["fold"]), len(labels))
    order = order[np.argsort(classes[order], kind="stable")]
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(folds)]


def permutation(bits: np.random.BitGenerator, count: int) -> np.ndarray:
    """Return a random order of `count` items that depends on the bit generator's raw stream alone.

    numpy guarantees raw streams across versions but not `Generator.permutation`, and a data order must survive an
    upgrade between a run and its resumption.
    """
    return np.argsort(bits.random_raw(count), kind="stable")


_PURPOSES = {"test": 0, "dev": 1, "fold": 3}  # 2 is the order of batches
# stream for ties between classes; of the streams up to 40, the one with which seed 0 splits the digits as it did before
# ties were drawn, so that published numbers stay valid
_TIES = 32


def _stream(*words: int) -> np.random.Philox:
    return np.random.Philox(np.random.SeedSequence(words))


def check_whole(name: str, value: Any, low: int = 0) -> None:
    """Raise ValueError unless an argument is a whole number of at least low."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        kind = "a non-negative integer" if low == 0 else f"an integer of at least {low}"
        raise ValueError(f"{name} is {shown(value)}; it must be {kind}")


def shown(value: Any) -> str:
    """Return a wrong argument as a message shows it: its value if that is short, else its type."""
    return repr(value) if value is None or isinstance(value, Real | str) else f"a {type(value).__name__}"


def check_examples(examples: Any) -> None:
    """Raise ValueError unless an argument has equally many images and labels."""
    if isinstance(examples, Splits):
        raise ValueError("examples is a Splits; expected one of its parts, such as splits.train")
    if not (hasattr(examples, "images") and hasattr(examples, "labels")):
        raise ValueError(f"examples is a {type(examples).__name__}; expected data.Examples(images, labels)")
    images, labels = (_leaves(name, getattr(examples, name)) for name in Examples._fields)
    (_, first), *_ = labels
    for path, part in images + labels:
        if len(part) != len(first):
            held = f".{path} has {len(part)} rows" if "[" in path else f" has {len(part)} {path}"
            raise ValueError(f"examples{held}, but {len(first)} labels")


def is_listed(value: Any) -> bool:
    """Return whether a value is a list of numbers, or of such lists, which is one array, rather than of arrays."""
    return isinstance(value, list) and not any(getattr(part, "ndim", 0) for part in value)


def _leaves(name: str, given: Any) -> list[tuple[str, Any]]:
    """Return the arrays with their paths, such as ``images[1]``."""
    paths = [(name + jax.tree_util.keystr(path), part) for path, part in jax.tree.leaves_with_path(given)]
    parts = [part for _, part in paths]
    if not parts or not all(np.shape(part) if hasattr(part, "shape") else hasattr(part, "__len__") for part in parts):
        of = f" of {type(parts[0]).__name__}" if parts and parts[0] is not given else ""
        raise ValueError(
            f"examples.{name}: got {type(given).__name__}{of}, allowed are an array, or a tuple or dict of arrays"
        )
    return paths


def count_of(examples: Examples) -> int:
    """Return the number of examples, which is that of the labels, or of each array of theirs."""
    return len(jax.tree.leaves(examples.labels)[0])


def _divide(
    examples: Examples, fraction: float | int, seed: int, dataset: Dataset, part: str
) -> tuple[Examples, Examples]:
    """Return the rest, and the part with that fraction of every class."""
    if not isinstance(fraction, Real) or not 0 < fraction < 1:
        low = "at least 0" if part == "dev" else "above 0"
        raise ValueError(f"{part}_fraction is {shown(fraction)}; it must be {low} and below 1")
    about = f"{part}_fraction={fraction} of {len(examples.labels)} examples of {dataset.name}"
    classes = examples.labels if is_classes(examples.labels) else np.zeros(len(examples.labels), np.int32)
    order = permutation(_stream(seed, _PURPOSES[part]), len(classes))
    # a stable sort of the shuffled labels groups the classes, each in random order
    order = order[np.argsort(classes[order], kind="stable")]
    present, sizes = np.unique(classes, return_counts=True)
    taken = _apportion(sizes, fraction, permutation(_stream(seed, _TIES, _PURPOSES[part]), len(sizes)))
    missing = round(float((sizes * fraction).sum())) - int(taken.sum())
    if missing > 0 and len(present) > 1:
        used_up = [dataset.classes[label] for label in present[taken + 1 == sizes]]
        raise ValueError(
            f"{about} takes {missing} more than it can without a class's last training example; "
            f"{_listed(used_up)} would be left with none: add examples, or leave these classes out"
        )
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    chosen = np.zeros(len(order), bool)
    chosen[order[rank < np.repeat(taken, sizes)]] = True
    for label, mask in (("train", ~chosen), (part, chosen)):
        if not mask.any():
            raise ValueError(f"{about} in {len(present)} classes leaves the {label} part empty")
    return _take(examples, ~chosen), _take(examples, chosen)


def _apportion(sizes: np.ndarray, fraction: float, ties: np.ndarray) -> np.ndarray:
    """Return how many examples to take from each class, rounding up the largest remainders to reach the total.

    Args:
        sizes: number of examples of each class.
        fraction: the share to take.
        ties: a rank for each class; of equal remainders, those of low rank are rounded up first.

    Returns:
        Numbers whose sum falls short only if more would take a class's last example.
    """
    exact = sizes * fraction
    taken = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    missing = round(float(exact.sum())) - int(taken.sum())
    # remainders that differ by rounding errors alone count as equal
    by_need = np.lexsort((ties, np.round(taken - exact, 9)))
    spare = by_need[(taken + 1 < sizes)[by_need]]
    taken[spare[:missing]] += 1
    return taken


def _check_classes(parts: Splits, dataset: Dataset) -> None:
    """Raise ValueError for classes without a training example, and warn of those without one in another part."""
    counts = [np.bincount(part.labels, minlength=len(dataset.classes)) for part in parts]
    untrained = [
        name for name, train, *others in zip(dataset.classes, *counts, strict=True) if train == 0 and any(others)
    ]
    if untrained:
        raise ValueError(f"{dataset.name}: the training part has no example of {_listed(untrained)}")
    lacks = [
        f"{part} has no example of {_listed(lacking)}"
        for part, examples, count in zip(Splits._fields, parts, counts, strict=True)
        if len(examples.labels)
        and (lacking := [name for name, number in zip(dataset.classes, count, strict=True) if number == 0])
    ]
    if lacks:
        total, nowhere = len(dataset.classes), int(np.count_nonzero(np.sum(counts, axis=0) == 0))
        renumber = (
            "; np.unique(labels, return_inverse=True)[1] counts the labels that occur" if 2 * nowhere > total else ""
        )
        warnings.warn(f"{dataset.name}, of {total} classes: {'; '.join(lacks)}{renumber}", RuntimeWarning, stacklevel=3)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:10]))
    return f"{len(names)} {'class' if len(names) == 1 else 'classes'} ({shown}{', ...' if len(names) > 10 else ''})"


def _take(examples: Examples, mask: np.ndarray) -> Examples:
    return Examples(examples.images[mask], examples.labels[mask])
