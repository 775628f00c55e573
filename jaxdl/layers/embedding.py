"""Vectors for symbols and for places in a sequence."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real

from jaxdl import numerics, sizes
from jaxdl.words import own_words

__all__ = ["embed", "rotary", "sinusoidal_positions"]


@own_words
def embed(indices: Int[ArrayLike, "*b"], table: Float[ArrayLike, "symbols d"]) -> Float[Array, "*b d"]:
    """Look up one row of a table for each index: y = E[i], the product of a one-hot row with E.

    Args:
        indices: i, class numbers of symbols, any shape; one outside [0, symbols) gives NaN.
        table: E, one row per symbol.

    Raises:
        ValueError: indices that are no integers, or a table of another rank.

    Reference: Bengio et al., A neural probabilistic language model, 2003.
    https://www.jmlr.org/papers/v3/bengio03a.html.

    Examples:
        >>> layers.embed(jnp.array([2, 0]), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        Array([[5., 6.],
               [1., 2.]], dtype=float32)
    """
    numerics.refuse_complex(table=table)
    indices, table = jnp.asarray(indices), jnp.asarray(table)
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"indices: got dtype {indices.dtype}, allowed are integers")
    if table.ndim != 2:
        raise ValueError(f"table: got shape {table.shape}, allowed are (symbols, features)")
    indices = numerics.class_numbers(indices)
    inside = (indices >= 0) & (indices < table.shape[0])
    # the rows' gradients are sums over all places of a symbol
    rows = numerics.widen(table).at[jnp.where(inside, indices, 0)].get(mode="clip")
    return jnp.where(inside[..., None], rows, jnp.nan).astype(numerics.result_dtype(table))


@own_words
def sinusoidal_positions(
    positions: Real[ArrayLike, "*b"], *, features: int, base: float = 10_000.0
) -> Float[Array, "*b features"]:
    """Waves of geometrically growing length: p ↦ sin(p ω_0), cos(p ω_0), sin(p ω_1), ..., ω_i = base^(−2i / features).

    Args:
        positions: p, places in a sequence, of any shape.
        features: values per place, an even number.
        base: ratio of the longest wave to the shortest, roughly; the shortest is 2π long.

    Raises:
        ValueError: an odd number of features.

    Reference: Vaswani et al., Attention is all you need, section 3.5, 2017. https://arxiv.org/abs/1706.03762.

    Examples:
        >>> layers.sinusoidal_positions(jnp.array([0.0]), features=4)  # sin 0, cos 0, sin 0, cos 0
        Array([[0., 1., 0., 1.]], dtype=float32)
    """
    _check_even("features", features)
    numerics.refuse_complex(positions=positions)
    angles = _angles(positions, features, base)
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return waves.reshape(*waves.shape[:-2], features).astype(numerics.result_dtype(positions))


@own_words
def rotary(
    x: Float[ArrayLike, "*b t d"],
    positions: Real[ArrayLike, " t"] | None = None,
    *,
    base: float = 10_000.0,
    interleaved: bool = True,
) -> Float[Array, "*b t d"]:
    """Rotate pairs of features by angles that grow with the place: (a, b) ↦ (a cos θ − b sin θ, a sin θ + b cos θ).

    θ = p base^(−2i / d) for pair i at place p. Queries and keys that are rotated so have scores that depend on the
    distance of their places alone.

    Args:
        x: queries or keys, of one head; with several as `(..., heads, t, d)`.
        positions: p of each step; None for 0, 1, ..., t − 1.
        base: as in `sinusoidal_positions`.
        interleaved: whether features 2i and 2i + 1 are a pair, as in the paper; else i and i + d/2, as in GPT-NeoX.

    Raises:
        ValueError: an odd number of features, or another number of positions than of steps.

    Reference: Su et al., RoFormer: Enhanced transformer with rotary position embedding, 2021.
    https://arxiv.org/abs/2104.09864.

    Examples:
        At place 0 nothing turns, and at place π/2 the first pair turns by a quarter:

        >>> layers.rotary(jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([0.0, jnp.pi / 2])).round(4)
        Array([[ 1.,  0.],
               [-0.,  1.]], dtype=float32)
    """
    numerics.refuse_complex(x=x, positions=positions)
    x = jnp.asarray(x)
    if x.ndim < 2:
        raise ValueError(f"x: got shape {x.shape}, allowed are (..., t, d)")
    t, d = x.shape[-2:]
    _check_even("x", d)
    positions = jnp.arange(t) if positions is None else jnp.asarray(positions)
    if positions.shape != (t,):
        raise ValueError(f"positions: got shape {positions.shape}, allowed is ({t},), one for each step")
    wide = numerics.widen(x)
    angles = _angles(positions, d, base).astype(wide.dtype)
    cos, sin = (f(angles)[(None,) * (x.ndim - 2)] for f in (jnp.cos, jnp.sin))
    a, b = (wide[..., ::2], wide[..., 1::2]) if interleaved else jnp.split(wide, 2, axis=-1)
    turned = (a * cos - b * sin, a * sin + b * cos)
    y = jnp.stack(turned, axis=-1).reshape(x.shape) if interleaved else jnp.concatenate(turned, axis=-1)
    return y.astype(numerics.result_dtype(x))


def _angles(positions: ArrayLike, features: int, base: float) -> Array:
    """Return p ω_i in float32 at least."""
    wide = numerics.widen(positions)
    frequencies = jnp.asarray(base, wide.dtype) ** (-jnp.arange(0, features, 2).astype(wide.dtype) / features)
    return jnp.multiply.outer(wide, frequencies)


def _check_even(name: str, features: int) -> None:
    sizes.check_at_least_one("features", features)
    if features % 2:
        raise ValueError(f"{name}: got {features} features, allowed are even numbers, two for each wave")
