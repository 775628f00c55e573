"""Pooling, forward and backward (Lecture rows D1, H5).

Images are `(..., h, w, c)`; windows as in `windows`, but a padding must be smaller than the window and is never
pooled. All work along the width, then along the height, and back: kh + kw terms instead of kh·kw. Only windows of up to
four places, side by side, are read in one pass. The transpose of reading the inputs s i + p − P is to add what came for
place p of window i to exactly those inputs.

`layers` runs these functions, as the derivatives of its own pools, too: `maxima` and `at_maxima`, `means`, `norms` and
`norms_along`, `weighted_sums` and `weighted_spread`, with the backward passes as transposes.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.backprop.static import Static
from jaxdl.backprop.windows import Axis, axes_of

__all__ = [
    "AvgPool",
    "L2Pool",
    "MaxPool",
    "WeightedPool",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "l2_pool2d_backward",
    "l2_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "weighted_pool2d_backward",
    "weighted_pool2d_forward",
]

_HEIGHT, _WIDTH = -3, -2
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


class WeightedPool(NamedTuple):
    """Inputs and outputs, the weights, and their sum in each window."""

    x: Array  # (..., h, w, c)
    y: Array  # (..., h2, w2, c), in float32 at least
    weights: Array  # (kh, kw)
    total: Array  # (h2, w2, 1)
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
    return maxima(x, pool_axes(x, window, stride, padding))


def max_pool2d_backward(residuals: MaxPool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = Σ of δ[i, j] over the windows whose maximum is there; of equal ones the first in row-major order.

    The lectures' "unpooling from the argmax". A rule that compares x with the maximum instead would give δ to each
    of several equal values.
    """
    passes = zip(_passes(residuals.static.value), residuals.passes, strict=True)
    for along, stays in reversed(list(passes)):
        cotangent = _add(_hand_back(stays, cotangent), along)
    return cotangent


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
    x = _floats(x)
    residuals = covered(x, pool_axes(x, window, stride, padding), count_padding)
    return means(residuals, x), residuals


def avg_pool2d_backward(residuals: AvgPool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = Σ of δ[i, j] / m[i, j] over the windows that cover it."""
    wide = numerics.widen(cotangent)
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
    x = _floats(x)
    axes = pool_axes(x, window, stride, padding)
    y = norms(numerics.widen(x), axes)
    return y.astype(x.dtype), L2Pool(x, y, Static(axes))


def l2_pool2d_backward(residuals: L2Pool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = x[u, v] Σ of δ[i, j] / y[i, j] over the windows that cover it; 0 where y = 0."""
    x, y, static = residuals
    share = _over_norm(cotangent.astype(y.dtype), y)
    return (numerics.widen(x) * _spread(share, static.value)).astype(x.dtype)


def weighted_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    weights: Float[ArrayLike, "kh kw"],
    *,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> tuple[Float[Array, "*b h2 w2 c"], WeightedPool]:
    """Weighted average of each window, y[i, j] = Σ_{p,q} w[p, q] x[s i + p − P, s j + q − P] / W[i, j].

    W[i, j] is the sum of the weights whose places lie in the image.

    Args:
        x, stride, padding: as in `max_pool2d_forward`.
        weights: w, whose shape is the window.

    Raises:
        ValueError: weights that are no matrix; see `max_pool2d_forward`.
    """
    numerics.refuse_complex(weights=weights)
    x, weights = _floats(x), jnp.asarray(weights)
    axes = weighted_axes(x, weights, stride, padding)
    wide = numerics.widen(x)
    total = weights_inside(weights.astype(wide.dtype), axes)
    y = weighted_sums(wide, weights.astype(wide.dtype), axes)
    y = y / jnp.broadcast_to(total, y.shape)
    return y.astype(x.dtype), WeightedPool(x, y, weights, total, Static(axes))


def weighted_pool2d_backward(
    residuals: WeightedPool, cotangent: Float[Array, "*b h2 w2 c"]
) -> tuple[Float[Array, "*b h w c"], Float[Array, "kh kw"]]:
    """With γ = δ / W, ∂E/∂x[u, v] = Σ w[p, q] γ[i, j] over the places (p, q) of windows (i, j) that are there.

    ∂E/∂w[p, q] = Σ over the windows whose place (p, q) lies in the image of γ[i, j] (x[s i + p − P, s j + q − P] − y).
    """
    x, y, weights, total, static = residuals
    share = cotangent.astype(y.dtype) / jnp.broadcast_to(total, y.shape)
    dx = weighted_spread(share, weights.astype(y.dtype), static.value)
    along = _both(static.value)
    places = zip(_read(numerics.widen(x), along, 0), _read(_ones(static.value, y.dtype), along, 0), strict=True)
    dw = [jnp.sum(share * (place - y * jnp.broadcast_to(inside, y.shape))) for place, inside in places]
    return dx.astype(x.dtype), jnp.stack(dw).reshape(weights.shape).astype(weights.dtype)


# ---------------------------------------------------------------- with the windows given


def maxima(x: Array, axes: Axes) -> tuple[Array, MaxPool]:
    """Return the maximum of each window, and how it was found.

    Where nobody asks how, `lax.reduce_window` would do, and XLA on CPU fuse it into a convolution; but that loses NaN.
    """
    passes, lowest = [], _lowest(x.dtype)
    for along in _passes(axes):
        x, stays = _largest(_read(x, along, lowest), _first_inside(along, x.ndim))
        passes.append(tuple(stays))
    return x, MaxPool(tuple(passes), Static(axes))


def at_maxima(residuals: MaxPool, x: Array) -> Array:
    """Return what another image has where the maxima were: the transpose of `max_pool2d_backward`."""
    for along, stays in zip(_passes(residuals.static.value), residuals.passes, strict=True):
        first, *others = _read(x, along, 0)
        x = reduce(lambda kept, step: jnp.where(step[0], kept, step[1]), zip(stays, others, strict=True), first)
    return x


def covered(x: Array, axes: Axes, count_padding: bool) -> AvgPool:
    """Return how many values each window averages."""
    count = _sums(_ones(axes, numerics.widen(x).dtype), axes)
    return AvgPool(jnp.full_like(count, axes[0].size * axes[1].size) if count_padding else count, Static(axes))


def means(residuals: AvgPool, x: Array) -> Array:
    """Return the mean of each window: the transpose of `avg_pool2d_backward`."""
    total = _sums(numerics.widen(x), residuals.static.value)
    return (total / jnp.broadcast_to(residuals.count, total.shape)).astype(x.dtype)


def norms(x: Array, axes: Axes) -> Array:
    """Return the Euclidean norm of each window."""
    return jnp.sqrt(_sums(jnp.square(x), axes))


def norms_along(residuals: L2Pool, tangent: Array) -> Array:
    """Return how the norms change along a tangent, Σ x t / y, 0 where y = 0: the transpose of `l2_pool2d_backward`."""
    x, y, static = residuals
    return _over_norm(_sums(x * tangent, static.value), y)


def weighted_sums(x: Array, weights: Array, axes: Axes) -> Array:
    """Return Σ w x of each window; leading axes of the weights are those of x."""
    places = _read(x, _both(axes), 0)
    return reduce(jnp.add, [weight * place for weight, place in zip(_each(weights, x.ndim), places, strict=True)])


def weighted_spread(share: Array, weights: Array, axes: Axes) -> Array:
    """Return the transpose of `weighted_sums`: for each input the sum of w times the share of the windows there."""
    return _add([weight * share for weight in _each(weights, share.ndim)], _both(axes))


def weights_inside(weights: Array, axes: Axes) -> Array:
    """Return the sum of the weights that lie in the image for each window, (h2, w2, 1)."""
    return weighted_sums(_ones(axes, weights.dtype), weights, axes)


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


# ---------------------------------------------------------------- one pass

Along = tuple[tuple[Axis, int], ...]  # the axes of one pass, each with its number in the array


def _both(axes: Axes) -> Along:
    return ((axes[0], _HEIGHT), (axes[1], _WIDTH))


def _passes(axes: Axes) -> tuple[Along, ...]:
    """Return the passes that together pool both axes; a maximum's first place in row-major order is found by both."""
    small = axes[0].size * axes[1].size <= 4
    if small and all(axis.stride == axis.size and axis.low == axis.high == 0 for axis in axes):
        return (_both(axes),)
    height, width = _both(axes)
    return ((width,), (height,))


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


def _sums(x: Array, axes: Axes) -> Array:
    """Return the sum of each window."""
    for along in _passes(axes):
        x = reduce(jnp.add, _read(x, along, 0))
    return x


def _spread(share: Array, axes: Axes) -> Array:
    """Return the transpose of `_sums`: for each input the sum over the windows that cover it."""
    for along in reversed(_passes(axes)):
        places = [share]
        for axis, _ in along:
            places = places * axis.size
        share = _add(places, along)
    return share


def _read(x: Array, along: Along, padding: float | int) -> list[Array]:
    """Return for each place of a window, in row-major order, what it reads, one entry per window."""
    places = [x]
    for axis, number in along:
        padded = [_pad(place, number, (axis.low, axis.high), padding) for place in places]
        starts = range(axis.size)
        places = [lax.slice_in_dim(x, p, p + axis.reach, axis.stride, number) for x in padded for p in starts]
    return places


def _add(places: list[Array], along: Along) -> Array:
    """Return the transpose of `_read`: for each input the sum of what came for it."""
    for axis, number in reversed(along):
        starts = range(0, len(places), axis.size)
        places = [_interleave(places[start : start + axis.size], axis, number) for start in starts]
    return places[0]


def _interleave(places: list[Array], axis: Axis, number: int) -> Array:
    """Add what came for place p of window i to input s i + p − P, along one axis.

    Inputs of one remainder by s lie next to one another in the sum for that remainder, and the s sums are shuffled
    into one another at the end. Setting each place's terms s apart by zeros instead takes up to three times as long.
    """
    later = -(-axis.size // axis.stride) - 1  # windows that begin after an input's first and still cover it
    sums = []
    for remainder in range(axis.stride):
        terms = [
            _pad(place, number, (after, later - after), 0)
            for after, place in enumerate(places[remainder :: axis.stride])
        ]
        sums.append(reduce(jnp.add, terms) if terms else jnp.zeros_like(sums[0]))
    whole = _shuffled(sums, number)
    return _pad(whole, number, (-axis.low, axis.length + axis.low - whole.shape[number]), 0)


def _shuffled(parts: list[Array], number: int) -> Array:
    """Return an array whose entry i along one axis is entry i // s of part i % s, for s parts.

    It selects where it could stack and reshape, which XLA on CPU computes number by number: a step of 20-50-500-10
    takes 4 % less.
    """
    first, *others = parts
    shape = list(first.shape)
    new = len(shape) + number + 1
    which = lax.broadcasted_iota(jnp.int32, (*shape[:new], len(parts), *shape[new:]), new)
    whole = jnp.broadcast_to(jnp.expand_dims(first, new), which.shape)
    for i, part in enumerate(others, start=1):
        whole = jnp.where(which == i, jnp.expand_dims(part, new), whole)
    shape[number] *= len(parts)
    return whole.reshape(shape)


def _pad(x: Array, number: int, amounts: tuple[int, int], value: float | int) -> Array:
    """Pad one axis with a constant; a negative amount crops."""
    config = [(0, 0, 0)] * x.ndim
    config[number] = (*amounts, 0)
    return lax.pad(x, jnp.asarray(value, x.dtype), config) if any(amounts) else x


def _ones(axes: Axes, dtype) -> Array:
    """Return an image of ones with one channel."""
    return jnp.ones((axes[0].length, axes[1].length, 1), dtype)


def _each(weights: Array, ndim: int) -> list[Array]:
    """Return the weights (..., kh, kw) one by one, in row-major order, in a shape that broadcasts against images."""
    lead = weights.shape[:-2]
    shape = lead + (1,) * (ndim - len(lead))
    return [weights[..., i, j].reshape(shape) for i in range(weights.shape[-2]) for j in range(weights.shape[-1])]


def _over_norm(x: Array, norm: Array) -> Array:
    zero = norm == 0
    return jnp.where(zero, 0, x / jnp.where(zero, 1, norm))


def _lowest(dtype) -> float | int:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).min)


def _floats(x: ArrayLike) -> Array:
    """Return x as an array; ints, whose means would be cut off, as floats."""
    return jnp.asarray(x, numerics.result_dtype(x))
