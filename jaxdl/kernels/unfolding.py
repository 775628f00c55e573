"""The three products of a convolution as matrix products of unfolded rows.

Unfolding both axes of an image (im2col) would copy it kh·kw times. Here only the last axis is unfolded, kw times, and
the products for the places p along the first axis are added up: y = Σ_p R_p w_p, ∂E/∂w_p = R_pᵀ δ, ∂E/∂R_p = δ w_pᵀ.
R_p (b · outputs, kw · c_in) holds the rows that place p of every window reads, and w_p (kw · c_in, c_out) is that row
of the kernel. ∂E/∂R_p is added to the rows that were read, so no zero is multiplied, whereas the convolution that
computes ∂E/∂x multiplies s² times as often and also beyond the border of the image. Where the rows of R_p are short,
∂E/∂w is a single product of all R_p side by side. Products of 16-bit numbers are accumulated in float32.

Reference: Chellapilla, Puri and Simard, High performance convolutional neural networks for document processing, 2006
(the unfolding); Cho and Brand, MEC: Memory-efficient convolution, 2017, https://arxiv.org/abs/1706.06873 (rows alone).
"""

from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl import numerics
from jaxdl.kernels import tuned
from jaxdl.kernels.windows import Axis

__all__ = [
    "as_convolution",
    "exchanged",
    "transposed_axes",
    "unfolded_forward",
    "unfolded_input_gradient",
    "unfolded_kernel_gradient",
]


def unfolded_forward(x: Array, kernel: Array, axes: tuple[Axis, ...], groups: int = 1) -> Array:
    """Return y (b, ..., c_out) for x (b, ..., c_in) and kernel (..., c_in / groups, c_out).

    In a depthwise convolution each place of the window adds x times one weight per channel.
    """
    if groups == x.shape[-1] == kernel.shape[-1]:
        weights = kernel.reshape(-1, *(1,) * (x.ndim - 1), groups)
        products = [
            place * weight
            for place, weight in zip(_places(numerics.widen(x), axes), numerics.widen(weights), strict=True)
        ]
        return reduce(jnp.add, products).astype(x.dtype)
    if groups > 1:
        pairs = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([unfolded_forward(*pair, axes) for pair in pairs], -1)
    rows = _rows(x, axes)
    weights = kernel.reshape(len(rows), rows[0].shape[-1], kernel.shape[-1])
    y = reduce(jnp.add, [_product(row, weight) for row, weight in zip(rows, weights, strict=True)])
    return y.astype(x.dtype).reshape(x.shape[0], *(axis.outputs for axis in axes), kernel.shape[-1])


def unfolded_input_gradient(cotangent: Array, kernel: Array, axes: tuple[Axis, ...], groups: int = 1) -> Array:
    """Return ∂E/∂x (b, ..., c_in) from δ (b, ..., c_out) and kernel (..., c_in / groups, c_out)."""
    if groups > 1:
        pairs = zip(jnp.split(cotangent, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([unfolded_input_gradient(*pair, axes) for pair in pairs], -1)
    c_in, c_out = kernel.shape[-2:]
    delta, last = numerics.merge_leading(cotangent, 1), axes[-1]
    read = (*cotangent.shape[:-1], last.size, c_in)
    products = [_product(delta, weight.T) for weight in kernel.reshape(-1, last.size * c_in, c_out)]
    lines = [_put_all(jnp.moveaxis(product.reshape(read), -2, 0), last, len(axes)) for product in products]
    for number in range(len(axes) - 1, 0, -1):
        size = axes[number - 1].size
        starts = range(0, len(lines), size)
        lines = [_put_all(lines[start : start + size], axes[number - 1], number) for start in starts]
    return lines[0].astype(cotangent.dtype)


def unfolded_kernel_gradient(x: Array, cotangent: Array, axes: tuple[Axis, ...]) -> Array:
    """Return ∂E/∂w (..., c_in, c_out), of one group, from x (b, ..., c_in) and δ (b, ..., c_out)."""
    rows, delta = _rows(x, axes), numerics.merge_leading(cotangent, 1)
    if rows[0].shape[-1] <= tuned.THIN:
        rows = [jnp.concatenate(rows, -1)]
    products = [jnp.dot(row.T, delta) for row in rows]
    return jnp.stack(products).reshape(*(axis.size for axis in axes), x.shape[-1], cotangent.shape[-1])


def as_convolution(
    cotangent: Array, kernel: Array, axes: tuple[Axis, ...], groups: int = 1
) -> tuple[Array, Array, tuple[Axis, ...]]:
    """Return the inputs, kernel and windows of the convolution that computes ∂E/∂x.

    The inputs are δ with s − 1 zeros between its entries; the kernel is w flipped and transposed.
    """
    apart = [(0, 0, 0), *((0, 0, axis.stride - 1) for axis in axes), (0, 0, 0)]
    delta = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), apart)
    return delta, jnp.flip(exchanged(kernel, groups), tuple(range(len(axes)))), transposed_axes(axes)


def exchanged(kernel: Array, groups: int = 1) -> Array:
    """Transpose the channels of a kernel (..., c_in / groups, c_out) to (..., c_out / groups, c_in).

    Applied twice, it returns the kernel itself.
    """
    *spatial, per_group, c_out = kernel.shape
    last = len(spatial)
    # (per_group, groups, c_out / groups) becomes (c_out / groups, groups, per_group)
    swapped = jnp.swapaxes(kernel.reshape(*spatial, per_group, groups, c_out // groups), last, last + 2)
    return swapped.reshape(*spatial, c_out // groups, groups * per_group)


def transposed_axes(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return the windows with which ∂E/∂x reads the spread-out δ. Their padding may be negative, which crops."""
    return tuple(
        Axis(axis.reach, axis.size, 1, axis.dilation, axis.extent - 1 - axis.low, axis.length - axis.reach + axis.low)
        for axis in axes
    )


def _rows(x: Array, axes: tuple[Axis, ...]) -> list[Array]:
    """Return R_p for every place p of a window along all axes but the last."""
    columns = jnp.concatenate(_read(_padded(x, axes), axes[-1], len(axes)), -1)
    return [numerics.merge_leading(place, 1) for place in _read_all(columns, axes[:-1])]


def _places(x: Array, axes: tuple[Axis, ...]) -> list[Array]:
    """Return, for every place of a window in row-major order, the entries that it reads, one per window."""
    return _read_all(_padded(x, axes), axes)


def _padded(x: Array, axes: tuple[Axis, ...]) -> Array:
    around = [(0, 0, 0), *((axis.low, axis.high, 0) for axis in axes), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), around)


def _read_all(x: Array, axes: tuple[Axis, ...]) -> list[Array]:
    places = [x]
    for number, axis in enumerate(axes, start=1):
        places = [one for place in places for one in _read(place, axis, number)]
    return places


def _read(x: Array, axis: Axis, number: int) -> list[Array]:
    """Return, for every place of a window along one axis, the entries that it reads, one per window."""
    starts = range(0, axis.extent, axis.dilation)
    return [lax.slice_in_dim(x, start, start + axis.reach, axis.stride, number) for start in starts]


def _put_all(places: Array | list[Array], axis: Axis, number: int) -> Array:
    """Apply the transpose of `_read` along a padded axis: add the entries of every place where they were read.

    In a long window that moves by several entries, as many places side by side fill the axis without gaps; only
    window / stride of such lines are added.
    """
    if axis.dilation == 1 < axis.stride and axis.size > tuned.SIDE_BY_SIDE:
        lines = jnp.stack(places) if isinstance(places, list) else places
        beside = range(0, axis.size, axis.stride)
        return reduce(jnp.add, [_put_beside(lines[i : i + axis.stride], i, axis, number) for i in beside])
    put = []
    for place, array in enumerate(places):
        start = axis.dilation * place - axis.low
        around = [(0, 0, 0)] * array.ndim
        around[number] = (start, axis.length - axis.reach - start, axis.stride - 1)
        put.append(lax.pad(array, jnp.zeros((), array.dtype), around))
    return reduce(jnp.add, put)


def _put_beside(places: Array, first: int, axis: Axis, number: int) -> Array:
    """Put neighbouring places, from the `first` on and at most as many as the stride, into one line."""
    missing = [(0, axis.stride - len(places)), *[(0, 0)] * (places.ndim - 1)]
    line = jnp.moveaxis(jnp.pad(places, missing), 0, number + 1)
    line = line.reshape(*line.shape[:number], axis.outputs * axis.stride, *line.shape[number + 2 :])
    around = [(0, 0, 0)] * line.ndim
    around[number] = (first - axis.low, axis.length - line.shape[number] - first + axis.low, 0)
    return lax.pad(line, jnp.zeros((), line.dtype), around)


def _product(rows: Array, matrix: Array) -> Array:
    return jnp.dot(rows, matrix, preferred_element_type=numerics.wide_dtype(rows.dtype))
