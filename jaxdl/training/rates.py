"""The learning-rate range test: train briefly under a growing rate, and see where the loss falls. [Lecture row E10]"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxdl import schedules

SMOOTHING: Final = 0.9  # decay of the average of the losses
WINDOW: Final = 10  # steps until the average is that of as many losses as later, 1 / (1 − SMOOTHING)
STARTED: Final = 0.25  # of the whole fall of the average, until which it may be noise
ENOUGH: Final = 4.0  # times the lowest average, at which the test ends

Step = Callable[[Any, Any], tuple[Any, Any]]  # (state, batch) -> state, loss


class RateSuggestion(NamedTuple):
    """Two rates that the losses under a growing rate suggest."""

    steepest: float  # where the average loss falls fastest
    tenth: float  # a tenth of the rate of the lowest average loss


class RateTest(NamedTuple):
    """What a range test saw."""

    rates: Float[np.ndarray, " k"]  # float64, of each step until the loss exploded
    losses: Float[np.ndarray, " k"]  # float64
    end: float  # the rate at which the loss exploded, or the last one
    suggestion: RateSuggestion | None  # None for fewer than three steps


def find_rate(
    begin: Callable[[schedules.Schedule], tuple[Any, Step]],
    batches: Iterable[Any],
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
) -> RateTest:
    """Train under a rate that grows geometrically from ``low`` to ``high``, and suggest a rate.

    The test ends where the loss is not finite, or its average is passed fourfold. The average has a decay of .9 and no
    bias from its start.

    Args:
        begin: given the schedule, returns a new state and a step (state, batch) → (state, loss of the batch), whose
            optimizer follows the schedule.
        batches: batches of training examples; the test ends early, with a RuntimeWarning, if there are fewer than
            ``steps``.
        low: rate of the first step, above 0.
        high: rate of the last step, above ``low``.
        steps: number of steps, at least 3.

    Raises:
        ValueError: for rates or steps out of range, or if ``batches`` has none.

    Reference: L. Smith, Cyclical Learning Rates for Training Neural Networks, 2017, https://arxiv.org/abs/1506.01186.

        def begin(schedule):
            optimizer = optimizers.sgd(schedule)
            step = jax.jit(training.train_step(layer, optimizer))
            def loss(state, batch):
                state, sums = step(state, batch, key)
                return state, sums["loss"] / sums["weight"]
            return training.create(key, layer, optimizer, (8, 8, 1)), loss

    Examples:
        On ½x², whose gradient is x, rates above 2 diverge:

        >>> def begin(schedule):
        ...     def step(state, batch):
        ...         x, number = state
        ...         return (x - schedule(number) * x, number + 1), 0.5 * x**2
        ...     return (1.0, 0), step
        >>> found = training.find_rate(begin, range(100), low=0.01, high=100.0, steps=100)
        >>> 2 < found.end < 20
        True

    [Lecture row E10]
    """
    if not 0 < low < high < math.inf or steps < 3:
        raise ValueError(f"low={low}, high={high}, steps={steps}: needed are 0 < low < high and at least three steps")
    schedule = schedules.range_test(low, high, steps - 1)
    state, step = begin(schedule)
    rates, losses, average, lowest, rate = [], [], 0.0, math.inf, math.nan
    for number, batch in zip(range(1, steps + 1), batches, strict=False):
        rate = float(np.asarray(schedule(number - 1)))
        state, loss = step(state, batch)
        loss = float(loss)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        lowest = min(lowest, average / (1 - SMOOTHING**number))
        if not math.isfinite(loss) or loss > ENOUGH * max(lowest, 1e-6):
            break
        rates.append(rate)
        losses.append(loss)
    else:
        _warn_of_an_early_end(len(rates), steps, rate, high)
    if math.isnan(rate):
        raise ValueError("batches: got none, needed is at least one")
    return RateTest(np.array(rates), np.array(losses), rate, suggest_rate(rates, losses) if len(rates) > 2 else None)


def _warn_of_an_early_end(ran: int, steps: int, rate: float, high: float) -> None:
    if 0 < ran < steps:
        text = f"batches: got {ran} for steps={steps}, so the test ended at a rate of {rate:.2g}, before high={high:g}"
        warnings.warn(text, RuntimeWarning, stacklevel=3)


def suggest_rate(rates: ArrayLike, losses: ArrayLike) -> RateSuggestion:
    """Return the rates that the losses of a range test suggest; the slope is that against the logarithm of the rate.

    Slopes count from where the average has fallen, for good, by a quarter of all that it falls: those before are noise,
    as are the first ten averages, of few losses each.

    Args:
        rates: growing learning rates, shape (k,), at least three.
        losses: the loss of each step, shape (k,), finite.

    Raises:
        ValueError: if there are fewer than three, or not as many of both.

    Reference: see `find_rate`.

    Examples:
        The running average of the losses is least some steps later than they are, at the rate 6.3:

        >>> rates = np.geomspace(0.001, 10, 41)
        >>> training.suggest_rate(rates, np.log10(rates) ** 2).tenth
        0.6309573444801936

    [Lecture row E10]
    """
    rates, losses = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    if rates.shape != losses.shape or rates.ndim != 1 or len(rates) < 3:
        raise ValueError(f"rates, losses: got shapes {rates.shape} and {losses.shape}, needed are at least three each")
    average, smooth = 0.0, []
    for number, loss in enumerate(losses.tolist(), start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth.append(average / (1 - SMOOTHING**number))
    lowest = int(np.argmin(smooth))
    first = min(WINDOW, lowest)
    level = smooth[first] - STARTED * (smooth[first] - smooth[lowest])
    first += int(np.flatnonzero(np.array(smooth[first : lowest + 1]) >= level)[-1])
    slopes = np.gradient(smooth, np.log(rates))[first : lowest + 1]
    return RateSuggestion(float(rates[first + int(np.argmin(slopes))]), float(rates[lowest]) / 10)
