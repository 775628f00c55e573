"""Linear probes: how well a linear classifier reads the label from the features of a layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num

from jaxdl import numerics

__all__ = ["linear_probe"]


def linear_probe(
    features: Num[ArrayLike, "n d"],
    labels: Int[ArrayLike, " n"],
    others: Num[ArrayLike, "m d"],
    *,
    classes: int,
    penalty: ArrayLike = 0.01,
) -> Float[Array, "m c"]:
    """Fit a ridge classifier to features, and return its scores of others: the largest one names the class.

    W minimises 1/n Σ ‖Wᵀz − (y − ȳ)‖² + λ ‖W‖², where z are the standardised features, y one-hot labels and ȳ their
    mean; the score is Wᵀz + ȳ. The error of a probe says what is linearly readable, not how much information there is:
    by the data processing inequality the latter cannot grow from layer to layer, while the former can.
    Arithmetic and scores are of float32 or wider, and a label that is no class makes all scores NaN.

    Args:
        features: one row per example that the probe learns from.
        labels: their classes, from 0 on.
        others: features of other examples, which are standardised by the former ones.
        classes: number of classes c.
        penalty: λ, above 0; choose it on development examples, as ``vmap`` over penalties makes easy.

    Raises:
        ValueError: for shapes that do not match, no examples, labels that are no integers, complex features, fewer than
            two classes, or a ``penalty`` that is not above 0.

    Reference: G. Alain, Y. Bengio, Understanding intermediate layers using linear classifier probes, 2016,
    https://arxiv.org/abs/1610.01644.

    Examples:
        With z = ∓1 and λ = 1, W = (−¼, ¼):

        >>> analysis.linear_probe(jnp.array([[-1.0], [1.0]]), jnp.arange(2), jnp.array([[2.0]]), classes=2, penalty=1.0)
        Array([[0., 1.]], dtype=float32)

    [Lecture row I]
    """
    numerics.refuse_complex(features=features, others=others)
    dtype = numerics.wide_dtype(numerics.result_dtype(features))
    features, labels, others = jnp.asarray(features, dtype), jnp.asarray(labels), jnp.asarray(others, dtype)
    if features.ndim != 2 or labels.shape != features.shape[:1] or others.shape[1:] != features.shape[1:]:
        raise ValueError(
            f"features, labels, others have the shapes {features.shape}, {labels.shape}, {others.shape}; needed are "
            "(n, d), (n,), (m, d)"
        )
    if not len(features):
        raise ValueError("features has no rows; needed is at least one")
    if classes < 2:
        raise ValueError(f"classes={classes} is not allowed: it must be at least 2")
    if isinstance(penalty, int | float) and not penalty > 0:
        raise ValueError(f"penalty={penalty} is not allowed: it must be above 0")
    z, others = _standardised(features, others)
    labels = numerics.class_numbers(labels)
    valid = (labels >= 0) & (labels < classes)
    targets = jnp.where(valid[:, None], jax.nn.one_hot(labels, classes, dtype=dtype), jnp.nan)
    average = targets.mean(0, keepdims=True)
    with jax.default_matmul_precision("highest"):
        gram = z.T @ z / len(z) + jnp.asarray(penalty, dtype) * jnp.eye(z.shape[1], dtype=dtype)
        weights = jnp.linalg.solve(gram, z.T @ (targets - average) / len(z))
        return others @ weights + average


def _standardised(features: Array, others: Array) -> tuple[Array, Array]:
    """Return both, standardised by the first, whose numbers may be as large or small as floats are."""
    first = features[:1]  # less it, a constant feature is exactly 0
    size = jnp.abs(features - first).max(0, keepdims=True)
    size = jnp.where(size > 0, size, 1)
    x, y = (features - first) / size, (others - first) / size
    mean, deviation = x.mean(0, keepdims=True), x.std(0, keepdims=True)
    scale = jnp.where(deviation > 0, deviation, 1.0)  # a dead unit's feature stays 0
    return (x - mean) / scale, (y - mean) / scale
