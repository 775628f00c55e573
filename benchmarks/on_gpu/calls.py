"""Time per step with 1, 10 and 50 steps per call, with the data on the device and on the host."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.on_gpu.record import Record
from benchmarks.speed import nets, rows
from jaxdl import data, optimizers, training

NETS = ("lenet5", "resnet20")
COUNTS = (1, 10, 50)


def measure(record: Record, dry_run: bool) -> None:
    """Add a row per missing net: milliseconds per step in each way."""
    for name in NETS[:1] if dry_run else NETS:
        if not record.has(net=name):
            net = nets.NETS[name]
            size, steps, seconds = (4, 5, 0.0) if dry_run else (net.batch, 100, 4.0)
            record.add(net=name, batch=size, **ways(net, size, steps, seconds, COUNTS[:2] if dry_run else COUNTS))


def ways(net: nets.Net, size: int, steps: int, seconds: float, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Time an epoch with a number of steps in each way, in turn."""
    rng, count = np.random.default_rng(0), size * steps
    images = rng.integers(0, 255, (count, *net.in_shape), np.uint8)
    examples = data.Examples(images, rng.integers(0, 10, count, np.int32))
    host = epoch_of(net, None, lambda: data.batches(examples, size, seed=0, epoch=0))
    programs: dict[str, Callable[[], object]] = {"host, 1 step per call": host}
    for together in counts:
        programs[f"device, {together} step{'s' * (together > 1)} per call"] = epoch_of(
            net, examples, partial(calls, count, size, together)
        )
    first = {}
    for name, program in programs.items():
        begin = time.perf_counter()
        program()
        first[name] = time.perf_counter() - begin
    times = rows.in_turn(programs, seconds)
    milliseconds = {name: 1e3 * float(np.median(each)) / steps for name, each in times.items()}
    return {"steps": steps, "milliseconds": milliseconds, "first_seconds": first}


def calls(count: int, size: int, together: int) -> Iterable[data.Rows]:
    """Return the rows of an epoch, one batch per call or several."""
    found = list(data.batch_rows(count, size, seed=0, epoch=0))
    if together == 1:
        return found
    return (data.stack_rows(found[i : i + together], together) for i in range(0, len(found), together))


def epoch_of(net: nets.Net, examples: data.Examples | None, batches: Callable[[], Iterable[Any]]) -> Callable[[], None]:
    """Compile a step, and return a function that trains an epoch with it and waits."""
    layer, optimizer = net.layer(), optimizers.sgd(0.01, 0.9)
    step = training.train_step(layer, optimizer, preprocess=lambda x: x / 255.0)
    parallel = training.data_parallel(step, devices=1, examples=examples)
    carried = [parallel.place(training.create(jax.random.key(0), layer, optimizer, net.in_shape))]

    def epoch() -> None:
        placed = lambda _: training.prefetch(batches(), parallel.shard)
        state = training.fit(parallel.step, carried[0], placed, key=jax.random.key(1), epochs=[0])
        carried[0] = jax.block_until_ready(state)

    return epoch
