"""Schedules that fall, or rise, once."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdl.schedules.counting import Schedule, exponent_of, of_numbers, reached, remaining, time_of, value_of, whole
from jaxdl.words import own_words


@own_words
@of_numbers
def constant(value: ArrayLike) -> Schedule:
    """Return ``value`` at every step. See ``optax.constant_schedule``.

    Examples:
        >>> [round(float(schedules.constant(0.1)(t)), 4) for t in (0, 100)]
        [0.1, 0.1]
    """
    return lambda count: value


@own_words
@of_numbers
def step(init_value: ArrayLike, boundaries_and_scales: dict[int, float] | None = None) -> Schedule:
    """Multiply the value by a factor at each boundary (staircase annealing).

    value(t) = init_value · ∏ {scale_b : b ≤ t}

    Args:
        init_value: the value before the first boundary.
        boundaries_and_scales: step → factor, factors ≥ 0. None or {} means constant.

    Raises:
        ValueError: a factor is negative.

    See ``optax.piecewise_constant_schedule``.

    Examples:
        >>> [round(float(schedules.step(0.1, {30: 0.1})(t)), 4) for t in (29, 30)]
        [0.1, 0.01]

    [Lecture row E10]
    """
    pairs = sorted((boundaries_and_scales or {}).items())
    for boundary, scale in pairs:
        if not scale >= 0:
            raise ValueError(f"boundaries_and_scales[{boundary}] is {scale}: a factor must be at least 0")

    def schedule(count):
        value = jnp.asarray(init_value, float)
        for boundary, scale in pairs:
            value = jnp.where(reached(count, boundary), scale * value, value)
        return value

    return schedule


@own_words
@of_numbers
def polynomial(
    init_value: ArrayLike,
    end_value: ArrayLike,
    power: ArrayLike,
    transition_steps: int,
    transition_begin: int = 0,
) -> Schedule:
    """Interpolate from one value to another along a polynomial.

    value(t) = (init − end)·(1 − clip(t − begin, 0, T)/T)^power + end

    Args:
        init_value: value up to step ``transition_begin``.
        end_value: value from step ``transition_begin + transition_steps`` on.
        power: exponent; 1 is linear.
        transition_steps: T, steps from one value to the other, at least 1.
        transition_begin: first step of the transition, at least 0.

    Raises:
        ValueError: ``transition_steps`` or ``transition_begin`` is out of range.

    See ``optax.polynomial_schedule``.

    Examples:
        >>> [round(float(schedules.polynomial(1.0, 0.0, 2.0, 10)(t)), 4) for t in (0, 5, 10)]
        [1.0, 0.25, 0.0]

    [Lecture row E10]
    """
    steps = whole("transition_steps", transition_steps, 1)
    begin = whole("transition_begin", transition_begin, 0)

    def schedule(count):
        start, end = value_of(init_value), value_of(end_value)
        return (start - end) * remaining(count, begin, steps) ** exponent_of(power) + end

    return schedule


@own_words
@of_numbers
def linear(init_value: ArrayLike, end_value: ArrayLike, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """Interpolate linearly from one value to another. See ``polynomial`` with power 1.

    Examples:
        >>> [round(float(schedules.linear(1.0, 0.0, 10)(t)), 4) for t in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """
    return polynomial(init_value, end_value, 1, transition_steps, transition_begin)


@own_words
@of_numbers
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

    See ``optax.exponential_decay``.

    Examples:
        >>> [round(float(schedules.exponential(1.0, 10, 0.5)(t)), 4) for t in (0, 10, 20)]
        [1.0, 0.5, 0.25]

    [Lecture row E10]
    """
    steps = whole("transition_steps", transition_steps, 1)
    begin = whole("transition_begin", transition_begin, 0)
    if not decay_rate > 0:
        raise ValueError(f"decay_rate is {decay_rate}: it must be above 0")
    bound = jnp.maximum if decay_rate < 1 else jnp.minimum

    def schedule(count):
        value = value_of(init_value) * jnp.power(value_of(decay_rate), time_of(count, begin, steps, staircase))
        return value if end_value is None else bound(value, value_of(end_value))

    return schedule


@own_words
@of_numbers
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

    See ``optax.cosine_decay_schedule``.
    Reference: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017,
    https://arxiv.org/abs/1608.03983.

    Examples:
        >>> [round(float(schedules.cosine(1.0, 10)(t)), 4) for t in (0, 5, 10)]
        [1.0, 0.5, 0.0]

    [Lecture row E10]
    """
    steps = whole("decay_steps", decay_steps, 1)

    def schedule(count):
        wave = jnp.square(jnp.sin(0.5 * jnp.pi * remaining(count, 0, steps)))  # ½(1 + cos) would cancel at the end
        floor = value_of(alpha)
        return value_of(init_value) * ((1 - floor) * wave ** exponent_of(exponent) + floor)

    return schedule


@own_words
@of_numbers
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

    Examples:
        >>> [round(float(schedules.inverse_time(1.0, 10)(t)), 4) for t in (0, 10, 30)]
        [1.0, 0.5, 0.25]

    [Lecture row E10]
    """
    steps = whole("transition_steps", transition_steps, 1)

    def schedule(count):
        return value_of(init_value) / (1 + value_of(decay_rate) * time_of(count, 0, steps, staircase))

    return schedule


@own_words
@of_numbers
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
    https://arxiv.org/abs/1412.6980.

    Examples:
        >>> [round(float(schedules.inverse_sqrt(1.0)(t)), 4) for t in (0, 3)]
        [1.0, 0.5]

    [Lecture row E10]
    """
    steps = whole("timescale", timescale, 1)
    return lambda count: value_of(init_value) / jnp.sqrt(1 + time_of(count, 0, steps))
