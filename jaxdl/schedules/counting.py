"""Arithmetic of steps, within the range of their own dtype."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

F = TypeVar("F", bound=Callable[..., Any])
Schedule = Callable[[ArrayLike], ArrayLike]
ScalarOrSchedule = ArrayLike | Schedule

# A count is a number of Python or numpy, or an array. No entry has reached a step that its dtype cannot hold.


def since(count, begin: int):
    """Return max(count − begin, 0), of the count's own kind."""
    if isinstance(count, int | np.integer):
        return max(int(count) - begin, 0)
    if isinstance(count, float | np.floating):
        return max(float(count) - begin, 0.0)
    xp, count = array_of(count)
    if not xp.issubdtype(count.dtype, xp.integer):
        return xp.maximum(count - begin, 0)
    if begin > xp.iinfo(count.dtype).max:
        return xp.zeros_like(count)
    # not count − begin, which would wrap around below 0
    return xp.maximum(count, xp.asarray(max(begin, 0), count.dtype)) - xp.asarray(begin, count.dtype)


def reached(count, boundary: int | float):
    """Return count ≥ boundary."""
    if isinstance(count, int | float | np.integer | np.floating):
        return count >= boundary
    xp, count = array_of(count)
    if not xp.issubdtype(count.dtype, xp.integer):
        return count >= boundary
    boundary, info = math.ceil(boundary), xp.iinfo(count.dtype)
    if not info.min <= boundary <= info.max:
        return xp.full(count.shape, boundary < info.min)
    return count >= xp.asarray(boundary, count.dtype)


def remaining(count, begin: int, steps: int):
    """Return 1 − clip(count − begin, 0, T)/T, exactly 0 at the end."""
    done = since(count, begin)
    if isinstance(done, int | float):
        return value_of(max(steps - done, 0) / steps)
    xp, done = array_of(done)
    if not xp.issubdtype(done.dtype, xp.integer):
        return value_of(xp.maximum(steps - done, 0) / steps)
    if steps > xp.iinfo(done.dtype).max:
        return 1 - value_of(done) / float(steps)
    most = xp.asarray(steps, done.dtype)
    # T · (1/T), which a compiled quotient may be, is not always 1
    return jnp.where(done == 0, 1, value_of(most - xp.minimum(done, most)) / float(steps))


def time_of(count, begin: int, steps: int, staircase: bool = False):
    """Return max(count − begin, 0)/T, rounded down when ``staircase``."""
    done = since(count, begin)
    if isinstance(done, int | float):
        return value_of(done // steps if staircase else done / steps)
    xp, done = array_of(done)
    if not staircase:
        return value_of(done) / float(steps)
    if xp.issubdtype(done.dtype, xp.integer) and steps > xp.iinfo(done.dtype).max:
        return jnp.zeros(done.shape)
    return value_of(done // xp.asarray(steps, done.dtype))  # a quotient of floats may be one too low where compiled


def cycle_of(count, steps: int, factor: int):
    """Return the number of the cycle that a step falls into, and which share of that cycle is left.

    Cycle c has steps · factor^c steps.
    """
    count = since(count, 0)
    if isinstance(count, int | float):
        cycle, begin, length = 0, 0, steps
        if factor == 1:
            cycle = int(count // steps)
            begin = cycle * steps
        while count >= begin + length:
            cycle, begin, length = cycle + 1, begin + length, length * factor
        return cycle, value_of((begin + length - count) / length)
    xp, count = array_of(count)
    most = xp.iinfo(count.dtype).max if xp.issubdtype(count.dtype, xp.integer) else 2**63
    if factor == 1:
        period = xp.asarray(min(steps, most), count.dtype)
        cycle = count // period if steps <= most else xp.zeros_like(count)
        return cycle, remaining(count - cycle * period, 0, steps)
    begins, lengths = [0], [steps]
    while begins[-1] + lengths[-1] <= most:
        begins, lengths = [*begins, begins[-1] + lengths[-1]], [*lengths, lengths[-1] * factor]
    ends = xp.asarray([*begins[1:], most], count.dtype)
    cycle = (count[..., None] >= xp.asarray(begins, count.dtype).reshape((1,) * count.ndim + (-1,))).sum(-1) - 1
    done = value_of(count - xp.asarray(begins, count.dtype)[cycle])
    # the last cycle that the dtype reaches ends beyond it; in the others the steps left are counted exactly
    length = value_of(np.asarray(lengths, np.float64))[cycle]
    left = jnp.where(cycle < len(begins) - 1, value_of(ends[cycle] - count), length - done)
    return cycle, jnp.where(done == 0, 1, left / length)


def array_of(count):
    """Return the module that computes with the count, and the count as its array; numpy's may be wider than JAX's."""
    if isinstance(count, np.ndarray):
        return np, count
    return jnp, jnp.asarray(count)


def value_of(x: ArrayLike):
    """Return a value as JAX's default float, whatever it was."""
    return jnp.asarray(float(x) if isinstance(x, int) else x, float)


def exponent_of(power: ArrayLike):
    """Return a Python number as it is, whose power is computed without logarithms where it is whole."""
    return power if isinstance(power, int | float) else value_of(power)


def whole(name: str, steps, least: int | None = None) -> int:
    """Return a number of steps as an int, or raise ValueError."""
    check_number(name, steps)
    if least is not None and not steps >= least:
        raise ValueError(f"{name} is {steps}: it must be at least {least}")
    if steps != math.floor(steps):
        raise ValueError(f"{name} is {steps}: it must be a whole number")
    return int(steps)


def check_number(name: str, value: Any) -> None:
    """Raise ValueError for what is no number, such as a schedule in its place."""
    if not isinstance(value, Real | np.generic | np.ndarray | jax.Array):
        raise ValueError(f"{name} is {'a function' if callable(value) else repr(value)[:60]}: it must be a number")


def of_numbers(function: F) -> F:
    """Check the arguments of a function that are annotated as numbers."""
    parameters = inspect.signature(function).parameters
    kinds = ("ArrayLike", "ArrayLike | None", "float", "int")
    numbers = [name for name, one in parameters.items() if one.annotation in kinds]

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        given = dict(zip(parameters, args, strict=False)) | options
        for name in filter(given.__contains__, numbers):
            if given[name] is not parameters[name].default:  # such as None
                check_number(name, given[name])
        return function(*args, **options)

    return called  # type: ignore[return-value]
