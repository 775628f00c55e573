"""`--on-oom accumulate`: as many microbatches per step as it takes until the step fits into memory.

The first step of every optimizer is tried before a run writes anything, and then forgotten. So all optimizers of a run
have the same microbatches, config.json records how many, and the run is that of this `--accumulate`, bit for bit.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiments.train_cnn import memory, setup
from experiments.train_cnn.config import Config
from experiments.train_cnn.records import Measurement
from experiments.train_cnn.setup import Setup, Start
from experiments.train_cnn.trainer import Trainer
from jaxdl import runs


def fitted(shared: Setup, line: Callable[[str], None], *, new: bool = True) -> tuple[Setup, list[Start]]:
    """Return the run and its optimizers; with ``--on-oom accumulate``, with microbatches whose steps fit into memory.

    Args:
        shared: the run as it was asked for.
        line: called with a line for each time that the microbatches are halved.
        new: whether the run is a new one; a resumed one keeps its microbatches.

    Raises:
        MemoryError: if a step does not fit, and its microbatches cannot be halved; see `memory.explained`.
    """
    starts = setup.make_starts(shared)
    while new and shared.config.on_oom == "accumulate" and (why := _lacking(shared, starts)):
        config = dataclasses.replace(shared.config, accumulate=2 * shared.config.accumulate)
        shared, starts = shared._replace(config=config), []  # frees the states before there are new ones
        starts = setup.make_starts(shared)
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
    with memory.explained(shared, start):
        try:
            _reserve(shared, start)
            call = memory.first_call(shared)
            batches = [start.step.shard(call) for _ in range(2)]  # as many as `training.prefetch` keeps there
            trainer.state, sums = start.step.step(trainer.state, batches[0], trainer.key)
            jax.block_until_ready((trainer.state, sums))
        except jax.errors.JaxRuntimeError as error:
            if memory.EXHAUSTED not in str(error) or _microbatch(shared.config) % 2:
                raise
            return str(error).partition("\n")[0].rstrip(".")
    return ""


def _reserve(shared: Setup, start: Start) -> None:
    """Raise XLA's error if there is no room for the temporaries of several CPU devices.

    If one of them got none, the others would wait for it in a collective, and XLA would end the process.
    """
    if start.step.size == 1 or jax.default_backend() != "cpu":
        return
    size = memory.estimate(shared, start)[1]
    try:
        np.empty(start.step.size * size, np.uint8)
    except MemoryError as error:
        raise jax.errors.JaxRuntimeError(
            f"{memory.EXHAUSTED}: Out of memory allocating {size} bytes on each of {start.step.size} devices."
        ) from error


def _microbatch(config: Config) -> int:
    """Return the number of examples that each device computes at a time."""
    return config.batch_size // (config.devices * config.accumulate)
