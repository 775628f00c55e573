"""Curves over all thresholds of a binary score, exact for the scores of a set and binned to add over batches.

`roc_auc(logits, labels)` and its kin take all scores of one label, as `training.evaluate` returns them, and are exact.
Where they do not fit into memory, `score_histogram` counts them per batch; histograms add, and
`roc_auc(*histogram_examples(total))` is the curve of scores rounded to the bins. Several labels are
`jax.vmap(roc_auc, in_axes=-1)`. The curves are piecewise constant in the scores: no gradient trains on them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Shaped

from jaxdl import numerics
from jaxdl.metrics.binary import checked_binary
from jaxdl.metrics.sums import added, added_to_zero, wide_type
from jaxdl.words import own_words


class RocCurve(NamedTuple):
    """Receiver operating characteristic, from `roc_curve`: n + 1 points from (0, 0) to (1, 1)."""

    false_positive_rate: Float[Array, " n+1"]
    true_positive_rate: Float[Array, " n+1"]
    thresholds: Float[Array, " n"]  # descending; point i + 1 calls the scores from thresholds[i] up positive


class PrecisionRecallCurve(NamedTuple):
    """Precision over recall, from `precision_recall_curve`: n + 1 points from recall 0, precision 1."""

    precision: Float[Array, " n+1"]
    recall: Float[Array, " n+1"]
    thresholds: Float[Array, " n"]  # descending; point i + 1 calls the scores from thresholds[i] up positive


class ScoreHistogram(NamedTuple):
    """Weights of the examples whose probability falls into each of the equal bins of [0, 1]. `+` adds two of them."""

    positive: Float[Array, "... bins"]  # Σ w of label 1
    negative: Float[Array, "... bins"]  # Σ w of label 0

    def __add__(self, others: object) -> ScoreHistogram:  # pyright: ignore[reportIncompatibleMethodOverride]
        return added(self, others)

    __radd__ = added_to_zero


def _ranked(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None):
    """Return descending scores and, at each, the weights of the positives and negatives from this score up."""
    if jnp.ndim(logits) != 1:
        raise ValueError(f"logits: got shape {jnp.shape(logits)}, must be (n,); jax.vmap takes several labels")
    logits, labels, weights = checked_binary(logits, labels, weights)
    scores = jnp.where(weights == 0, -jnp.inf, numerics.widen(logits))  # padding counts nowhere, even if it is NaN
    lost = (jnp.isnan(scores) | jnp.isnan(labels) & (weights != 0)).any()
    places = scores
    if jnp.issubdtype(logits.dtype, jnp.integer):  # those above 2²⁴ are ties in float32, and their places are not
        places = jnp.where(weights == 0, -1, jnp.searchsorted(jnp.sort(logits), logits))
    order = jnp.argsort(places, descending=True)
    places, scores, weights = places[order], scores[order], weights[order]
    labels = jnp.where(weights == 0, 0, labels[order])
    # equal scores pass a threshold together: each gets the sums at the last of its kind
    last = jnp.searchsorted(-places, -places, side="right") - 1
    positives, negatives = (jnp.cumsum(weights * one)[last] for one in (labels, 1 - labels))
    nan = jnp.where(lost, jnp.nan, 0)
    return scores, positives + nan, negatives + nan


def _total(sums: Array) -> Array:
    return sums[-1] if len(sums) else jnp.zeros((), sums.dtype)


def _from(first: int, rest: Array) -> Array:
    return jnp.concatenate([jnp.full(1, first, rest.dtype), rest])


@own_words
def roc_curve(
    logits: Num[ArrayLike, " n"], labels: Shaped[ArrayLike, " n"], weights: Num[ArrayLike, " n"] | None = None
) -> RocCurve:
    """Return the true-positive over the false-positive rate at every threshold.

    Args:
        logits: one score per example, of any scale: only their order counts.
        labels: 0 or 1, ints, bools or floats; any other gives NaN.
        weights: per example, 1 by default, 0 for padding.

    Raises:
        ValueError: the arguments are not of rank 1 or not of one shape, or one is complex.

    Equal scores give equal points. A rate of a class without examples is NaN.

    Reference: Fawcett, An introduction to ROC analysis, 2006. https://doi.org/10.1016/j.patrec.2005.10.010

    Examples:
        >>> metrics.roc_curve(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0]))._fields
        ('false_positive_rate', 'true_positive_rate', 'thresholds')
    """
    scores, positives, negatives = _ranked(logits, labels, weights)
    true, false = positives / _total(positives), negatives / _total(negatives)
    return RocCurve(_from(0, false), _from(0, true), scores)


@own_words
def precision_recall_curve(
    logits: Num[ArrayLike, " n"], labels: Shaped[ArrayLike, " n"], weights: Num[ArrayLike, " n"] | None = None
) -> PrecisionRecallCurve:
    """Return the precision over the recall at every threshold; see `roc_curve` for the arguments.

    Reference: Davis and Goadrich, The relationship between precision-recall and ROC curves, 2006.
    https://doi.org/10.1145/1143844.1143874

    Examples:
        >>> metrics.precision_recall_curve(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0]))._fields
        ('precision', 'recall', 'thresholds')
    """
    scores, positives, negatives = _ranked(logits, labels, weights)
    precision = positives / (positives + negatives)
    return PrecisionRecallCurve(_from(1, precision), _from(0, positives / _total(positives)), scores)


@own_words
def roc_auc(
    logits: Num[ArrayLike, " n"], labels: Shaped[ArrayLike, " n"], weights: Num[ArrayLike, " n"] | None = None
) -> Float[Array, ""]:
    """Area under the ROC curve: the probability that a positive scores above a negative, a tie counting one half.

    See `roc_curve` for the arguments.

    It is NaN unless there are examples of both classes.

    Example:
        `roc_auc(jnp.array([0.1, 0.4, 0.35, 0.8]), jnp.array([0, 0, 1, 1]))` is 0.75.

    Examples:
        >>> metrics.roc_auc(jnp.array([2.0, -1.0, 0.5, 1.0]), jnp.array([1, 0, 1, 0]))
        Array(0.75, dtype=float32)
    """
    curve = roc_curve(logits, labels, weights)
    area = area_under_curve(curve.false_positive_rate, curve.true_positive_rate)
    return area if len(curve.thresholds) else jnp.full_like(area, jnp.nan)


@own_words
def average_precision(
    logits: Num[ArrayLike, " n"], labels: Shaped[ArrayLike, " n"], weights: Num[ArrayLike, " n"] | None = None
) -> Float[Array, ""]:
    """Average precision Σ_i (R_i − R_{i−1}) P_i, the area under the precision-recall curve without interpolation.

    See `roc_curve` for the arguments. It is NaN without positives, for which scikit-learn returns 0 and a warning.

    Examples:
        >>> metrics.average_precision(jnp.array([2.0, -1.0, 0.5, 1.0]), jnp.array([1, 0, 1, 0]))
        Array(0.8333334, dtype=float32)
    """
    curve = precision_recall_curve(logits, labels, weights)
    area = (jnp.diff(curve.recall) * curve.precision[1:]).sum()
    return area if len(curve.thresholds) else jnp.full_like(area, jnp.nan)


@own_words
def area_under_curve(x: Num[ArrayLike, "... n"], y: Num[ArrayLike, "... n"]) -> Float[Array, "..."]:
    """Area under a curve by the trapezoid rule, Σ_i (x_i − x_{i−1}) (y_i + y_{i−1}) / 2, along the last axis.

    Raises:
        ValueError: the shapes differ or have no axis, or an argument is complex.

    Examples:
        >>> metrics.area_under_curve(jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, 1.0, 1.0]))
        Array(1.5, dtype=float32)
    """
    numerics.refuse_complex(x=x, y=y)
    if not jnp.ndim(x) or jnp.shape(x) != jnp.shape(y):
        raise ValueError(f"y: got shape {jnp.shape(y)}, must be the shape of x {jnp.shape(x)}, with an axis of points")
    x, y = jnp.asarray(x, wide_type(x)), jnp.asarray(y, wide_type(x))
    return (jnp.diff(x) * (0.5 * (y[..., 1:] + y[..., :-1]))).sum(-1)


@own_words
def score_histogram(
    probabilities: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    bins: int = 1000,
    weights: Num[ArrayLike, "..."] | None = None,
) -> ScoreHistogram:
    """Count the examples of both classes by their probability, in equal bins [i / bins, (i + 1) / bins) of [0, 1].

    Args:
        probabilities: of class 1, any shape; those outside [0, 1] fall into the first and the last bin.
        labels, weights: as in `binary_accuracy`.
        bins: their number; scores within one bin are ties, so more of them are closer to the exact curve.

    Raises:
        ValueError: as in `binary_accuracy`, or `bins` is not an int of at least 1.

    NaN and impossible labels of weight other than 0 turn all counts to NaN.

    Examples:
        >>> metrics.score_histogram(jnp.array([0.9, 0.2, 0.6]), jnp.array([1, 0, 0]), bins=2)._fields
        ('positive', 'negative')
    """
    if not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins: got {bins}, must be an int of at least 1")
    p, y, w = checked_binary(probabilities, labels, weights)
    p, y = (jnp.where(w == 0, 0, one) for one in (numerics.widen(p), y))
    index = jnp.clip(jnp.floor(p * bins).astype(jnp.int32), 0, bins - 1).ravel()
    lost = jnp.where((jnp.isnan(p) | jnp.isnan(y)).any(), jnp.nan, 0)
    positive, negative = (jnp.zeros(bins, w.dtype).at[index].add((w * one).ravel()) for one in (y, 1 - y))
    return ScoreHistogram(positive + lost, negative + lost)


@own_words
def histogram_examples(
    histogram: ScoreHistogram,
) -> tuple[Float[Array, " examples"], Float[Array, " examples"], Float[Array, " examples"]]:
    """Return (scores, labels, weights) that the curves take: each bin's centre once as label 1 and once as label 0.

    Example:
        `roc_auc(*histogram_examples(sum(histograms)))`

    Examples:
        >>> histogram = metrics.score_histogram(jnp.array([0.9, 0.2, 0.6]), jnp.array([1, 0, 0]), bins=2)
        >>> metrics.roc_auc(*metrics.histogram_examples(histogram))
        Array(0.75, dtype=float32)
    """
    numerics.refuse_complex(**histogram._asdict())
    positive, negative = (jnp.asarray(one, wide_type(one)) for one in histogram)
    centres = (jnp.arange(len(positive), dtype=positive.dtype) + 0.5) / max(len(positive), 1)
    labels = jnp.concatenate([jnp.ones_like(positive), jnp.zeros_like(negative)])
    return jnp.concatenate([centres, centres]), labels, jnp.concatenate([positive, negative])
