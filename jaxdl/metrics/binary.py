"""Metrics of one logit per example, or of several independent labels with one logit each."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Shaped

from jaxdl import numerics
from jaxdl.metrics.sums import Ratio, mean, weights_of, wide_type
from jaxdl.words import own_words


def checked_binary(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Return logits, labels and weights as arrays of one shape, labels NaN where they are neither 0 nor 1.

    Raises:
        ValueError: the shapes do not fit, or an argument is complex.
    """
    numerics.refuse_complex(logits=logits, labels=labels)
    logits, labels, dtype = jnp.asarray(logits), jnp.asarray(labels), wide_type(logits)
    if logits.shape != labels.shape:
        raise ValueError(f"labels: got shape {labels.shape}, must be the shape of logits, {logits.shape}")
    labels = jnp.where((labels == 0) | (labels == 1), labels.astype(dtype), jnp.nan)
    return logits, labels, weights_of(weights, labels.shape, dtype)


def _hits(logits: Array, labels: Array, threshold: ArrayLike) -> Array:
    """Return 1 where the logit lies on its label's side of the threshold, else 0; NaN for NaN."""
    above = logits > jnp.asarray(threshold, logits.dtype)
    right = (above == (labels == 1)).astype(labels.dtype)
    return jnp.where(jnp.isnan(logits) | jnp.isnan(labels), jnp.nan, right)


@own_words
def binary_accuracy(
    logits: Num[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    threshold: ArrayLike = 0.0,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Ratio:
    """Share of labels whose logit lies on the right side of the threshold.

    Args:
        logits: one per example, or several per example with one label each; probabilities with threshold 0.5.
        labels: 0 or 1, ints, bools or floats of the same shape; any other is NaN.
        threshold: class 1 is predicted above it.
        weights: of the shape of the labels, or of their first axes, such as one per example; 0 for padding.

    Raises:
        ValueError: the shapes do not fit, or an argument is complex.

    Example:
        `ratio(binary_accuracy(jnp.array([2.0, -1.0]), jnp.array([1, 1])))` is 0.5.

    Examples:
        >>> metrics.ratio(metrics.binary_accuracy(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])))
        Array(0.6666667, dtype=float32)
    """
    logits, labels, weights = checked_binary(logits, labels, weights)
    return mean(_hits(logits, labels, threshold), weights=weights)


@own_words
def subset_accuracy(
    logits: Num[ArrayLike, "... labels"],
    labels: Shaped[ArrayLike, "... labels"],
    *,
    threshold: ArrayLike = 0.0,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Ratio:
    """Share of examples all of whose labels are predicted right, also called exact match.

    Args:
        logits, labels, threshold: as in `binary_accuracy`, an example's labels last.
        weights: one per example.

    Raises:
        ValueError: as in `binary_accuracy`, or there is no axis of labels.

    Examples:
        >>> metrics.ratio(metrics.subset_accuracy(jnp.array([[1.0, -1.0], [1.0, 1.0]]), jnp.array([[1, 0], [1, 0]])))
        Array(0.5, dtype=float32)
    """
    if not jnp.ndim(logits):
        raise ValueError("logits: got shape (), needs an axis of labels; `binary_accuracy` takes one label")
    logits, labels, _ = checked_binary(logits, labels, None)
    weights = weights_of(weights, labels.shape[:-1], labels.dtype)
    return mean(_hits(logits, labels, threshold).prod(-1), weights=weights)


@own_words
def binary_confusion_matrix(
    logits: Num[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    threshold: ArrayLike = 0.0,
    per_label: bool = False,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Float[Array, "*labels 2 2"]:
    """Count labels by value and prediction, [[true negatives, false positives], [false negatives, true positives]].

    Args:
        logits, labels, threshold, weights: as in `binary_accuracy`.
        per_label: count each label on the last axis by itself, which gives `(labels, 2, 2)`.

    Raises:
        ValueError: as in `binary_accuracy`, or `per_label` of logits without an axis.

    Matrices add by `+`; `scores` gives precision, recall and F1, at index 1 of the last axis those of class 1:
    of the sum over the labels the micro average, and the mean over the labels is the macro average. A NaN logit or
    impossible label of weight other than 0 turns the matrix to NaN.

    Examples:
        >>> metrics.binary_confusion_matrix(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0]))
        Array([[1., 1.],
               [0., 1.]], dtype=float32)
    """
    if per_label and not jnp.ndim(logits):
        raise ValueError("logits: got shape (), needs an axis of labels to count per label")
    logits, labels, weights = checked_binary(logits, labels, weights)
    hits = jnp.where(weights == 0, 0, _hits(logits, labels, threshold))
    ones = jnp.where(weights == 0, 0, labels)
    above = jnp.where(hits == 1, ones, 1 - ones) + 0 * hits  # a miss is the other class; NaN stays NaN
    axes = tuple(range(labels.ndim - 1 if per_label else labels.ndim))
    cells = [(weights * true * called).sum(axes) for true in (1 - ones, ones) for called in (1 - above, above)]
    return jnp.stack(cells, -1).reshape(*cells[0].shape, 2, 2)
