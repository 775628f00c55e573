"""Convolutions, forward and backward (Lecture rows D1, D4, H1, H2).

With windows that read the inputs s i + d p − P (see `windows`), one axis and one channel of the forward pass is
y[i] = Σ_p x[s i + d p − P] w[p]. It is linear in x and in w, so the backward pass is its transpose, twice:

    ∂E/∂w[p] = Σ_i x[s i + d p − P] δ[i]           ∂E/∂x[u] = Σ over (i, p) with s i + d p − P = u of w[p] δ[i]

The lecture C has s = d = 1 and P = 0: ∂E/∂w[m, n] = Σ x[m+p, n+q] δ[p, q], ∂E/∂x[m, n] = Σ w[p, q] δ[m−p, n−q].
Erratum: there C's second sum runs to p = k, q = k; the weights end at k − 1.

Images are `(..., h, w, c)` with any leading dimensions, kernels `(kh, kw, c_in / groups, c_out)`.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.backprop.affine import add_bias, bias_cotangent
from jaxdl.backprop.folding import fold, foldable, unfold_kernel
from jaxdl.backprop.static import Static
from jaxdl.backprop.unfolding import exchanged, transposed_axes, unfolded_kernel_cotangent
from jaxdl.backprop.windows import Axis, axes_of

__all__ = [
    "Convolution",
    "conv1d_backward",
    "conv1d_forward",
    "conv2d_backward",
    "conv2d_forward",
    "conv_input_cotangent",
    "conv_kernel_cotangent",
]

Method = Literal["xla", "sliced", "patches", "folded", "blocked", "padded"]
_FOLDED = 2  # columns that become one
_SLICES = 4  # 8 ran up to a quarter faster on some shapes, slower on others, and compiled 1.5 to 2 times as long
_BLOCK = 5 << 17  # numbers; 2.5 MB of unfolded rows


class Convolution(NamedTuple):
    """What the backward pass of a convolution needs."""

    x: Array  # (..., h, w, c_in), or (..., n, c_in)
    kernel: Array  # (kh, kw, c_in / groups, c_out), or (k, c_in / groups, c_out)
    bias: Array | None  # (c_out,)
    static: Static  # (windows along each axis, groups)


def conv1d_forward(
    x: Float[ArrayLike, "*b n c_in"],
    kernel: Float[ArrayLike, "k c_group c_out"],
    bias: Float[ArrayLike, " c_out"] | None = None,
    *,
    stride: int = 1,
    padding: str | int | tuple[int, int] = "SAME",
    dilation: int = 1,
    groups: int = 1,
) -> tuple[Float[Array, "*b m c_out"], Convolution]:
    """Cross-correlation along one axis. See `conv2d_forward`."""
    per_axis = (tuple(padding),) if isinstance(padding, list | tuple) else padding
    return _forward(x, kernel, bias, 1, stride, per_axis, dilation, groups)


def conv1d_backward(residuals: Convolution, cotangent: Float[Array, "*b m c_out"], *, method: Method = "xla"):
    """Return the cotangents of x, kernel and bias. See `conv2d_backward`."""
    return _backward(residuals, cotangent, method)


def conv2d_forward(
    x: Float[ArrayLike, "*b h w c_in"],
    kernel: Float[ArrayLike, "kh kw c_group c_out"],
    bias: Float[ArrayLike, " c_out"] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Float[Array, "*b h2 w2 c_out"], Convolution]:
    """Cross-correlation y[i, j, o] = b[o] + Σ_{p,q,c} x[s i + d p − P, s j + d q − P, c] w[p, q, c, o].

    Args:
        x: images, any leading dimensions.
        kernel: weights; with `groups`, output channel o sees the c_in / groups inputs of its own group.
        bias: one per output channel, or None.
        stride, padding, dilation: s, P, d: one value or one per axis; see `windows` for paddings.
        groups: number of groups of channels that do not see one another.

    Raises:
        ValueError: a wrong rank, channels that do not fit, an option below 1, a window larger than the padded input.
    """
    return _forward(x, kernel, bias, 2, stride, padding, dilation, groups)


def conv2d_backward(
    residuals: Convolution, cotangent: Float[Array, "*b h2 w2 c_out"], *, method: Method = "xla"
) -> tuple[Float[Array, "*b h w c_in"], Float[Array, "kh kw c_group c_out"], Float[Array, " c_out"] | None]:
    """Return ∂E/∂x, ∂E/∂w (the two sums at the top of this module) and ∂E/∂b = Σ δ, from δ = ∂E/∂y.

    Args:
        residuals: from `conv2d_forward`.
        cotangent: δ.
        method: how ∂E/∂w is computed, see `conv_kernel_cotangent`.
    """
    return _backward(residuals, cotangent, method)


def conv_input_cotangent(kernel: Array, cotangent: Array, axes: tuple[Axis, ...], *, groups: int = 1) -> Array:
    """Return ∂E/∂x of shape (b, ..., c_in) from δ of shape (b, ..., c_out), `axes` between.

    It is a convolution of δ, set s apart by zeros, with the kernel flipped and its channels exchanged.
    """
    over, rank = transposed_axes(axes), len(axes)
    return lax.conv_general_dilated(
        cotangent,
        jnp.flip(exchanged(kernel, groups), tuple(range(rank))),
        [axis.stride for axis in over],
        [(axis.low, axis.high) for axis in over],
        # not by padding: that XLA on CPU takes three to nine times as long over
        lhs_dilation=[axis.stride for axis in axes],
        rhs_dilation=[axis.dilation for axis in over],
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[rank],
    )


def conv_kernel_cotangent(
    x: Array, cotangent: Array, axes: tuple[Axis, ...], *, groups: int = 1, method: str = "xla"
) -> Array:
    """Return ∂E/∂w of shape (..., c_in / groups, c_out) from x (b, ..., c_in) and δ (b, ..., c_out).

    Six ways to the same sum Σ_{b,i} x[b, s i + d p − P] δ[b, i]; which is fastest depends on shapes and machine:

    * "xla": one convolution of x with δ as its kernel, whose channels are the examples.
    * "sliced": the same for a quarter of the batch at a time, and the results added.
      What is read over and over again then fits into the cache.
    * "patches": products of matrices, see `unfolding`.
    * "folded": two columns become one of twice the channels, where they can, then "patches"; see `folding`.
    * "blocked": "folded", or "patches" where folding multiplies too often, for so much of the batch at a time that the
      unfolded rows stay in the cache. It is a loop, and no slower within another.
    * "padded": "xla" with a kernel of one row more, which reads one row of zeros and is left out of the result.

    With groups, all but "xla" do one group after the other.

    Raises:
        ValueError: an unknown `method`.
    """
    if method not in _KERNEL_COTANGENTS:
        raise ValueError(f"method: got {method!r}, allowed are {', '.join(map(repr, _KERNEL_COTANGENTS))}")
    if not x.size or not cotangent.size:  # no examples, or no channels
        shape = (*(axis.size for axis in axes), x.shape[-1] // groups, cotangent.shape[-1])
        return jnp.zeros(shape, cotangent.dtype)
    if groups > 1 and method != "xla":
        pairs = zip(jnp.split(x, groups, -1), jnp.split(cotangent, groups, -1), strict=True)
        return jnp.concatenate([_KERNEL_COTANGENTS[method](*pair, axes, 1) for pair in pairs], -1)
    return _KERNEL_COTANGENTS[method](x, cotangent, axes, groups)


def _forward(x, kernel, bias, rank: int, stride, padding, dilation, groups: int):
    numerics.refuse_complex(x=x, kernel=kernel, bias=bias)
    x, kernel, bias = jnp.asarray(x), jnp.asarray(kernel), None if bias is None else jnp.asarray(bias)
    _check(x, kernel, rank, groups)
    axes = axes_of(x.shape[-rank - 1 : -1], kernel.shape[:rank], stride, padding, dilation)
    dtype = numerics.result_dtype(x, kernel)
    y = lax.conv_general_dilated(
        _batched(x, rank).astype(dtype),
        kernel.astype(dtype),
        [axis.stride for axis in axes],
        [(axis.low, axis.high) for axis in axes],
        rhs_dilation=[axis.dilation for axis in axes],
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[rank],
    )
    y = y.reshape(x.shape[: -rank - 1] + y.shape[1:])
    return add_bias(y, bias), Convolution(x, kernel, bias, Static((axes, groups)))


def _backward(residuals: Convolution, cotangent: Array, method: Method):
    x, kernel, bias, static = residuals
    axes, groups = static.value
    dtype = numerics.result_dtype(x, kernel)
    delta = _batched(cotangent, len(axes)).astype(dtype)
    dx = conv_input_cotangent(kernel.astype(dtype), delta, axes, groups=groups)
    dw = conv_kernel_cotangent(_batched(x, len(axes)).astype(dtype), delta, axes, groups=groups, method=method)
    return dx.reshape(x.shape).astype(x.dtype), dw.astype(kernel.dtype), bias_cotangent(bias, cotangent)


def _kernel_by_xla(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    # the sum over windows is XLA's window, and stride and dilation change places; the end is cut to k outputs
    around = [(axis.low, axis.extent + axis.reach - 1 - axis.length - axis.low) for axis in axes]
    return lax.conv_general_dilated(
        x,
        cotangent,
        [axis.dilation for axis in axes],
        around,
        rhs_dilation=[axis.stride for axis in axes],
        batch_group_count=groups,
        dimension_numbers=_KERNEL_LAYOUT[len(axes)],
    )


def _kernel_by_slices(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    size = -(-x.shape[0] // _SLICES)
    # not a scan: XLA on CPU runs a convolution inside a loop on one thread
    starts = range(0, x.shape[0], size)
    parts = [_kernel_by_xla(x[i : i + size], cotangent[i : i + size], axes, groups) for i in starts]
    return reduce(jnp.add, map(numerics.widen, parts)).astype(cotangent.dtype)


def _kernel_by_patches(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    return unfolded_kernel_cotangent(x, cotangent, axes, groups)


def _kernel_by_folding(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    columns = foldable(axes, _FOLDED)
    if columns == 1:
        return unfolded_kernel_cotangent(x, cotangent, axes, groups)
    folded, folded_axes = fold(x, axes, columns)
    delta = cotangent.reshape(*cotangent.shape[:-2], axes[-1].outputs // columns, columns * cotangent.shape[-1])
    product = unfolded_kernel_cotangent(folded, delta, folded_axes, groups)
    return unfold_kernel(product, axes[-1].size, columns)


def _kernel_by_blocks(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    size = _block_size(x, axes)
    form = _kernel_by_folding if x.shape[-1] <= 8 or axes[-1].size >= 5 else _kernel_by_patches

    def of_block(start, size):
        images, delta = (lax.dynamic_slice_in_dim(array, start, size) for array in (x, cotangent))
        return form(images, delta, axes, groups).astype(numerics.wide_dtype(cotangent.dtype))

    first, blocks = x.shape[0] % size, x.shape[0] // size
    if first:  # what is left over is a second block to compile
        begun = of_block(0, first)
    else:
        shape = (*(axis.size for axis in axes), x.shape[-1], cotangent.shape[-1])
        begun = _zeros(shape, numerics.wide_dtype(cotangent.dtype), like=(x, cotangent))
    total = lax.fori_loop(0, blocks, lambda i, total: total + of_block(first + i * size, size), begun)
    return total.astype(cotangent.dtype)


def _zeros(shape: tuple[int, ...], dtype: jnp.dtype, like: tuple[Array, Array]) -> Array:
    """Return zeros that vary over the devices of a `jax.shard_map` as a product of two arrays does.

    A loop's carry may not begin to vary, and JAX's own words for it differ by version; so whether two of their numbers
    are equal is asked for, and does not count: the compiler removes it.
    """
    equal = jnp.equal(*(array.ravel()[0] for array in like))
    return jnp.logical_and(jnp.zeros(shape, bool), equal).astype(dtype)


def _block_size(x: Array, axes: tuple[Axis, ...]) -> int:
    """Return how many examples are unfolded together: as many as fit and divide the batch, or else about as many."""
    lines = math.prod(axis.length + axis.low + axis.high for axis in axes[:-1])
    most = max(1, min(x.shape[0], _BLOCK // (lines * axes[-1].outputs * axes[-1].size * x.shape[-1])))
    divisor = max(size for size in range(1, most + 1) if x.shape[0] % size == 0)
    return divisor if 2 * divisor > most else -(-x.shape[0] // -(-x.shape[0] // most))


def _kernel_with_a_row_more(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    first = axes[0]
    taller = first._replace(size=first.size + 1, high=first.high + first.dilation)
    return _kernel_by_xla(x, cotangent, (taller, *axes[1:]), groups)[:-1]


_KERNEL_COTANGENTS = {
    "xla": _kernel_by_xla,
    "sliced": _kernel_by_slices,
    "patches": _kernel_by_patches,
    "folded": _kernel_by_folding,
    "blocked": _kernel_by_blocks,
    "padded": _kernel_with_a_row_more,
}
_LAYOUT = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC")}
# examples become the channels that are summed over, input channels the batch
_KERNEL_LAYOUT = {1: ("CHN", "IHO", "HNC"), 2: ("CHWN", "IHWO", "HWNC")}


def _batched(x: Array, rank: int) -> Array:
    """Return x with all leading axes made one."""
    lead = x.shape[: -rank - 1]
    return x.reshape(math.prod(lead), *x.shape[-rank - 1 :])


def _check(x: Array, kernel: Array, rank: int, groups: int) -> None:
    if x.ndim < rank + 1:
        raise ValueError(f"x: got shape {x.shape}, allowed are at least {rank + 1} axes, channels last")
    if kernel.ndim != rank + 2:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are {rank + 2} axes, (..., c_in/groups, c_out)")
    c_in, c_out = x.shape[-1], kernel.shape[-1]
    if not isinstance(groups, int) or groups < 1 or c_in % groups or c_out % groups:
        raise ValueError(f"groups: got {groups!r}, allowed are common divisors of {c_in} and {c_out} channels")
    if kernel.shape[-2] * groups != c_in:
        raise ValueError(
            f"kernel: got {kernel.shape[-2]} input channels, allowed are {c_in // groups}: "
            f"x has {c_in} channels in {groups} group(s)"
        )
