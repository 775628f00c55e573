"""The cause of a divergence: the first value that is not finite, by step, leaf and layer.

A run looks at its losses with the rows of metrics.csv, many steps after a value overflowed, so that no step pays for
it. The search then repeats the steps since the last checkpoint, which are the same bit for bit, and looks at each.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.train_cnn.setup import Setup, Start
from jaxdl import data, nn, training

FIELDS = ("params", "layer_state", "opt_state", "average")  # of a TrainState


def explain(shared: Setup, start: Start, folder: Path, like: Any, key: Any, last: int) -> str:
    """Describe the first value that is not finite, by repeating the steps since the newest checkpoint.

    Args:
        shared: the run.
        start: the optimizer.
        folder: of its checkpoints.
        like: the arrays of one; see `training.checkpoints.restore`.
        key: of the steps, on the devices.
        last: the last step to repeat.

    Returns:
        The end of a sentence, which also names the checkpoint; "" without any.
    """
    try:
        found = training.checkpoints.restore_newest(folder, like, report=lambda line: None)
    except training.checkpoints.CorruptCheckpointError:  # all of them, so that there is nothing to keep
        found = None
    state, place = start.state, (0, 0)
    if found is not None:
        state, place = found.tree["state"], (found.meta["epoch"], found.meta["batch"])
    kept = "" if found is None else f"; the checkpoint of step {found.meta['step']} is kept in {folder}"
    cause = first_cause(shared, start, start.step.place(state), key, place, last)
    return f"{f'; the first value that is not finite is {cause}' if cause else ''}{kept}"


def first_cause(
    shared: Setup, start: Start, state: training.TrainState, key: Any, place: tuple[int, int], last: int
) -> str:
    """Repeat steps and describe the first value that is not finite; "" if all are finite.

    Args:
        shared: the run.
        start: the optimizer's compiled step.
        state: placed on the devices; it is donated.
        key: of the steps, on the devices.
        place: epoch of the state, and batches of it that are done.
        last: the last step to repeat.
    """
    known = bad_leaves(state)  # an optimizer's state may hold infinities by design
    for number, batch in _following(shared, place, int(state.step), last):
        before = jax.device_get((state.params, state.layer_state))
        rows = batch if shared.steps_per_call == 1 else data.stack_rows([batch], shared.steps_per_call)
        state, sums = start.step.step(state, start.step.shard(rows), key)
        sums = {name: float(np.ravel(value)[0]) for name, value in jax.device_get(sums).items()}
        if not np.isfinite(sums["loss"] + sums["penalty"]):
            return f"{_in_forward(shared, before, batch)} in step {number}"
        if new := [name for name in bad_leaves(state) if name not in known]:
            return f"{new[0]} after step {number}"
    return ""


def _following(shared: Setup, place: tuple[int, int], step: int, last: int) -> Iterator[tuple[int, Any]]:
    """Yield the steps from the next one to the last, each with its batch or the rows of it."""
    epoch, first = place
    epochs = itertools.chain([shared.batches(epoch, first)], (shared.batches(e, 0) for e in itertools.count(epoch + 1)))
    return zip(range(step + 1, last + 1), itertools.chain.from_iterable(epochs), strict=False)


def _in_forward(shared: Setup, variables: tuple[Any, Any], batch: Any) -> str:
    """Name the first layer whose output is not finite, for finite parameters and a batch without augmentation."""
    images = batch.image if isinstance(batch, data.Batch) else data.take(shared.splits.train, batch).image
    if not np.isfinite(images).all():
        return "the images of the batch"
    if shared.config.compute_dtype != "float32":
        return f"the forward pass, which computes in {shared.config.compute_dtype},"
    parts = [path for path in nn.paths(shared.layer) if not nn.at(shared.layer, path).children]
    try:
        tapped = nn.tap(shared.layer, parts)
    except ValueError:  # a layer that cannot be taken apart
        return "the forward pass"
    x = data.normalize(jnp.asarray(images), shared.preprocessing)
    (_, seen), _ = tapped.apply(*jax.tree.map(jnp.asarray, variables), x, train=True, key=jax.random.key(0))
    for path in parts:
        if path in seen and not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(seen[path])):
            return f"the output of layer {path}"
    return "the loss or its penalty, of finite outputs,"


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
