"""Gradient clipping, as stages in front of an optimizer. [Lecture row E11]

Norms are taken in float32 or wider and of scaled gradients, so that no square overflows: [3e20, 4e20] clips to
[0.6, 0.8]. A complex entry counts by its absolute value. A zero gradient stays zero, even at a bound of 0, and the
derivative of a clipped gradient is finite there. A gradient with an infinite entry becomes NaN, as in optax, so that
``optax.apply_if_finite`` detects it. The value of a traced bound is not checked.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from optax import GradientTransformation

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import stateless
from jaxdl.optimizers.trees import map_updates


def clip_by_value(max_delta: ArrayLike) -> GradientTransformation:
    """Clip every entry to [−max_delta, max_delta]. See ``optax.clip``.

    Args:
        max_delta: the bound, above 0.

    Raises:
        ValueError: the bound is not above 0; at update, a leaf is complex, which has no order.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.clip_by_value(0.2)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([ 0.2, -0.1], dtype=float32)
    """
    check(positive={"max_delta": max_delta})
    high = trees.hyper(max_delta)

    def clip(g):
        if jnp.iscomplexobj(g):
            raise ValueError(f"updates has a {g.dtype} leaf: clip_by_value needs real ones; clip_by_norm takes both")
        return jnp.clip(g, -1 * high, high)

    return _leafwise("clip_by_value", clip)


def clip_by_norm(max_norm: ArrayLike) -> GradientTransformation:
    """Scale down every array whose own norm exceeds ``max_norm`` (Keras's ``clipnorm``).

    Args:
        max_norm: the bound on each array's norm, above 0.

    Raises:
        ValueError: the bound is not above 0.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.clip_by_norm(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([ 0.09805807, -0.01961162], dtype=float32)
    """
    check(positive={"max_norm": max_norm})
    bound = trees.hyper(max_norm)
    return _leafwise("clip_by_norm", lambda g: _shrink(g, *trees.scaled_norm([g]), bound))


def clip_by_global_norm(max_norm: ArrayLike) -> GradientTransformation:
    """Scale down all arrays by one factor if the norm of all entries together exceeds ``max_norm``.

    Args:
        max_norm: the bound on the tree's norm, above 0.

    Raises:
        ValueError: the bound is not above 0.

    See ``optax.clip_by_global_norm``.
    Reference: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013,
    https://arxiv.org/abs/1211.5063.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.clip_by_global_norm(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([ 0.09805807, -0.01961162], dtype=float32)

    [Lecture row E11]
    """
    check(positive={"max_norm": max_norm})
    bound = trees.hyper(max_norm)

    def update(updates, params):
        del params
        norm, scale = trees.scaled_norm([trees.widen(g) for g in jax.tree.leaves(updates)])
        return map_updates(lambda g: _narrow(_shrink(trees.widen(g), norm, scale, bound), g), updates)

    return stateless("clip_by_global_norm", update)


def clip_by_block_rms(threshold: ArrayLike) -> GradientTransformation:
    """Scale down every array whose root mean square exceeds ``threshold``.

    Args:
        threshold: the bound on each array's root mean square, above 0.

    Raises:
        ValueError: the bound is not above 0.

    See ``optax.clip_by_block_rms``.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.clip_by_block_rms(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([ 0.13867506, -0.02773501], dtype=float32)

    [Lecture row E11]
    """
    check(positive={"threshold": threshold})
    bound = trees.hyper(threshold)

    def clip(g):
        norm, scale = trees.scaled_norm([g])
        return _shrink(g, norm / max(g.size, 1) ** 0.5, scale, bound)

    return _leafwise("clip_by_block_rms", clip)


def adaptive_grad_clip(
    clipping: ArrayLike, eps: ArrayLike = 0.001, axis: int | tuple[int, ...] | None = None
) -> GradientTransformation:
    """Bound the norm of each unit's gradient by a fraction of the norm of its weights.

    ‖g_u‖ ≤ clipping · max(‖w_u‖, eps), where a unit is one output (the last axis) of a kernel, or a whole vector.

    Args:
        clipping: the fraction, above 0.
        eps: lower bound on the norm of the weights, so that new units can move; at least 0.
        axis: the axes over which a norm is taken; None is all but the last for kernels and all for vectors
            (only the first for 3-D kernels, as in optax).

    Raises:
        ValueError: a number is out of range; at update, ``params`` is missing.

    See ``optax.adaptive_grad_clip``.
    Reference: Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, 2021,
    https://arxiv.org/abs/2102.06171.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adaptive_grad_clip(0.01)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([ 0.02192645, -0.00438529], dtype=float32)

    [Lecture row E11]
    """
    check(positive={"clipping": clipping}, non_negative={"eps": eps})
    clipping, eps = trees.hyper(clipping, eps)

    def clip(g, w):
        wide, w = trees.widen(g), trees.widen(w)
        size, w_scale = trees.scaled_norm([w], _unit_axes(w, axis))
        bound = _like(clipping * jnp.maximum(size / w_scale, eps), wide)
        norm, scale = trees.scaled_norm([wide], _unit_axes(wide, axis))
        inside = norm < bound * scale
        # optax's lower bound on the norm; it matters only where the clipping bound is smaller still
        factor = jnp.where(inside, 1.0, bound / jnp.maximum(norm, 1e-6 * scale))
        return _narrow(jnp.where(inside, wide, wide * scale * factor), g)

    def update(updates, params):
        stages.require_params(params, "adaptive_grad_clip")
        return map_updates(clip, updates, params)

    return stateless("adaptive_grad_clip", update)


def _leafwise(name: str, function: Callable[[jax.Array], jax.Array]) -> GradientTransformation:
    """Build a stage from a function of one widened array; integers pass through."""

    def clip(g):
        wide = trees.widen(g)
        return _narrow(function(wide), g) if trees.is_inexact(wide) else wide

    return stateless(name, lambda updates, params: map_updates(clip, updates))


def _shrink(g, norm, scale, bound):
    """Return g if its norm is below the bound and g·bound/norm otherwise; ``norm`` is that of scale·g."""
    norm, scale = _like(norm, g), _like(scale, g)
    bound = bound if isinstance(bound, int | float) else _like(bound, g)
    return jnp.where(norm < bound * scale, g, g * scale * (bound / jnp.where(norm > 0, norm, 1.0)))


def _like(number, x):
    return number.astype(trees.real(x).dtype)


def _narrow(x, like):
    return x.astype(jnp.result_type(like))


def _unit_axes(x, axis):
    if axis is not None:
        return axis
    if jnp.squeeze(x).ndim <= 1:
        return tuple(range(x.ndim))
    return {2: (0,), 3: (0,)}.get(x.ndim, tuple(range(x.ndim - 1)))
