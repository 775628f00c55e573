"""Augmentations built from others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Num

from jaxdl.data.augmentation.checking import check_key

Augmentation = Callable[[Array, Array], Array]


def compose(*augmentations: Augmentation) -> Augmentation:
    """Return an augmentation that applies several from left to right, each with a key of its own.

    Args:
        augmentations: functions of (key, image); set options with `functools.partial`.

    Examples:
        >>> import functools
        >>> always = functools.partial(augmentation.flip, rate=1.0)
        >>> twice = augmentation.compose(always, always)
        >>> twice(jax.random.key(0), jnp.array([[1.0, 2.0]])[..., None]).ravel()
        Array([1., 2.], dtype=float32)
    """

    def composed(key: Array, image: Array) -> Array:
        check_key(key)
        for position, augmentation in enumerate(augmentations):
            image = augmentation(jax.random.fold_in(key, position), image)
        return image

    return composed


def per_example(
    augmentation: Augmentation,
) -> Callable[[Array, Num[ArrayLike, "n h w c"], Int[ArrayLike, " n"]], Array]:
    """Return `f(key, images, index)` for a batch, in which example i has the key fold_in(key, index[i]).

    A result depends on the index of the example and not on its place in the batch, so any number of devices gives
    the same results.

    Args:
        augmentation: a function of (key, image).

    Examples:
        >>> flip = augmentation.per_example(augmentation.flip)
        >>> images = jnp.ones((4, 2, 2, 1))
        >>> flip(jax.random.key(0), images, jnp.arange(4)).shape
        (4, 2, 2, 1)
    """

    def batched(key: Array, images: Num[ArrayLike, "n h w c"], index: Int[ArrayLike, " n"]) -> Array:
        check_key(key)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.asarray(index))
        return jax.vmap(augmentation)(keys, jnp.asarray(images))

    return batched
