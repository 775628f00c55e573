"""Random changes of pixels and colours."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl.data.augmentation.checking import Image, check_key, check_range, check_whole, symmetric
from jaxdl.data.coloring import contrasted, hue_turned, saturated
from jaxdl.data.transforms import Number, checked_image, erased


def noise(key: Array, image: Image, *, stddev: Number = 0.05) -> Float[Array, "h w c"]:
    """Add noise from N(0, stddev²), drawn in float32, to every value.

    Args:
        key: random key.
        image: floats `(H, W, C)`.
        stddev: standard deviation, at least 0, where full brightness is 1.

    Raises:
        ValueError: if the deviation is negative, or the image is not floats of rank 3.

    [Lecture row G7]
    """
    check_key(key)
    check_range("stddev", stddev, low=0)
    image = checked_image(image)
    return image + (stddev * jax.random.normal(key, image.shape)).astype(image.dtype)


def drop_pixels(key: Array, image: Image, *, rate: Number = 0.1, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Set each pixel, all channels together, to `fill` with probability `rate`, without rescaling the others.

    See `flip`.
    """
    check_key(key)
    check_range("rate", rate, low=0, high=1)
    image = checked_image(image)
    dropped = jax.random.bernoulli(key, rate, (*image.shape[:2], 1))
    return jnp.where(dropped, jnp.asarray(fill, image.dtype), image)


def cutout(key: Array, image: Image, *, size: int = 8, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Fill a square whose centre is drawn evenly from all pixels; at the border a part of it lies outside the image.

    Args:
        key: random key.
        image: floats `(H, W, C)`.
        size: side of the square in pixels.
        fill: value inside the square.

    Raises:
        ValueError: if the size is negative, or the image is not floats of rank 3.

    Reference: T. DeVries, G. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout,
    2017, https://arxiv.org/abs/1708.04552.

    Examples:
        >>> dark = augmentation.cutout(jax.random.key(0), jnp.ones((8, 8, 1)), size=2)
        >>> bool((dark == 0).sum() <= 4)  # at the border a part of the square lies outside
        True
    """
    check_key(key)
    check_whole("size", size)
    check_range("size", size, low=0)
    image = checked_image(image)
    row, column = jax.random.randint(key, (2,), 0, jnp.array(image.shape[:2]))
    return erased(image, row, column, size=size, fill=fill)


def brightness(key: Array, image: Image, *, max_change: Number = 0.2) -> Float[Array, "h w c"]:
    """Add one number from U(−max_change, max_change) to all values.

    Args:
        key: random key.
        image: floats `(H, W, C)`.
        max_change: largest change, at least 0, where full brightness is 1.

    Raises:
        ValueError: if the change is negative, or the image is not floats of rank 3.

    Examples:
        >>> changed = augmentation.brightness(jax.random.key(0), jnp.zeros((2, 2, 1)), max_change=0.2)
        >>> bool(abs(changed).max() <= 0.2), bool(jnp.ptp(changed) == 0)  # one number for all pixels
        (True, True)
    """
    check_key(key)
    check_range("max_change", max_change, low=0)
    image = checked_image(image)
    return image + symmetric(key, max_change).astype(image.dtype)


def contrast(key: Array, image: Image, *, max_change: Number = 0.2) -> Float[Array, "h w c"]:
    """Scale distances from the mean of each channel by one factor from U(1 − max_change, 1 + max_change).

    See `brightness`; max_change lies in [0, 1].
    """
    check_key(key)
    check_range("max_change", max_change, low=0, high=1)
    return contrasted(image, 1 + symmetric(key, max_change))


def saturation(key: Array, image: Image, *, max_change: Number = 0.2) -> Float[Array, "h w c"]:
    """Scale the saturation of all colours by one factor from U(1 − max_change, 1 + max_change).

    See `brightness`; max_change lies in [0, 1], and pixels are at least 0.
    """
    check_key(key)
    check_range("max_change", max_change, low=0, high=1)
    return saturated(image, 1 + symmetric(key, max_change))


def hue(key: Array, image: Image, *, max_change: Number = 0.1) -> Float[Array, "h w 3"]:
    """Turn all hues by one share of the colour circle, drawn from U(−max_change, max_change).

    See `brightness`; max_change lies in [0, 0.5], and the image has three channels, red, green and blue.
    """
    check_key(key)
    check_range("max_change", max_change, low=0, high=0.5)
    return hue_turned(image, symmetric(key, max_change))
