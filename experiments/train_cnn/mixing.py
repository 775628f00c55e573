"""Training on mixtures of a batch's examples: mixup and CutMix, with soft labels."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import data
from jaxdl.data import augmentation

Mix = Callable[..., tuple[Any, Any]]  # (key, images, targets) -> mixed images and targets
KEYS = 0x6D6978  # sets the keys of the mixtures apart from those of the step


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
        own = jax.random.fold_in(jax.random.fold_in(key, state.step), KEYS)
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
