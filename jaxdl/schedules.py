"""Schedules: pure functions ``step -> value``, for learning rates and every other hyperparameter.

Each constructor takes Python numbers and returns a traceable function of the step (an integer from 0, a
Python number or an array of any shape and any integer or floating dtype). Where optax has the same schedule the
arguments have its names, order and defaults. Steps before 0 are treated as 0. Lecture row E10.

Steps are counted, compared and divided as integers, within the range of their own dtype: numbers of steps may exceed
it, and a compiled schedule changes at the same step as an uncompiled one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = [
    "ScalarOrSchedule",
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "joined",
    "linear",
    "one_cycle",
    "polynomial",
    "range_test",
    "step",
    "warmup",
]

Schedule = Callable[[ArrayLike], ArrayLike]
ScalarOrSchedule = ArrayLike | Schedule


def constant(value: ArrayLike) -> Schedule:
    """Return ``value`` at every step. See ``optax.constant_schedule``."""
    return lambda count: value


def step(init_value: ArrayLike, boundaries_and_scales: dict[int, float] | None = None) -> Schedule:
    """Multiply the value by a factor at each boundary (staircase annealing).

    value(t) = init_value · ∏ {scale_b : b ≤ t}

    Args:
        init_value: the value before the first boundary.
        boundaries_and_scales: step → factor, factors ≥ 0. None or {} means constant.

    Raises:
        ValueError: a factor is negative.

    See ``optax.piecewise_constant_schedule``. Lecture row E10.
    """
    pairs = sorted((boundaries_and_scales or {}).items())
    for boundary, scale in pairs:
        if not scale >= 0:
            raise ValueError(f"boundaries_and_scales[{boundary}] is {scale}: a factor must be at least 0")

    def schedule(count):
        value = jnp.asarray(init_value, float)
        for boundary, scale in pairs:
            value = jnp.where(_reached(count, boundary), scale * value, value)
        return value

    return schedule


def polynomial(
    init_value: ArrayLike,
    end_value: ArrayLike,
    power: ArrayLike,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """Go from one value to another along a polynomial.

    value(t) = (init − end)·(1 − clip(t − begin, 0, T)/T)^power + end

    Args:
        init_value: value up to step ``transition_begin``.
        end_value: value from step ``transition_begin + transition_steps`` on.
        power: exponent; 1 is linear.
        transition_steps: T, steps from one value to the other, at least 1.
        transition_begin: first step of the transition, at least 0.

    Raises:
        ValueError: ``transition_steps`` or ``transition_begin`` is out of range.

    See ``optax.polynomial_schedule``. Lecture row E10.
    """
    steps = _whole("transition_steps", transition_steps, 1)
    begin = _whole("transition_begin", transition_begin, 0)

    def schedule(count):
        start, end = _value(init_value), _value(end_value)
        return (start - end) * _remaining(count, begin, steps) ** _exponent(power) + end

    return schedule


def linear(init_value: ArrayLike, end_value: ArrayLike, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """Go from one value to another on a straight line. See ``polynomial`` with power 1."""
    return polynomial(init_value, end_value, 1, transition_steps, transition_begin)


def exponential(
    init_value: ArrayLike,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: ArrayLike | None = None,
) -> Schedule:
    """Decay (or grow) geometrically.

    value(t) = init_value · decay_rate^((t − begin)/T), with the exponent rounded down when ``staircase``

    Args:
        init_value: value up to step ``transition_begin``.
        transition_steps: T, steps after which the value is multiplied by ``decay_rate``, at least 1.
        decay_rate: factor, above 0.
        transition_begin: first step of the decay, at least 0.
        staircase: change only every T steps.
        end_value: bound that the value does not pass: lower if ``decay_rate`` < 1, else upper.

    Raises:
        ValueError: an argument is out of range.

    See ``optax.exponential_decay``. Lecture row E10.
    """
    steps = _whole("transition_steps", transition_steps, 1)
    begin = _whole("transition_begin", transition_begin, 0)
    if not decay_rate > 0:
        raise ValueError(f"decay_rate is {decay_rate}: it must be above 0")
    bound = jnp.maximum if decay_rate < 1 else jnp.minimum

    def schedule(count):
        value = _value(init_value) * jnp.power(_value(decay_rate), _time(count, begin, steps, staircase))
        return value if end_value is None else bound(value, _value(end_value))

    return schedule


def cosine(init_value: ArrayLike, decay_steps: int, alpha: ArrayLike = 0.0, exponent: ArrayLike = 1.0) -> Schedule:
    """Decay along half a cosine.

    value(t) = init_value · ((1 − α)·[½(1 + cos(π·min(t, T)/T))]^exponent + α)

    Args:
        init_value: value at step 0.
        decay_steps: T, at least 1.
        alpha: final value as a fraction of ``init_value``.
        exponent: power of the cosine term.

    Raises:
        ValueError: ``decay_steps`` is out of range.

    See ``optax.cosine_decay_schedule``. Lecture row E10.
    Reference: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017,
    https://arxiv.org/abs/1608.03983
    """
    steps = _whole("decay_steps", decay_steps, 1)

    def schedule(count):
        wave = jnp.square(jnp.sin(0.5 * jnp.pi * _remaining(count, 0, steps)))  # ½(1 + cos) would cancel at the end
        floor = _value(alpha)
        return _value(init_value) * ((1 - floor) * wave ** _exponent(exponent) + floor)

    return schedule


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
    Rates, 2017, https://arxiv.org/abs/1708.07120. Lecture row E10.
    """
    steps = _whole("transition_steps", transition_steps, 1)
    _check_one_cycle(pct_start, pct_final, div_factor, final_div_factor, anneal)
    start = peak_value / div_factor
    if anneal == "cosine":
        boundaries = (0, int(pct_start * steps), steps)
        values = (start, peak_value, start / final_div_factor)
    else:
        boundaries = (0, int(pct_start * steps), int(pct_final * steps), steps)
        values = (start, peak_value, start, start / final_div_factor)
    return partial(_interpolate, boundaries, values, anneal)


def inverse_time(
    init_value: ArrayLike, transition_steps: int, decay_rate: ArrayLike = 1.0, staircase: bool = False
) -> Schedule:
    """Decay as one over time (the lectures' 1/t annealing).

    value(t) = init_value / (1 + decay_rate·t/T), with t/T rounded down when ``staircase``

    Args:
        init_value: value at step 0.
        transition_steps: T: with ``decay_rate`` 1 the value is halved after T steps; at least 1.
        decay_rate: speed of the decay, at least 0.
        staircase: change only every T steps.

    Raises:
        ValueError: ``transition_steps`` is out of range.

    Lecture row E10.
    """
    steps = _whole("transition_steps", transition_steps, 1)

    def schedule(count):
        return _value(init_value) / (1 + _value(decay_rate) * _time(count, 0, steps, staircase))

    return schedule


def inverse_sqrt(init_value: ArrayLike, timescale: int = 1) -> Schedule:
    """Decay as one over the square root of time.

    value(t) = init_value / √(1 + t/timescale). With timescale 1 this is α/√t for t counted from 1, the rate
    under which Adam's regret bound is proven.

    Args:
        init_value: value at step 0.
        timescale: steps after which the value has fallen to 1/√2, at least 1.

    Raises:
        ValueError: ``timescale`` is out of range.

    Reference: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015,
    https://arxiv.org/abs/1412.6980. Lecture row E10.
    """
    steps = _whole("timescale", timescale, 1)
    return lambda count: _value(init_value) / jnp.sqrt(1 + _time(count, 0, steps))


def warmup(schedule: ScalarOrSchedule, warmup_steps: int, init_value: ArrayLike = 0.0) -> Schedule:
    """Rise linearly for some steps, then follow a schedule that starts where the rise ended.

    value(t) = init + (schedule(0) − init)·t/W for t < W, schedule(t − W) afterwards

    Args:
        schedule: what follows; a number means constant.
        warmup_steps: W, at least 0 (0 returns the schedule itself).
        init_value: value at step 0. With 0, optax's default too, the first step changes nothing.

    Raises:
        ValueError: ``warmup_steps`` is negative.

    Lecture row E10.
    """
    warmup_steps = _whole("warmup_steps", warmup_steps, 0)
    after = schedule if callable(schedule) else constant(schedule)
    if warmup_steps == 0:
        return after
    return joined([linear(init_value, after(0), warmup_steps), after], [warmup_steps])


def joined(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Follow one schedule after the other, each counting from 0 at its boundary.

    Args:
        schedules: at least one schedule.
        boundaries: increasing steps at which the next schedule takes over, one fewer than schedules.

    Raises:
        ValueError: the numbers of schedules and boundaries do not fit, or the boundaries do not increase.

    See ``optax.join_schedules``. Lecture row E10.
    """
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"boundaries has {len(boundaries)} entries for {len(schedules)} schedules: one fewer is needed"
        )
    boundaries = [_whole(f"boundaries[{i}]", boundary) for i, boundary in enumerate(boundaries)]
    if boundaries != sorted(set(boundaries)):
        raise ValueError(f"boundaries is {list(boundaries)}: it must increase")

    def schedule(count):
        value = schedules[0](count)
        for boundary, follower in zip(boundaries, schedules[1:], strict=True):
            value = jnp.where(_reached(count, boundary), follower(_since(count, boundary)), value)
        return value

    return schedule


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
    https://arxiv.org/abs/1506.01186. Lecture row E10.
    """
    steps = _whole("transition_steps", transition_steps, 1)
    for name, value in (("init_value", init_value), ("end_value", end_value)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} is {value}: it must be finite and above 0")
    growth = math.log(end_value / init_value)
    return lambda count: init_value * jnp.exp(growth * (1 - _remaining(count, 0, steps)))


def _interpolate(boundaries, values, anneal, count):
    """Value at ``count`` on the curve through (boundary, value) pairs, flat outside."""
    values = [*map(_value, values)]
    result = jnp.where(_reached(count, boundaries[-1]), values[-1], values[0])
    segments = zip(boundaries[:-1], boundaries[1:], values[:-1], values[1:], strict=True)
    for left, right, start, end in segments:
        if left == right:
            continue
        rest = _remaining(count, left, right - left)
        rest = rest if anneal == "linear" else jnp.square(jnp.sin(0.5 * jnp.pi * rest))
        inside = jnp.logical_and(_reached(count, left), jnp.logical_not(_reached(count, right)))
        result = jnp.where(inside, end + (start - end) * rest, result)
    return result


# ---------------------------------------------------------------- counting steps

# A count is a number of Python or numpy, or an array. What an array's dtype cannot hold, no entry has reached.


def _since(count, begin: int):
    """Return max(count − begin, 0), of the count's own kind."""
    if isinstance(count, int | np.integer):
        return max(int(count) - begin, 0)
    if isinstance(count, float | np.floating):
        return max(float(count) - begin, 0.0)
    xp, count = _array(count)
    if not xp.issubdtype(count.dtype, xp.integer):
        return xp.maximum(count - begin, 0)
    if begin > xp.iinfo(count.dtype).max:
        return xp.zeros_like(count)
    # not count − begin, which would wrap around below 0
    return xp.maximum(count, xp.asarray(max(begin, 0), count.dtype)) - xp.asarray(begin, count.dtype)


def _reached(count, boundary: int | float):
    """Return count ≥ boundary."""
    if isinstance(count, int | float | np.integer | np.floating):
        return count >= boundary
    xp, count = _array(count)
    if not xp.issubdtype(count.dtype, xp.integer):
        return count >= boundary
    boundary, info = math.ceil(boundary), xp.iinfo(count.dtype)
    if not info.min <= boundary <= info.max:
        return xp.full(count.shape, boundary < info.min)
    return count >= xp.asarray(boundary, count.dtype)


def _remaining(count, begin: int, steps: int):
    """Return 1 − clip(count − begin, 0, T)/T, exactly 0 at the end."""
    done = _since(count, begin)
    if isinstance(done, int | float):
        return _value(max(steps - done, 0) / steps)
    xp, done = _array(done)
    if not xp.issubdtype(done.dtype, xp.integer):
        return _value(xp.maximum(steps - done, 0) / steps)
    if steps > xp.iinfo(done.dtype).max:
        return 1 - _value(done) / float(steps)
    most = xp.asarray(steps, done.dtype)
    # T · (1/T), which a compiled quotient may be, is not always 1
    return jnp.where(done == 0, 1, _value(most - xp.minimum(done, most)) / float(steps))


def _time(count, begin: int, steps: int, staircase: bool = False):
    """Return max(count − begin, 0)/T, rounded down when ``staircase``."""
    done = _since(count, begin)
    if isinstance(done, int | float):
        return _value(done // steps if staircase else done / steps)
    xp, done = _array(done)
    if not staircase:
        return _value(done) / float(steps)
    if xp.issubdtype(done.dtype, xp.integer) and steps > xp.iinfo(done.dtype).max:
        return jnp.zeros(done.shape)
    return _value(done // xp.asarray(steps, done.dtype))  # a quotient of floats may be one too low where compiled


def _array(count):
    """Return the module that computes with the count, and the count as its array; numpy's may be wider than JAX's."""
    if isinstance(count, np.ndarray):
        return np, count
    return jnp, jnp.asarray(count)


def _value(x: ArrayLike):
    """Return a value as JAX's default float, whatever it was."""
    return jnp.asarray(float(x) if isinstance(x, int) else x, float)


def _exponent(power: ArrayLike):
    """Return a Python number as it is, whose power is computed without logarithms where it is whole."""
    return power if isinstance(power, int | float) else _value(power)


def _whole(name: str, steps, least: int | None = None) -> int:
    """Return a number of steps as an int, or raise ValueError."""
    if least is not None and not steps >= least:
        raise ValueError(f"{name} is {steps}: it must be at least {least}")
    if steps != math.floor(steps):
        raise ValueError(f"{name} is {steps}: it must be a whole number")
    return int(steps)


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
