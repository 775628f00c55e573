"""Schedule-free learning: an average of the iterates takes the place of both momentum and a decaying schedule."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl import schedules
from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check, check_optimizers, check_whole
from jaxdl.optimizers.contracts import require_state
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.rmsprop import scale_by_rms
from jaxdl.optimizers.sgd import sgd
from jaxdl.optimizers.states import ScheduleFreeState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def schedule_free(
    base_optimizer: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    weight_lr_power: ArrayLike = 2.0,
    state_dtype: DTypeLike | None = None,
    *,
    direct: bool = False,
) -> GradientTransformationExtraArgs:
    """Schedule-free learning: z ← z + u, x ← (1−c)x + cz, w ← (1−b1)z + b1·x, where u is the base optimizer's update.

    The network trains at w and is judged at x, which `eval_params` returns. The weight c is r/Σr with r = (max α)^p
    over the steps so far; a constant rate makes x the mean of all z. A loop carries w; the state holds z.

    Args:
        base_optimizer: the optimizer that makes u; switch off its momentum, of which b1 is the replacement.
        learning_rate: α, the base optimizer's, a number of at least 0 or a schedule with warm-up and without decay.
        b1: weight of x in the point where the gradient is taken, above 0 and below 1.
        weight_lr_power: p.
        direct: order of operations: w ← w + c(z − w) + (1 − b1(1−c))u without x, as the authors' package; False finds x
            from w and z at every step, as optax, and dividing by b1 rounds more.
        state_dtype: dtype of z and of the base optimizer's accumulators; None keeps float32 for half-precision leaves
            and the leaf's own for others.

    Raises:
        ValueError: a number is out of range; at update, ``params`` is missing, or the state is another's.

    Reference: Defazio et al., The Road Less Scheduled, 2024, https://arxiv.org/abs/2405.15682.
    """
    check_optimizers(base_optimizer=base_optimizer)
    check(positive={"b1": b1}, decay_rates={"b1": b1}, non_negative={"learning_rate": learning_rate})
    beta, power, constant = trees.hyper(b1, weight_lr_power, None if callable(learning_rate) else learning_rate)
    takes_extra = isinstance(base_optimizer, GradientTransformationExtraArgs)

    def init(params):
        kind = trees.narrowest(params)
        zero, copies = jnp.zeros([], kind), jax.tree.map(trees.copied, params)
        own = {"b1": jnp.array(b1, kind), "weight_sum": zero, "max_lr": trees.copied(zero), "z": copies}
        return ScheduleFreeState(
            step_count=jnp.ones([], jnp.int32), base_optimizer_state=base_optimizer.init(params), **own
        )

    def update(updates, state, params=None, **extra_args):
        require_state(state, ScheduleFreeState, "schedule-free")
        stages.require_params(params, "schedule-free")
        rate = learning_rate(state.step_count) if callable(learning_rate) else constant
        largest, total, share = (_relative_weights if direct else _weights)(state, rate, power)
        steps, base_state = base_optimizer.update(
            updates, state.base_optimizer_state, params, **(extra_args if takes_extra else {})
        )
        z = trees.map_state(lambda u, z: trees.plus(trees.widen(z), trees.widen(u)), steps, state.z)
        wide = jax.tree.map(trees.widen, state.z)
        moved = trees.map_updates(partial(_direct if direct else _moved, beta, share), steps, params, wide, z)
        step_count = trees.increment(state.step_count)
        return moved, ScheduleFreeState(state.b1, total, step_count, largest, base_state, z)

    return stages.alone(GradientTransformationExtraArgs(init, update), state_dtype)


def _weights(state: Any, rate: Any, power: Any) -> tuple[Any, Any, Any]:
    """Return the largest rate so far, the sum of all weights, and the share of the new one; 0 if all rates were 0."""
    before = jnp.asarray(state.max_lr)
    largest = jnp.maximum(before, jnp.asarray(rate, before.dtype))
    weight = (largest**power).astype(largest.dtype)
    total = jnp.asarray(state.weight_sum) + weight
    return largest, total, jnp.where(total == 0, 0, weight / jnp.where(total == 0, 1, total))


def _relative_weights(state: Any, rate: Any, power: Any) -> tuple[Any, Any, Any]:
    """Return the same with the sum in units of the new weight, so that at a constant rate it is the exact count."""
    before = jnp.asarray(state.max_lr)
    largest = jnp.maximum(before, jnp.asarray(rate, before.dtype))
    share_of = lambda x: (jnp.where(largest == 0, 0, x / jnp.where(largest == 0, 1, largest)) ** power).astype(x.dtype)
    unit = share_of(largest)
    total = jnp.asarray(state.weight_sum) * share_of(before) + unit
    return largest, total, jnp.where(total == 0, 0, unit / jnp.where(total == 0, 1, total))


def _direct(beta, share, u, w, old, new):
    """Return the step of w for the step u of z, of which the old is needed alone."""
    del new
    toward = trees.times(share, trees.plus(old, -w))
    return trees.plus(toward, trees.times(1.0 - beta * (1.0 - share), trees.widen(u)))


def _moved(beta, share, u, w, old, new):
    """Return the step of w for the step u of z from old to new."""
    x = trees.plus(w, trees.times(beta - 1.0, old)) / beta
    x = trees.plus(trees.times(1.0 - share, x), trees.times(share, new))
    step = trees.plus(trees.plus(trees.times(beta, x), trees.times(1.0 - beta, new)), -w)
    return jnp.where((share == 0) & (u == 0), jnp.zeros_like(step), step)  # rounding of x would move w


@own_words
def schedule_free_sgd(
    learning_rate: ScalarOrSchedule = 1.0,
    warmup_steps: int | None = None,
    b1: ArrayLike = 0.9,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: ArrayLike = 2.0,
    state_dtype: DTypeLike | None = None,
    *,
    convention: str = "optax",
    direct: bool | None = None,
) -> GradientTransformationExtraArgs:
    """Schedule-free SGD: see ``schedule_free``, with u = −α(g + λw).

    Args:
        learning_rate: α, a number of at least 0 or a schedule without decay.
        warmup_steps: steps in which α rises linearly from 0, a whole number of at least 1; None warms up in none.
        b1: see ``schedule_free``.
        weight_decay: λ, a number of at least 0 or a schedule; None adds none.
        weight_lr_power: see ``schedule_free``.
        state_dtype: see ``schedule_free``.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        direct: see ``schedule_free``; also, the first step of a warm-up is α/W, not 0. None takes the convention's
            (optax False, the paper True).

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: see ``schedule_free``.
    """
    options = resolve("schedule_free_sgd", convention, weight_decay=weight_decay, direct=direct)
    rate, decay = _warmed_up(learning_rate, warmup_steps), options["weight_decay"]
    base = sgd(_ahead(rate) if options["direct"] and warmup_steps else rate)
    base = base if decay is None else stages.chain(stages.add_decayed_weights(decay), base)
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype, direct=options["direct"])


@own_words
def schedule_free_adamw(
    learning_rate: ScalarOrSchedule = 0.0025,
    warmup_steps: int | None = None,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    weight_lr_power: ArrayLike = 2.0,
    state_dtype: DTypeLike | None = None,
    *,
    convention: str = "optax",
    direct: bool | None = None,
) -> GradientTransformationExtraArgs:
    """Schedule-free AdamW: see ``schedule_free``, with u = −α(g/(√v̂ + eps) + λw), where v̂ is Adam's.

    Args:
        learning_rate: see ``schedule_free_sgd``.
        warmup_steps: see ``schedule_free_sgd``.
        b1: see ``schedule_free``.
        b2: decay of the average of g², in [0, 1).
        eps: added to the root, at least 0.
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (optax 0).
        weight_lr_power: see ``schedule_free``.
        state_dtype: see ``schedule_free``.
        convention: see ``schedule_free_sgd``.
        direct: see ``schedule_free_sgd``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: see ``schedule_free``.
    """
    options = resolve("schedule_free_adamw", convention, weight_decay=weight_decay, direct=direct)
    rate = _warmed_up(learning_rate, warmup_steps)
    base = stages.chain(
        scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True, exact_correction=options["direct"]),
        stages.add_decayed_weights(options["weight_decay"]),
        stages.scale_by_learning_rate(_ahead(rate) if options["direct"] and warmup_steps else rate),
    )
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype, direct=options["direct"])


def _ahead(rate: Any) -> ScalarOrSchedule:
    return lambda count: rate(count + 1)


def _warmed_up(learning_rate: ScalarOrSchedule, warmup_steps: int | None) -> ScalarOrSchedule:
    check(non_negative={"learning_rate": learning_rate})
    if warmup_steps is None:
        return learning_rate
    check_whole(warmup_steps=(warmup_steps, 1))
    return schedules.warmup(learning_rate, warmup_steps)
