"""`--find-lr`: a short run with a growing learning rate per optimizer, which suggests the peak of a schedule."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from experiments.train_cnn import setup
from experiments.train_cnn.setup import Setup
from jaxdl import runs, training
from jaxdl.schedules import Schedule


def show(shared: Setup, line: Callable[[str], None]) -> None:
    """Print a suggestion for each optimizer, and the option that takes them."""
    found = []
    for label, name in zip(runs.labels(shared.config.optimizer), shared.config.optimizer, strict=True):
        test = range_test(shared, name)
        if test.suggestion is None:
            line(f"{label}: the loss is not finite from {test.end:.3g} on; nothing to suggest")
            continue
        steepest, tenth = test.suggestion
        found.append(f"{steepest:.2g}")
        line(f"{label}: falls fastest at {steepest:.3g}; a tenth of the lowest loss's rate is {tenth:.3g}")
    if len(found) == len(shared.config.optimizer):
        line(f"--learning-rate {' '.join(found)}")


def range_test(shared: Setup, optimizer: str) -> training.RateTest:
    """Train with a rate that grows from 1e-6 to 10 in 200 steps, until the loss explodes."""
    config = dataclasses.replace(shared.config, schedule="constant", average=None)
    shared = shared._replace(config=config, steps_per_call=1)

    def begin(schedule: Schedule) -> tuple[Any, Callable[[Any, Any], Any]]:
        params, layer_state = setup.first_variables(shared)
        made, penalty = setup.make_optimizer(shared, optimizer, schedule, params)
        step = setup.compile_step(shared, made, penalty)
        key = step.place(setup.keys(config)[1])

        def advance(state: Any, batch: Any) -> tuple[Any, float]:
            state, sums = step.step(state, step.shard(batch), key)
            return state, float(sums["loss"]) / float(sums["weight"]) + float(sums["penalty"])

        return step.place(training.start(params, layer_state, made)), advance

    return training.find_rate(begin, _endless(shared))


def _endless(shared: Setup) -> Iterator[Any]:
    return itertools.chain.from_iterable(shared.batches(epoch, 0) for epoch in itertools.count())
