"""The three products of a convolution by every method. All methods of one product compute the same sums.

With windows that read the inputs s i + d p − P (see `windows`), from arrays with one batch axis and one dtype:

| product | of | result |
|---|---|---|
| "forward" | x (b, ..., c_in), kernel (..., c_in / groups, c_out) | y[i] = Σ_p x[s i + d p − P] w[p], (b, ..., c_out) |
| "input_gradient" | δ (b, ..., c_out), kernel | ∂E/∂x[u] = Σ of w[p] δ[i] over s i + d p − P = u |
| "kernel_gradient" | x, δ | ∂E/∂w[p] = Σ_{b, i} x[b, s i + d p − P] δ[b, i] |

The methods; which is fastest depends on shapes and machine (see `choice`):

* "xla": XLA's own convolution. The others differ from it as follows.
* "sliced": the kernel gradient for a quarter of the batch at a time, and the results added. What is read over and over
  again then fits into the cache.
* "patches": products of matrices, see `unfolding`.
* "folded": four columns forward, two in the kernel gradient, become one of as many times the channels, where they can,
  see `folding`; the kernel gradient then as "patches".
* "blocked": the kernel gradient by "folded", or by "patches" where folding multiplies too often, for so much of the
  batch at a time that the unfolded rows stay in the cache. It is a loop, and no slower within another.
* "padded": forward with rows of padding appended, whose outputs are dropped; the kernel gradient with a kernel of one
  row more, which reads one row of zeros and is dropped.

With groups, all but "xla" and the forward "patches" of one channel per group do one group after the other. A method
that says nothing of a product computes it as "xla" does.
"""

import math
from collections.abc import Sequence
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl import numerics
from jaxdl.kernels import tuned
from jaxdl.kernels.choice import folds_blocks, rows_to_append
from jaxdl.kernels.folding import fold, fold_kernel, foldable, unfold_kernel
from jaxdl.kernels.unfolding import (
    as_convolution,
    unfolded_forward,
    unfolded_input_gradient,
    unfolded_kernel_gradient,
)
from jaxdl.kernels.windows import Axis
from jaxdl.kernels.xla import xla_forward, xla_input_gradient, xla_kernel_gradient

__all__ = ["METHODS", "PRODUCTS", "check_method", "compute"]

METHODS = ("xla", "sliced", "patches", "folded", "blocked", "padded")
PRODUCTS = ("forward", "input_gradient", "kernel_gradient")
Axes = tuple[Axis, ...]


def compute(product: str, a: Array, b: Array, axes: Axes, groups: int = 1, *, method: str = "xla") -> Array:
    """Compute one product of a convolution by one method; see the top of this module.

    Every convolution of the library and its gradients end here, so this is where a method with code of its own is
    added: a name in `METHODS`, and a branch on it that takes (product, a, b, axes, groups).

    Args:
        product: one of `PRODUCTS`.
        a, b: the two arrays that the product is of.
        axes: windows of the convolution along each spatial axis.
        groups: groups of channels.
        method: one of `METHODS`.

    Raises:
        ValueError: an unknown `method`.
    """
    check_method(method)
    return _PRODUCTS[product](a, b, axes, groups, method)


def check_method(method: str | None, allowed: Sequence[str | None] = METHODS) -> None:
    """Raise ValueError unless `method` is one of those allowed."""
    if method not in allowed:
        raise ValueError(f"method: got {method!r}, allowed are {', '.join(map(repr, allowed))}")


def _forward(x: Array, kernel: Array, axes: Axes, groups: int, method: str) -> Array:
    if method == "patches":
        return unfolded_forward(x, kernel, axes, groups)
    if groups > 1 and method != "xla":
        pairs = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([_forward(*pair, axes, 1, method) for pair in pairs], -1)
    if method == "folded" and (columns := foldable(axes, tuned.FOLD_FORWARD)) > 1:
        folded, over = fold(x, axes, columns)
        y = xla_forward(folded, fold_kernel(kernel, columns), over)
        return y.reshape(*y.shape[:-2], columns * y.shape[-2], kernel.shape[-1])
    if method == "padded":
        rows = rows_to_append(axes[0])
        longer = axes[0]._replace(high=axes[0].high + rows * axes[0].stride)
        return xla_forward(x, kernel, (longer, *axes[1:]), groups)[:, :-rows]
    return xla_forward(x, kernel, axes, groups)


def _input_gradient(cotangent: Array, kernel: Array, axes: Axes, groups: int, method: str) -> Array:
    if method == "xla":
        return xla_input_gradient(cotangent, kernel, axes, groups)
    if method == "sliced":
        pairs = zip(jnp.split(cotangent, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([xla_input_gradient(*pair, axes) for pair in pairs], -1)
    if method == "patches" and not groups == cotangent.shape[-1] == kernel.shape[-2] * groups:
        return unfolded_input_gradient(cotangent, kernel, axes, groups)
    return _forward(*as_convolution(cotangent, kernel, axes, groups), groups, method)


def _kernel_gradient(x: Array, cotangent: Array, axes: Axes, groups: int, method: str) -> Array:
    if not x.size or not cotangent.size:  # no examples, or no channels
        shape = (*(axis.size for axis in axes), x.shape[-1] // groups, cotangent.shape[-1])
        return jnp.zeros(shape, cotangent.dtype)
    if method == "xla":
        return xla_kernel_gradient(x, cotangent, axes, groups)
    if groups > 1:
        pairs = zip(jnp.split(x, groups, -1), jnp.split(cotangent, groups, -1), strict=True)
        return jnp.concatenate([_KERNEL_GRADIENTS[method](*pair, axes) for pair in pairs], -1)
    return _KERNEL_GRADIENTS[method](x, cotangent, axes)


# ---------------------------------------------------------------- the kernel gradient, one group


def _by_slices(x: Array, cotangent: Array, axes: Axes) -> Array:
    size = -(-x.shape[0] // tuned.SLICES)
    # not a scan: XLA on CPU runs a convolution inside a loop on one thread
    starts = range(0, x.shape[0], size)
    parts = [xla_kernel_gradient(x[i : i + size], cotangent[i : i + size], axes) for i in starts]
    return reduce(jnp.add, map(numerics.widen, parts)).astype(cotangent.dtype)


def _by_folding(x: Array, cotangent: Array, axes: Axes) -> Array:
    columns = foldable(axes, tuned.FOLD_KERNEL)
    if columns == 1:
        return unfolded_kernel_gradient(x, cotangent, axes)
    folded, folded_axes = fold(x, axes, columns)
    delta = cotangent.reshape(*cotangent.shape[:-2], axes[-1].outputs // columns, columns * cotangent.shape[-1])
    product = unfolded_kernel_gradient(folded, delta, folded_axes)
    return unfold_kernel(product, axes[-1].size, columns)


def _by_blocks(x: Array, cotangent: Array, axes: Axes) -> Array:
    size = _block_size(x, axes)
    form = _by_folding if folds_blocks(x.shape[-1], axes) else unfolded_kernel_gradient

    def of_block(start, size):
        images, delta = (lax.dynamic_slice_in_dim(array, start, size) for array in (x, cotangent))
        return form(images, delta, axes).astype(numerics.wide_dtype(cotangent.dtype))

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


def _block_size(x: Array, axes: Axes) -> int:
    """Return how many examples are unfolded together: as many as fit and divide the batch, or else about as many."""
    lines = math.prod(axis.length + axis.low + axis.high for axis in axes[:-1])
    most = max(1, min(x.shape[0], tuned.BLOCK // (lines * axes[-1].outputs * axes[-1].size * x.shape[-1])))
    divisor = max(size for size in range(1, most + 1) if x.shape[0] % size == 0)
    return divisor if 2 * divisor > most else -(-x.shape[0] // -(-x.shape[0] // most))


def _with_a_row_more(x: Array, cotangent: Array, axes: Axes) -> Array:
    first = axes[0]
    taller = first._replace(size=first.size + 1, high=first.high + first.dilation)
    return xla_kernel_gradient(x, cotangent, (taller, *axes[1:]))[:-1]


_KERNEL_GRADIENTS = {
    "sliced": _by_slices,
    "patches": unfolded_kernel_gradient,
    "folded": _by_folding,
    "blocked": _by_blocks,
    "padded": _with_a_row_more,
}
_PRODUCTS = {"forward": _forward, "input_gradient": _input_gradient, "kernel_gradient": _kernel_gradient}
