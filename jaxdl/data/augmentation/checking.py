"""Checks of arguments and the draw that the random changes share."""

from numbers import Integral, Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Num

from jaxdl.data.transforms import Number

Image = Num[ArrayLike, "..."]


def symmetric(key: Array, limit: Number) -> Array:
    """Draw a number from U(−limit, limit)."""
    return jax.random.uniform(key, minval=-limit, maxval=limit)


def check_key(key: Any) -> None:
    """Refuse anything but a random key, such as a seed or, if arguments were swapped, an image."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    raw = isinstance(key, jax.Array | np.ndarray) and key.dtype == jnp.uint32 and key.ndim == 1
    if not (typed or raw):
        shape = f" of shape {key.shape} and type {key.dtype}" if hasattr(key, "dtype") and hasattr(key, "shape") else ""
        raise ValueError(
            f"key is a {type(key).__name__}{shape}; expected one random key, as jax.random.key(0) makes it"
        )


def check_whole(name: str, value: Any) -> None:
    """Refuse Python numbers that are not whole."""
    if isinstance(value, Real) and not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels")


def check_range(
    name: str, value: Number, *, low: Number, high: Number | None = None, below: Number | None = None
) -> None:
    """Refuse Python numbers outside of [low, high] or [low, below); traced numbers pass."""
    if not isinstance(value, Real):
        return
    limit = f", at most {high}" if high is not None else f", below {below}" if below is not None else ""
    if not (value >= low and (high is None or value <= high) and (below is None or value < below)):
        raise ValueError(f"{name} is {value}; it must be at least {low}{limit}")
