"""Schedules at steps of every dtype, against exact arithmetic."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import schedules

T = 41  # 1/41 rounds down
BIG = 10**10  # beyond 32 bits
EXACT = {  # the schedule, and its value as a function of a whole step
    "constant": (schedules.constant(0.5), lambda t: 0.5),
    "step": (schedules.step(1.0, {T: 0.5, 300: 0.5, BIG: 0.5}), lambda t: 0.5 ** ((t >= T) + (t >= 300) + (t >= BIG))),
    "linear": (schedules.linear(0.0, 1.0, 10, 5), lambda t: min(max(t - 5, 0), 10) / 10),
    "linear, long": (schedules.linear(1.0, 0.0, BIG), lambda t: 1 - min(t, BIG) / BIG),
    "linear, late": (schedules.linear(1.0, 0.0, 10, BIG), lambda t: 1 - min(max(t - BIG, 0), 10) / 10),
    "polynomial": (schedules.polynomial(1.0, 0.0, 0.5, T), lambda t: (1 - min(t, T) / T) ** 0.5),
    "exponential": (schedules.exponential(1.0, T, 0.5, 3), lambda t: 0.5 ** (max(t - 3, 0) / T)),
    "exponential, staircase": (schedules.exponential(1.0, T, 0.5, 0, True), lambda t: 0.5 ** min(t // T, 10_000)),
    "exponential, long": (schedules.exponential(1.0, BIG, 0.5, 0, True), lambda t: 0.5 ** (t // BIG)),
    "cosine": (schedules.cosine(1.0, T), lambda t: 0.5 * (1 + np.cos(np.pi * min(t, T) / T))),
    "cosine_restarts": (schedules.cosine_restarts(1.0, T), lambda t: restarts(t, T, 1)),
    "cosine_restarts, longer": (
        schedules.cosine_restarts(1.0, T, period_factor=3, peak_factor=0.9, alpha=0.1),
        lambda t: restarts(t, T, 3, 0.9, 0.1),
    ),
    "cosine_restarts, long": (schedules.cosine_restarts(1.0, BIG, period_factor=3), lambda t: restarts(t, BIG, 3)),
    "cosine_restarts, long and even": (schedules.cosine_restarts(1.0, BIG), lambda t: restarts(t, BIG, 1)),
    "cosine, long": (schedules.cosine(1000.0, BIG), lambda t: 500 * (1 + np.cos(np.pi * min(t, BIG) / BIG))),
    "one_cycle": (schedules.one_cycle(100, 1.0), lambda t: one_cycle(t)),
    "one_cycle, linear": (
        schedules.one_cycle(100, 1.0, anneal="linear"),
        lambda t: np.interp(t, [0, 30, 85, 100], [0.04, 1, 0.04, 4e-6]),
    ),
    "inverse_time": (schedules.inverse_time(1.0, T), lambda t: 1 / (1 + Fraction(t, T))),
    "inverse_time, staircase": (schedules.inverse_time(1.0, T, 1.0, True), lambda t: 1 / (1 + t // T)),
    "inverse_sqrt": (schedules.inverse_sqrt(1.0, T), lambda t: 1 / (1 + t / T) ** 0.5),
    "warmup": (
        schedules.warmup(schedules.linear(1.0, 0.0, 50), 20),
        lambda t: t / 20 if t < 20 else max(70 - t, 0) / 50,
    ),
    "joined": (
        schedules.joined([schedules.constant(2.0), schedules.exponential(1.0, T, 0.5, 0, True)], [T]),
        lambda t: 2 if t < T else 0.5 ** min((t - T) // T, 10_000),
    ),
    "range_test": (schedules.range_test(1e-3, 10.0, T), lambda t: 1e-3 * 1e4 ** (min(t, T) / T)),
}
STEPS = [0, 1, 2, 4, 5, 6, 14, 15, 20, 29, 30, 31, 40, 41, 42, 81, 82, 85, 100, 122, 123, 127, 205, 255, 300, 32767]
STEPS += [41 * 1000 - 1, 41 * 1000, 41 * 799_999, 10**9, 2**31 - 1, 2**32 - 1, BIG - 1, BIG, BIG + 5]
TYPES = [jnp.int8, jnp.uint8, jnp.int16, jnp.uint16, jnp.int32, jnp.uint32]


def one_cycle(t):
    rise, fall = 0.5 * (1 - np.cos(np.pi * t / 30)), 0.5 * (1 + np.cos(np.pi * (min(t, 100) - 30) / 70))
    return 0.04 + 0.96 * rise if t < 30 else 4e-6 + (1 - 4e-6) * fall


def restarts(t, length, factor, peak_factor=1, alpha=0):
    cycle = 0
    while t >= length:
        if factor == 1:
            cycle, t = t // length, t % length
            break
        cycle, t, length = cycle + 1, t - length, length * factor
    return (1 - alpha) * peak_factor**cycle * 0.5 * (1 + np.cos(np.pi * (Fraction(t, length)))) + alpha


def close(got, steps, exact):
    expected = np.array([float(exact(t)) for t in steps])
    np.testing.assert_allclose(np.broadcast_to(got, expected.shape), expected, rtol=5e-6, atol=2e-7 * expected.max())


def test_every_schedule_has_an_exact_twin():
    constructors = set(schedules.__all__) - {"Schedule", "ScalarOrSchedule", "reduce_on_plateau"}  # no function of t
    assert {name.partition(",")[0] for name in EXACT} == constructors


@pytest.mark.parametrize("name", EXACT)
def test_schedules_are_exact_for_steps_of_every_dtype(name):
    schedule, exact = EXACT[name]
    close([schedule(t) for t in STEPS], STEPS, exact)
    close([jax.jit(lambda t=t: schedule(t))() for t in STEPS[-6:]], STEPS[-6:], exact)
    close(schedule(np.array(STEPS)), STEPS, exact)
    for dtype in TYPES:
        steps = [t for t in STEPS if t <= jnp.iinfo(dtype).max]
        for run in (schedule, jax.jit(schedule)):
            close(run(jnp.asarray(steps, dtype)), steps, exact)
    with jax.enable_x64(True):
        for dtype in (jnp.int64, jnp.uint64):
            close(jax.jit(schedule)(jnp.asarray(STEPS, dtype)), STEPS, exact)
    for dtype in (jnp.int8, jnp.int32):
        negative = jax.jit(schedule)(jnp.asarray([-1, jnp.iinfo(dtype).min], dtype))
        close(negative, [0, 0], exact)


def test_the_numbers_of_the_issue(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert jax.jit(schedules.exponential(1.0, 41, 0.5, staircase=True))(41) == 0.5
    assert schedules.linear(0.0, 1.0, 10, 5)(jnp.uint32(2)) == 0
    assert jax.jit(schedules.cosine(1.0, int(1e10)))(1) == 1
    assert jax.jit(schedules.cosine(1000.0, int(1e10)))(int(1e9)) == pytest.approx(975.528)
    with pytest.raises(ValueError, match=r"decay_steps is 2\.5: it must be a whole number"):
        schedules.cosine(1.0, 2.5)
