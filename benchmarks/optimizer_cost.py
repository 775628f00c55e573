"""Cost of an update compared with optax's, on the parameters of ResNet-18 and ResNet-50.

    python -m benchmarks.optimizer_cost [--nets resnet18 resnet50] [--runs 21] [--names adam lamb] [--out FILE]

Both updates are compiled first, with donated state and parameters, and then run alternately; the ratio is the
median of the pairs' ratios. GB/s counts what has to be moved at least (parameters and state read and written,
gradients read); the copy's figure counts one read and one write. Run it on a machine that does nothing else.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jaxdl.optimizers as ours
from jaxdl import models
from jaxdl.optimizers.conventions import TABLE

NAMES = ("momentum", *(name for name in TABLE if hasattr(optax, name) or name == "nesterov"))
WARM_UP = 3


def parameters(net):
    """Return parameters of the net's shapes, away from 0."""
    layer = getattr(models, net)()
    shapes, _ = jax.eval_shape(lambda key: layer.init(key, (224, 224, 3)), jax.random.key(0))
    return jax.tree.map(lambda s: jnp.full(s.shape, 0.1, s.dtype), shapes)


def pair(name):
    if name in ("momentum", "nesterov"):
        return getattr(ours, name)(1e-3), optax.sgd(1e-3, momentum=0.9, nesterov=name == "nesterov")
    return getattr(ours, name)(1e-3), getattr(optax, name)(1e-3)


def stepper(tx, params):
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = jax.tree.map(jnp.copy, params)
    return jax.jit(step, donate_argnums=(0, 1)), params, tx.init(params)


def timed(compiled, params, state, grads):
    start = time.perf_counter()
    params, state = compiled(params, state, grads)
    jax.block_until_ready((params, state))
    return time.perf_counter() - start, params, state


def size(tree):
    return sum(x.nbytes for x in jax.tree.leaves(tree))


def copy_rate(params, runs):
    """Return bytes per second, read and written, of a compiled copy of the whole tree."""
    copy = jax.jit(lambda tree: jax.tree.map(lambda x: -x, tree))
    jax.block_until_ready(copy(params))
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        jax.block_until_ready(copy(params))
        seconds.append(time.perf_counter() - start)
    return 2 * size(params) / statistics.median(seconds)


def row(name, params, grads, runs):
    sides = [stepper(tx, params) for tx in pair(name)]
    sizes = [size(side[2]) for side in sides]
    times = [[], []]
    for run in range(runs + WARM_UP):
        for i in (0, 1) if run % 2 else (1, 0):
            compiled, p, s = sides[i]
            seconds, p, s = timed(compiled, p, s, grads)
            sides[i] = (compiled, p, s)
            if run >= WARM_UP:
                times[i].append(seconds)
    mine, theirs = map(statistics.median, times)
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    moved = (3 * size(params) + 2 * sizes[0]) / mine
    same = "same" if sizes[0] == sizes[1] else f"{sizes[0]} against {sizes[1]}"
    return f"| {name} | {1e3 * mine:.2f} | {1e3 * theirs:.2f} | {ratio:.3f} | {moved / 1e9:.1f} | {same} |"


def main():
    parser = argparse.ArgumentParser(description="Update cost beside optax's.")
    parser.add_argument("--nets", nargs="*", default=["resnet18", "resnet50"], help="names in jaxdl.models")
    parser.add_argument("--runs", type=int, default=21, help="timed runs of each")
    parser.add_argument("--names", nargs="*", default=NAMES, help="optimizers to run")
    parser.add_argument("--out", type=Path, help="a file that the tables are written to as well")
    args = parser.parse_args()
    lines = [
        f"`python -m {' '.join(['benchmarks.optimizer_cost', *sys.argv[1:]])}` on {jax.devices()[0].device_kind}, "
    ]
    lines[0] += f"jax {jax.__version__}, optax {optax.__version__}"
    for net in args.nets:
        params = parameters(net)
        grads = jax.tree.map(lambda p: 0.01 * jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
        count, arrays = sum(p.size for p in jax.tree.leaves(params)), len(jax.tree.leaves(params))
        rate = copy_rate(params, args.runs) / 1e9
        lines += ["", f"{net}: {count:,} parameters in {arrays} arrays; a copy of them moves {rate:.1f} GB/s", ""]
        lines += ["| optimizer | jaxdl ms | optax ms | ratio | GB/s | state bytes |", "|---|---|---|---|---|---|"]
        print("\n".join(lines[-5:]), flush=True)
        for name in args.names:
            lines.append(row(name, params, grads, args.runs))
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
