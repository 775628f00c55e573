"""Penalties and noise on weights: error against strength, the histogram of the weights, exact zeros.

    python -m experiments.regularization

The lectures say that a penalty lowers the test error up to some strength and raises it beyond, that L1 makes weights
exactly zero while L2 only shrinks them, and that noise on the weights (DropConnect, Shakeout, Whiteout) regularises,
too. A network with one hidden layer learns a few of scikit-learn's digits at every strength of a grid, 0 among them.
The best strength is chosen on development examples and judged on test examples, so that no method wins by its strength.
L1 is tried by its gradient and by the proximal step. A minute or two on one core. Zoneout is not part of it.

(Lecture rows G1, G4, C6.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, initializers, layers, losses, optimizers, regularizers
from jaxdl.runs import claims, commandline, demonstrations

PENALTIES = ("L2", "L1 by gradient", "L1 by proximal step")
NOISES = ("DropConnect", "Shakeout", "Whiteout")
CASES = (*PENALTIES, *NOISES)
LAMBDAS = (0.0, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
SHOWN = 3e-3  # λ at which zeros are counted: the largest at which L1 costs less than a point of accuracy
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # of dropping or reversing; of Whiteout, σ


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "regularization"

    seeds: int = 10
    """Number of seeds, each of which draws the examples and the initial weights."""
    examples: int = 200
    """Training examples; as many are development examples, and all others are test examples."""
    hidden: int = 32
    """Hidden units."""
    steps: int = 800
    """Steps of gradient descent on all training examples."""
    learning_rate: float = 0.3
    """Rate of gradient descent, for all methods."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, examples=10, hidden=1, steps=1)
    if config.examples > 800:
        raise ValueError(f"examples={config.examples} is not allowed: it must be at most 800")
    if not 0 < config.learning_rate < float("inf"):
        raise ValueError(f"learning_rate={config.learning_rate} is not allowed: it must be a positive number")


def load(config: Config) -> tuple[data.Dataset, data.Dataset]:
    """Load scikit-learn's digits."""
    del config
    dataset = data.load("digits")
    return dataset, dataset


def strengths(case: str) -> tuple[float, ...]:
    """Return the grid of a case: λ of a penalty, or the amount of noise."""
    return LAMBDAS if case in PENALTIES else RATES


def noisy(case: str, key: jax.Array, x: jax.Array, layer: Mapping[str, jax.Array], strength: jax.Array) -> jax.Array:
    """Return a dense layer in training, with the case's noise on its weights."""
    if case == "Whiteout":
        return layers.whiteout(key, x, layer["kernel"], layer["bias"], sigma=strength)
    kernel = layer["kernel"]
    if case == "DropConnect":
        kernel = layers.dropconnect(key, kernel, strength)
    if case == "Shakeout":
        kernel = layers.shakeout(key, kernel, strength, c=jnp.float32(0.1))
    return layers.dense(x, kernel, layer["bias"])


@functools.cache
def _trained(config: Config, case: str) -> Any:
    """Return (key, x, y) -> parameters for each strength of the grid, compiled once."""

    def train(strength, key, x, y):
        keys = jax.random.split(key, 3)
        make = lambda key, n, m: {"kernel": initializers.he_normal()(key, (n, m)), "bias": jnp.zeros(m)}
        params = {"fc1": make(keys[0], x.shape[1], config.hidden), "fc2": make(keys[1], config.hidden, 10)}

        def loss(params, key):
            one, two = jax.random.split(key)
            hidden = activations.relu(noisy(case, one, x, params["fc1"], strength))
            mean = losses.softmax_cross_entropy(noisy(case, two, hidden, params["fc2"], strength), y).mean()
            if case == "L2":
                return mean + regularizers.l2(params, strength, count=1)
            return mean + (regularizers.l1(params, strength, count=1) if case == "L1 by gradient" else 0)

        optimizer = optimizers.sgd(config.learning_rate)
        if case == "L1 by proximal step":
            shrink = optimizers.proximal_l1(config.learning_rate * strength, optimizers.mask_by_path(".*/kernel"))
            optimizer = optimizers.chain(optimizer, shrink)

        def step(carry, key):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, key), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(keys[2], config.steps))[0][0]

    grid = jnp.array(strengths(case))
    return jax.jit(lambda key, x, y: jax.vmap(train, (0, None, None, None))(grid, key, x, y))


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Train at all strengths, choose one on the development examples, and judge all on the test examples."""
    x = dataset.images.reshape(len(dataset.images), -1).astype(np.float32) / dataset.scale
    order, n = np.random.default_rng(seed).permutation(len(x)), config.examples
    train, dev, test = order[:n], order[n : 2 * n], order[2 * n :]
    every = _trained(config, case)(jax.random.key(seed), x[train], dataset.labels[train])
    hidden = activations.relu(jnp.einsum("nd,sdh->snh", x, every["fc1"]["kernel"]) + every["fc1"]["bias"][:, None])
    logits = jnp.einsum("snh,shk->snk", hidden, every["fc2"]["kernel"]) + every["fc2"]["bias"][:, None]
    wrong = 100 * np.asarray(jnp.argmax(logits, -1) != dataset.labels[None])
    kernels = np.concatenate([np.asarray(every[name]["kernel"]).reshape(len(wrong), -1) for name in every], 1)
    zeros, best = 100 * np.mean(kernels == 0, 1), int(np.argmin(wrong[:, dev].mean(1)))
    return {
        "best strength": strengths(case)[best],
        "error without": float(wrong[0, test].mean()),
        "error at the best": float(wrong[best, test].mean()),
        "error at the largest": float(wrong[-1, test].mean()),
        "zeros at the best": float(zeros[best]),
        "root mean square at the best": float(np.sqrt(np.mean(kernels[best] ** 2))),
        "errors": wrong[:, test].mean(1),
        "zeros": zeros,
        "weights": kernels[best],
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors and the weights."""
    del config
    of = lambda case, what: (f"{what} ({case})", outcomes.numbers(case, what))
    of_zeros = lambda case: ("zeros", outcomes.arrays(case, "zeros")[:, LAMBDAS.index(SHOWN)])
    (gradient, proximal), best = PENALTIES[1:], "error at the best"
    error, zeros = "% wrong", "% of weights"
    return [
        *(claims.compare(f"{case} lowers the test error", "G1" if case in PENALTIES else "G4",
                         of(case, "error at the best"), of(case, "error without"), claimed="less", unit=error)
          for case in CASES),
        *(claims.compare(f"too much {case} raises it", "G1", of(case, "error at the largest"),
                         of(case, "error at the best"), claimed="more", unit=error) for case in PENALTIES),
        claims.within(f"L1 makes weights exactly zero (λ = {SHOWN:g}): by its proximal step", "C6", of_zeros(proximal),
                      low=10, unit=zeros),
        claims.within("by its gradient, too", "C6", of_zeros(gradient), low=10, unit=zeros),
        claims.within("L2 makes none zero", "C6", of_zeros("L2"), high=0.1, unit=zeros),
        claims.within("the proximal step costs no accuracy against the gradient, within half a point", "C6",
                      ("difference at the best", of(proximal, best)[1] - of(gradient, best)[1]), low=-0.5, high=0.5,
                      unit="percentage points"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the error against the strength, and the histogram of the weights."""
    del config
    from matplotlib.figure import Figure

    from jaxdl import plots

    place = {case: np.array([max(s, strengths(case)[1] / 3) for s in strengths(case)]) for case in CASES}
    curve = lambda case: (place[case], outcomes.arrays(case, "errors").mean(0))
    groups = [{case: curve(case) for case in kind} for kind in (PENALTIES, NOISES)]
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    for axes, group, label in zip(figure.subplots(1, 2, sharey=True), groups, ("λ", "rate, or σ of Whiteout"),
                                  strict=True):  # fmt: skip
        for number, (case, (x, y)) in enumerate(group.items()):
            axes.plot(x, y, marker="osd"[number], color=plots.COLORS[number], label=case)
        axes.set(xscale="log", xlabel=f"{label} (leftmost: 0)", ylim=(5, 30))
        axes.grid(True, color="#e4e4e4")
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("test error (%)")
    weights, bins = Figure(figsize=(9.6, 2.8), layout="constrained"), np.linspace(-0.5, 0.5, 81)
    for axes, case in zip(weights.subplots(1, 3, sharey=True), PENALTIES, strict=True):
        axes.hist(outcomes.arrays(case, "weights").ravel(), bins, color=plots.COLORS[0], density=True)
        axes.set(yscale="log", xlabel="weight", title=case)
    weights.axes[0].set_ylabel("density")
    return [
        demonstrations.Drawing("strength", figure, "Test error against the strength, digits, means over the seeds."),
        demonstrations.Drawing("weights", weights, "Weights at each seed's best strength. The proximal step of L1 "
                               "leaves exact zeros, its gradient leaves weights that tremble around zero."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    commandline.run_main(main)
