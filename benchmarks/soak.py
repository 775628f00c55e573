"""Train with oneDNN for 10,000 steps and watch the memory of the process; then once more with ever new shapes.

    python -m benchmarks.soak [--steps 10000]

The first part repeats one step of LeNet-5. The second compiles and runs convolutions of a thousand shapes, more than
the products that are kept. The command writes benchmarks/soak.md and fails where the memory of the second half of a
part grows by more than a tenth.
"""

import argparse
import pathlib
import platform
import resource
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed import nets, ours
from jaxdl import layers
from jaxdl.kernels import native

MARKS = 10
GROWTH = 1.1


def resident_mb() -> float:
    """Return the memory of this process."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def watched(step: Callable[[int], object], steps: int) -> list[float]:
    """Run steps and return the memory at equally many of them."""
    found = []
    for number in range(1, steps + 1):
        step(number)
        if number % (steps // MARKS) == 0:
            found.append(resident_mb())
    return found


def lenet5() -> Callable[[int], object]:
    net = nets.NETS["lenet5"]
    params, state = net.layer().init(jax.random.key(0), net.in_shape)
    peer = ours.build(net, params, state, nets.batch(net, net.batch), compilations=1)
    return lambda number: peer.step()


def new_shapes(number: int) -> None:
    """Run the three products of a convolution of a shape of its own, and forget its program."""
    rng = np.random.default_rng(number)
    x = jnp.asarray(rng.random((2 + number % 40, 24, 16 + number // 40, 8), np.float32))
    kernel = jnp.asarray(rng.random((3, 3, 8, 16), np.float32))
    loss = lambda x, kernel: jnp.square(layers.conv2d(x, kernel, method="native")).sum()
    jax.block_until_ready(jax.jit(jax.grad(loss, argnums=(0, 1)))(x, kernel))
    if number % 20 == 0:
        jax.clear_caches()


def main() -> int:
    """Measure, write the page, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    if not native.available():
        parser.error(native.status())
    parts = {f"{steps:,} steps of LeNet-5": watched(lenet5(), steps)}
    parts[f"{steps // 10:,} shapes"] = watched(new_shapes, steps // 10)
    lines = ["# Memory of long runs with oneDNN", "", f"`python -m benchmarks.soak --steps {steps}` on"]
    lines[-1] += f" {platform.machine()}, jax {jax.__version__}: resident MB of the process after each tenth."
    lines += ["", "| part | " + " | ".join(f"{i}/{MARKS}" for i in range(1, MARKS + 1)) + " |", "|---" * 11 + "|"]
    lines += [f"| {name} | {' | '.join(f'{value:.0f}' for value in found)} |" for name, found in parts.items()]
    pathlib.Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    grown = [name for name, found in parts.items() if found[-1] > GROWTH * found[len(found) // 2]]
    for name in grown:
        print(f"{name}: the memory grows")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
