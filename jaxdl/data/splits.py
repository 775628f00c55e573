"""Stratified, seeded splits into training, development and test examples (Lecture row G9)."""

from typing import NamedTuple

import numpy as np

from jaxdl.data.dataset import Dataset


class Examples(NamedTuple):
    """Images with their labels."""

    images: np.ndarray  # uint8 or float32 (N, H, W, C)
    labels: np.ndarray  # int32 (N,)


class Splits(NamedTuple):
    """The three parts: fit on `train`, choose on `dev`, report on `test`."""

    train: Examples
    dev: Examples
    test: Examples


def split(dataset: Dataset, *, seed: int, dev_fraction: float, test_fraction: float | None = None) -> Splits:
    """Splits a data set so that every part has the classes in the proportions of the whole.

    The parts are a function of the labels, the fractions and the seed alone; examples keep their order.

    Args:
        dataset: What to split. Its own test set, where it has one, is the test part and is never mixed with
            the rest.
        seed: Chooses the examples, a non-negative integer.
        dev_fraction: Share of the examples that are not test, in (0, 1).
        test_fraction: Share of all examples, in (0, 1), for a data set without a test set; None is 0.2.

    Raises:
        ValueError: If a fraction is out of range, a part would be empty, or a test fraction is given for a
            data set that has its own test set.

    Reference: Lecture row G9.
    """
    rest = Examples(dataset.images, dataset.labels)
    if dataset.test_images is not None and dataset.test_labels is not None:
        if test_fraction is not None:
            raise ValueError(
                f"test_fraction is {test_fraction}, but {dataset.name} has its own test set; leave it None"
            )
        test = Examples(dataset.test_images, dataset.test_labels)
    else:
        share = 0.2 if test_fraction is None else test_fraction
        rest, test = _divide(rest, share, _stream(seed, 0), dataset.name, "test")
    train, dev = _divide(rest, dev_fraction, _stream(seed, 1), dataset.name, "dev")
    return Splits(train, dev, test)


def permutation(bits: np.random.BitGenerator, count: int) -> np.ndarray:
    """A random order of `count` things that depends on nothing but the bit generator's stream.

    numpy promises that raw streams stay the same from version to version; it does not promise so for
    `Generator.permutation`, and a data order has to survive an upgrade between a run and its resumption.
    """
    return np.argsort(bits.random_raw(count), kind="stable")


def _stream(seed: int, purpose: int) -> np.random.Philox:
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be a non-negative integer")
    return np.random.Philox(np.random.SeedSequence([seed, purpose]))


def _divide(
    examples: Examples, fraction: float, bits: np.random.BitGenerator, name: str, part: str
) -> tuple[Examples, Examples]:
    """(the rest, the part with that fraction of every class)."""
    if not 0 < fraction < 1:
        raise ValueError(f"{part}_fraction is {fraction}; it must lie between 0 and 1, both excluded")
    order = permutation(bits, len(examples.labels))
    # a stable sort of the shuffled labels groups the classes, each in random order
    order = order[np.argsort(examples.labels[order], kind="stable")]
    present, sizes = np.unique(examples.labels, return_counts=True)
    taken = _apportion(sizes, fraction)
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    chosen = np.zeros(len(order), bool)
    chosen[order[rank < np.repeat(taken, sizes)]] = True
    for label, mask in (("train", ~chosen), (part, chosen)):
        if not mask.any():
            raise ValueError(
                f"{part}_fraction={fraction} of {len(order)} examples of {name} in {len(present)} classes "
                f"leaves the {label} part empty"
            )
    return _take(examples, ~chosen), _take(examples, chosen)


def _apportion(sizes: np.ndarray, fraction: float) -> np.ndarray:
    """How many of each class: the largest remainders are rounded up, so that the total is right too."""
    exact = sizes * fraction
    taken = np.floor(exact).astype(np.int64)
    missing = round(float(exact.sum())) - int(taken.sum())
    taken[np.argsort(taken - exact, kind="stable")[:missing]] += 1
    return taken


def _take(examples: Examples, mask: np.ndarray) -> Examples:
    return Examples(examples.images[mask], examples.labels[mask])
