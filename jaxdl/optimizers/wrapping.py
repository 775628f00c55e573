"""Transformations around a whole optimizer: gradient accumulation and lookahead."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages
from jaxdl.optimizers.states import LookaheadParams, LookaheadState, MultiStepsState


def accumulate(inner: GradientTransformation, every: int) -> GradientTransformationExtraArgs:
    """Average the gradients of several calls and let the optimizer step on the last of them.

    The updates of the other calls are zero. The state is that of ``optax.MultiSteps``, the average is kept
    in float32.

    Args:
        inner: the optimizer.
        every: calls per step, at least 1.

    Raises:
        ValueError: ``every`` is below 1.

    Lecture row E1 (a large batch in parts).
    """
    if every < 1:
        raise ValueError(f"every is {every}: it must be at least 1")

    def init(params):
        zero = jnp.zeros([], jnp.int32)
        sums = jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params)
        return MultiStepsState(zero, zero, inner.init(params), sums)

    def update(updates, state, params=None, **extra_args):
        extra_args = extra_args if isinstance(inner, GradientTransformationExtraArgs) else {}
        mean = jax.tree.map(lambda g, a: a + (g - a) / (state.mini_step + 1), updates, state.acc_grads)
        last = state.mini_step == every - 1

        def step():
            return inner.update(stages.cast_like(mean, updates), state.inner_opt_state, params, **extra_args)

        def wait():
            return jax.tree.map(jnp.zeros_like, updates), state.inner_opt_state

        updates, inner_state = jax.lax.cond(last, step, wait)
        kept = jax.tree.map(lambda a: jnp.where(last, 0.0, a).astype(a.dtype), mean)
        steps = jnp.where(last, stages.increment(state.gradient_step), state.gradient_step)
        mini_step = (state.mini_step + 1) % every
        return updates, MultiStepsState(mini_step, steps, inner_state, kept, state.skip_state)

    return GradientTransformationExtraArgs(init, update)


def lookahead(
    fast_optimizer: GradientTransformation,
    sync_period: int,
    slow_step_size: ArrayLike,
    reset_state: bool = False,
) -> GradientTransformation:
    """Lookahead: every k steps slow ← slow + η(fast − slow), and fast restarts from slow.

    The parameters are a ``LookaheadParams(fast, slow)``, made by ``LookaheadParams.init_synced(params)``;
    gradients are those of ``fast``. See ``optax.lookahead``.

    Args:
        fast_optimizer: the optimizer of the fast parameters.
        sync_period: k, at least 1.
        slow_step_size: η, above 0.
        reset_state: restart the fast optimizer's state too.

    Raises:
        ValueError: a number is out of range.

    Reference: Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019,
    https://arxiv.org/abs/1907.08610. Lecture row E7.
    """
    if sync_period < 1:
        raise ValueError(f"sync_period is {sync_period}: it must be at least 1")
    stages.check(positive={"slow_step_size": slow_step_size})

    def init(params):
        fast = params.fast if isinstance(params, LookaheadParams) else params
        return LookaheadState(fast_optimizer.init(fast), jnp.zeros([], jnp.int32))

    def update(updates, state, params=None):
        if not isinstance(params, LookaheadParams):
            raise ValueError(f"params is a {type(params).__name__}: lookahead needs a LookaheadParams")
        updates, fast_state = fast_optimizer.update(updates, state.fast_state, params.fast)
        sync = state.steps_since_sync == sync_period - 1
        gap = jax.tree.map(lambda f, u, s: f + u - s, params.fast, updates, params.slow)
        slow = jax.tree.map(lambda d: jnp.where(sync, slow_step_size * d, 0.0).astype(d.dtype), gap)
        fast = jax.tree.map(lambda u, d: jnp.where(sync, u - (1 - slow_step_size) * d, u), updates, gap)
        if reset_state:
            fresh = fast_optimizer.init(params.fast)
            fast_state = jax.tree.map(lambda now, new: jnp.where(sync, new, now), fast_state, fresh)
        steps = (state.steps_since_sync + 1) % sync_period
        return LookaheadParams(fast=fast, slow=slow), LookaheadState(fast_state, steps)

    return GradientTransformation(init, update)
