"""Convolutions as networks use them (cross-correlations), transposed ones, and the true convolution.

Images are `(..., h, w, c)` with any leading dimensions, also none; kernels `(kh, kw, c_in / groups, c_out)`.
All of them are linear in the input and in the kernel, which may be complex. `stride`, `padding` and `dilation` are
one value for all spatial axes or a sequence with one entry for each; what a padding means stands in `sizes`.
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from jaxdl import numerics, sizes
from jaxdl.kernels.correlation import correlate, correlate_transposed
from jaxdl.kernels.forms import METHODS, check_method
from jaxdl.kernels.windows import Axis, axes_of, check_convolution

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "convolve1d", "convolve2d"]

Mode = Literal["full", "same", "valid"]


def conv1d(
    x: Inexact[ArrayLike, "*b n c_in"],
    kernel: Inexact[ArrayLike, "k c_group c_out"],
    bias: Inexact[ArrayLike, " c_out"] | None = None,
    *,
    stride: int = 1,
    padding: sizes.Padding = "SAME",
    dilation: int = 1,
    groups: int = 1,
    method: str | None = None,
) -> Inexact[Array, "*b m c_out"]:
    """Cross-correlation along one axis: y[n, o] = b[o] + Σ_{i,c} x[s n + d i − p, c] w[i, c, o].

    `padding=(kernel.shape[0] − 1, 0)` makes it causal. See `conv2d`.

    Lecture row H1.
    """
    per_axis = (tuple(padding),) if isinstance(padding, list | tuple) else padding
    return _conv(x, kernel, bias, 1, stride, per_axis, dilation, groups, method)


def conv2d(
    x: Inexact[ArrayLike, "*b h w c_in"],
    kernel: Inexact[ArrayLike, "kh kw c_group c_out"],
    bias: Inexact[ArrayLike, " c_out"] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    method: str | None = None,
) -> Inexact[Array, "*b h2 w2 c_out"]:
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
        method: how it is computed: "xla", "sliced", "patches", "folded", "blocked" or "padded"; None chooses by shape
            and platform. On CPU, inside `lax.scan`, the kernel's gradient is slow by "xla", "sliced" and "padded" and
            fast by the others, which are matrix products. See `correlation`.

    Returns:
        ⌊(n + 2P − d(k−1) − 1)/s⌋ + 1 outputs per axis, in the promoted dtype of the arguments.

    Raises:
        ValueError: a wrong rank, channels that do not fit, an option below 1, a window larger than the padded input.

    Reference: Dumoulin and Visin, A guide to convolution arithmetic, 2016. https://arxiv.org/abs/1603.07285.
    Lecture rows H2, H3.
    """
    return _conv(x, kernel, bias, 2, stride, padding, dilation, groups, method)


def conv_transpose1d(
    x: Inexact[ArrayLike, "*b n c_in"],
    kernel: Inexact[ArrayLike, "k c_group c_out"],
    bias: Inexact[ArrayLike, " c_out"] | None = None,
    *,
    stride: int = 1,
    padding: sizes.Padding = "SAME",
    dilation: int = 1,
    groups: int = 1,
    output_padding: int = 0,
) -> Inexact[Array, "*b m c_out"]:
    """Transposed convolution along one axis: y[s i + d p − c, o] += x[i, c] w[p, c, o]. See `conv_transpose2d`."""
    per_axis = (tuple(padding),) if isinstance(padding, list | tuple) else padding
    return _conv_transpose(x, kernel, bias, 1, stride, per_axis, dilation, groups, output_padding)


def conv_transpose2d(
    x: Inexact[ArrayLike, "*b h w c_in"],
    kernel: Inexact[ArrayLike, "kh kw c_group c_out"],
    bias: Inexact[ArrayLike, " c_out"] | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    output_padding: int | Sequence[int] = 0,
) -> Inexact[Array, "*b h2 w2 c_out"]:
    """Transposed convolution: every input adds its multiple of the kernel to the output, `stride` apart.

    y[s i + d p − c, s j + d q − c, o] += x[i, j, c] w[p, q, c, o]: the transpose, as a linear map, of the `conv2d`
    with the same options and the kernel's last two axes exchanged; it goes from that one's output to its input.

    Args:
        x: images, any leading dimensions.
        kernel: weights, not flipped; with `groups`, c_in / groups input channels for each of all outputs.
        bias: one per output channel, or None.
        stride: s, distance between the places of neighbouring inputs.
        padding: how much is cropped: what that `conv2d` pads. "VALID" crops nothing, "SAME" leaves s·n.
        dilation: d, distance between neighbouring weights.
        groups: as in `conv2d`.
        output_padding: rows and columns that are cropped less at the bottom and on the right, below
            max(stride, dilation): that `conv2d` maps several sizes to one, and this says which of them comes back.

    Returns:
        s(n − 1) + d(k−1) + 1 − crops + output_padding outputs per axis.

    Raises:
        ValueError: as in `conv2d`, a crop that leaves nothing, or an output padding out of its range.

    Reference: Zeiler et al., Deconvolutional networks, 2010. https://www.matthewzeiler.com/mattzeiler/deconvolutionalnetworks.pdf;
    Dumoulin and Visin, A guide to convolution arithmetic, 2016. https://arxiv.org/abs/1603.07285. Lecture part J.
    """
    return _conv_transpose(x, kernel, bias, 2, stride, padding, dilation, groups, output_padding)


def convolve1d(
    x: Inexact[ArrayLike, "*b n"], kernel: Inexact[ArrayLike, " k"], *, mode: Mode = "full"
) -> Inexact[Array, "*b m"]:
    """True convolution along the last axis: y[n] = Σ_i x[n − i] w[i], the kernel flipped. See `convolve2d`.

    Lecture row H1.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return _convolve(x, kernel, mode, 1)


def convolve2d(
    x: Inexact[ArrayLike, "*b h w"], kernel: Inexact[ArrayLike, "kh kw"], *, mode: Mode = "full"
) -> Inexact[Array, "*b h2 w2"]:
    """True convolution of images without channels: y[i, j] = Σ_{p,q} x[i − p, j − q] w[p, q], the kernel flipped.

    Args:
        x: images, any leading dimensions.
        kernel: w.
        mode: "full" gives all n + k − 1 outputs where the two overlap, "same" the n in the middle of them (the
            earlier of the two middles for an even kernel, as in scipy), "valid" the n − k + 1 of full overlap.

    Raises:
        ValueError: an unknown mode, a wrong rank, or a kernel larger than the image in mode "valid".

    Lecture row H2; what the lectures call a convolution of a network is `conv2d`, which does not flip.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return _convolve(x, kernel, mode, 2)


def _conv(x, kernel, bias, axes, stride, padding, dilation, groups, method=None):
    """Cross-correlate over the `axes` spatial axes before the channels."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_convolution(x, kernel, axes, groups)
    along = axes_of(x.shape[-axes - 1 : -1], kernel.shape[:axes], stride, padding, dilation)
    check_method(method, (None, *METHODS))
    dtype = numerics.result_dtype(x, kernel)
    y = correlate(numerics.merge_leading(x, axes + 1).astype(dtype), kernel.astype(dtype), along, groups, method)
    return numerics.add_bias(y.reshape(x.shape[: -axes - 1] + y.shape[1:]), bias)


def _conv_transpose(x, kernel, bias, axes, stride, padding, dilation, groups, output_padding):
    """Transpose the cross-correlation over the `axes` spatial axes before the channels."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_convolution(x, kernel, axes, groups)
    lengths, windows = x.shape[-axes - 1 : -1], kernel.shape[:axes]
    along = _transposed_axes(lengths, windows, stride, padding, dilation, output_padding)
    dtype = numerics.result_dtype(x, kernel)
    y = correlate_transposed(numerics.merge_leading(x, axes + 1).astype(dtype), kernel.astype(dtype), along, groups)
    return numerics.add_bias(y.reshape(x.shape[: -axes - 1] + y.shape[1:]), bias)


def _convolve(x: Array, kernel: Array, mode: str, axes: int) -> Array:
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'full', 'same' and 'valid'")
    if kernel.ndim != axes or x.ndim < axes:
        raise ValueError(f"x, kernel: got {x.ndim} and {kernel.ndim} axes, allowed are at least {axes} and {axes}")
    # the middle of the full output starts at (k − 1) // 2
    padding = tuple((k // 2, (k - 1) // 2) for k in kernel.shape) if mode == "same" else mode.upper()
    flipped = jnp.flip(kernel)[..., None, None]
    return _conv(x[..., None], flipped, None, axes, 1, padding, 1, 1)[..., 0]


def _transposed_axes(lengths, windows, stride, padding, dilation, output_padding) -> tuple[Axis, ...]:
    """Return the windows of the convolution that is transposed, whose outputs have these lengths."""
    named = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    values = [sizes.per_axis(name, value, len(lengths)) for name, value in named.items()]
    return tuple(_transposed_axis(*one) for one in zip(lengths, windows, *values, strict=True))


def _transposed_axis(length: int, window: int, stride: int, padding, dilation: int, output_padding: int) -> Axis:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    result = sizes.transposed_length(length, window, **options)  # raises when nothing is left
    return Axis(result, window, stride, dilation, *sizes.crop_amounts(window, **options))
