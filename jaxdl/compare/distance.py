"""How far apart two pytrees are, in units of the last place at the scale of each leaf.

Elementwise ulps mean nothing near zero, where a difference of rounding is a difference of any number of them;
``|a - b| / spacing(max|leaf|)`` does.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike


def leaf_ulps(a: ArrayLike, b: ArrayLike) -> float:
    """``max|a - b| / spacing(max(|a|, |b|))`` of two arrays of one shape and dtype.

    0 where all entries are equal; else NaN if one of them is not finite, and inf for integers, bools and whatever
    else is no real floating point number. Below the smallest normal number the spacing is the smallest subnormal.

    Raises:
        ValueError: if shapes or dtypes differ.
    """
    a, b = _alike(a, b)
    if np.array_equal(a, b):
        return 0.0
    if not jnp.issubdtype(a.dtype, jnp.floating):
        return math.inf
    scale, difference = _scale_and_difference(a, b)
    return difference / _spacing(scale, a.dtype)


def max_ulps(a: Any, b: Any) -> float:
    """The largest `leaf_ulps` over the leaves of two trees of the same structure; NaN if one is NaN."""
    return _largest(jax.tree.map(leaf_ulps, a, b))


def max_relative(a: Any, b: Any) -> float:
    """The largest over leaves of ``max|a - b| / max(|a|, |b|)``; NaN if a leaf is not equal and not finite.

    Raises:
        ValueError: if shapes or dtypes differ.
    """

    def relative(x: ArrayLike, y: ArrayLike) -> float:
        x, y = _alike(x, y)
        if np.array_equal(x, y):
            return 0.0
        scale, difference = _scale_and_difference(x, y)
        return difference / scale

    return _largest(jax.tree.map(relative, a, b))


def move_one_ulp(tree: Any) -> Any:
    """The tree with every element of its largest leaf moved up by one ulp: the smallest disturbance there is.

    How far a run departs from itself after this is the noise floor of comparing two runs of training. Leaves of
    integers are passed over, and leaves of zeros: what comes after 0 is subnormal, which XLA treats as 0 on CPU, and
    would vanish in the first step anyway. Where all are zero there is no scale; the largest moves by one ulp of 1.

    Raises:
        ValueError: if no leaf has floating point numbers.
    """
    leaves, structure = jax.tree.flatten(tree)
    floats = [i for i, leaf in enumerate(leaves) if leaf.size and jnp.issubdtype(leaf.dtype, jnp.floating)]
    if not floats:
        raise ValueError("tree: got no leaf of floating point numbers, at least one is needed")
    largest = max(floats, key=lambda i: (bool(np.any(leaves[i])), leaves[i].size))
    leaf = jnp.asarray(leaves[largest])
    moved = jnp.nextafter(leaf, jnp.full_like(leaf, jnp.inf)) if np.any(leaf) else leaf + jnp.finfo(leaf.dtype).eps
    leaves[largest] = moved
    return jax.tree.unflatten(structure, leaves)


def _alike(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"a, b: got {a.dtype}{a.shape} and {b.dtype}{b.shape}, allowed are one shape and dtype")
    return a, b


def _scale_and_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return the largest |value| and the largest |a − b|, both NaN if one value is not finite."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan, math.nan
    return float(np.maximum(np.abs(a), np.abs(b)).max()), float(np.abs(a - b).max())


def _spacing(scale: float, dtype: Any) -> float:
    if math.isnan(scale):
        return math.nan
    info = jnp.finfo(dtype)
    _, exponent = math.frexp(max(scale, float(info.smallest_normal)))
    return math.ldexp(1.0, exponent - 1 - info.nmant)


def _largest(distances: Any) -> float:
    return float(np.max(jax.tree.leaves(distances), initial=0.0))  # unlike the builtin, NaN wins in every place
