"""What a step takes in memory, what to lower where that does not suffice, and `--on-oom accumulate`.

The latter takes as many microbatches per step as it takes until the step fits. The first step of every optimizer is
tried before a run writes anything, and then forgotten. So all optimizers of a run have the same microbatches,
config.json records how many, and the run is that of this `--accumulate`, bit for bit.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.train_cnn.config import Config
from experiments.train_cnn.records import Measurement
from experiments.train_cnn.setup import Setup, Start, keys, make_starts
from experiments.train_cnn.trainer import Trainer
from jaxdl import data, runs

EXHAUSTED = "RESOURCE_EXHAUSTED"  # XLA's word in the errors of all its allocators


def first_call(shared: Setup) -> Any:
    """Return the first argument of the compiled step: a batch, rows or columns of rows."""
    together = list(itertools.islice(shared.batches(0, 0), shared.steps_per_call))
    return together[0] if shared.steps_per_call == 1 else data.stack_rows(together, shared.steps_per_call)


def estimate(shared: Setup, start: Start) -> tuple[int, int]:
    """Compile the step, and return the bytes of its arguments (state and data) and of its temporaries on a device.

    Both are 0 where XLA gives no estimate. Nothing is run.
    """
    call, key = first_call(shared), keys(shared.config)[1]
    found = start.step.lower(start.step.place(start.state), start.step.shard(call), start.step.place(key))
    memory = found.compile().memory_analysis()
    return (0, 0) if memory is None else (memory.argument_size_in_bytes, memory.temp_size_in_bytes)


def advice(config: Config) -> str:
    """Return the options that take less memory for the same run, or nearly the same."""
    part = config.batch_size // config.devices
    parts = next((n for n in range(config.accumulate + 1, part + 1) if part % n == 0), None)
    said = [f"a --batch-size below {config.batch_size}"]
    if parts is not None:
        search = "; --on-oom accumulate finds the number" if config.on_oom == "stop" else ""
        said.append(f"--accumulate {parts} (the same batch in {parts} parts{search})")
    if config.compute_dtype == "float32":
        said.append("--compute-dtype bfloat16")
    return "try " + " or ".join(said)


@contextlib.contextmanager
def explained(shared: Setup, start: Start) -> Iterator[None]:
    """Add the estimate of the step and the advice to an error for lack of memory.

    Raises:
        MemoryError: in place of XLA's error, in one line.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if EXHAUSTED not in str(error):
            raise
        why = str(error).partition("\n")[0]
        raise MemoryError(f"{why}; {_estimated(shared, start)}; {advice(shared.config)}") from error


def _estimated(shared: Setup, start: Start) -> str:
    try:
        arguments, temporaries = estimate(shared, start)
    except jax.errors.JaxRuntimeError as error:
        if EXHAUSTED not in str(error):
            raise
        return f"the step of {start.label} cannot even be compiled"
    if not arguments:
        return f"XLA gives no estimate of the step of {start.label}"
    return f"the step of {start.label} takes {megabytes(temporaries)} beside {megabytes(arguments)} of state and data"


def megabytes(size: int) -> str:
    """Write a number of bytes."""
    return f"{size / 2**20:,.1f} MiB"


def fitted(shared: Setup, line: Callable[[str], None], *, new: bool = True) -> tuple[Setup, list[Start]]:
    """Return the run and its optimizers; with ``--on-oom accumulate``, with microbatches whose steps fit into memory.

    Args:
        shared: the run as it was asked for.
        line: called with a line for each time that the microbatches are halved.
        new: whether the run is a new one; a resumed one keeps its microbatches.

    Raises:
        MemoryError: if a step does not fit, and its microbatches cannot be halved; see `explained`.
    """
    starts = make_starts(shared)
    while new and shared.config.on_oom == "accumulate" and (why := _lacking(shared, starts)):
        config = dataclasses.replace(shared.config, accumulate=2 * shared.config.accumulate)
        shared, starts = shared._replace(config=config), []  # frees the states before there are new ones
        starts = make_starts(shared)
        line(f"{why}: --accumulate {config.accumulate}, so that each batch of {config.batch_size} is computed in "
             f"microbatches of {_microbatch(config)} per device, of which batch norm sees one at a time")  # fmt: skip
    return shared, starts


def _lacking(shared: Setup, starts: list[Start]) -> str:
    """Try the first step of each optimizer, and return the error of one that does not fit into memory; else ""."""
    table, request = runs.UnwrittenTable(Measurement), runs.StopRequest()
    trainers = [Trainer(shared, start, Path(), table, request) for start in starts]  # they hold what training holds
    return next(filter(None, map(_lacks, trainers)), "")


def _lacks(trainer: Trainer) -> str:
    shared, start = trainer.setup, trainer.start
    with explained(shared, start):
        try:
            _reserve(shared, start)
            call = first_call(shared)
            batches = [start.step.shard(call) for _ in range(2)]  # as many as `training.prefetch` keeps there
            trainer.state, sums = start.step.step(trainer.state, batches[0], trainer.key)
            jax.block_until_ready((trainer.state, sums))
        except jax.errors.JaxRuntimeError as error:
            if EXHAUSTED not in str(error) or _microbatch(shared.config) % 2:
                raise
            return str(error).partition("\n")[0].rstrip(".")
    return ""


def _reserve(shared: Setup, start: Start) -> None:
    """Raise XLA's error if there is no room for the temporaries of several CPU devices.

    If one of them got none, the others would wait for it in a collective, and XLA would end the process.
    """
    if start.step.size == 1 or jax.default_backend() != "cpu":
        return
    size = estimate(shared, start)[1]
    try:
        np.empty(start.step.size * size, np.uint8)
    except MemoryError as error:
        raise jax.errors.JaxRuntimeError(
            f"{EXHAUSTED}: Out of memory allocating {size} bytes on each of {start.step.size} devices."
        ) from error


def _microbatch(config: Config) -> int:
    """Return the number of examples that each device computes at a time."""
    return config.batch_size // (config.devices * config.accumulate)
