"""The distance between two pytrees in units of the last place at the scale of each leaf.

Elementwise ulps are meaningless near zero, where rounding alone can amount to any number of them;
``|a - b| / spacing(max|leaf|)`` is not.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike


def leaf_ulps(a: ArrayLike, b: ArrayLike) -> float:
    """Return ``max|a - b| / spacing(max(|a|, |b|))`` for two arrays of one shape and dtype.

    Equal arrays give 0. Otherwise the result is NaN if an entry is not finite, and inf for integers, bools and all
    other dtypes that are not real floating point. Below the smallest normal number the spacing is the smallest
    subnormal.

    Raises:
        ValueError: the shapes or dtypes differ.

    Examples:
        >>> one = np.float32(1)
        >>> compare.leaf_ulps(one, np.nextafter(one, np.float32(2)))
        1.0
    """
    a, b = _alike(a, b)
    if np.array_equal(a, b):
        return 0.0
    if not jnp.issubdtype(a.dtype, jnp.floating):
        return math.inf
    scale, difference = _scale_and_difference(a, b)
    return difference / float(spacing(scale, a.dtype))


def max_ulps(a: Any, b: Any) -> float:
    """Return the largest `leaf_ulps` over the leaves of two trees of one structure; NaN if any is NaN.

    Examples:
        >>> compare.max_ulps({"a": np.float32(1.0)}, {"a": np.float32(1.0) + np.finfo(np.float32).eps})
        1.0
    """
    return _largest(jax.tree.map(leaf_ulps, a, b))


def max_relative(a: Any, b: Any) -> float:
    """Return the largest ``max|a - b| / max(|a|, |b|)`` over the leaves; NaN if unequal leaves are not finite.

    Raises:
        ValueError: the shapes or dtypes differ.

    Examples:
        >>> compare.max_relative({"a": np.float32(1.0)}, {"a": np.float32(0.75)})
        0.25
    """

    def relative(x: ArrayLike, y: ArrayLike) -> float:
        x, y = _alike(x, y)
        if np.array_equal(x, y):
            return 0.0
        scale, difference = _scale_and_difference(x, y)
        return difference / scale

    return _largest(jax.tree.map(relative, a, b))


def move_one_ulp(tree: Any) -> Any:
    """Move every element of a tree's largest leaf up by one ulp, the smallest possible disturbance.

    The distance that a run then departs from itself is the noise floor of any comparison of two training runs. Leaves
    of integers are skipped, and so are leaves of zeros, because the next number after 0 is subnormal: XLA on CPU treats
    it as 0, and it would vanish in the first step anyway. If all leaves are zero, the largest moves by one ulp of 1.

    Raises:
        ValueError: no leaf holds floating point numbers.

    Examples:
        >>> tree = {"a": np.ones(2, np.float32), "b": np.zeros(3, np.float32)}
        >>> moved = compare.move_one_ulp(tree)
        >>> compare.max_ulps(tree, moved), (moved["a"] - tree["a"]) / np.finfo(np.float32).eps
        (1.0, Array([1., 1.], dtype=float32))
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
    """Return the largest |value| and the largest |a − b|; both are NaN if any value is not finite."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan, math.nan
    return float(np.maximum(np.abs(a), np.abs(b)).max()), float(np.abs(a - b).max())


def spacing(scale: Any, dtype: Any) -> Any:
    """Return the gap between floating point numbers at each scale, which is constant below the smallest normal."""
    info = jnp.finfo(dtype)
    _, exponent = np.frexp(np.maximum(np.asarray(scale, np.float64), float(info.smallest_normal)))
    return np.ldexp(1.0, exponent - 1 - info.nmant)


def _largest(distances: Any) -> float:
    return float(np.max(jax.tree.leaves(distances), initial=0.0))  # unlike the builtin max, NaN wins in any position
