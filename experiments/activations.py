"""Which activation trains best: shallow and deep MLPs, each at its own learning rate, and units that die.

    python -m experiments.activations

The lectures say that ReLU performs better than tanh and sigmoid, that ELU's mean activations are closer to zero, and
that a ReLU whose input is always negative is dead, which a leaky one prevents. MLPs of several depths learn scikit-
learn's digits by momentum at every rate of a grid, from Glorot's weights under sigmoid and tanh and from He's under the
others. The rate is chosen on development examples for each activation and depth. Two minutes on one core.

(Lecture row B.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, analysis, data, demonstrations, losses, optimizers
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

KINDS = {"sigmoid": activations.sigmoid, "tanh": activations.tanh, "ReLU": activations.relu}
KINDS |= {"leaky ReLU": activations.leaky_relu, "ELU": activations.elu}
GAIN = {"sigmoid": 1.0, "tanh": 1.0}  # gain / n is the variance of the weights; 2 where it is not named
BATCH, EVERY, TARGET = 64, 20, 10.0  # examples per step; steps between evaluations; % wrong to be reached


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "activations"

    depths: tuple[int, ...] = (2, 6, 20)
    """Numbers of hidden layers, increasing."""
    width: int = 32
    """Units of each hidden layer."""
    steps: int = 600
    """Steps of momentum, on 64 examples each; a multiple of 20."""
    rates: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    """Learning rates to choose from, increasing."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, width=1, steps=EVERY)
    if config.steps % EVERY:
        raise ValueError(f"steps={config.steps} is not allowed: it must be a multiple of {EVERY}")
    if not config.depths or config.depths[0] < 2 or list(config.depths) != sorted({*config.depths}):
        raise ValueError(f"depths={config.depths} is not allowed: it must be increasing numbers from 2 on")
    if not config.rates or config.rates[0] <= 0 or list(config.rates) != sorted({*config.rates}):
        raise ValueError(f"rates={config.rates} is not allowed: it must be increasing numbers above 0")


def load(config: Config) -> tuple[data.Dataset, data.Dataset]:
    """Load scikit-learn's digits."""
    del config
    dataset = data.load("digits")
    return dataset, dataset


def drawn(random: np.random.Generator, kind: str, depth: int, width: int) -> dict[str, dict[str, np.ndarray]]:
    """Return initial layers; the hidden ones after the first are stacked."""

    def layer(n: int, m: int, *stack: int) -> dict[str, np.ndarray]:
        std = (GAIN.get(kind, 2.0) / n) ** 0.5
        kernel, bias = random.normal(scale=std, size=(*stack, n, m)), np.zeros((*stack, m), np.float32)
        return {"kernel": kernel.astype(np.float32), "bias": bias}

    return {"first": layer(64, width), "hidden": layer(width, width, depth - 1), "last": layer(width, 10)}


def applied(kind: int | jax.Array, params: Any, x: Any) -> tuple[jax.Array, jax.Array]:
    """Return logits, and the inputs z of all activations, (layers, examples, units)."""
    first = dense(x, **params["first"])

    def layer(z, weights):
        z = dense(activation(kind, z), **weights)
        return z, z

    last, others = jax.lax.scan(layer, first, params["hidden"])
    return dense(activation(kind, last), **params["last"]), jnp.concatenate([first[None], others])


def activation(kind: int | jax.Array, z: jax.Array) -> jax.Array:
    """Return g(z) of a kind by its place, so that all kinds are one program."""
    return jax.lax.switch(kind, list(KINDS.values()), z)


@functools.cache
def _trained(rates: tuple[float, ...]) -> Any:
    """Return (kind, params, train, dev, test, rows) -> what becomes of the net at each of the rates, compiled once."""

    def train(rate, kind, params, seen, dev, test, rows):
        optimizer, g = optimizers.momentum(rate, 0.9), functools.partial(activation, kind)
        loss = lambda params, x, y: losses.softmax_cross_entropy(applied(kind, params, x)[0], y).mean()
        wrong = lambda params, part: 100 * jnp.mean(jnp.argmax(applied(kind, params, part[0])[0], -1) != part[1])

        def step(carry, rows):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, *(one[rows] for one in seen)), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        def stretch(carry, rows):
            carry, _ = jax.lax.scan(step, carry, rows)
            return carry, wrong(carry[0], dev)

        (params, _), errors = jax.lax.scan(stretch, (params, optimizer.init(params)), rows)
        z = applied(kind, params, test[0])[1]
        return {"dev": errors, "test": wrong(params, test), "mean": g(z).mean(),
                "dead": 100 * analysis.dead_units(g, z).mean()}  # fmt: skip

    return jax.jit(lambda *given: jax.vmap(train, (0, *[None] * len(given)))(jnp.array(rates), *given))


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Train the case's net at all rates, and judge it at the best."""
    kind, depth = case.split(", ")
    random, x = np.random.default_rng(seed), dataset.images.reshape(-1, 64).astype(np.float32) / dataset.scale
    parts = np.split(random.permutation(len(x)), [1000, 1300])
    rows = random.integers(1000, size=(config.steps // EVERY, EVERY, BATCH))
    params = drawn(random, kind, int(depth.split()[0]), config.width)
    examples = [(x[part], dataset.labels[part]) for part in parts]
    every = _trained(config.rates)(list(KINDS).index(kind), params, *examples, rows)
    found = {name: np.asarray(value) for name, value in every.items()}
    best, there = int(np.argmin(found["dev"][:, -1])), found["dev"] <= TARGET
    arrived = np.where(there.any(1), EVERY * (1 + there.argmax(1)), np.inf)
    return {"error": float(found["test"][best]), "rate": config.rates[best], "steps": float(arrived.min()),
            "mean activation": float(found["mean"][best]), "dead": float(found["dead"][best]),
            "dead at the largest rate": float(found["dead"][-1]), "dead by rate": found["dead"],
            "errors": found["dev"][best]}  # fmt: skip


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of = lambda kind, depth, what: (kind, outcomes.numbers(f"{kind}, {depth} layers", what))
    wrong, units, deep, middle = "% wrong", "% of units", config.depths[-1], config.depths[len(config.depths) // 2]
    mean = lambda kind: (f"|mean| of {kind}", np.abs(of(kind, middle, "mean activation")[1]))
    return [
        *(claims.compare(f"ReLU performs better than {other}, {depth} layers", "B", of("ReLU", depth, "error"),
                         of(other, depth, "error"), claimed="less", unit=wrong)
          for depth in config.depths for other in ("sigmoid", "tanh")),
        *(claims.compare(f"ReLU gets to {TARGET:g} % sooner than tanh, {depth} layers", "B", of("ReLU", depth, "steps"),
                         of("tanh", depth, "steps"), claimed="less", unit="steps") for depth in config.depths),
        claims.within(f"{deep} layers of sigmoids do not learn at any rate", "B", of("sigmoid", deep, "error"), low=80,
                      unit=wrong),
        claims.compare(f"ELU's mean activation is closer to zero than ReLU's, {middle} layers", "B", mean("ELU"),
                       mean("ReLU"), claimed="less", unit="1"),
        claims.compare(f"units of a ReLU net die at a large rate: the largest against the best, {middle} layers", "B",
                       ("largest", of("ReLU", middle, "dead at the largest rate")[1]),
                       ("best", of("ReLU", middle, "dead")[1]), claimed="more", unit=units),
        claims.within(f"no unit of a leaky ReLU net dies, {deep} layers", "B", of("leaky ReLU", deep, "dead"), high=0.1,
                      unit=units),
        *(claims.compare(f"and so it performs better than ReLU, {depth} layers", "B", of("leaky ReLU", depth, "error"),
                         of("ReLU", depth, "error"), claimed="less", unit=wrong) for depth in (middle, deep)),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw errors against steps, and dead units against the rate."""
    from jaxdl import plots

    steps = EVERY * np.arange(1, config.steps // EVERY + 1)
    curve = lambda kind, depth: (steps, outcomes.arrays(f"{kind}, {depth} layers", "errors").mean(0))
    groups = [{f"{kind}, {depth} layers": curve(kind, depth) for kind in KINDS} for depth in config.depths]
    dead = lambda case: (np.array(config.rates), outcomes.arrays(case, "dead by rate").mean(0))
    of_depth = [{case: dead(case) for case in (f"ReLU, {d} layers", f"leaky ReLU, {d} layers")} for d in config.depths]
    return [
        demonstrations.Drawing(
            "errors", plots.panels(groups, xlabel="step", ylabel="development error (%)"),
            "Development errors at the best rate of each activation, digits, means over the seeds."),
        demonstrations.Drawing(
            "dead", plots.panels(of_depth, xlabel="learning rate", ylabel="dead units (%)", logx=True),
            "Units that pass no gradient for any test example after training, digits, means over the seeds."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: [f"{kind}, {depth} layers" for depth in config.depths for kind in KINDS], run, judge,
    draw, check,
)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
