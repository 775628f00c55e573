"""CIFAR-10 to 94 % as fast as possible: the recipe of airbench94 in its two forms.

    python -m experiments.cifar10_speedrun --runs 20 --out runs/speedrun
    python -m experiments.cifar10_speedrun --optimizer muon --runs 20 --out runs/speedrun_muon

The recipe has a frozen whitening first layer, identity initialization, large learning rates for the offsets of batch
norm, alternating flips, label smoothing and a test over six views. With Nesterov momentum it uses a triangular schedule
and lookahead for 476 steps. With Muon it keeps the norms of the filters and decays all rates linearly to 0 over 200
steps of twice the batch. The data set stays on the device as bytes, augmentation runs there, and the steps of an epoch
are one `lax.scan`, except on CPU, where a convolution inside a loop is slow. Every run starts anew; compilation is
timed separately.

Published: 94.01 % in 3.1-3.8 s on one A100, with Muon in 2.59 s. This script has not been run on an accelerator, nor to
the end: only its parts and runs of six steps are tested, so its accuracy is not known. The published numbers that were
looked up do not say how weight decay combines with Nesterov momentum.

Reference: K. Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, https://arxiv.org/abs/2404.00498; the
numbers of the form with Muon are those of https://github.com/KellerJordan/cifar10-airbench (airbench94_muon).
"""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cifar10_speedrun.recipe import (
    Carried,
    Config,
    make_optimizer,
    make_step,
    net,
    resolve,
    six_views,
    whitening_kernel,
)
from jaxdl import data, nn, runs
from jaxdl.data import batching
from jaxdl.runs import commandline


class SpeedrunResult(NamedTuple):
    """A run: a row of runs.csv."""

    accuracy: float  # on the test set
    seconds: float  # for training and test


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run, print mean and deviation, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.cifar10_speedrun")
    commandline.use_compilation_cache()
    config = resolve(config)
    found = measure(config, data.load("cifar10", data_dir=config.data_dir))
    kind = jax.devices()[0].device_kind
    print(f"{found.steps} steps on {kind}; first run with compilation: {found.first_seconds:.2f} s")
    report(config, found.runs)
    return 0


class Program(NamedTuple):
    """The functions that a run calls, compiled for the shapes of the data."""

    start: Callable[[Any], Carried]  # from a key
    epoch: Callable[..., tuple[Carried, Any]]  # (carried, rows (steps, batch), epoch, images, labels)
    accuracy: Callable[[Any, Any, Any], float]  # (variables, images, labels)


def make_program(config: Config, normalization, whitening, key, steps: int, epoch_steps: int) -> Program:
    """Return the compiled functions of a run."""
    layer = nn.compute_in(jnp.dtype(config.dtype), net(config.width, config.optimizer))
    optimizer = make_optimizer(config, steps, epoch_steps)
    step = make_step(config, layer, optimizer, steps, normalization, key)

    @jax.jit
    def start(key):
        params, state = layer.init(key, (32, 32, 3))
        params["whiten"]["kernel"] = jnp.asarray(whitening)
        slow = jax.tree.map(jnp.copy, (params, state)) if config.optimizer == "nesterov" else None
        return Carried(jnp.zeros((), jnp.int32), params, state, optimizer.init(params), slow)

    @functools.partial(jax.jit, donate_argnums=0)
    def scanned(carried, rows, epoch, images, labels):
        return jax.lax.scan(lambda c, one: step(c, one, epoch, images, labels), carried, rows)

    one = jax.jit(step, donate_argnums=0)

    def looped(carried, rows, epoch, images, labels):
        values = []
        for batch in rows:
            carried, value = one(carried, batch, epoch, images, labels)
            values.append(value)
        return carried, jnp.stack(values)

    scan = jax.default_backend() != "cpu" if config.scan is None else config.scan
    predict = jax.jit(lambda v, x: jnp.argmax(six_views(layer, v, data.normalize(x, normalization)), -1))

    def accuracy(variables, images, labels):
        parts = [predict(variables, images[i : i + 1000]) for i in range(0, len(images), 1000)]
        return float(jnp.mean(jnp.concatenate(parts) == labels))

    return Program(start, scanned if scan else looped, accuracy)


def train(config: Config, program: Program, seed: int, arrays, steps: int, epoch_steps: int) -> SpeedrunResult:
    """Train and test from one seed."""
    images, labels, test_images, test_labels = arrays
    carried = jax.block_until_ready(program.start(jax.random.key(seed)))
    begin = time.perf_counter()
    for epoch, first in enumerate(range(0, steps, epoch_steps)):
        order = batching.order(len(labels), seed=seed, epoch=epoch)
        count = min(epoch_steps, steps - first)
        rows = jnp.asarray(order[: count * config.batch_size].reshape(count, config.batch_size))
        carried, _ = program.epoch(carried, rows, jnp.int32(epoch), images, labels)
    found = program.accuracy((carried.params, carried.state), test_images, test_labels)
    return SpeedrunResult(found, time.perf_counter() - begin)


class Measured(NamedTuple):
    """The results of all runs."""

    steps: int  # of each run
    first_seconds: float  # of a first run, with compilation
    runs: list[SpeedrunResult]


def measure(config: Config, dataset: data.Dataset) -> Measured:
    """Train once to compile everything, then once from each seed. The config must be resolved."""
    if dataset.test_images is None or dataset.test_labels is None:
        raise ValueError(f"{dataset.name} has no test set")
    normalization = data.fit_normalization(dataset.images, dataset.scale)
    first = np.asarray(data.normalize(dataset.images[:5000], normalization))
    whitening = whitening_kernel(first)
    parts = (dataset.images[: config.examples], dataset.labels[: config.examples])
    parts += (dataset.test_images[: config.test_examples], dataset.test_labels[: config.test_examples])
    arrays = jax.device_put(parts)
    epoch_steps = len(parts[0]) // config.batch_size
    steps = round(config.epochs * len(parts[0]) / config.batch_size)
    program = make_program(config, normalization, whitening, jax.random.key(0), steps, epoch_steps)
    begin = time.perf_counter()
    train(config, program, 0, arrays, steps, epoch_steps)
    seconds = time.perf_counter() - begin
    results = [train(config, program, seed, arrays, steps, epoch_steps) for seed in range(config.runs)]
    return Measured(steps, seconds, results)


def report(config: Config, results: Sequence[SpeedrunResult]) -> None:
    """Print mean ± standard deviation over the runs, and write runs.csv if a folder was given."""
    for name, values in zip(SpeedrunResult._fields, zip(*results, strict=True), strict=True):
        deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
        print(f"{name}: {statistics.mean(values):.4f} ± {deviation:.4f} over {len(values)} runs")
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
        runs.Table(config.out / "runs.csv", SpeedrunResult).replace(results)  # those of an earlier call go
