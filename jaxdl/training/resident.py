"""Train on examples that stay on the device: a step receives row numbers, and one call may run several steps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl import data

_ON_CPU = 1 << 30  # bytes


def on_rows(step: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Turn ``step(state, batch, key, *, axis_name)`` into one of ``(state, (examples, rows), key, *, axis_name)``.

    Rows of shape (B, K) make up to K steps, in order. The number of used columns is read at run time, so that one
    program serves any number up to K, and a run divided into calls differently computes the same numbers.

    Args:
        step: as from `train_step`.

    Returns:
        A function whose metrics have a leading axis of K if the rows have columns, with zeros for unused columns.
    """

    def steps(state: Any, batch: tuple[data.Examples, data.Rows], key: Array, *, axis_name: str | None = None):
        examples, rows = batch
        rows = jax.tree.map(jnp.asarray, rows)  # numpy's without jit, as where JAX looks for a NaN

        def one(state, rows):
            return step(state, data.take(examples, rows), key, axis_name=axis_name)

        if rows.row.ndim == 1:
            return one(state, rows)

        def following(column, carried):
            state, found = carried
            state, metrics = one(state, jax.tree.map(lambda a: a[:, column], rows))
            return state, jax.tree.map(lambda all, new: all.at[column].set(new), found, metrics)

        _, shapes = jax.eval_shape(one, state, jax.tree.map(lambda a: a[:, 0], rows))
        columns = rows.row.shape[1]
        found = jax.tree.map(lambda like: jnp.zeros((columns, *like.shape), like.dtype), shapes)
        return lax.fori_loop(0, jnp.sum(rows.row[0] >= 0), following, (state, found))

    return steps


def fits_in_memory(examples: data.Examples, devices: Sequence[Any]) -> bool:
    """Return whether a copy of the examples on each device takes at most a quarter of its memory.

    On CPU all devices share the host's memory, of which the copies may take a gigabyte. A device that does not report
    its memory is assumed to have too little.

    Examples:
        >>> from jaxdl import data
        >>> examples = data.Examples(np.zeros((10, 8, 8, 1), np.uint8), np.zeros(10, np.int32))
        >>> training.fits_in_memory(examples, jax.devices()[:1])
        True
    """
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(examples))
    if devices[0].platform == "cpu":
        return size * len(devices) <= _ON_CPU
    about = [device.memory_stats() or {} for device in devices]
    return size <= min(stats.get("bytes_limit", 0) for stats in about) / 4
