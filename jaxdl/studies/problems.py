"""Problems on which optimizers are compared: a small immutable record of pure functions.

``init`` makes a starting point from a key, ``loss`` is the loss of a step, ``batches`` gives the examples of each step
of an epoch as a function of (seed, epoch) alone, and ``evaluate`` returns the number by which optimizers are judged
(lower is better). All optimizers with one seed therefore start at the same parameters and see the same batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data import batching


class Tuning(NamedTuple):
    """The batches and arrays with which a problem's settings are tuned, so that its test set is not used for it."""

    batches: Callable[[int, int], Any]  # as `Problem.batches`
    data: Any  # as `Problem.data`


class Problem(NamedTuple):
    """A function to minimize, the length of a run, and the number by which optimizers are judged."""

    name: str
    init: Callable[[jax.Array], tuple[Any, Any]]  # key -> (params, state); state is carried but not learned
    loss: Callable[..., tuple[jax.Array, Any]]  # (params, state, batch, data, key) -> (scalar, state)
    evaluate: Callable[..., dict[str, jax.Array]]  # (params, state, data) -> {"value": scalar, maybe "accuracy": ...}
    batches: Callable[[int, int], Any]  # (seed, epoch) -> tree of numpy arrays, leading axis steps_per_epoch
    steps: int  # of a full run
    steps_per_epoch: int = 1
    batch_size: int = 1  # examples per step
    evaluate_every: int = 1  # steps between two evaluations
    data: Any = ()  # arrays that stay on the device, passed to loss and evaluate
    target: float | None = None  # a value that a good run reaches
    source: str = ""  # reference for the problem and its numbers
    tuning: Callable[[], Tuning] | None = None  # judges on a validation part; None if there is none


def make_problem(
    init: Callable[[jax.Array], Any],
    loss: Callable[[Any, Any], jax.Array],
    batches: Callable[[int, int], Iterable[Any]],
    *,
    name: str = "problem",
    epochs: int = 10,
    test: Any = None,
    validation: Any = None,
    batch_size: int | None = None,
    target: float | int | None = None,
) -> Problem:
    """Build a problem from three functions of your own.

    Args:
        init: ``key -> params``.
        loss: ``(params, batch) -> scalar``.
        batches: ``(seed, epoch) -> batches``, equally many and of the same shapes in every epoch.
        name: the name used in results.
        epochs: epochs of a full run, each followed by an evaluation.
        test: a batch on which optimizers are judged; None uses the mean over the batches of seed 0, epoch 0.
        validation: a batch on which tuned settings are judged; None tunes them on the number that is reported.
        batch_size: examples per step; None uses the first axis of a batch's first array.
        target: a loss that a good run reaches.

    Raises:
        ValueError: ``batches`` yields none, or batches of several shapes or without numbers, or ``epochs`` is below 1.
            An epoch with another number of batches is named when a run comes to it.

    Examples:
        The mean of two points is the least squares' optimum:

        >>> problem = studies.make_problem(
        ...     init=lambda key: jnp.zeros(()),
        ...     loss=lambda x, batch: ((x - batch) ** 2).mean(),
        ...     batches=lambda seed, epoch: [np.array([1.0, 3.0], np.float32)],
        ...     epochs=5,
        ... )
        >>> problem.steps, problem.batch_size
        (5, 2)
    """
    if epochs < 1:
        raise ValueError(f"epochs={epochs}: must be at least 1")
    first = stack(batches(0, 0), "batches(0, 0)")

    def stacked(seed: int, epoch: int):
        return _like(first, batches(seed, epoch), f"batches({seed}, {epoch})")

    leaves = jax.tree.leaves(first)
    steps = leaves[0].shape[0]
    size = batch_size or next((leaf.shape[1] for leaf in leaves if leaf.ndim > 1), 1)

    def alone(batch):
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], batch)

    return Problem(
        name=name,
        init=lambda key: (init(key), ()),
        loss=lambda params, state, batch, data, key: (loss(params, batch), state),
        evaluate=lambda params, state, data: {"value": jax.lax.map(lambda batch: loss(params, batch), data).mean()},
        batches=stacked,
        steps=epochs * steps,
        steps_per_epoch=steps,
        batch_size=size,
        evaluate_every=steps,
        data=first if test is None else alone(test),
        target=target,
        tuning=None if validation is None else lambda: Tuning(stacked, alone(validation)),
    )


def stack(batches: Iterable[Any], name: str) -> Any:
    """Stack batches into one tree of numpy arrays with a leading axis of steps.

    Raises:
        ValueError: there is no batch, or one without arrays, of other shapes than the first, or not of numbers.
    """
    taken = [jax.tree.map(np.asarray, batch) for batch in batches]
    if not taken or not jax.tree.leaves(taken[0]):
        raise ValueError(f"{name}: got {len(taken)} batches, needed is at least one, with arrays in it")
    allowed = _forms(taken[0])
    for number, batch in enumerate(taken):
        if any(leaf.dtype.kind in "OSUMm" for leaf in jax.tree.leaves(batch)):
            raise ValueError(f"{name}: got {jax.tree.map(lambda leaf: leaf.dtype.name, batch)}, allowed are numbers")
        if _forms(batch) != allowed:
            raise ValueError(
                f"{name}: batch {number} has {_forms(batch)}, allowed is what batch 0 has, {allowed}; "
                "leave out a smaller last batch"
            )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *taken)


def _like(first: Any, batches: Iterable[Any], name: str) -> Any:
    """Stack the batches of an epoch, unless they differ from the stacked ones of the first in number or shape."""
    found = stack(batches, name)
    if _forms(found) != _forms(first):
        raise ValueError(
            f"{name}: got {_forms(found)} with the axis of batches in front, allowed is what batches(0, 0) has, "
            f"{_forms(first)}: equally many batches of one shape in every epoch"
        )
    return found


def _forms(batch: Any) -> str:
    """Return a batch's tree with the shape of each array in its place."""
    return str(jax.tree.map(np.shape, batch))


def indices(count: int, batch_size: int, *, shuffle: str = "fresh") -> Callable[[int, int], np.ndarray]:
    """Return ``(seed, epoch) -> (steps, batch_size)``, the indices of the examples of each step among ``count``.

    The order is that of `jaxdl.data.batches`; the remainder of an epoch is dropped.

    Args:
        count: number of examples.
        batch_size: examples per step.
        shuffle: "fresh" draws a new order every epoch; "repeated" reuses the order of epoch 0.

    Raises:
        ValueError: ``shuffle`` has another value, or the batch size is not in [1, count].
    """
    if shuffle not in ("fresh", "repeated"):
        raise ValueError(f"shuffle={shuffle!r}: allowed are 'fresh' and 'repeated'")
    steps = batching.steps_per_epoch(count, batch_size)

    def batches(seed: int, epoch: int) -> np.ndarray:
        order = batching.order(count, seed=seed, epoch=epoch if shuffle == "fresh" else 0)
        return order[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)

    return batches


def steps_between(problem: Problem, seed: int, start: int, stop: int) -> Any:
    """Return the inputs of steps ``start`` to ``stop - 1`` of one seed as a tree with a leading axis of steps."""
    epochs = range(start // problem.steps_per_epoch, -(-stop // problem.steps_per_epoch))
    parts = [problem.batches(seed, epoch) for epoch in epochs]
    first = start - epochs.start * problem.steps_per_epoch
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[first : first + stop - start], *parts)


def loss_arguments(problem: Problem) -> tuple[Any, ...]:
    """Return the shapes and dtypes of the arguments of a problem's loss."""
    params, state = jax.eval_shape(problem.init, jax.random.key(0))
    batch = jax.tree.map(lambda leaf: leaf[0], problem.batches(0, 0))
    return params, state, *jax.eval_shape(lambda: jax.tree.map(jnp.asarray, (batch, problem.data, jax.random.key(0))))


def evaluation_steps(problem: Problem, steps: int) -> list[int]:
    """Return the steps after which a run of ``steps`` is evaluated: every ``evaluate_every`` and the last."""
    return [*itertools.takewhile(lambda n: n < steps, itertools.count(problem.evaluate_every, problem.evaluate_every)),
            steps]  # fmt: skip
