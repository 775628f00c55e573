"""Pooling, forward and backward (Lecture rows D1, H5).

Images are `(..., h, w, c)`; windows as in `windows`, but a padding must be smaller than the window and is never
pooled. All three work along the width, then along the height, and back: kh + kw terms instead of kh·kw. The transpose
of reading the inputs s i + p − P is to add what came for place p of window i to exactly those inputs.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl.backprop.static import Static
from jaxdl.backprop.windows import Axis, axes_of

__all__ = [
    "AvgPool",
    "L2Pool",
    "MaxPool",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "l2_pool2d_backward",
    "l2_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
]

_HEIGHT, _WIDTH = -3, -2


class MaxPool(NamedTuple):
    """Which place of each window held the maximum: the column within each row, then the row."""

    columns: Array  # (..., h, w2, c), small unsigned ints
    rows: Array  # (..., h2, w2, c)
    static: Static  # windows along height and width


class AvgPool(NamedTuple):
    """How many values each window covers; the inputs themselves are not needed."""

    count: Array  # (h2, w2, 1)
    static: Static  # windows along height and width


class L2Pool(NamedTuple):
    """Inputs and outputs."""

    x: Array  # (..., h, w, c)
    y: Array  # (..., h2, w2, c), in float32 at least
    static: Static  # windows along height and width


def max_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> tuple[Float[Array, "*b h2 w2 c"], MaxPool]:
    """Maximum of each window, y[i, j] = max_{p,q} x[s i + p − P, s j + q − P]; NaN in a window gives NaN.

    Args:
        x: images, any leading dimensions.
        window: height and width of the window.
        stride: step between windows; None for the window itself.
        padding: see the top of `windows`.

    Raises:
        ValueError: no image, an option below 1, a window larger than the padded input, a padding of its size or more.
    """
    x = jnp.asarray(x)
    height, width = _axes(x, window, stride, padding)
    across, columns = _first_largest(_read(_pad(x, width, _WIDTH, -jnp.inf), width, _WIDTH))
    y, rows = _first_largest(_read(_pad(across, height, _HEIGHT, -jnp.inf), height, _HEIGHT))
    return y, MaxPool(columns, rows, Static((height, width)))


def max_pool2d_backward(residuals: MaxPool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = Σ of δ[i, j] over the windows whose maximum is there; of equal ones the first in row-major order.

    The lectures' "unpooling from the argmax". A rule that compares x with the maximum instead would give δ to each
    of several equal values.
    """
    height, width = residuals.static.value
    down = _scatter([_where(residuals.rows == p, cotangent) for p in range(height.size)], height, _HEIGHT)
    return _scatter([_where(residuals.columns == q, down) for q in range(width.size)], width, _WIDTH)


def avg_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
    count_padding: bool = False,
) -> tuple[Float[Array, "*b h2 w2 c"], AvgPool]:
    """Mean of each window, y[i, j] = Σ_{p,q} x[s i + p − P, s j + q − P] / m.

    Args:
        x, window, stride, padding: as in `max_pool2d_forward`.
        count_padding: m is the size of the window if true, else the number of values that it covers.

    Raises:
        ValueError: see `max_pool2d_forward`.
    """
    x = jnp.asarray(x)
    axes = _axes(x, window, stride, padding)
    wide = _wide(x)
    ones = jnp.ones((*x.shape[-3:-1], 1), wide.dtype)
    count = jnp.full_like(_sums(ones, axes), axes[0].size * axes[1].size) if count_padding else _sums(ones, axes)
    total = _sums(wide, axes)
    return (total / jnp.broadcast_to(count, total.shape)).astype(x.dtype), AvgPool(count, Static(axes))


def avg_pool2d_backward(residuals: AvgPool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = Σ of δ[i, j] / m[i, j] over the windows that cover it."""
    wide = _wide(cotangent)
    share = wide / jnp.broadcast_to(residuals.count, wide.shape)
    return _spread(share, residuals.static.value).astype(cotangent.dtype)


def l2_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> tuple[Float[Array, "*b h2 w2 c"], L2Pool]:
    """Euclidean norm of each window, y[i, j] = √Σ_{p,q} x[s i + p − P, s j + q − P]².

    Args, Raises: see `max_pool2d_forward`.
    """
    x = jnp.asarray(x)
    axes = _axes(x, window, stride, padding)
    y = jnp.sqrt(_sums(jnp.square(_wide(x)), axes))
    return y.astype(x.dtype), L2Pool(x, y, Static(axes))


def l2_pool2d_backward(residuals: L2Pool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = x[u, v] Σ of δ[i, j] / y[i, j] over the windows that cover it; 0 where y = 0."""
    x, y, static = residuals
    zero = y == 0
    share = jnp.where(zero, 0, cotangent.astype(y.dtype) / jnp.where(zero, 1, y))
    return (_wide(x) * _spread(share, static.value)).astype(x.dtype)


def _first_largest(places: list[Array]) -> tuple[Array, Array]:
    """Return the largest over the places (NaN if there is one), and which place it is, the first of equals."""
    largest = places[0]
    index_dtype = jnp.uint8 if len(places) <= 256 else jnp.int32
    index = jnp.zeros(largest.shape, index_dtype)
    for number, place in enumerate(places[1:], start=1):
        stays = (largest >= place) | (largest != largest)
        index = jnp.where(stays, index, jnp.asarray(number, index_dtype))
        largest = jnp.where(stays, largest, place)
    return largest, index


def _sums(x: Array, axes: tuple[Axis, Axis]) -> Array:
    """Return the sum of each window."""
    for axis, number in ((axes[1], _WIDTH), (axes[0], _HEIGHT)):
        x = reduce(jnp.add, _read(_pad(x, axis, number, 0.0), axis, number))
    return x


def _spread(share: Array, axes: tuple[Axis, Axis]) -> Array:
    """Return the transpose of `_sums`: for each input the sum over the windows that cover it."""
    for axis, number in ((axes[0], _HEIGHT), (axes[1], _WIDTH)):
        share = _scatter([share] * axis.size, axis, number)
    return share


def _read(padded: Array, axis: Axis, number: int) -> list[Array]:
    """Return for each place of a window along one axis what it reads, one entry per window."""
    return [lax.slice_in_dim(padded, p, p + axis.reach, axis.stride, number) for p in range(axis.size)]


def _scatter(places: list[Array], axis: Axis, number: int) -> Array:
    """Return the transpose of `_pad` and `_read`: add what came for place p of window i to input s i + p − P."""
    return reduce(jnp.add, (_put(place, p - axis.low, axis, number) for p, place in enumerate(places)))


def _put(place: Array, start: int, axis: Axis, number: int) -> Array:
    """Return zeros of the input's length with `place` from `start` on, `stride` apart; what lies outside is cut."""
    config = [(0, 0, 0)] * place.ndim
    config[number] = (start, axis.length - start - axis.reach, axis.stride - 1)
    return lax.pad(place, jnp.zeros((), place.dtype), config)


def _pad(x: Array, axis: Axis, number: int, value: float) -> Array:
    config = [(0, 0, 0)] * x.ndim
    config[number] = (axis.low, axis.high, 0)
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


def _where(chosen: Array, value: Array) -> Array:
    return jnp.where(chosen, value, 0)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _axes(x: Array, window, stride, padding) -> tuple[Axis, Axis]:
    if x.ndim < 3 or 0 in x.shape[-3:-1]:
        raise ValueError(f"x: got shape {x.shape}, allowed are images (..., h, w, c) of at least one pixel")
    height, width = axes_of(x.shape[-3:-1], window, window if stride is None else stride, padding)
    for axis in (height, width):
        if max(axis.low, axis.high) >= axis.size:
            raise ValueError(f"padding: got {padding!r}, allowed is less than the window {axis.size}")
    return height, width
