"""The deterministic changes of one image that `augmentation` makes at random.

Images are floats `(H, W, C)`, row 0 on top; what comes in from outside is `fill`. Every function keeps shape
and type, is differentiable in the pixels, and takes its amounts as Python numbers or traced arrays.
"""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from jaxdl import numerics

Number = float | int
_DEGREE = jnp.pi / 180


def checked_image(image: ArrayLike) -> Array:
    """The image as an array.

    Raises:
        ValueError: If it is not floats of rank 3.
    """
    image = jnp.asarray(image)
    if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image has shape {image.shape} and type {image.dtype}; expected floats (H, W, C) "
            "(data.to_unit makes them from bytes, jax.vmap takes a batch)"
        )
    return image


def warped(image: Num[ArrayLike, "..."], matrix: Num[ArrayLike, "2 2"], *, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Bilinear resampling about the centre c: out(o) = image(M (o − c) + c), o = (row, column).

    Args:
        image: Floats `(H, W, C)`.
        matrix: M, from output to input positions.
        fill: Value of every pixel outside of the image; at the border it is interpolated with.

    Raises:
        ValueError: If the image is not floats of rank 3.
    """
    image = checked_image(image)
    height, width, _ = image.shape
    dtype = numerics.wide_dtype(image.dtype)
    matrix = jnp.asarray(matrix, dtype)
    rows = jnp.arange(height, dtype=dtype)[:, None] - (height - 1) / 2
    columns = jnp.arange(width, dtype=dtype)[None, :] - (width - 1) / 2
    y = matrix[0, 0] * rows + matrix[0, 1] * columns + (height - 1) / 2
    x = matrix[1, 0] * rows + matrix[1, 1] * columns + (width - 1) / 2

    def channel(plane: Array) -> Array:
        return map_coordinates(plane.astype(dtype), [y, x], order=1, mode="constant", cval=fill)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image).astype(image.dtype)


def rotated(image: Num[ArrayLike, "..."], degrees: Num[ArrayLike, ""], *, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """The image turned counter-clockwise about its centre, of the same size; see `warped`.

    Args:
        image: Floats `(H, W, C)`.
        degrees: Angle; 90 is `numpy.rot90` of a square image.
        fill: Value outside of the image.
    """
    angle = jnp.asarray(degrees, jnp.float32) * _DEGREE
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return warped(image, jnp.array([[cos, sin], [-sin, cos]]), fill=fill)


def scaled(image: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""], *, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """The image enlarged (factor above 1) or shrunk about its centre, of the same size; see `warped`.

    Args:
        image: Floats `(H, W, C)`.
        factor: How many times larger things become; above 0.
        fill: Value outside of the image.
    """
    return warped(image, jnp.eye(2) / jnp.asarray(factor, jnp.float32), fill=fill)


def shifted(
    image: Num[ArrayLike, "..."], down: Num[ArrayLike, ""], right: Num[ArrayLike, ""], *, fill: Number = 0.0
) -> Float[Array, "h w c"]:
    """The image moved by whole pixels: out(y, x) = image(y − down, x − right).

    Args:
        image: Floats `(H, W, C)`.
        down: Pixels to move down, an integer; negative moves up.
        right: Pixels to move right, an integer; negative moves left.
        fill: Value of the pixels that come in.
    """
    image = checked_image(image)
    rows = jnp.arange(image.shape[0]) - down
    columns = jnp.arange(image.shape[1]) - right
    inside = _within(rows, image.shape[0])[:, None] & _within(columns, image.shape[1])[None, :]
    moved = image.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    return jnp.where(inside[..., None], moved, jnp.asarray(fill, image.dtype))


def _within(index: Array, size: int) -> Array:
    return (index >= 0) & (index < size)


def flipped(image: Num[ArrayLike, "..."]) -> Float[Array, "h w c"]:
    """The image mirrored left to right.

    Args:
        image: Floats `(H, W, C)`.
    """
    return checked_image(image)[:, ::-1]


def erased(
    image: Num[ArrayLike, "..."],
    row: Num[ArrayLike, ""],
    column: Num[ArrayLike, ""],
    *,
    size: int,
    fill: Number = 0.0,
) -> Float[Array, "h w c"]:
    """The image with a square of `size` pixels filled, cut off where it sticks out.

    Args:
        image: Floats `(H, W, C)`.
        row: Row of the square's centre: it begins `size // 2` above.
        column: Column of the square's centre.
        size: Side of the square in pixels.
        fill: Value inside of the square.
    """
    image = checked_image(image)
    rows = _within(jnp.arange(image.shape[0]) - (row - size // 2), size)
    columns = _within(jnp.arange(image.shape[1]) - (column - size // 2), size)
    inside = rows[:, None] & columns[None, :]
    return jnp.where(inside[..., None], jnp.asarray(fill, image.dtype), image)


def contrasted(image: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Distances from the channel's mean multiplied: out = mean + factor · (image − mean).

    Args:
        image: Floats `(H, W, C)`.
        factor: 1 changes nothing, 0 leaves the mean of every channel.
    """
    image = checked_image(image)
    mean = image.mean(axis=(0, 1), keepdims=True)
    return mean + jnp.asarray(factor, image.dtype) * (image - mean)


def saturated(image: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""]) -> Float[Array, "h w c"]:
    """Colours' saturation multiplied, hue and value kept: out = max − f · (max − image), per pixel.

    The saturation (max − min) / max cannot exceed 1, so f is at most max / (max − min).

    Args:
        image: Floats `(H, W, C)`, at least 0.
        factor: 1 changes nothing, 0 makes every pixel grey, as bright as its brightest channel.
    """
    image = checked_image(image)
    top = image.max(axis=-1, keepdims=True)
    span = top - image.min(axis=-1, keepdims=True)
    most = jnp.where(span > 0, top / jnp.where(span > 0, span, 1), 1)
    return top - jnp.minimum(jnp.asarray(factor, image.dtype), most) * (top - image)


def mixed(
    values: Num[ArrayLike, "n ..."], partners: Num[ArrayLike, "n ..."], weight: Num[ArrayLike, ""]
) -> Float[Array, "n ..."]:
    """weight · values + (1 − weight) · partners.

    Args:
        values: Images or one-hot targets, floats.
        partners: As many of the same shape.
        weight: In [0, 1].

    Raises:
        ValueError: If they are not floats: whole numbers could not hold the mixture.
    """
    values, partners = jnp.asarray(values), jnp.asarray(partners)
    for name, array in (("values", values), ("partners", partners)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has type {array.dtype}; expected floats")
    weight = jnp.asarray(weight, values.dtype)
    return weight * values + (1 - weight) * partners
