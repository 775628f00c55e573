"""Convolutions, forward and backward.

Windows read the inputs s i + d p − P (`kernels.windows`), so for one axis and one channel the forward pass is
y[i] = Σ_p x[s i + d p − P] w[p]. It is linear in x and in w, and the backward pass applies both transposes:

    ∂E/∂w[p] = Σ_i x[s i + d p − P] δ[i]           ∂E/∂x[u] = Σ w[p] δ[i] over all i, p with s i + d p − P = u

In the lecture C, s = d = 1 and P = 0: ∂E/∂w[m, n] = Σ x[m+p, n+q] δ[p, q], ∂E/∂x[m, n] = Σ w[p, q] δ[m−p, n−q].
Erratum: C's second sum runs to p = k, q = k, but the weights end at k − 1.

Images are `(..., h, w, c)` with any leading dimensions, kernels `(kh, kw, c_in / groups, c_out)`.
[Lecture rows D1, D4, H1, H2]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.backprop.affine import bias_cotangent
from jaxdl.kernels.forms import compute
from jaxdl.kernels.windows import axes_of, check_convolution
from jaxdl.primitives import Static

__all__ = [
    "Convolution",
    "conv1d_backward",
    "conv1d_forward",
    "conv2d_backward",
    "conv2d_forward",
]


class Convolution(NamedTuple):
    """Residuals of a convolution."""

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
    """Cross-correlation along one axis. See `conv2d_forward`.

    Examples:
        >>> x, kernel = jnp.array([1.0, 2.0, 4.0])[:, None], jnp.array([-1.0, 1.0])[:, None, None]
        >>> y, residuals = backprop.conv1d_forward(x, kernel, padding="VALID")
        >>> d_x, d_kernel, _ = backprop.conv1d_backward(residuals, jnp.ones((2, 1)))
        >>> y.ravel(), d_x.ravel(), d_kernel.ravel()  # d_kernel: 1 + 2, 2 + 4
        (Array([1., 2.], dtype=float32), Array([-1.,  0.,  1.], dtype=float32), Array([3., 6.], dtype=float32))
    """
    per_axis = (tuple(padding),) if isinstance(padding, list | tuple) else padding
    return _forward(x, kernel, bias, 1, stride, per_axis, dilation, groups)


def conv1d_backward(residuals: Convolution, cotangent: Float[Array, "*b m c_out"], *, method: str = "xla"):
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
        x: images with any leading dimensions.
        kernel: weights; with `groups`, output channel o sees the c_in / groups input channels of its own group.
        bias: one entry per output channel, or None.
        stride, padding, dilation: s, P and d, one value or one per axis; `sizes` describes the paddings.
        groups: number of channel groups that do not see one another.

    Raises:
        ValueError: a wrong rank, mismatched channels, an option below 1, or a window larger than the padded input.

    Examples:
        A kernel as large as the image is a scalar product, whose derivative for the image is the kernel:

        >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[..., None]
        >>> kernel = jnp.array([[1.0, 0.0], [0.0, -1.0]])[..., None, None]
        >>> y, residuals = backprop.conv2d_forward(x, kernel, jnp.zeros(1), padding="VALID")
        >>> d_x, d_kernel, d_bias = backprop.conv2d_backward(residuals, jnp.ones((1, 1, 1)))
        >>> y.ravel(), d_x.ravel()  # 1 - 4
        (Array([-3.], dtype=float32), Array([ 1.,  0.,  0., -1.], dtype=float32))
        >>> d_kernel.ravel(), d_bias
        (Array([1., 2., 3., 4.], dtype=float32), Array([1.], dtype=float32))
    """
    return _forward(x, kernel, bias, 2, stride, padding, dilation, groups)


def conv2d_backward(
    residuals: Convolution, cotangent: Float[Array, "*b h2 w2 c_out"], *, method: str = "xla"
) -> tuple[Float[Array, "*b h w c_in"], Float[Array, "kh kw c_group c_out"], Float[Array, " c_out"] | None]:
    """Return ∂E/∂x, ∂E/∂w and ∂E/∂b = Σ δ for δ = ∂E/∂y; the top of this module has the first two sums.

    Args:
        residuals: from `conv2d_forward`.
        cotangent: δ.
        method: algorithm for ∂E/∂w, one of `kernels.METHODS`.

    Raises:
        ValueError: an unknown method.
    """
    return _backward(residuals, cotangent, method)


def _forward(x, kernel, bias, rank: int, stride, padding, dilation, groups: int):
    numerics.refuse_complex(x=x, kernel=kernel, bias=bias)
    x, kernel, bias = jnp.asarray(x), jnp.asarray(kernel), None if bias is None else jnp.asarray(bias)
    check_convolution(x, kernel, rank, groups)
    axes = axes_of(x.shape[-rank - 1 : -1], kernel.shape[:rank], stride, padding, dilation)
    dtype = numerics.result_dtype(x, kernel)
    y = compute("forward", numerics.merge_leading(x, rank + 1).astype(dtype), kernel.astype(dtype), axes, groups)
    y = y.reshape(x.shape[: -rank - 1] + y.shape[1:])
    return numerics.add_bias(y, bias), Convolution(x, kernel, bias, Static((axes, groups)))


def _backward(residuals: Convolution, cotangent: Array, method: str):
    x, kernel, bias, static = residuals
    axes, groups = static.value
    dtype, keep = numerics.result_dtype(x, kernel), len(axes) + 1
    delta = numerics.merge_leading(cotangent, keep).astype(dtype)
    dx = compute("input_gradient", delta, kernel.astype(dtype), axes, groups)
    dw = compute("kernel_gradient", numerics.merge_leading(x, keep).astype(dtype), delta, axes, groups, method=method)
    return dx.reshape(x.shape).astype(x.dtype), dw.astype(kernel.dtype), bias_cotangent(bias, cotangent)
