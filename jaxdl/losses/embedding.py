"""Losses of vectors, by their angles and distances along the last axis, one number per example."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from jaxdl import numerics
from jaxdl.losses.checking import Where, check_number, mask_of, only, shares, widen_pair
from jaxdl.words import own_words

_SHORT = 1e-30  # XLA on CPU treats subnormals as 0, and derivatives of a direction grow with the inverse square


@own_words
def cosine_distance(
    predictions: Float[ArrayLike, "... features"], targets: Shaped[ArrayLike, "... features"], *, where: Where = None
) -> Float[Array, "..."]:
    """Cosine distance 1 − u·v / (‖u‖ ‖v‖) of two vectors, from 0 (one direction) to 2 (opposite ones).

    Args:
        predictions: u, features last.
        targets: v, of the same shape.
        where: the examples that count, of the shape of predictions without the last axis; see `jaxdl.losses`.

    Raises:
        ValueError: the shapes differ or have no feature, or an argument is complex.

    A zero vector (no entry above 1e-30) has distance 1 from every other, with gradient 0.

    Example:
        `cosine_distance(jnp.array([1.0, 0.0]), jnp.array([0.0, 3.0]))` is 1.

    Examples:
        >>> losses.cosine_distance(jnp.array([[1.0, 0.0], [3.0, 4.0]]), jnp.array([[0.0, 2.0], [3.0, 4.0]]))
        Array([1., 0.], dtype=float32)
    """
    u, v, dtype = widen_pair(predictions, targets)
    mask = _mask(where, u, "predictions")
    (u, none), (v, nothing) = _direction(only(mask, u)), _direction(only(mask, v))
    # ½ ‖u − v‖² of unit vectors is 1 − u·v without the cancellation
    distance = 0.5 * jnp.square(u - v).sum(-1) + 0.5 * (none + nothing)
    return only(mask, distance.astype(dtype))


@own_words
def contrastive(
    first: Float[ArrayLike, "... features"],
    second: Float[ArrayLike, "... features"],
    labels: Shaped[ArrayLike, "..."],
    *,
    margin: ArrayLike = 1.0,
    where: Where = None,
) -> Float[Array, "..."]:
    """Contrastive loss of pairs, ½ y D² + ½ (1 − y) max(0, m − D)², with the distance D = ‖a − b‖.

    Args:
        first: a, embeddings with the features last.
        second: b, of the same shape.
        labels: y in [0, 1], 1 for a pair that belongs together; of the shape without the last axis. One outside
            makes all results NaN.
        margin: m, the distance from which pairs that do not belong together cost nothing.
        where: the pairs that count, of the labels' shape; see `jaxdl.losses`.

    Raises:
        ValueError: the shapes do not fit, or an argument is complex.

    The gradient of two embeddings that coincide is 0: no direction leads apart.

    Example:
        `contrastive(jnp.array([0.0, 0.0]), jnp.array([0.3, 0.4]), 0)` is ½ (1 − 0.5)² = 0.125.

    Reference: Hadsell, Chopra and LeCun, Dimensionality reduction by learning an invariant mapping, 2006.
    https://doi.org/10.1109/CVPR.2006.100

    Examples:
        >>> losses.contrastive(jnp.array([[0.0, 0.0]]), jnp.array([[0.3, 0.4]]), jnp.array([1]))
        Array([0.125], dtype=float32)
    """
    a, b, dtype = widen_pair(first, second, ("first", "second"))
    mask = _mask(where, a, "first")
    if jnp.shape(labels) != a.shape[:-1]:
        raise ValueError(f"labels: got shape {jnp.shape(labels)}, must be one per pair, {a.shape[:-1]}")
    numerics.refuse_complex(labels=labels)
    y = shares(only(mask, jnp.asarray(labels, a.dtype)))
    difference = only(mask, a) - only(mask, b)
    gap = jnp.asarray(margin, a.dtype) - _norm(difference)
    together, apart = jnp.square(difference).sum(-1), jnp.square(jnp.where(gap <= 0, 0, gap))
    loss = 0.5 * (y * together + (1 - y) * apart)
    return only(mask, loss.astype(dtype))


@own_words
def triplet(
    anchors: Float[ArrayLike, "... features"],
    positives: Float[ArrayLike, "... features"],
    negatives: Float[ArrayLike, "... features"],
    *,
    margin: ArrayLike = 1.0,
    squared: bool = False,
    where: Where = None,
) -> Float[Array, "..."]:
    """Triplet loss max(0, ‖a − p‖ − ‖a − n‖ + m): the positive shall be nearer than the negative by a margin.

    Args:
        anchors: a, embeddings with the features last.
        positives: p, of the same shape: examples of the anchors' classes.
        negatives: n, of the same shape: examples of other classes.
        margin: m.
        squared: compare squared distances, as FaceNet does.
        where: the triplets that count, of the shape without the last axis; see `jaxdl.losses`.

    Raises:
        ValueError: the shapes differ, or an argument is complex.

    Example:
        `triplet(jnp.zeros(2), jnp.array([0.0, 1.0]), jnp.array([0.6, 0.8]))` is 1: both are equally far.

    Reference: Schroff, Kalenichenko and Philbin, FaceNet, 2015. https://arxiv.org/abs/1503.03832

    Examples:
        >>> losses.triplet(jnp.array([[0.0, 0.0]]), jnp.array([[0.6, 0.8]]), jnp.array([[0.3, 0.4]]))
        Array([1.5], dtype=float32)
    """
    a, p, dtype = widen_pair(anchors, positives, ("anchors", "positives"))
    _, n, other = widen_pair(anchors, negatives, ("anchors", "negatives"))
    dtype = jnp.promote_types(dtype, other)
    mask = _mask(where, a, "anchors")
    a, p, n = (only(mask, x.astype(numerics.wide_dtype(dtype))) for x in (a, p, n))
    near, far = (jnp.square(d).sum(-1) if squared else _norm(d) for d in (a - p, a - n))
    gap = near - far + jnp.asarray(margin, near.dtype)
    return only(mask, jnp.where(gap <= 0, 0, gap).astype(dtype))


@own_words
def info_nce(
    queries: Float[ArrayLike, "n features"],
    keys: Float[ArrayLike, "n features"],
    *,
    temperature: ArrayLike = 0.1,
    where: Where = None,
) -> Float[Array, " n"]:
    """InfoNCE, the contrastive loss within a batch: −ln of softmax_j(cos(q_i, k_j) / τ) at j = i.

    It is the one loss here that mixes examples: the other keys of the batch are a query's negatives.

    Args:
        queries: q `(n, features)`.
        keys: k, of the same shape; row i belongs to query i.
        temperature: τ > 0. CLIP learns it and adds the loss with both arguments exchanged.
        where: the pairs that count `(n,)`; the others are no negatives, either.

    Raises:
        ValueError: the shapes differ or are not of rank 2, an argument is complex, or a Python number τ is not
            positive.

    Example:
        Of n equal pairs every loss is ln n.

    Reference: van den Oord, Li and Vinyals, Representation learning with contrastive predictive coding, 2018.
    https://arxiv.org/abs/1807.03748. Radford et al., CLIP, 2021. https://arxiv.org/abs/2103.00020

    Examples:
        >>> losses.info_nce(jnp.eye(2), jnp.eye(2), temperature=1.0)
        Array([0.31326163, 0.31326163], dtype=float32)
    """
    check_number("temperature", temperature, 0, above=True)
    q, k, dtype = widen_pair(queries, keys, ("queries", "keys"))
    if q.ndim != 2:
        raise ValueError(f"queries: got shape {q.shape}, must be (n, features)")
    mask = _mask(where, q, "queries")
    q, k = _direction(only(mask, q))[0], _direction(only(mask, k))[0]
    logits = jnp.matmul(q, k.T, precision=lax.Precision.HIGHEST) / jnp.asarray(temperature, q.dtype)
    if mask is not None:
        logits = jnp.where(mask[None, :], logits, -jnp.inf)
        logits = jnp.where(mask[:, None], logits, 0)  # a row of −∞ alone would be NaN
    own = jnp.diagonal(logits)
    return only(mask, (jax.nn.logsumexp(logits, axis=-1) - own).astype(dtype) if len(q) else own.astype(dtype))


def _mask(where: Where, vectors: Array, name: str) -> Array | None:
    """Return the mask of vectors, having checked that they have features."""
    if not vectors.ndim or not vectors.shape[-1]:
        raise ValueError(f"{name}: got shape {vectors.shape}, needs an axis of at least one feature")
    return mask_of(where, vectors.shape[:-1])


def _scaled(vectors: Array) -> tuple[Array, Array]:
    """Return vectors divided by their largest entry, whose squares do not overflow, and that entry, a constant.

    A vector of entries up to 1e-30 is returned as 0.
    """
    largest = lax.stop_gradient(jnp.abs(vectors).max(-1, keepdims=True))
    short = largest <= _SHORT
    scale = jnp.where(short | (largest == jnp.inf), 1, largest)
    return jnp.where(short, 0, vectors / scale), scale


def _norm(vectors: Array) -> Array:
    """Return ‖x‖, with gradient 0 at 0."""
    scaled, scale = _scaled(vectors)
    return scale[..., 0] * numerics.safe_sqrt(jnp.square(scaled).sum(-1))


def _direction(vectors: Array) -> tuple[Array, Array]:
    """Return x / ‖x‖, and 1 where x is 0, which has no direction and stays 0, else 0."""
    scaled, _ = _scaled(vectors)
    norm = numerics.safe_sqrt(jnp.square(scaled).sum(-1, keepdims=True))
    none = norm == 0
    return scaled * jnp.where(none, 0, 1 / jnp.where(none, 1, norm)), none[..., 0].astype(vectors.dtype)
