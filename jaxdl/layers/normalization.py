"""Normalisation by the statistics of a batch, of one example, or of neighbouring channels or pixels.

Statistics use the biased variance 1/m and are computed in float32 or wider; results have the dtype of the input. ε is
added inside the root. Complex inputs raise ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.sizes import check_at_least_one, check_groups
from jaxdl.words import own_words

__all__ = [
    "batch_norm",
    "batch_statistics",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_contrast_norm",
    "local_response_norm",
    "rms_norm",
]


@own_words
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

    With γ = √(var + ε) and β = mean it is the identity. It follows a dense or convolutional layer and precedes the
    non-linearity. That layer needs no bias, because subtracting the batch mean removes it in training.

    Args:
        x: inputs of any shape.
        mean, var: the batch's `batch_statistics` in training, running averages in evaluation. Like `scale` and
            `offset`, they have shape `(c,)` or any shape that broadcasts against x from the right.
        scale: γ; None means 1.
        offset: β; None means 0.
        eps: ε.

    Raises:
        ValueError: a shape that does not broadcast to that of x.

    Reference: Ioffe and Szegedy, Batch normalization, 2015. https://arxiv.org/abs/1502.03167.

    Examples:
        >>> layers.batch_norm(jnp.array([[5.0]]), jnp.array([3.0]), jnp.array([4.0]), eps=0.0)  # (5 - 3) / 2
        Array([[1.]], dtype=float32)

    [Lecture row G5]
    """
    numerics.refuse_complex(x=x, mean=mean, var=var, scale=scale, offset=offset)
    x = jnp.asarray(x)
    mean, factor = numerics.align("mean", mean, x), lax.rsqrt(numerics.align("var", var, x) + eps)
    if scale is not None and jnp.shape(aligned := numerics.align("scale", scale, x)) == factor.shape:
        factor, scale = factor * aligned, None
    return _affine(_scaled_from(numerics.widen(x), mean, factor), x, scale, offset)


@own_words
def batch_statistics(
    x: Float[ArrayLike, "*x"],
    *,
    axis_name: str | Sequence[str] | None = None,
    axis: int | Sequence[int] | None = None,
) -> tuple[Float[Array, "*m"], Float[Array, "*m"]]:
    """Mean and biased variance of a batch: μ = Σ x / m, σ² = Σ (x − μ)² / m.

    The mean is subtracted before squares are summed, within a device and across devices (σ² is the mean of
    σ_d² + (μ_d − μ)² over devices d), so a large mean costs no digits.

    Args:
        x: inputs, channels last.
        axis_name: mapped axis or axes over whose devices the batch extends in equal shares, or None.
        axis: axes to average over, kept with length 1 so that the result broadcasts against x. None averages over all
            axes but the last and returns shape `(c,)`.

    Returns:
        Mean and variance in float32 (float64 for float64). An empty batch gives NaN.

    Raises:
        ValueError: x is a scalar or lacks an axis.

    Reference: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances,
    1979. http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf.

    Examples:
        >>> layers.batch_statistics(jnp.array([[1.0], [3.0]]))
        (Array([2.], dtype=float32), Array([1.], dtype=float32))

    [Lecture row G5]
    """
    numerics.refuse_complex(x=x)
    wide = numerics.widen(x)
    axes = numerics.reduced_axes(axis, wide.ndim)
    mean, var = _moments(wide, axes)
    if axis_name is not None:
        local_mean, mean = mean, lax.pmean(mean, axis_name)
        var = lax.pmean(var + jnp.square(local_mean - mean), axis_name)
    if axis is None:
        return mean.reshape(mean.shape[-1]), var.reshape(var.shape[-1])
    return mean, var


@own_words
def layer_norm(
    x: Float[ArrayLike, "*x"],
    scale: Float[ArrayLike, "*s"] | None = None,
    offset: Float[ArrayLike, "*o"] | None = None,
    *,
    axis: int | Sequence[int] = -1,
    eps: float | Float[Array, ""] = 1e-5,
) -> Float[Array, "*x"]:
    """Normalise each example by its own mean and variance over `axis`. See `batch_norm`.

    Reference: Ba, Kiros and Hinton, Layer normalization, 2016. https://arxiv.org/abs/1607.06450.

    Examples:
        >>> layers.layer_norm(jnp.array([1.0, 3.0]), eps=0.0)
        Array([-1.,  1.], dtype=float32)

    [Lecture row G5]
    """
    return batch_norm(x, *batch_statistics(x, axis=axis), scale, offset, eps=eps)


@own_words
def rms_norm(
    x: Float[ArrayLike, "*x"],
    scale: Float[ArrayLike, "*s"] | None = None,
    *,
    axis: int | Sequence[int] = -1,
    eps: float | Float[Array, ""] = 1e-6,
) -> Float[Array, "*x"]:
    """Divide each example by its root mean square over `axis`: y = γ x / √(mean(x²) + ε).

    `layer_norm` without the mean and the offset.

    Args:
        x: inputs, any shape.
        scale: γ, of a shape that broadcasts against x from the right; None for 1.
        axis: axis or axes that the mean runs over.
        eps: ε; 1e-6 is flax's, PyTorch takes the machine's epsilon.

    Raises:
        ValueError: a shape that does not broadcast to that of x, or an axis that x has not.

    Reference: Zhang and Sennrich, Root mean square layer normalization, 2019. https://arxiv.org/abs/1910.07467.

    Examples:
        >>> layers.rms_norm(jnp.array([1.0, 7.0]), eps=0.0)  # by the root of (1 + 49) / 2
        Array([0.2, 1.4], dtype=float32)
    """
    numerics.refuse_complex(x=x, scale=scale)
    x = jnp.asarray(x)
    wide = numerics.widen(x)
    power = jnp.mean(jnp.square(wide), axis=numerics.reduced_axes(axis, x.ndim), keepdims=True)
    return _affine(wide * lax.rsqrt(power + eps), x, scale, None)


@own_words
def instance_norm(
    x: Float[ArrayLike, "*b h w c"],
    scale: Float[ArrayLike, " c"] | None = None,
    offset: Float[ArrayLike, " c"] | None = None,
    *,
    eps: float | Float[Array, ""] = 1e-5,
) -> Float[Array, "*b h w c"]:
    """Normalise each channel of each image by its own mean and variance. See `batch_norm`.

    Reference: Ulyanov, Vedaldi and Lempitsky, Instance normalization, 2016. https://arxiv.org/abs/1607.08022.

    Examples:
        >>> layers.instance_norm(jnp.array([1.0, 3.0])[:, None, None], eps=0.0).ravel()
        Array([-1.,  1.], dtype=float32)

    [Lecture row G5]
    """
    return group_norm(x, scale, offset, groups=jnp.shape(x)[-1], eps=eps)


@own_words
def group_norm(
    x: Float[ArrayLike, "*b h w c"],
    scale: Float[ArrayLike, " c"] | None = None,
    offset: Float[ArrayLike, " c"] | None = None,
    *,
    groups: int = 32,
    eps: float | Float[Array, ""] = 1e-5,
) -> Float[Array, "*b h w c"]:
    """Normalise groups of neighbouring channels of each image by their mean and variance. See `batch_norm`.

    Raises:
        ValueError: x is not an image, or `groups` does not divide its channels.

    Reference: Wu and He, Group normalization, 2018. https://arxiv.org/abs/1803.08494.

    Examples:
        Two groups of two channels each, of means 2 and 15 and deviations 1 and 5:

        >>> layers.group_norm(jnp.array([1.0, 3.0, 10.0, 20.0])[None, None], groups=2, eps=0.0).ravel()
        Array([-1.,  1., -1.,  1.], dtype=float32)

    [Lecture row G5]
    """
    numerics.refuse_complex(scale=scale, offset=offset)
    x = _image(x)
    channels = x.shape[-1]
    check_groups(groups, channels)
    grouped = x.reshape(*x.shape[:-1], groups, channels // groups)
    mean, var = batch_statistics(grouped, axis=(-4, -3, -1))
    y = _scaled_from(numerics.widen(grouped), mean, lax.rsqrt(var + eps))
    return _affine(y.reshape(x.shape), x, scale, offset)


@own_words
def local_response_norm(
    x: Float[ArrayLike, "*x"],
    *,
    size: int = 5,
    alpha: float | Float[Array, ""] = 1e-4,
    beta: float | Float[Array, ""] = 0.75,
    k: float | Float[Array, ""] = 2.0,
    per_size: bool = False,
) -> Float[Array, "*x"]:
    """Divide each channel by the activity of its neighbours: y_i = x_i / (k + α Σ_j x_j²)^β.

    j runs over the existing channels among i − ⌊size/2⌋, ..., i + ⌊(size−1)/2⌋. The paper normalises after the
    non-linearity and before the pool; the lecture S draws the pool first.

    Args:
        x: activations, channels last.
        size: n, the number of channels in the sum.
        alpha, beta, k: α, β, k > 0.
        per_size: whether to divide α by `size`, as Caffe and PyTorch do and the paper does not.

    Raises:
        ValueError: a size below 1, or a Python number k ≤ 0, which would divide 0 by 0.

    Reference: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks,
    section 3.3, 2012. https://papers.nips.cc/paper/4824.

    Examples:
        >>> layers.local_response_norm(jnp.ones(1), size=1, k=3.0, alpha=1.0, beta=0.5)  # 1 / (3 + 1)^½
        Array([0.5], dtype=float32)

    [Lecture row H8]
    """
    check_at_least_one("size", size)
    if isinstance(k, float | int) and not k > 0:
        raise ValueError(f"k: got {k}, allowed are numbers > 0")
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    wide = numerics.widen(x)
    others = (1,) * (x.ndim - 1)
    around = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    energy = lax.reduce_window(jnp.square(wide), 0.0, lax.add, (*others, size), (*others, 1), around)
    divisor = k + (alpha / size if per_size else alpha) * energy
    y = wide * jnp.exp(-beta * jnp.log(divisor))  # ** takes ten times as long on CPU
    return y.astype(numerics.result_dtype(x))


@own_words
def local_contrast_norm(
    x: Float[ArrayLike, "*b h w c"],
    *,
    size: int = 9,
    mode: Literal["both", "subtractive", "divisive"] = "both",
    across_channels: bool = True,
    eps: float | Float[Array, ""] = 1e-4,
) -> Float[Array, "*b h w c"]:
    """Subtract the local mean and divide by the local deviation, both under a Gaussian window w.

    The subtractive step is v = x − Σ w x. The divisive step is y = v / max(c, σ) with σ = √Σ w v² and c the mean of σ
    over the image.

    Args:
        x: images with any leading dimensions.
        size: odd width of the window in pixels; its standard deviation is size/4.
        mode: "both" steps, or one of them.
        across_channels: whether the sums run over all channels of an image, as in the paper, or over each separately.
        eps: smallest divisor, for images without contrast.

    Returns:
        The normalised images. At the border the weights inside the image are rescaled to sum to 1.

    Raises:
        ValueError: x is not an image, `size` is even, or `mode` is unknown.

    Reference: Jarrett et al., What is the best multi-stage architecture for object recognition?, 2009.
    https://doi.org/10.1109/ICCV.2009.5459469.

    Examples:
        An image without contrast becomes 0:

        >>> layers.local_contrast_norm(jnp.ones((3, 3, 1)), size=3).ravel().round(3)
        Array([0., 0., 0., 0., 0., 0., 0., 0., 0.], dtype=float32)

    [Lecture row H8]
    """
    if mode not in ("both", "subtractive", "divisive"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'both', 'subtractive' and 'divisive'")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size: got {size}, allowed are odd ints ≥ 1")
    x = _image(x)
    y = numerics.widen(x)
    if mode != "divisive":
        y = y - _local_mean(y, size, across_channels)
    if mode != "subtractive":
        deviation = numerics.safe_sqrt(_local_mean(jnp.square(y), size, across_channels))
        floor = jnp.maximum(jnp.mean(deviation, axis=(-3, -2), keepdims=True), eps)
        y = y / jnp.maximum(deviation, floor)
    return y.astype(numerics.result_dtype(x))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and biased variance over `axes`, kept with length 1."""
    mean = jnp.mean(x, axis=axes, keepdims=True)
    return mean, jnp.mean(jnp.square(x - mean), axis=axes, keepdims=True)


@_moments.defjvp
def _moments_jvp(axes, primals, tangents):
    (x,), (tangent,) = primals, tangents
    mean, var = _moments(x, axes)
    # the path through the mean inside the variance, −2 mean(x − mean) times its tangent, is 0 and would cost a pass
    along = jnp.mean((x - mean) * tangent, axis=axes, keepdims=True)
    return (mean, var), (jnp.mean(tangent, axis=axes, keepdims=True), 2 * along)


@jax.custom_jvp
def _scaled_from(x: Array, mean: Array, factor: Array) -> Array:
    """Return (x − mean) · factor, whose arguments broadcast against x."""
    return (x - mean) * factor


# the mean's tangent is multiplied before it is broadcast, so the backward pass sums cotangents without multiplying each
_scaled_from.defjvps(
    lambda tangent, y, x, mean, factor: tangent * factor,
    lambda tangent, y, x, mean, factor: jnp.broadcast_to(-tangent * factor, y.shape),
    lambda tangent, y, x, mean, factor: (x - mean) * tangent,
)


def _local_mean(x: Array, size: int, across_channels: bool) -> Array:
    """Return the Gaussian-weighted mean around each pixel, over its own channel or all channels."""
    if across_channels:
        x = jnp.mean(x, axis=-1, keepdims=True)
    blurred = x
    for axis in (-3, -2):
        blurred = jnp.moveaxis(jnp.tensordot(_blur(x.shape[axis], size, x.dtype), blurred, (1, axis)), 0, axis)
    return blurred


def _blur(length: int, size: int, dtype) -> Array:
    """Return the matrix (length, length) that takes Gaussian means along one axis; each row sums to 1."""
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    weights = np.where(abs(distance) <= size // 2, np.exp(-0.5 * (distance / (size / 4)) ** 2), 0)
    return jnp.asarray(weights / weights.sum(1, keepdims=True), dtype)


def _image(x: ArrayLike) -> Array:
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    if x.ndim < 3:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., h, w, c)")
    return x


def _affine(y: Array, x: Array, scale: ArrayLike | None, offset: ArrayLike | None) -> Array:
    """Return γ y + β in the dtype of x."""
    if scale is not None:
        y = y * numerics.align("scale", scale, x)
    if offset is not None:
        y = y + numerics.align("offset", offset, x)
    return y.astype(numerics.result_dtype(x))
