"""Pooling, forward and backward.

Images are `(..., h, w, c)`. Windows are those of `kernels.windows`, except that padding must be smaller than the window
and is never pooled. Since window i reads the input s i + p − P at place p, a backward pass adds the cotangent of that
place to that input. [Lecture rows D1, H5]
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.kernels.pooling import (
    AvgPool,
    L2Pool,
    MaxPool,
    covered,
    maxima,
    means,
    norms,
    pool_axes,
    spread_means,
    spread_norms,
    spread_to_maxima,
    spread_weighted,
    weighted_axes,
    weighted_sums,
    weights_inside,
)
from jaxdl.kernels.reading import both, ones, read
from jaxdl.primitives import Static

__all__ = [
    "WeightedPool",
    "avg_pool2d_backward",
    "avg_pool2d_forward",
    "l2_pool2d_backward",
    "l2_pool2d_forward",
    "max_pool2d_backward",
    "max_pool2d_forward",
    "weighted_pool2d_backward",
    "weighted_pool2d_forward",
]


class WeightedPool(NamedTuple):
    """Residuals of a weighted pool."""

    x: Array  # (..., h, w, c)
    y: Array  # (..., h2, w2, c), in float32 at least
    weights: Array  # (kh, kw)
    total: Array  # sum of the weights inside the image, (h2, w2, 1)
    static: Static  # windows along height and width


def max_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> tuple[Float[Array, "*b h2 w2 c"], MaxPool]:
    """Maximum of each window, y[i, j] = max_{p,q} x[s i + p − P, s j + q − P]. A NaN in a window makes it NaN.

    Args:
        x: images with any leading dimensions.
        window: height and width of the window.
        stride: step between windows; None uses the window.
        padding: see `sizes`.

    Raises:
        ValueError: x is not an image, an option is below 1, the window is larger than the padded input, or the padding
            is not smaller than the window.

    Examples:
        >>> x = jnp.array([[1.0, 2.0], [6.0, 3.0]])[..., None]
        >>> y, residuals = backprop.max_pool2d_forward(x)
        >>> y.ravel(), backprop.max_pool2d_backward(residuals, jnp.ones((1, 1, 1))).ravel()
        (Array([6.], dtype=float32), Array([0., 0., 1., 0.], dtype=float32))
    """
    x = jnp.asarray(x)
    return maxima(x, pool_axes(x, window, stride, padding))


def max_pool2d_backward(residuals: MaxPool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = Σ δ[i, j] over the windows whose maximum is x[u, v], the first of equals in row-major order.

    The lectures call it unpooling from the argmax. Comparing x with the maximum instead would give δ to each of several
    equal values.
    """
    return spread_to_maxima(residuals, cotangent)


def avg_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
    count_padding: bool = False,
) -> tuple[Float[Array, "*b h2 w2 c"], AvgPool]:
    """Mean of each window, y[i, j] = Σ_{p,q} x[s i + p − P, s j + q − P] / m.

    Args:
        x, window, stride, padding: as in `max_pool2d_forward`.
        count_padding: whether m counts padding. If false, m is the number of values inside the image.

    Raises:
        ValueError: see `max_pool2d_forward`.

    Examples:
        >>> x = jnp.array([[1.0, 2.0], [3.0, 6.0]])[..., None]
        >>> y, residuals = backprop.avg_pool2d_forward(x)
        >>> y.ravel(), backprop.avg_pool2d_backward(residuals, jnp.ones((1, 1, 1))).ravel()
        (Array([3.], dtype=float32), Array([0.25, 0.25, 0.25, 0.25], dtype=float32))
    """
    x = numerics.floats(x)
    residuals = covered(x, pool_axes(x, window, stride, padding), count_padding)
    return means(residuals, x), residuals


def avg_pool2d_backward(residuals: AvgPool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = Σ δ[i, j] / m[i, j] over the windows that cover it."""
    return spread_means(residuals, cotangent)


def l2_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    *,
    window: int | Sequence[int] = 2,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> tuple[Float[Array, "*b h2 w2 c"], L2Pool]:
    """Euclidean norm of each window, y[i, j] = √Σ_{p,q} x[s i + p − P, s j + q − P]².

    Args, Raises: see `max_pool2d_forward`.

    Examples:
        >>> x = jnp.array([[3.0, 0.0], [0.0, 4.0]])[..., None]
        >>> y, residuals = backprop.l2_pool2d_forward(x)
        >>> y.ravel(), backprop.l2_pool2d_backward(residuals, jnp.ones((1, 1, 1))).ravel()  # x / 5
        (Array([5.], dtype=float32), Array([0.6, 0. , 0. , 0.8], dtype=float32))
    """
    x = numerics.floats(x)
    axes = pool_axes(x, window, stride, padding)
    y = norms(numerics.widen(x), axes)
    return y.astype(x.dtype), L2Pool(x, y, Static(axes))


def l2_pool2d_backward(residuals: L2Pool, cotangent: Float[Array, "*b h2 w2 c"]) -> Float[Array, "*b h w c"]:
    """∂E/∂x[u, v] = x[u, v] Σ δ[i, j] / y[i, j] over the windows that cover it, or 0 where y = 0."""
    return spread_norms(residuals, cotangent)


def weighted_pool2d_forward(
    x: Float[ArrayLike, "*b h w c"],
    weights: Float[ArrayLike, "kh kw"],
    *,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence = "VALID",
) -> tuple[Float[Array, "*b h2 w2 c"], WeightedPool]:
    """Weighted average of each window, y[i, j] = Σ_{p,q} w[p, q] x[s i + p − P, s j + q − P] / W[i, j].

    W[i, j] is the sum of the weights whose places lie inside the image.

    Args:
        x, stride, padding: as in `max_pool2d_forward`.
        weights: w, whose shape is the window.

    Raises:
        ValueError: weights that are not a matrix; else see `max_pool2d_forward`.

    Examples:
        Of the weighted mean (1 · 2 + 3 · 6) / 4 = 5 the derivatives for the weights are (x − 5) / 4:

        >>> x, weights = jnp.array([[2.0, 6.0]])[..., None], jnp.array([[1.0, 3.0]])
        >>> y, residuals = backprop.weighted_pool2d_forward(x, weights)
        >>> d_x, d_weights = backprop.weighted_pool2d_backward(residuals, jnp.ones((1, 1, 1)))
        >>> y.ravel(), d_x.ravel(), d_weights.ravel()
        (Array([5.], dtype=float32), Array([0.25, 0.75], dtype=float32), Array([-0.75,  0.25], dtype=float32))
    """
    numerics.refuse_complex(weights=weights)
    x, weights = numerics.floats(x), jnp.asarray(weights)
    axes = weighted_axes(x, weights, stride, padding)
    wide = numerics.widen(x)
    total = weights_inside(weights.astype(wide.dtype), axes)
    y = weighted_sums(wide, weights.astype(wide.dtype), axes)
    y = y / jnp.broadcast_to(total, y.shape)
    return y.astype(x.dtype), WeightedPool(x, y, weights, total, Static(axes))


def weighted_pool2d_backward(
    residuals: WeightedPool, cotangent: Float[Array, "*b h2 w2 c"]
) -> tuple[Float[Array, "*b h w c"], Float[Array, "kh kw"]]:
    """With γ = δ / W, ∂E/∂x[u, v] = Σ w[p, q] γ[i, j] over the places (p, q) of windows (i, j) that read x[u, v].

    ∂E/∂w[p, q] = Σ γ[i, j] (x[s i + p − P, s j + q − P] − y[i, j]) over the windows whose place (p, q) lies inside the
    image.
    """
    x, y, weights, total, static = residuals
    share = cotangent.astype(y.dtype) / jnp.broadcast_to(total, y.shape)
    dx = spread_weighted(share, weights.astype(y.dtype), static.value)
    along = both(static.value)
    places = zip(read(numerics.widen(x), along, 0), read(ones(static.value, y.dtype), along, 0), strict=True)
    dw = [jnp.sum(share * (place - y * jnp.broadcast_to(inside, y.shape))) for place, inside in places]
    return dx.astype(x.dtype), jnp.stack(dw).reshape(weights.shape).astype(weights.dtype)
