"""Losses of two classes or of several independent labels, element by element."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from jaxdl import numerics
from jaxdl.losses.checking import (
    Weights,
    Where,
    certain_logit,
    check_number,
    mask_of,
    nan_unless,
    only,
    shares,
    weights_of,
    widen_pair,
    without_infinity,
)
from jaxdl.words import own_words


@own_words
def binary_cross_entropy(
    probabilities: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    eps: ArrayLike = 1e-7,
    pos_weight: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Cross entropy of a probability p of class 1, −y ln p − (1 − y) ln(1 − p).

    Args:
        probabilities: p in [0, 1]. With logits at hand `sigmoid_binary_cross_entropy` is exact everywhere.
        labels: y in [0, 1], not ±1; one outside makes all results NaN.
        eps: below eps, and above 1 − eps, the logarithm continues along its tangent, so that the value (17.1 at the
            worst) and the gradient (1/eps) stay finite and keep pointing the right way.
        pos_weight: as in `sigmoid_binary_cross_entropy`.
        where: the elements that count; see `jaxdl.losses`.

    Errata: the lecture's example prints .317, which is in logarithms of base 10; natural ones, used here,
    give .729693. Another lecture's form for one example lacks the minus.

    Examples:
        >>> losses.binary_cross_entropy(jnp.array([0.5, 0.9]), jnp.array([1, 0]))
        Array([0.6931472, 2.302585 ], dtype=float32)

    [Lecture row C2]
    """
    p, y, dtype = widen_pair(probabilities, labels, ("probabilities", "labels"))
    mask = mask_of(where, p.shape)
    p, y, eps = only(mask, p), shares(only(mask, y)), jnp.asarray(eps, p.dtype)
    of_ones = -y * _log_with_tangent(p, eps)
    loss = _weighted(of_ones, pos_weight) - (1 - y) * _log_with_tangent(1 - p, eps)
    return only(mask, loss.astype(dtype))


def _log_with_tangent(p: Array, eps: Array) -> Array:
    inside = p >= eps
    return jnp.where(inside, jnp.log(jnp.where(inside, p, 1)), jnp.log(eps) + (p - eps) / eps)


def _weighted(loss: Array, pos_weight: Weights) -> Array:
    return loss if pos_weight is None else weights_of("pos_weight", pos_weight, loss.shape, loss.dtype) * loss


@own_words
def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    pos_weight: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Binary cross entropy from the logit z of class 1, y ln(1 + e⁻ᶻ) + (1 − y) ln(1 + eᶻ).

    Args:
        logits: z; the gradient is sigmoid(z) − y.
        labels: y in [0, 1], not ±1: one label per example, several independent ones, hard or soft. One outside
            makes all results NaN.
        pos_weight: factor of the first term, a number or one per label (the shape of the last axes of `logits`).
            The ratio of negative to positive examples balances the two.
        where: the elements that count; see `jaxdl.losses`.

    Raises:
        ValueError: the shapes differ, or an argument is complex.

    It equals `softmax_cross_entropy` of the two logits (0, z).

    Examples:
        >>> losses.sigmoid_binary_cross_entropy(jnp.array([0.0, 2.0]), jnp.array([1, 0]))
        Array([0.6931472, 2.126928 ], dtype=float32)

    [Lecture row C2]
    """
    z, y, dtype = widen_pair(logits, labels, ("logits", "labels"))
    mask = mask_of(where, z.shape)
    z, y = only(mask, z), shares(only(mask, y))
    of_ones = y * without_infinity(y, numerics.softplus(-z))
    loss = _weighted(of_ones, pos_weight) + (1 - y) * without_infinity(1 - y, numerics.softplus(z))
    return only(mask, loss.astype(dtype))


@own_words
def sigmoid_focal(
    logits: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    gamma: ArrayLike = 2.0,
    alpha: ArrayLike | None = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Focal loss of the logit z of class 1, −α y (1 − p)^γ ln p − (1 − α) (1 − y) p^γ ln(1 − p), p = sigmoid(z).

    Args:
        logits: z, any shape.
        labels: y in [0, 1], one label per example or several; one outside makes all results NaN. A soft label
            gives the mean of the two hard losses that it mixes; optax mixes the probabilities instead.
        gamma: γ ≥ 0. It lowers the loss of what is classified well; γ = 0 is `sigmoid_binary_cross_entropy`.
        alpha: α in [0, 1], the weight of class 1 against 1 − α of class 0, a number or one per label; None leaves
            both at 1. The paper uses 0.25.
        where: the elements that count; see `jaxdl.losses`.

    Raises:
        ValueError: the shapes differ, an argument is complex, or a Python number γ is negative.

    Example:
        `sigmoid_focal(0.0, 1)` is ½² ln 2 = 0.1733.

    Reference: Lin et al., Focal loss for dense object detection, 2017. https://arxiv.org/abs/1708.02002

    Examples:
        >>> losses.sigmoid_focal(jnp.array([0.0, 2.0]), jnp.array([1, 0]))
        Array([0.1732868, 1.6500783], dtype=float32)
    """
    check_number("gamma", gamma, 0)
    z, y, dtype = widen_pair(logits, labels, ("logits", "labels"))
    mask = mask_of(where, z.shape)
    z, y = only(mask, z), shares(only(mask, y))
    gamma = jnp.asarray(gamma, z.dtype)
    ones, zeros = numerics.softplus(-z), numerics.softplus(z)  # −ln p and −ln(1 − p)
    certain = certain_logit(z.dtype)
    # beyond, the slope of p^γ is 0 and its product with an infinite loss NaN, which a choice drops and `clip` keeps
    inside = jnp.where(jnp.abs(z) <= certain, z, certain * jnp.sign(z))
    p, q = (jnp.exp(-gamma * numerics.softplus(one)) for one in (-inside, inside))  # p^γ and (1 − p)^γ
    of_ones = y * without_infinity(y, ones) * q
    of_zeros = (1 - y) * without_infinity(1 - y, zeros) * p
    if alpha is not None:
        alpha = weights_of("alpha", alpha, z.shape, z.dtype)
        of_ones, of_zeros = alpha * of_ones, (1 - alpha) * of_zeros
    return only(mask, (of_ones + of_zeros).astype(dtype))


@own_words
def hinge(
    predictions: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    pos_weight: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Hinge loss max(0, 1 − y f) with labels y = ±1.

    Args:
        predictions: f, the signed distance; the gradient is −y where y f < 1, else 0.
        labels: −1 or 1, not 0 or 1; one that is neither makes all results NaN.
        pos_weight: factor of the loss of label 1, a number or one per label (the shape of the last axes).
        where: the elements that count; see `jaxdl.losses`.

    Reference: Cortes and Vapnik, Support-vector networks, 1995. https://doi.org/10.1007/BF00994018

    Examples:
        >>> losses.hinge(jnp.array([0.5, 2.0]), jnp.array([1, -1]))
        Array([0.5, 3. ], dtype=float32)

    [Lecture row C5]
    """
    f, y, dtype, mask = _signed(predictions, labels, where)
    gap = 1 - y * f
    return only(mask, _of_sign(jnp.where(gap <= 0, 0, gap), y, pos_weight).astype(dtype))


def _signed(predictions: ArrayLike, labels: ArrayLike, where: Where):
    """Return both in at least float32, the labels NaN if one is not ±1, the dtype of the result, and the mask."""
    f, y, dtype = widen_pair(predictions, labels, ("predictions", "labels"))
    mask = mask_of(where, f.shape)
    f, y = only(mask, f), only(mask, y, 1)
    return f, nan_unless((jnp.abs(y) == 1).all(), y), dtype, mask


def _of_sign(loss: Array, y: Array, pos_weight: Weights) -> Array:
    return loss if pos_weight is None else jnp.where(y > 0, _weighted(loss, pos_weight), loss)


@own_words
def perceptron(
    predictions: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    pos_weight: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Perceptron loss max(0, −y f) with labels y = ±1; see `hinge` for the arguments.

    The gradient is −y where y f ≤ 0. That includes f = 0, which counts as a mistake, so that a step from weights 0
    is the perceptron's mistake-driven step.

    Reference: Rosenblatt, The perceptron, 1958. https://doi.org/10.1037/h0042519

    Examples:
        >>> losses.perceptron(jnp.array([0.5, 2.0]), jnp.array([1, -1]))
        Array([0., 2.], dtype=float32)

    [Lecture rows A3, C5]
    """
    f, y, dtype, mask = _signed(predictions, labels, where)
    agreement = y * f
    return only(mask, _of_sign(jnp.where(agreement > 0, 0, -agreement), y, pos_weight).astype(dtype))
