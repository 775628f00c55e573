"""Convolutions as networks use them (cross-correlations), transposed ones, and the true convolution.

Images are `(..., h, w, c)` with any leading dimensions, also none; kernels `(kh, kw, c_in / groups, c_out)`.
All of them are linear in the input and in the kernel. `stride`, `padding` and `dilation` are one value for all
spatial axes or a sequence with one entry for each; what a padding means stands in `sizes`.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl.layers import sizes
from jaxdl.layers.linear import add_bias

__all__ = ["conv1d", "conv2d"]


def conv1d(
    x: Float[ArrayLike, "*b n c_in"],
    kernel: Float[ArrayLike, "k c_group c_out"],
    bias: Float[ArrayLike, " c_out"] | None = None,
    *,
    stride: int = 1,
    padding: sizes.Padding = "SAME",
    dilation: int = 1,
    groups: int = 1,
) -> Float[Array, "*b m c_out"]:
    """Cross-correlation along one axis: y[n, o] = b[o] + Σ_{i,c} x[s n + d i − p, c] w[i, c, o].

    `padding=(kernel.shape[0] − 1, 0)` makes it causal. See `conv2d`.

    Lecture row H1.
    """
    per_axis = padding if isinstance(padding, str | int) else (tuple(padding),)
    return _conv(x, kernel, bias, 1, stride, per_axis, dilation, groups)


def conv2d(
    x: Float[ArrayLike, "*b h w c_in"],
    kernel: Float[ArrayLike, "kh kw c_group c_out"],
    bias: Float[ArrayLike, " c_out"] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Float[Array, "*b h2 w2 c_out"]:
    """Cross-correlation of images: y[i, j, o] = b[o] + Σ_{p,q,c} x[s i + d p − P, s j + d q − P, c] w[p, q, c, o].

    The kernel is not flipped; `convolve2d` is the true convolution.

    Args:
        x: images, any leading dimensions.
        kernel: weights; with `groups`, output channel o sees the c_in / groups inputs of its own group.
        bias: one per output channel, or None.
        stride: s, step between outputs; one int or (height, width).
        padding: "SAME", "VALID", "FULL", an int, or one entry per axis: an int or a pair (low, high).
        dilation: d, step between the inputs that one window sees.
        groups: number of groups of channels that do not see one another.

    Returns:
        ⌊(n + 2P − d(k−1) − 1)/s⌋ + 1 outputs per axis, in the promoted dtype of the arguments.

    Raises:
        ValueError: a wrong rank, channels that do not fit, an option below 1, a window larger than the padded input.

    Reference: Dumoulin and Visin, A guide to convolution arithmetic, 2016. https://arxiv.org/abs/1603.07285.
    Lecture rows H2, H3.
    """
    return _conv(x, kernel, bias, 2, stride, padding, dilation, groups)


_LAYOUT = {1: ("NHC", "HIO", "NHC"), 2: ("NHWC", "HWIO", "NHWC")}


def _conv(x, kernel, bias, axes, stride, padding, dilation, groups):
    """Cross-correlate over the `axes` spatial axes before the channels."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_ranks(x, kernel, axes)
    check_channels(x, kernel, groups)
    strides, dilations = sizes.per_axis("stride", stride, axes), sizes.per_axis("dilation", dilation, axes)
    paddings = sizes.per_axis("padding", padding, axes)
    lengths = zip(x.shape[-axes - 1 : -1], kernel.shape, strides, paddings, dilations, strict=False)
    amounts = [_checked_padding(*length) for length in lengths]
    dtype = jnp.result_type(x, kernel)
    y = lax.conv_general_dilated(
        flatten_leading(x, axes + 1).astype(dtype),
        kernel.astype(dtype),
        strides,
        amounts,
        rhs_dilation=dilations,
        feature_group_count=groups,
        dimension_numbers=_LAYOUT[axes],
    )
    return add_bias(y.reshape(x.shape[: -axes - 1] + y.shape[1:]), bias)


def _checked_padding(length, window, stride, padding, dilation):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    sizes.output_length(length, window, **options)  # raises when the window does not fit
    return sizes.padding_amounts(length, window, **options)


def flatten_leading(x: Array, keep: int) -> Array:
    """Return x with all but the last `keep` axes made one; also for no leading axes and for an empty batch."""
    split = x.ndim - keep
    return x.reshape(math.prod(x.shape[:split]), *x.shape[split:])


def check_ranks(x: Array, kernel: Array, axes: int) -> None:
    """Raise ValueError unless x has room for the spatial axes and channels, and the kernel exactly that."""
    if x.ndim < axes + 1:
        raise ValueError(f"x: got shape {x.shape}, allowed are at least {axes + 1} axes, channels last")
    if kernel.ndim != axes + 2:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are {axes + 2} axes, (..., c_in/groups, c_out)")


def check_channels(x: Array, kernel: Array, groups: int) -> None:
    """Raise ValueError unless the channels of x and kernel fit in `groups` groups."""
    sizes.check_groups(groups, x.shape[-1], kernel.shape[-1])
    if kernel.shape[-2] * groups != x.shape[-1]:
        raise ValueError(
            f"kernel: got {kernel.shape[-2]} input channels, allowed are {x.shape[-1] // groups}: "
            f"x has {x.shape[-1]} channels in {groups} group(s)"
        )
