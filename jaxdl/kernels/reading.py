"""What each place of a pool's windows reads, and the transpose: what came for a place, added where it was read.

Images are `(..., h, w, c)`. A pool reads the width, then the height: kh + kw terms instead of kh·kw. Only windows of up
to four places, side by side, are read in one pass over both axes.
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
    """Return one pass over height and width."""
    return ((axes[0], _HEIGHT), (axes[1], _WIDTH))


def passes(axes: Axes) -> tuple[Along, ...]:
    """Return the passes that together pool both axes; a maximum's first place in row-major order is found by both."""
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
    """Return the transpose of `sums`: for each input the sum over the windows that cover it."""
    for along in reversed(passes(axes)):
        places = [share]
        for axis, _ in along:
            places = places * axis.size
        share = add(places, along)
    return share


def read(x: Array, along: Along, padding: float | int) -> list[Array]:
    """Return for each place of a window, in row-major order, what it reads, one entry per window."""
    places = [x]
    for axis, number in along:
        padded = [_pad(place, number, (axis.low, axis.high), padding) for place in places]
        starts = range(axis.size)
        places = [lax.slice_in_dim(x, p, p + axis.reach, axis.stride, number) for x in padded for p in starts]
    return places


def add(places: list[Array], along: Along) -> Array:
    """Return the transpose of `read`: for each input the sum of what came for it."""
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


def ones(axes: Axes, dtype) -> Array:
    """Return an image of ones with one channel."""
    return jnp.ones((axes[0].length, axes[1].length, 1), dtype)
