"""The stages that optimizers are chained from: learning rate, weight decay and momentum.

A stage is an ``optax.GradientTransformation``. ``chain`` runs its stages in float32 or wider: it widens half-precision
gradients and parameters on entry, stores accumulators in ``state_dtype``, and narrows the updates to the gradients'
dtype on exit. None of this is an operation on float32 and float64 trees, so their arithmetic and state equal optax's.
Averages are in ``moments``, checks of arguments in ``checks``, and the rules for leaves of any tree in ``trees``.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl import numerics, regularizers
from jaxdl.optimizers import contracts, trees
from jaxdl.optimizers.checks import check, check_optimizers
from jaxdl.optimizers.contracts import stateless, transformation
from jaxdl.optimizers.grouping import Mask, masked, selecting
from jaxdl.optimizers.states import (
    EmptyState,
    ScaleByScheduleState,
    TraceState,
    WeightDecaySchedule,
)
from jaxdl.optimizers.trees import map_state, map_updates, times
from jaxdl.schedules import ScalarOrSchedule


def chain(*stages: GradientTransformation, state_dtype: DTypeLike | None = None):
    """Run stages one after the other in float32 or wider, and pass extra arguments to the stages that accept them.

    Args:
        *stages: the transformations, first to last.
        state_dtype: dtype of the accumulators; None keeps float32 for half-precision leaves and the leaf's own for
            others. Complex leaves have complex accumulators.

    Returns:
        One transformation. Its state is the tuple of the stages' states, whose dtypes never change.

    Raises:
        ValueError: at init, a leaf is not an array; at update, the state belongs to another chain, or the updates, the
            state and the parameters differ in tree structure.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.chain(optimizers.clip_by_value(0.2), optimizers.sgd(0.1))
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.02,  0.01], dtype=float32)
    """
    check_optimizers(**{f"stages[{i}]": stage for i, stage in enumerate(stages)})

    def init(params):
        wide = jax.tree.map(lambda p: trees.accumulator(p, state_dtype), params)
        return tuple(stage.init(wide) for stage in stages)

    def update(updates, state, params=None, **extra_args):
        _check_chain_state(state, len(stages))
        narrow, (updates, params) = updates, jax.tree.map(trees.widen, (updates, params))
        new_state = []
        for stage, stage_state in zip(stages, state, strict=True):
            takes_extra = isinstance(stage, GradientTransformationExtraArgs)
            updates, after = stage.update(updates, stage_state, params, **(extra_args if takes_extra else {}))
            new_state.append(trees.keep_dtypes(after, stage_state))
        # lookahead returns updates for two trees of parameters
        same = jax.tree.structure(updates) == jax.tree.structure(narrow)
        return trees.cast_like(updates, narrow) if same else updates, tuple(new_state)

    return GradientTransformationExtraArgs(init, update)


def alone(stage: GradientTransformation, state_dtype: DTypeLike | None = None) -> GradientTransformationExtraArgs:
    """Run one stage as ``chain`` does; the state is the stage's own."""
    whole: Any = chain(stage, state_dtype=state_dtype)

    def update(updates, state, params=None, **extra_args):
        updates, (after,) = whole.update(updates, (state,), params, **extra_args)
        return updates, after

    return GradientTransformationExtraArgs(lambda params: whole.init(params)[0], update)


def _check_chain_state(state, stages):
    if not isinstance(state, tuple | list) or hasattr(state, "_fields"):
        came, wanted = contracts.described(state), f"a chain needs the tuple of its {stages} stages' states"
    elif len(state) != stages:
        came, wanted = f"of {len(state)} stages", f"this chain has {stages}, so it is the state of another"
    else:
        return
    raise ValueError(f"state is {came}: {wanted}; {contracts.ORDER}")


def identity() -> GradientTransformation:
    """Pass the updates through unchanged."""
    return stateless("identity", lambda updates, params: updates)


def scale_by_learning_rate(learning_rate: ScalarOrSchedule | None, *, sign: int = -1) -> GradientTransformation:
    """Multiply by minus the learning rate, a number or a schedule of the step; None passes updates through."""
    if learning_rate is None:
        return identity()
    if not callable(learning_rate):
        factor = sign * trees.hyper(learning_rate)
        return stateless("a learning rate", lambda updates, params: map_updates(partial(times, factor), updates))
    schedule = learning_rate

    def init(params):
        del params
        return ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        del params
        factor = sign * schedule(state.count)
        updates = map_updates(lambda g: jnp.asarray(factor, trees.real(g).dtype) * g, updates)
        return updates, ScaleByScheduleState(count=trees.increment(state.count))

    return transformation("a learning rate schedule", ScaleByScheduleState, init, update)


def add_decayed_weights(weight_decay: ScalarOrSchedule = 0.0, mask: Mask = None) -> GradientTransformation:
    """Add λ·parameter to the updates.

    In front of an optimizer this is the L2 penalty ½λ‖w‖² (coupled decay); as the last stage in front of the learning
    rate it is decoupled weight decay.

    Args:
        weight_decay: λ, a number of at least 0 or a schedule of the step.
        mask: which parameters decay: a tree of bools, a prefix of one, or a function of the tree, such as the result of
            ``mask_by_path``; None selects all.

    Raises:
        ValueError: λ is negative; at init or update, the mask selects no leaf although λ is not the constant 0; at
            update, ``params`` is missing.

    Reference: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019,
    https://arxiv.org/abs/1711.05101.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.add_decayed_weights(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([0.6, 0.1], dtype=float32)

    [Lecture rows C6, E7, G1]
    """
    check(non_negative={"weight_decay": weight_decay})
    schedule = weight_decay if callable(weight_decay) else None
    constant = None if callable(weight_decay) else trees.hyper(weight_decay)

    def init(params):
        del params
        return EmptyState() if schedule is None else WeightDecaySchedule(count=jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        require_params(params, "add_decayed_weights")
        if schedule is None:
            return _add_scaled(updates, constant, params), state
        decayed = _add_scaled(updates, trees.hyper(schedule(state.count)), params)
        return decayed, WeightDecaySchedule(count=trees.increment(state.count))

    state_class = EmptyState if schedule is None else WeightDecaySchedule
    return _where(transformation("add_decayed_weights", state_class, init, update), mask, weight_decay)


def proximal_l1(threshold: ScalarOrSchedule, mask: Mask = None) -> GradientTransformation:
    """Follow a step by the proximal step of L1: w ← sgn(w) max(|w| − t, 0), which makes small weights exactly 0.

    It is the last stage, behind the learning rate: ``chain(sgd(α), proximal_l1(α·λ))`` descends loss + λ‖w‖₁, whose
    subgradient, in contrast, leaves weights that tremble around 0.

    Args:
        threshold: t, a number of at least 0 or a schedule of the step; α·λ for the rate α.
        mask: which parameters shrink, as in ``add_decayed_weights``; ``mask_by_path(".*/kernel")`` spares biases.

    Raises:
        ValueError: t is negative; at init or update, the mask selects no leaf although t is not the constant 0; at
            update, ``params`` is missing.

    Reference: Daubechies, Defrise and De Mol, An iterative thresholding algorithm for linear inverse problems with a
    sparsity constraint, 2004. https://arxiv.org/abs/math/0307152.

    [Lecture rows C6, G1]
    """
    check(non_negative={"threshold": threshold})
    schedule = threshold if callable(threshold) else None
    constant = None if callable(threshold) else trees.hyper(threshold)

    def init(params):
        del params
        return EmptyState() if schedule is None else ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        require_params(params, "proximal_l1")
        limit = constant if schedule is None else trees.hyper(schedule(state.count))
        shrunk = map_updates(lambda g, p: _shrunk(g, p, limit), updates, params)
        return shrunk, state if schedule is None else ScaleByScheduleState(count=trees.increment(state.count))

    state_class = EmptyState if schedule is None else ScaleByScheduleState
    return _where(transformation("proximal_l1", state_class, init, update), mask, threshold, "proximal_l1")


def _shrunk(g, p, limit):
    """Return the update after which p + g has moved towards 0 by the limit, and stopped there."""
    old = trees.widen(p)
    moved = trees.plus(trees.widen(g), old)
    size = numerics.safe_abs(moved)
    nearer = trees.plus(moved, times(-1 * limit, jnp.sign(moved)))
    return trees.as_dtype_of(trees.plus(jnp.where(size > jnp.asarray(limit, size.dtype), nearer, 0), -old), g)


def max_norm(radius: ScalarOrSchedule, mask: Mask = None) -> GradientTransformation:
    """Follow a step by the projection of each unit's incoming weights onto a ball: w ← w min(1, r / ‖w‖₂).

    It is the last stage, behind the learning rate, as in ``chain(sgd(0.1), max_norm(3.0))``. `regularizers.max_norm` is
    the projection by itself, and says which weights belong to a unit.

    Args:
        radius: r, a number above 0 or a schedule of the step.
        mask: which parameters are bounded, as in ``add_decayed_weights``, each with at least two axes; None selects
            those that have them, and passes the others, such as biases, unchanged.

    Raises:
        ValueError: r is not above 0; at init or update, the mask selects no leaf; at update, ``params`` is missing, or
            the mask selects a leaf with fewer than two axes.

    Reference: Srivastava et al., Dropout, 2014, section 5.1. https://jmlr.org/papers/v15/srivastava14a.html

    Examples:
        >>> params, grads = jnp.array([[3.0], [4.0]]), jnp.zeros((2, 1))
        >>> optimizer = optimizers.max_norm(1.0)
        >>> (params + optimizer.update(grads, optimizer.init(params), params)[0]).ravel()
        Array([0.5999999 , 0.79999995], dtype=float32)

    [Lecture row G3]
    """
    check(positive={"radius": radius})
    schedule = radius if callable(radius) else None
    constant = None if callable(radius) else trees.hyper(radius)

    def init(params):
        del params
        return EmptyState() if schedule is None else ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        require_params(params, "max_norm")
        limit = constant if schedule is None else trees.hyper(schedule(state.count))
        bounded = map_updates(lambda g, p: _bounded(g, p, limit, spare=mask is None), updates, params)
        return bounded, state if schedule is None else ScaleByScheduleState(count=trees.increment(state.count))

    state_class = EmptyState if schedule is None else ScaleByScheduleState
    return _where(transformation("max_norm", state_class, init, update), mask, radius, "max_norm")


def _bounded(g, p, limit, *, spare):
    """Return the update after which p + g lies in the ball of radius limit, or g if the leaf is spared."""
    if spare and jnp.ndim(p) < 2:
        return g
    old = trees.widen(p)
    inside = regularizers.max_norm(trees.plus(trees.widen(g), old), limit, mask=True)
    return trees.as_dtype_of(trees.plus(inside, -old), g)


def _where(stage, mask, strength, name="weight_decay"):
    """Restrict a stage to the leaves that a mask selects; it must select some, unless the strength is 0."""
    if mask is None:
        return stage
    return masked(stage, mask) if _is_zero(strength) else selecting(stage, mask, f"the mask of {name}")


def _is_zero(strength):
    return isinstance(strength, int | float) and strength == 0


def _add_scaled(updates, factor, params):
    # a constant 0 needs no pass over the parameters
    if _is_zero(factor):
        return updates
    return map_updates(lambda g, p: _decayed(g, factor, p), updates, params)


def _decayed(g, factor, p):
    total = trees.plus(trees.widen(g), times(factor, trees.widen(p)))
    return trees.as_dtype_of(total, g)


def decay_apart(
    learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule, mask: Mask, form: str
) -> GradientTransformation:
    """Decay the parameters and add the finished updates, in a framework's order of operations.

    Args:
        learning_rate: α, a number or a schedule of the step.
        weight_decay: λ, a number of at least 0 or a schedule.
        mask: which parameters decay; None selects all.
        form: "product" w·(1 − αλ) + u, "difference" w − α·λ·w + u, "unscaled" w − λ·w + u, "proximal" (w + u)/(1 + αλ).
    """
    check(non_negative={"weight_decay": weight_decay})

    def stepped(u, w, rate, factor):
        if form == "proximal":
            return (w + u) / (1 + rate * factor)
        if form == "product":
            return times(1 - rate * factor, w) + u
        return w - (times(rate, times(factor, w)) if form == "difference" else times(factor, w)) + u

    def update(updates, state, params):
        require_params(params, "weight decay")
        count = state.count
        rate = trees.hyper(learning_rate(count) if callable(learning_rate) else learning_rate)
        factor = trees.hyper(weight_decay(count) if callable(weight_decay) else weight_decay)
        updates = map_updates(lambda u, w: stepped(u, w, rate, factor) - w, updates, params)
        return updates, WeightDecaySchedule(count=trees.increment(count))

    def init(params):
        del params
        return WeightDecaySchedule(count=jnp.zeros([], jnp.int32))

    return _where(transformation("weight decay", WeightDecaySchedule, init, update), mask, weight_decay)


def decoupled(
    direction: GradientTransformation,
    learning_rate: ScalarOrSchedule,
    *,
    weight_decay: ScalarOrSchedule,
    mask: Mask,
    decay_form: str,
) -> tuple[GradientTransformation, ...]:
    """Return the stages of a direction with decoupled weight decay and the learning rate.

    Args:
        direction: the stage whose output the learning rate scales.
        learning_rate: see ``decay_apart``.
        weight_decay: see ``decay_apart``.
        mask: see ``decay_apart``.
        decay_form: "joint" for α·(direction + λw), or a form of ``decay_apart``.
    """
    rate = scale_by_learning_rate(learning_rate)
    if decay_form == "joint":
        return direction, add_decayed_weights(weight_decay, mask), rate
    return direction, rate, decay_apart(learning_rate, weight_decay, mask, decay_form)


def l2_penalty(name: str, weight_decay: ScalarOrSchedule | None, convention: str) -> tuple[GradientTransformation, ...]:
    """Return the stage that adds the gradient λw of an L2 penalty, which PyTorch's optimizers do before anything else.

    Args:
        name: the optimizer's name, for the message.
        weight_decay: λ; None adds no stage.
        convention: must be "torch" if λ is given.

    Raises:
        ValueError: λ is given under another convention, where ``weight_decay`` could mean either kind of decay.
    """
    if weight_decay is None:
        return ()
    if convention != "torch":
        raise ValueError(
            f"weight_decay is {weight_decay} and convention {convention!r}: {name} has an L2 penalty only under "
            f"'torch'; chain(add_decayed_weights(...), {name}(...)) is that penalty, adamw and lion decay decoupled"
        )
    return (add_decayed_weights(weight_decay),)


def require_params(params, name: str) -> None:
    """Raise a ``ValueError`` if ``update`` was called without the parameters."""
    if params is None:
        raise ValueError(f"params is None: {name} needs update(updates, state, params)")


def trace(
    decay: ArrayLike, nesterov: bool = False, accumulator_dtype: DTypeLike | None = None, ema: bool = False
) -> GradientTransformation:
    """Accumulate momentum: t ← g + β·t, or t ← (1 − β)·g + β·t with ``ema``.

    Args:
        decay: β.
        nesterov: return g accumulated onto the new t instead of the new t.
        accumulator_dtype: dtype in which t is stored; None is the parameters' dtype.
        ema: weight the new gradient by 1 − β.
    """
    beta = trees.hyper(decay)

    def onto(g, t):
        return trees.plus(times(1 - beta, g) if ema else g, times(beta, t))

    def init(params):
        return TraceState(trace=trees.zeros_like(params, accumulator_dtype))

    def update(updates, state, params):
        del params
        new = map_state(onto, updates, state.trace)
        updates = map_updates(onto if nesterov else lambda g, t: t, updates, new)
        return updates, TraceState(trace=trees.cast_like(new, state.trace))

    return transformation("momentum", TraceState, init, update)
