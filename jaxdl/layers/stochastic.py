"""Noise that regularises. The key comes first; the same key gives the same noise, one draw per call.

`rate` is the probability of dropping, in [0, 1); the lecture S writes p for the probability of keeping, C and M for
that of dropping. A Python number is checked, a traced one is not. In evaluation none of these is called: the
docstrings say what takes its place.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

__all__ = ["dropout"]

Rate = float | int | Float[Array, ""]
Mode = Literal["inverted", "as_drawn"]


def dropout(key: jax.Array, x: Float[ArrayLike, "*x"], rate: Rate, *, mode: Mode = "inverted") -> Float[Array, "*x"]:
    """Set each value to 0 with probability `rate`, independently: y = m x / (1 − rate), m ~ Bernoulli(1 − rate).

    Args:
        key: a PRNG key; draw a new one for every forward pass.
        x: activations, any shape.
        rate: probability of dropping a value.
        mode: "inverted" divides what is kept by 1 − rate, so that E[y] = x and evaluation is the identity;
            "as_drawn" does not, so E[y] = (1 − rate) x and evaluation multiplies by 1 − rate.

    Raises:
        ValueError: a rate outside [0, 1) or an unknown mode.

    Reference: Srivastava et al., Dropout, 2014. https://jmlr.org/papers/v15/srivastava14a.html. Lecture row G3, whose
    E prints one mask per epoch and scales the biases too; a mask is drawn per forward pass, and biases are not scaled.
    """
    x = jnp.asarray(x)
    return _drop(key, x, x.shape, rate, mode)


def _drop(key, x: Array, mask_shape: tuple[int, ...], rate: Rate, mode: Mode) -> Array:
    """Multiply by one Bernoulli draw per entry of `mask_shape`, which broadcasts to the shape of x."""
    check_rate(rate)
    check_mode(mode)
    kept = jnp.broadcast_to(jax.random.bernoulli(key, 1 - rate, mask_shape), x.shape)
    scaled = x / jnp.asarray(1 - rate, x.dtype) if mode == "inverted" else x
    return jnp.where(kept, scaled, 0)


def check_rate(rate: Rate) -> None:
    """Raise ValueError for a Python number outside [0, 1)."""
    if isinstance(rate, float | int) and not 0 <= rate < 1:
        raise ValueError(f"rate: got {rate}, allowed is 0 ≤ rate < 1, the probability of dropping")


def check_mode(mode: str) -> None:
    """Raise ValueError for an unknown mode."""
    if mode not in ("inverted", "as_drawn"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'inverted' and 'as_drawn'")
