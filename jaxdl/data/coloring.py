"""Deterministic changes of one image's colours, which `augmentation` makes at random; see `transforms`."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from jaxdl import numerics
from jaxdl.data.transforms import checked_image


def contrasted(image: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Scale the distances from the mean of each channel: out = mean + factor · (image − mean).

    Args:
        image: floats `(H, W, C)`.
        factor: 1 changes nothing, 0 leaves the mean of every channel.
    """
    image = checked_image(image)
    mean = image.mean(axis=(0, 1), keepdims=True)
    return mean + jnp.asarray(factor, image.dtype) * (image - mean)


def saturated(image: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Scale the saturation and keep hue and value: out = max − f · (max − image), per pixel.

    The saturation (max − min) / max cannot exceed 1, so f is at most max / (max − min).

    Args:
        image: floats `(H, W, C)`, at least 0.
        factor: 1 changes nothing, 0 makes every pixel grey, as bright as its brightest channel.
    """
    image = checked_image(image)
    top = image.max(axis=-1, keepdims=True)
    span = top - image.min(axis=-1, keepdims=True)
    most = jnp.where(span > 0, top / jnp.where(span > 0, span, 1), 1)
    return top - jnp.minimum(jnp.asarray(factor, image.dtype), most) * (top - image)


def hue_turned(image: Num[ArrayLike, "..."], turns: Num[ArrayLike, ""]) -> Float[Array, "h w 3"]:
    """Rotate the hue by a share of the colour circle, keeping value and saturation (of HSV).

    Args:
        image: floats `(H, W, 3)`: red, green and blue.
        turns: 1/3 turns red into green and 1/2 into cyan; whole numbers change nothing.

    Raises:
        ValueError: if the image is not floats of rank 3 with three channels.
    """
    image = checked_image(image)
    if image.shape[-1] != 3:
        raise ValueError(f"image has shape {image.shape}; a hue needs three channels, red, green and blue")
    x = numerics.widen(image)
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    top, span = x.max(-1), x.max(-1) - x.min(-1)
    chroma = jnp.where(span > 0, span, 1)  # grey has no hue, so any chroma will do
    sixths = jnp.where(
        top == red,
        (green - blue) / chroma,
        jnp.where(top == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma),
    )
    sixths = sixths + 6 * jnp.asarray(turns, x.dtype)
    turned = []
    for offset in (5, 3, 1):
        k = jnp.mod(offset + sixths, 6)
        turned.append(top - span * jnp.clip(jnp.minimum(k, 4 - k), 0, 1))
    return jnp.stack(turned, -1).astype(image.dtype)


def luma(image: Num[ArrayLike, "..."]) -> Float[Array, "h w 1"]:
    """Return the brightness 0.299 R + 0.587 G + 0.114 B of each pixel; unless there are three channels, their mean.

    Reference: ITU-R, Recommendation BT.601, 2011.
    """
    image = checked_image(image)
    if image.shape[-1] != 3:
        return image.mean(-1, keepdims=True)
    return (image * jnp.asarray([[[0.299, 0.587, 0.114]]], image.dtype)).sum(-1, keepdims=True)


def smoothed(image: Num[ArrayLike, "..."]) -> Float[Array, "h w c"]:
    """Average each pixel, with weight 5, and its eight neighbours, with weight 1; the border stays as it is."""
    image = checked_image(image)
    if min(image.shape[:2]) < 3:
        return image
    height, width = image.shape[0] - 2, image.shape[1] - 2
    parts = [image[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    inside = (sum(parts) + 4 * image[1:-1, 1:-1]) / 13
    return image.at[1:-1, 1:-1].set(inside)


def blended(
    image: Num[ArrayLike, "..."], other: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""]
) -> Float[Array, "h w c"]:
    """Return other + factor · (image − other): 0 gives `other`, 1 the image, and more than 1 extrapolates.

    Blending with black changes the brightness, with the mean luma the contrast, with the luma the colour, and with the
    smoothed image the sharpness, as Pillow's `ImageEnhance` does.

    Args:
        image: floats `(H, W, C)`.
        other: floats of the same rank, broadcast to the image.
        factor: a number.
    """
    image = checked_image(image)
    other = jnp.asarray(other, image.dtype)
    return other + jnp.asarray(factor, image.dtype) * (image - other)


def autocontrasted(image: Num[ArrayLike, "..."]) -> Float[Array, "h w c"]:
    """Stretch each channel so that its darkest pixel is 0 and its brightest 1; a constant channel stays."""
    image = checked_image(image)
    low, high = image.min((0, 1), keepdims=True), image.max((0, 1), keepdims=True)
    flat = high <= low
    return jnp.where(flat, image, (image - low) / jnp.where(flat, 1, high - low))


def solarized(image: Num[ArrayLike, "..."], threshold: Num[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Invert the pixels at or above a threshold: x becomes 1 − x where x ≥ threshold."""
    image = checked_image(image)
    return jnp.where(image >= jnp.asarray(threshold, image.dtype), 1 - image, image)


def posterized(image: Num[ArrayLike, "..."], bits: Num[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Keep the highest bits of each byte; the gradient is 0.

    Args:
        image: floats `(H, W, C)` in [0, 1].
        bits: a whole number from 0 to 8, which may be traced.
    """
    image = checked_image(image)
    step = jnp.exp2(8 - jnp.asarray(bits, jnp.float32))
    return (jnp.floor(_bytes(image) / step) * step / 255).astype(image.dtype)


def equalized(image: Num[ArrayLike, "..."]) -> Float[Array, "h w c"]:
    """Spread each channel's bytes so that all are about equally frequent, as Pillow does; the gradient is 0.

    A channel of one value, or of fewer than 255 pixels beside those of its brightest value, stays as it is.

    Args:
        image: floats `(H, W, C)` in [0, 1].
    """
    image = checked_image(image)

    def channel(plane: Array) -> Array:
        levels = _bytes(plane).astype(jnp.int32)
        counts = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
        step = (counts.sum() - counts[levels.max()]) // 255
        table = jnp.minimum((step // 2 + jnp.cumsum(counts) - counts) // jnp.maximum(step, 1), 255)
        return jnp.where(step == 0, plane, (table[levels] / 255).astype(plane.dtype))

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image) if image.size else image


def _bytes(image: Array) -> Array:
    """Return the nearest byte values, as float32."""
    return jnp.round(jnp.clip(image, 0, 1).astype(jnp.float32) * 255)
