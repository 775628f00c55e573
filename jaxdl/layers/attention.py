"""Attention over sequences: of one head, of several, and over the keys and values of steps that came before.

Sequences are `(..., t, d)` with any leading dimensions, also none. Scores and softmax are float32 at least.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from jaxdl import numerics, sizes
from jaxdl.words import own_words

__all__ = ["cached_attention", "multi_head_attention", "scaled_dot_product_attention"]

Mask = Bool[ArrayLike, "..."] | None


@own_words
def scaled_dot_product_attention(
    queries: Float[ArrayLike, "*b t d"],
    keys: Float[ArrayLike, "*b s d"],
    values: Float[ArrayLike, "*b s e"],
    mask: Mask = None,
    *,
    causal: bool = False,
    scale: float | Float[Array, ""] | None = None,
) -> Float[Array, "*b t e"]:
    """Weighted means of the values: y = softmax(Q Kᵀ / √d) V, the softmax over the keys that the mask allows.

    Args:
        queries: Q, one per output.
        keys: K, compared with the queries.
        values: V, one per key.
        mask: True where a query may look at a key; broadcasts to `(..., t, s)`. A query without a key gives 0.
        causal: whether query i sees the keys 0, ..., i + s − t alone: as many keys as queries, or older ones before.
        scale: factor on the scores; None for 1/√d.

    Raises:
        ValueError: shapes that do not fit one another.

    Reference: Vaswani et al., Attention is all you need, section 3.2.1, 2017. https://arxiv.org/abs/1706.03762.

    Examples:
        A query of 0 compares all keys alike, and the result is the mean of their values:

        >>> values = jnp.array([[1.0], [3.0]])
        >>> layers.scaled_dot_product_attention(jnp.zeros((1, 2)), jnp.ones((2, 2)), values)
        Array([[2.]], dtype=float32)
    """
    numerics.refuse_complex(queries=queries, keys=keys, values=values)
    queries, keys, values = jnp.asarray(queries), jnp.asarray(keys), jnp.asarray(values)
    _check_shapes(queries, keys, values)
    t, s = queries.shape[-2], keys.shape[-2]
    dtype = numerics.result_dtype(queries, keys, values)
    wide = numerics.wide_dtype(dtype)
    q, k, v = (a.astype(dtype) for a in (queries, keys, values))
    factor = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else jnp.asarray(scale, wide)
    scores = jnp.einsum("...td,...sd->...ts", q, k, preferred_element_type=wide) * factor
    weights = _softmax(scores, _allowed(mask, causal, t, s, scores.shape))
    return jnp.einsum("...ts,...se->...te", weights.astype(dtype), v, preferred_element_type=wide).astype(dtype)


@own_words
def multi_head_attention(
    queries: Float[ArrayLike, "*b t hd"],
    keys: Float[ArrayLike, "*b s hd"],
    values: Float[ArrayLike, "*b s he"],
    mask: Mask = None,
    *,
    heads: int,
    causal: bool = False,
) -> Float[Array, "*b t he"]:
    """Attention of several heads, each on its own neighbouring part of the last axis; their outputs side by side.

    The projections before and after are `dense`; `nn.MultiHeadAttention` has all of them.

    Args:
        queries, keys, values: as in `scaled_dot_product_attention`, projected; the last axes are multiples of `heads`.
        mask: as there; one for all heads, `(..., t, s)`.
        heads: number of heads.
        causal: as there.

    Raises:
        ValueError: as there, or a last axis that `heads` does not divide.

    Reference: Vaswani et al., Attention is all you need, section 3.2.2, 2017. https://arxiv.org/abs/1706.03762.

    Examples:
        >>> x = jnp.ones((5, 4))
        >>> layers.multi_head_attention(x, x, x, heads=2, causal=True).shape
        (5, 4)
    """
    named = {"queries": queries, "keys": keys, "values": values}
    q, k, v = (_split(name, value, heads) for name, value in named.items())
    if mask is not None and jnp.ndim(mask) >= q.ndim:
        allowed = (*q.shape[:-3], q.shape[-2], k.shape[-2])
        raise ValueError(f"mask: got shape {jnp.shape(mask)}, allowed are shapes that broadcast to {allowed}: no heads")
    mask = mask if mask is None or jnp.ndim(mask) < 3 else jnp.expand_dims(jnp.asarray(mask), -3)  # for all heads
    return _merge(scaled_dot_product_attention(q, k, v, mask, causal=causal))


@own_words
def cached_attention(
    queries: Float[ArrayLike, "*b t hd"],
    keys: Float[ArrayLike, "*b t hd"],
    values: Float[ArrayLike, "*b t he"],
    key_cache: Float[ArrayLike, "*b n hd"],
    value_cache: Float[ArrayLike, "*b n he"],
    position: Int[ArrayLike, ""],
    *,
    heads: int,
) -> tuple[Float[Array, "*b t he"], Float[Array, "*b n hd"], Float[Array, "*b n he"]]:
    """Continue causal attention: append the new keys and values to a cache, and look at all that is in it by then.

    Applied to a sequence in pieces, it gives what `multi_head_attention` with `causal=True` gives for the whole.

    Args:
        queries, keys, values: of the t new steps, projected.
        key_cache, value_cache: those of the steps before, n places of which the first `position` are filled.
        position: number of steps before.
        heads: as in `multi_head_attention`.

    Returns:
        Outputs of the new steps, NaN where the cache is too short for them; the caches with the new entries.

    Raises:
        ValueError: as in `multi_head_attention`, or more steps than places.

    Examples:
        The first step of three sees itself alone, and stands in the caches' first place:

        >>> x, cache = jnp.array([[2.0, 5.0]]), jnp.zeros((3, 2))
        >>> y, keys, values = layers.cached_attention(x, x, x, cache, cache, jnp.int32(0), heads=1)
        >>> y
        Array([[2., 5.]], dtype=float32)
        >>> values[0]
        Array([2., 5.], dtype=float32)
    """
    numerics.refuse_complex(queries=queries, keys=keys, values=values, key_cache=key_cache, value_cache=value_cache)
    queries, key_cache, value_cache = jnp.asarray(queries), jnp.asarray(key_cache), jnp.asarray(value_cache)
    position = numerics.class_numbers(jnp.asarray(position))  # 8 bits cannot hold every n, with which it is compared
    t, n = queries.shape[-2], key_cache.shape[-2]
    if t > n:
        raise ValueError(f"key_cache: got {n} places, allowed are at least as many as there are steps, {t}")
    append = lambda cache, new: lax.dynamic_update_slice_in_dim(
        cache, jnp.asarray(new).astype(cache.dtype), position, cache.ndim - 2
    )
    key_cache, value_cache = append(key_cache, keys), append(value_cache, values)
    seen = jnp.arange(n)[None, :] <= position + jnp.arange(t)[:, None]
    y = multi_head_attention(queries, key_cache, value_cache, seen, heads=heads)
    # dynamic_update_slice moves what does not fit, which would overwrite older steps without a word
    return jnp.where(position + t <= n, y, jnp.nan), key_cache, value_cache


def _check_shapes(queries: Array, keys: Array, values: Array) -> None:
    for name, array in (("queries", queries), ("keys", keys), ("values", values)):
        if array.ndim < 2:
            raise ValueError(f"{name}: got shape {array.shape}, allowed are (..., steps, features)")
    if keys.shape[-1] != queries.shape[-1]:
        raise ValueError(f"keys: got {keys.shape[-1]} features, allowed are those of the queries, {queries.shape[-1]}")
    if values.shape[-2] != keys.shape[-2]:
        raise ValueError(f"values: got {values.shape[-2]} of them, allowed is one for each key, {keys.shape[-2]}")


def _allowed(mask: Mask, causal: bool, t: int, s: int, shape: tuple) -> Array | None:
    """Return which scores count, with as many axes as their ``shape``, or None for all; lengths may be symbolic."""
    allowed = jnp.tri(t, s, s - t, dtype=bool) if causal else None
    if mask is not None:
        mask = jnp.asarray(mask)
        if mask.dtype != bool:
            raise ValueError(f"mask: got dtype {mask.dtype}, allowed is bool, True where a query may look at a key")
        fits = mask.ndim <= len(shape) and all(n in (1, m) for n, m in zip(mask.shape[::-1], shape[::-1], strict=False))
        if not fits:
            raise ValueError(f"mask: got shape {mask.shape}, allowed are shapes that broadcast to {shape}")
        mask = mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)
        allowed = mask if allowed is None else mask & allowed[(None,) * (len(shape) - 2)]
    return None if allowed is None else jnp.broadcast_to(allowed, shape)


def _softmax(scores: Array, allowed: Array | None) -> Array:
    """Return the weights of each row: 0 where nothing is allowed, and all 0 in a row that allows nothing."""
    if allowed is None:
        return jax.nn.softmax(scores, axis=-1)
    lowest = jnp.asarray(jnp.finfo(scores.dtype).min, scores.dtype)  # not −inf, whose row would be NaN
    return jnp.where(allowed, jax.nn.softmax(jnp.where(allowed, scores, lowest), axis=-1), 0)


def _split(name: str, x: ArrayLike, heads: int) -> Array:
    """Return (..., t, heads · d) as (..., heads, t, d)."""
    sizes.check_at_least_one("heads", heads)
    numerics.refuse_complex(**{name: x})
    x = jnp.asarray(x)
    if x.ndim < 2 or x.shape[-1] % heads:
        raise ValueError(
            f"{name}: got shape {x.shape}, allowed are (..., steps, features), features divisible by {heads}"
        )
    return jnp.swapaxes(x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads), -3, -2)


def _merge(y: Array) -> Array:
    """Return (..., heads, t, d) as (..., t, heads · d)."""
    y = jnp.swapaxes(y, -3, -2)
    return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])
