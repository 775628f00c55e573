"""Calibration: how often predictions of a stated confidence are right."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, Num, Shaped

from jaxdl import numerics
from jaxdl.metrics.binary import checked_binary
from jaxdl.metrics.classification import checked, rank_of_label, right
from jaxdl.metrics.sums import added, added_to_zero
from jaxdl.words import own_words


class CalibrationBins(NamedTuple):
    """Sums over the examples whose confidence falls into each of the equal bins of (0, 1]. `+` adds two of them."""

    confidence: Float[Array, "... bins"]  # Σ w p, p the probability of the predicted class
    correct: Float[Array, "... bins"]  # Σ w where the prediction is right
    count: Float[Array, "... bins"]  # Σ w

    def __add__(self, others: object) -> CalibrationBins:  # pyright: ignore[reportIncompatibleMethodOverride]
        return added(self, others)

    __radd__ = added_to_zero


class Reliability(NamedTuple):
    """The points of a reliability diagram, from `reliability`."""

    confidence: Float[Array, "... bins"]  # mean confidence of each bin, NaN for an empty one
    accuracy: Float[Array, "... bins"]  # share that is right, NaN for an empty one
    share: Float[Array, "... bins"]  # share of all examples


@own_words
def calibration_bins(
    logits: Float[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    bins: int = 15,
    weights: Num[ArrayLike, "..."] | None = None,
) -> CalibrationBins:
    """Sort examples by confidence, the softmax probability of the predicted class, into equal bins.

    Args:
        logits: classes last; probabilities would not do, as their softmax is taken.
        labels, weights: as in `top_k_accuracy`.
        bins: number of bins (i / bins, (i + 1) / bins].

    Raises:
        ValueError: as in `top_k_accuracy`, or `bins` is not an int of at least 1.

    `reliability` gives the points of a diagram, and `calibration_error` one figure.

    Examples:
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1])
        >>> metrics.calibration_bins(logits, labels, bins=2)._fields
        ('confidence', 'correct', 'count')

    [Lecture row C7]
    """
    logits, labels, weights = checked(logits, labels, weights)
    confidence = jax.nn.softmax(numerics.widen(logits)).max(-1)
    return _binned(confidence, right(rank_of_label(logits, labels), 1), weights, bins)


@own_words
def binary_calibration_bins(
    logits: Float[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    bins: int = 15,
    weights: Num[ArrayLike, "..."] | None = None,
) -> CalibrationBins:
    """Sort examples by the probability of class 1, sigmoid(logit), into equal bins; "correct" counts the class 1.

    Args:
        logits: one per example, or one per label; all of them are counted together.
        labels, weights: as in `binary_accuracy`.
        bins: as in `calibration_bins`.

    Examples:
        >>> logits, labels = jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])
        >>> metrics.calibration_error(metrics.binary_calibration_bins(logits, labels, bins=2))
        Array(0.25739923, dtype=float32)
    """
    logits, labels, weights = checked_binary(logits, labels, weights)
    probability = jax.nn.sigmoid(numerics.widen(logits))
    return _binned(probability, labels + 0 * probability, weights, bins)  # NaN stays NaN


def _binned(confidence: Array, hit: Array, weights: Array, bins: int) -> CalibrationBins:
    if not isinstance(bins, int | np.integer) or bins < 1:
        raise ValueError(f"bins: got {bins}, must be an int of at least 1")
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1).ravel()

    def summed(values: Array) -> Array:
        kept = jnp.where(weights == 0, 0, weights * values)
        return jnp.zeros(bins, weights.dtype).at[index].add(kept.ravel())

    return CalibrationBins(summed(confidence), summed(hit), summed(jnp.ones_like(confidence)))


@own_words
def calibration_error(sums: CalibrationBins) -> Float[Array, ""]:
    """Expected calibration error: Σ_b (n_b / n) |accuracy_b − confidence_b|, NaN if nothing was counted.

    Reference: Guo et al., On calibration of modern neural networks, 2017. https://arxiv.org/abs/1706.04599

    Examples:
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1])
        >>> metrics.calibration_error(metrics.calibration_bins(logits, labels, bins=2))
        Array(0.18814325, dtype=float32)

    [Lecture row C7]
    """
    numerics.refuse_complex(**sums._asdict())
    return jnp.abs(sums.correct - sums.confidence).sum() / sums.count.sum()


@own_words
def reliability(sums: CalibrationBins) -> Reliability:
    """Divide the bins' sums: return the mean confidence, the accuracy and the share of the examples of each bin.

    A calibrated network has accuracy = confidence. Empty bins are NaN, which plots leave out.

    Reference: DeGroot and Fienberg, The comparison and evaluation of forecasters, 1983.
    https://doi.org/10.2307/2987588

    Examples:
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1])
        >>> metrics.reliability(metrics.calibration_bins(logits, labels, bins=2))._fields
        ('confidence', 'accuracy', 'share')
    """
    numerics.refuse_complex(**sums._asdict())
    confidence, correct = sums.confidence / sums.count, sums.correct / sums.count
    return Reliability(confidence, correct, sums.count / sums.count.sum(-1, keepdims=True))
