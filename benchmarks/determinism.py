"""Measure how far apart the same training ends on other devices, processes and strategies, and without oneDNN.

    python -m benchmarks.determinism [--steps 100]
    python -m benchmarks.determinism --other PYTHON     # prints one row: one device with that Python's version of JAX

A network with batch norm and without dropout trains on Fashion-MNIST, from the same parameters and on the same batches,
with momentum. The table has the largest difference of the parameters from those of one device, relative to the largest
number of a leaf, after 1, 10 and all steps, and those of the first and the last loss. The second row repeats the first.
Each row has its own processes, which compile and run alone. CPU seconds count all threads of all processes and
leave compilation out; they are larger on a machine that does something else as well. The command writes
benchmarks/determinism.md.
"""

import argparse
import os
import pathlib
import platform
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

from jaxdl import data, nn, runs, training
from jaxdl.kernels import native

Path = pathlib.Path
PAGE = Path(__file__).with_suffix(".md")
BATCH = 64
NET = nn.serial(
    conv1=nn.Conv(32, 5, bias=False), norm1=nn.BatchNorm(), relu1=jax.nn.relu, pool1=nn.MaxPool(2),
    conv2=nn.Conv(64, 5, bias=False), norm2=nn.BatchNorm(), relu2=jax.nn.relu, pool2=nn.MaxPool(2),
    flat=nn.flatten, logits=nn.Dense(10),
)  # fmt: skip
OPTIMIZER = optax.sgd(0.01, momentum=0.9)


class Way(NamedTuple):
    """A way to compute the same training."""

    devices: int = 1  # of all processes
    strategy: str = "jit"
    processes: int = 1
    onednn: bool = True
    again: int = 0  # number of the repetition

    @property
    def file(self) -> str:
        """Return the name of the file of its numbers."""
        return f"{self.processes}-{self.devices}-{self.strategy}-{self.onednn}-{self.again}.npz"

    def __str__(self) -> str:
        cells = (self.processes, self.devices, self.strategy, "yes" if self.onednn else "no")
        return " | ".join(map(str, cells)) + (", again" if self.again else "")


SEVERAL = [Way(n, strategy) for n in (2, 4) for strategy in ("jit", "pmap", "shard_map")]
WAYS = (
    [Way(), Way(again=1), *SEVERAL]
    + [Way(4, strategy, processes=2) for strategy in ("jit", "shard_map")]
    + [way._replace(onednn=False) for way in (Way(), *SEVERAL[3:])]
)


def train(way: Way, steps: int, folder: Path) -> None:
    """Train, and write the losses, the parameters after 1, 10 and all steps, and the CPU milliseconds of a step."""
    examples = data.split(runs.dataset("fashion_mnist"), seed=0, dev_fraction=0.1).train
    key = jax.random.key(0)
    run = training.data_parallel(training.train_step(NET, OPTIMIZER), strategy=way.strategy, devices=way.devices)
    state, placed = run.place(training.create(key, NET, OPTIMIZER, (28, 28, 1))), run.place(key)
    found, losses, begin = {}, [], 0.0
    normalized = (b._replace(image=b.image / np.float32(255)) for b in data.batches(examples, BATCH, seed=0, epoch=0))
    for number, batch in zip(range(1, steps + 1), normalized, strict=False):
        state, sums = run.step(state, run.shard(training.own_part(batch)), placed)
        losses.append(float(sums["loss"] / sums["weight"]))
        if number in (1, 10, steps):
            leaves = jax.tree_util.tree_leaves_with_path(state.params)
            found |= {f"{number} {jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}
        begin = cpu_seconds() if number == 1 else begin
    cost = 1e3 * (cpu_seconds() - begin) / (steps - 1)
    about = {"losses": np.array(losses), "cost": cost, "jax": np.array(jax.__version__)}
    np.savez(folder / f"{jax.process_index()}-{way.file}", **about, **found)


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far, of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def differences(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], steps: int) -> list[float]:
    """Return the relative differences of the first and last loss, and of the parameters after 1, 10 and all steps."""
    first, last = (abs(found["losses"][i] / wanted["losses"][i] - 1) for i in (0, -1))
    of_leaf = {n: [name for name in wanted if name.startswith(f"{n} ")] for n in (1, 10, steps)}
    worst = [
        max(float(np.abs(found[name] - wanted[name]).max() / np.abs(wanted[name]).max()) for name in names)
        for names in of_leaf.values()
    ]
    return [float(first), float(last), *worst]


def measure(way: Way, steps: int, folder: Path, python: str = sys.executable) -> list[dict[str, np.ndarray]]:
    """Run one way in processes of its own, by a Python that has jaxdl, and return the numbers of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(way.devices // way.processes), "JAX_PLATFORMS": "cpu"}
    env |= {} if way.onednn else {"JAXDL_ONEDNN": "off"}
    options = [str(WAYS.index(way)), str(steps), str(folder), str(port)]
    command = [python, "-m", "benchmarks.determinism", "--way", *options, "--process"]
    running = [subprocess.Popen([*command, str(index)], env=env) for index in range(way.processes)]
    codes = [one.wait() for one in running]
    if any(codes):
        raise RuntimeError(f"{way}: a process failed")
    return [dict(np.load(folder / f"{index}-{way.file}")) for index in range(way.processes)]


def page(rows: Sequence[tuple[Way, list[float], float]], steps: int) -> str:
    """Return the text of determinism.md."""
    titles = ["processes", "devices", "strategy", "oneDNN", "first loss", "last loss", "1 step", "10 steps"]
    head = f"| {' | '.join(titles)} | {steps} steps | CPU ms a step |"
    shown = lambda value: "0" if value == 0 else f"{value:.1e}"
    lines = [f"| {way} | {' | '.join(map(shown, found))} | {cost:.0f} |" for way, found, cost in rows]
    intro = (
        f"`python -m benchmarks.determinism --steps {steps}` on {platform.machine()}, jax {jax.__version__}, "
        f"{native.status().partition(' (')[0]}:\n"
        "differences from the first row, one device with oneDNN. Losses are relative; parameters "
        f"are relative to the largest number of their leaf.\n"
        f"Two convolutions, batch norm and momentum on Fashion-MNIST, batches of {BATCH} over all devices. "
        f"{os.cpu_count()} cores were shared with other work, which makes CPU times larger."
    )
    return "\n".join(["# Determinism", "", intro, "", head, "|---" * 10 + "|", *lines, ""])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all ways, or train in the process of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--other", metavar="PYTHON")
    parser.add_argument("--way", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.way:
        way, (steps, folder, port) = WAYS[int(args.way[0])], args.way[1:]
        if way.processes > 1:
            training.join(f"127.0.0.1:{port}", way.processes, args.process)
        return train(way, int(steps), Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        if args.other:
            (first,), (other,) = (measure(Way(), args.steps, Path(folder), one) for one in (sys.executable, args.other))
            apart = " | ".join(f"{value:.1e}" for value in differences(other, first, args.steps))
            return print(
                f"| {Way()}, jax {other['jax']} against {first['jax']} | {apart} | {float(other['cost']):.0f} |"
            )
        rows, first = [], None
        for way in WAYS:
            found = measure(way, args.steps, Path(folder))
            first = found[0] if first is None else first
            rows.append((way, differences(found[0], first, args.steps), sum(float(one["cost"]) for one in found)))
            print(rows[-1], flush=True)
    PAGE.write_text(page(rows, args.steps))
    return None


if __name__ == "__main__":
    main()
