"""Metrics of real targets."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from jaxdl import numerics
from jaxdl.metrics.sums import added, added_to_zero, weights_of, wide_type
from jaxdl.words import own_words


class RegressionSums(NamedTuple):
    """Sums over the examples, from `regression_sums`. `+` adds two of them; `regression_scores` divides."""

    absolute_error: Float[Array, "*outputs"]  # Σ w |ŷ − y|
    squared_error: Float[Array, "*outputs"]  # Σ w (ŷ − y)²
    target: Float[Array, "*outputs"]  # Σ w (y − c)
    squared_target: Float[Array, "*outputs"]  # Σ w (y − c)²
    count: Float[Array, "*outputs"]  # Σ w

    def __add__(self, others: object) -> RegressionSums:  # pyright: ignore[reportIncompatibleMethodOverride]
        return added(self, others)

    __radd__ = added_to_zero


class RegressionScores(NamedTuple):
    """Figures per output, from `regression_scores`; their means over the outputs are the usual single figures."""

    mean_absolute_error: Float[Array, "*outputs"]
    mean_squared_error: Float[Array, "*outputs"]
    r_squared: Float[Array, "*outputs"]  # 1 − Σ (ŷ − y)² / Σ (y − ȳ)², NaN for a constant target


@own_words
def regression_sums(
    predictions: Num[ArrayLike, "n *outputs"],
    targets: Num[ArrayLike, "n *outputs"],
    *,
    center: Num[ArrayLike, "..."] = 0.0,
    weights: Num[ArrayLike, " n"] | None = None,
) -> RegressionSums:
    """Sum errors and targets over the examples, the first axis; each output is summed by itself.

    Args:
        predictions: ŷ, `(n,)` or `(n, ...)`.
        targets: y, of the same shape.
        center: c, a number or one per output, near the targets' mean and the same for all batches: the variance is
            a difference of sums, which for targets far from c loses digits: of float32's seven, 10³ ± 1 keeps one or
            two and 10⁴ ± 1 none.
        weights: per example, 1 by default, 0 for padding, which then may hold NaN.

    Raises:
        ValueError: the shapes differ or have no axis of examples, weights of another shape, or a complex argument.

    Examples:
        >>> metrics.regression_sums(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0]))._fields
        ('absolute_error', 'squared_error', 'target', 'squared_target', 'count')
    """
    numerics.refuse_complex(predictions=predictions, targets=targets, center=center)
    if not jnp.ndim(targets) or jnp.shape(predictions) != jnp.shape(targets):
        raise ValueError(
            f"targets: got shape {jnp.shape(targets)}, must be the shape of predictions {jnp.shape(predictions)}, "
            "with an axis of examples"
        )
    if weights is not None and jnp.shape(weights) != jnp.shape(targets)[:1]:
        raise ValueError(f"weights: got shape {jnp.shape(weights)}, must be one per example, {jnp.shape(targets)[:1]}")
    dtype = wide_type(predictions)
    predictions, targets = jnp.asarray(predictions, dtype), jnp.asarray(targets, dtype)
    w = weights_of(weights, targets.shape, dtype, "targets")
    error = jnp.where(w == 0, 0, predictions - targets)
    center = jnp.broadcast_to(jnp.asarray(center, dtype), targets.shape[1:])
    away = jnp.where(w == 0, 0, targets - center[None])
    parts = (numerics.safe_abs(error), jnp.square(error), away, jnp.square(away), jnp.ones_like(error))
    return RegressionSums(*((w * part).sum(0) for part in parts))


@own_words
def regression_scores(sums: RegressionSums) -> RegressionScores:
    """Divide: return the mean absolute and squared error and R² of each output, NaN if nothing was counted.

    Example:
        `regression_scores(sum(regression_sums(p, y) for p, y in batches)).r_squared`

    Examples:
        >>> metrics.regression_scores(metrics.regression_sums(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))._fields
        ('mean_absolute_error', 'mean_squared_error', 'r_squared')
    """
    numerics.refuse_complex(**sums._asdict())
    spread = sums.squared_target - jnp.square(sums.target) / sums.count
    spread = jnp.where(spread == 0, jnp.nan, spread)
    return RegressionScores(
        sums.absolute_error / sums.count, sums.squared_error / sums.count, 1 - sums.squared_error / spread
    )
