"""Metrics of classes: logits (or probabilities) with the classes last, and class numbers."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Integer, Num

from jaxdl import numerics
from jaxdl.metrics.sums import Ratio, mean, weights_of, wide_type
from jaxdl.words import own_words


class Scores(NamedTuple):
    """Figures per class, from `scores`."""

    precision: Float[Array, "... classes"]  # of the examples that were called this class, the share that are
    recall: Float[Array, "... classes"]  # of the examples of this class, the share that were called it
    f1: Float[Array, "... classes"]  # harmonic mean of both
    support: Float[Array, "... classes"]  # number (weight) of examples of this class


def checked(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Return logits, class numbers and float32 weights as arrays.

    Raises:
        ValueError: the shapes do not fit, the labels are not integers, or an argument is complex.
    """
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
    return logits, numerics.class_numbers(labels), weights_of(weights, labels.shape, wide_type(logits))


def valid(logits: Array, labels: Array) -> Array:
    """Tell where an example has a class and no NaN."""
    return (labels >= 0) & (labels < logits.shape[-1]) & ~jnp.isnan(logits).any(-1)


@own_words
def rank_of_label(logits: Num[ArrayLike, "... classes"], labels: Integer[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Return per example how many classes stand before the right one: 0 means that it is the prediction.

    Examples:
        >>> metrics.rank_of_label(jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1]))
        Array([0., 0., 1.], dtype=float32)
    """
    logits, labels, _ = checked(logits, labels, None)
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))
    inside = jnp.clip(labels, 0, logits.shape[-1] - 1)[..., None]
    own = jnp.take_along_axis(logits, inside, -1)
    before = (logits > own) | ((logits == own) & (classes < inside))
    return jnp.where(valid(logits, labels), before.sum(-1).astype(wide_type(logits)), jnp.nan)


@own_words
def accuracy(
    logits: Num[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Ratio:
    """Share of examples whose largest logit is the label's; see `top_k_accuracy`.

    Examples:
        >>> metrics.ratio(metrics.accuracy(jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1])))
        Array(0.6666667, dtype=float32)
    """
    return top_k_accuracy(logits, labels, k=1, weights=weights)


@own_words
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

    Examples:
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1])
        >>> metrics.ratio(metrics.top_k_accuracy(logits, labels, k=2))
        Array(1., dtype=float32)
    """
    logits, labels, weights = checked(logits, labels, weights)
    _check_k(k, logits.shape[-1])
    rank = rank_of_label(logits, labels)
    return mean(right(rank, k), weights=weights)


def right(rank: Array, k: int) -> Array:
    """Return 1 where the label is among the first k, else 0; NaN where it has no rank."""
    return jnp.where(jnp.isnan(rank), rank, (rank < k).astype(rank.dtype))


def _check_k(k, classes):
    if not isinstance(k, int | np.integer) or not 1 <= k <= classes:
        raise ValueError(f"k: got {k}, allowed are ints from 1 to the number of classes, {classes}")


@own_words
def top_k_classes(
    logits: Float[ArrayLike, "... classes"], *, k: int = 3
) -> tuple[Int[Array, "... k"], Float[Array, "... k"]]:
    """List the k most probable classes of each example and their softmax probabilities, best first.

    The order is that of the logits, also where probabilities round to the same number or to 0.

    Examples:
        >>> metrics.top_k_classes(jnp.array([0.0, 3.0, 1.0]), k=2)
        (Array([1, 2], dtype=int32), Array([0.8437947 , 0.11419519], dtype=float32))
    """
    numerics.refuse_complex(logits=logits)
    logits = jnp.asarray(logits)
    _check_k(k, logits.shape[-1])
    _, classes = jax.lax.top_k(jnp.where(logits == 0, 0, logits), k)  # which would rank −0 below 0
    return classes, jnp.take_along_axis(jax.nn.softmax(numerics.widen(logits)), classes, -1)


@own_words
def confusion_matrix(
    logits: Num[ArrayLike, "... classes"],
    labels: Integer[ArrayLike, "..."],
    *,
    weights: Num[ArrayLike, "..."] | None = None,
) -> Float[Array, "classes classes"]:
    """Count examples by class and prediction: entry (i, j) is the weight of class i that was called j.

    Arguments as in `top_k_accuracy`. One impossible label or NaN logit of weight other than 0 turns the whole
    matrix to NaN, for there is no entry where it belongs.

    Examples:
        >>> metrics.confusion_matrix(jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1]))
        Array([[1., 0.],
               [1., 1.]], dtype=float32)
    """
    logits, labels, weights = checked(logits, labels, weights)
    n = logits.shape[-1]
    cells = jnp.clip(labels, 0, n - 1) * n + logits.argmax(-1)
    weights = jnp.where(valid(logits, labels) | (weights == 0), weights, jnp.nan)
    lost = jnp.where(jnp.isnan(weights).any(), jnp.nan, 0)
    return jnp.zeros(n * n, weights.dtype).at[cells.ravel()].add(weights.ravel()).reshape(n, n) + lost


@own_words
def scores(confusion: Num[ArrayLike, "... classes classes"]) -> Scores:
    """Turn a confusion matrix into precision, recall and F1 per class, 0 where a share of nothing is asked.

    Their means over the classes are the macro averages.

    Examples:
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), jnp.array([0, 1, 1])
        >>> metrics.scores(metrics.confusion_matrix(logits, labels)).recall
        Array([1. , 0.5], dtype=float32)
    """
    numerics.refuse_complex(confusion=confusion)
    confusion = jnp.asarray(confusion, wide_type(confusion))
    right = jnp.diagonal(confusion, axis1=-2, axis2=-1)
    called, support = confusion.sum(-2), confusion.sum(-1)
    return Scores(_share(right, called), _share(right, support), _share(2 * right, called + support), support)


def _share(part, whole):
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))
