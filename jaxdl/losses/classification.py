"""Losses of classes, one number per example: the formulas couple the scores along the last axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from jaxdl.losses.checking import (
    Weights,
    Where,
    certain_logit,
    check_number,
    class_scores,
    class_weights_of,
    distribution,
    nan_unless,
    only,
    without_infinity,
)
from jaxdl.words import own_words


@own_words
def softmax_cross_entropy(
    logits: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    label_smoothing: ArrayLike = 0.0,
    class_weights: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Cross entropy of softmax(logits), −Σ_k w_k y_k ln ŷ_k, one number per example.

    Args:
        logits: z, classes last; the gradient is ŷ − y where all weights are 1. −inf excludes a class.
        labels: class numbers, of the shape of logits without the last axis, or a distribution over the
            classes (one-hot, mixed, soft) of the shape of logits. A class number that no class has gives NaN. The
            sum of a distribution is not checked.
        label_smoothing: ε: y becomes (1 − ε) y + ε / classes. An excluded class then has a share, too, and the loss
            is infinite.
        class_weights: w `(classes,)`, 1 by default. PyTorch's mean is then
            `losses.sum() / class_weights[labels].sum()`.
        where: the examples that count, of the shape of logits without the last axis; see `jaxdl.losses`.

    Raises:
        ValueError: labels or weights of another shape; class numbers that are not integers; ε outside [0, 1].

    Reference for label smoothing: Szegedy et al., Rethinking the Inception architecture, 2016.
    https://arxiv.org/abs/1512.00567

    Examples:
        >>> losses.softmax_cross_entropy(jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([0, 1]))
        Array([0.6931472, 2.126928 ], dtype=float32)

    [Lecture row C3]
    """
    z, dtype, mask = class_scores(where, logits=logits)
    y = _smoothed(distribution(labels, z, "logits", mask), label_smoothing)
    return only(mask, _cross_entropy(jax.nn.log_softmax(z), y, class_weights).astype(dtype))


def _smoothed(y: Array, label_smoothing: ArrayLike) -> Array:
    if isinstance(label_smoothing, float | int | np.floating) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: got {label_smoothing}, allowed is 0 to 1")
    label_smoothing = jnp.asarray(label_smoothing, y.dtype)
    return (1 - label_smoothing) * y + label_smoothing / y.shape[-1]


def _cross_entropy(log_probabilities: Array, y: Array, class_weights: Weights, factor: ArrayLike = 1) -> Array:
    """Return −Σ w y f ln p with 0 · ln 0 = 0."""
    weights = class_weights_of(class_weights, log_probabilities)
    loss = y * without_infinity(y, -log_probabilities) * factor
    return (loss if weights is None else weights * loss).sum(-1)


@own_words
def nll(
    log_probabilities: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    class_weights: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Negative log likelihood −Σ_k w_k y_k ln ŷ_k, from log-probabilities.

    After `activations.log_softmax` this is `softmax_cross_entropy`, which describes the arguments and the errors.

    Examples:
        >>> losses.nll(jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]])), jnp.array([0, 1]))
        Array([0.6931472, 2.3025851], dtype=float32)

    [Lecture row C3]
    """
    log_p, dtype, mask = class_scores(where, log_probabilities=log_probabilities)
    y = distribution(labels, log_p, "log_probabilities", mask)
    return only(mask, _cross_entropy(log_p, y, class_weights).astype(dtype))


@own_words
def kl_divergence(
    log_probabilities: Float[ArrayLike, "... classes"], labels: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Kullback-Leibler divergence of the labels' distribution from the predicted one, Σ_k y_k (ln y_k − ln ŷ_k).

    Args:
        log_probabilities: ln ŷ, classes last, as from `activations.log_softmax`.
        labels: y, a distribution over the classes of the same shape, or class numbers, whose divergence is `nll`.
            0 · ln 0 counts as 0; entries below 0 give NaN in their row. The sum of a distribution is not checked.
        where: the examples that count, as in `softmax_cross_entropy`.

    Raises:
        ValueError: as in `softmax_cross_entropy`.

    Example:
        `kl_divergence(jnp.log(jnp.array([0.5, 0.5])), jnp.array([1.0, 0.0]))` is ln 2. Distilling a teacher's
        logits t at a temperature T is `T**2 * kl_divergence(log_softmax(z / T), softmax(t / T))`.

    Reference: Kullback and Leibler, On information and sufficiency, 1951.
    https://doi.org/10.1214/aoms/1177729694

    Examples:
        >>> losses.kl_divergence(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[0.9, 0.1]]))
        Array([0.3680641], dtype=float32)
    """
    log_p, dtype, mask = class_scores(where, log_probabilities=log_probabilities)
    y = distribution(labels, log_p, "log_probabilities", mask)
    # a NaN only where the result has it, since jax_debug_nans looks at every intermediate value
    log_y = jnp.where(y < 0, jnp.nan, jnp.log(jnp.where(y > 0, y, 1)))
    return only(mask, (y * (log_y - without_infinity(y, log_p))).sum(-1).astype(dtype))


@own_words
def softmax_focal(
    logits: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    gamma: ArrayLike = 2.0,
    label_smoothing: ArrayLike = 0.0,
    class_weights: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Focal loss of softmax(logits), −Σ_k w_k y_k (1 − ŷ_k)^γ ln ŷ_k, one number per example.

    Args:
        logits: z, classes last.
        labels, label_smoothing, class_weights, where: as in `softmax_cross_entropy`; the weights are the paper's α.
        gamma: γ ≥ 0. It lowers the loss of what is classified well; γ = 0 is `softmax_cross_entropy`.

    Raises:
        ValueError: as in `softmax_cross_entropy`, or a Python number γ is negative.

    Example:
        `softmax_focal(jnp.zeros(2), jnp.array(1))` is ½² ln 2 = 0.1733.

    Reference: Lin et al., Focal loss for dense object detection, 2017. https://arxiv.org/abs/1708.02002

    Examples:
        >>> losses.softmax_focal(jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([0, 1]))
        Array([0.1732868, 1.6500783], dtype=float32)
    """
    check_number("gamma", gamma, 0)
    z, dtype, mask = class_scores(where, logits=logits)
    y = _smoothed(distribution(labels, z, "logits", mask), label_smoothing)
    log_p = jax.nn.log_softmax(z)
    least = -certain_logit(z.dtype)
    wrong = -jnp.expm1(jnp.where(log_p >= least, log_p, least))  # see `sigmoid_focal`
    tiny = float(jnp.finfo(z.dtype).tiny)
    # a root of 1 − ŷ = 0 would have an infinite slope; NaN is kept by ln ŷ
    factor = jnp.exp(jnp.asarray(gamma, z.dtype) * jnp.log(jnp.where(wrong > tiny, wrong, tiny)))
    return only(mask, _cross_entropy(log_p, y, class_weights, factor).astype(dtype))


@own_words
def margin(
    lengths: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    upper: ArrayLike = 0.9,
    lower: ArrayLike = 0.1,
    down_weight: ArrayLike = 0.5,
    class_weights: Weights = None,
    where: Where = None,
) -> Float[Array, "..."]:
    """Margin loss of CapsNet, Σ_k w_k (y_k max(0, m⁺ − v_k)² + λ (1 − y_k) max(0, v_k − m⁻)²).

    Args:
        lengths: v, the capsules' lengths in [0, 1], classes last.
        labels: class numbers or 0/1 per class, as in `softmax_cross_entropy`; several classes may be 1. One entry per
            class outside [0, 1] makes all results NaN.
        upper: m⁺, the length that a present class should reach.
        lower: m⁻, the length that an absent class should stay below.
        down_weight: λ, the weight of the absent classes.
        class_weights, where: as in `softmax_cross_entropy`.

    Reference: Sabour, Frosst and Hinton, Dynamic routing between capsules, 2017.
    https://arxiv.org/abs/1710.09829

    Examples:
        >>> losses.margin(jnp.array([[0.9, 0.1], [0.5, 0.5]]), jnp.array([0, 1]))
        Array([0.        , 0.23999998], dtype=float32)

    [Lecture row C5]
    """
    v, dtype, mask = class_scores(where, lengths=lengths)
    y = distribution(labels, v, "lengths", mask)
    y = nan_unless(((y >= 0) & (y <= 1) | jnp.isnan(y)).all(), y)  # an impossible class number is NaN in its row
    upper, lower, down_weight = (jnp.asarray(one, v.dtype) for one in (upper, lower, down_weight))
    present, absent = (jnp.where(gap <= 0, 0, gap) for gap in (upper - v, v - lower))  # a maximum may lose NaN
    loss = _squared_share(y, present) + down_weight * _squared_share(1 - y, absent)
    weights = class_weights_of(class_weights, v)
    return only(mask, (loss if weights is None else weights * loss).sum(-1).astype(dtype))


def _squared_share(share: Array, gap: Array) -> Array:
    """Return share · gap², with 0 · inf = 0 in the derivatives, too."""
    return share * jnp.where((share == 0) & jnp.isinf(gap * gap), 0, gap) ** 2
