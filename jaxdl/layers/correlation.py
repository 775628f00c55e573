"""The one convolution that all of `convolution` is made of, and the one place where its lowering is chosen.

Forward, input's gradient and kernel's gradient are three bilinear primitives, each the transpose of the other two: so
every mode of differentiation works, to any order, and stays within the three. What that wins is a choice, on CPU, of
how each is computed, also under `jax.vmap` over kernels, where XLA's grouped convolution is slow. The choice is read
off `benchmarks/conv_methods.md`, which `python -m benchmarks.conv_methods` measures: on two cores,

* a window of one place is a matrix product, all three times;
* a kernel's gradient is a matrix product where the unfolded rows stay in the cache, with two columns folded into one
  where they can be, and where the rows are larger a sum of such products over blocks of the batch. A large kernel's,
  whose sum would take longer to add than to multiply, is XLA's own, over slices of the batch if that has more numbers,
  and so is that of up to 16 outputs, which are too few for a product;
* forward is XLA's, except for up to 8 outputs of up to 16 channels: four (or two) columns are folded into one, which
  fills the vector registers. From 20 to 127 channels XLA calls YNNPACK, which ran on one core, where the outputs are
  not longer than the inputs: so rows of padding are appended until they are, it calls Eigen, on all cores, up to three
  times as fast, and what is computed from these rows is dropped;
* the input's gradient is the forward of another convolution, except with a stride, or with windows that stay inside
  a small image: there it is matrix products whose results are added up, and no zero is multiplied;
* up to 8 groups are done one after the other; where each channel is its own group, places are multiplied
  and added, forward and for the input's gradient.

GPU and TPU keep XLA's own.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from jaxdl import compat
from jaxdl.backprop.convolution import conv_input_cotangent, conv_kernel_cotangent
from jaxdl.backprop.folding import fold, fold_kernel, foldable
from jaxdl.backprop.unfolding import (
    as_convolution,
    exchanged,
    transposed_axes,
    unfolded_convolution,
    unfolded_input_cotangent,
)
from jaxdl.backprop.windows import Axis

__all__ = ["METHODS", "correlate", "correlate_transposed", "kernel_method", "product_method", "transposed_method"]

METHODS = ("xla", "sliced", "patches", "folded", "blocked", "padded")
_LAYOUT = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC")}
_FEW_GROUPS = 8
_FOLDED = 4  # columns that become one
_IN_CACHE = 3 << 18  # numbers; 3 MB
_LARGE_KERNEL = 100_000  # numbers
_FEW_ROWS = 0.3  # of the outputs: what may be computed and dropped
_MANY = 76_000_000  # products; fewer are not worth a second core
_WASTED = 1.7  # how often XLA's input gradient may multiply for each product that is needed


def correlate(
    x: Inexact[Array, "b *n c_in"],
    kernel: Inexact[Array, "*k c_group c_out"],
    axes: tuple[Axis, ...],
    groups: int,
    method: str | None,
) -> Inexact[Array, "b *m c_out"]:
    """Cross-correlation of one batch axis with arrays of one dtype; see `conv2d` for what it computes.

    Args:
        x: inputs.
        kernel: weights.
        axes: the windows along each spatial axis.
        groups: of channels.
        method: how; None is `kernel_method` and `product_method` on CPU and "xla" elsewhere. The kernel's gradient
            of each stands at `backprop.conv_kernel_cotangent`. Forward and input's gradient are matrix products with
            "patches", folded with "folded", one row more than asked for with "padded", and with "sliced" one
            convolution per group; else XLA's.
    """
    return _correlate(x, kernel, axes=axes, groups=groups, method=method)


def correlate_transposed(
    x: Inexact[Array, "b *m c_in"], kernel: Inexact[Array, "*k c_group c_out"], axes: tuple[Axis, ...], groups: int
) -> Inexact[Array, "b *n c_out"]:
    """Transposed convolution of one batch axis with arrays of one dtype: the input's gradient of `correlate`.

    Args:
        x: inputs, of the lengths that `axes` have as outputs.
        kernel: weights.
        axes: the windows of the convolution that it transposes, from this one's outputs to its inputs.
        groups: of channels.
    """
    return _to_input(x, exchanged(kernel, groups), axes=axes, groups=groups, method=None)


def kernel_method(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], axes: tuple[Axis, ...], groups: int) -> str:
    """The form of the kernel's gradient that is fastest on CPU, from static shapes; see the top of this module.

    Args:
        x_shape: (b, ..., c_in).
        kernel_shape: (..., c_in / groups, c_out).
        axes, groups: as in `correlate`.
    """
    if groups != 1:
        return "sliced" if groups <= _FEW_GROUPS else "xla"
    if all(axis.size == 1 for axis in axes):
        return "patches"
    if math.prod(kernel_shape) >= _LARGE_KERNEL:
        return "sliced" if math.prod(kernel_shape) < math.prod(x_shape) else "xla"
    lines = [axis.length + axis.low + axis.high for axis in axes[:-1]]
    unfolded = x_shape[0] * math.prod(lines) * axes[-1].outputs * axes[-1].size * x_shape[-1]
    if unfolded <= _IN_CACHE:
        return "folded"
    narrow = x_shape[-1] > 8 and kernel_shape[-1] <= 16 and axes[-1].size < 5  # for a product, and not folded
    return "sliced" if narrow else "blocked"


def product_method(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], axes: tuple[Axis, ...], groups: int) -> str:
    """The form of the forward pass that is fastest on CPU, from static shapes. See `kernel_method`."""
    if groups == x_shape[-1] == kernel_shape[-1] != 1:
        return "patches"
    if groups != 1:
        return "sliced" if groups <= _FEW_GROUPS else "xla"
    if all(axis.size == 1 for axis in axes):
        return "patches"
    if x_shape[-1] <= 16 and kernel_shape[-1] <= 8 and foldable(axes, _FOLDED) > 1:
        return "folded"
    strided = any(axis.stride != 1 for axis in axes)
    unpadded = all(axis.low == axis.high == 0 for axis in axes)
    helps = unpadded or (not strided and _rows_to_append(axes[0]) <= _FEW_ROWS * axes[0].outputs)
    products = x_shape[0] * math.prod(axis.outputs for axis in axes) * math.prod(kernel_shape)
    large = products >= _MANY and 20 <= x_shape[-1] < 128
    return "padded" if large and helps and axes[0].outputs <= axes[0].length else "xla"


def transposed_method(
    cotangent_shape: tuple[int, ...], kernel_shape: tuple[int, ...], axes: tuple[Axis, ...], groups: int
) -> str:
    """The form of the input's gradient that is fastest on CPU: products added up, or the convolution which it is.

    With a stride this one reads zeros between the δ, which XLA's own skips.
    """
    c_in = kernel_shape[-2]
    wasted = math.prod(axis.length for axis in axes) / math.prod(axis.outputs for axis in axes)
    if groups <= _FEW_GROUPS and wasted > _WASTED and c_in >= 6 and axes[-1].size * c_in >= 16:
        return "patches"
    if groups == 1 and any(axis.stride > 1 for axis in axes):
        return "xla"
    exchanged_shape = (*kernel_shape[:-2], kernel_shape[-1] // groups, kernel_shape[-2] * groups)
    return product_method(cotangent_shape, exchanged_shape, transposed_axes(axes), groups)


def _forward(x: Array, kernel: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None) -> Array:
    return _product(x, kernel, axes, groups, method or "xla")


def _forward_on_cpu(x: Array, kernel: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None) -> Array:
    return _product(x, kernel, axes, groups, method or product_method(x.shape, kernel.shape, axes, groups))


def _product(x: Array, kernel: Array, axes: tuple[Axis, ...], groups: int, method: str) -> Array:
    if method == "patches":
        return unfolded_convolution(x, kernel, axes, groups)
    if groups > 1 and method != "xla":
        pairs = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        return jnp.concatenate([_product(*pair, axes, 1, method) for pair in pairs], -1)
    if method == "folded" and (columns := foldable(axes, _FOLDED)) > 1:
        folded, over = fold(x, axes, columns)
        y = _by_xla(folded, fold_kernel(kernel, columns), over, 1)
        return y.reshape(*y.shape[:-2], columns * y.shape[-2], kernel.shape[-1])
    if method == "padded":
        rows = _rows_to_append(axes[0])
        longer = axes[0]._replace(high=axes[0].high + rows * axes[0].stride)
        return _by_xla(x, kernel, (longer, *axes[1:]), groups)[:, :-rows]
    return _by_xla(x, kernel, axes, groups)


def _rows_to_append(axis: Axis) -> int:
    """Outputs after which there are more than inputs, if they cost little; else one, which YNNPACK likes better."""
    rows = axis.length + 1 - axis.outputs
    return rows if axis.stride == 1 and 0 < rows <= _FEW_ROWS * axis.outputs else 1


def _by_xla(x: Array, kernel: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        [axis.stride for axis in axes],
        [(axis.low, axis.high) for axis in axes],
        rhs_dilation=[axis.dilation for axis in axes],
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[len(axes)],
    )


def _input_gradient(cotangent: Array, kernel: Array, *, axes, groups: int, method: str | None) -> Array:
    if groups > 1 and method == "sliced":
        pairs = zip(jnp.split(cotangent, groups, -1), jnp.split(kernel, groups, -1), strict=True)
        parts = [conv_input_cotangent(weights, delta, axes) for delta, weights in pairs]
        return jnp.concatenate(parts, -1)
    if method in (None, "xla", "sliced"):
        return conv_input_cotangent(kernel, cotangent, axes, groups=groups)
    if method == "patches" and not groups == cotangent.shape[-1] == kernel.shape[-2] * groups:
        return unfolded_input_cotangent(cotangent, kernel, axes, groups)
    delta, flipped, over = as_convolution(cotangent, kernel, axes, groups)
    return _product(delta, flipped, over, groups, method)


def _input_gradient_on_cpu(cotangent: Array, kernel: Array, *, axes, groups: int, method: str | None) -> Array:
    method = method or transposed_method(cotangent.shape, kernel.shape, axes, groups)
    return _input_gradient(cotangent, kernel, axes=axes, groups=groups, method=method)


def _kernel_gradient(x: Array, cotangent: Array, *, axes, groups: int, method: str | None) -> Array:
    return conv_kernel_cotangent(x, cotangent, axes, groups=groups, method=method or "xla")


def _kernel_gradient_on_cpu(x: Array, cotangent: Array, *, axes, groups: int, method: str | None) -> Array:
    if method is None:
        shape = (*(axis.size for axis in axes), x.shape[-1] // groups, cotangent.shape[-1])
        method = kernel_method(x.shape, shape, axes, groups)
    return conv_kernel_cotangent(x, cotangent, axes, groups=groups, method=method)


_correlate = compat.bilinear(
    "correlate",
    _forward,
    lambda cotangent, kernel, **options: _to_input(cotangent, kernel, **options),
    lambda cotangent, x, **options: _to_kernel(x, cotangent, **options),
    cpu=_forward_on_cpu,
    joins=True,
)
_to_input = compat.bilinear(
    "correlate_input_gradient",
    _input_gradient,
    lambda x, kernel, **options: _correlate(x, kernel, **options),
    lambda x, cotangent, **options: _to_kernel(x, cotangent, **options),
    cpu=_input_gradient_on_cpu,
    joins=True,
)
_to_kernel = compat.bilinear(
    "correlate_kernel_gradient",
    _kernel_gradient,
    lambda kernel, cotangent, **options: _to_input(cotangent, kernel, **options),
    lambda kernel, x, **options: _correlate(x, kernel, **options),
    cpu=_kernel_gradient_on_cpu,
    joins=False,
)
