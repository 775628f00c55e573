"""Classification metrics as sums and counts, so that batches and devices can be added up (Lecture row C7).

What a batch gives (`Ratio`, a confusion matrix, `CalibrationBins`) is added over batches by
`jax.tree.map(jnp.add, a, b)` and over devices by `jax.lax.psum`; `ratio`, `scores` and `calibration_error`
turn the total into figures. Logits (or probabilities) have the classes last, labels are integers.

* `weights` weigh the examples. Weight 0 removes an example, whatever is in it: it pads a last batch.
* Sums are float32 (float64 for float64), exact for up to 16.7 million examples.
* Equal logits rank in the order of their classes, as in `argmax`.
* NaN logits and labels that no class has give NaN, not a wrong or, worse, a right answer.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Integer, Num

from jaxdl import numerics

__all__ = [
    "CalibrationBins",
    "Ratio",
    "Scores",
    "accuracy",
    "calibration_bins",
    "calibration_error",
    "confusion_matrix",
    "mean",
    "rank_of_label",
    "ratio",
    "scores",
    "top_k_accuracy",
    "top_k_classes",
]


class Ratio(NamedTuple):
    """A weighted mean in the making. Add two of them field by field; `ratio` divides."""

    total: Float[Array, ""]  # Σ w v
    count: Float[Array, ""]  # Σ w


class Scores(NamedTuple):
    """Figures per class, from `scores`."""

    precision: Float[Array, "... classes"]  # of the examples that were called this class, the share that are
    recall: Float[Array, "... classes"]  # of the examples of this class, the share that were called it
    f1: Float[Array, "... classes"]  # harmonic mean of both
    support: Float[Array, "... classes"]  # number (weight) of examples of this class


class CalibrationBins(NamedTuple):
    """Sums over the examples whose confidence falls into each of the equal bins of (0, 1]."""

    confidence: Float[Array, " bins"]  # Σ w p, p the probability of the predicted class
    correct: Float[Array, " bins"]  # Σ w where the prediction is right
    count: Float[Array, " bins"]  # Σ w


def _checked(logits, labels, weights):
    """Return logits, labels and float32 weights as arrays whose shapes fit."""
    numerics.refuse_complex(logits=logits, labels=labels, weights=weights)
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if not logits.ndim or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels: got shape {labels.shape}, must be the shape of logits {logits.shape} but its last axis"
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: got dtype {labels.dtype}, class numbers are integers")
    if weights is not None and jnp.shape(weights) != labels.shape:
        raise ValueError(f"weights: got shape {jnp.shape(weights)}, must be the shape of labels, {labels.shape}")
    labels = numerics.class_numbers(labels)
    dtype = _wide_type(logits)
    return logits, labels, jnp.ones(labels.shape, dtype) if weights is None else jnp.asarray(weights, dtype)


def _wide_type(values):
    return numerics.wide_dtype(numerics.result_dtype(values))


def _valid(logits, labels):
    """Tell where an example has a class and no NaN."""
    return (labels >= 0) & (labels < logits.shape[-1]) & ~jnp.isnan(logits).any(-1)


def mean(values: Num[ArrayLike, "..."], *, weights: Num[ArrayLike, "..."] | None = None) -> Ratio:
    """Sum values over examples: Σ w v and Σ w. A value with weight 0 does not count, even if it is NaN."""
    numerics.refuse_complex(values=values, weights=weights)
    dtype = _wide_type(values)
    values = jnp.asarray(values, dtype)
    w = jnp.ones(values.shape, dtype) if weights is None else jnp.asarray(weights, dtype)
    if w.shape != values.shape:
        raise ValueError(f"weights: got shape {w.shape}, must be the shape of values, {values.shape}")
    return Ratio(jnp.where(w == 0, 0, w * values).sum(), w.sum())


def ratio(sums: Ratio) -> Float[Array, "..."]:
    """Divide: the weighted mean that a `Ratio` stands for, NaN if nothing was counted."""
    numerics.refuse_complex(total=sums.total, count=sums.count)
    return sums.total / sums.count


def rank_of_label(logits: Num[ArrayLike, "... classes"], labels: Integer[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Return per example how many classes stand before the right one: 0 means that it is the prediction."""
    logits, labels, _ = _checked(logits, labels, None)
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))
    inside = jnp.clip(labels, 0, logits.shape[-1] - 1)[..., None]
    own = jnp.take_along_axis(logits, inside, -1)
    before = (logits > own) | ((logits == own) & (classes < inside))
    return jnp.where(_valid(logits, labels), before.sum(-1).astype(_wide_type(logits)), jnp.nan)


def accuracy(
    logits: Num[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Ratio:
    """Share of examples whose largest logit is the label's; see `top_k_accuracy`."""
    return top_k_accuracy(logits, labels, k=1, weights=weights)


def top_k_accuracy(
    logits: Num[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    k: int = 5,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Ratio:
    """Share of examples whose label is among the k largest logits; 1 minus it is the top-k error.

    Args:
        logits: classes last; probabilities do as well.
        labels: class numbers.
        k: from 1 to the number of classes.
        weights: per example, 1 by default, 0 for padding.

    Raises:
        ValueError: k out of range; labels or weights of another shape; labels that are not integers.
    """
    logits, labels, weights = _checked(logits, labels, weights)
    _check_k(k, logits.shape[-1])
    rank = rank_of_label(logits, labels)
    return mean(_right(rank, k), weights=weights)


def _right(rank, k):
    """Return 1 where the label is among the first k, else 0; NaN where it has no rank."""
    return jnp.where(jnp.isnan(rank), rank, (rank < k).astype(rank.dtype))


def _check_k(k, classes):
    if not isinstance(k, int | np.integer) or not 1 <= k <= classes:
        raise ValueError(f"k: got {k}, allowed are ints from 1 to the number of classes, {classes}")


def top_k_classes(
    logits: Float[ArrayLike, "... classes"], *, k: int = 3
) -> tuple[Int[Array, "... k"], Float[Array, "... k"]]:
    """List the k most probable classes of each example and their softmax probabilities, best first.

    The order is that of the logits, also where probabilities round to the same number or to 0.
    """
    numerics.refuse_complex(logits=logits)
    logits = jnp.asarray(logits)
    _check_k(k, logits.shape[-1])
    _, classes = jax.lax.top_k(jnp.where(logits == 0, 0, logits), k)  # which would rank −0 below 0
    return classes, jnp.take_along_axis(jax.nn.softmax(numerics.widen(logits)), classes, -1)


def confusion_matrix(
    logits: Num[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Float[Array, "classes classes"]:
    """Count examples by class and prediction: entry (i, j) is the weight of class i that was called j.

    Arguments as in `top_k_accuracy`. One impossible label or NaN logit of weight other than 0 turns the whole
    matrix to NaN, for there is no entry where it belongs.
    """
    logits, labels, weights = _checked(logits, labels, weights)
    n = logits.shape[-1]
    cells = jnp.clip(labels, 0, n - 1) * n + logits.argmax(-1)
    weights = jnp.where(_valid(logits, labels) | (weights == 0), weights, jnp.nan)
    lost = jnp.where(jnp.isnan(weights).any(), jnp.nan, 0)
    return jnp.zeros(n * n, weights.dtype).at[cells.ravel()].add(weights.ravel()).reshape(n, n) + lost


def scores(confusion: Num[ArrayLike, "... classes classes"]) -> Scores:
    """Turn a confusion matrix into precision, recall and F1 per class, 0 where a share of nothing is asked.

    Their means over the classes are the macro averages.
    """
    numerics.refuse_complex(confusion=confusion)
    confusion = jnp.asarray(confusion, _wide_type(confusion))
    right = jnp.diagonal(confusion, axis1=-2, axis2=-1)
    called, support = confusion.sum(-2), confusion.sum(-1)
    return Scores(_share(right, called), _share(right, support), _share(2 * right, called + support), support)


def _share(part, whole):
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))


def calibration_bins(
    logits: Float[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    bins: int = 15,
    weights: Num[ArrayLike, "..."] | None = None,
) -> CalibrationBins:
    """Sort examples by confidence, the softmax probability of the predicted class, into equal bins.

    Args:
        logits: classes last; here probabilities do not do instead.
        labels, weights: as in `top_k_accuracy`.
        bins: number of bins (i / bins, (i + 1) / bins].

    Plot correct / count against confidence / count for a reliability diagram.
    """
    logits, labels, weights = _checked(logits, labels, weights)
    if not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins: got {bins}, must be an int of at least 1")
    confidence = jax.nn.softmax(numerics.widen(logits)).max(-1)
    rank = rank_of_label(logits, labels)
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1).ravel()
    right = _right(rank, 1)

    def binned(values):
        kept = jnp.where(weights == 0, 0, weights * values)
        return jnp.zeros(bins, weights.dtype).at[index].add(kept.ravel())

    return CalibrationBins(binned(confidence), binned(right), binned(jnp.ones_like(confidence)))


def calibration_error(sums: CalibrationBins) -> Float[Array, ""]:
    """Expected calibration error: Σ_b (n_b / n) |accuracy_b − confidence_b|, NaN if nothing was counted.

    Reference: Guo et al., On calibration of modern neural networks, 2017. https://arxiv.org/abs/1706.04599
    """
    numerics.refuse_complex(**sums._asdict())
    return jnp.abs(sums.correct - sums.confidence).sum() / sums.count.sum()
