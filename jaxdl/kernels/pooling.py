"""Pools of images over given windows, and the transpose of each linear map among them.

Images are `(..., h, w, c)` with any leading dimensions. Padding must be smaller than the window and is never pooled.
`layers` turns each pair of a map and its transpose into a linear primitive, and `backprop` into the lectures' backward
pass.
"""

from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import numerics
from jaxdl.kernels.reading import Along, add, both, ones, passes, read, spread, sums
from jaxdl.kernels.windows import Axis, axes_of
from jaxdl.primitives import Static

__all__ = [
    "AvgPool",
    "L2Pool",
    "MaxPool",
    "at_maxima",
    "covered",
    "maxima",
    "means",
    "norms",
    "norms_along",
    "pool_axes",
    "spread_means",
    "spread_norms",
    "spread_to_maxima",
    "spread_weighted",
    "weighted_axes",
    "weighted_sums",
    "weights_inside",
]

Axes = tuple[Axis, Axis]


class MaxPool(NamedTuple):
    """Path to each maximum: for every place of a window but the first, whether an earlier place stays the largest."""

    passes: tuple[tuple[Array, ...], ...]  # for each pass and place, one bool per window
    static: Static  # windows along height and width


class AvgPool(NamedTuple):
    """Number of values that each window averages. The backward pass needs nothing else."""

    count: Array  # (h2, w2, 1)
    static: Static  # windows along height and width


class L2Pool(NamedTuple):
    """Inputs and outputs of an L2 pool."""

    x: Array  # (..., h, w, c)
    y: Array  # (..., h2, w2, c), in float32 at least
    static: Static  # windows along height and width


def pool_axes(x: Array, window, stride, padding) -> Axes:
    """Return the windows along height and width.

    Raises:
        ValueError: x is not an image of real numbers, an option is below 1, the window is larger than the padded input,
            or the padding is not smaller than the window.
    """
    if x.ndim < 3 or 0 in x.shape[-3:-1]:
        raise ValueError(f"x: got shape {x.shape}, allowed are images (..., h, w, c) of at least one pixel")
    if not jnp.issubdtype(x.dtype, jnp.integer) and not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x: got dtype {x.dtype}, allowed are ints and floats")
    height, width = axes_of(x.shape[-3:-1], window, window if stride is None else stride, padding)
    for axis in (height, width):
        if max(axis.low, axis.high) >= axis.size:
            raise ValueError(f"padding: got {padding!r}, allowed is less than the window {axis.size}")
    return height, width


def weighted_axes(x: Array, weights: Array, stride, padding) -> Axes:
    """Return the windows along height and width, whose size is the shape of the weights. Raises: see `pool_axes`."""
    if weights.ndim != 2:
        raise ValueError(f"weights: got shape {weights.shape}, allowed are (height, width)")
    return pool_axes(x, weights.shape, stride, padding)


# ---------------------------------------------------------------- maxima


def maxima(x: Array, axes: Axes) -> tuple[Array, MaxPool]:
    """Return the maximum of each window, and the path to it.

    `lax.reduce_window` would fuse with a convolution on CPU where no gradient is needed, but it loses NaN.
    """
    kept, lowest = [], _lowest(x.dtype)
    for along in passes(axes):
        x, stays = _largest(read(x, along, lowest), _first_inside(along, x.ndim))
        kept.append(tuple(stays))
    return x, MaxPool(tuple(kept), Static(axes))


def at_maxima(residuals: MaxPool, x: Array) -> Array:
    """Return the entries of another image at the maxima. It is the transpose of `spread_to_maxima`."""
    for along, stays in zip(passes(residuals.static.value), residuals.passes, strict=True):
        first, *others = read(x, along, 0)
        x = reduce(lambda kept, step: jnp.where(step[0], kept, step[1]), zip(stays, others, strict=True), first)
    return x


def spread_to_maxima(residuals: MaxPool, cotangent: Array) -> Array:
    """Apply the transpose of `at_maxima`: for each input, the sum over the windows whose maximum it is."""
    pairs = zip(passes(residuals.static.value), residuals.passes, strict=True)
    for along, stays in reversed(list(pairs)):
        cotangent = add(_hand_back(stays, cotangent), along)
    return cotangent


def _lowest(dtype) -> float | int:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).min)


def _largest(places: list[Array], first: Array | None) -> tuple[Array, list[Array]]:
    """Return the largest entry over the places, NaN if there is one, and where an earlier place stays the largest.

    Of equal entries the first stays. Places before `first` are padding, which any later place replaces.
    """
    largest, stays = places[0], []
    for number, place in enumerate(places[1:], start=1):
        stay = (largest >= place) | (largest != largest)
        stays.append(stay if first is None else stay & (number > first))
        largest = jnp.where(stays[-1], largest, place)
    return largest, stays


def _hand_back(stays: tuple[Array, ...], cotangent: Array) -> list[Array]:
    """Return the cotangent of each place that `_largest` compared, by undoing the comparisons in reverse order."""
    shares = []
    for stay in reversed(stays):
        shares.append(jnp.where(stay, 0, cotangent))
        cotangent = jnp.where(stay, cotangent, 0)
    return [cotangent, *reversed(shares)]


def _first_inside(along: Along, ndim: int) -> Array | None:
    """Return the first place of each window that is not padding, or None if that is place 0 in every window."""
    (axis, number), *others = along
    if others or axis.low == 0:
        return None
    outside = axis.low - axis.stride * jnp.arange(axis.outputs)
    return outside.reshape([-1 if i == ndim + number else 1 for i in range(ndim)])


# ---------------------------------------------------------------- means and norms


def covered(x: Array, axes: Axes, count_padding: bool) -> AvgPool:
    """Return the number of values that each window averages."""
    count = sums(ones(axes, numerics.widen(x).dtype), axes)
    return AvgPool(jnp.full_like(count, axes[0].size * axes[1].size) if count_padding else count, Static(axes))


def means(residuals: AvgPool, x: Array) -> Array:
    """Return the mean of each window. It is the transpose of `spread_means`."""
    total = sums(numerics.widen(x), residuals.static.value)
    return (total / jnp.broadcast_to(residuals.count, total.shape)).astype(x.dtype)


def spread_means(residuals: AvgPool, cotangent: Array) -> Array:
    """Apply the transpose of `means`: for each input, the sum of δ / m over the windows that cover it."""
    wide = numerics.widen(cotangent)
    share = wide / jnp.broadcast_to(residuals.count, wide.shape)
    return spread(share, residuals.static.value).astype(cotangent.dtype)


def norms(x: Array, axes: Axes) -> Array:
    """Return the Euclidean norm of each window."""
    return jnp.sqrt(sums(jnp.square(x), axes))


def norms_along(residuals: L2Pool, tangent: Array) -> Array:
    """Return the derivative of the norms along a tangent t, Σ x t / y, or 0 where y = 0.

    It is the transpose of `spread_norms`.
    """
    x, y, static = residuals
    return _over_norm(sums(x * tangent, static.value), y)


def spread_norms(residuals: L2Pool, cotangent: Array) -> Array:
    """Apply the transpose of `norms_along`: x times the sum of δ / y, 0 where y = 0, over the windows that cover it."""
    x, y, static = residuals
    share = _over_norm(cotangent.astype(y.dtype), y)
    return (numerics.widen(x) * spread(share, static.value)).astype(x.dtype)


def _over_norm(x: Array, norm: Array) -> Array:
    zero = norm == 0
    return jnp.where(zero, 0, x / jnp.where(zero, 1, norm))


# ---------------------------------------------------------------- weighted averages


def weighted_sums(x: Array, weights: Array, axes: Axes) -> Array:
    """Return Σ w x for each window. Leading axes of the weights match those of x."""
    places = read(x, both(axes), 0)
    return reduce(jnp.add, [weight * place for weight, place in zip(_each(weights, x.ndim), places, strict=True)])


def spread_weighted(share: Array, weights: Array, axes: Axes) -> Array:
    """Apply the transpose of `weighted_sums`: for each input, the sum of w times the share of each window there."""
    return add([weight * share for weight in _each(weights, share.ndim)], both(axes))


def weights_inside(weights: Array, axes: Axes) -> Array:
    """Return, for each window, the sum of the weights that lie inside the image, (h2, w2, 1)."""
    return weighted_sums(ones(axes, weights.dtype), weights, axes)


def _each(weights: Array, ndim: int) -> list[Array]:
    """Return the weights (..., kh, kw) one by one in row-major order, each in a shape that broadcasts to images."""
    lead = weights.shape[:-2]
    shape = lead + (1,) * (ndim - len(lead))
    return [weights[..., i, j].reshape(shape) for i in range(weights.shape[-2]) for j in range(weights.shape[-1])]
