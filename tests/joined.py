"""One of several processes that train together, for test_processes: ``joined.py PORT PROCESSES PROCESS STEPS OUT``."""

import itertools
import pathlib
import sys

import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

from jaxdl import data, nn, training
from jaxdl.runs import records

IMAGES, LABELS = load_digits(return_X_y=True)
EXAMPLES = data.Examples((IMAGES.reshape(-1, 8, 8, 1) / 16).astype(np.float32), LABELS.astype(np.int32))
NET = nn.serial(conv=nn.Conv(4, 3), relu=jax.nn.relu, flat=nn.flatten, norm=nn.BatchNorm(), logits=nn.Dense(10))
OPTIMIZER = optax.sgd(0.1, momentum=0.9)
BATCH = 32


def curve(strategy, steps, *, devices=None, report=lambda number: None):
    """Return the sums of each step, those of an evaluation with its outputs, and the parameters."""
    first = jax.random.key(4)
    run = training.data_parallel(training.train_step(NET, OPTIMIZER), strategy=strategy, devices=devices)
    state, key = run.place(training.create(first, NET, OPTIMIZER, (8, 8, 1))), run.place(first)
    found = {}
    epochs = (data.batches(EXAMPLES, BATCH, seed=0, epoch=epoch) for epoch in itertools.count())
    for number, batch in zip(range(steps), itertools.chain.from_iterable(epochs), strict=False):
        state, sums = run.step(state, run.shard(training.own_part(batch)), key)
        found |= {f"{number} {name}": np.asarray(value) for name, value in sums.items()}
        report(number)
    measure = training.data_parallel_eval(training.eval_step(NET), devices=devices)
    sums, outputs = measure(training.eval_variables(state), training.own_part(batch))
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    found |= {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return found | {"outputs": np.asarray(outputs)} | {f"eval {name}": np.asarray(sum) for name, sum in sums.items()}


def main():
    port, processes, process, steps = map(int, sys.argv[1:5])
    training.join(f"127.0.0.1:{port}", processes, process, heartbeat_seconds=10)
    print("joined", len(jax.devices()), flush=True)
    for strategy in (None, "jit") if steps < 100 else (None,):
        found = curve(strategy, steps, report=lambda number: print("step", number, flush=True))
        records.write_arrays(pathlib.Path(sys.argv[5]) / f"{process}-{strategy}.npz", found)


if __name__ == "__main__":
    main()
