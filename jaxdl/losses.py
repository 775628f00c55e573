"""Losses, `loss(predictions | logits, targets | labels)`, never reduced over examples (Lecture rows C1-C5).

A loss whose formula couples the outputs of one example (softmax_cross_entropy, nll, margin) sums over the
last axis; all others work element by element. Sums over outputs and means over examples are the caller's:
`half_squared_error(predictions, targets).sum() / m`. What else holds for all of them:

* Results have the floating dtype of the arguments; float16 and bfloat16 are computed in float32.
* Shapes must fit exactly. Broadcasting (n, 1) against (n,) would silently compare all pairs of examples.
* Values are not checked, as that needs a host; labels that cannot be give NaN in loss and gradient. A class number that
  no class has does so in its own row. Where labels follow another convention than the loss, such as 0/1 for ±1, some
  of them look right, so one label that does not fit gives NaN in all of the call's results.
* The losses of labels take `where`, booleans of the result's shape. Where it is False the loss and all gradients are 0,
  whatever stands in the logits and labels, such as the label −1 or −100 of "ignore this one". The mean is then
  `losses.sum() / where.sum()`.
* Complex arguments raise ValueError.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped

from jaxdl import numerics

Where = Bool[ArrayLike, "..."] | None

__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "half_squared_error",
    "hinge",
    "margin",
    "nll",
    "perceptron",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
    "squared_log_error",
]


def _widen_pair(predictions, targets, names=("predictions", "targets")):
    """Return both in at least float32 and the dtype of the result, having compared their shapes."""
    if jnp.shape(predictions) != jnp.shape(targets):
        raise ValueError(
            f"{names[1]}: got shape {jnp.shape(targets)}, must be the shape of {names[0]}, {jnp.shape(predictions)}"
        )
    numerics.refuse_complex(**{names[0]: predictions, names[1]: targets})
    dtype = numerics.result_dtype(predictions, targets)
    wide = numerics.wide_dtype(dtype)
    return jnp.asarray(predictions, wide), jnp.asarray(targets, wide), dtype


def squared_error(predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Squared error (ŷ − y)² of each element; its mean is the mean squared error (Lecture row C1).

    The lectures' other form, J = 1/(2m) Σ (ŷ − y)², is the mean of `half_squared_error`. Erratum: the lecture
    defines J with 1/(2m) and then computes its example with 1/m (0.995 where the formula gives 0.4975).
    """
    predictions, targets, dtype = _widen_pair(predictions, targets)
    return jnp.square(predictions - targets).astype(dtype)


def half_squared_error(predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Half the squared error, ½ (ŷ − y)², whose gradient is δ = ŷ − y (Lecture rows C1, D2)."""
    predictions, targets, dtype = _widen_pair(predictions, targets)
    return (0.5 * jnp.square(predictions - targets)).astype(dtype)


def absolute_error(predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Absolute error |ŷ − y|, gradient sgn(ŷ − y) and 0 at equality (Lecture row C1)."""
    predictions, targets, dtype = _widen_pair(predictions, targets)
    return numerics.safe_abs(predictions - targets).astype(dtype)


def squared_log_error(predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Squared difference of logarithms, (ln ŷ − ln y)², for positive quantities (Lecture row C4).

    Its sum over the outputs is the lecture's ‖log y − log t‖². Outside its domain, at predictions or targets
    ≤ 0, it is NaN.
    """
    predictions, targets, dtype = _widen_pair(predictions, targets)
    difference = _log_of_positive(predictions) - _log_of_positive(targets)
    return jnp.square(difference).astype(dtype)


def _log_of_positive(x):
    return jnp.log(jnp.where(x > 0, x, jnp.nan))


def _nan_unless(valid, labels):
    """Put NaN in place of labels that cannot be."""
    return jnp.where(valid, labels, jnp.nan)


def _kept(where, shape):
    """Return the mask as an array, having compared its shape and dtype; None for none."""
    if where is None:
        return None
    where = jnp.asarray(where)
    if where.shape != tuple(shape) or where.dtype != bool:
        raise ValueError(
            f"where: got shape {where.shape} and dtype {where.dtype}, allowed are bools of the result's shape, {shape}"
        )
    return where


def _only(kept, values, otherwise=0):
    """Return the values that the mask keeps, and `otherwise` in place of the others."""
    if kept is None:
        return values
    kept = kept.reshape(kept.shape + (1,) * (values.ndim - kept.ndim))
    return jnp.where(kept, values, jnp.asarray(otherwise, values.dtype))


def _unless_none(share, surprise):
    """Return share · surprise, with 0 · inf = 0."""
    return share * jnp.where((share == 0) & jnp.isinf(surprise), 0, surprise)


def binary_cross_entropy(
    probabilities: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    eps: ArrayLike = 1e-7,
    where: Where = None,
) -> Float[Array, "..."]:
    """Cross entropy of a probability p of class 1, −y ln p − (1 − y) ln(1 − p) (Lecture row C2).

    Args:
        probabilities: p in [0, 1]. With logits at hand `sigmoid_binary_cross_entropy` is exact everywhere.
        labels: y in [0, 1], not ±1; one outside makes all results NaN.
        eps: below eps, and above 1 − eps, the logarithm goes on along its tangent, so that value (17.1 at the
            worst) and gradient (1/eps) stay finite and keep pointing the right way.
        where: which elements count, see the top of the module.

    Errata: the lecture's example prints .317, which is in logarithms of base 10; natural ones, used here,
    give .729693. Another lecture's form for one example lacks the minus.
    """
    p, y, dtype = _widen_pair(probabilities, labels, ("probabilities", "labels"))
    kept = _kept(where, p.shape)
    p, y, eps = _only(kept, p), _shares(_only(kept, y)), jnp.asarray(eps, p.dtype)
    loss = -y * _log_with_tangent(p, eps) - (1 - y) * _log_with_tangent(1 - p, eps)
    return _only(kept, loss.astype(dtype))


def _shares(y):
    """Return labels in [0, 1], or NaN for all of them if one lies outside."""
    return _nan_unless(((y >= 0) & (y <= 1)).all(), y)


def _log_with_tangent(p, eps):
    inside = p >= eps
    return jnp.where(inside, jnp.log(jnp.where(inside, p, 1)), jnp.log(eps) + (p - eps) / eps)


def sigmoid_binary_cross_entropy(
    logits: Float[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Binary cross entropy from the logit z of class 1, y ln(1 + e⁻ᶻ) + (1 − y) ln(1 + eᶻ) (Lecture row C2).

    Args:
        logits: z; the gradient is sigmoid(z) − y.
        labels: y in [0, 1], not ±1; one outside makes all results NaN.
        where: which elements count, see the top of the module.

    It equals `softmax_cross_entropy` of the two logits (0, z).
    """
    z, y, dtype = _widen_pair(logits, labels, ("logits", "labels"))
    kept = _kept(where, z.shape)
    z, y = _only(kept, z), _shares(_only(kept, y))
    loss = _unless_none(y, numerics.softplus(-z)) + _unless_none(1 - y, numerics.softplus(z))
    return _only(kept, loss.astype(dtype))


def _distribution(labels, outputs, names, kept):
    """Return labels as a distribution over the last axis of outputs: class numbers become one-hot rows.

    Labels that `kept` leaves out become class 0, or no class.
    """
    shape = jnp.shape(outputs)
    numerics.refuse_complex(labels=labels)
    labels = jnp.asarray(labels)
    if not shape or not shape[-1]:
        raise ValueError(f"{names}: got shape {shape}, needs an axis of at least one class")
    if labels.shape == shape:
        return _only(kept, labels.astype(outputs.dtype))
    if labels.shape != shape[:-1]:
        raise ValueError(f"labels: got shape {labels.shape}, allowed for {names} {shape} are {shape[:-1]} and {shape}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: got dtype {labels.dtype} for shape {shape[:-1]}, class numbers are integers")
    labels = _only(kept, numerics.class_numbers(labels))
    # not jax.nn.one_hot, whose row of zeros would make the loss of an impossible label 0
    one_hot = labels[..., None] == jnp.arange(shape[-1], dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))
    possible = (labels >= 0) & (labels < shape[-1])
    return _nan_unless(possible[..., None], one_hot.astype(outputs.dtype))


def _cross_entropy(log_probabilities, labels):
    """−Σ y ln p with 0 · ln 0 = 0."""
    return _unless_none(labels, -log_probabilities).sum(-1)


def softmax_cross_entropy(
    logits: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    label_smoothing: ArrayLike = 0.0,
    where: Where = None,
) -> Float[Array, "..."]:
    """Cross entropy of softmax(logits), −Σ_k y_k ln ŷ_k, one number per example (Lecture row C3).

    Args:
        logits: z, classes last; the gradient is ŷ − y. −inf excludes a class.
        labels: class numbers, of the shape of logits without the last axis, or a distribution over the
            classes (one-hot, mixed, soft) of the shape of logits. A class number that no class has gives NaN. What a
            distribution sums to is not checked.
        label_smoothing: ε: y becomes (1 − ε) y + ε / classes.
        where: which examples count, of the shape of logits without the last axis; see the top of the module.

    Raises:
        ValueError: labels of another shape; class numbers that are not integers; ε outside [0, 1].

    Reference for label smoothing: Szegedy et al., Rethinking the Inception architecture, 2016.
    https://arxiv.org/abs/1512.00567
    """
    if isinstance(label_smoothing, float | int | np.floating) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: got {label_smoothing}, allowed is 0 to 1")
    z, dtype, kept = _scores(where, logits=logits)
    y = _distribution(labels, z, "logits", kept)
    label_smoothing = jnp.asarray(label_smoothing, z.dtype)
    y = (1 - label_smoothing) * y + label_smoothing / z.shape[-1]
    return _only(kept, _cross_entropy(jax.nn.log_softmax(z), y).astype(dtype))


def _scores(where, **named):
    """Return one argument with the classes last in at least float32, the dtype of the result, and the mask.

    Rows that the mask leaves out are 0.
    """
    ((_, values),) = named.items()
    numerics.refuse_complex(**named)
    kept = _kept(where, jnp.shape(values)[:-1])
    return _only(kept, numerics.widen(values)), numerics.result_dtype(values), kept


def nll(
    log_probabilities: Float[ArrayLike, "... classes"], labels: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Negative log likelihood −Σ_k y_k ln ŷ_k, from log-probabilities (Lecture row C3).

    With `activations.log_softmax` before it this is `softmax_cross_entropy`; labels, `where` and errors as there.
    """
    log_p, dtype, kept = _scores(where, log_probabilities=log_probabilities)
    y = _distribution(labels, log_p, "log_probabilities", kept)
    return _only(kept, _cross_entropy(log_p, y).astype(dtype))


def margin(
    lengths: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    upper: ArrayLike = 0.9,
    lower: ArrayLike = 0.1,
    down_weight: ArrayLike = 0.5,
    where: Where = None,
) -> Float[Array, "..."]:
    """Margin loss of CapsNet, Σ_k y_k max(0, m⁺ − v_k)² + λ (1 − y_k) max(0, v_k − m⁻)² (Lecture row C5).

    Args:
        lengths: v, the capsules' lengths in [0, 1], classes last.
        labels: class numbers or 0/1 per class, as in `softmax_cross_entropy`; several classes may be 1. One entry per
            class outside [0, 1] makes all results NaN.
        upper: m⁺, length that a present class should reach.
        lower: m⁻, length that an absent class should stay below.
        down_weight: λ, weight of the absent classes.
        where: which examples count, as in `softmax_cross_entropy`.

    Reference: Sabour, Frosst and Hinton, Dynamic routing between capsules, 2017.
    https://arxiv.org/abs/1710.09829
    """
    v, dtype, kept = _scores(where, lengths=lengths)
    y = _distribution(labels, v, "lengths", kept)
    y = _nan_unless(((y >= 0) & (y <= 1) | jnp.isnan(y)).all(), y)  # an impossible class number is NaN in its row
    upper, lower, down_weight = (jnp.asarray(one, v.dtype) for one in (upper, lower, down_weight))
    present, absent = (jnp.where(gap <= 0, 0, gap) for gap in (upper - v, v - lower))  # a maximum may lose NaN
    loss = _squared_share(y, present) + down_weight * _squared_share(1 - y, absent)
    return _only(kept, loss.sum(-1).astype(dtype))


def _squared_share(share, gap):
    """Return share · gap², with 0 · inf = 0 in the derivatives, too."""
    return share * jnp.where((share == 0) & jnp.isinf(gap * gap), 0, gap) ** 2


def hinge(
    predictions: Float[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Hinge loss max(0, 1 − y f) with labels y = ±1 (Lecture row C5).

    Args:
        predictions: f, the signed distance; the gradient is −y where y f < 1, else 0.
        labels: −1 or 1, not 0 or 1; one that is neither makes all results NaN.
        where: which elements count, see the top of the module.

    Reference: Cortes and Vapnik, Support-vector networks, 1995. https://doi.org/10.1007/BF00994018
    """
    f, y, dtype, kept = _signed(predictions, labels, where)
    gap = 1 - y * f
    return _only(kept, jnp.where(gap <= 0, 0, gap).astype(dtype))


def _signed(predictions, labels, where):
    """Return both in at least float32, the labels NaN if one is not ±1, the dtype of the result, and the mask."""
    f, y, dtype = _widen_pair(predictions, labels, ("predictions", "labels"))
    kept = _kept(where, f.shape)
    f, y = _only(kept, f), _only(kept, y, 1)
    return f, _nan_unless((jnp.abs(y) == 1).all(), y), dtype, kept


def perceptron(
    predictions: Float[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Perceptron loss max(0, −y f) with labels y = ±1 (Lecture rows A3, C5). Labels and `where` as in `hinge`.

    The gradient is −y where y f ≤ 0: at f = 0 too, which counts as a mistake, so that a step from weights 0
    is the perceptron's mistake-driven step.

    Reference: Rosenblatt, The perceptron, 1958. https://doi.org/10.1037/h0042519
    """
    f, y, dtype, kept = _signed(predictions, labels, where)
    agreement = y * f
    return _only(kept, jnp.where(agreement > 0, 0, -agreement).astype(dtype))
