"""Batches of equal size, so that a jitted step is compiled once (Lecture row G9's parts, one at a time)."""

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np

from jaxdl.data.splits import Examples, check_examples, check_whole, permutation, shown


class Batch(NamedTuple):
    """One batch of numpy arrays; images keep the type of the source."""

    image: np.ndarray  # (B, H, W, C), uint8 or float32, or float32 (B, features)
    label: np.ndarray  # (B,) int32; of real targets float32 (B,) or (B, targets)
    weight: np.ndarray  # (B,) float32: 1, or 0 for padding, which must not count
    index: np.ndarray  # (B,) int32: position in the epoch, the same on any number of devices


class Rows(NamedTuple):
    """A batch by the numbers of its examples, which `take` reads, or several in columns, as from `stack_rows`."""

    row: np.ndarray  # (B,) or (B, K) int32: places in the data set; -1 in a column that is no batch
    weight: np.ndarray  # float32, and
    index: np.ndarray  # int32, of the same shape: as in `Batch`


def batches(
    examples: Examples,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    start: int = 0,
) -> Iterator[Batch]:
    """Full training batches of one epoch, in an order that is a function of (seed, epoch) alone.

    The examples left over at the end are dropped; another order lets them come in the next epoch.

    Args:
        examples: What to draw from.
        batch_size: Examples per batch.
        seed: Chooses the orders of all epochs, a non-negative integer.
        epoch: Which of them, counted from 0.
        shuffle: False keeps the order of `examples`.
        start: Number of batches to skip without reading them: where to resume.

    Raises:
        ValueError: If the batch size is not in [1, number of examples], seed, epoch or start are out of range,
            one of them is no whole number, or `examples` are none.
    """
    check_examples(examples)
    found = batch_rows(len(examples.labels), batch_size, seed=seed, epoch=epoch, shuffle=shuffle, start=start)
    return (take(examples, rows) for rows in found)


def batch_rows(
    count: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True, start: int = 0
) -> Iterator[Rows]:
    """What `batches` draws from ``count`` examples, by number, and with the same errors."""
    steps = steps_per_epoch(count, batch_size)
    check_whole("seed", seed)
    check_whole("epoch", epoch)
    check_whole("start", start)
    if not 0 <= start <= steps:
        raise ValueError(f"start is {start}; an epoch has {steps} batches, so it must lie in [0, {steps}]")
    places = order(count, seed=seed, epoch=epoch) if shuffle else np.arange(count)
    return _full_batches(places.astype(np.int32), batch_size, start, steps)


def take(examples: Examples, rows: Rows) -> Batch:
    """The batch of these rows, of numpy arrays or, within a compiled function, of JAX's.

    Args:
        examples: what the rows count.
        rows: of one batch. JAX reads places that do not exist as the nearest one, and numpy raises IndexError.

    Raises:
        ValueError: If rows are no `Rows`.
    """
    if not isinstance(rows, Rows):
        raise ValueError(f"rows is a {type(rows).__name__}; expected data.Rows, as data.batch_rows gives them")
    return Batch(examples.images[rows.row], examples.labels[rows.row], rows.weight, rows.index)


def stack_rows(batches: Sequence[Rows], columns: int) -> Rows:
    """Put up to ``columns`` batches of one size side by side, and columns of -1 and weight 0 after them.

    Raises:
        ValueError: If there are none, or more than columns.
    """
    if not 1 <= len(batches) <= columns:
        raise ValueError(f"there are {len(batches)} batches; with columns={columns} there may be 1 to {columns}")
    none = Rows(*(np.full_like(field, value) for field, value in zip(batches[0], (-1, 0, 0), strict=True)))
    filled = [*batches, *[none] * (columns - len(batches))]
    return Rows(*(np.stack(fields, axis=1) for fields in zip(*filled, strict=True)))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Number of full batches in `count` examples: the floor of their ratio.

    Raises:
        ValueError: If the batch size is not in [1, count].
    """
    check_whole("count", count)
    if not isinstance(batch_size, Integral) or not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size is {shown(batch_size)}; with {count} examples it must be an integer in [1, {count}]"
        )
    return count // batch_size


def eval_batches(examples: Examples, batch_size: int) -> Iterator[Batch]:
    """All examples once, in order; the last batch is filled up to full size with weight 0.

    The filling repeats the last example: its numbers are finite wherever a real example's are, so that weight
    0 really takes it away (0 times infinity would not).

    Args:
        examples: What to read.
        batch_size: Examples per batch; it may exceed their number.

    Raises:
        ValueError: If the batch size is no whole number of at least 1, or there are no examples.
    """
    check_examples(examples)
    if len(examples.labels) == 0:
        raise ValueError("examples are none; there must be at least one")
    check_whole("batch_size", batch_size, low=1)
    return _padded_batches(examples, batch_size)


def order(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of ``count`` examples in one epoch, a function of (seed, epoch) alone."""
    return permutation(np.random.Philox(np.random.SeedSequence([seed, 2, epoch])), count)


def _full_batches(places: np.ndarray, batch_size: int, start: int, steps: int) -> Iterator[Rows]:
    weight = np.ones(batch_size, np.float32)
    for first in range(start * batch_size, steps * batch_size, batch_size):
        index = np.arange(first, first + batch_size, dtype=np.int32)
        yield Rows(places[first : first + batch_size], weight, index)


def _padded_batches(examples: Examples, batch_size: int) -> Iterator[Batch]:
    count = len(examples.labels)
    for first in range(0, count, batch_size):
        index = np.arange(first, first + batch_size, dtype=np.int32)
        rows = np.minimum(index, count - 1)
        weight = (index < count).astype(np.float32)
        yield Batch(examples.images[rows], examples.labels[rows], weight, index)
