"""Dense layers."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact

from jaxdl import numerics
from jaxdl.words import own_words

__all__ = ["dense"]


@own_words
def dense(
    x: Inexact[ArrayLike, "*b d_in"],
    kernel: Inexact[ArrayLike, "d_in d_out"],
    bias: Inexact[ArrayLike, " d_out"] | None = None,
) -> Inexact[Array, "*b d_out"]:
    """Affine map of the last axis: y = Wᵀx + b.

    Args:
        x: inputs with any leading dimensions. All arguments may be complex.
        kernel: weights W, one column per output.
        bias: b, or None.

    Returns:
        One value per column of `kernel`, in the promoted dtype of the arguments.

    Raises:
        ValueError: a wrong rank, or inputs and weights of different lengths.

    The non-linearity g is up to the caller. P and M print z = Wᵀa + b for each layer but leave out g on z_j in the
    formula for one hidden layer.

    Examples:
        >>> layers.dense(jnp.array([2.0, 3.0]), jnp.array([[1.0], [10.0]]), jnp.array([0.5]))  # 2 + 30 + 0.5
        Array([32.5], dtype=float32)

    [Lecture row A4]
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    if kernel.ndim != 2:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are (d_in, d_out)")
    if x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., {kernel.shape[0]}) for this kernel")
    dtype = numerics.result_dtype(x, kernel)
    return numerics.add_bias(jnp.dot(x.astype(dtype), kernel.astype(dtype)), bias)
