"""Linear probes: how well a linear classifier reads the label from the features of a layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

__all__ = ["linear_probe"]


def linear_probe(
    features: Float[ArrayLike, "n d"],
    labels: Int[ArrayLike, " n"],
    others: Float[ArrayLike, "m d"],
    *,
    classes: int,
    penalty: ArrayLike = 0.01,
) -> Float[Array, "m c"]:
    """Fit a ridge classifier to features, and return its scores of others: the largest one names the class.

    W minimises 1/n Σ ‖Wᵀz − (y − ȳ)‖² + λ ‖W‖², where z are the standardised features, y one-hot labels and ȳ their
    mean; the score is Wᵀz + ȳ. The error of a probe says what is linearly readable, not how much information there is:
    by the data processing inequality the latter cannot grow from layer to layer, while the former can.

    Args:
        features: one row per example that the probe learns from.
        labels: their classes, from 0 on.
        others: features of other examples, which are standardised by the former ones.
        classes: number of classes c.
        penalty: λ, above 0; choose it on development examples, as ``vmap`` over penalties makes easy.

    Raises:
        ValueError: for shapes that do not match, or fewer than two classes.

    Reference: G. Alain, Y. Bengio, Understanding intermediate layers using linear classifier probes, 2016,
    https://arxiv.org/abs/1610.01644.

    Examples:
        With z = ∓1 and λ = 1, W = (−¼, ¼):

        >>> analysis.linear_probe(jnp.array([[-1.0], [1.0]]), jnp.arange(2), jnp.array([[2.0]]), classes=2, penalty=1.0)
        Array([[0., 1.]], dtype=float32)

    [Lecture row I]
    """
    features, labels, others = jnp.asarray(features), jnp.asarray(labels), jnp.asarray(others)
    if features.ndim != 2 or labels.shape != features.shape[:1] or others.shape[1:] != features.shape[1:]:
        raise ValueError(
            f"features, labels, others have the shapes {features.shape}, {labels.shape}, {others.shape}; needed are "
            "(n, d), (n,), (m, d)"
        )
    if classes < 2:
        raise ValueError(f"classes={classes} is not allowed: it must be at least 2")
    mean, deviation = features.mean(0, keepdims=True), features.std(0, keepdims=True)
    scale = jnp.where(deviation > 0, deviation, 1.0)  # a dead unit's feature stays 0
    z, targets = (features - mean) / scale, jax.nn.one_hot(labels, classes, dtype=features.dtype)
    average = targets.mean(0, keepdims=True)
    with jax.default_matmul_precision("highest"):
        gram = z.T @ z / len(z) + penalty * jnp.eye(z.shape[1], dtype=z.dtype)
        weights = jnp.linalg.solve(gram, z.T @ (targets - average) / len(z))
        return (others - mean) / scale @ weights + average
