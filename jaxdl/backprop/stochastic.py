"""Dropout, forward and backward."""

from numbers import Real
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxdl import numerics

__all__ = ["dropout_backward", "dropout_forward"]


def dropout_forward(
    key: jax.Array,
    x: Float[ArrayLike, "*x"],
    *,
    rate: float | int | Float[Array, ""],
    mode: Literal["inverted", "as_drawn"] = "inverted",
) -> tuple[Float[Array, "*x"], PyTree]:
    """Set each value to 0 with probability `rate`: y = m x, m ~ Bernoulli(1 − rate), "inverted": / (1 − rate).

    Args:
        key: a PRNG key; one draw per forward pass.
        x: activations of any shape.
        rate: probability of dropping a value.
        mode: "inverted" divides the kept values by 1 − rate, "as_drawn" does not.

    Raises:
        ValueError: a Python number outside [0, 1), or an unknown mode.

    Erratum: E prints one mask per epoch.

    Examples:
        The units that are 0 get no gradient, and the others twice as much:

        >>> y, residuals = backprop.dropout_forward(jax.random.key(0), jnp.ones(8), rate=0.5)
        >>> d_key, d_x = backprop.dropout_backward(residuals, jnp.ones(8))
        >>> bool((d_x == y).all()), set(y.tolist())
        (True, {0.0, 2.0})

    [Lecture rows D1, G3]
    """
    numerics.check_key(key)
    if isinstance(rate, Real) and not 0 <= rate < 1:
        raise ValueError(f"rate: got {rate}, allowed is 0 ≤ rate < 1, the probability of dropping")
    if mode not in ("inverted", "as_drawn"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'inverted' and 'as_drawn'")
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x, numerics.result_dtype(x))
    kept = jax.random.bernoulli(key, jnp.asarray(1 - rate, float), x.shape)
    divisor = jnp.asarray(1 - rate if mode == "inverted" else 1, x.dtype)
    return jnp.where(kept, x / divisor, 0), (kept, divisor)


def dropout_backward(residuals: PyTree, cotangent: Float[Array, "*x"]) -> tuple[None, Float[Array, "*x"]]:
    """∂E/∂x = m δ, divided as in the forward pass, so that the same units stay silent; None for the key."""
    kept, divisor = residuals
    return None, jnp.where(kept, cotangent / divisor, 0)
