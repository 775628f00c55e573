"""Checks and masks that the losses share: shapes that fit exactly, labels that can be, examples that count."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float

from jaxdl import numerics

Where = Bool[ArrayLike, "..."] | None
Weights = Float[ArrayLike, "..."] | None


def widen_pair(
    predictions: ArrayLike, targets: ArrayLike, names: tuple[str, str] = ("predictions", "targets")
) -> tuple[Array, Array, jnp.dtype]:
    """Return both in at least float32, and the dtype of the result.

    Raises:
        ValueError: the shapes differ, or one of the two is complex.
    """
    if jnp.shape(predictions) != jnp.shape(targets):
        raise ValueError(
            f"{names[1]}: got shape {jnp.shape(targets)}, must be the shape of {names[0]}, {jnp.shape(predictions)}"
        )
    numerics.refuse_complex(**{names[0]: predictions, names[1]: targets})
    dtype = numerics.result_dtype(predictions, targets)
    wide = numerics.wide_dtype(dtype)
    return jnp.asarray(predictions, wide), jnp.asarray(targets, wide), dtype


def check_number(name: str, value: Any, least: int, *, above: bool = False) -> None:
    """Raise ValueError for a Python number that is too small, without a look at arrays, which may be traced."""
    if isinstance(value, Real) and not (float(value) > least or (not above and float(value) == least)):
        raise ValueError(f"{name}: got {value}, must be {'above' if above else 'at least'} {least}")


def mask_of(where: Where, shape: tuple[int, ...]) -> Array | None:
    """Return the mask as an array, or None where there is none.

    Raises:
        ValueError: the mask has another shape than the result, or holds no bools.
    """
    if where is None:
        return None
    where = jnp.asarray(where)
    if where.shape != tuple(shape) or where.dtype != bool:
        raise ValueError(
            f"where: got shape {where.shape} and dtype {where.dtype}, allowed are bools of the result's shape, {shape}"
        )
    return where


def only(mask: Array | None, values: Array, otherwise: ArrayLike = 0) -> Array:
    """Return the values that the mask keeps, and `otherwise` in place of the others."""
    if mask is None:
        return values
    mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    return jnp.where(mask, values, jnp.asarray(otherwise, values.dtype))


def nan_unless(valid: Array, labels: Array) -> Array:
    """Put NaN in place of labels that cannot be."""
    return jnp.where(valid, labels, jnp.nan)


def shares(labels: Array) -> Array:
    """Return labels in [0, 1], or NaN for all of them if one lies outside."""
    return nan_unless(((labels >= 0) & (labels <= 1)).all(), labels)


def without_infinity(share: Array, surprise: Array) -> Array:
    """Return the surprise, with 0 in place of infinity where its share is 0, so that their product is 0."""
    return jnp.where((share == 0) & jnp.isinf(surprise), 0, surprise)


def certain_logit(dtype: DTypeLike) -> float:
    """Return a logit whose sigmoid is 1 and that of its negative 0, both by a margin."""
    return -2 * math.log(float(jnp.finfo(dtype).tiny))


def weights_of(name: str, weights: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Broadcast weights over the axes of `shape` that stand before their own.

    Raises:
        ValueError: the weights' shape is not that of the last axes, or they are complex.
    """
    numerics.refuse_complex(**{name: weights})
    weights = jnp.asarray(weights, dtype)
    if weights.ndim > len(shape) or weights.shape != shape[len(shape) - weights.ndim :]:
        raise ValueError(f"{name}: got shape {weights.shape}, must be () or that of the last axes of {shape}")
    return jnp.broadcast_to(weights, shape)


def class_weights_of(weights: Weights, scores: Array) -> Array | None:
    """Return weights `(classes,)` broadcast to the scores, or None where there are none.

    Raises:
        ValueError: there is not one weight per class.
    """
    if weights is None:
        return None
    if jnp.shape(weights) != scores.shape[-1:]:
        raise ValueError(
            f"class_weights: got shape {jnp.shape(weights)}, must be one weight per class, {scores.shape[-1:]}"
        )
    return weights_of("class_weights", weights, scores.shape, scores.dtype)


def class_scores(where: Where, **named: ArrayLike) -> tuple[Array, jnp.dtype, Array | None]:
    """Return one argument with the classes last in at least float32, the dtype of the result, and the mask.

    Rows that the mask leaves out are 0.
    """
    ((_, values),) = named.items()
    numerics.refuse_complex(**named)
    mask = mask_of(where, jnp.shape(values)[:-1])
    return only(mask, numerics.widen(values)), numerics.result_dtype(values), mask


def distribution(labels: ArrayLike, outputs: Array, name: str, mask: Array | None) -> Array:
    """Return labels as a distribution over the last axis of outputs: class numbers become one-hot rows.

    Labels that the mask leaves out become class 0, or no class.

    Raises:
        ValueError: labels of another shape, class numbers that are not integers, or outputs without a class.
    """
    shape = jnp.shape(outputs)
    numerics.refuse_complex(labels=labels)
    labels = jnp.asarray(labels)
    if not shape or not shape[-1]:
        raise ValueError(f"{name}: got shape {shape}, needs an axis of at least one class")
    if labels.shape == shape:
        return only(mask, labels.astype(outputs.dtype))
    if labels.shape != shape[:-1]:
        raise ValueError(f"labels: got shape {labels.shape}, allowed for {name} {shape} are {shape[:-1]} and {shape}")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: got dtype {labels.dtype} for shape {shape[:-1]}, class numbers are integers")
    labels = only(mask, numerics.class_numbers(labels))
    # not jax.nn.one_hot, whose row of zeros would make the loss of an impossible label 0
    one_hot = labels[..., None] == jnp.arange(shape[-1], dtype=labels.dtype).reshape((1,) * labels.ndim + (-1,))
    possible = (labels >= 0) & (labels < shape[-1])
    return nan_unless(possible[..., None], one_hot.astype(outputs.dtype))
