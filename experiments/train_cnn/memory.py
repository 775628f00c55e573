"""What a step takes in memory, and what to lower where that does not suffice."""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import jax

from experiments.train_cnn.config import Config
from experiments.train_cnn.setup import Setup, Start, keys
from jaxdl import data

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
