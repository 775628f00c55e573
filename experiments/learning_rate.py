"""The learning rate: too small, stable, diverging; the limit 2/λ; a range test that suggests one; annealing.

    python -m experiments.learning_rate

The lectures say that too small a rate stalls and too large a one diverges, that a short test under a growing rate finds
a good one, and that rates should decay. An MLP with one hidden layer learns scikit-learn's digits by descent on batches
at every rate of a grid, under a constant rate and under two decaying ones, each at its best rate on development
examples. Near a minimum, two paths of descent on all examples are followed at rates around 2/λ, the limit of the loss's
quadratic part, where λ is the largest eigenvalue of the exact Hessian. A minute on one core.

(Lecture rows E1, E10.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxdl import activations, analysis, data, demonstrations, losses, optimizers, regularizers, schedules, training
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

RATES = (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FACTORS = (0.5, 0.9, 1.1, 1.5)  # of 2/λ, at which descent is tried
DECAYS = ("constant", "step", "cosine")
RANGE, LIMIT = "range test", "limit"
BATCH, TRAIN, NEAR, STRENGTH = 64, 1000, 100, 0.03  # STRENGTH: of the penalty that gives the loss a sharp minimum


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "learning_rate"

    hidden: int = 16
    """Hidden units."""
    steps: int = 1000
    """Steps of descent on batches; the minimum is sought by three times as many on all examples."""


check = functools.partial(demonstrations.check_at_least, hidden=1, steps=4)


def decay(name: str, steps: int) -> np.ndarray:
    """Return the share of the rate in each step."""
    schedule = {
        "constant": schedules.constant(1.0),
        "step": schedules.step(1.0, {steps // 2: 0.3, 3 * steps // 4: 0.3}),
        "cosine": schedules.cosine(1.0, steps),
    }[name]
    return np.asarray(jax.vmap(schedule)(jnp.arange(steps)), np.float32) * np.ones(steps, np.float32)


def loss(params: Any, x: Any, y: Any) -> jax.Array:
    """Return the mean cross-entropy of tanh units and a softmax."""
    return losses.softmax_cross_entropy(logits(params, x), y).mean()


def logits(params: Any, x: Any) -> jax.Array:
    """Return the outputs of the net."""
    return dense(activations.tanh(dense(x, **params["fc1"])), **params["fc2"])


@jax.jit
def advance(params: Any, rate: Any, x: Any, y: Any) -> tuple[Any, jax.Array]:
    """Make one step of descent, and return the loss before it."""
    value, grads = jax.value_and_grad(loss)(params, x, y)
    return optimizers.apply_updates(params, jax.tree.map(lambda g: -rate * g, grads)), value


@jax.jit
def trained(rates: Any, shares: Any, params: Any, x: Any, y: Any, rows: Any) -> Any:
    """Return losses and shares of wrong examples of all parts after training at each of the rates."""

    def train(rate: Any) -> Any:
        step = lambda params, this: (advance(params, rate * this[0], x[this[1]], y[this[1]])[0], None)
        last = jax.lax.scan(step, params, (shares, rows))[0]
        return loss(last, x[:TRAIN], y[:TRAIN]), 100.0 * (jnp.argmax(logits(last, x), -1) != y)

    return jax.vmap(train)(rates)


@functools.partial(jax.jit, static_argnames="steps")
def around_minimum(params: Any, apart: Any, x: Any, y: Any, *, steps: int) -> tuple[jax.Array, jax.Array]:
    """Return λ at a minimum, and how descent from it and from near it drift apart, at each of the rates."""
    penalised = lambda p: loss(p, x, y) + regularizers.l2(p, STRENGTH, count=1)
    step = lambda rate, p: jax.tree.map(lambda w, g: w - rate * g, p, jax.grad(penalised)(p))
    descend = lambda rate, p, steps: jax.lax.fori_loop(0, steps, lambda _, p: step(rate, p), p)
    there = descend(0.3, params, steps)
    curvature = analysis.hessian_eigenvalues(penalised, there)[-1]

    def growth(factor: Any) -> Any:
        ends = [descend(factor * 2 / curvature, p, NEAR) for p in (there, jax.tree.map(jnp.add, there, apart))]
        one, other, first = (ravel_pytree(tree)[0] for tree in (*ends, apart))
        return jnp.linalg.norm(one - other) / jnp.linalg.norm(first)

    return curvature, jax.vmap(growth)(jnp.array(FACTORS))


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Run one kind of decay at all rates, the range test, or the descent around a minimum."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(dataset.images))
    x, y = dataset.images.reshape(-1, 64)[order].astype(np.float32) / dataset.scale, dataset.labels[order]
    rows = random.integers(TRAIN, size=(config.steps, BATCH))
    make = lambda n, m: {"kernel": np.float32(random.normal(scale=n**-0.5, size=(n, m))), "bias": np.zeros(m, "f4")}
    params = {"fc1": make(64, config.hidden), "fc2": make(config.hidden, 10)}
    if case == LIMIT:
        apart = jax.tree.map(lambda w: np.float32(random.normal(scale=1e-3, size=w.shape)), params)
        curvature, growth = around_minimum(params, apart, x[:TRAIN], y[:TRAIN], steps=3 * config.steps)
        each = {f"growth at {factor:g}": float(g) for factor, g in zip(FACTORS, growth, strict=True)}
        return {"curvature": float(curvature), "growth": np.asarray(growth), **each}
    rates, found, most = np.array(RATES, np.float32), {}, min(200, config.steps)
    if case == RANGE:

        def step(state: Any, batch: Any) -> Any:
            schedule, params, count = state
            params, value = advance(params, np.float32(schedule(count)), x[batch], y[batch])
            return (schedule, params, count + 1), value

        test = training.find_rate(lambda own: ((own, params, 0), step), rows, low=1e-4, high=100.0, steps=most)
        if test.suggestion is None:
            raise ValueError(f"the range test of seed {seed} ended after {len(test.rates)} steps")
        rest = np.full(200 - len(test.rates), np.nan)
        found = {"tested": np.append(test.rates, rest), "seen": np.append(test.losses, rest)}
        found |= {"rate": test.suggestion.steepest}
        rates = np.full(len(RATES), found["rate"], np.float32)
    shares = decay("constant" if case == RANGE else case, config.steps)
    final, wrong = (np.asarray(one) for one in trained(rates, shares, params, x, y, rows))
    best, errors = int(np.argmin(wrong[:, TRAIN : TRAIN + 300].mean(1))), wrong[:, TRAIN + 300 :].mean(1)
    found = {"rate": RATES[best], "losses": final, "start": float(loss(params, x[:TRAIN], y[:TRAIN])), **found}
    found |= {"loss at the smallest": float(final[0]), "loss": float(final[best]), "error": float(errors[best])}
    return found | {"loss at the largest": float(np.nan_to_num(final[-1], nan=np.inf))}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    del config
    of = lambda case, what: (f"{what} ({case})", outcomes.numbers(case, what))
    flat, nats, wrong = DECAYS[0], "nats", "% wrong"
    growth = lambda factor: (
        f"distance of two paths after {NEAR} steps",
        outcomes.numbers(LIMIT, f"growth at {factor:g}"),
    )
    far = np.abs(np.log10(outcomes.numbers(RANGE, "rate") / outcomes.numbers(flat, "rate")))
    lost = outcomes.numbers(RANGE, "error") - outcomes.numbers(flat, "error")
    return [
        claims.compare(f"too small a rate ({RATES[0]:g}) stalls", "E1, E10", of(flat, "loss at the smallest"),
                       of(flat, "loss"), claimed="more", unit=nats),
        claims.compare(f"too large a rate ({RATES[-1]:g}) diverges: the loss ends above its start", "E1, E10",
                       of(flat, "loss at the largest"), of(flat, "start"), claimed="more", unit=nats),
        claims.within("near a minimum, paths at 1.1 · 2/λ drift apart", "E10", growth(1.1), low=1, unit="times"),
        claims.within("at .9 · 2/λ they do not", "E10", growth(0.9), high=1, unit="times"),
        claims.within("a range test finds a rate within a factor of 10 of the best", "E10", ("distance", far), high=1,
                      unit="decades"),
        claims.within("at which at most one point of accuracy is lost", "E10", ("points lost", lost), high=1,
                      unit="percentage points"),
        *(claims.compare(f"a decaying rate ({name}) ends at a lower {what}", "E10", of(name, quantity),
                         of(flat, quantity), claimed="less", unit=unit)
          for name in DECAYS[1:] for what, quantity, unit in (("training loss", "loss", nats),
                                                              ("test error", "error", wrong))),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the loss against the rate, the range tests, and the growth around the limit."""
    del config
    from matplotlib.figure import Figure

    from jaxdl import plots

    grid, tests, limit = (figure := Figure(figsize=(9.6, 3.4), layout="constrained")).subplots(1, 3)
    for place, name in enumerate(DECAYS):
        values = np.median(outcomes.arrays(name, "losses"), 0)
        grid.plot(RATES, values, color=plots.COLORS[place], marker="osd^"[place], label=name)
    grid.set(xscale="log", yscale="log", xlabel="rate", ylabel="training loss at the end", title="decays")
    grid.legend(frameon=False)
    for tested, seen in zip(outcomes.arrays(RANGE, "tested"), outcomes.arrays(RANGE, "seen"), strict=True):
        tests.plot(tested, seen, color=plots.COLORS[0], linewidth=0.8, alpha=0.6)
    tests.vlines(outcomes.numbers(RANGE, "rate"), 0, 3, color=plots.COLORS[1], linewidth=0.8)
    tests.set(xscale="log", xlabel="growing rate", ylabel="loss of the batch", title="range tests, suggestions")
    limit.plot(FACTORS, outcomes.arrays(LIMIT, "growth").T, color=plots.COLORS[0], marker="o")
    limit.set(yscale="log", xlabel="rate / (2/λ)", ylabel=f"distance after {NEAR} steps / before", title="limit")
    about = "Left: training loss, medians over the seeds. Middle: range tests of all seeds and the rates they suggest. "
    return [demonstrations.Drawing("rates", figure, about + "Right: how paths near a minimum drift apart. Digits.")]


DEMONSTRATION = demonstrations.Demonstration(
    Config, lambda config: (digits := data.load("digits"), digits), lambda config: [*DECAYS, RANGE, LIMIT], run,
    judge, draw, check)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
