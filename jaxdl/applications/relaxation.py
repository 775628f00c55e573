"""Choices of an architecture as numbers that have a gradient: mixed operations, masks of filters, two nested losses.

    alphas = {"kernel": jnp.zeros(3), "filters": jnp.zeros(2)}  # one logit per choice
    h = relaxation.mixed(alphas["kernel"], [conv3(x), conv5(x), conv7(x)])
    h = h * relaxation.filter_mask(alphas["filters"], (32, 64))
    grads = relaxation.unrolled_gradient(dev_loss, train_loss, params, alphas)

What is optimised is a blend of all candidates that share their weights, and what is wanted is one candidate with
weights of its own: the likeliest choices. Nothing says that the two agree, so train what was chosen, and compare it
with `search.random` at the same cost. [Lecture row G12]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics

__all__ = ["filter_mask", "mixed", "unrolled_gradient"]


def mixed(alphas: Float[ArrayLike, " n"], outputs: Sequence[ArrayLike]) -> Array:
    """Return the mixture of the outputs of n candidate operations, Σᵢ softmax(α)ᵢ oᵢ.

    Args:
        alphas: one logit α per operation.
        outputs: the operations' outputs, all of one shape, which is that of the result, as is their dtype.

    Raises:
        ValueError: if the outputs differ in shape, or are not as many as the logits.

    Reference: H. Liu, K. Simonyan, Y. Yang, DARTS: Differentiable Architecture Search, 2019, equation 2,
    https://arxiv.org/abs/1806.09055.

    Examples:
        >>> relaxation.mixed(jnp.zeros(2), [jnp.array([1.0, 2.0]), jnp.array([3.0, 6.0])])  # half of each
        Array([2., 4.], dtype=float32)

    [Lecture row G12]
    """
    alphas, arrays = jnp.asarray(alphas), [jnp.asarray(one) for one in outputs]
    shapes = [one.shape for one in arrays]
    if alphas.shape != (len(arrays),) or not arrays or len({*shapes}) > 1:
        raise ValueError(
            f"alphas has shape {alphas.shape}, outputs have the shapes {shapes}; needed are outputs of one shape, as "
            "many as logits"
        )
    dtype = numerics.result_dtype(*arrays)
    weights, wide = jax.nn.softmax(numerics.widen(alphas)), numerics.wide_dtype(dtype)
    products = [weights[i].astype(wide) * one.astype(wide) for i, one in enumerate(arrays)]
    return sum(products[1:], products[0]).astype(dtype)


def filter_mask(alphas: Float[ArrayLike, " n"], counts: Sequence[int]) -> Float[Array, " c"]:
    """Return the mixture of the masks of n numbers of filters, Σᵢ softmax(α)ᵢ 1[c < countsᵢ].

    Multiply the channels of the widest candidate by it: narrower candidates are its first channels, whose weights all
    of them share.

    Args:
        alphas: one logit α per number.
        counts: the numbers of filters, at least 1 each.

    Returns:
        One factor per channel of the widest candidate, c = max(counts), which falls from 1.

    Raises:
        ValueError: for a number below 1 or no integer, or unless there are as many numbers as logits.

    Reference: A. Wan et al., FBNetV2: Differentiable Neural Architecture Search for Spatial and Channel Dimensions,
    2020, section 3.1, https://arxiv.org/abs/2004.05565.

    Examples:
        >>> relaxation.filter_mask(jnp.zeros(2), (1, 3))
        Array([1. , 0.5, 0.5], dtype=float32)

    [Lecture row G12]
    """
    alphas, counts = jnp.asarray(alphas), tuple(counts)
    whole = all(isinstance(one, int | np.integer) for one in counts)
    if alphas.shape != (len(counts),) or not counts or not whole or min(counts) < 1:
        raise ValueError(
            f"alphas has shape {alphas.shape}, counts={counts}; needed are whole numbers from 1 on, as many as logits"
        )
    masks = jnp.arange(max(counts))[None] < jnp.asarray(counts)[:, None]
    return jax.nn.softmax(alphas) @ masks.astype(alphas.dtype)


def unrolled_gradient(
    dev_loss: Callable[[Any, Any], ArrayLike],
    train_loss: Callable[[Any, Any], ArrayLike],
    params: Any,
    alphas: Any,
    *,
    learning_rate: ArrayLike = 0.0,
) -> Any:
    """Return the gradient of the development loss by the choices, ∇_α L_dev(w − ξ ∇_w L_train(w, α), α).

    The weights should be the best ones for the choices; w − ξ ∇_w L_train stands for them. With ξ = 0, weights count as
    given (the first-order form), which takes a single backward pass.

    Args:
        dev_loss: (params, alphas) → a number, on examples that do not train the weights.
        train_loss: (params, alphas) → a number.
        params: the weights w, a tree; integers and leaves that are no arrays take no step.
        alphas: the logits α of all choices, a tree, which is also that of the result.
        learning_rate: ξ, that of the weights' own descent. A Python 0 leaves the training loss out of the program.

    Reference: H. Liu, K. Simonyan, Y. Yang, DARTS: Differentiable Architecture Search, 2019, equations 6 and 7,
    https://arxiv.org/abs/1806.09055.

    Examples:
        With L_train = wα the step takes w = 2 to 2 − α, so that L_dev = wα becomes 2α − α², of slope 2 − 2α:

        >>> loss = lambda w, alpha: w * alpha
        >>> [float(relaxation.unrolled_gradient(loss, loss, 2.0, 3.0, learning_rate=rate)) for rate in (0.0, 1.0)]
        [2.0, -4.0]

    [Lecture row G12]
    """
    if isinstance(learning_rate, (int, float)) and learning_rate == 0:
        return jax.grad(dev_loss, argnums=1)(params, alphas)

    leaves, structure = jax.tree.flatten(params)
    moving = [i for i, leaf in enumerate(leaves) if _is_weight(leaf)]

    def joined(weights: Sequence[Any]) -> Any:
        new = dict(zip(moving, weights, strict=True))
        return jax.tree.unflatten(structure, [new.get(i, leaf) for i, leaf in enumerate(leaves)])

    def after_a_step(alphas: Any) -> ArrayLike:
        weights = [leaves[i] for i in moving]
        grads = jax.grad(lambda weights: train_loss(joined(weights), alphas))(weights)
        return dev_loss(joined([_stepped(w, g, learning_rate) for w, g in zip(weights, grads, strict=True)]), alphas)

    return jax.grad(after_a_step)(alphas)


def _is_weight(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | float | complex) and jnp.issubdtype(
        jnp.result_type(leaf), jnp.inexact
    )


def _stepped(w: ArrayLike, gradient: Array, learning_rate: ArrayLike) -> Array:
    """Return a weight, in its own dtype, after a step of descent; jax.grad's gradient of a complex one is conjugate."""
    rate = jnp.asarray(learning_rate, jnp.finfo(numerics.widen(w).dtype).dtype)
    return (numerics.widen(w) - rate * numerics.widen(gradient.conj())).astype(jnp.result_type(w))
