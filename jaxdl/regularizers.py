"""Penalties on parameters, to be added to a mean loss, the proximal step of L1, and the bound of max-norm.

`params` is a tree of arrays, or one array. By default the penalties count weights and not biases: `weights_mask`
selects the floating leaves with at least two axes, which leaves out the scales and offsets of normalisation and also a
weight vector, such as that of a linear model. Another `mask` is a tree of Python booleans of the same structure
(``True`` for one array), or a function of the parameters that returns one, such as `path_mask("kernel")` or
``path_mask(lambda path: not path.endswith("bias"))``. A mask that selects no leaf raises ValueError, since the penalty
would be 0 for any weights. Sums are computed in float32 or wider, and results have the widest floating dtype of the
parameters. Complex weights count by |w|.

[Lecture rows C6, G3]
"""

import re
from collections.abc import Callable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxdl import numerics, paths

__all__ = ["elastic_net", "l1", "l2", "max_norm", "path_mask", "soft_threshold", "weight_decay", "weights_mask"]

Mask = PyTree | Callable[[PyTree], PyTree] | None


def weights_mask(params: PyTree) -> PyTree[bool]:
    """Return the tree that is True at weights: floating or complex leaves with at least two axes.

    Examples:
        >>> regularizers.weights_mask({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)})
        {'b': False, 'w': True}
    """
    return jax.tree.map(_is_weight, params)


def path_mask(wanted: str | Callable[[str], bool]) -> Callable[[PyTree], PyTree]:
    """Return a mask that selects leaves by their path, for any tree of parameters.

    Args:
        wanted: a regular expression, searched for in the path (``"kernel$"``, ``"^encoder/"``), or a function of
            the path. A path is the names and positions from the root to the leaf, joined by "/", such as
            ``"conv1/kernel"``; that of a single array is "".

    Returns:
        A function ``params -> tree of bools``, to be passed as `mask` here and to optimizers.

    Examples:
        >>> regularizers.path_mask("w")({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)})
        {'b': False, 'w': True}
    """
    chosen = re.compile(wanted).search if isinstance(wanted, str) else wanted

    def mask(params: PyTree) -> PyTree:
        return paths.map_named(lambda path, _: bool(chosen(path)), params)

    return mask


def _is_weight(leaf):
    return jnp.ndim(leaf) >= 2 and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _resolved(mask: Mask, params: PyTree) -> PyTree:
    tree = weights_mask(params) if mask is None else mask(params) if _is_function(mask) else mask
    if jax.tree.structure(tree) != jax.tree.structure(params):
        raise ValueError(f"mask: got {paths.apart(tree, params)}, must be a tree like params")
    leaves = jax.tree.leaves_with_path(params)
    if leaves and not any(jax.tree.leaves(tree)):
        shapes = ", ".join(f"{jax.tree_util.keystr(path)} {jnp.shape(leaf)}" for path, leaf in leaves[:10])
        way = "mask=True counts one array" if len(leaves) == 1 and not leaves[0][0] else "see path_mask"
        rule = f"the default counts leaves with at least two axes; {way}" if mask is None else "it is all False"
        raise ValueError(f"mask: selects no leaf of params, allowed is at least one ({rule}); leaves: {shapes}")
    return tree


def _is_function(mask: Any) -> bool:
    """Tell a function of the parameters from a tree of bools, which may be callable, too, as an Equinox module is."""
    leaves = jax.tree.leaves(mask)
    return callable(mask) and not (leaves and all(isinstance(leaf, bool | np.bool_) for leaf in leaves))


def _sum_over_weights(term: Callable[[Array], Any], params: PyTree, mask: Mask) -> Any:
    """Return the sum of term(w) over the elements of all leaves that the mask selects."""
    dtype = _widest(jax.tree.leaves(params))
    wide = numerics.wide_dtype(dtype)
    chosen = zip(jax.tree.leaves(params), jax.tree.leaves(_resolved(mask, params)), strict=True)
    sums = [term(numerics.widen(leaf)).sum().astype(wide) for leaf, keep in chosen if keep]
    return sum(sums, start=jnp.zeros((), wide)), dtype


def _scaled(total: Array, dtype: jnp.dtype, strength: ArrayLike, count: ArrayLike = 1) -> Array:
    """Return λ/m times the sum, rounded to the result's dtype."""
    numerics.refuse_complex(strength=strength, count=count)
    return (jnp.asarray(strength, total.dtype) / jnp.asarray(count, total.dtype) * total).astype(dtype)


def _widest(leaves: list) -> jnp.dtype:
    """Return the real floating dtype that holds the size of every leaf, also where dtypes promote only explicitly."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.zeros((), numerics.result_dtype(*leaves)).real.dtype


def _check(name: str, value, allowed: str, right: Callable[[Any], bool]) -> None:
    """Raise ValueError for a Python number that is not allowed, without a look at traced ones."""
    if isinstance(value, Real) and not right(value):
        raise ValueError(f"{name}: got {value}, allowed {allowed}")


def _check_number(name: str, value: Any) -> None:
    """Raise ValueError for a tree, such as the parameters, in place of a number."""
    if not jax.tree_util.all_leaves([value]):
        raise ValueError(f"{name}: got a {type(value).__name__}, allowed are numbers; the parameters come first")


def l1(params: PyTree, strength: ArrayLike, *, count: ArrayLike = 1, mask: Mask = None) -> Float[Array, ""]:
    """L1 penalty λ/m Σ |w|: its gradient step is −α (λ/m) sgn(w), with sgn(0) = 0.

    Args:
        params: tree of parameters, see the top of the module.
        strength: λ.
        count: m, the number of examples that the lectures divide by; 1 leaves λ as it is.
        mask: the leaves that count.

    Gradient steps oscillate around 0; the step of `soft_threshold` gives exact zeros. Erratum: the lecture prints the
    step with a plus.

    Raises:
        ValueError: `mask` has another structure than `params` or selects no leaf, or a count that is not above 0.

    Examples:
        >>> regularizers.l1({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)}, 0.1)
        Array(0.7, dtype=float32)
    """
    _check_number("strength", strength)
    _check("count", count, "are numbers above 0", lambda m: m > 0)
    total, dtype = _sum_over_weights(numerics.safe_abs, params, mask)
    return _scaled(total, dtype, strength, count)


def l2(params: PyTree, strength: ArrayLike, *, count: ArrayLike = 1, mask: Mask = None) -> Float[Array, ""]:
    """L2 penalty λ/(2m) Σ w²: its gradient step multiplies weights by 1 − α λ/m. Arguments as in `l1`.

    Erratum: the lecture says that it reduces weights "towards 1"; it shrinks them towards 0, which they never reach.

    Examples:
        >>> regularizers.l2({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)}, 0.1)
        Array(1.25, dtype=float32)
    """
    _check_number("strength", strength)
    _check("count", count, "are numbers above 0", lambda m: m > 0)
    total, dtype = _sum_over_weights(numerics.square, params, mask)
    return _scaled(total / 2, dtype, strength, count)


def weight_decay(params: PyTree, strength: ArrayLike, *, mask: Mask = None) -> Float[Array, ""]:
    """Weight decay λ E_W, E_W = ‖w‖² = Σ w², the second term of E = E_D + λ E_W. See `l1`.

    It is `l2` with twice the strength, since this lecture has no ½ and no 1/m. In optimizers the name stands for the
    decoupled step w − α λ w, which no penalty equals once gradients are rescaled, as in Adam.

    Examples:
        >>> regularizers.weight_decay({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)}, 0.1)
        Array(2.5, dtype=float32)
    """
    _check_number("strength", strength)
    total, dtype = _sum_over_weights(numerics.square, params, mask)
    return _scaled(total, dtype, strength)


def elastic_net(
    params: PyTree, strength: ArrayLike, *, l1_ratio: ArrayLike = 0.5, count: ArrayLike = 1, mask: Mask = None
) -> Float[Array, ""]:
    """Elastic net, the sum of both penalties: λ/m Σ (ρ |w| + (1 − ρ) w²/2), with ρ = `l1_ratio`. See `l1`.

    Reference: Zou and Hastie, Regularization and variable selection via the elastic net, 2005.
    https://doi.org/10.1111/j.1467-9868.2005.00503.x

    Examples:
        >>> regularizers.elastic_net({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)}, 0.1)
        Array(0.975, dtype=float32)
    """
    _check_number("strength", strength)
    _check("count", count, "are numbers above 0", lambda m: m > 0)
    _check("l1_ratio", l1_ratio, "is 0 to 1", lambda ratio: 0 <= ratio <= 1)
    total, dtype = _sum_over_weights(
        lambda w: _mixed(l1_ratio, numerics.safe_abs(w), numerics.square(w) / 2), params, mask
    )
    return _scaled(total, dtype, strength, count)


def _mixed(share: ArrayLike, first: Array, second: Array) -> Array:
    numerics.refuse_complex(l1_ratio=share)
    share = jnp.asarray(share, first.dtype)
    return share * first + (1 - share) * second


def soft_threshold(params: PyTree, threshold: ArrayLike, *, mask: Mask = None) -> PyTree:
    """Move every weight towards 0 by `threshold` and stop there: sgn(w) max(|w| − t, 0).

    After a gradient step of the loss alone with rate α, t = α λ/m gives the proximal step of `l1`. Leaves that the
    mask does not select are returned unchanged; a vector by itself needs ``mask=True``. Arguments as in `l1`.

    Reference: Daubechies, Defrise and De Mol, An iterative thresholding algorithm for linear inverse problems
    with a sparsity constraint, 2004. https://arxiv.org/abs/math/0307152

    Examples:
        >>> regularizers.soft_threshold({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)}, 1.0)["w"].ravel()
        Array([ 2., -3.], dtype=float32)
    """
    _check_number("threshold", threshold)
    numerics.refuse_complex(threshold=threshold)
    _check("threshold", threshold, "are numbers from 0 on", lambda t: t >= 0)

    def shrink(leaf, keep):
        w = jnp.asarray(leaf)
        if not keep:
            return w
        size = numerics.safe_abs(w)
        stop = jnp.asarray(threshold, size.dtype)
        moved = w - jnp.sign(w) * stop.astype(w.dtype)
        return jnp.where(size <= stop, 0, moved)

    return jax.tree.map(shrink, params, _resolved(mask, params))


def max_norm(params: PyTree, radius: ArrayLike, *, mask: Mask = None) -> PyTree:
    """Project each unit's incoming weights onto the ball of a radius: w min(1, r / ‖w‖₂).

    It follows the update, as in ``params = max_norm(apply_updates(params, updates), 3.0)``; `optimizers.max_norm` is
    the same as the last stage of an optimizer. The incoming weights of a unit are those along all axes but the last: a
    column of a dense kernel `(d_in, d_out)`, a filter of a convolution's `(kh, kw, c_in, c_out)`. Weights within the
    ball and leaves that the mask does not select are returned unchanged.

    Args:
        params: tree of parameters, see the top of the module.
        radius: r, the largest Euclidean norm, in the unit of the weights.
        mask: the leaves that are bounded.

    Raises:
        ValueError: a radius that is not above 0, a selected leaf with fewer than two axes, or a mask as in `l1`.

    Example: with r = 5 the column (6, 8) becomes (3, 4), and (3, 4) stays.

    Reference: Srivastava et al., Dropout, 2014, section 5.1. https://jmlr.org/papers/v15/srivastava14a.html

    Examples:
        >>> regularizers.max_norm({"w": jnp.array([[3.0], [-4.0]]), "b": jnp.ones(1)}, 1.0)["w"].ravel()
        Array([ 0.6, -0.8], dtype=float32)

    [Lecture row G3]
    """
    _check_number("radius", radius)
    numerics.refuse_complex(radius=radius)
    _check("radius", radius, "are numbers above 0", lambda r: r > 0)
    bounded = lambda leaf, keep: _in_ball(jnp.asarray(leaf), radius) if keep else jnp.asarray(leaf)
    return jax.tree.map(bounded, params, _resolved(mask, params))


def _in_ball(w: Array, radius: ArrayLike) -> Array:
    if w.ndim < 2:
        raise ValueError(f"params: got a leaf of shape {w.shape}, max_norm bounds leaves with at least two axes")
    wide = numerics.widen(w)
    size, axes = numerics.safe_abs(wide), tuple(range(w.ndim - 1))
    largest = jax.lax.stop_gradient(jnp.max(size, axes, keepdims=True, initial=0))  # squares of size/largest are finite
    unit = jnp.where(largest > 0, largest, 1)
    squares = jnp.sum(numerics.square(size / unit), axes, keepdims=True)
    factor = jnp.asarray(radius, size.dtype) / unit * jax.lax.rsqrt(jnp.where(squares > 0, squares, 1))
    return jnp.where((factor < 1) | jnp.isnan(factor), wide * factor.astype(wide.dtype), wide).astype(w.dtype)
