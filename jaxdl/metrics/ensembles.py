"""Ensembles: the outputs of several members as those of one classifier."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.words import own_words


@own_words
def average_members(logits: Float[ArrayLike, "... members classes"]) -> Float[Array, "... classes"]:
    """Return the logarithm of the members' mean probability: log 1/m Σ_i softmax(z_i).

    Other metrics and losses take it as logits: ``accuracy(average_members(logits), labels)``.

    Args:
        logits: of each member; probabilities are passed by their logarithms. Stack outputs of shape (n, classes) by
            ``jnp.stack(outputs, axis=-2)``.

    Raises:
        ValueError: if there are no members, or the logits are complex.

    Reference: L. Hansen, P. Salamon, Neural network ensembles, 1990, https://doi.org/10.1109/34.58871.

    Example: ``average_members`` takes ``(3, 4)`` to ``(4,)``.

    Examples:
        >>> jnp.exp(metrics.average_members(jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))))
        Array([0.7, 0.3], dtype=float32)

    [Lecture row G8]
    """
    logits = _checked(logits)
    each = jax.nn.log_softmax(logits, axis=-1)
    return jax.nn.logsumexp(each, axis=-2) - jnp.asarray(math.log(logits.shape[-2]), each.dtype)


@own_words
def majority_vote(logits: Float[ArrayLike, "... members classes"]) -> Float[Array, "... classes"]:
    """Return the share of the members that vote for each class, which is that of a member's largest logit.

    Other metrics take the shares as logits. As everywhere in them, the first of equal classes wins, both as the vote of
    a member and among votes; an example for which a member has NaN gets NaN.

    Args:
        logits: of each member; see `average_members`.

    Raises:
        ValueError: if there are no members, or the logits are complex.

    Reference: see `average_members`.

    Example: ``majority_vote`` takes ``(3, 4)`` to ``(4,)``.

    Examples:
        >>> metrics.majority_vote(jnp.array([[2.0, 0.0], [3.0, 1.0], [0.0, 1.0]]))
        Array([0.6666667 , 0.33333334], dtype=float32)

    [Lecture row G8]
    """
    logits = _checked(logits)
    votes = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=logits.dtype).mean(-2)
    return jnp.where(jnp.isnan(logits).any((-2, -1))[..., None], jnp.nan, votes)


def _checked(logits: ArrayLike) -> Array:
    numerics.refuse_complex(logits=logits)
    if jnp.ndim(logits) < 2 or not jnp.shape(logits)[-2]:
        raise ValueError(
            f"logits: got shape {jnp.shape(logits)}, must be (..., members, classes) of at least one member"
        )
    return numerics.widen(jnp.asarray(logits))
