"""Measures beside the loss, which the loss determines unless the caller passes a function.

A measure is ``(outputs, labels) -> {name: values}`` with values ``(n, ...)``, one per example or output. The steps
average them over each example's own axes and sum them by weight, and `evaluate` divides.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl import losses

Measure = Callable[[Any, Any], dict[str, Array]]


def hits(outputs: Array, labels: Array) -> dict[str, Array]:
    """Return "correct": whether the largest output is at the label, or at the largest entry of a soft label."""
    given = labels if labels.ndim < outputs.ndim else jnp.argmax(labels, -1)
    return {"correct": jnp.argmax(outputs, -1) == given}


def binary_hits(outputs: Array, labels: Array, *, threshold: float, middle: float) -> dict[str, Array]:
    """Return "correct" per output: whether it exceeds ``threshold`` exactly if the label exceeds ``middle``."""
    return {"correct": (outputs > threshold) == (labels > middle)}


def errors(outputs: Array, targets: Array) -> dict[str, Array]:
    """Return "squared_error" and "absolute_error" per output."""
    error = outputs - targets
    return {"squared_error": jnp.square(error), "absolute_error": jnp.abs(error)}


def nothing(outputs: Any, labels: Array) -> dict[str, Array]:
    """Return no measure, for losses of vectors and sequences, which are measured by the loss alone."""
    del outputs, labels
    return {}


_OF_LOGITS = functools.partial(binary_hits, threshold=0.0, middle=0.5)
_OF_PROBABILITIES = functools.partial(binary_hits, threshold=0.5, middle=0.5)
_OF_SIGNS = functools.partial(binary_hits, threshold=0.0, middle=0.0)

MEASURES: Final[dict[Callable[..., Array], Measure]] = {
    losses.softmax_cross_entropy: hits,
    losses.softmax_focal: hits,
    losses.nll: hits,
    losses.kl_divergence: hits,
    losses.margin: hits,
    losses.sigmoid_binary_cross_entropy: _OF_LOGITS,
    losses.sigmoid_focal: _OF_LOGITS,
    losses.binary_cross_entropy: _OF_PROBABILITIES,
    losses.hinge: _OF_SIGNS,
    losses.perceptron: _OF_SIGNS,
    losses.squared_error: errors,
    losses.half_squared_error: errors,
    losses.absolute_error: errors,
    losses.squared_log_error: errors,
    losses.huber: errors,
    losses.log_cosh: errors,
    losses.cosine_distance: nothing,
    losses.ctc: nothing,
}
"""The measure of each loss of outputs and labels. Losses of `losses.embedding` with more arguments have none."""

_LABELS: Final = {
    _OF_LOGITS: ("in [0, 1]", lambda labels: (labels >= 0) & (labels <= 1)),
    _OF_PROBABILITIES: ("in [0, 1]", lambda labels: (labels >= 0) & (labels <= 1)),
    _OF_SIGNS: ("-1 or 1", lambda labels: np.abs(labels) == 1),
    errors: ("finite", np.isfinite),
    hits: ("at least 0", lambda labels: labels >= 0),
    nothing: ("finite", np.isfinite),
}


def measure_of(loss: Callable[..., Any]) -> Measure:
    """Return the measure for a loss, which may be a ``functools.partial`` of one of `jaxdl.losses`.

    For an unknown loss it is `hits` if labels are class numbers, that is ``(n, ...)`` integers for outputs
    ``(n, ..., classes)``, and `nothing` otherwise.
    """
    known = _known(loss)
    return _guessed if known is None else known


def check_labels(loss: Callable[..., Any], labels: ArrayLike, *, ignore_label: int | None = None) -> None:
    """Raise ValueError for labels that a loss does not accept; call this once, on the host, before training.

    A compiled step cannot check values; in it, labels out of range make the loss NaN.

    Args:
        loss: one of `jaxdl.losses`, or a partial of one; any other loss passes unchecked.
        labels: labels of the whole data set, of any shape.
        ignore_label: a label to exclude from the check, as in `train_step`.

    Raises:
        ValueError: naming the loss, the first label that does not fit and the labels allowed.

    Examples:
        >>> from jaxdl import losses
        >>> training.check_labels(losses.binary_cross_entropy, np.array([0, 1, 2]))
        Traceback (most recent call last):
            ...
        ValueError: labels: number 2 is 2; for binary_cross_entropy labels must be in [0, 1]
    """
    known = _known(loss)
    if known is None:
        return
    values = np.asarray(labels).ravel()
    allowed, fits = _LABELS[known]
    bad = ~fits(values) if ignore_label is None else ~fits(values) & (values != ignore_label)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        name = _function(loss).__name__
        raise ValueError(f"labels: number {where} is {values[where]}; for {name} labels must be {allowed}")


def counted(label: Array, ignore_label: int) -> Array:
    """Return which labels count, that is differ from ``ignore_label``."""
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(f"ignore_label={ignore_label}: it is for integer labels, and these are {label.dtype}")
    if (
        int(ignore_label) != ignore_label
        or not jnp.iinfo(label.dtype).min <= ignore_label <= jnp.iinfo(label.dtype).max
    ):
        raise ValueError(f"ignore_label={ignore_label}: these labels are {label.dtype}, which cannot hold it")
    return label != ignore_label


def check_several(loss: Callable[..., Any], ignore_label: int | None) -> None:
    """Raise ValueError for a tuple or dict of labels where a loss, or ``ignore_label``, is for one array of them."""
    if _known(loss) is not None:
        name = _function(loss).__name__
        raise ValueError(
            f"labels: got several arrays, allowed is one for {name}; a loss of your own, (outputs, labels) -> (n,), "
            "takes them all"
        )
    if ignore_label is not None:
        raise ValueError(f"ignore_label={ignore_label}: it is for one array of labels, and these are several")


def _function(loss: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss


def _known(loss: Callable[..., Any]) -> Measure | None:
    function = _function(loss)
    return next((measure for known, measure in MEASURES.items() if known is function), None)


def _guessed(outputs: Any, labels: Any) -> dict[str, Array]:
    if not isinstance(outputs, Array) or not isinstance(labels, Array) or not jnp.issubdtype(labels.dtype, jnp.integer):
        return {}
    return hits(outputs, labels) if labels.shape == outputs.shape[:-1] and outputs.shape[-1] > 1 else {}
