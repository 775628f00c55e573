"""Is jaxdl's Adam optax's Adam? 500 steps of a convolutional net on MNIST, locked and free-running.

    python -m benchmarks.adam_parity [--data-dir DIR]

Locked: at every step both start from the same parameters, state and gradient, and the largest difference of the updated
parameters is reported. Free-running: each trains independently, and their final distance is compared with the noise
floor, the distance of optax's run from itself after one leaf of its initial parameters was moved by one ulp.
"""

import argparse
from typing import Any

import jax
import numpy as np
import optax

from jaxdl import compare, data, models, optimizers, training

STEPS, BATCH, RATE = 500, 64, 1e-3


def main() -> None:
    """Run both comparisons and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the data sets' files")
    dataset = data.load("mnist", data_dir=parser.parse_args().data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    stats = data.fit_normalization(splits.train.images, dataset.scale)
    layer = models.lecture_torch()
    ours, theirs = optimizers.adam(RATE), optax.adam(RATE)
    steps = [
        jax.jit(training.train_step(layer, o, preprocess=lambda x: data.normalize(x, stats))) for o in (ours, theirs)
    ]
    params, state = layer.init(jax.random.key(0), (28, 28, 1))
    first = [training.start(params, state, o) for o in (ours, theirs)]
    moved = training.start(compare.move_one_ulp(params), state, theirs)
    batches = list(data.batches(splits.train, BATCH, seed=0, epoch=0))[:STEPS]
    locked = run_locked(steps, first, batches)
    a, b, c = (run(step, start, batches) for step, start in zip((*steps, steps[1]), (*first, moved), strict=True))
    print(f"jax {jax.__version__}, optax {optax.__version__}, {jax.devices()[0].device_kind}; {STEPS} steps")
    print("| comparison | ulps at leaf scale | relative |\n|---|---|---|")
    print(f"| locked, largest over all steps | {locked:.2f} | |")
    for name, x, y in (("free-running, ours to optax's", a, b), ("noise floor, optax's to itself", b, c)):
        print(f"| {name} | {compare.max_ulps(x, y):.3g} | {compare.max_relative(x, y):.2e} |")


def run_locked(steps: list[Any], first: list[training.TrainState], batches: list[data.Batch]) -> float:
    """Return the largest difference in ulps when both take every step from the second one's position."""
    key, worst = jax.random.key(1), 0.0
    state, example = first[1], first[0]
    for batch in batches:
        # both optimizers' states have the same structure, so either can continue from the other's
        same = jax.tree.unflatten(jax.tree.structure(example), jax.tree.leaves(state))
        ours, _ = steps[0](same, batch, key)
        state, _ = steps[1](state, batch, key)
        worst = max(worst, compare.max_ulps(ours.params, state.params))
    return worst


def run(step: Any, state: training.TrainState, batches: list[data.Batch]) -> Any:
    """Return the parameters after all batches."""
    key = jax.random.key(1)
    for batch in batches:
        state, _ = step(state, batch, key)
    return jax.tree.map(np.asarray, state.params)


if __name__ == "__main__":
    main()
