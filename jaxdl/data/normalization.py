"""Input normalisation with statistics of the training part alone. [Lecture row G6]

Raw pixels go to the device as they are stored, because bytes need a quarter of float32's traffic. Scaling and
normalisation are functions of arrays to call inside the jitted step.
"""

import math
from numbers import Integral, Real
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl.data.splits import shown


class Normalization(NamedTuple):
    """Per-channel statistics of the training images, in units where full brightness is 1."""

    mean: Any  # float32 (C,)
    std: Any  # float32 (C,)
    scale: Any  # the raw pixel value that means 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return lists and numbers for JSON, from which `from_dict` restores the statistics exactly."""
        return {
            "mean": np.asarray(self.mean, np.float32).tolist(),
            "std": np.asarray(self.std, np.float32).tolist(),
            "scale": float(self.scale),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Normalization":
        """Restore the statistics that `to_dict` returned."""
        return cls(np.asarray(values["mean"], np.float32), np.asarray(values["std"], np.float32), values["scale"])


def fit_normalization(images: ArrayLike, scale: float | int) -> Normalization:
    """Return the mean and standard deviation of every channel over images and positions: σ² = (1/m) Σ (x − μ)².

    Args:
        images: the raw training images `(N, H, W, C)`, or features `(N, C)`.
        scale: the raw pixel value that means 1.0, a positive number.

    Returns:
        Statistics of `images / scale`, summed in float64 slice by slice, without a float copy of the data set. A
        channel that varies by rounding errors alone has standard deviation 0.

    Raises:
        ValueError: if there are no images, they have another rank, or the scale is not positive.

    Examples:
        Bytes 0 and 255 are 0 and 1, of mean and standard deviation ½:

        >>> images = np.array([0, 255], np.uint8)[:, None, None, None]
        >>> stats = data.fit_normalization(images, 255)
        >>> stats.mean, stats.std
        (array([0.5], dtype=float32), array([0.5], dtype=float32))

    [Lecture row G6]
    """
    if isinstance(images, tuple):
        raise ValueError(f"images is a {type(images).__name__}; expected an array, such as splits.train.images")
    if np.ndim(images) not in (2, 4) or np.size(images) == 0:
        raise ValueError(
            f"images has shape {np.shape(images)}; expected (N, H, W, C) or (N, features) with N of at least 1"
        )
    _check_scale(scale)
    images = np.asarray(images)  # JAX would keep the sums of its own arrays in float32
    count = images.size // images.shape[-1]
    mean = _channel_sums(images, 0.0, 1) / count
    std = np.sqrt(_channel_sums(images, mean, 2) / count)
    std = np.where(std > 1e-12 * np.abs(mean), std, 0.0)  # float32's own steps are 1e-7 of a value
    return Normalization((mean / scale).astype(np.float32), (std / scale).astype(np.float32), float(scale))


def no_normalization(channels: int, scale: float | int) -> Normalization:
    """Return mean 0 and standard deviation 1, with which `normalize` only scales raw pixels to [0, 1].

    Args:
        channels: number of channels, at least 1.
        scale: the raw pixel value that means 1.0.

    Raises:
        ValueError: if there are no channels, or the scale is not positive.

    Examples:
        >>> data.normalize(np.array([[0, 51, 255]], np.uint8), data.no_normalization(3, 255))
        Array([[0. , 0.2, 1. ]], dtype=float32)
    """
    if not isinstance(channels, Integral) or channels < 1:
        raise ValueError(f"channels is {shown(channels)}; must be an integer of at least 1")
    _check_scale(scale)
    return Normalization(np.zeros(channels, np.float32), np.ones(channels, np.float32), float(scale))


def _check_scale(scale: float | int) -> None:
    if not isinstance(scale, Real) or not 0 < scale < math.inf:
        raise ValueError(f"scale is {shown(scale)}; it must be a positive number, the raw pixel value that means 1.0")


def _channel_sums(images: np.ndarray, center: Any, power: int) -> np.ndarray:
    total = np.zeros(images.shape[-1])
    for first in range(0, len(images), 512):
        part = images[first : first + 512].astype(np.float64).reshape(-1, images.shape[-1])
        total += ((part - center) ** power).sum(axis=0)
    return total


def to_unit(x: ArrayLike, scale: Any) -> Float[Array, "..."]:
    """Scale raw pixels to [0, 1]: x / scale, in float32 for bytes and in the type of x for floats.

    Args:
        x: raw pixels of any shape; 16-bit floats are divided in float32.
        scale: the raw pixel value that means 1.0.

    Raises:
        ValueError: if x is complex.

    Examples:
        >>> data.to_unit(np.array([0, 51, 255], np.uint8), 255)
        Array([0. , 0.2, 1. ], dtype=float32)
    """
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(f"x has type {x.dtype}; expected real numbers")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    unit = x.astype(wide) / jnp.asarray(scale, wide)
    return unit.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else unit


def standardize(x: ArrayLike, stats: Normalization) -> Float[Array, "..."]:
    """Return (x − mean) / std per channel, for pixels in [0, 1]; `normalize` starts from raw pixels.

    A channel that is constant in the training part (std 0) is only centred.

    Args:
        x: pixels in [0, 1] as floats `(..., C)`; the computation is in float32 for 16-bit floats.
        stats: statistics of the training part.

    Raises:
        ValueError: if the channels of x and stats differ in number, or x is not floats.

    Examples:
        >>> stats = data.Normalization(np.array([0.5]), np.array([0.25]), 255.0)
        >>> data.standardize(np.array([[0.0], [1.0]], np.float32), stats)
        Array([[-2.],
               [ 2.]], dtype=float32)
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x has type {x.dtype}; expected floats (data.normalize takes raw pixels)")
    _check_stats(stats)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    mean, std = jnp.asarray(stats.mean, wide), jnp.asarray(stats.std, wide)
    if x.ndim == 0 or x.shape[-1:] != mean.shape:
        raise ValueError(f"x has shape {x.shape}; its last axis must have the {mean.size} channels of stats")
    per_channel = (1,) * (x.ndim - 1) + mean.shape
    safe = jnp.where(std > 0, std, jnp.ones_like(std))
    return ((x.astype(wide) - mean.reshape(per_channel)) / safe.reshape(per_channel)).astype(x.dtype)


def normalize(x: ArrayLike, stats: Normalization) -> Float[Array, "..."]:
    """Turn raw pixels into inputs of a network: (x / scale − mean) / std, per channel.

    Args:
        x: raw pixels or features `(..., C)`; bytes become float32.
        stats: statistics of the training part; applied unchanged to the test part.

    Raises:
        ValueError: if the channels of x and stats differ in number.

    Examples:
        >>> data.normalize(np.array([[51.0]]), data.Normalization(np.array([0.1]), np.array([0.2]), 255.0))
        Array([[0.5]], dtype=float32)

    [Lecture row G6]
    """
    _check_stats(stats)
    return standardize(to_unit(x, stats.scale), stats)


def _check_stats(stats: Any) -> None:
    if not isinstance(stats, Normalization):
        raise ValueError(f"stats is a {type(stats).__name__}; expected a data.Normalization")
