"""Batches of streamed images, which Grain's workers read ahead."""

import itertools
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

import numpy as np

from jaxdl.data.batching import Batch, order, steps_per_epoch
from jaxdl.data.splits import Examples, check_examples, check_whole
from jaxdl.data.streaming.cropping import draws
from jaxdl.data.streaming.images import StreamedImages, decode
from jaxdl.data.streaming.workers import Reader

PIECE: Final = 32  # most images of one element; a batch is divided, so that all workers read the same one


class Loader:
    """Reads the training batches of streamed examples ahead, in the order of `data.batches`.

    A batch is a function of (seed, epoch, number of the batch): the number of workers, of epochs and of turns, and the
    batch that reading starts at change no bit of it. Use it as a context manager, or call `close`.

    Args:
        examples: the examples, whose images are `StreamedImages`.
        batch_size: examples per batch over all processes.
        seed: determines the orders of all epochs and the random windows, a non-negative integer.
        epochs: number of epochs.
        turns: how often each epoch is read before the next one, by as many optimizers. This only tells what to read
            ahead.
        random_crop: whether to cut a window of random area and ratio out of each image, at the resolution of its file.
            False takes the central window.
        workers: number of processes; 0 reads in threads of this process, which is best for all but tiny images.
        shard: (i, n) reads the i-th of n parts of every batch, for process i of n.

    Raises:
        ValueError: for images that are not streamed, a batch size that is not in [1, number of examples] or not a
            multiple of n, or other numbers out of range.
        ImportError: if Grain is not installed; the message names the extra.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        *,
        seed: int,
        epochs: int,
        turns: int = 1,
        random_crop: bool = False,
        workers: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        images = _streamed(examples)
        steps = steps_per_epoch(len(images), batch_size)
        check_whole("seed", seed)
        for name, value in (("epochs", epochs), ("turns", turns)):
            check_whole(name, value, low=1)
        part, parts = shard
        if not 0 <= part < parts or batch_size % parts:
            raise ValueError(
                f"shard is {shard}; expected (i, n) with 0 <= i < n, where n divides the batch size {batch_size}"
            )
        self._labels, self._batch_size, self._seed = examples.labels, batch_size, seed
        self._share = range(part * batch_size // parts, (part + 1) * batch_size // parts)
        self._source = _Pieces(
            images, batch_size, steps, self._share, epochs=epochs, turns=turns, seed=seed, random_crop=random_crop
        )
        self._reader = Reader(self._source, workers=workers, ahead=2 * self._source.pieces)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from number ``start`` on.

        Raises:
            ValueError: if epoch or start is out of range.
            UnreadableImage: naming an image file that has gone or changed since the stream was opened.
        """
        source = self._source
        check_whole("epoch", epoch)
        check_whole("start", start)
        if epoch >= source.epochs or start > source.steps:
            raise ValueError(
                f"epoch is {epoch} and start {start}; there are {source.epochs} epochs of {source.steps} batches"
            )
        return self._from(epoch, start)

    def _from(self, epoch: int, start: int) -> Iterator[Batch]:
        source, share = self._source, np.arange(self._share.start, self._share.stop)
        turn = source.turn_at(self._reader.position, epoch, start)
        places = order(len(self._labels), seed=self._seed, epoch=epoch)
        first = (epoch * source.turns + turn) * source.steps
        for batch in range(start, source.steps):
            index = batch * self._batch_size + share
            at = (first + batch) * source.pieces
            pieces = [self._reader.read(at + piece) for piece in range(source.pieces)]
            label, weight = self._labels[places[index]], np.ones(len(share), np.float32)
            yield Batch(np.concatenate(pieces), label, weight, index.astype(np.int32))

    def close(self) -> None:
        """Stop the workers."""
        self._reader.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def eval_batches(examples: Examples, batch_size: int, *, workers: int = 0) -> Iterator[Batch]:
    """Yield all examples once, in order, as `data.eval_batches` does, with central windows, read ahead.

    Raises:
        ValueError: for images that are not streamed, no examples, or a batch size below 1.
        ImportError: if Grain is not installed; the message names the extra.
    """
    images = _streamed(examples)
    check_whole("batch_size", batch_size, low=1)
    if not len(images):
        raise ValueError("examples is empty; there must be at least one")
    return _evaluated(examples, images, batch_size, workers)


def _evaluated(examples: Examples, images: StreamedImages, size: int, workers: int) -> Iterator[Batch]:
    count, steps = len(images), -(-len(images) // size)
    source = _Pieces(images, size, steps, range(size))
    read = Reader(source, workers=workers, ahead=2 * source.pieces).read_all(len(source))
    for first in range(0, count, size):
        index = np.arange(first, first + size, dtype=np.int32)
        found = np.concatenate(list(itertools.islice(read, source.pieces)))
        rows = np.minimum(index, count - 1)
        weight = (index < count).astype(np.float32)
        yield Batch(found[rows - first], examples.labels[rows], weight, index)


def _streamed(examples: Examples) -> StreamedImages:
    check_examples(examples)
    images: Any = examples.images
    if not isinstance(images, StreamedImages):
        raise ValueError(f"examples has images of type {type(images).__name__}; expected those of streaming.split")
    return images


class _Pieces:
    """The pieces of all batches in the order in which they are read: by epoch, turn, batch and piece.

    Args:
        images: all images of the part.
        batch_size: images per batch.
        steps: batches per epoch; the last one may be cut off.
        share: the places in each batch that this process reads.
        epochs: number of epochs.
        turns: how often each epoch is read.
        seed: of the orders and windows; None keeps the order.
        random_crop: whether to take random windows.
    """

    def __init__(
        self,
        images: StreamedImages,
        batch_size: int,
        steps: int,
        share: range,
        *,
        epochs: int = 1,
        turns: int = 1,
        seed: int | None = None,
        random_crop: bool = False,
    ) -> None:
        self.images, self.batch_size, self.steps, self.share = images, batch_size, steps, share
        self.epochs, self.turns, self.seed, self.random_crop = epochs, turns, seed, random_crop
        self.pieces = -(-len(share) // PIECE)
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))  # an epoch and its order

    def turn_at(self, position: int, epoch: int, start: int) -> int:
        """Return the turn in which a reader at that position comes to the batch next, or 0."""
        there, batch = divmod(position // self.pieces, self.steps)
        if start == self.steps or batch != start or there // self.turns != epoch:
            return 0
        return there % self.turns

    def __len__(self) -> int:
        return self.epochs * self.turns * self.steps * self.pieces

    def __getitem__(self, position: int) -> np.ndarray:
        batch, piece = divmod(int(position), self.pieces)
        turn, batch = divmod(batch, self.steps)
        epoch = turn // self.turns
        first, end = batch * self.batch_size + self.share.start, batch * self.batch_size + self.share.stop
        places = np.arange(first + piece * PIECE, min(first + (piece + 1) * PIECE, end, len(self.images)))
        rows = self.images.rows[self._order_of(epoch)[places]]
        how, index, found = self.images.how, self.images.index, []
        for place, row in zip(places, rows, strict=True):
            uniform = draws(self.seed or 0, epoch, int(place)) if self.random_crop else None
            found.append(decode(index, int(row), how, uniform))
        return (
            np.stack(found).reshape(-1, *self.images.shape[1:])
            if found
            else np.zeros((0, *self.images.shape[1:]), np.uint8)
        )

    def _order_of(self, epoch: int) -> np.ndarray:
        known, places = self._order
        if known != epoch:
            count = len(self.images)
            places = np.arange(count) if self.seed is None else order(count, seed=self.seed, epoch=epoch)
            self._order = (epoch, places)  # replaced whole, since threads share it
        return places
