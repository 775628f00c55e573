"""Gradient clipping, as stages before an optimizer. Lecture row E11.

All norms are taken in float32 at least, and a zero gradient stays zero.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from optax import GradientTransformation

from jaxdl.optimizers import stages


def clip_by_value(max_delta: ArrayLike) -> GradientTransformation:
    """Clip every entry to [−max_delta, max_delta]. See ``optax.clip``.

    Args:
        max_delta: the bound, above 0.

    Raises:
        ValueError: the bound is not above 0.
    """
    stages.check(positive={"max_delta": max_delta})
    low = -1 * max_delta
    return _leafwise(lambda g: jnp.clip(g, low, max_delta))


def clip_by_norm(max_norm: ArrayLike) -> GradientTransformation:
    """Scale every array whose own norm exceeds ``max_norm`` down to it (Keras's ``clipnorm``).

    Args:
        max_norm: the bound on each array's norm, above 0.

    Raises:
        ValueError: the bound is not above 0.
    """
    stages.check(positive={"max_norm": max_norm})
    return _leafwise(lambda g: _shrink(g, _norm([g]), max_norm))


def clip_by_global_norm(max_norm: ArrayLike) -> GradientTransformation:
    """Scale all arrays by one factor if the norm of all entries together exceeds ``max_norm``.

    Args:
        max_norm: the bound on the tree's norm, above 0.

    Raises:
        ValueError: the bound is not above 0.

    See ``optax.clip_by_global_norm``.
    Reference: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013,
    https://arxiv.org/abs/1211.5063. Lecture row E11.
    """
    stages.check(positive={"max_norm": max_norm})

    def update(updates, params):
        del params
        norm = _norm(jax.tree.leaves(updates))
        return jax.tree.map(lambda g: _shrink(g, norm, max_norm), updates)

    return stages.stateless(update)


def clip_by_block_rms(threshold: ArrayLike) -> GradientTransformation:
    """Scale every array whose root mean square exceeds ``threshold`` down to it.

    Args:
        threshold: the bound on each array's root mean square, above 0.

    Raises:
        ValueError: the bound is not above 0.

    See ``optax.clip_by_block_rms``. Lecture row E11.
    """
    stages.check(positive={"threshold": threshold})

    def clip(g):
        wide = stages.widen(g)
        return (wide / jnp.maximum(1.0, jnp.sqrt(jnp.mean(wide * wide)) / threshold)).astype(g.dtype)

    return _leafwise(clip)


def adaptive_grad_clip(
    clipping: ArrayLike, eps: ArrayLike = 0.001, axis: int | tuple[int, ...] | None = None
) -> GradientTransformation:
    """Bound each unit's gradient norm by a fraction of the norm of its weights.

    ‖g_u‖ ≤ clipping · max(‖w_u‖, eps), a unit being one output (the last axis) of a kernel, or a whole vector.

    Args:
        clipping: the fraction, above 0.
        eps: floor of the weights' norm, so that new units can move; at least 0.
        axis: the axes over which a norm is taken; None is all but the last for kernels, all for vectors
            (for 3-D kernels the first only, as in optax).

    Raises:
        ValueError: a number is out of range; at update, ``params`` is missing.

    See ``optax.adaptive_grad_clip``.
    Reference: Brock et al., High-Performance Large-Scale Image Recognition Without Normalization, 2021,
    https://arxiv.org/abs/2102.06171. Lecture row E11.
    """
    stages.check(positive={"clipping": clipping}, non_negative={"eps": eps})

    def clip(g, w):
        wide = stages.widen(g)
        bound = clipping * jnp.maximum(_unit_norm(stages.widen(w), axis), eps)
        norm = _unit_norm(wide, axis)
        # optax's floor under the norm; no unit with so small a norm is clipped unless the bound is smaller
        clipped = wide * (bound / jnp.maximum(norm, 1e-6))
        return jnp.where(norm < bound, wide, clipped).astype(g.dtype)

    def update(updates, params):
        stages.require_params(params, "adaptive_grad_clip")
        return jax.tree.map(clip, updates, params)

    return stages.stateless(update)


def _leafwise(function):
    return stages.stateless(lambda updates, params: jax.tree.map(function, updates))


def _norm(leaves):
    return jnp.sqrt(sum(jnp.sum(jnp.square(stages.widen(g))) for g in leaves))


def _shrink(g, norm, max_norm):
    wide = stages.widen(g)
    return jnp.where(norm < max_norm, wide, wide / norm.astype(wide.dtype) * max_norm).astype(g.dtype)


def _unit_norm(x, axis):
    if axis is None:
        axes = {2: (0,), 3: (0,)}.get(x.ndim, tuple(range(x.ndim - 1)))
        axis = None if jnp.squeeze(x).ndim <= 1 else axes
    return jnp.sqrt(jnp.sum(x * x, axis=axis, keepdims=True))
