"""Why an optimizer that accumulates gradients differs from one of large batches: when it steps, and with what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from jaxdl.compare import trajectories

Close = Callable[[Sequence[optax.GradientTransformation], optax.GradientTransformation], bool]
"""``([candidate], target)`` -> whether they are equivalent; candidates stand for b if the target is a, else for a."""


def accumulation(
    left: Any, right: Any, params: Any, stacked: Any, micro_batches: tuple[int, int], close: Close
) -> str | None:
    """Say in words how a side that gets batches in parts treats them otherwise than by a step with their mean.

    Args:
        left: the side a.
        right: the side b.
        params: the starting point of both.
        stacked: gradients with leading axes of batches and of the parts of one.
        micro_batches: how many parts each side gets.
        close: judges whether a candidate does the same as the other side.

    Returns:
        The cause; None if no side gets parts, or they step as they should.
    """
    for name, side, other, parts in zip("ab", (left, right), (right, left), micro_batches, strict=True):
        if parts == 1:
            continue
        finest = max(micro_batches)
        shares = jax.tree.map(lambda g, n=finest // parts: _means(g, n), stacked)
        moved = trajectories.first_move(side, params, shares)
        if moved != parts:
            when = "never steps" if moved is None else f"first steps after {moved} of its gradients"
            return f"accumulation: {name} {when}, of which {parts} make a batch"
        if close([_scaled(side, 1 / parts)], other):
            return f"accumulation: {name} steps with the sum of its {parts} gradients, where a batch has their mean"
    return None


def _means(gradients, count):
    """Return the means of ``count`` successive gradients each, over all batches, along one axis."""
    flat = gradients.reshape(-1, *gradients.shape[2:])
    return flat.reshape(-1, count, *flat.shape[1:]).mean(1, dtype=flat.dtype)


def _scaled(optimizer, factor):
    """Return the optimizer with its gradients multiplied by a factor."""

    def update(updates, state, params=None):
        return optimizer.update(jax.tree.map(lambda g: (factor * g).astype(g.dtype), updates), state, params)

    return optax.GradientTransformation(optimizer.init, update)
