"""Folding: fold f neighbouring columns of an image into channels, so that few channels become more.

An image (h, w, c) has the same bytes as an image (h, w/f, f·c). A convolution of stride 1 over the first equals one
over the second with f·c_out output channels, whose kernel holds f copies of each row of k places, shifted by
r = 0, ..., f − 1 within ⌈(k+f−1)/f⌉ places of f·c_in channels and padded with zeros. Folding multiplies
⌈(k+f−1)/f⌉·f/k times as often, but it is faster where c_in or c_out fill only part of a vector register, as with
grey-scale images or six kernels.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl.kernels.windows import Axis

__all__ = ["fold", "fold_kernel", "foldable", "unfold_kernel"]


def foldable(axes: tuple[Axis, ...], most: int) -> int:
    """Return how many columns can be folded: the largest power of 2 up to `most` that divides the outputs of a row.

    It is 1, which folds nothing, for a stride or dilation other than 1.
    """
    last = axes[-1]
    if last.stride != 1 or last.dilation != 1:
        return 1
    return math.gcd(last.outputs, most)


def fold(x: Array, axes: tuple[Axis, ...], columns: int) -> tuple[Array, tuple[Axis, ...]]:
    """Return x (b, ..., w, c), padded along w, as (b, ..., w/f, f·c), and the windows over the folded columns."""
    last = axes[-1]
    blocks = _blocks(last.size, columns)
    length = last.outputs // columns - 1 + blocks
    around = [(0, 0, 0)] * (x.ndim - 2) + [(last.low, length * columns - last.low - last.length, 0), (0, 0, 0)]
    padded = lax.pad(x, jnp.zeros((), x.dtype), around)
    folded = padded.reshape(*x.shape[:-2], length, columns * x.shape[-1])
    return folded, (*axes[:-1], Axis(length, blocks, 1, 1, 0, 0))


def fold_kernel(kernel: Array, columns: int) -> Array:
    """Return the kernel (..., k, c_in, c_out) in the form (..., ⌈(k+f−1)/f⌉, f·c_in, f·c_out)."""
    *lead, size, c_in, c_out = kernel.shape
    blocks, before = _blocks(size, columns), [(0, 0)] * len(lead)
    room = blocks * columns - size
    shifted = [jnp.pad(kernel, [*before, (r, room - r), (0, 0), (0, 0)]) for r in range(columns)]
    return jnp.stack(shifted, -2).reshape(*lead, blocks, columns * c_in, columns * c_out)


def unfold_kernel(cotangent: Array, size: int, columns: int) -> Array:
    """Apply the transpose of `fold_kernel`: sum (..., ⌈(k+f−1)/f⌉, f·c_in, f·c_out) to (..., k, c_in, c_out)."""
    *lead, blocks, c_in, c_out = cotangent.shape
    apart = cotangent.reshape(*lead, blocks * columns, c_in // columns, columns, c_out // columns)
    shifts = [lax.slice_in_dim(apart[..., r, :], r, r + size, axis=len(lead)) for r in range(columns)]
    return sum(shifts[1:], shifts[0])


def _blocks(size: int, columns: int) -> int:
    return -(-(size + columns - 1) // columns)
