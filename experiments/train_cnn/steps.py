"""What is put around a training step: mixtures of examples with soft labels, and `--on-nan skip`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import data, training
from jaxdl.data import augmentation

Mix = Callable[..., tuple[Any, Any]]  # (key, images, targets) -> mixed images and targets
MIXING = 0x6D6978  # sets the keys of the mixtures apart from those of the step


def on_mixtures(
    step: Callable[..., tuple[Any, Any]],
    mixes: Sequence[Mix],
    classes: int,
    *,
    preprocess: Callable[[Any], Any],
    augment: augmentation.Augmentation | None,
) -> Callable[..., tuple[Any, Any]]:
    """Make a training step that mixes the examples of each batch first.

    Images are augmented and normalised before they are mixed. Each device mixes its own part of the batch, with a key
    of its own.

    Args:
        step: as from `training.train_step`, without ``preprocess`` and ``augment``; its loss takes soft labels.
        mixes: one of them is drawn for each batch.
        classes: number of classes.
        preprocess: see `training.train_step`.
        augment: see `training.train_step`.
    """

    def mixed(state: Any, batch: data.Batch, key: jax.Array, *, axis_name: str | None = None):
        own = jax.random.fold_in(jax.random.fold_in(key, state.step), MIXING)
        augment_key, choice_key, mix_key = jax.random.split(own, 3)
        if axis_name is not None:
            mix_key = jax.random.fold_in(mix_key, jax.lax.axis_index(axis_name))
        images = jnp.asarray(batch.image)
        if augment is not None:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(augment_key, batch.index)
            images = jax.vmap(augment)(keys, images)
        targets = jax.nn.one_hot(batch.label, classes)
        choice = jax.random.randint(choice_key, (), 0, len(mixes))
        images, targets = jax.lax.switch(choice, mixes, mix_key, preprocess(images), targets)
        return step(state, batch._replace(image=images, label=targets), key, axis_name=axis_name)

    return mixed


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
