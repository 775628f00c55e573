"""Convolutional layers (cross-correlations), transposed convolutions, and the true convolution.

Images are `(..., h, w, c)` with any number of leading dimensions, kernels `(kh, kw, c_in / groups, c_out)`. Every
function is linear in the input and in the kernel, and both may be complex. `stride`, `padding` and `dilation` take one
value for all spatial axes or a sequence with one entry per axis; `sizes` describes the paddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from jaxdl import numerics, sizes
from jaxdl.kernels.correlation import correlate, correlate_transposed
from jaxdl.kernels.forms import check_method
from jaxdl.kernels.windows import Axis, axes_of, check_convolution
from jaxdl.words import own_words

__all__ = ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "convolve1d", "convolve2d"]

Mode = Literal["full", "same", "valid"]


@own_words
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

    `padding=(kernel.shape[0] − 1, 0)` makes it causal. See `conv2d` for the arguments; `method="xla"` opts out of
    jaxdl's choice of an algorithm here, too.

    Examples:
        Differences of neighbours:

        >>> x, kernel = jnp.array([1.0, 2.0, 4.0])[:, None], jnp.array([-1.0, 1.0])[:, None, None]
        >>> layers.conv1d(x, kernel, padding="VALID").ravel()
        Array([1., 2.], dtype=float32)

    [Lecture row H1]
    """
    per_axis = (tuple(padding),) if isinstance(padding, list | tuple) else padding
    return _conv(x, kernel, bias, 1, stride, per_axis, dilation, groups, method)


@own_words
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
        x: images with any leading dimensions.
        kernel: weights; with `groups`, output channel o sees the c_in / groups input channels of its own group.
        bias: one entry per output channel, or None.
        stride: s, the step between outputs; one int or (height, width).
        padding: "SAME", "VALID", "FULL", an int, or one entry per axis, each an int or a pair (low, high).
        dilation: d, the step between the inputs of one window.
        groups: number of channel groups that do not see one another.
        method: algorithm for the forward pass and both gradients. None picks the fastest for these shapes on CPU, from
            measurements on one machine, and XLA's convolution on GPU and TPU. "xla" always runs XLA's convolution: pass
            it if the choice is slow on your machine. `jaxdl.kernels.forms` describes the others: "sliced", "patches",
            "folded", "blocked", "padded", and "native", which runs oneDNN on CPU and needs the extra of that name.
            Inside `lax.scan` on CPU, the kernel gradient is slow with "xla", "sliced" and "padded".

    Returns:
        ⌊(n + 2P − d(k−1) − 1)/s⌋ + 1 outputs per axis, in the promoted dtype of the arguments.

    Raises:
        ValueError: a wrong rank, mismatched channels, an option below 1, an unknown method, or a window larger than the
            padded input.

    Reference: Dumoulin and Visin, A guide to convolution arithmetic, 2016. https://arxiv.org/abs/1603.07285.

    Examples:
        >>> image = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> layers.conv2d(image, jnp.ones((3, 3, 1, 1)), padding="VALID").ravel()  # 0 + 1 + ... + 8
        Array([36.], dtype=float32)
        >>> layers.conv2d(image, jnp.ones((3, 3, 1, 4)), stride=2).shape
        (1, 2, 2, 4)

    [Lecture rows H2, H3]
    """
    return _conv(x, kernel, bias, 2, stride, padding, dilation, groups, method)


@own_words
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
    """Transposed convolution along one axis: y[s i + d p − c, o] += x[i, c] w[p, c, o]. See `conv_transpose2d`.

    Examples:
        >>> x = jnp.array([1.0, 2.0])[:, None]
        >>> layers.conv_transpose1d(x, jnp.ones((3, 1, 1)), stride=2, padding="VALID").ravel()
        Array([1., 1., 3., 2., 2.], dtype=float32)
    """
    per_axis = (tuple(padding),) if isinstance(padding, list | tuple) else padding
    return _conv_transpose(x, kernel, bias, 1, stride, per_axis, dilation, groups, output_padding)


@own_words
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
    """Transposed convolution: each input adds a multiple of the kernel to the output, `stride` apart.

    y[s i + d p − c, s j + d q − c, o] += x[i, j, c] w[p, q, c, o]. As a linear map it is the transpose of the `conv2d`
    with the same options and the last two axes of the kernel exchanged, and maps the output of that one to its input.

    Args:
        x: images with any leading dimensions.
        kernel: weights, not flipped; with `groups`, c_in / groups input channels for each output channel.
        bias: one entry per output channel, or None.
        stride: s, the distance in the output between neighbouring inputs.
        padding: amount to crop, which is what the `conv2d` pads. "VALID" crops nothing, "SAME" leaves s·n.
        dilation: d, the distance between neighbouring weights.
        groups: as in `conv2d`.
        output_padding: rows and columns that are cropped less at the bottom and on the right, below
            max(stride, dilation): that `conv2d` maps several sizes to one, and this says which of them comes back.

    Returns:
        s(n − 1) + d(k−1) + 1 − crops + output_padding outputs per axis.

    Raises:
        ValueError: as in `conv2d`, a crop that leaves nothing, or an output padding out of its range.

    Reference: Zeiler et al., Deconvolutional networks, 2010. https://www.matthewzeiler.com/mattzeiler/deconvolutionalnetworks.pdf;
    Dumoulin and Visin, A guide to convolution arithmetic, 2016. https://arxiv.org/abs/1603.07285.

    Examples:
        Each pixel puts its value into a square of 2x2:

        >>> image = jnp.array([[1.0, 2.0]])[..., None]
        >>> layers.conv_transpose2d(image, jnp.ones((2, 2, 1, 1)), stride=2)[..., 0]
        Array([[1., 1., 2., 2.],
               [1., 1., 2., 2.]], dtype=float32)

    [Lecture part J]
    """
    return _conv_transpose(x, kernel, bias, 2, stride, padding, dilation, groups, output_padding)


@own_words
def convolve1d(
    x: Inexact[ArrayLike, "*b n"], kernel: Inexact[ArrayLike, " k"], *, mode: Mode = "full"
) -> Inexact[Array, "*b m"]:
    """True convolution along the last axis, with the kernel flipped: y[n] = Σ_i x[n − i] w[i].

    See `convolve2d`.

    Examples:
        The coefficients of (1 + 2t)(1 + 3t):

        >>> layers.convolve1d(jnp.array([1.0, 2.0]), jnp.array([1.0, 3.0]))
        Array([1., 5., 6.], dtype=float32)

    [Lecture row H1]
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return _convolve(x, kernel, mode, 1)


@own_words
def convolve2d(
    x: Inexact[ArrayLike, "*b h w"], kernel: Inexact[ArrayLike, "kh kw"], *, mode: Mode = "full"
) -> Inexact[Array, "*b h2 w2"]:
    """True convolution of images without channels: y[i, j] = Σ_{p,q} x[i − p, j − q] w[p, q].

    The kernel is flipped. Networks use `conv2d`, which does not flip.

    Args:
        x: images with any leading dimensions.
        kernel: w.
        mode: "full" returns the n + k − 1 outputs with any overlap, "same" the n in their middle (the earlier of two
            middles for an even kernel, as in scipy), "valid" the n − k + 1 with full overlap.

    Raises:
        ValueError: an unknown mode, a wrong rank, or a kernel larger than the image in mode "valid".

    Examples:
        >>> layers.convolve2d(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0.0, 1.0]]))  # shifts to the right
        Array([[0., 1., 2.],
               [0., 3., 4.]], dtype=float32)

    [Lecture row H2]
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return _convolve(x, kernel, mode, 2)


def _conv(x, kernel, bias, axes, stride, padding, dilation, groups, method=None):
    """Cross-correlate over the `axes` spatial axes before the channels."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_convolution(x, kernel, axes, groups)
    along = axes_of(x.shape[-axes - 1 : -1], kernel.shape[:axes], stride, padding, dilation)
    check_method(method, choice=True)
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
    """Return the windows of the convolution to transpose, whose outputs have the given lengths."""
    named = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    values = [sizes.per_axis(name, value, len(lengths)) for name, value in named.items()]
    return tuple(_transposed_axis(*one) for one in zip(lengths, windows, *values, strict=True))


def _transposed_axis(length: int, window: int, stride: int, padding, dilation: int, output_padding: int) -> Axis:
    options = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    result = sizes.transposed_length(length, window, **options)  # raises when nothing is left
    return Axis(result, window, stride, dilation, *sizes.crop_amounts(window, **options))
