"""Deterministic changes of one image, which `augmentation` makes at random.

Images are floats `(H, W, C)` with row 0 at the top, and pixels from outside the image have the value `fill`. Every
function keeps shape and type, is differentiable in the pixels, and takes amounts as Python numbers or traced arrays.
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
    """Return the image as an array.

    Raises:
        ValueError: if it does not hold floats of rank 3.
    """
    image = jnp.asarray(image)
    if image.ndim != 3 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image has shape {image.shape} and type {image.dtype}; expected floats (H, W, C) "
            "(data.to_unit makes them from bytes, jax.vmap takes a batch)"
        )
    return image


def warped(image: Num[ArrayLike, "..."], matrix: Num[ArrayLike, "2 2"], *, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Resample the image bilinearly about its centre c: out(o) = image(M (o − c) + c), o = (row, column).

    Args:
        image: floats `(H, W, C)`.
        matrix: M, from output to input positions.
        fill: value of every pixel outside the image, which takes part in the interpolation at the border.

    Raises:
        ValueError: if the image is not floats of rank 3.
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
    """Rotate the image counter-clockwise about its centre, keeping the size; see `warped`.

    Args:
        image: floats `(H, W, C)`.
        degrees: angle; 90 is `numpy.rot90` of a square image.
        fill: value outside the image.
    """
    angle = jnp.asarray(degrees, jnp.float32) * _DEGREE
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return warped(image, jnp.array([[cos, sin], [-sin, cos]]), fill=fill)


def scaled(image: Num[ArrayLike, "..."], factor: Num[ArrayLike, ""], *, fill: Number = 0.0) -> Float[Array, "h w c"]:
    """Enlarge (factor above 1) or shrink the image about its centre, keeping the size; see `warped`.

    Args:
        image: floats `(H, W, C)`.
        factor: magnification, above 0.
        fill: value outside the image.
    """
    return warped(image, jnp.eye(2) / jnp.asarray(factor, jnp.float32), fill=fill)


def shifted(
    image: Num[ArrayLike, "..."], down: Num[ArrayLike, ""], right: Num[ArrayLike, ""], *, fill: Number = 0.0
) -> Float[Array, "h w c"]:
    """Translate the image by whole pixels: out(y, x) = image(y − down, x − right).

    Args:
        image: floats `(H, W, C)`.
        down: pixels to move down, an integer; negative moves up.
        right: pixels to move right, an integer; negative moves left.
        fill: value of the pixels that come in.
    """
    image = checked_image(image)
    rows = jnp.arange(image.shape[0]) - down
    columns = jnp.arange(image.shape[1]) - right
    inside = _within(rows, image.shape[0])[:, None] & _within(columns, image.shape[1])[None, :]
    moved = image.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    return jnp.where(inside[..., None], moved, jnp.asarray(fill, image.dtype))


def _within(index: Array, size: int) -> Array:
    return (index >= 0) & (index < size)


def flipped(image: Num[ArrayLike, "..."], *, vertically: bool = False) -> Float[Array, "h w c"]:
    """Mirror the image left to right, or upside down.

    Args:
        image: floats `(H, W, C)`.
        vertically: whether to turn the image upside down instead.
    """
    image = checked_image(image)
    return image[::-1] if vertically else image[:, ::-1]


def erased(
    image: Num[ArrayLike, "..."],
    row: Num[ArrayLike, ""],
    column: Num[ArrayLike, ""],
    *,
    size: int,
    fill: Number = 0.0,
) -> Float[Array, "h w c"]:
    """Fill a square with sides of `size` pixels, clipped at the border of the image.

    Args:
        image: floats `(H, W, C)`.
        row: row of the square's centre; the square begins `size // 2` rows above.
        column: column of the square's centre.
        size: side of the square in pixels.
        fill: value inside the square.
    """
    image = checked_image(image)
    rows = _within(jnp.arange(image.shape[0]) - (row - size // 2), size)
    columns = _within(jnp.arange(image.shape[1]) - (column - size // 2), size)
    inside = rows[:, None] & columns[None, :]
    return jnp.where(inside[..., None], jnp.asarray(fill, image.dtype), image)


def mixed(
    values: Num[ArrayLike, "n ..."], partners: Num[ArrayLike, "n ..."], weight: Num[ArrayLike, ""]
) -> Float[Array, "n ..."]:
    """Return weight · values + (1 − weight) · partners.

    Args:
        values: images or one-hot targets, floats.
        partners: floats of the same shape.
        weight: in [0, 1].

    Raises:
        ValueError: if they are not floats, since whole numbers cannot hold the mixture.
    """
    values, partners = jnp.asarray(values), jnp.asarray(partners)
    for name, array in (("values", values), ("partners", partners)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} has type {array.dtype}; expected floats")
    weight = jnp.asarray(weight, values.dtype)
    return weight * values + (1 - weight) * partners


def sheared(
    image: Num[ArrayLike, "..."], right: Num[ArrayLike, ""], down: Num[ArrayLike, ""], *, fill: Number = 0.0
) -> Float[Array, "h w c"]:
    """Shear the image about its centre: out(y, x) = image(y − down · x, x − right · y); see `warped`.

    Args:
        image: floats `(H, W, C)`.
        right: pixels to the right per row further down.
        down: pixels down per column further right.
        fill: value outside the image.
    """
    down, right = jnp.asarray(down, jnp.float32), jnp.asarray(right, jnp.float32)
    return warped(image, jnp.array([[1.0, -down], [-right, 1.0]]), fill=fill)


def resized_crop(
    image: Num[ArrayLike, "..."],
    top: Num[ArrayLike, ""],
    left: Num[ArrayLike, ""],
    height: Num[ArrayLike, ""],
    width: Num[ArrayLike, ""],
) -> Float[Array, "h w c"]:
    """Cut a window and resize it, bilinearly, to the size of the image.

    Pixels are areas: the centre of output row i is row (i + ½) · height / H − ½ of the window, whose border is
    repeated. There is no smoothing, because a window within the image is only ever enlarged.

    Args:
        image: floats `(H, W, C)`.
        top: first row of the window.
        left: first column of the window.
        height: rows of the window, at least 1.
        width: columns of the window, at least 1.

    Raises:
        ValueError: if the image is not floats of rank 3.
    """
    image = checked_image(image)
    dtype = numerics.wide_dtype(image.dtype)

    def positions(size: int, first: ArrayLike, length: ArrayLike) -> Array:
        first, length = jnp.asarray(first, dtype), jnp.asarray(length, dtype)
        return first + jnp.clip((jnp.arange(size, dtype=dtype) + 0.5) * length / size - 0.5, 0, length - 1)

    y, x = positions(image.shape[0], top, height), positions(image.shape[1], left, width)
    y, x = jnp.broadcast_arrays(y[:, None], x[None, :])

    def channel(plane: Array) -> Array:
        return map_coordinates(plane.astype(dtype), [y, x], order=1, mode="nearest")

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image).astype(image.dtype)


def patched(
    images: Num[ArrayLike, "... h w c"],
    others: Num[ArrayLike, "... h w c"],
    rows: tuple[Num[ArrayLike, ""], Num[ArrayLike, ""]],
    columns: tuple[Num[ArrayLike, ""], Num[ArrayLike, ""]],
) -> Float[Array, "... h w c"]:
    """Paste a rectangle of other images: rows[0] ≤ row < rows[1] and columns[0] ≤ column < columns[1].

    Args:
        images: floats `(..., H, W, C)`.
        others: of the same shape.
        rows: the first row, and the one after the last.
        columns: the first column, and the one after the last.
    """
    images, others = jnp.asarray(images), jnp.asarray(others)
    height, width = images.shape[-3:-1]
    row, column = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
    inside = (row >= rows[0]) & (row < rows[1]) & (column >= columns[0]) & (column < columns[1])
    return jnp.where(inside.reshape((1,) * (images.ndim - 3) + inside.shape), others, images)
