"""The parts that optimizers are put together from: chain, learning rate, decay, momentum, moments, checks.

A stage is an ``optax.GradientTransformation``. ``chain`` runs its stages in float32 at least: half-precision
gradients and parameters are widened on entry, accumulators are kept in ``state_dtype``, and the updates are
narrowed to the gradients' dtype on exit. For float32 and float64 trees all of that is no operation, so the
arithmetic and the state's tree are optax's.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers.grouping import Mask, masked
from jaxdl.optimizers.states import (
    EmptyState,
    ScaleByScheduleState,
    TraceState,
    WeightDecaySchedule,
)
from jaxdl.schedules import ScalarOrSchedule

MOMENT_FORMS: Final = ("weighted", "increment", "mixed")
"""In which order of operations exponential averages are taken; see ``update_moment``."""


def chain(*stages: GradientTransformation, state_dtype: DTypeLike | None = None):
    """Run stages one after the other, in float32 at least; extra arguments go to the stages that take them.

    Args:
        *stages: the transformations, first to last.
        state_dtype: dtype of the accumulators; None means float32 for half-precision leaves and the leaf's
            own dtype for all others.

    Returns:
        One transformation whose state is the tuple of the stages' states.
    """

    def init(params):
        wide = jax.tree.map(lambda p: widen(p) if state_dtype is None else p.astype(state_dtype), params)
        return tuple(stage.init(wide) for stage in stages)

    def update(updates, state, params=None, **extra_args):
        narrow = updates
        updates, params = jax.tree.map(widen, (updates, params))
        new_state = []
        for stage, stage_state in zip(stages, state, strict=True):
            takes_extra = isinstance(stage, GradientTransformationExtraArgs)
            updates, stage_state = stage.update(updates, stage_state, params, **(extra_args if takes_extra else {}))
            new_state.append(stage_state)
        return cast_like(updates, narrow), tuple(new_state)

    return GradientTransformationExtraArgs(init, update)


def widen(x):
    """Return a floating array in float32 at least; others unchanged."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def cast_like(tree, like):
    """Return the tree in the dtypes of another tree's leaves."""
    return jax.tree.map(lambda x, y: x.astype(jnp.asarray(y).dtype), tree, like)


def zeros_like(params, dtype: DTypeLike | None = None):
    """Return zeros of the parameters' shapes; a complex leaf is refused.

    Raises:
        ValueError: a leaf is complex.
    """
    for leaf in jax.tree.leaves(params):
        if jnp.iscomplexobj(leaf):
            raise ValueError(f"params has a {leaf.dtype} leaf: optimize its real and imaginary parts instead")
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=dtype), params)


def stateless(function: Callable[[Any, Any], Any]) -> GradientTransformation:
    """Make a stage without a state from ``(updates, params) -> updates``."""

    def update(updates, state, params=None):
        return function(updates, params), state

    return GradientTransformation(_empty_state, update)


def _empty_state(params):
    del params
    return EmptyState()


def identity() -> GradientTransformation:
    """Pass the updates through."""
    return stateless(lambda updates, params: updates)


def increment(count):
    """Add one to an integer counter, which stays at its largest value instead of overflowing."""
    count = jnp.asarray(count)
    return jnp.minimum(count, jnp.iinfo(count.dtype).max - 1) + jnp.ones((), count.dtype)


def scale_by_learning_rate(learning_rate: ScalarOrSchedule | None) -> GradientTransformation:
    """Multiply by minus the learning rate, a number or a schedule of the step; None passes through."""
    if learning_rate is None:
        return identity()
    if not callable(learning_rate):
        factor = -1 * learning_rate  # pyright: ignore[reportOperatorIssue]
        return stateless(lambda updates, params: jax.tree.map(lambda g: factor * g, updates))
    schedule = learning_rate

    def init(params):
        del params
        return ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(updates, state, params=None):
        del params
        factor = -1 * schedule(state.count)
        updates = jax.tree.map(lambda g: jnp.array(factor, dtype=g.dtype) * g, updates)
        return updates, ScaleByScheduleState(count=increment(state.count))

    return GradientTransformation(init, update)


def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0, mask: Mask = None) -> GradientTransformation:
    """Add λ·parameter to the updates.

    Before an optimizer this is the L2 penalty ½λ‖w‖² (coupled decay); as the last stage before the learning
    rate it is decoupled decay.

    Args:
        weight_decay: λ, a number at least 0 or a schedule of the step.
        mask: which parameters decay: a tree of bools, a prefix of one or a function of the tree; None: all.

    Raises:
        ValueError: λ is negative; at update, ``params`` is missing.

    Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019,
    https://arxiv.org/abs/1711.05101. Lecture rows C6, E7, G1.
    """
    check(non_negative={"weight_decay": weight_decay})
    schedule = weight_decay if callable(weight_decay) else None

    def init(params):
        del params
        return EmptyState() if schedule is None else WeightDecaySchedule(count=jnp.zeros([], jnp.int32))

    def update(updates, state, params=None):
        require_params(params, "add_decayed_weights")
        if schedule is None:
            return _add_scaled(updates, weight_decay, params), state
        decayed = _add_scaled(updates, schedule(state.count), params)
        return decayed, WeightDecaySchedule(count=increment(state.count))

    stage = GradientTransformation(init, update)
    return stage if mask is None else masked(stage, mask)


def _add_scaled(updates, factor, params):
    # a constant 0 costs no pass over the parameters
    if isinstance(factor, int | float) and factor == 0:
        return updates
    return jax.tree.map(lambda g, p: g + factor * p, updates, params)


def decay_first(
    learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule, mask: Mask, form: str
) -> GradientTransformation:
    """Decay the parameters before finished updates are added, in the order of operations of a framework.

    Args:
        learning_rate: α, a number or a schedule of the step.
        weight_decay: λ, a number at least 0 or a schedule.
        mask: which parameters decay; None: all.
        form: "product" w·(1 − αλ), "difference" w − α·λ·w, or "unscaled" w − λ·w.
    """
    check(non_negative={"weight_decay": weight_decay})

    def decayed(w, rate, factor):
        if form == "product":
            return w * (1 - rate * factor)
        return w - (w * factor * rate if form == "difference" else w * factor)

    def update(updates, state, params=None):
        require_params(params, "weight decay")
        count = state.count
        rate = learning_rate(count) if callable(learning_rate) else learning_rate
        factor = weight_decay(count) if callable(weight_decay) else weight_decay
        updates = jax.tree.map(lambda u, w: (decayed(w, rate, factor) + u) - w, updates, params)
        return updates, WeightDecaySchedule(count=increment(count))

    def init(params):
        del params
        return WeightDecaySchedule(count=jnp.zeros([], jnp.int32))

    stage = GradientTransformation(init, update)
    return stage if mask is None else masked(stage, mask)


def decoupled(
    direction: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule,
    mask: Mask,
    form: str,
) -> tuple[GradientTransformation, ...]:
    """Return the stages of a direction with decoupled weight decay and the learning rate.

    Args:
        direction: the stage whose output is scaled by the learning rate.
        learning_rate: see ``decay_first``.
        weight_decay: see ``decay_first``.
        mask: see ``decay_first``.
        form: "joint" α·(direction + λw), or a form of ``decay_first``.

    Raises:
        ValueError: there is no such form.
    """
    rate = scale_by_learning_rate(learning_rate)
    if form == "joint":
        return direction, add_decayed_weights(weight_decay, mask), rate
    if form not in ("product", "difference", "unscaled"):
        raise ValueError(f"decay_form is {form!r}: it must be 'joint', 'product', 'difference' or 'unscaled'")
    return direction, rate, decay_first(learning_rate, weight_decay, mask, form)


def require_params(params, name: str) -> None:
    """Raise a ``ValueError`` if ``update`` was called without the parameters."""
    if params is None:
        raise ValueError(f"params is None: {name} needs update(updates, state, params)")


def trace(
    decay: ArrayLike, nesterov: bool = False, accumulator_dtype: DTypeLike | None = None, ema: bool = False
) -> GradientTransformation:
    """Accumulate momentum: t ← g + β·t, or with ``ema`` t ← (1 − β)·g + β·t.

    Args:
        decay: β.
        nesterov: return the accumulation of g onto the new t instead of the new t.
        accumulator_dtype: dtype in which t is kept; None means the parameters'.
        ema: weigh the new gradient by 1 − β.
    """

    def onto(g, t):
        return (1 - decay) * g + decay * t if ema else g + decay * t

    def init(params):
        return TraceState(trace=jax.tree.map(lambda p: jnp.zeros_like(p, dtype=accumulator_dtype), params))

    def update(updates, state, params=None):
        del params
        new = jax.tree.map(onto, updates, state.trace)
        updates = jax.tree.map(onto, updates, new) if nesterov else new
        return updates, TraceState(trace=cast_like(new, state.trace))

    return GradientTransformation(init, update)


def update_moment(updates, moments, decay, order: int, form: str = "weighted"):
    """Return the average after x = g^order: (1 − β)·x + β·moment, or as increment moment + (1 − β)·(x − moment).

    In float32 1 − β and β do not sum to 1 (at β = .999 they miss it by 1e-8), so that the weighted average of equal
    numbers settles 1e-5 away from them and the incremented one does not.

    Args:
        updates: g.
        moments: the averages so far.
        decay: β.
        order: the power of g.
        form: a name in ``MOMENT_FORMS``; "mixed" increments the first moment and weighs the second.
    """

    def weighted(g, t):
        return (1 - decay) * (g**order) + decay * t

    def increment(g, t):
        return t + (1 - decay) * (g**order - t)

    increments = form == "increment" or (form == "mixed" and order == 1)
    return jax.tree.map(increment if increments else weighted, updates, moments)


def correct_bias(moments, decay, count, exact: bool = False):
    """Divide an exponential average that started at 0 by 1 − β^count, its weights' sum."""
    weight = bias_weight(decay, count, exact)
    return jax.tree.map(lambda t: t / weight.astype(t.dtype), moments)


def bias_weight(decay, count, exact: bool = False):
    """Return 1 − β^count; ``exact`` avoids the cancellation that costs four digits at β = .999, count 1."""
    if not exact:
        return 1 - power(decay, count)
    if isinstance(decay, int | float):
        return -jnp.expm1(count * (math.log(decay) if decay > 0 else -math.inf))
    return -jnp.expm1(count * jnp.log(decay))


@partial(jax.jit, inline=True)
def power(decay, count):
    """Return β^count; compiled, since outside of jit a concrete integer exponent compiles anew for each value."""
    return decay**count


def check_moment_form(form: str) -> None:
    """Raise a ``ValueError`` unless the form is one of ``MOMENT_FORMS``."""
    if form not in MOMENT_FORMS:
        raise ValueError(f"moment_form is {form!r}: it must be one of {', '.join(MOMENT_FORMS)}")


def check(*, positive=None, non_negative=None, decay_rates=None) -> None:
    """Check hyperparameters that are Python or NumPy numbers; arrays, schedules and None pass.

    Args:
        positive: name → value, each must be finite and above 0.
        non_negative: name → value, each must be finite and at least 0.
        decay_rates: name → value, each must be at least 0 and below 1.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    rules = (
        (positive, lambda v: 0 < v < np.inf, "finite and above 0"),
        (non_negative, lambda v: 0 <= v < np.inf, "finite and at least 0"),
        (decay_rates, lambda v: 0 <= v < 1, "at least 0 and below 1"),
    )
    for values, allowed, words in rules:
        for name, value in (values or {}).items():
            if isinstance(value, int | float | np.number) and not allowed(value):
                raise ValueError(f"{name} is {value}: it must be {words}")
