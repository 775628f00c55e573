"""The training loop as a function, and evaluation over a whole data set."""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array

from jaxdl import data
from jaxdl.data.splits import is_listed

State = TypeVar("State")  # a TrainState, or whatever else ``step`` carries


def fit(
    step: Callable[[State, Any, Array], tuple[State, Any]],
    state: State,
    batches: Callable[[int], Iterable[Any]],
    *,
    key: Array,
    epochs: Iterable[int],
    on_metrics: Callable[[int, State, Any], bool | None] | None = None,
    on_epoch: Callable[[int, State], bool | None] | None = None,
) -> State:
    """Run ``step`` over all batches of all epochs and return the last state.

    The loop itself never waits for the device. Callbacks receive values that the device may still be computing, and
    reading one waits for it. The next step donates the state that they receive, so they must copy what they keep.

    Args:
        step: ``(state, batch, key) -> (state, metrics)``, as from `data_parallel`.
        state: the initial state, donated if ``step`` donates.
        batches: function from an epoch's number to its batches.
        key: passed to every step, which folds in its own number.
        epochs: the numbers of the epochs to run, such as ``range(10)``; a resumed run starts later.
        on_metrics: called after every step with (epoch, state, metrics); a true return value ends training.
        on_epoch: called after every epoch with (epoch, state); a true return value ends training.

    Raises:
        ValueError: for a ``step`` or ``batches`` that is no function, and a number in place of ``epochs``.

    Examples:
        >>> def step(total, batch, key):
        ...     return total + batch, {"batch": batch}
        >>> training.fit(step, 0, lambda epoch: [1, 2, 3], key=jax.random.key(0), epochs=range(2))
        12
    """
    for name, function in (("step", step), ("batches", batches)):
        if not callable(function):
            raise ValueError(
                f"{name}: got {type(function).__name__}, allowed is a function; the order is step, state, batches"
            )
    if isinstance(epochs, int):
        raise ValueError(f"epochs: got {epochs}, allowed are the numbers of epochs, such as range({epochs})")
    for epoch in epochs:
        for batch in batches(epoch):
            state, metrics = step(state, batch, key)
            if on_metrics is not None and on_metrics(epoch, state, metrics):
                return state
        if on_epoch is not None and on_epoch(epoch, state):
            return state
    return state


def evaluate(
    step: Callable[..., tuple[Any, Any]], variables: tuple[Any, Any], batches: Iterable[data.Batch]
) -> tuple[dict[str, float], Any]:
    """Return mean loss and metrics over all batches, and the network's outputs.

    Args:
        step: as from `eval_step`, preferably jitted.
        variables: ``(params, state)``, as from `eval_variables`.
        batches: padded batches, as from `data.eval_batches`.

    Returns:
        The means ``{"loss", ...}``, and the outputs of the examples of positive weight as numpy arrays ``(n, ...)`` in
        the structure of the network's output. Metrics keep their names, except that the mean of "correct" is
        "accuracy". For real targets, "r_squared" joins "squared_error" and "absolute_error": it is
        1 − Σ(y − ŷ)² / Σ(y − ȳ)² in float64, averaged over the outputs, NaN for a constant target, and left out if
        labels are ignored or differ in shape from the outputs.

    Raises:
        ValueError: if no example has positive weight, or every label is ignored.
    """
    totals: collections.Counter[str] = collections.Counter()
    seen, ignored = [], False
    # results are read once the next batch has been dispatched, so that the device neither idles nor holds all of them
    for (sums, y), batch in prefetch(batches, lambda batch: (step(variables, batch), batch)):
        totals.update({name: float(value) for name, value in sums.items()})
        counts = np.asarray(batch.weight) > 0
        ignored |= bool(float(sums["weight"]) < (1 - 1e-6) * np.asarray(batch.weight, np.float64).sum())
        label = jax.tree.map(np.asarray, batch.label, is_leaf=is_listed)
        of_each = (y, label, np.asarray(batch.weight))
        seen.append(jax.tree.map(lambda leaf, counts=counts: np.asarray(leaf)[counts], of_each))
    weight = totals.pop("weight", 0)
    if not weight:
        raise ValueError("batches: there is no example to evaluate on")
    means = {"accuracy" if name == "correct" else name: total / weight for name, total in totals.items()}
    predictions, targets, weights = jax.tree.map(lambda *parts: np.concatenate(parts), *seen)
    one_of_each = isinstance(predictions, np.ndarray) and isinstance(targets, np.ndarray)
    if "squared_error" not in means or not one_of_each or predictions.shape != targets.shape:
        return means, predictions
    if not ignored or targets.dtype.kind not in "iu":  # of other labels, sums of weights may differ by rounding
        means["r_squared"] = _r_squared(predictions, targets, weights)
    return means, predictions


def _r_squared(predictions: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the explained share of the targets' variance, in float64 because it is a difference of sums."""
    y, p = (a.reshape(len(a), -1).astype(np.float64) for a in (targets, predictions))
    w = weights.astype(np.float64)[:, None]
    unexplained, spread = (w * (y - p) ** 2).sum(0), (w * (y - (w * y).sum(0) / w.sum()) ** 2).sum(0)
    return float(np.mean(1 - unexplained / np.where(spread == 0, np.nan, spread)))


def prefetch(batches: Iterable[Any], place: Callable[[Any], Any] = jax.device_put, *, size: int = 2) -> Iterator[Any]:
    """Yield the batches in order, keeping ``size`` of them on the device, including the one yielded.

    Args:
        batches: the source, read no further ahead than that. Each is of new arrays: on CPU one that is filled again
            would change the batch before.
        place: puts one batch on the device, such as `Parallel.shard`.
        size: number of batches, at least 1; 1 reads each batch on demand.

    Examples:
        >>> [int(batch.sum()) for batch in training.prefetch(iter([np.ones(2), np.ones(3)]))]
        [2, 3]
    """
    if size < 1:
        raise ValueError(f"size={size} is less than 1")
    return _prefetched(iter(batches), place, size)


def _prefetched(iterator: Iterator[Any], place: Callable[[Any], Any], size: int) -> Iterator[Any]:
    queue = collections.deque(place(batch) for batch in itertools.islice(iterator, size))
    while queue:
        yield queue.popleft()
        queue.extend(place(batch) for batch in itertools.islice(iterator, 1))
