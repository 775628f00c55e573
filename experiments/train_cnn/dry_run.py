"""`--dry-run`: the options, the network, the memory and the expected time of a run, which then does not take place."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.train_cnn.setup import Setup, Start, keys
from jaxdl import analysis, data, training
from jaxdl.runs import commandline

TIMED = 1.0  # seconds of steps and of evaluations, at least, after those that compile


class Cost(NamedTuple):
    """The cost of one optimizer's run, measured on the first batch."""

    label: str
    argument_bytes: int  # the state, and a data set that is kept on the device
    temporary_bytes: int  # activations, gradients and other temporaries of a step
    step_seconds: float
    evaluation_seconds: float  # of the development part


def show(shared: Setup, starts: Sequence[Start], line: Callable[[str], None]) -> None:
    """Print options, network, memory and time, a line each."""
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
        cost = measure(shared, start)
        seconds = shared.steps * cost.step_seconds + shared.config.epochs * cost.evaluation_seconds
        total += seconds
        line(
            f"{cost.label}: {megabytes(cost.temporary_bytes)} for a step beside {megabytes(cost.argument_bytes)} of "
            f"state and data; {1 / cost.step_seconds:.4g} steps/s, about {duration(seconds)}"
        )
    repeats = f" × {shared.config.seeds} seeds" if shared.config.seeds > 1 else ""
    line(
        f"about {duration(total * shared.config.seeds)} in all{repeats}, without compiling, checkpoints and the report"
    )


def measure(shared: Setup, start: Start) -> Cost:
    """Compile a step and an evaluation, and time them."""
    together = list(itertools.islice(shared.batches(0, 0), shared.steps_per_call))
    calls = together[0] if shared.steps_per_call == 1 else data.stack_rows(together, shared.steps_per_call)
    state, key = start.step.place(start.state), start.step.place(keys(shared.config)[1])
    memory = start.step.lower(state, start.step.shard(calls), key).compile().memory_analysis()

    def step() -> Any:
        nonlocal state
        state, metrics = start.step.step(state, start.step.shard(calls), key)
        return metrics

    seconds = timed(step) / len(together)
    params, layer_state = training.eval_variables(state)
    dev = shared.splits.dev
    evaluation = timed(lambda: shared.evaluate(params, layer_state, dev)) if len(dev.labels) else 0.0
    arguments, temporaries = (0, 0) if memory is None else (memory.argument_size_in_bytes, memory.temp_size_in_bytes)
    return Cost(start.label, arguments, temporaries, seconds, evaluation)


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds of a call: the median of several after the first, which compiles."""
    jax.block_until_ready(call())
    begin, taken = time.perf_counter(), []
    while len(taken) < 3 or time.perf_counter() - begin < TIMED:
        before = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - before)
    return float(np.median(taken))


def megabytes(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """Write a time in the largest unit of which there is one."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
