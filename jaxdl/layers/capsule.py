"""Capsules: vectors whose length is a probability, and the routing between two layers of them.

Reference for all: Sabour, Frosst and Hinton, Dynamic routing between capsules, 2017.
https://arxiv.org/abs/1710.09829. Lecture part I.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl.layers.pooling import safe_sqrt

__all__ = ["capsule_length", "dynamic_routing", "squash"]


def squash(x: Float[ArrayLike, "*x"], *, axis: int = -1) -> Float[Array, "*x"]:
    """Shrink vectors to a length below 1, direction kept: v = (‖s‖² / (1 + ‖s‖²)) s / ‖s‖.

    Value and gradient are 0 at s = 0. Squares are summed in float32 at least and overflow beyond 1e19.

    Args:
        x: vectors s along `axis`.
        axis: the axis of a vector's entries.
    """
    x = jnp.asarray(x)
    if not x.ndim:
        raise ValueError("x: got a scalar, allowed are vectors")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    squared = jnp.sum(jnp.square(wide), axis=axis, keepdims=True)
    return (wide * (safe_sqrt(squared) / (1 + squared))).astype(x.dtype)


def capsule_length(x: Float[ArrayLike, "*x"], *, axis: int = -1) -> Float[Array, "..."]:
    """Length of each vector, ‖x‖: the probability that a capsule stands for; gradient 0 at 0."""
    x = jnp.asarray(x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return safe_sqrt(jnp.sum(jnp.square(wide), axis=axis)).astype(x.dtype)


def dynamic_routing(votes: Float[ArrayLike, "*b n_in n_out d"], *, iterations: int = 3) -> Float[Array, "*b n_out d"]:
    """Route the votes of lower capsules to the higher ones that they agree with.

    b = 0; then `iterations` times: c_i = softmax(b_i) over the outputs, v_j = squash(Σ_i c_ij û_ij),
    b_ij += û_ij · v_j. The last v is the result.

    Args:
        votes: û_ij, what input capsule i predicts for output capsule j, as vectors of d entries.
        iterations: how often the couplings c are used; the paper takes 3.

    Returns:
        One vector per output capsule. Gradients go through all iterations.

    Raises:
        ValueError: fewer than three axes, or fewer than one iteration.
    """
    votes = jnp.asarray(votes)
    if votes.ndim < 3:
        raise ValueError(f"votes: got shape {votes.shape}, allowed are (..., n_in, n_out, d)")
    if iterations < 1:
        raise ValueError(f"iterations: got {iterations}, allowed are ints ≥ 1")
    by_output = jnp.swapaxes(votes, -3, -2)  # sums over inputs are matrix products then, on CPU six times as fast
    output = squash(jnp.sum(by_output, axis=-2) / votes.shape[-2])  # b = 0: all couplings are alike
    agreement = 0.0
    for _ in range(iterations - 1):
        agreement = agreement + jnp.einsum("...id,...d->...i", by_output, output)
        output = squash(jnp.einsum("...i,...id->...d", jax.nn.softmax(agreement, axis=-2), by_output))
    return output
