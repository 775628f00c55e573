"""Batch normalisation, in parts and in full, and local response normalisation, forward and backward.

Statistics use the biased variance 1/m; they and all sums are computed in float32 or wider. ε is added inside the root.
`scale`, `offset`, `mean` and `var` have shape `(c,)` or any shape that broadcasts against x from the right.

With `axis_name` the batch extends in equal shares over the devices of one or more mapped axes, and E is the sum of the
losses of all devices. Each device then gets its complete ∂E/∂x, but only its own part of ∂E/∂γ and ∂E/∂β.
[Lecture row D1]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxdl import numerics
from jaxdl.primitives import Static

__all__ = [
    "BatchNorm",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_train_backward",
    "batch_norm_train_forward",
    "batch_statistics_backward",
    "batch_statistics_forward",
    "local_response_norm_backward",
    "local_response_norm_forward",
]


class BatchNorm(NamedTuple):
    """Residuals of batch normalisation. `mean` and `var` also feed running averages."""

    normalized: Array  # x̂ = (x − μ) r, shape of x
    inverse: Array  # r = 1 / √(σ² + ε), broadcasts against x
    mean: Array  # μ, given or computed
    var: Array  # σ², given or computed
    scale: Array | None  # γ
    offset: Array | None  # β
    dtype: Static  # of x


def batch_norm_forward(
    x: Float[ArrayLike, "*x"],
    mean: Float[ArrayLike, "*m"],
    var: Float[ArrayLike, "*v"],
    scale: Float[ArrayLike, "*s"] | None = None,
    offset: Float[ArrayLike, "*o"] | None = None,
    *,
    eps: float | Float[Array, ""] = 1e-5,
) -> tuple[Float[Array, "*x"], BatchNorm]:
    """Normalise by given statistics, y = γ x̂ + β, x̂ = (x − μ) r, r = 1 / √(σ² + ε).

    Raises:
        ValueError: a shape that does not broadcast to that of x.

    Examples:
        Of (x − 3) / 2 at x = 5, with r = ½ and x̂ = 1, the cotangents are r, −r, −½ r² x̂, x̂ and 1:

        >>> mean, var, scale, offset = jnp.array([3.0]), jnp.array([4.0]), jnp.ones(1), jnp.zeros(1)
        >>> y, residuals = backprop.batch_norm_forward(jnp.array([[5.0]]), mean, var, scale, offset, eps=0.0)
        >>> [one.item() for one in backprop.batch_norm_backward(residuals, jnp.ones((1, 1)))]
        [0.5, -0.5, -0.125, 1.0, 1.0]
    """
    numerics.refuse_complex(x=x, mean=mean, var=var, scale=scale, offset=offset)
    x, mean, var = jnp.asarray(x), jnp.asarray(mean), jnp.asarray(var)
    inverse = lax.rsqrt(numerics.align("var", var, x) + eps)
    normalized = (numerics.widen(x) - numerics.align("mean", mean, x)) * inverse
    return _affine(x, normalized, inverse, mean, var, scale, offset)


def batch_norm_backward(residuals: BatchNorm, cotangent: Float[Array, "*x"]):
    """Return the cotangents of x, μ, σ², γ and β for δ = ∂E/∂y, with sums over the broadcast axes.

    ∂E/∂x̂ = γ δ, ∂E/∂x = r ∂E/∂x̂, ∂E/∂μ = −Σ r ∂E/∂x̂, ∂E/∂σ² = −½ Σ r² x̂ ∂E/∂x̂, ∂E/∂γ = Σ x̂ δ, ∂E/∂β = Σ δ.

    With `batch_statistics_backward` these are the six lines of the paper's section 3.
    Reference: Ioffe and Szegedy, Batch normalization, 2015. https://arxiv.org/abs/1502.03167.
    """
    normalized, inverse, mean, var, *_ = residuals
    ahead, scale_cotangent, offset_cotangent = _through_affine(residuals, cotangent)
    dx = inverse * ahead
    return (
        dx.astype(residuals.dtype.value),
        _sum_like(-dx, mean),
        _sum_like(-0.5 * inverse * normalized * dx, var),
        scale_cotangent,
        offset_cotangent,
    )


def batch_statistics_forward(
    x: Float[ArrayLike, "*x"],
    *,
    axis_name: str | Sequence[str] | None = None,
    axis: int | Sequence[int] | None = None,
) -> tuple[tuple[Float[Array, "*m"], Float[Array, "*m"]], PyTree]:
    """Mean μ = Σ x / m and biased variance σ² = Σ (x − μ)² / m.

    Args:
        x: inputs, channels last.
        axis_name: mapped axis over whose devices the batch extends, or None.
        axis: axes to average over, kept with length 1. None averages over all but the last and returns shape `(c,)`.

    Raises:
        ValueError: x is a scalar or lacks an axis.

    Examples:
        >>> (mean, var), residuals = backprop.batch_statistics_forward(jnp.array([[1.0], [3.0]]))
        >>> mean, var
        (Array([2.], dtype=float32), Array([1.], dtype=float32))
        >>> backprop.batch_statistics_backward(residuals, (jnp.ones(1), jnp.zeros(1))).ravel()  # 1 / m
        Array([0.5, 0.5], dtype=float32)
    """
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    mean, var, centred, axes = _moments(x, axis, axis_name)
    return (mean, var), (centred, Static((axes, axis_name, x.dtype)))


def batch_statistics_backward(
    residuals: PyTree, cotangent: tuple[Float[Array, "*m"], Float[Array, "*m"]]
) -> Float[Array, "*x"]:
    """∂E/∂x = ∂E/∂μ / m + 2 (x − μ) ∂E/∂σ² / m. The path through μ inside σ² adds −2 Σ (x − μ) / m = 0.

    Over D devices, m is D times the share of one, and ∂E/∂μ and ∂E/∂σ² are sums over the devices, so the code divides
    their means by that share.
    """
    centred, static = residuals
    axes, axis_name, dtype = static.value
    mean_cotangent, var_cotangent = (_over_devices(_aligned(one, centred.ndim), axis_name) for one in cotangent)
    share = math.prod(centred.shape[one] for one in axes)
    return ((mean_cotangent + 2 * centred * var_cotangent) / share).astype(dtype)


def batch_norm_train_forward(
    x: Float[ArrayLike, "*x"],
    scale: Float[ArrayLike, "*s"] | None = None,
    offset: Float[ArrayLike, "*o"] | None = None,
    *,
    axis_name: str | Sequence[str] | None = None,
    axis: int | Sequence[int] | None = None,
    eps: float | Float[Array, ""] = 1e-5,
) -> tuple[Float[Array, "*x"], tuple[BatchNorm, Static]]:
    """Normalise by the batch's own statistics, y = γ (x − μ) / √(σ² + ε) + β.

    Args:
        x: inputs, channels last.
        scale: γ; None means 1.
        offset: β; None means 0.
        axis_name, axis: see `batch_statistics_forward`.
        eps: ε.

    Raises:
        ValueError: a shape that does not broadcast to that of x, or x is a scalar or lacks an axis.

    Examples:
        Shifting a batch changes nothing, so the cotangents of x sum to 0:

        >>> x = jnp.array([[1.0], [3.0]])
        >>> y, residuals = backprop.batch_norm_train_forward(x, eps=0.0)
        >>> y.ravel(), backprop.batch_norm_train_backward(residuals, jnp.array([[1.0], [0.0]]))[0].sum()
        (Array([-1.,  1.], dtype=float32), Array(0., dtype=float32))
    """
    numerics.refuse_complex(x=x, scale=scale, offset=offset)
    x = jnp.asarray(x)
    mean, var, centred, axes = _moments(x, axis, axis_name)
    inverse = _aligned(lax.rsqrt(var + eps), x.ndim)
    y, residuals = _affine(x, centred * inverse, inverse, mean, var, scale, offset)
    return y, (residuals, Static((axes, axis_name)))


def batch_norm_train_backward(residuals: tuple[BatchNorm, Static], cotangent: Float[Array, "*x"]):
    """Return the cotangents of x, γ and β.

    Substituting ∂E/∂μ and ∂E/∂σ² of `batch_norm_backward` into `batch_statistics_backward` gives, with
    a = ∂E/∂x̂ = γ δ, means over the batch and x − μ = x̂ / r:

        ∂E/∂x = r a − r mean(a) − r x̂ mean(a x̂) = r (a − mean(a) − x̂ mean(a x̂))

    ∂E/∂x thus has no mean and no component along x̂, since shifting or scaling a batch changes nothing. For the same
    reason a bias before batch normalisation has gradient 0.

    Reference: Ioffe and Szegedy, Batch normalization, 2015. https://arxiv.org/abs/1502.03167. [Lecture rows D1, G5]
    """
    norm, static = residuals
    axes, axis_name = static.value
    ahead, scale_cotangent, offset_cotangent = _through_affine(norm, cotangent)
    along = _mean(ahead * norm.normalized, axes, axis_name)
    inner = ahead - _mean(ahead, axes, axis_name) - norm.normalized * along
    return (norm.inverse * inner).astype(norm.dtype.value), scale_cotangent, offset_cotangent


def local_response_norm_forward(
    x: Float[ArrayLike, "*x"],
    *,
    size: int = 5,
    alpha: float | Float[Array, ""] = 1e-4,
    beta: float | Float[Array, ""] = 0.75,
    k: float | Float[Array, ""] = 2.0,
    per_size: bool = False,
) -> tuple[Float[Array, "*x"], PyTree]:
    """Divide each channel by the activity of its neighbours, y_i = x_i d_i^−β, d_i = k + α Σ_j x_j².

    j runs over the existing channels among i − ⌊size/2⌋, ..., i + ⌊(size−1)/2⌋; `per_size` divides α by `size`.

    Raises:
        ValueError: `size` is not an int ≥ 1.

    Reference: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks,
    2012. https://papers.nips.cc/paper/4824.

    Examples:
        A single channel of 1, with k + α = 4 and β = ½, is halved:

        >>> options = {"size": 1, "k": 3.0, "alpha": 1.0, "beta": 0.5}
        >>> y, residuals = backprop.local_response_norm_forward(jnp.ones(1), **options)
        >>> y, backprop.local_response_norm_backward(residuals, jnp.ones(1))  # 4^-½ - 4^-3/2
        (Array([0.5], dtype=float32), Array([0.375], dtype=float32))

    [Lecture row H8]
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size: got {size!r}, allowed are ints ≥ 1")
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    wide = numerics.widen(x)
    alpha = alpha / size if per_size else alpha
    divisor = k + alpha * _neighbours(jnp.square(wide), size // 2, (size - 1) // 2)
    return (wide * divisor**-beta).astype(x.dtype), (x, divisor, alpha, beta, Static(size))


def local_response_norm_backward(residuals: PyTree, cotangent: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """∂E/∂x_i = δ_i d_i^−β − 2αβ x_i Σ_j δ_j x_j d_j^(−β−1) over the channels j that have i as a neighbour.

    These are i − ⌊(size−1)/2⌋, ..., i + ⌊size/2⌋, the mirrored window of the forward pass.
    """
    x, divisor, alpha, beta, size = residuals
    wide, delta = numerics.widen(x), cotangent.astype(divisor.dtype)
    direct = delta * divisor**-beta
    through = _neighbours(direct * wide / divisor, (size.value - 1) // 2, size.value // 2)
    return (direct - 2 * alpha * beta * wide * through).astype(x.dtype)


def _affine(x: Array, normalized, inverse, mean, var, scale, offset):
    """Return γ x̂ + β and the residuals of both backward passes."""
    scale, offset = (None if one is None else jnp.asarray(one) for one in (scale, offset))
    y = normalized if scale is None else normalized * numerics.align("scale", scale, x)
    y = y if offset is None else y + numerics.align("offset", offset, x)
    return y.astype(x.dtype), BatchNorm(normalized, inverse, mean, var, scale, offset, Static(x.dtype))


def _through_affine(residuals: BatchNorm, cotangent: Array):
    """Return ∂E/∂x̂, ∂E/∂γ and ∂E/∂β."""
    scale, offset = residuals.scale, residuals.offset
    delta = cotangent.astype(residuals.normalized.dtype)
    ahead = delta if scale is None else delta * _aligned(scale, delta.ndim)
    scale_cotangent = None if scale is None else _sum_like(delta * residuals.normalized, scale)
    return ahead, scale_cotangent, None if offset is None else _sum_like(delta, offset)


def _moments(x: Array, axis, axis_name):
    wide = numerics.widen(x)
    axes = numerics.reduced_axes(axis, x.ndim)
    mean = _mean(wide, axes, axis_name)
    centred = wide - mean
    var = _mean(jnp.square(centred), axes, axis_name)
    if axis is None:
        mean, var = mean.reshape(mean.shape[-1]), var.reshape(var.shape[-1])
    return mean, var, centred, axes


def _mean(x: Array, axes: tuple[int, ...], axis_name) -> Array:
    """Return the mean over the batch of all devices."""
    return _over_devices(jnp.mean(x, axes, keepdims=True), axis_name)


def _over_devices(x: Array, axis_name) -> Array:
    return x if axis_name is None else lax.pmean(x, axis_name)


def _neighbours(x: Array, before: int, after: int) -> Array:
    """Return, for each channel, the sum over itself, the `before` channels before it and the `after` after it."""
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])
    starts = range(before + after + 1)
    return reduce(jnp.add, [lax.slice_in_dim(padded, i, i + x.shape[-1], axis=-1) for i in starts])


def _aligned(value: Array, ndim: int) -> Array:
    return numerics.widen(value).reshape((1,) * (ndim - value.ndim) + value.shape)


def _sum_like(cotangent: Array, value: Array) -> Array:
    """Apply the transpose of broadcasting `value`: sum over the axes along which it was repeated."""
    lengths = (1,) * (cotangent.ndim - value.ndim) + value.shape
    repeated = tuple(i for i, length in enumerate(lengths) if length == 1)
    return jnp.sum(cotangent, repeated, keepdims=True).reshape(value.shape).astype(value.dtype)
