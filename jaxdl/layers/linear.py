"""The affine map."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

__all__ = ["dense"]


def dense(
    x: Float[ArrayLike, "*b d_in"],
    kernel: Float[ArrayLike, "d_in d_out"],
    bias: Float[ArrayLike, " d_out"] | None = None,
) -> Float[Array, "*b d_out"]:
    """Affine map of the last axis: y = Wᵀx + b.

    Args:
        x: inputs, any leading dimensions.
        kernel: weights W, one column per output.
        bias: b; None for none.

    Returns:
        One value per column of `kernel`, in the promoted dtype of the arguments.

    Raises:
        ValueError: a wrong rank, or inputs and weights of different length.

    Lecture row A4. P and M print z = Wᵀa + b for each layer but leave out g on z_j in the one-hidden-layer formula;
    the non-linearity is the caller's.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    if kernel.ndim != 2:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are (d_in, d_out)")
    if x.ndim < 1 or x.shape[-1] != kernel.shape[0]:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., {kernel.shape[0]}) for this kernel")
    return add_bias(jnp.dot(x, kernel), bias)


def add_bias(y: Array, bias: ArrayLike | None) -> Array:
    """Return y plus one bias per entry of the last axis."""
    if bias is None:
        return y
    bias = jnp.asarray(bias)
    if bias.shape != y.shape[-1:]:
        raise ValueError(f"bias: got shape {bias.shape}, allowed is {y.shape[-1:]}")
    return y + jnp.broadcast_to(bias, y.shape)
