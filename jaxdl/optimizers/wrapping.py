"""Transformations that wrap a whole optimizer: gradient accumulation and lookahead."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import trees
from jaxdl.optimizers.checks import check, check_optimizers, check_whole
from jaxdl.optimizers.contracts import require_state
from jaxdl.optimizers.states import LookaheadParams, LookaheadState, MultiStepsState


def accumulate(inner: GradientTransformation, every: ArrayLike) -> GradientTransformationExtraArgs:
    """Average the gradients of several calls and step on the last of them.

    The updates of the other calls are zero. The state is that of ``optax.MultiSteps``. The average is stored in float32
    or wider (optax: in float32) and reaches the optimizer unrounded; the optimizer's state keeps its dtypes.

    Args:
        inner: the optimizer.
        every: calls per step, a whole number of at least 1.

    Raises:
        ValueError: ``every`` is below 1 or not a whole number; at update, the state is not one of ``accumulate``.

    [Lecture row E1 (a large batch in parts)]
    """
    check_optimizers(inner=inner)
    check_whole(every=(every, 1))

    def init(params):
        sums = jax.tree.map(lambda p: jnp.zeros_like(p, _mean_dtype(p)), params)
        return MultiStepsState(jnp.zeros([], jnp.int32), jnp.zeros([], jnp.int32), inner.init(params), sums)

    def update(updates, state, params=None, **extra_args):
        require_state(state, MultiStepsState, "accumulate")
        extra_args = extra_args if isinstance(inner, GradientTransformationExtraArgs) else {}
        last = state.mini_step == every - 1

        def advance(g, mean):
            calls = (state.mini_step + 1).astype(trees.real(mean).dtype)
            return mean + (trees.as_dtype_of(trees.widen(g), mean) - mean) / calls

        means = trees.map_state(advance, updates, state.acc_grads)

        def step():
            mean = trees.map_updates(lambda g, m: m, updates, means)
            stepped, inner_state = inner.update(mean, state.inner_opt_state, params, **extra_args)
            return trees.cast_like(stepped, updates), trees.keep_dtypes(inner_state, state.inner_opt_state)

        def wait():
            return trees.zeros_like(updates), state.inner_opt_state

        new_updates, inner_state = jax.lax.cond(last, step, wait)
        kept = jax.tree.map(lambda a: jnp.where(last, jnp.zeros_like(a), a), means)
        steps = jnp.where(last, trees.increment(state.gradient_step), state.gradient_step)
        mini_step = (state.mini_step + 1) % every
        return new_updates, MultiStepsState(mini_step, steps, inner_state, kept, state.skip_state)

    return GradientTransformationExtraArgs(init, update)


def _mean_dtype(p):
    dtype = jnp.result_type(p)
    return trees.promoted(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.inexact) else jnp.float32


def lookahead_params(params: Any) -> LookaheadParams:
    """Return the fast and slow parameters for the start of ``lookahead``, as two copies that can be donated.

    ``LookaheadParams.init_synced`` holds every array twice, and JAX cannot donate one buffer twice.

    Args:
        params: a tree of arrays.

    [Lecture row E7]
    """
    return LookaheadParams(fast=jax.tree.map(trees.copied, params), slow=jax.tree.map(trees.copied, params))


def lookahead(
    fast_optimizer: GradientTransformation,
    sync_period: ArrayLike,
    slow_step_size: ArrayLike,
    reset_state: bool = False,
) -> GradientTransformationExtraArgs:
    """Lookahead: every k steps slow ← slow + η(fast − slow), and fast restarts from slow.

    The parameters are a ``LookaheadParams(fast, slow)``, made by ``lookahead_params(params)``; gradients are taken at
    ``fast``. Integer leaves of slow follow those of fast. See ``optax.lookahead``.

    Args:
        fast_optimizer: the optimizer of the fast parameters.
        sync_period: k, a whole number of at least 1.
        slow_step_size: η, at least 0.
        reset_state: restart the state of the fast optimizer too.

    Raises:
        ValueError: a number is out of range or not whole; at update, ``params`` is not a ``LookaheadParams``, or the
            state is not one of ``lookahead``.

    Reference: Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019,
    https://arxiv.org/abs/1907.08610. [Lecture row E7]
    """
    check_optimizers(fast_optimizer=fast_optimizer)
    check_whole(sync_period=(sync_period, 1))
    check(non_negative={"slow_step_size": slow_step_size})
    eta = trees.hyper(slow_step_size)

    def init(params):
        fast = params.fast if isinstance(params, LookaheadParams) else params
        return LookaheadState(fast_optimizer.init(fast), jnp.zeros([], jnp.int32))

    def update(updates, state, params=None, **extra_args):
        require_state(state, LookaheadState, "lookahead")
        if not isinstance(params, LookaheadParams):
            raise ValueError(f"params is a {type(params).__name__}: lookahead needs a LookaheadParams")
        extra_args = extra_args if isinstance(fast_optimizer, GradientTransformationExtraArgs) else {}
        updates, fast_state = fast_optimizer.update(updates, state.fast_state, params.fast, **extra_args)
        sync, gaps = state.steps_since_sync == sync_period - 1, trees.map_updates(_gap, updates, *params)

        def slow_update(gap):
            moved = trees.as_dtype_of(trees.times(eta, gap), gap) if trees.is_inexact(gap) else gap
            return jnp.where(sync, moved, jnp.zeros_like(gap))

        def fast_update(u, gap):
            if not trees.is_inexact(gap):
                return u
            u = trees.as_dtype_of(trees.widen(u), gap)
            return jnp.where(sync, u - trees.as_dtype_of(trees.times(1 - eta, gap), gap), u)

        slow, fast = trees.map_updates(slow_update, gaps), trees.map_updates(fast_update, updates, gaps)
        if reset_state:
            fast_state = jax.tree.map(partial(jnp.where, sync), fast_optimizer.init(params.fast), fast_state)
        kept = trees.keep_dtypes(fast_state, state.fast_state)
        return LookaheadParams(fast=fast, slow=slow), LookaheadState(kept, (state.steps_since_sync + 1) % sync_period)

    return GradientTransformationExtraArgs(init, update)


def _gap(u, fast, slow):
    return trees.plus(trees.plus(trees.widen(fast), trees.widen(u)), -trees.widen(slow))
