"""Time and page faults of a training step with small pages and with the huge pages that `experiments` requests.

    python -m benchmarks.huge_pages

prints a table. Each setting runs twice, alternating, in a process of its own.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

import jax
import numpy as np

from experiments import ASKING
from jaxdl import data, models, optimizers, training

STEPS = [("lenet5", (28, 28, 1), 64), ("lenet5", (28, 28, 1), 1024), ("resnet20", (32, 32, 3), 128)]
HERE = "from benchmarks import huge_pages; huge_pages.measure()"


def main() -> None:
    """Run both settings and print their rows."""
    print("| pages | step | milliseconds | page faults | CPU seconds in the kernel |\n|---|---|---|---|---|")
    for _ in range(2):
        for name, asking in (("small", {}), ("huge", ASKING)):
            command = [sys.executable, "-c", HERE]
            ran = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **asking})
            print("\n".join(f"| {name} {line}" for line in ran.stdout.splitlines()), flush=True)


def measure() -> None:
    """Print a line per network: the median time of all steps but the first two, and the page faults of the last."""
    for name, in_shape, size in STEPS:
        layer, optimizer = getattr(models, name)(), optimizers.adam(1e-3)
        state = training.create(jax.random.key(0), layer, optimizer, in_shape)
        images, index = np.random.default_rng(0).random((size, *in_shape), np.float32), np.arange(size, dtype=np.int32)
        batch = jax.device_put(data.Batch(images, index % 10, np.ones(size, np.float32), index))
        step = jax.jit(training.train_step(layer, optimizer), donate_argnums=0)
        times = []
        for _ in range(200 if size == 64 else 12):
            before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            state = jax.block_until_ready(step(state, batch, jax.random.key(1))[0])
            times.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
        pages, kernel = after.ru_minflt - before.ru_minflt, after.ru_stime - before.ru_stime
        print(f"| {name}, batch {size} | {1e3 * statistics.median(times[2:]):.3g} | {pages:,} | {kernel:.3f} |")


if __name__ == "__main__":
    main()
