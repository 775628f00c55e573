"""Normalisation by statistics of a batch, of one example, or of neighbours.

Statistics are computed in float32 at least (float16 and bfloat16 inputs are widened) with the biased variance 1/m;
results have the dtype of the input. ε stands inside the root.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

__all__ = ["batch_norm", "batch_statistics"]


def batch_norm(
    x: Float[ArrayLike, "*x"],
    mean: Float[ArrayLike, "*m"],
    var: Float[ArrayLike, "*v"],
    scale: Float[ArrayLike, "*s"] | None = None,
    offset: Float[ArrayLike, "*o"] | None = None,
    *,
    eps: float | Float[Array, ""] = 1e-5,
) -> Float[Array, "*x"]:
    """Normalise by given statistics: y = γ (x − mean) / √(var + ε) + β.

    With γ = √(var + ε) and β = mean it is the identity. A bias added to x before it changes nothing in training,
    because the batch mean takes it out again. Order: after a dense or a convolutional layer, before the non-linearity.

    Args:
        x: inputs, any shape.
        mean, var: from `batch_statistics` in training, running averages of them in evaluation; like `scale` and
            `offset` of shape `(c,)`, or any shape that broadcasts against x from the right.
        scale: γ; None for 1.
        offset: β; None for 0.
        eps: ε.

    Raises:
        ValueError: a shape that does not broadcast to that of x.

    Reference: Ioffe and Szegedy, Batch normalization, 2015. https://arxiv.org/abs/1502.03167. Lecture row G5.
    """
    x = jnp.asarray(x)
    wide, mean, var = _wide(x), _align("mean", mean, x), _align("var", var, x)
    y = (wide - mean) * lax.rsqrt(var + eps)
    return _affine(y, x, scale, offset)


def batch_statistics(
    x: Float[ArrayLike, "*x"],
    *,
    axis_name: str | Sequence[str] | None = None,
    axis: int | Sequence[int] | None = None,
) -> tuple[Float[Array, "*m"], Float[Array, "*m"]]:
    """Mean and biased variance of a batch: μ = Σ x / m, σ² = Σ (x − μ)² / m.

    The squares are summed after the mean is taken out, here and across devices (σ² is the mean of σ_d² + (μ_d − μ)²
    over devices d), so a large mean costs no digits.

    Args:
        x: inputs, channels last.
        axis_name: mapped axis or axes over whose devices the batch extends, all of equal share; None for none.
        axis: axes to average over, kept with length 1 so that the result broadcasts against x; None for all but
            the last, which gives shape `(c,)`.

    Returns:
        Mean and variance in float32 (float64 for float64); NaN for an empty batch.

    Raises:
        ValueError: x is a scalar, or an axis that it has not.

    Reference: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances,
    1979. http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf. Lecture row G5.
    """
    wide = _wide(jnp.asarray(x))
    axes = _axes("axis", axis, wide.ndim)
    mean = jnp.mean(wide, axis=axes, keepdims=True)
    var = jnp.mean(jnp.square(wide - mean), axis=axes, keepdims=True)
    if axis_name is not None:
        local_mean, mean = mean, lax.pmean(mean, axis_name)
        var = lax.pmean(var + jnp.square(local_mean - mean), axis_name)
    if axis is None:
        return mean.reshape(mean.shape[-1]), var.reshape(var.shape[-1])
    return mean, var


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _axes(name: str, axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes to reduce as non-negative ints; None stands for all but the last."""
    if ndim == 0:
        raise ValueError("x: got a scalar, allowed are arrays with at least one axis")
    if axis is None:
        return tuple(range(ndim - 1))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if not all(-ndim <= one < ndim for one in axes):
        raise ValueError(f"{name}: got {axis!r}, allowed are axes of an array with {ndim} of them")
    return tuple(sorted({one % ndim for one in axes}))


def _align(name: str, value: ArrayLike, x: Array) -> Array:
    """Return `value` in float32 at least, with leading axes of length 1 up to the rank of x."""
    value = _wide(jnp.asarray(value))
    aligned = value.reshape((1,) * (x.ndim - value.ndim) + value.shape)
    fits = aligned.ndim == x.ndim and all(n in (1, m) for n, m in zip(aligned.shape, x.shape, strict=True))
    if not fits:
        raise ValueError(f"{name}: got shape {value.shape}, allowed are shapes that broadcast to that of x, {x.shape}")
    return aligned


def _affine(y: Array, x: Array, scale: ArrayLike | None, offset: ArrayLike | None) -> Array:
    """Return γ y + β in the dtype of x."""
    if scale is not None:
        y = y * _align("scale", scale, x)
    if offset is not None:
        y = y + _align("offset", offset, x)
    return y.astype(x.dtype)
