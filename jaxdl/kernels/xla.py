"""The three products of a convolution by XLA's convolution, on any device.

Arrays have one batch axis and one dtype: x `(b, ..., c_in)`, kernel `(..., c_in / groups, c_out)`, and the cotangent
δ = ∂E/∂y `(b, ..., c_out)`.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxdl.kernels.unfolding import exchanged, transposed_axes
from jaxdl.kernels.windows import Axis

__all__ = ["xla_forward", "xla_input_gradient", "xla_kernel_gradient"]

_LAYOUT = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC")}
# the examples play the channels, over which a convolution sums, and the input channels play the batch
_KERNEL_LAYOUT = {1: ("CHN", "IHO", "HNC"), 2: ("CHWN", "IHWO", "HWNC")}


def xla_forward(x: Array, kernel: Array, axes: tuple[Axis, ...], groups: int = 1) -> Array:
    """Return the outputs y (b, ..., c_out)."""
    return lax.conv_general_dilated(
        x,
        kernel,
        [axis.stride for axis in axes],
        [(axis.low, axis.high) for axis in axes],
        rhs_dilation=[axis.dilation for axis in axes],
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[len(axes)],
    )


def xla_input_gradient(cotangent: Array, kernel: Array, axes: tuple[Axis, ...], groups: int = 1) -> Array:
    """Return ∂E/∂x: δ, with s − 1 zeros between its entries, convolved with the flipped and transposed kernel."""
    over, rank = transposed_axes(axes), len(axes)
    return lax.conv_general_dilated(
        cotangent,
        jnp.flip(exchanged(kernel, groups), tuple(range(rank))),
        [axis.stride for axis in over],
        [(axis.low, axis.high) for axis in over],
        # XLA skips these zeros; padding δ with them takes three to nine times as long on CPU
        lhs_dilation=[axis.stride for axis in axes],
        rhs_dilation=[axis.dilation for axis in over],
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[rank],
    )


def xla_kernel_gradient(x: Array, cotangent: Array, axes: tuple[Axis, ...], groups: int = 1) -> Array:
    """Return ∂E/∂w: x convolved with δ as the kernel, examples as channels."""
    # stride and dilation change places, because XLA's window runs over the outputs; the padding leaves k results
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
