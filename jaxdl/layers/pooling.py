"""Pooling over the windows of an image, channel by channel.

Images are `(..., h, w, c)` with any number of leading dimensions. `window`, `stride` (the window by default) and
`padding` take one value or (height, width); `sizes` describes the paddings. Padding is never pooled: it must be smaller
than the window, and a window that overlaps the border pools only the values inside the image.

Every mode of differentiation works, and reverse mode runs the hand-written backward passes of `jaxdl.kernels`. A pool
is either linear or a `jax.custom_jvp` whose rule is linear in the tangent; that linear map is a primitive whose
transpose is the backward pass. [Lecture row H5]
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num

from jaxdl import numerics, primitives, sizes
from jaxdl.kernels import pooling
from jaxdl.kernels.windows import Axis
from jaxdl.primitives import Static
from jaxdl.words import own_words

__all__ = [
    "avg_pool2d",
    "global_avg_pool2d",
    "global_max_pool2d",
    "l2_pool2d",
    "max_pool2d",
    "max_pool2d_argmax",
    "max_unpool2d",
    "weighted_pool2d",
]


@own_words
def max_pool2d(
    x: Num[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> Num[Array, "*b h2 w2 c"]:
    """Maximum of each window: y[i, j] = max_{p,q} x[s i + p, s j + q].

    At a tie the first maximum in row-major order receives the gradient. A NaN in a window makes its maximum NaN.

    Args:
        x: images with any leading dimensions.
        window: k, the height and width of the window.
        stride: s, the step between windows; None uses the window.
        padding: see the top of this module.

    Returns:
        ⌊(n + 2p − k)/s⌋ + 1 values per axis, in the dtype of `x`.

    Raises:
        ValueError: a wrong rank, an option below 1, a window larger than the padded input, or a padding that is not
            smaller than the window.

    Examples:
        >>> layers.max_pool2d(jnp.array([[1.0, 2.0], [6.0, 3.0]])[..., None]).ravel()
        Array([6.], dtype=float32)

    [Lecture row H5]
    """
    x = jnp.asarray(x)
    return _maxima(x, pooling.pool_axes(x, window, stride, padding))


@own_words
def avg_pool2d(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
    count_padding: bool = False,
) -> Float[Array, "*b h2 w2 c"]:
    """Mean of each window: y[i, j] = Σ_{p,q} x[s i + p, s j + q] / m.

    Args:
        x: images with any leading dimensions.
        window, stride, padding: as in `max_pool2d`.
        count_padding: whether m counts padding. If false, m is the number of values inside the image.

    Returns, Raises: see `max_pool2d`.

    Examples:
        >>> x = jnp.array([[1.0, 2.0], [3.0, 6.0]])[..., None]
        >>> layers.avg_pool2d(x).ravel()
        Array([3.], dtype=float32)

    [Lecture row H5]
    """
    x = numerics.floats(x)
    return _means(pooling.covered(x, pooling.pool_axes(x, window, stride, padding), count_padding), x)


@own_words
def l2_pool2d(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> Float[Array, "*b h2 w2 c"]:
    """Euclidean norm of each window: y[i, j] = √Σ_{p,q} x[s i + p, s j + q]², with gradient 0 where it is 0.

    Squares are summed in float32 or wider: they overflow to inf beyond |x| = 1e19 and vanish below 1e-19. See
    `max_pool2d` for arguments and errors.

    Reference: Boureau, Ponce and LeCun, A theoretical analysis of feature pooling in visual recognition, 2010.
    https://www.di.ens.fr/willow/pdfs/icml2010b.pdf.

    Examples:
        >>> layers.l2_pool2d(jnp.array([[3.0, 0.0], [0.0, 4.0]])[..., None]).ravel()
        Array([5.], dtype=float32)

    [Lecture row H5]
    """
    x = numerics.floats(x)
    return _norms(numerics.widen(x), pooling.pool_axes(x, window, stride, padding)).astype(x.dtype)


@own_words
def weighted_pool2d(
    x: Float[ArrayLike, "*b h w c"],
    weights: Float[ArrayLike, "kh kw"],
    *,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> Float[Array, "*b h2 w2 c"]:
    """Weighted average of each window: y[i, j] = Σ_{p,q} w[p, q] x[s i + p, s j + q] / Σ_{p,q} w[p, q].

    Args:
        x: images with any leading dimensions.
        weights: w, shared by all channels; its shape is the window. Both sums run over the values inside the image. The
            weights need not sum to 1, but a sum of 0 gives inf or NaN.
        stride, padding: as in `max_pool2d`.

    Returns, Raises: see `max_pool2d`.

    Examples:
        >>> layers.weighted_pool2d(jnp.array([[2.0, 6.0]])[..., None], jnp.array([[1.0, 3.0]])).ravel()  # (2 + 18) / 4
        Array([5.], dtype=float32)

    [Lecture row H5]
    """
    numerics.refuse_complex(weights=weights)
    x, weights = numerics.floats(x), jnp.asarray(weights)
    axes = pooling.weighted_axes(x, weights, stride, padding)
    wide = numerics.widen(x)
    weights = weights.astype(wide.dtype)
    total = _weighted_sums((weights, Static(axes)), wide)
    return (total / jnp.broadcast_to(pooling.weights_inside(weights, axes), total.shape)).astype(x.dtype)


@own_words
def global_avg_pool2d(x: Float[ArrayLike, "*b h w c"]) -> Float[Array, "*b c"]:
    """Mean of each channel over the image.

    Reference: Lin, Chen and Yan, Network in network, 2013. https://arxiv.org/abs/1312.4400.

    Examples:
        >>> layers.global_avg_pool2d(jnp.array([[1.0, 2.0], [3.0, 6.0]])[..., None])
        Array([3.], dtype=float32)

    [Lecture row H5]
    """
    return jnp.mean(_image(x), axis=(-3, -2))


@own_words
def global_max_pool2d(x: Num[ArrayLike, "*b h w c"]) -> Num[Array, "*b c"]:
    """Maximum of each channel over the image, with ties and NaN as in `max_pool2d`.

    Examples:
        >>> layers.global_max_pool2d(jnp.array([[1.0, 2.0], [3.0, 6.0]])[..., None])
        Array([6.], dtype=float32)

    [Lecture row H5]
    """
    x = _image(x)
    pixels = x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])
    first = lax.stop_gradient(jnp.argmax(pixels, axis=-2, keepdims=True))
    return jnp.take_along_axis(pixels, first, axis=-2)[..., 0, :]


@own_words
def max_pool2d_argmax(
    x: Num[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> Int[Array, "*b h2 w2 c"]:
    """Position of each maximum of `max_pool2d` in the image, row · w + column, for `max_unpool2d`.

    At a tie it is the first position. See `max_pool2d` for arguments and errors. [Lecture rows D1, H5]
    """
    x = jnp.asarray(x)
    _, found = pooling.maxima(x, pooling.pool_axes(x, window, stride, padding))
    pixels = jnp.arange(x.shape[-3] * x.shape[-2]).reshape(*x.shape[-3:-1], 1)
    return pooling.at_maxima(found, jnp.broadcast_to(pixels, x.shape))


@own_words
def max_unpool2d(
    x: Num[ArrayLike, "*b h w c"], argmax: Int[ArrayLike, "*b h w c"], *, size: Sequence[int]
) -> Num[Array, "*b h2 w2 c"]:
    """Put each value back at the position of its maximum and zeros elsewhere. Values for one pixel add up.

    For y = max_pool2d(x) it maps ∂E/∂y to ∂E/∂x, so it is the backward pass of max pooling.

    Args:
        x: one value per window.
        argmax: positions from `max_pool2d_argmax`. A value whose position lies outside the image is dropped.
        size: (height, width) of the result.

    Raises:
        ValueError: `x` and `argmax` differ in shape, or `size` is not a pair.

    Reference: Zeiler and Fergus, Visualizing and understanding convolutional networks, 2013.
    https://arxiv.org/abs/1311.2901.

    Examples:
        >>> x = jnp.array([[1.0, 2.0], [6.0, 3.0]])[..., None]
        >>> argmax = layers.max_pool2d_argmax(x)
        >>> argmax.ravel()
        Array([2], dtype=int32)
        >>> layers.max_unpool2d(layers.max_pool2d(x), argmax, size=(2, 2))[..., 0]
        Array([[0., 0.],
               [6., 0.]], dtype=float32)

    [Lecture rows D1, H5]
    """
    numerics.refuse_complex(argmax=argmax)
    x, argmax = _image(x), jnp.asarray(argmax)
    if argmax.shape != x.shape:
        raise ValueError(f"argmax: got shape {argmax.shape}, allowed is that of x, {x.shape}")
    height, width = sizes.per_axis("size", size, 2)
    for length in (height, width):
        sizes.check_at_least_one("size", length)
    *lead, h, w, c = x.shape
    outside = height * width  # a place that scatter drops; a negative index would count from the end
    index = jnp.where(argmax < 0, outside, argmax).reshape(math.prod(lead), h * w, c)
    images, channels = jnp.arange(math.prod(lead))[:, None, None], jnp.arange(c)[None, None, :]
    zeros = jnp.zeros((math.prod(lead), height * width, c), x.dtype)
    unpooled = zeros.at[images, index, channels].add(x.reshape(index.shape), mode="drop")
    return unpooled.reshape(*lead, height, width, c)


def _image(x: ArrayLike) -> Array:
    """Return x as an array. Raise ValueError if it is not an image."""
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    if x.ndim < 3:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., h, w, c)")
    if 0 in x.shape[-3:-1]:
        raise ValueError(f"x: got shape {x.shape}, allowed are images of at least one pixel")
    return x


# ---------------------------------------------------------------- derivatives

_at_maxima = primitives.linear("at_maxima", pooling.at_maxima, pooling.spread_to_maxima)
_means = primitives.linear("window_means", pooling.means, pooling.spread_means)
_norms_along = primitives.linear("window_norms_along", pooling.norms_along, pooling.spread_norms)
_weighted_sums = primitives.linear(
    "window_weighted_sums",
    lambda given, x: pooling.weighted_sums(x, given[0], given[1].value),
    lambda given, cotangent: pooling.spread_weighted(cotangent, given[0], given[1].value),
)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maxima(x: Array, axes: tuple[Axis, Axis]) -> Array:
    return pooling.maxima(x, axes)[0]


@_maxima.defjvp
def _maxima_jvp(axes, primals, tangents):
    (x,), (tangent,) = primals, tangents
    _, found = pooling.maxima(x, axes)
    return _maxima(x, axes), _at_maxima(found, tangent)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _norms(x: Array, axes: tuple[Axis, Axis]) -> Array:
    return pooling.norms(x, axes)


@_norms.defjvp
def _norms_jvp(axes, primals, tangents):
    (x,), (tangent,) = primals, tangents
    y = _norms(x, axes)
    return y, _norms_along(pooling.L2Pool(x, y, Static(axes)), tangent)
