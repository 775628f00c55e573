"""DeepOBS's published baselines on quadratic_deep, repeated: 10 seeds, 100 epochs of 7 steps, all seeds in one scan.

    python -m benchmarks.quadratic_deep     # prints benchmarks/quadratic_deep.md, in about ten seconds

DeepOBS (https://arxiv.org/abs/1903.05499) tunes on 36 rates, even in the logarithm from 1e-5 to 1e2, and reports mean
and standard deviation of the test loss after the last epoch. Its TensorFlow runs start the shuffled data set anew each
epoch from one seed, so that every epoch has the same batches and the 104 examples that do not fill a batch are never
seen. What a run from a fresh order each epoch gives stands beside it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import optimizers, studies

SEEDS = 10


class Baseline(NamedTuple):
    """A published result: test loss after 100 epochs, mean and standard deviation over 10 seeds."""

    build: optax.GradientTransformation
    settings: str
    mean: float
    deviation: float


BASELINES = {
    "SGD": Baseline(optimizers.sgd(10**-1.8), "lr 1.58e-2", 87.40, 0.16),
    "momentum": Baseline(optimizers.sgd(10**-2.6, momentum=0.99), "lr 2.51e-3, momentum .99", 87.05, 0.02),
    "Adam": Baseline(optimizers.adam(10**-1.4), "lr 3.98e-2", 87.11, 0.02),
}


def final_losses(optimizer, *, shuffle="repeated", seeds=SEEDS):
    """Return the test losses after 100 epochs, shape (seeds,)."""
    problem = studies.quadratic_deep(shuffle=shuffle)
    data = jax.tree.map(jnp.asarray, problem.data)
    epochs = range(problem.steps // problem.steps_per_epoch)
    batches = np.stack([np.concatenate([problem.batches(seed, epoch) for epoch in epochs]) for seed in range(seeds)])

    @jax.jit
    @jax.vmap
    def run(batches):
        params, state = problem.init(jax.random.key(0))

        def step(carry, batch):
            params, opt_state = carry
            grads = jax.grad(lambda p: problem.loss(p, state, batch, data, None)[0])(params)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), batches)
        return problem.evaluate(params, state, data)["value"]

    return np.asarray(run(batches))


def page():
    head = [
        "optimizer",
        "settings",
        "published",
        "same order each epoch",
        "apart (published deviations)",
        "fresh order",
    ]
    lines = [head, ["---"] * len(head)]
    for name, (optimizer, settings, mean, deviation) in BASELINES.items():
        repeated, fresh = (final_losses(optimizer, shuffle=shuffle) for shuffle in ("repeated", "fresh"))
        apart = abs(repeated.mean() - mean) / deviation
        lines.append([name, settings, f"{mean:.2f} ± {deviation:.2f}", _shown(repeated), f"{apart:.1f}", _shown(fresh)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# quadratic_deep: DeepOBS's baselines, run again\n\n`python -m benchmarks.quadratic_deep`\n\n{table}\n"


def _shown(losses):
    return f"{losses.mean():.2f} ± {losses.std():.2f}"


if __name__ == "__main__":
    print(page(), end="")
