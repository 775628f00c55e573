"""`--on-nan skip`: steps that leave everything as it was, and the leaves of a state that are not finite."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import training

FIELDS = ("params", "layer_state", "opt_state", "average")  # of a TrainState
SKIPPED = "skipped"  # name of a metric: 1 for a step that was skipped


def skipping(step: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Return a step that leaves parameters and states as they were if it would make a finite number of them NaN or inf.

    The step is counted all the same, so that the next one has its own batch and key. Its sums are 0, and the metric
    "skipped" is 1. A loss that is not finite also makes it skip.

    Args:
        step: as from `training.train_step`.
    """

    def guarded(state: training.TrainState, batch: Any, key: Any, *, axis_name: str | None = None):
        new, sums = step(state, batch, key, axis_name=axis_name)
        bad = [~jnp.isfinite(sums["loss"] + sums["penalty"])]
        bad += [
            (jnp.isfinite(before) & ~jnp.isfinite(after)).any()
            for before, after in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True)
            if jnp.issubdtype(after.dtype, jnp.inexact)
        ]
        skip = jnp.array(bad).any()
        kept = jax.tree.map(lambda before, after: jnp.where(skip, before, after), state, new)
        sums = {name: jnp.where(skip, jnp.zeros_like(value), value) for name, value in sums.items()}
        return kept._replace(step=new.step), {**sums, SKIPPED: skip.astype(jnp.float32)}

    return guarded


def bad_leaves(state: training.TrainState, fields: Sequence[str] = FIELDS) -> list[str]:
    """Return the leaves that are not finite, such as ``params['fc']['kernel'] (layer fc)``."""
    found = []
    for name in fields:
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(state, name)):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
                layer = "/".join(str(part.key) for part in path[:-1] if isinstance(part, jax.tree_util.DictKey))
                where = f" (layer {layer})" if layer else ""
                found.append(f"{name}{jax.tree_util.keystr(path)}{where}")
    return found
