"""Sums over examples that add by `+`, and the checks of weights that the metrics share."""

from __future__ import annotations

import operator
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from jaxdl import numerics
from jaxdl.words import own_words

T = TypeVar("T")


def added(sums: T, others: object) -> T:
    """Add two collections of sums field by field; in `__add__` it replaces the concatenation of tuples.

    Raises:
        TypeError: the other operand is another kind of sums, or none.
    """
    if type(others) is not type(sums):
        raise TypeError(f"{type(sums).__name__} adds to its own kind alone, got {type(others).__name__}")
    return jax.tree.map(operator.add, sums, others)


def added_to_zero(sums: T, zero: object) -> T:
    """Return the sums: as `__radd__` this lets `sum` start from 0."""
    if isinstance(zero, int) and zero == 0:
        return sums
    raise TypeError(f"{type(sums).__name__} adds to its own kind alone, got {type(zero).__name__}")


class Ratio(NamedTuple):
    """A weighted mean in the making. `+` adds two of them; `ratio` divides."""

    total: Float[Array, "..."]  # Σ w v
    count: Float[Array, "..."]  # Σ w

    def __add__(self, others: object) -> Ratio:  # pyright: ignore[reportIncompatibleMethodOverride]
        return added(self, others)

    __radd__ = added_to_zero


def wide_type(values: ArrayLike) -> jnp.dtype:
    """Return the dtype of sums: float32, or float64 for float64."""
    return numerics.wide_dtype(numerics.result_dtype(values))


def weights_of(weights: ArrayLike | None, shape: tuple[int, ...], dtype: jnp.dtype, of: str = "labels") -> Array:
    """Return one weight per entry: 1 where there are none, else those of the leading axes, broadcast over the last.

    Raises:
        ValueError: the weights have another shape than the leading axes, or are complex.
    """
    numerics.refuse_complex(weights=weights)
    if weights is None:
        return jnp.ones(shape, dtype)
    weights = jnp.asarray(weights, dtype)
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(f"weights: got shape {weights.shape}, must be that of {of}, {shape}, or its first axes")
    return jnp.broadcast_to(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


@own_words
def mean(values: Num[ArrayLike, "..."], *, weights: Num[ArrayLike, "..."] | None = None) -> Ratio:
    """Sum values over examples: Σ w v and Σ w. A value of weight 0 does not count, even if it is NaN.

    Examples:
        >>> metrics.ratio(metrics.mean(jnp.array([1.0, 5.0]), weights=jnp.array([3, 1])))
        Array(2., dtype=float32)
    """
    numerics.refuse_complex(values=values)
    values = jnp.asarray(values, wide_type(values))
    w = weights_of(weights, values.shape, values.dtype, "values")
    return Ratio(jnp.where(w == 0, 0, w * values).sum(), w.sum())


@own_words
def ratio(sums: Ratio) -> Float[Array, "..."]:
    """Divide: return the weighted mean that a `Ratio` stands for, NaN if nothing was counted.

    Examples:
        >>> metrics.ratio(metrics.Ratio(jnp.array(3.0), jnp.array(4.0)))
        Array(0.75, dtype=float32, weak_type=True)
    """
    numerics.refuse_complex(total=sums.total, count=sums.count)
    return sums.total / sums.count
