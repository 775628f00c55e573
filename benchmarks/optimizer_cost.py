"""Update cost of every optimizer against its optax namesake, on a tree of a ResNet's size.

    python -m benchmarks.optimizer_cost [--scale 1.0] [--runs 21] [--names adam lamb]

Both updates are compiled first, with donated state and parameters, and then run alternately; the table gives
medians, their ratio and the bytes of both states. ``--scale 1`` is ResNet-18 (11.7 million parameters in 62
arrays), 2.2 about ResNet-50.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import optax

import jaxdl.optimizers as ours

WIDTHS = (64, 64, 64, 64, 64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512)
NAMES = ("sgd", "momentum", "nesterov", "adam", "adamw", "nadam", "amsgrad", "adamax", "radam", "lion")
NAMES += ("adagrad", "rmsprop", "adadelta", "lars", "lamb")


def resnet_tree(scale):
    widths = [max(1, round(w * scale**0.5)) for w in WIDTHS]
    tree, c_in = {}, 3
    for i, c_out in enumerate(widths):
        window = 7 if i == 0 else 3
        tree[f"conv{i}"] = jnp.full((window, window, c_in, c_out), 0.1)
        tree[f"norm{i}"] = {"scale": jnp.ones(c_out), "bias": jnp.zeros(c_out)}
        c_in = c_out
    tree["dense"] = {"kernel": jnp.full((c_in, 1000), 0.1), "bias": jnp.zeros(1000)}
    return tree


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


def compare(name, params, grads, runs):
    sides = [stepper(tx, params) for tx in pair(name)]
    sizes = [sum(x.nbytes for x in jax.tree.leaves(side[2])) for side in sides]
    times = [[], []]
    for run in range(runs + 3):
        for i in (0, 1) if run % 2 else (1, 0):
            compiled, p, s = sides[i]
            seconds, p, s = timed(compiled, p, s, grads)
            sides[i] = (compiled, p, s)
            if run >= 3:
                times[i].append(seconds)
    mine, theirs = map(statistics.median, times)
    print(
        f"| {name} | {1e3 * mine:.3f} | {1e3 * theirs:.3f} | {mine / theirs:.3f} | {sizes[0]} | {sizes[1]} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description="Update cost beside optax's.")
    parser.add_argument("--scale", type=float, default=1.0, help="parameters, as a multiple of ResNet-18's")
    parser.add_argument("--runs", type=int, default=21, help="timed runs of each")
    parser.add_argument("--names", nargs="*", default=NAMES, help="optimizers to run")
    args = parser.parse_args()
    params = resnet_tree(args.scale)
    grads = jax.tree.map(lambda p: 0.01 * jnp.sin(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    count = sum(p.size for p in jax.tree.leaves(params))
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, optax {optax.__version__}, {count} parameters\n")
    print("| optimizer | jaxdl ms | optax ms | ratio | state bytes | optax's |\n|---|---|---|---|---|---|")
    for name in args.names:
        compare(name, params, grads, args.runs)


if __name__ == "__main__":
    main()
