"""Penalties on parameters, to be added to a mean loss, and the proximal step of L1 (Lecture row C6).

`params` is a tree of arrays, or one array. Only weights count, not biases: by default the floating leaves
with at least two axes, as `weights_mask` says, so that scales and offsets of normalisation are left out too.
Another `mask` is a tree of Python booleans of the same structure, or a function of the parameters that
returns one. Sums are formed in float32 or wider; results have the widest floating dtype of the parameters.
"""

from collections.abc import Callable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

__all__ = ["elastic_net", "l1", "l2", "soft_threshold", "weight_decay", "weights_mask"]

Mask = PyTree | Callable[[PyTree], PyTree] | None


def weights_mask(params: PyTree) -> PyTree[bool]:
    """Return the tree that is True at weights: floating leaves with at least two axes."""
    return jax.tree.map(_is_weight, params)


def _is_weight(leaf):
    return jnp.ndim(leaf) >= 2 and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _resolved(mask: Mask, params: PyTree) -> PyTree:
    tree = weights_mask(params) if mask is None else mask(params) if callable(mask) else mask
    if jax.tree.structure(tree) != jax.tree.structure(params):
        raise ValueError(
            f"mask: got the structure {jax.tree.structure(tree)}, must be that of params, {jax.tree.structure(params)}"
        )
    return tree


def _sum_over_weights(term: Callable[[Array], Any], params: PyTree, mask: Mask) -> Any:
    """Return the sum of term(w) over the elements of all leaves that the mask selects."""
    dtype = jnp.result_type(*jax.tree.leaves(params), float)
    wide = jnp.promote_types(dtype, jnp.float32)
    chosen = zip(jax.tree.leaves(params), jax.tree.leaves(_resolved(mask, params)), strict=True)
    sums = [term(jnp.asarray(leaf, wide)).sum() for leaf, keep in chosen if keep]
    return sum(sums, start=jnp.zeros((), wide)), dtype


def _check(name: str, value, allowed: str, right: Callable[[Any], bool]) -> None:
    """Raise ValueError for a Python number that is not allowed; traced ones are not looked at."""
    if isinstance(value, Real) and not right(value):
        raise ValueError(f"{name}: got {value}, allowed {allowed}")


def _absolute(w):
    return w * jnp.sign(w)  # not abs: its gradient at 0 is 1, not sgn(0) = 0


def l1(params: PyTree, strength: ArrayLike, *, count: ArrayLike = 1, mask: Mask = None) -> Float[Array, ""]:
    """L1 penalty λ/m Σ |w|: its gradient step is −α (λ/m) sgn(w), with sgn(0) = 0.

    Args:
        params: tree of parameters, see the top of the module.
        strength: λ.
        count: m, the number of examples that the lectures divide by; 1 leaves λ as it is.
        mask: which leaves count.

    A gradient step hops over 0 and back; `soft_threshold` is the step that gives exact zeros. Erratum: the
    lecture prints the step with a plus.

    Raises:
        ValueError: `mask` has another structure than `params`, or a count that is not above 0.
    """
    _check("count", count, "are numbers above 0", lambda m: m > 0)
    total, dtype = _sum_over_weights(_absolute, params, mask)
    return (strength / count * total).astype(dtype)


def l2(params: PyTree, strength: ArrayLike, *, count: ArrayLike = 1, mask: Mask = None) -> Float[Array, ""]:
    """L2 penalty λ/(2m) Σ w²: its gradient step multiplies weights by 1 − α λ/m. Arguments as in `l1`.

    Erratum: the lecture says that it reduces weights "towards 1"; it shrinks them towards 0, never to it.
    """
    _check("count", count, "are numbers above 0", lambda m: m > 0)
    total, dtype = _sum_over_weights(jnp.square, params, mask)
    return (strength / (2 * count) * total).astype(dtype)


def weight_decay(params: PyTree, strength: ArrayLike, *, mask: Mask = None) -> Float[Array, ""]:
    """Weight decay λ E_W, E_W = ‖w‖² = Σ w², the second term of E = E_D + λ E_W. See `l1`.

    It is `l2` with twice the strength: this lecture has no ½ and no 1/m. In optimizers the name stands for
    the decoupled step w − α λ w instead, which no penalty equals once gradients are rescaled (Adam).
    """
    total, dtype = _sum_over_weights(jnp.square, params, mask)
    return (strength * total).astype(dtype)


def elastic_net(
    params: PyTree, strength: ArrayLike, *, l1_ratio: ArrayLike = 0.5, count: ArrayLike = 1, mask: Mask = None
) -> Float[Array, ""]:
    """Both penalties, λ/m Σ (ρ |w| + (1 − ρ) w²/2), with ρ = `l1_ratio`. See `l1`.

    Reference: Zou and Hastie, Regularization and variable selection via the elastic net, 2005.
    https://doi.org/10.1111/j.1467-9868.2005.00503.x
    """
    _check("count", count, "are numbers above 0", lambda m: m > 0)
    _check("l1_ratio", l1_ratio, "is 0 to 1", lambda ratio: 0 <= ratio <= 1)
    total, dtype = _sum_over_weights(
        lambda w: l1_ratio * _absolute(w) + (1 - l1_ratio) / 2 * jnp.square(w), params, mask
    )
    return (strength / count * total).astype(dtype)


def soft_threshold(params: PyTree, threshold: ArrayLike, *, mask: Mask = None) -> PyTree:
    """Move every weight towards 0 by `threshold` and stop there: sgn(w) max(|w| − t, 0).

    After a gradient step of the loss alone with rate α, t = α λ/m makes the proximal step of `l1`. Leaves
    that the mask does not select come back unchanged. Arguments as in `l1`.

    Reference: Daubechies, Defrise and De Mol, An iterative thresholding algorithm for linear inverse problems
    with a sparsity constraint, 2004. https://arxiv.org/abs/math/0307152
    """
    _check("threshold", threshold, "are numbers from 0 on", lambda t: t >= 0)

    def shrink(leaf, keep):
        w = jnp.asarray(leaf)
        if not keep:
            return w
        moved = w - jnp.sign(w) * jnp.asarray(threshold, w.dtype)
        return jnp.where(jnp.abs(w) <= threshold, 0, moved)

    return jax.tree.map(shrink, params, _resolved(mask, params))
