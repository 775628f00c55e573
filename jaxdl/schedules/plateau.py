"""A rate that falls when a measured value stops improving."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array
from optax.contrib import ReduceLROnPlateauState

from jaxdl import numerics
from jaxdl.schedules.counting import of_numbers
from jaxdl.words import own_words


class _Rule(NamedTuple):
    """The numbers of `reduce_on_plateau`."""

    factor: float
    patience: ArrayLike
    rtol: float
    atol: float
    cooldown: ArrayLike
    accumulation_size: ArrayLike
    min_scale: ArrayLike


@own_words
@of_numbers
def reduce_on_plateau(
    factor: float = 0.1,
    patience: ArrayLike = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: ArrayLike = 0,
    accumulation_size: ArrayLike = 1,
    min_scale: ArrayLike = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Multiply the rate by a factor whenever a value has not improved for some time.

    scale ← max(scale · factor, min_scale) after ``patience`` values in a row of which none was below
    (1 − rtol)·best − atol

    The scale depends on a measured value, not on the step, so this is a transformation with a state rather than a
    function of the step. There are two ways to use it:

    * per step, behind an optimizer: ``optax.chain(optimizers.adam(1e-3), reduce_on_plateau(accumulation_size=100))``.
      `training.train_step` hands the loss of the batch to it as ``value``.
    * per epoch, by itself: ``state = plateau.init({})``, then ``_, state = plateau.update({}, state, value=loss)`` with
      the loss of the validation set; the rate is the initial one times ``state.scale``.

    Args:
        factor: in (0, 1).
        patience: values without improvement after which the rate falls, at least 1.
        rtol: relative improvement that counts, in [0, 1].
        atol: absolute improvement that counts, at least 0; not both may be 0.
        cooldown: values to ignore after the rate has fallen.
        accumulation_size: values whose mean is one value; the steps of an epoch where they are losses of batches.
        min_scale: the scale below which the rate does not fall, in [0, 1].

    Returns:
        A transformation whose ``update`` needs ``value=`` and scales the updates. Names, defaults and the state
        (`optax.contrib.ReduceLROnPlateauState`) are those of ``optax.contrib.reduce_on_plateau``; the state is of
        float32 or wider, also where the parameters are narrower.

    Raises:
        ValueError: an argument is out of range; in ``update``, ``value`` is missing.

    Examples:
        >>> plateau = schedules.reduce_on_plateau(factor=0.5, patience=1)
        >>> params = {"w": jnp.ones(2)}
        >>> state = plateau.init(params)
        >>> for value in (1.0, 1.0, 1.0):
        ...     updates, state = plateau.update(params, state, value=jnp.array(value))
        >>> state.scale
        Array(0.25, dtype=float32)
    """
    _check(factor, rtol, atol, min_scale)
    _check_counts(patience=(patience, 1), cooldown=(cooldown, 0), accumulation_size=(accumulation_size, 1))
    rule = _Rule(factor, patience, rtol, atol, cooldown, accumulation_size, min_scale)

    def init(params) -> ReduceLROnPlateauState:
        dtypes = [numerics.wide_dtype(numerics.result_dtype(leaf)) for leaf in jax.tree.leaves(params)]
        dtype = jnp.result_type(jnp.float32, *dtypes)  # bfloat16 would round small improvements away
        zero = jnp.zeros((), jnp.int32)
        one, best, mean = (jnp.full((), value, dtype) for value in (1, jnp.inf, 0))
        return ReduceLROnPlateauState(one, best, zero, zero, zero, mean)

    def update(updates, state, params=None, *, value: ArrayLike | None = None, **others):
        del params, others
        if value is None:
            raise ValueError("value: got none, must be what is measured, such as the loss of the batch")
        count = jnp.minimum(state.count, jnp.iinfo(jnp.int32).max - 1) + 1
        mean = (state.count * state.avg_value + jnp.asarray(value, state.avg_value.dtype)) / count
        gathered = state._replace(count=count, avg_value=mean.astype(state.avg_value.dtype))
        full = count == accumulation_size
        state = jax.tree.map(lambda new, old: jnp.where(full, new, old), _judged(gathered, rule), gathered)
        return jax.tree.map(lambda g: state.scale.astype(g.dtype) * g, updates), state

    return optax.GradientTransformationExtraArgs(init, update)


def _judged(state: ReduceLROnPlateauState, rule: _Rule) -> ReduceLROnPlateauState:
    """Compare the mean with the best value so far, and count."""
    scale, best = jnp.asarray(state.scale), jnp.asarray(state.best_value)
    improved = state.avg_value < (1 - rule.rtol) * best - rule.atol
    bad = jnp.where(improved, 0, jnp.asarray(state.plateau_count) + 1)
    cooling, falls = jnp.asarray(state.cooldown_count) > 0, bad == rule.patience
    lower = jnp.maximum(jnp.where(falls, scale * rule.factor, scale), rule.min_scale).astype(scale.dtype)
    zero = jnp.zeros((), jnp.int32)
    return ReduceLROnPlateauState(
        scale=jnp.where(cooling, scale, lower),
        best_value=jnp.where(improved, state.avg_value, best),
        plateau_count=_counted(jnp.where(cooling | falls, 0, bad)),
        cooldown_count=_counted(jnp.where(cooling, state.cooldown_count - 1, jnp.where(falls, rule.cooldown, 0))),
        count=zero,
        avg_value=jnp.zeros_like(state.avg_value),
    )


def _counted(count: Array) -> Array:
    return count.astype(jnp.int32)


def _check(factor: float, rtol: float, atol: float, min_scale: ArrayLike) -> None:
    if not 0 < factor < 1:
        raise ValueError(f"factor is {factor}: it must lie between 0 and 1")
    if not 0 <= rtol <= 1:
        raise ValueError(f"rtol is {rtol}: it must be in [0, 1]")
    if not atol >= 0:
        raise ValueError(f"atol is {atol}: it must be at least 0")
    if isinstance(min_scale, int | float) and not 0 <= min_scale <= 1:
        raise ValueError(f"min_scale is {min_scale}: it must be in [0, 1], a share of the rate at the start")
    if rtol == 0 and atol == 0:
        raise ValueError("rtol and atol are 0: one of them must be above 0, or no value is an improvement on its equal")


def _check_counts(**at_least: tuple[ArrayLike, int]) -> None:
    """Refuse Python numbers that count nothing; the values of arrays are not looked at."""
    for name, (value, least) in at_least.items():
        if isinstance(value, str) or (isinstance(value, int | float) and not (value % 1 == 0 and value >= least)):
            raise ValueError(f"{name} is {value!r}: it must be a whole number of at least {least}")
