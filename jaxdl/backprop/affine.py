"""The affine map, forward and backward."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxdl import numerics

__all__ = ["dense_backward", "dense_forward"]


def dense_forward(
    x: Float[ArrayLike, "*b d_in"],
    kernel: Float[ArrayLike, "d_in d_out"],
    bias: Float[ArrayLike, " d_out"] | None = None,
) -> tuple[Float[Array, "*b d_out"], PyTree]:
    """Affine map y = Wᵀx + b of the last axis.

    Args:
        x: inputs with any leading dimensions.
        kernel: weights W, one column per output.
        bias: b, or None.

    Raises:
        ValueError: shapes that do not match.

    Examples:
        >>> y, residuals = backprop.dense_forward(jnp.array([2.0, 3.0]), jnp.array([[1.0], [10.0]]), jnp.array([0.5]))
        >>> d_x, d_kernel, d_bias = backprop.dense_backward(residuals, jnp.ones(1))
        >>> y, d_x, d_kernel.ravel()  # 2 + 30 + 0.5
        (Array([32.5], dtype=float32), Array([ 1., 10.], dtype=float32), Array([2., 3.], dtype=float32))

    [Lecture rows A4, D1]
    """
    numerics.refuse_complex(x=x, kernel=kernel, bias=bias)
    x, kernel, bias = jnp.asarray(x), jnp.asarray(kernel), None if bias is None else jnp.asarray(bias)
    if kernel.ndim != 2 or x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are (d_in, d_out) for x of shape {x.shape}")
    dtype = numerics.result_dtype(x, kernel)
    y = jnp.dot(x.astype(dtype), kernel.astype(dtype))
    return numerics.add_bias(y, bias), (x, kernel, bias)


def dense_backward(
    residuals: PyTree, cotangent: Float[Array, "*b d_out"]
) -> tuple[Float[Array, "*b d_in"], Float[Array, "d_in d_out"], Float[Array, " d_out"] | None]:
    """Return ∂E/∂x = W δ, ∂E/∂W = Σ x δᵀ and ∂E/∂b = Σ δ for δ = ∂E/∂y, with sums over all examples.

    A deep network applies it from the last layer to the first; δ of a layer is ∂E/∂x of the next layer times g'(z).

    Errata: the algorithm in E adds the step, W + α ∂E/∂W, which ascends; its loop ends before it updates W⁽⁰⁾; and it
    starts from δ = ŷ − y, which holds only for `half_squared_error`. [Lecture rows D1, D2]
    """
    x, kernel, bias = residuals
    rows, delta = numerics.merge_leading(x, 1), numerics.merge_leading(cotangent, 1)
    x_cotangent = jnp.dot(cotangent, kernel.T).astype(x.dtype)
    kernel_cotangent = jnp.dot(rows.T, delta).astype(kernel.dtype)
    return x_cotangent, kernel_cotangent, bias_cotangent(bias, cotangent)


def bias_cotangent(bias: Array | None, cotangent: Array) -> Array | None:
    """Return Σ δ over all axes but the last, or None without a bias."""
    if bias is None:
        return None
    return jnp.sum(cotangent, axis=tuple(range(cotangent.ndim - 1))).astype(bias.dtype)
