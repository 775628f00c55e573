"""Robustness: accuracy against the amount of a change of the images. [Lecture row H7]"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxdl import numerics


def robustness(
    key: Array,
    classify: Callable[[Array], Array],
    images: Float[ArrayLike, "..."],
    labels: Int[ArrayLike, "..."],
    change: Callable[[Array, Array, Array], Array],
    amounts: Float[ArrayLike, " a"],
    *,
    batch_size: int = 500,
) -> Float[Array, " a"]:
    """Return the accuracy of a classifier on changed images, for each amount of the change.

    An image has the same random key at all amounts, such as that of the direction of a shift, so that accuracies differ
    by the amount alone.

    Args:
        key: random key.
        classify: a batch of images → scores `(n, classes)`, of which the largest is the guess.
        images: the images `(n, h, w, c)`.
        labels: their classes `(n,)`.
        change: (key, image, amount) → image of the same shape; see `data.augmentation` and `data.transforms`.
        amounts: how much to change.
        batch_size: images that are changed and classified at once, which bounds the memory.

    Raises:
        ValueError: if there are no images, not as many labels, a batch size below 1, or if the change does not keep the
            shape.

    Reference: D. Hendrycks, T. Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations, 2019, https://arxiv.org/abs/1903.12261.

    Examples:
        Images of 0 and 1, told apart by their brightness, until they are darkened too much:

        >>> def brightness(images):
        ...     mean = images.mean((1, 2, 3))
        ...     return jnp.stack([0.5 - mean, mean - 0.5], -1)
        >>> images = jnp.array([0.0, 1.0])[:, None, None, None]
        >>> amounts = np.array([0.0, 0.4, 0.6])
        >>> darker = lambda key, image, amount: image - amount
        >>> analysis.robustness(jax.random.key(0), brightness, images, np.array([0, 1]), darker, amounts)
        Array([1. , 1. , 0.5], dtype=float32)

    [Lecture row H7]
    """
    numerics.check_key(key)
    images, labels, amounts = jnp.asarray(images), jnp.asarray(labels), jnp.asarray(amounts)
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(images):
        raise ValueError(
            f"images have shape {images.shape}, labels {labels.shape}; expected (n, h, w, c) and (n,), n at least 1"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be at least 1")
    shape = jax.eval_shape(change, key, images[0], amounts[0]).shape if len(amounts) else images.shape[1:]
    if shape != images.shape[1:]:
        raise ValueError(f"change: makes shape {shape} of {images.shape[1:]}; it must keep the shape")
    keys = jax.random.split(key, len(images))
    changed = _over_images(change)
    starts = range(0, len(images), batch_size)
    rows = [slice(start, start + batch_size) for start in starts]

    def right(amount: Array) -> Array:
        guesses = [jnp.argmax(classify(changed(keys[r], images[r], amount)), -1) for r in rows]
        return jnp.mean(jnp.concatenate(guesses) == labels)

    return jnp.stack([right(amount) for amount in amounts]) if len(amounts) else jnp.zeros(0)


@functools.lru_cache(maxsize=32)
def _over_images(change: Callable) -> Callable:
    """Return the compiled change of a batch, once per change: several classifiers are usually held to the same ones."""
    return jax.jit(jax.vmap(change, (0, 0, None)))
