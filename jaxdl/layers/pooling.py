"""Pooling over windows of an image, channel by channel (Lecture row H5).

Images are `(..., h, w, c)` with any leading dimensions, also none. `window`, `stride` (by default the window) and
`padding` are one value or (height, width); what a padding means stands in `sizes`. Padding is never pooled: it must
be smaller than the window, and a window that hangs over the border pools the values that it covers.

All are folds over the strided slices of a window. Plain autodiff of such a fold is fast on every platform (the
gradient of XLA's own windowed maximum is 5-20 times slower on CPU) and works in every mode of differentiation.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from jaxdl.layers import sizes

__all__ = ["avg_pool2d", "global_avg_pool2d", "max_pool2d"]


def max_pool2d(
    x: Num[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> Num[Array, "*b h2 w2 c"]:
    """Maximum of each window: y[i, j] = max_{p,q} x[s i + p, s j + q].

    A tie gives its gradient to the first maximum in row-major order. NaN in a window gives NaN.

    Args:
        x: images, any leading dimensions.
        window: k, height and width of the window.
        stride: s, step between windows; None for the window itself.
        padding: see the top of this module.

    Returns:
        ⌊(n + 2p − k)/s⌋ + 1 values per axis, dtype of `x`.

    Raises:
        ValueError: a wrong rank, an option below 1, a window larger than the padded input, a padding of the
            window's size or more.

    Lecture row H5.
    """
    x = jnp.asarray(x)
    window, stride, amounts = _resolve(x, window, stride, padding)
    return _fold(_pad(x, amounts, _lowest(x.dtype)), window, stride, _larger)


def avg_pool2d(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
    count_padding: bool = False,
) -> Float[Array, "*b h2 w2 c"]:
    """Mean of each window: y[i, j] = Σ_{p,q} x[s i + p, s j + q] / m.

    Args:
        x: images, any leading dimensions.
        window, stride, padding: as in `max_pool2d`.
        count_padding: m is the size of the window if true, else the number of values that it covers.

    Returns, Raises: see `max_pool2d`.

    Lecture row H5.
    """
    x = jnp.asarray(x)
    window, stride, amounts = _resolve(x, window, stride, padding)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    total = _fold(_pad(wide, amounts, 0), window, stride, jnp.add)
    if count_padding or not any(map(sum, amounts)):
        return (total / (window[0] * window[1])).astype(x.dtype)
    ones = jnp.ones((*x.shape[-3:-1], 1), wide.dtype)
    count = _fold(_pad(ones, amounts, 0), window, stride, jnp.add)
    return (total / jnp.broadcast_to(count, total.shape)).astype(x.dtype)


def global_avg_pool2d(x: Float[ArrayLike, "*b h w c"]) -> Float[Array, "*b c"]:
    """Mean of each channel over the image. Lecture row H5.

    Reference: Lin, Chen and Yan, Network in network, 2013. https://arxiv.org/abs/1312.4400
    """
    return jnp.mean(_image(x), axis=(-3, -2))


def _image(x: ArrayLike) -> Array:
    """Return x as an array, or raise ValueError where it is no image."""
    x = jnp.asarray(x)
    if x.ndim < 3:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., h, w, c)")
    if 0 in x.shape[-3:-1]:
        raise ValueError(f"x: got shape {x.shape}, allowed are images of at least one pixel")
    return x


def _resolve(x: Array, window, stride, padding):
    """Return window and stride per axis, and the padding's amounts, checked."""
    lengths = _image(x).shape[-3:-1]
    window = sizes.per_axis("window", window, 2)
    stride = window if stride is None else sizes.per_axis("stride", stride, 2)
    padding = sizes.per_axis("padding", padding, 2)
    return window, stride, [_amounts(*axis) for axis in zip(lengths, window, stride, padding, strict=True)]


def _amounts(length: int, window: int, stride: int, padding) -> tuple[int, int]:
    sizes.output_length(length, window, stride=stride, padding=padding)
    low, high = sizes.padding_amounts(length, window, stride=stride, padding=padding)
    if max(low, high) >= window:
        raise ValueError(f"padding: got {padding!r}, allowed is less than the window {window}")
    return low, high


def _pad(x: Array, amounts: Sequence[tuple[int, int]], value) -> Array:
    """Pad height and width with a constant."""
    if not any(map(sum, amounts)):
        return x
    around = [(0, 0)] * (x.ndim - 3) + [*amounts, (0, 0)]
    return jnp.pad(x, around, constant_values=value)


def _lowest(dtype) -> float | int | bool:
    if jnp.issubdtype(dtype, jnp.floating):
        return -jnp.inf
    return int(jnp.iinfo(dtype).min)


def _larger(first: Array, second: Array) -> Array:
    """Return the larger of both, the first of equals (with its whole gradient), NaN if either is."""
    return jnp.where((first >= second) | (first != first), first, second)


def _fold(x: Array, window, stride, combine: Callable[[Array, Array], Array]) -> Array:
    """Combine the values of each window, in row-major order wherever order matters.

    One axis after the other, with one exception: small windows side by side are read in one pass.
    """
    if stride == window and window[0] * window[1] <= 4:
        return reduce(
            combine,
            (reduce(combine, _slices(row, window[1], window[1], -2)) for row in _slices(x, window[0], window[0], -3)),
        )
    for axis in (-2, -3):
        x = reduce(combine, _slices(x, window[axis + 3], stride[axis + 3], axis))
    return x


def _slices(x: Array, window: int, stride: int, axis: int) -> list[Array]:
    """Return for each place in the window the values that it takes, one per window."""
    axis %= x.ndim
    count = (x.shape[axis] - window) // stride + 1
    if stride == window:  # a view as (windows, places): faster to read than a strided slice
        blocks = lax.slice_in_dim(x, 0, count * window, axis=axis)
        blocks = blocks.reshape(*x.shape[:axis], count, window, *x.shape[axis + 1 :])
        return [lax.index_in_dim(blocks, i, axis + 1, keepdims=False) for i in range(window)]
    last = (count - 1) * stride + 1
    return [lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(window)]
