"""A look at a run that does not take place: `--dry-run` and `--find-lr`."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.train_cnn import memory, setup
from experiments.train_cnn.setup import Setup, Start, keys
from jaxdl import analysis, runs, training
from jaxdl.runs import commandline
from jaxdl.runs.processes import ProcessGroup
from jaxdl.schedules import Schedule

TIMED = 1.0  # seconds of steps and of evaluations, at least, after those that compile


class Cost(NamedTuple):
    """The cost of one optimizer's run, measured on the first batch."""

    label: str
    argument_bytes: int  # the state, and a data set that is kept on the device
    temporary_bytes: int  # activations, gradients and other temporaries of a step
    step_seconds: float
    evaluation_seconds: float  # of the development part


def show_plan(shared: Setup, starts: Sequence[Start], line: Callable[[str], None], group: ProcessGroup) -> None:
    """Print options, network, memory and time, a line each. Of several processes all measure, and process 0 prints."""
    for name, value in dataclasses.asdict(shared.config).items():
        if name not in commandline.WHERE:
            line(f"{name} = {commandline.spelled(value)}")
    line("")
    line(str(analysis.summary(shared.layer, shared.in_shape).compact()))
    sizes = ", ".join(f"{len(part.labels):,} {name}" for name, part in shared.splits._asdict().items())
    parameters = analysis.count_parameters(shared.layer, shared.in_shape)
    line(f"{parameters:,} parameters; {sizes} examples; {shared.steps:,} steps, {shared.steps_per_epoch:,} an epoch")
    total = 0.0
    for start in starts:
        with memory.explained(shared, start):
            cost = measure(shared, start, group)
        seconds = shared.steps * cost.step_seconds + shared.config.epochs * cost.evaluation_seconds
        total += seconds
        step, rest = (memory.megabytes(size) for size in (cost.temporary_bytes, cost.argument_bytes))
        line(
            f"{cost.label}: {step} for a step beside {rest} of "
            f"state and data; {1 / cost.step_seconds:.4g} steps/s, about {duration(seconds)}"
        )
    repeats = f" × {shared.config.seeds} seeds" if shared.config.seeds > 1 else ""
    line(
        f"about {duration(total * shared.config.seeds)} in all{repeats}, without compiling, checkpoints and the report"
    )


def measure(shared: Setup, start: Start, group: ProcessGroup) -> Cost:
    """Compile a step and an evaluation, and time them."""
    calls = memory.first_call(shared)
    arguments, temporaries = memory.estimate(shared, start)
    state, key = start.step.place(start.state), start.step.place(keys(shared.config)[1])

    def step() -> Any:
        nonlocal state
        state, metrics = start.step.step(state, start.step.shard(calls), key)
        return metrics

    seconds = timed(step, group) / shared.steps_per_call
    params, layer_state = training.eval_variables(state)
    dev = shared.splits.dev
    evaluation = timed(lambda: shared.evaluate(params, layer_state, dev), group) if len(dev.labels) else 0.0
    return Cost(start.label, arguments, temporaries, seconds, evaluation)


def timed(call: Callable[[], Any], group: ProcessGroup) -> float:
    """Return the seconds of a call: the median of several after the first, which compiles.

    All processes make equally many calls, since each waits for the others in it.
    """
    jax.block_until_ready(call())
    begin, taken = time.perf_counter(), []
    while len(taken) < 3 or group.agree(int(time.perf_counter() - begin < TIMED))[0]:
        before = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - before)
    return float(np.median(taken))


def duration(seconds: float) -> str:
    """Write a time in the largest unit of which there is one."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def show_rates(shared: Setup, line: Callable[[str], None]) -> None:
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
        key = step.place(keys(config)[1])

        def advance(state: Any, batch: Any) -> tuple[Any, float]:
            state, sums = step.step(state, step.shard(batch), key)
            return state, float(sums["loss"]) / float(sums["weight"]) + float(sums["penalty"])

        return step.place(training.start(params, layer_state, made)), advance

    return training.find_rate(begin, _endless(shared))


def _endless(shared: Setup) -> Iterator[Any]:
    return itertools.chain.from_iterable(shared.batches(epoch, 0) for epoch in itertools.count())
