"""Capsules: vectors whose length is a probability, and the routing between two layers of them.

Reference: Sabour, Frosst and Hinton, Dynamic routing between capsules, 2017. https://arxiv.org/abs/1710.09829.
[Lecture part I]
"""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import activations, numerics
from jaxdl.words import own_words

__all__ = ["capsule_length", "dynamic_routing", "squash"]


@own_words
def squash(x: Float[ArrayLike, "*x"], *, axis: int = -1) -> Float[Array, "*x"]:
    """Shrink vectors to a length below 1 without turning them: v = (‖s‖² / (1 + ‖s‖²)) s / ‖s‖.

    Value and gradient are 0 at s = 0.

    Args:
        x: vectors s along `axis`.
        axis: the axis of the entries of a vector.

    Examples:
        A vector of length 3 gets the length 9 / (1 + 9):

        >>> layers.squash(jnp.array([3.0, 0.0]))
        Array([0.9, 0. ], dtype=float32)
    """
    wide, norm = _with_norm(x, axis)
    short = norm < 1
    n, m = jnp.where(short, norm, 0), jnp.where(short, 1, norm)  # m² would overflow, and 1/n too
    return jnp.where(short, wide * (n / (1 + n * n)), wide / m / (1 + 1 / m / m)).astype(numerics.result_dtype(x))


@own_words
def capsule_length(x: Float[ArrayLike, "*x"], *, axis: int = -1) -> Float[Array, "..."]:
    """Length ‖x‖ of each vector, the probability that its capsule encodes, with gradient 0 at 0.

    Examples:
        >>> layers.capsule_length(jnp.array([3.0, 4.0]))
        Array(5., dtype=float32)
    """
    return jnp.squeeze(_with_norm(x, axis)[1], axis).astype(numerics.result_dtype(x))


def _with_norm(x: ArrayLike, axis: int) -> tuple[Array, Array]:
    """Return x in float32 or wider and its Euclidean norm along an axis, which is kept, without overflow."""
    numerics.refuse_complex(x=x)
    wide = numerics.widen(x)
    if not wide.ndim:
        raise ValueError("x: got a scalar, allowed are vectors")
    largest = lax.stop_gradient(jnp.max(jnp.abs(wide), axis=axis, keepdims=True, initial=0))
    scale = jnp.where((largest > 1) & (largest < jnp.inf), largest, 1)
    return wide, scale * numerics.safe_sqrt(jnp.sum(jnp.square(wide / scale), axis=axis, keepdims=True))


@own_words
def dynamic_routing(votes: Float[ArrayLike, "*b n_in n_out d"], *, iterations: int = 3) -> Float[Array, "*b n_out d"]:
    """Route the votes of lower capsules to the higher capsules that they agree with.

    Starting from b = 0, repeat `iterations` times: c_i = softmax(b_i) over the outputs, v_j = squash(Σ_i c_ij û_ij),
    b_ij += û_ij · v_j. Return the last v.

    Args:
        votes: û_ij, the prediction of input capsule i for output capsule j, a vector of d entries.
        iterations: number of iterations; the paper uses 3.

    Returns:
        One vector per output capsule. Gradients flow through all iterations.

    Raises:
        ValueError: fewer than three axes, or fewer than one iteration.

    Examples:
        Two lower capsules that agree on the first output, and not on the second, whose votes cancel:

        >>> votes = jnp.array([[[3.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, -1.0]]])
        >>> layers.capsule_length(layers.dynamic_routing(votes)) > 0.5
        Array([ True, False], dtype=bool)
    """
    numerics.refuse_complex(votes=votes)
    votes = jnp.asarray(votes, numerics.result_dtype(votes))
    if votes.ndim < 3:
        raise ValueError(f"votes: got shape {votes.shape}, allowed are (..., n_in, n_out, d)")
    if iterations < 1:
        raise ValueError(f"iterations: got {iterations}, allowed are ints ≥ 1")
    by_output = jnp.swapaxes(votes, -3, -2)  # makes sums over inputs matrix products, six times as fast on CPU
    output = squash(jnp.sum(by_output, axis=-2) / votes.shape[-2])  # b = 0 makes all couplings equal
    agreement = 0.0
    for _ in range(iterations - 1):
        agreement = agreement + jnp.einsum("...id,...d->...i", by_output, output)
        output = squash(jnp.einsum("...i,...id->...d", activations.softmax(agreement, axis=-2), by_output))
    return output
