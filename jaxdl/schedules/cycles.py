"""Schedules that rise and fall, and schedules made of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.schedules.counting import (
    ScalarOrSchedule,
    Schedule,
    cycle_of,
    of_numbers,
    reached,
    remaining,
    since,
    value_of,
    whole,
)
from jaxdl.schedules.decays import constant, linear
from jaxdl.words import own_words


@own_words
@of_numbers
def one_cycle(
    transition_steps: int,
    peak_value: ArrayLike,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    *,
    anneal: str = "cosine",
    pct_final: float = 0.85,
) -> Schedule:
    """Rise to a peak and fall far below the start, in one cycle over the whole run.

    "cosine": peak/div → peak at pct_start → peak/(div·final_div) at the end, along half cosines.
    "linear": peak/div → peak at pct_start → peak/div at pct_final → peak/(div·final_div), straight lines.

    Args:
        transition_steps: length of the cycle in steps, at least 1; the last value holds afterwards.
        peak_value: the largest value.
        pct_start: fraction of the cycle spent rising, in (0, 1).
        div_factor: peak over initial value, above 0.
        final_div_factor: initial over final value, above 0.
        anneal: "cosine" (``optax.cosine_onecycle_schedule``) or "linear" (``linear_onecycle_schedule``).
        pct_final: only for "linear": where the initial value is reached again, in (pct_start, 1).

    Raises:
        ValueError: an argument is out of range.

    Reference: Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates, 2017, https://arxiv.org/abs/1708.07120.

    Examples:
        >>> [round(float(schedules.one_cycle(100, 1.0)(t)), 4) for t in (0, 30, 100)]
        [0.04, 1.0, 0.0]

    [Lecture row E10]
    """
    steps = whole("transition_steps", transition_steps, 1)
    _check_one_cycle(pct_start, pct_final, div_factor, final_div_factor, anneal)
    start = peak_value / div_factor
    if anneal == "cosine":
        boundaries = (0, int(pct_start * steps), steps)
        values = (start, peak_value, start / final_div_factor)
    else:
        boundaries = (0, int(pct_start * steps), int(pct_final * steps), steps)
        values = (start, peak_value, start, start / final_div_factor)
    return partial(_interpolate, boundaries, values, anneal)


@own_words
@of_numbers
def cosine_restarts(
    init_value: ArrayLike,
    decay_steps: int,
    *,
    period_factor: int = 1,
    peak_factor: ArrayLike = 1.0,
    alpha: ArrayLike = 0.0,
) -> Schedule:
    """Decay along half a cosine again and again (SGDR).

    value(t) = init_value · ((1 − α)·m^c·½(1 + cos(π·s/T_c)) + α), s steps into cycle c, which has T_c = T·k^c steps

    Args:
        init_value: value at step 0.
        decay_steps: T, the length of the first cycle, at least 1.
        period_factor: k, a whole number of at least 1: how much longer each cycle is than the one before. 1 and
            ``init_value·α`` as minimum are the defaults of PyTorch's ``CosineAnnealingWarmRestarts``.
        peak_factor: m, how much higher each cycle starts.
        alpha: the minimum as a fraction of ``init_value``.

    Raises:
        ValueError: ``decay_steps`` or ``period_factor`` is not a whole number in its range.

    Example:
        ``cosine_restarts(0.1, 10, period_factor=2)`` is 0.1 at steps 0, 10, 30 and 70.

    Reference: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017,
    https://arxiv.org/abs/1608.03983

    Examples:
        >>> [round(float(schedules.cosine_restarts(1.0, 10)(t)), 4) for t in (0, 5, 10)]
        [1.0, 0.5, 1.0]
    """
    steps, factor = whole("decay_steps", decay_steps, 1), whole("period_factor", period_factor, 1)

    def schedule(count):
        cycle, rest = cycle_of(count, steps, factor)
        wave = jnp.square(jnp.sin(0.5 * jnp.pi * rest))  # ½(1 + cos) would cancel at the end
        peak = jnp.power(value_of(peak_factor), value_of(cycle))
        return value_of(init_value) * ((1 - value_of(alpha)) * peak * wave + value_of(alpha))

    return schedule


@own_words
@of_numbers
def warmup(schedule: ScalarOrSchedule, warmup_steps: int, init_value: ArrayLike = 0.0) -> Schedule:
    """Rise linearly for some steps, then follow a schedule that starts where the rise ended.

    value(t) = init + (schedule(0) − init)·t/W for t < W, schedule(t − W) afterwards

    Args:
        schedule: the schedule to follow; a number means a constant one.
        warmup_steps: W, at least 0 (0 returns the schedule itself).
        init_value: value at step 0. With 0, optax's default too, the first step changes nothing.

    Raises:
        ValueError: ``warmup_steps`` is negative.

    Examples:
        >>> [round(float(schedules.warmup(1.0, 4)(t)), 4) for t in (0, 2, 4)]
        [0.0, 0.5, 1.0]

    [Lecture row E10]
    """
    warmup_steps = whole("warmup_steps", warmup_steps, 0)
    after = schedule if callable(schedule) else constant(schedule)
    if warmup_steps == 0:
        return after
    return joined([linear(init_value, after(0), warmup_steps), after], [warmup_steps])


@own_words
@of_numbers
def joined(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Follow one schedule after the other, each counting from 0 at its boundary.

    Args:
        schedules: at least one schedule.
        boundaries: increasing steps at which the next schedule takes over, one fewer than schedules.

    Raises:
        ValueError: the numbers of schedules and boundaries do not fit, or the boundaries do not increase.

    See ``optax.join_schedules``.

    Examples:
        >>> schedule = schedules.joined([schedules.constant(1.0), schedules.linear(1.0, 0.0, 10)], [10])
        >>> [round(float(schedule(t)), 4) for t in (9, 20)]
        [1.0, 0.0]

    [Lecture row E10]
    """
    for name, several in (("schedules", schedules), ("boundaries", boundaries)):
        if not hasattr(several, "__len__"):
            raise ValueError(f"{name} is {'a function' if callable(several) else several}: it must be a sequence")
    if wrong := [one for one in schedules if not callable(one)]:
        raise ValueError(f"schedules has {wrong[0]!r:.60}: it must be schedules, such as schedules.constant(0.1)")
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"boundaries has {len(boundaries)} entries for {len(schedules)} schedules: one fewer is needed"
        )
    boundaries = [whole(f"boundaries[{i}]", boundary) for i, boundary in enumerate(boundaries)]
    if boundaries != sorted(set(boundaries)):
        raise ValueError(f"boundaries is {list(boundaries)}: it must increase")

    def schedule(count):
        value = schedules[0](count)
        for boundary, follower in zip(boundaries, schedules[1:], strict=True):
            value = jnp.where(reached(count, boundary), follower(since(count, boundary)), value)
        return value

    return schedule


@own_words
@of_numbers
def range_test(init_value: float, end_value: float, transition_steps: int) -> Schedule:
    """Grow geometrically from a tiny to a huge rate, to find by one run where training diverges.

    value(t) = init · (end/init)^(min(t, T)/T)

    Args:
        init_value: value at step 0, above 0.
        end_value: value from step T on, above 0.
        transition_steps: T, at least 1.

    Raises:
        ValueError: an argument is out of range.

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, 2017,
    https://arxiv.org/abs/1506.01186.

    Examples:
        >>> [round(float(schedules.range_test(1e-3, 1.0, 3)(t)), 4) for t in (0, 1, 2)]
        [0.001, 0.01, 0.1]

    [Lecture row E10]
    """
    steps = whole("transition_steps", transition_steps, 1)
    for name, value in (("init_value", init_value), ("end_value", end_value)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value}: it must be finite and above 0")
    growth = math.log(end_value / init_value)
    return lambda count: init_value * jnp.exp(growth * (1 - remaining(count, 0, steps)))


def _interpolate(boundaries, values, anneal, count):
    """Value at ``count`` on the curve through (boundary, value) pairs, flat outside."""
    values = [*map(value_of, values)]
    result = jnp.where(reached(count, boundaries[-1]), values[-1], values[0])
    segments = zip(boundaries[:-1], boundaries[1:], values[:-1], values[1:], strict=True)
    for left, right, start, end in segments:
        if left == right:
            continue
        rest = remaining(count, left, right - left)
        rest = rest if anneal == "linear" else jnp.square(jnp.sin(0.5 * jnp.pi * rest))
        inside = jnp.logical_and(reached(count, left), jnp.logical_not(reached(count, right)))
        result = jnp.where(inside, end + (start - end) * rest, result)
    return result


def _check_one_cycle(pct_start, pct_final, div_factor, final_div_factor, anneal):
    if anneal not in ("cosine", "linear"):
        raise ValueError(f"anneal is {anneal!r}: it must be 'cosine' or 'linear'")
    if not 0 < pct_start < 1:
        raise ValueError(f"pct_start is {pct_start}: it must lie between 0 and 1")
    if anneal == "linear" and not pct_start < pct_final < 1:
        raise ValueError(f"pct_final is {pct_final}: it must lie between pct_start={pct_start} and 1")
    for name, value in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
        if not value > 0:
            raise ValueError(f"{name} is {value}: it must be above 0")
