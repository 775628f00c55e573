"""Sharpness-aware minimization: steps by the gradient at the worst point nearby."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check, check_optimizers, check_static, check_whole
from jaxdl.optimizers.contracts import require_state, stateless
from jaxdl.optimizers.states import SAMState
from jaxdl.words import own_words


@own_words
def sam(
    optimizer: GradientTransformation,
    adv_optimizer: GradientTransformation | None = None,
    sync_period: Any = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: str | None = None,
    *,
    rho: ArrayLike = 0.05,
) -> GradientTransformationExtraArgs:
    """Sharpness-aware minimization: the optimizer steps from w by the gradient at w + ρ·g/‖g‖.

    In the open, a step takes ``sync_period`` updates, each with the gradient of its own batch: all but the last climb,
    and the last returns to w and steps; `eval_params` returns w in between. In opaque mode one update does all of it,
    and takes the other gradients itself by ``grad_fn(params, i)``, which every loop of this library passes.

    Args:
        optimizer: the optimizer that descends.
        adv_optimizer: the optimizer whose steps are climbed; None is gradient ascent of length ρ, the paper's.
        sync_period: gradients per step, a whole number of at least 1; 2 is the paper's, and 1 is ``optimizer`` alone.
        reset_state: let ``adv_optimizer`` start anew at every step.
        opaque_mode: take all gradients in one update.
        batch_axis_name: in opaque mode, the axis of devices over which gradients are averaged.
        rho: ρ, at least 0, if ``adv_optimizer`` is None.

    Raises:
        ValueError: a number is out of range, or ``batch_axis_name`` is given in the open, where the loop averages
            gradients; at update, ``params`` or in opaque mode ``grad_fn`` is missing, or the state is another's.

    Reference: Foret et al., Sharpness-Aware Minimization for Efficiently Improving Generalization, 2020,
    https://arxiv.org/abs/2010.01412.
    """
    climber: Any = _ascent(rho) if adv_optimizer is None else adv_optimizer
    check_optimizers(optimizer=optimizer, adv_optimizer=climber)
    check_static(sync_period=sync_period)
    check_whole(sync_period=(sync_period, 1))
    if batch_axis_name is not None and not opaque_mode:
        raise ValueError(f"batch_axis_name is {batch_axis_name!r}: without opaque_mode the loop averages gradients")

    def init(params) -> Any:
        cache = None if opaque_mode else jax.tree.map(trees.copied, params)
        return SAMState(jnp.zeros([], jnp.int32), optimizer.init(params), climber.init(params), cache)

    def update(updates, state, params=None, **extra_args) -> Any:
        require_state(state, SAMState, "SAM")
        stages.require_params(params, "SAM")
        descend = lambda g, p: _update(optimizer, g, state.opt_state, p, extra_args)
        restart = lambda kept: climber.init(params) if reset_state else kept
        if opaque_mode:
            grads, adv_state = _climb(climber, updates, state, params, sync_period - 1, batch_axis_name, extra_args)
            steps, opt_state = descend(grads, params)
            kept = trees.keep_dtypes((opt_state, restart(adv_state)), (state.opt_state, state.adv_state))
            return steps, SAMState(jnp.zeros([], jnp.int32), kept[0], kept[1], None)
        count = state.steps_since_sync
        cache = trees.map_state(partial(_kept, count == 0), updates, state.cache, params)
        higher, adv_state = _update(climber, updates, state.adv_state, params, extra_args)
        steps, opt_state = descend(updates, cache)
        steps = trees.map_updates(partial(_moved, count == sync_period - 1), steps, higher, cache, params)
        states = _pick(count == sync_period - 1, (opt_state, restart(state.adv_state)), (state.opt_state, adv_state))
        return steps, SAMState((count + 1) % sync_period, states[0], states[1], cache)

    return stages.alone(GradientTransformationExtraArgs(init, update))


def _climb(climber, updates, state: Any, params, climbs: int, axis_name: str | None, extra_args: dict[str, Any]):
    """Return the gradient at the end of the climb, and the climber's state."""
    grad_fn = extra_args.get("grad_fn") or _missing
    point, adv_state = params, state.adv_state
    for i in range(climbs):
        steps, adv_state = _update(climber, updates, adv_state, point, extra_args)
        point = trees.map_state(lambda u, p: trees.as_dtype_of(trees.plus(p, -u), p), steps, point)
        grads = grad_fn(point, i)
        grads = grads if axis_name is None else jax.lax.pmean(grads, axis_name)
        updates = trees.map_updates(lambda u, g: trees.widen(g), updates, grads)
    return updates, adv_state


def _missing(params, i):
    raise ValueError("grad_fn is None: SAM in opaque_mode needs update(updates, state, params, grad_fn=...)")


def _kept(first, g, cached, p):
    return jnp.where(first, p, cached)


def _moved(last, step, up, start, now):
    """Return the way back to the start and the step from there, or a step up."""
    return jnp.where(last, trees.plus(trees.plus(start, -now), step), -up)


def _update(transformation, updates, state, params, extra_args):
    taken = extra_args if isinstance(transformation, GradientTransformationExtraArgs) else {}
    return transformation.update(updates, state, params, **taken)


def _pick(condition, new, old):
    new = trees.keep_dtypes(new, old)
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y) if trees.is_array(y) else y, new, old)


def _ascent(rho: ArrayLike) -> GradientTransformation:
    """Return descent of length ρ along the gradient of the whole tree; it stays where that is 0."""
    check(non_negative={"rho": rho})
    rho = trees.hyper(rho)

    def update(updates, params):
        del params
        size, scale = trees.scaled_norm([trees.widen(g) for g in jax.tree.leaves(updates)])
        factor = trees.times(-1 * rho, scale) / jnp.where(size == 0, 1, size)
        return trees.map_updates(lambda g: factor.astype(trees.real(g).dtype) * g, updates)

    return stateless("an ascent", update)
