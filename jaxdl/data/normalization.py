"""Input normalisation with statistics of the training part alone (Lecture row G6).

Raw pixels go to the device as they are stored (bytes are a quarter of float32's traffic); scaling and
normalisation are functions of arrays to be called inside the jitted step.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float


class Normalization(NamedTuple):
    """Per-channel statistics of the training images, in units where full brightness is 1."""

    mean: Any  # float32 (C,)
    std: Any  # float32 (C,)
    scale: Any  # the raw pixel value that means 1.0

    def to_dict(self) -> dict[str, Any]:
        """Lists and numbers for JSON; `from_dict` gives back exactly the same statistics."""
        return {
            "mean": np.asarray(self.mean, np.float32).tolist(),
            "std": np.asarray(self.std, np.float32).tolist(),
            "scale": float(self.scale),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Normalization":
        """The statistics that `to_dict` wrote."""
        return cls(np.asarray(values["mean"], np.float32), np.asarray(values["std"], np.float32), values["scale"])


def fit_normalization(images: np.ndarray, scale: float | int) -> Normalization:
    """Mean and standard deviation of every channel over images and positions: σ² = (1/m) Σ (x − μ)².

    Args:
        images: The training images `(N, H, W, C)`, raw.
        scale: The raw pixel value that means 1.0.

    Returns:
        Statistics of `images / scale`, summed in float64 a slice at a time (no float copy of the data set is
        made).

    Raises:
        ValueError: If there are no images or the rank is another.

    Reference: Lecture row G6.
    """
    if images.ndim != 4 or images.shape[0] == 0:
        raise ValueError(f"images has shape {images.shape}; expected (N, H, W, C) with N of at least 1")
    count = images.size // images.shape[-1]
    mean = _channel_sums(images, 0.0, 1) / count
    variance = _channel_sums(images, mean, 2) / count
    return Normalization(
        (mean / scale).astype(np.float32), (np.sqrt(variance) / scale).astype(np.float32), float(scale)
    )


def no_normalization(channels: int, scale: float | int) -> Normalization:
    """Mean 0 and standard deviation 1, with which `normalize` gives raw pixels in [0, 1] and nothing else.

    Args:
        channels: how many, at least 1.
        scale: The raw pixel value that means 1.0.

    Raises:
        ValueError: If there are no channels.
    """
    if channels < 1:
        raise ValueError(f"channels is {channels}; must be at least 1")
    return Normalization(np.zeros(channels, np.float32), np.ones(channels, np.float32), float(scale))


def _channel_sums(images: np.ndarray, center: Any, power: int) -> np.ndarray:
    total = np.zeros(images.shape[-1])
    for first in range(0, len(images), 512):
        part = images[first : first + 512].astype(np.float64).reshape(-1, images.shape[-1])
        total += ((part - center) ** power).sum(axis=0)
    return total


def to_unit(x: ArrayLike, scale: Any) -> Float[Array, "..."]:
    """Raw pixels in [0, 1]: x / scale, in float32 for bytes, in the type of x for floats.

    Args:
        x: Raw pixels of any shape.
        scale: The raw pixel value that means 1.0.
    """
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)
    return x / jnp.asarray(scale, x.dtype)


def standardize(x: ArrayLike, stats: Normalization) -> Float[Array, "..."]:
    """(x − mean) / std per channel, for pixels in [0, 1]; see `normalize`, which starts from raw pixels.

    A channel that is constant in the training part (std 0) is only centred.

    Args:
        x: Pixels `(..., C)` in [0, 1].
        stats: Statistics of the training part.

    Raises:
        ValueError: If the channels of x and stats differ in number.
    """
    x = jnp.asarray(x)
    mean, std = jnp.asarray(stats.mean, x.dtype), jnp.asarray(stats.std, x.dtype)
    if x.ndim == 0 or x.shape[-1:] != mean.shape:
        raise ValueError(f"x has shape {x.shape}; its last axis must have the {mean.size} channels of stats")
    per_channel = (1,) * (x.ndim - 1) + mean.shape
    safe = jnp.where(std > 0, std, jnp.ones_like(std))
    return (x - mean.reshape(per_channel)) / safe.reshape(per_channel)


def normalize(x: ArrayLike, stats: Normalization) -> Float[Array, "..."]:
    """Raw pixels to inputs of a network: (x / scale − mean) / std, per channel.

    Args:
        x: Raw pixels `(..., C)`; bytes become float32.
        stats: Statistics of the training part; applied unchanged to the test part.

    Raises:
        ValueError: If the channels of x and stats differ in number.

    Reference: Lecture row G6.
    """
    return standardize(to_unit(x, stats.scale), stats)
