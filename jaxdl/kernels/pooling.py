"""Pools of images over given windows: each map forward, and the transpose that carries a cotangent back.

Images are `(..., h, w, c)` with any leading dimensions. Padding must be smaller than the window and is never pooled.
`layers` makes of each pair a linear primitive, and `backprop` the lectures' backward passes.
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
    """How each maximum was found: for all places of a window but the first, whether what came before stays largest."""

    passes: tuple[tuple[Array, ...], ...]  # bools, one per window of each pass
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


def pool_axes(x: Array, window, stride, padding) -> Axes:
    """Return the windows along height and width, or raise ValueError."""
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
    """Return the windows along height and width, which have the weights' shape, or raise ValueError."""
    if weights.ndim != 2:
        raise ValueError(f"weights: got shape {weights.shape}, allowed are (height, width)")
    return pool_axes(x, weights.shape, stride, padding)


# ---------------------------------------------------------------- maxima


def maxima(x: Array, axes: Axes) -> tuple[Array, MaxPool]:
    """Return the maximum of each window, and how it was found.

    Where nobody asks how, `lax.reduce_window` would do, and XLA on CPU fuse it into a convolution; but that loses NaN.
    """
    kept, lowest = [], _lowest(x.dtype)
    for along in passes(axes):
        x, stays = _largest(read(x, along, lowest), _first_inside(along, x.ndim))
        kept.append(tuple(stays))
    return x, MaxPool(tuple(kept), Static(axes))


def at_maxima(residuals: MaxPool, x: Array) -> Array:
    """Return what another image has where the maxima were: the transpose of `spread_to_maxima`."""
    for along, stays in zip(passes(residuals.static.value), residuals.passes, strict=True):
        first, *others = read(x, along, 0)
        x = reduce(lambda kept, step: jnp.where(step[0], kept, step[1]), zip(stays, others, strict=True), first)
    return x


def spread_to_maxima(residuals: MaxPool, cotangent: Array) -> Array:
    """Return the transpose of `at_maxima`: for each input the sum over the windows whose maximum is there."""
    pairs = zip(passes(residuals.static.value), residuals.passes, strict=True)
    for along, stays in reversed(list(pairs)):
        cotangent = add(_hand_back(stays, cotangent), along)
    return cotangent


def _lowest(dtype) -> float | int:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).min)


def _largest(places: list[Array], first: Array | None) -> tuple[Array, list[Array]]:
    """Return the largest over the places (NaN if there is one), and at each place but the first what stays so.

    The first of equals stays. Places before `first` are padding: whatever comes after them is taken.
    """
    largest, stays = places[0], []
    for number, place in enumerate(places[1:], start=1):
        stay = (largest >= place) | (largest != largest)
        stays.append(stay if first is None else stay & (number > first))
        largest = jnp.where(stays[-1], largest, place)
    return largest, stays


def _hand_back(stays: tuple[Array, ...], cotangent: Array) -> list[Array]:
    """Return the cotangent of each place that `_largest` was given, last question first."""
    shares = []
    for stay in reversed(stays):
        shares.append(jnp.where(stay, 0, cotangent))
        cotangent = jnp.where(stay, cotangent, 0)
    return [cotangent, *reversed(shares)]


def _first_inside(along: Along, ndim: int) -> Array | None:
    """Return for each window of a pass its first place that is no padding; None if that is place 0 in all."""
    (axis, number), *others = along
    if others or axis.low == 0:
        return None
    outside = axis.low - axis.stride * jnp.arange(axis.outputs)
    return outside.reshape([-1 if i == ndim + number else 1 for i in range(ndim)])


# ---------------------------------------------------------------- means and norms


def covered(x: Array, axes: Axes, count_padding: bool) -> AvgPool:
    """Return how many values each window averages."""
    count = sums(ones(axes, numerics.widen(x).dtype), axes)
    return AvgPool(jnp.full_like(count, axes[0].size * axes[1].size) if count_padding else count, Static(axes))


def means(residuals: AvgPool, x: Array) -> Array:
    """Return the mean of each window: the transpose of `spread_means`."""
    total = sums(numerics.widen(x), residuals.static.value)
    return (total / jnp.broadcast_to(residuals.count, total.shape)).astype(x.dtype)


def spread_means(residuals: AvgPool, cotangent: Array) -> Array:
    """Return the transpose of `means`: for each input the sum of δ / m over the windows that cover it."""
    wide = numerics.widen(cotangent)
    share = wide / jnp.broadcast_to(residuals.count, wide.shape)
    return spread(share, residuals.static.value).astype(cotangent.dtype)


def norms(x: Array, axes: Axes) -> Array:
    """Return the Euclidean norm of each window."""
    return jnp.sqrt(sums(jnp.square(x), axes))


def norms_along(residuals: L2Pool, tangent: Array) -> Array:
    """Return how the norms change along a tangent, Σ x t / y, 0 where y = 0: the transpose of `spread_norms`."""
    x, y, static = residuals
    return _over_norm(sums(x * tangent, static.value), y)


def spread_norms(residuals: L2Pool, cotangent: Array) -> Array:
    """Return the transpose of `norms_along`: x times the sum of δ / y over the windows that cover it; 0 where y = 0."""
    x, y, static = residuals
    share = _over_norm(cotangent.astype(y.dtype), y)
    return (numerics.widen(x) * spread(share, static.value)).astype(x.dtype)


def _over_norm(x: Array, norm: Array) -> Array:
    zero = norm == 0
    return jnp.where(zero, 0, x / jnp.where(zero, 1, norm))


# ---------------------------------------------------------------- weighted averages


def weighted_sums(x: Array, weights: Array, axes: Axes) -> Array:
    """Return Σ w x of each window; leading axes of the weights are those of x."""
    places = read(x, both(axes), 0)
    return reduce(jnp.add, [weight * place for weight, place in zip(_each(weights, x.ndim), places, strict=True)])


def spread_weighted(share: Array, weights: Array, axes: Axes) -> Array:
    """Return the transpose of `weighted_sums`: for each input the sum of w times the share of the windows there."""
    return add([weight * share for weight in _each(weights, share.ndim)], both(axes))


def weights_inside(weights: Array, axes: Axes) -> Array:
    """Return the sum of the weights that lie in the image for each window, (h2, w2, 1)."""
    return weighted_sums(ones(axes, weights.dtype), weights, axes)


def _each(weights: Array, ndim: int) -> list[Array]:
    """Return the weights (..., kh, kw) one by one, in row-major order, in a shape that broadcasts against images."""
    lead = weights.shape[:-2]
    shape = lead + (1,) * (ndim - len(lead))
    return [weights[..., i, j].reshape(shape) for i in range(weights.shape[-2]) for j in range(weights.shape[-1])]
