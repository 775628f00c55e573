"""Reading the windows of a pool one place at a time, and the transpose of reading.

`read` returns one array per place of a window; `add`, its transpose, adds such arrays to the inputs that were read.
Images are `(..., h, w, c)`. A pool passes over the width, then over the height, which takes kh + kw terms instead of
kh·kw. Only adjoining windows of up to four places are read in one pass over both axes.
"""

from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl.kernels import tuned
from jaxdl.kernels.windows import Axis

__all__ = ["Along", "add", "both", "ones", "passes", "read", "spread", "sums"]

_HEIGHT, _WIDTH = -3, -2
Axes = tuple[Axis, Axis]
Along = tuple[tuple[Axis, int], ...]  # the axes of one pass, each with its number in the array


def both(axes: Axes) -> Along:
    """Return a single pass over height and width."""
    return ((axes[0], _HEIGHT), (axes[1], _WIDTH))


def passes(axes: Axes) -> tuple[Along, ...]:
    """Return the passes that together pool both axes.

    Either way of passing finds the first maximum of a window in row-major order.
    """
    small = axes[0].size * axes[1].size <= tuned.ONE_PASS
    if small and all(axis.stride == axis.size and axis.low == axis.high == 0 for axis in axes):
        return (both(axes),)
    height, width = both(axes)
    return ((width,), (height,))


def sums(x: Array, axes: Axes) -> Array:
    """Return the sum of each window."""
    for along in passes(axes):
        x = reduce(jnp.add, read(x, along, 0))
    return x


def spread(share: Array, axes: Axes) -> Array:
    """Apply the transpose of `sums`: for each input, the sum over the windows that cover it."""
    for along in reversed(passes(axes)):
        places = [share]
        for axis, _ in along:
            places = places * axis.size
        share = add(places, along)
    return share


def read(x: Array, along: Along, padding: float | int) -> list[Array]:
    """Return, for every place of a window in row-major order, the entries that it reads, one per window."""
    places = [x]
    for axis, number in along:
        padded = [_pad(place, number, (axis.low, axis.high), padding) for place in places]
        starts = range(axis.size)
        places = [lax.slice_in_dim(x, p, p + axis.reach, axis.stride, number) for x in padded for p in starts]
    return places


def add(places: list[Array], along: Along) -> Array:
    """Apply the transpose of `read`: for each input, the sum of the entries that belong to it."""
    for axis, number in reversed(along):
        starts = range(0, len(places), axis.size)
        places = [_interleave(places[start : start + axis.size], axis, number) for start in starts]
    return places[0]


def _interleave(places: list[Array], axis: Axis, number: int) -> Array:
    """Add the entry of place p and window i to input s i + p − P along one axis.

    Each sum holds the inputs of one remainder modulo s side by side, and the s sums are interleaved at the end. Spacing
    the terms of every place with zeros instead takes up to three times as long.
    """
    later = -(-axis.size // axis.stride) - 1  # windows that cover an input besides the first one that does
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
    """Interleave s parts: entry i of the result, along one axis, is entry i // s of part i % s.

    Selecting is faster on CPU than stacking and reshaping, which XLA computes entry by entry: a training step of
    20-50-500-10 takes 4 % less time (`python -m benchmarks.speed`).
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
    """Pad one axis with a constant, or crop it by a negative amount."""
    config = [(0, 0, 0)] * x.ndim
    config[number] = (*amounts, 0)
    return lax.pad(x, jnp.asarray(value, x.dtype), config) if any(amounts) else x


def ones(axes: Axes, dtype) -> Array:
    """Return an image of ones with one channel."""
    return jnp.ones((axes[0].length, axes[1].length, 1), dtype)
