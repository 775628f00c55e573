"""`--find-lr`: a short run with a growing learning rate per optimizer, which suggests the peak of a schedule."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from experiments.train_cnn import setup
from experiments.train_cnn.setup import Setup
from jaxdl import runs, schedules, training

RATES: Final = (1e-6, 10.0)
STEPS: Final = 200
SMOOTHING: Final = 0.9  # decay of the average of the losses
ENOUGH: Final = 4.0  # times the lowest smoothed loss, at which the test ends


class Suggestion(NamedTuple):
    """Two rates that the losses under a growing rate suggest."""

    steepest: float  # where the loss falls fastest
    tenth: float  # a tenth of the rate of the lowest loss


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Suggestion:
    """Return the suggestion of a range test.

    The losses are averaged with a decay of 0.9 and without the bias of the start. The slope is against the logarithm of
    the rate.

    Args:
        rates: growing learning rates, at least three.
        losses: the loss of each step, finite.

    Reference: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, https://arxiv.org/abs/1506.01186.
    """
    smooth = smoothed(losses)
    lowest = int(np.argmin(smooth))
    slopes = np.gradient(smooth, np.log(rates))[: max(lowest, 1) + 1]
    return Suggestion(float(rates[int(np.argmin(slopes))]), float(rates[lowest]) / 10)


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """Return the running averages of the losses."""
    average, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        found.append(average / (1 - SMOOTHING**step))
    return np.array(found)


def show(shared: Setup, line: Callable[[str], None]) -> None:
    """Print a suggestion for each optimizer, and the option that takes them."""
    found = []
    for label, name in zip(runs.labels(shared.config.optimizer), shared.config.optimizer, strict=True):
        rates, losses = range_test(shared, name)
        if len(losses) < 3:
            line(f"{label}: the loss is not finite from {rates[len(losses)]:.3g} on; nothing to suggest")
            continue
        one = suggest(rates[: len(losses)], losses)
        found.append(f"{one.steepest:.2g}")
        line(f"{label}: falls fastest at {one.steepest:.3g}; a tenth of the lowest loss's rate is {one.tenth:.3g}")
    if len(found) == len(shared.config.optimizer):
        line(f"--learning-rate {' '.join(found)}")


def range_test(shared: Setup, optimizer: str) -> tuple[list[float], list[float]]:
    """Train with a rate that grows from 1e-6 to 10 in 200 steps; return the rates and the losses until they explode."""
    schedule = schedules.range_test(*RATES, STEPS - 1)
    config = dataclasses.replace(shared.config, schedule="constant", average=None)
    shared = shared._replace(config=config, steps_per_call=1)
    params, layer_state = setup.first_variables(shared)
    made, penalty = setup.make_optimizer(shared, optimizer, schedule, params)
    step = setup.compile_step(shared, made, penalty)
    state, key = step.place(training.start(params, layer_state, made)), step.place(setup.keys(config)[1])
    rates, losses = [float(np.asarray(schedule(i))) for i in range(STEPS)], []
    for batch in itertools.islice(_endless(shared), STEPS):
        state, sums = step.step(state, step.shard(batch), key)
        loss = float(sums["loss"]) / float(sums["weight"]) + float(sums["penalty"])
        if not math.isfinite(loss) or loss > ENOUGH * max(min(smoothed([*losses, loss])), 1e-6):
            break
        losses.append(loss)
    return rates, losses


def _endless(shared: Setup) -> Iterator[Any]:
    return itertools.chain.from_iterable(shared.batches(epoch, 0) for epoch in itertools.count())
