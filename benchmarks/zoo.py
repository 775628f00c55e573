"""Two training steps of every full-size network: seconds, memory, and a check that the loss falls.

    python -m benchmarks.zoo [NAME ...]

Each network runs in a process of its own, so that its peak memory is its own. Batches are 8 images at the network's
usual size, or 64x64 for the deep ones of `DEEP`, which also run with their blocks rematerialised, by `BARRIERS` on CPU
too. A step is a short one down the gradient. Writes benchmarks/zoo.md; rows that are there and not asked for stay.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import data, losses, models, nn, training
from jaxdl.models.capsnet import capsule_loss

TABLE = pathlib.Path(__file__).with_suffix(".md")
BATCH = 8
SIZES = {"alexnet": 224, "alexnet_2012": 227, "inception_v4": 299, "inception_resnet_v2": 299}
SIZES |= {"vgg16": 64, "vgg19": 64, "resnet101": 64}  # their usual 224 takes minutes on two cores
SMALL = ("lecture_keras", "lecture_torch", "lenet5", "lenet5_1998", "capsnet")
CIFAR = ("cifar_demo", "resnet20", "resnet56", "resnet110", "plain20", "densenet40", "densenet_bc100")
IMAGENET = (
    "alexnet",
    "alexnet_2012",
    "vgg16",
    "vgg19",
    "googlenet",
    "resnet18",
    "resnet50",
    "resnet101",
    "densenet121",
)
IMAGENET += ("mobilenet", "inception_v4", "inception_resnet_v2")
DEEP = {"resnet152": r"conv\d/block\d+", "densenet201": r"block\d/layer\d+"}  # the parts that are rematerialised
BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}  # see `nn.remat`
ROWS = [*SMALL, *CIFAR, *IMAGENET, *DEEP, *(f"{name} rematerialised" for name in DEEP)]


def main() -> None:
    """Run the given rows, or all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS, metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--here", action="store_true", help="run one row in this process and print it as JSON")
    options = parser.parse_args()
    if unknown := sorted(set(options.rows) - set(ROWS)):
        parser.error(f"unknown rows {unknown}; there are {ROWS}")
    if options.here:
        print(json.dumps(measure(options.rows[0])))
        return
    lines = dict(read())
    for name in options.rows:
        command = [sys.executable, "-m", "benchmarks.zoo", "--here", name]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        lines[name] = line(name, json.loads(ran.stdout.splitlines()[-1]))
        print(lines[name], flush=True)
        TABLE.write_text(page(lines))


def measure(name: str) -> dict:
    """Compile a step, run it three times and return its costs; the third step gives the loss after two."""
    base = name.removesuffix(" rematerialised")
    layer, size = getattr(models, base)(), size_of(base)
    compiler_options: Any = None
    if name != base:
        layer, compiler_options = nn.remat(layer, DEEP[base]), BARRIERS
    in_shape = (size, size, 1 if base in SMALL else 3)
    optimizer = cautious()
    state = jax.jit(lambda: training.create(jax.random.key(0), layer, optimizer, in_shape))()
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    loss = capsule_loss if base == "capsnet" else losses.softmax_cross_entropy
    step = training.train_step(layer, optimizer, loss=loss)
    args = batch(in_shape), jax.random.key(1)
    start = time.perf_counter()
    lowered = jax.jit(lambda s, b, k: fixed(step, s, b, k), donate_argnums=0).lower(state, *args)
    compiled = lowered.compile(compiler_options=compiler_options)
    compilation, values, seconds = time.perf_counter() - start, [], []
    for _ in range(3):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(compiled(state, *args))
        values.append(float(metrics["loss"] / metrics["weight"]))
        seconds.append(time.perf_counter() - start)
    memory = compiled.memory_analysis()
    return {
        "in_shape": in_shape,
        "parameters": parameters,
        "compilation": compilation,
        "step": min(seconds),
        "temporary": memory.temp_size_in_bytes if memory else 0,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # kilobytes on Linux
        "losses": values,
    }


def cautious() -> optax.GradientTransformation:
    """Descend to lower the loss by .02 to first order, but by .003 at most, since deep nets start steep."""

    def update(grads, params):
        del params
        norm = optax.global_norm(grads)
        return jax.tree.map(lambda g: -jnp.minimum(3e-3, 0.02 / norm) / norm * g, grads)

    return optax.stateless(update)


def fixed(step, state, batch, key):
    """Return a step with the random numbers of step 0, so that losses on one batch are comparable."""
    new, metrics = step(state._replace(step=state.step * 0), batch, key)
    return new, metrics


def batch(in_shape) -> data.Batch:
    """Return eight real digits, enlarged to the network's image size."""
    digits = data.load("digits")
    height, width, channels = in_shape
    image = np.asarray(digits.images[:BATCH], np.float32)
    image = np.kron(image[..., 0], np.ones((1, -(-height // 8), -(-width // 8)), np.float32))[:, :height, :width, None]
    image = np.repeat(image / image.max(), channels, axis=-1)
    label = np.asarray(digits.labels[:BATCH], np.int32)
    return data.Batch(image, label, np.ones(BATCH, np.float32), np.arange(BATCH, dtype=np.int32))


def size_of(name: str) -> int:
    """Return height and width of a network's images."""
    if name in SMALL:
        return 28
    return 32 if name in CIFAR else 64 if name in DEEP else SIZES.get(name, 224)


def line(name: str, found: dict) -> str:
    """Return a row of the table."""
    shape = "x".join(map(str, found["in_shape"]))
    memory = f"{found['temporary'] / 1e9:.2f} | {found['peak'] / 1e9:.2f}"
    first, _, last = found["losses"]
    times = f"{found['compilation']:.1f} | {found['step']:.2f}"
    return f"| {name} | {shape} | {found['parameters']:,} | {times} | {memory} | {first:.4f} → {last:.4f} |"


def read() -> dict[str, str]:
    """Return the rows that the table has already."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    return {
        row.split(" | ")[0].removeprefix("| "): row for row in lines if row.startswith("| ") and "network" not in row
    }


def page(lines: dict[str, str]) -> str:
    """Return the whole page, rows in the order of ROWS."""
    cores = len(os.sched_getaffinity(0))
    where = f"{jax.default_backend()}, {platform.machine()}, {cores} core{'s' * (cores > 1)}, jax {jax.__version__}"
    head = ["# Two training steps of the full networks", "", f"`python -m benchmarks.zoo`; batch {BATCH}; {where}.", ""]
    head += [
        "Temporary memory is what XLA plans for a step beside parameters and optimizer state; peak is the process's, "
        "compilation included. Seconds are of one run, on a machine with other work; they order, and do not compare."
    ]
    if lacking := [name for name in ROWS if name not in lines]:
        head += ["", f"Not run yet: {', '.join(lacking)}."]
    head += ["", "| network | image | parameters | compilation (s) | step (s) | temporary (GB) | peak (GB) | loss |"]
    head += ["|---|---|---|---|---|---|---|---|"]
    return "\n".join([*head, *(lines[name] for name in ROWS if name in lines), ""])


if __name__ == "__main__":
    main()
