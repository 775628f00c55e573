"""Batches of equal size, so that a jitted step is compiled once. [Lecture row G9]"""

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdl.data.splits import Examples, check_examples, check_whole, count_of, permutation, shown
from jaxdl.words import own_words


class Batch(NamedTuple):
    """One batch of numpy arrays; images keep the type of the source."""

    image: Any  # (B, H, W, C), uint8 or float32, or float32 (B, features); a tuple or dict of several inputs' arrays
    label: Any  # (B,) int32; of real targets float32 (B,) or (B, targets); a tuple or dict of several targets' arrays
    weight: np.ndarray  # (B,) float32: 1, or 0 for padding, which must not count
    index: np.ndarray  # (B,) int32: position in the epoch, independent of the number of devices


class Rows(NamedTuple):
    """The row numbers of a batch, which `take` reads, or of several batches in columns, as from `stack_rows`."""

    row: np.ndarray  # (B,) or (B, K) int32: positions in the data set; -1 in an unused column
    weight: np.ndarray  # float32 of the same shape, as in `Batch`
    index: np.ndarray  # int32 of the same shape, as in `Batch`


@own_words
def batches(
    examples: Examples,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    start: int = 0,
) -> Iterator[Batch]:
    """Yield the full training batches of one epoch, in an order that is a function of (seed, epoch) alone.

    Examples left over at the end are dropped; the next epoch's order differs and may include them. The ``index`` of an
    example is its place in the epoch, not in ``examples``: `batch_rows` has both.

    Args:
        examples: the examples to draw from.
        batch_size: examples per batch.
        seed: determines the orders of all epochs, a non-negative integer.
        epoch: number of the epoch, counted from 0.
        shuffle: whether to shuffle; False keeps the order of `examples`.
        start: number of batches to skip without reading them, in order to resume.

    Raises:
        ValueError: if the batch size is not in [1, number of examples], seed, epoch or start is out of range or not
            a whole number, or `examples` has no images and labels.

    Examples:
        >>> examples = data.Examples(np.arange(5.0)[:, None], np.array([0, 1, 0, 1, 0]))
        >>> [batch.label for batch in data.batches(examples, 2, seed=0, epoch=0, shuffle=False)]
        [array([0, 1]), array([0, 1])]
    """
    check_examples(examples)
    found = batch_rows(count_of(examples), batch_size, seed=seed, epoch=epoch, shuffle=shuffle, start=start)
    return (take(examples, rows) for rows in found)


def batch_rows(
    count: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True, start: int = 0
) -> Iterator[Rows]:
    """Yield the row numbers of the batches that `batches` draws from ``count`` examples, with the same errors.

    Examples:
        >>> [rows.row for rows in data.batch_rows(5, 2, seed=0, epoch=0, shuffle=False)]
        [array([0, 1], dtype=int32), array([2, 3], dtype=int32)]
    """
    steps = steps_per_epoch(count, batch_size)
    check_whole("seed", seed)
    check_whole("epoch", epoch)
    check_whole("start", start)
    if not 0 <= start <= steps:
        raise ValueError(f"start is {start}; an epoch has {steps} batches, so it must lie in [0, {steps}]")
    places = order(count, seed=seed, epoch=epoch) if shuffle else np.arange(count)
    return _full_batches(places.astype(np.int32), batch_size, start, steps)


def take(examples: Examples, rows: Rows) -> Batch:
    """Return the batch of these rows, as numpy arrays or, within a compiled function, as JAX arrays.

    Args:
        examples: the examples that the rows number.
        rows: rows of one batch. For a row out of range, JAX reads the nearest example and numpy raises IndexError.

    Raises:
        ValueError: if rows is not a `Rows`.

    Examples:
        >>> examples = data.Examples(np.array([[1.0], [2.0], [3.0]]), np.array([0, 1, 0]))
        >>> rows = next(data.batch_rows(3, 2, seed=0, epoch=0, shuffle=False))
        >>> data.take(examples, rows).image
        array([[1.],
               [2.]])
    """
    if not isinstance(rows, Rows):
        raise ValueError(f"rows is a {type(rows).__name__}; expected data.Rows, as data.batch_rows gives them")
    return Batch(*_of_rows(examples, rows.row), rows.weight, rows.index)


def _of_rows(examples: Examples, row: Any) -> Examples:
    """Return these rows of images and labels, or of each array of several."""
    return Examples(*(jax.tree.map(lambda one: one[row], of) for of in examples))


def stack_rows(batches: Sequence[Rows], columns: int) -> Rows:
    """Stack up to ``columns`` batches of one size as columns, followed by unused columns of row -1 and weight 0.

    Raises:
        ValueError: if there are no batches, or more than columns.

    Examples:
        >>> rows = list(data.batch_rows(4, 2, seed=0, epoch=0, shuffle=False))
        >>> data.stack_rows(rows, 3).row
        array([[ 0,  2, -1],
               [ 1,  3, -1]], dtype=int32)
    """
    if not 1 <= len(batches) <= columns:
        raise ValueError(f"there are {len(batches)} batches; with columns={columns} there may be 1 to {columns}")
    none = Rows(*(np.full_like(field, value) for field, value in zip(batches[0], (-1, 0, 0), strict=True)))
    filled = [*batches, *[none] * (columns - len(batches))]
    return Rows(*(np.stack(fields, axis=1) for fields in zip(*filled, strict=True)))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of full batches in `count` examples.

    Raises:
        ValueError: if the batch size is not in [1, count].

    Examples:
        >>> data.steps_per_epoch(50_000, 128)
        390
    """
    check_whole("count", count)
    if not isinstance(batch_size, Integral) or not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size is {shown(batch_size)}; with {count} examples it must be an integer in [1, {count}]"
        )
    return count // batch_size


@own_words
def eval_batches(examples: Examples, batch_size: int) -> Iterator[Batch]:
    """Yield all examples once, in order; the last batch is padded to full size with weight 0.

    The padding repeats the last example, so that its loss is as finite as a real one's and weight 0 removes it (0
    times infinity would not).

    Args:
        examples: the examples to read.
        batch_size: examples per batch; it may exceed their number.

    Raises:
        ValueError: if the batch size is not a whole number of at least 1, or there are no examples.

    Examples:
        >>> examples = data.Examples(np.arange(3.0)[:, None], np.array([0, 1, 0]))
        >>> [batch.weight for batch in data.eval_batches(examples, 2)]
        [array([1., 1.], dtype=float32), array([1., 0.], dtype=float32)]
    """
    check_examples(examples)
    if count_of(examples) == 0:
        raise ValueError("examples is empty; there must be at least one")
    check_whole("batch_size", batch_size, low=1)
    return _padded_batches(examples, batch_size)


def order(count: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the order of ``count`` examples in one epoch, a function of (seed, epoch) alone."""
    return permutation(np.random.Philox(np.random.SeedSequence([seed, 2, epoch])), count)


def _full_batches(places: np.ndarray, batch_size: int, start: int, steps: int) -> Iterator[Rows]:
    weight = np.ones(batch_size, np.float32)
    for first in range(start * batch_size, steps * batch_size, batch_size):
        index = np.arange(first, first + batch_size, dtype=np.int32)
        yield Rows(places[first : first + batch_size], weight, index)


def _padded_batches(examples: Examples, batch_size: int) -> Iterator[Batch]:
    count = count_of(examples)
    for first in range(0, count, batch_size):
        index = np.arange(first, first + batch_size, dtype=np.int32)
        rows = np.minimum(index, count - 1)
        weight = (index < count).astype(np.float32)
        yield Batch(*_of_rows(examples, rows), weight, index)
