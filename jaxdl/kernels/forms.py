"""The three products of a convolution, by every method.

Window i of a convolution reads the inputs s i + d p − P at its places p (see `windows`). For arrays with one batch axis
and one dtype, and δ = ∂E/∂y for some loss E:

| product | factors a, b | result |
|---|---|---|
| "forward" | x (b, ..., c_in), w (..., c_in / groups, c_out) | y[i] = Σ_p x[s i + d p − P] w[p] |
| "input_gradient" | δ (b, ..., c_out), w | ∂E/∂x[u] = Σ w[p] δ[i] over all i, p with s i + d p − P = u |
| "kernel_gradient" | x, δ | ∂E/∂w[p] = Σ_{b, i} x[b, s i + d p − P] δ[b, i] |

The methods of a product compute the same sums in different orders. Shapes and hardware decide which is fastest:

* "xla" calls XLA's convolution. The other methods fall back on it for products that they do not name.
* "sliced" computes the kernel gradient for a quarter of the batch at a time, so that the data that XLA reads repeatedly
  stays in the cache.
* "patches" multiplies matrices of unfolded rows in all three products (`unfolding`).
* "folded" merges up to four neighbouring columns into channels in the forward pass, and two in the kernel gradient
  (`folding`), which it then computes by "patches".
* "blocked" loops over blocks of the batch whose unfolded rows fit in the cache and computes the kernel gradient of each
  by "folded" or "patches". Inside another loop it is as fast as outside.
* "padded" appends rows of padding and drops their outputs; the kernel gradient gets an extra row in the same way.
* "native" calls oneDNN (`native`). It runs on CPU and needs the extra of that name.

With groups, every method but "xla" and "native" runs one group after the other, except that "patches" computes the
forward pass and the input gradient of a depthwise convolution for all channels at once.
"""

import math
from functools import reduce

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl import numerics
from jaxdl.kernels import native, tuned
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

METHODS = ("xla", "sliced", "patches", "folded", "blocked", "padded")  # these run everywhere
_ALLOWED = (*METHODS, "native")
PRODUCTS = ("forward", "input_gradient", "kernel_gradient")
Axes = tuple[Axis, ...]


def compute(product: str, a: Array, b: Array, axes: Axes, groups: int = 1, *, method: str = "xla") -> Array:
    """Compute one product of a convolution by one method. The table at the top of this module defines both.

    Every convolution in the library, and every gradient of one, goes through this function. A method with its own
    backend, such as "native", therefore needs a name here and one branch that passes on (product, a, b, axes, groups).

    Args:
        product: one of `PRODUCTS`.
        a, b: the two factors.
        axes: windows of the convolution along each spatial axis.
        groups: number of channel groups.
        method: one of `METHODS`, or "native".

    Raises:
        ValueError: an unknown `method`, and "native" where it cannot run or does not take the dtype.

    Examples:
        >>> x, kernel = jnp.array([1.0, 2.0, 4.0])[None, :, None], jnp.array([-1.0, 1.0])[:, None, None]
        >>> kernels.compute("forward", x, kernel, kernels.axes_of((3,), 2, 1, "VALID")).ravel()  # 2 - 1, 4 - 2
        Array([1., 2.], dtype=float32)
    """
    check_method(method)
    if method == "native":
        return native.compute(product, a, b, axes, groups)
    return _PRODUCTS[product](a, b, axes, groups, method)


def check_method(method: str | None, *, choice: bool = False) -> None:
    """Raise ValueError for an unknown method; ``choice`` allows None, which stands for the choice by shape."""
    allowed = (None, *_ALLOWED) if choice else _ALLOWED
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
    # not a scan, because XLA on CPU runs a convolution inside a loop on one thread
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
    if first:  # a remainder is a second, smaller block to compile
        begun = of_block(0, first)
    else:
        shape = (*(axis.size for axis in axes), x.shape[-1], cotangent.shape[-1])
        begun = _zeros(shape, numerics.wide_dtype(cotangent.dtype), like=(x, cotangent))
    total = lax.fori_loop(0, blocks, lambda i, total: total + of_block(first + i * size, size), begun)
    return total.astype(cotangent.dtype)


def _zeros(shape: tuple[int, ...], dtype: jnp.dtype, like: tuple[Array, Array]) -> Array:
    """Return zeros that vary over the devices of a `jax.shard_map` as the product of two arrays does.

    The carry of a loop must vary over devices from the start, and the call that makes it so differs between versions of
    JAX. A comparison of two entries has the same effect, and the compiler removes it.
    """
    equal = jnp.equal(*(array.ravel()[0] for array in like))
    return jnp.logical_and(jnp.zeros(shape, bool), equal).astype(dtype)


def _block_size(x: Array, axes: Axes) -> int:
    """Return the number of examples per block: as many as fit and divide the batch, else an almost even split."""
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
