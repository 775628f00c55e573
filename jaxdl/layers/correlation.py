"""The one convolution that all of `convolution` is made of: XLA's forward pass with `backprop`'s backward pass.

The hand-written transposes are the gradients of a bilinear primitive, so every mode of differentiation works. What
they win is a choice for the kernel's gradient on CPU, where XLA's own form of it is slow on some shapes.
"""

import math
from functools import partial

from jax import lax
from jaxtyping import Array, Float

from jaxdl import compat
from jaxdl.backprop.convolution import conv_input_cotangent, conv_kernel_cotangent
from jaxdl.backprop.windows import Axis

__all__ = ["METHODS", "correlate", "kernel_method"]

METHODS = ("xla", "sliced", "patches")
_LAYOUT = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC")}


def correlate(
    x: Float[Array, "b *n c_in"],
    kernel: Float[Array, "*k c_group c_out"],
    axes: tuple[Axis, ...],
    groups: int,
    method: str | None,
) -> Float[Array, "b *m c_out"]:
    """Cross-correlation of one batch axis with arrays of one dtype; see `conv2d` for what it computes.

    Args:
        x: inputs.
        kernel: weights.
        axes: the windows along each spatial axis.
        groups: of channels.
        method: how the kernel's gradient is computed, see `backprop.conv_kernel_cotangent`; None is
            `kernel_method` on CPU and "xla" elsewhere.
    """
    return _correlate(x, kernel, axes=axes, groups=groups, method=method)


def kernel_method(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], axes: tuple[Axis, ...], groups: int) -> str:
    """The form of the kernel's gradient that is fastest on CPU, from static shapes.

    From timings of the three forms on two cores: a window of one place is a matrix product (10 times faster as one
    than as a convolution); images of few channels whose output outgrows the cache gain 1.5-6 times from being read
    in slices, and so does anything far larger than it; elsewhere XLA's form is as good or better.

    Args:
        x_shape: (b, ..., c_in).
        kernel_shape: (..., c_in / groups, c_out).
        axes, groups: as in `correlate`.
    """
    if groups != 1:
        return "xla"
    if all(axis.size == 1 for axis in axes):
        return "patches"
    outputs = x_shape[0] * math.prod(axis.outputs for axis in axes) * kernel_shape[-1]
    few_channels = x_shape[-1] <= 4 and outputs > 1 << 20
    return "sliced" if few_channels or math.prod(x_shape) + outputs > 1 << 24 else "xla"


def _forward(x: Array, kernel: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None) -> Array:
    del method
    return lax.conv_general_dilated(
        x,
        kernel,
        [axis.stride for axis in axes],
        [(axis.low, axis.high) for axis in axes],
        rhs_dilation=[axis.dilation for axis in axes],
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[len(axes)],
    )


def _input_cotangent(cotangent: Array, kernel: Array, *, axes, groups, method) -> Array:
    del method
    return conv_input_cotangent(kernel, cotangent, axes, groups)


def _kernel_cotangent(cotangent: Array, x: Array, *, axes, groups, method) -> Array:
    if method is None:
        places = tuple(axis.size for axis in axes)
        method = kernel_method(x.shape, (*places, x.shape[-1] // groups, cotangent.shape[-1]), axes, groups)
        if method != "xla":
            by = {name: partial(conv_kernel_cotangent, axes=axes, groups=groups, method=name) for name in METHODS}
            return lax.platform_dependent(x, cotangent, cpu=by[method], default=by["xla"])
    return conv_kernel_cotangent(x, cotangent, axes, groups, method=method)


_correlate = compat.bilinear("correlate", _forward, _input_cotangent, _kernel_cotangent)
