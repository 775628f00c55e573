"""How far apart two pytrees are, in units of the last place at the scale of each leaf.

Elementwise ulps mean nothing near zero, where a difference of rounding is a difference of any number of them;
``|a - b| / spacing(max|leaf|)`` does.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike


def leaf_ulps(a: ArrayLike, b: ArrayLike) -> float:
    """``max|a - b| / spacing(max(|a|, |b|))`` of two arrays of one shape and dtype; NaN where one is not finite.

    Raises:
        ValueError: if shapes or dtypes differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        raise ValueError(f"a is {a.dtype}{a.shape} and b is {b.dtype}{b.shape}: they are to be alike")
    if a.size == 0 or np.array_equal(a, b):
        return 0.0
    scale = np.maximum(np.abs(a).max(), np.abs(b).max())
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max() / np.float64(_spacing(scale)))


def max_ulps(a: Any, b: Any) -> float:
    """The largest `leaf_ulps` over the leaves of two trees of the same structure."""
    return max(jax.tree.leaves(jax.tree.map(leaf_ulps, a, b)), default=0.0)


def max_relative(a: Any, b: Any) -> float:
    """The largest over leaves of ``max|a - b| / max(|a|, |b|)``."""

    def relative(x: ArrayLike, y: ArrayLike) -> float:
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        scale = max(np.abs(x).max(initial=0), np.abs(y).max(initial=0))
        return float(np.abs(x - y).max(initial=0) / scale) if scale else 0.0

    return max(jax.tree.leaves(jax.tree.map(relative, a, b)), default=0.0)


def move_one_ulp(tree: Any) -> Any:
    """The tree with every element of its largest leaf moved up by one ulp: the smallest disturbance there is.

    How far a run departs from itself after this is the noise floor of comparing two runs of training.
    """
    leaves, structure = jax.tree.flatten(tree)
    largest = max(range(len(leaves)), key=lambda i: leaves[i].size)
    leaves[largest] = jnp.nextafter(leaves[largest], jnp.asarray(jnp.inf, leaves[largest].dtype))
    return jax.tree.unflatten(structure, leaves)


def _spacing(scale: np.ndarray) -> np.ndarray:
    info = jnp.finfo(scale.dtype)
    _, exponent = np.frexp(np.maximum(scale.astype(np.float64), float(info.smallest_normal)))
    return np.exp2(np.float64(exponent - 1 - info.nmant))
