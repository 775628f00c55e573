"""The batch size: noise of the gradient, steps and examples until a target is reached.

    python -m experiments.batch_size

The lectures compare descent on one example, on batches and on all examples: the noise of a batch's gradient falls as
1/√B, so that larger batches allow larger rates and need fewer steps, yet each step looks at more examples. An MLP with
one hidden layer learns scikit-learn's digits with batches of several sizes, each at its best of seven rates. The noise
is measured at the initial weights from the gradients of all training examples. Seconds are not compared, because they
depend on the machine; examples are the work of a machine that has no parallel units. A minute on one core.

(Lecture row E1.)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, demonstrations, losses
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
NOISE, TRAIN, DRAWS, LOOKS = "noise", 1000, 300, 100  # LOOKS: evaluations of a run
TARGET = 6.0  # % wrong of the development examples


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "batch_size"

    sizes: tuple[int, ...] = (1, 8, 64, 512)
    """Examples in a batch, increasing."""
    hidden: int = 32
    """Hidden units."""
    examples: int = 128_000
    """Examples that a run looks at; at least 1,000 and at most 16,000 steps are made."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, hidden=1, examples=1)
    if len(config.sizes) < 2 or config.sizes[0] < 1 or list(config.sizes) != sorted({*config.sizes}):
        raise ValueError(f"sizes={config.sizes} is not allowed: it must be two or more increasing numbers above 0")


def named(size: int) -> str:
    """Return the name of a case."""
    return f"batches of {size}"


def every(config: Config, size: int) -> int:
    """Return the number of steps between evaluations."""
    return max(1, int(np.clip(config.examples / size, min(1000, config.examples), 16_000)) // LOOKS)


def logits(params: Any, x: Any) -> jax.Array:
    """Return the outputs of the net."""
    return dense(activations.relu(dense(x, **params["fc1"])), **params["fc2"])


def loss(params: Any, x: Any, y: Any) -> jax.Array:
    """Return the mean cross-entropy."""
    return losses.softmax_cross_entropy(logits(params, x), y).mean()


@jax.jit
def trained(params: Any, x: Any, y: Any, rows: Any) -> jax.Array:
    """Return the shares of wrong development examples during training at each rate; rows are (looks, steps, size)."""

    def train(rate: Any) -> jax.Array:
        def step(params: Any, rows: Any) -> Any:
            grads = jax.grad(loss)(params, x[rows], y[rows])
            return jax.tree.map(lambda w, g: w - rate * g, params, grads), None

        def stretch(params: Any, rows: Any) -> Any:
            params, _ = jax.lax.scan(step, params, rows)
            return params, 100 * jnp.mean(jnp.argmax(logits(params, x[TRAIN:]), -1) != y[TRAIN:])

        return jax.lax.scan(stretch, params, rows)[1]

    return jax.vmap(train)(jnp.array(RATES))


@jax.jit
def each(params: Any, x: Any, y: Any) -> Any:
    """Return the loss and the gradient of each example, (n,) and (n, weights)."""
    values, grads = jax.vmap(jax.value_and_grad(loss), (None, 0, 0))(params, x[:, None], y[:, None])
    return values, jnp.concatenate([leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(grads)], 1)


def spread(values: np.ndarray, size: int, random: np.random.Generator) -> float:
    """Return the root mean square distance of a batch's mean from the mean of all (n, ...)."""
    means = np.array([values[random.integers(len(values), size=size)].mean(0) for _ in range(DRAWS)])
    return float(np.sqrt(np.mean(np.sum((means - values.mean(0)).reshape(DRAWS, -1) ** 2, 1))))


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Measure the noise of all sizes, or train with one size at all rates."""
    random = np.random.default_rng(seed)
    rows = random.permutation(len(dataset.images))[: TRAIN + 300]
    x, y = dataset.images[rows].reshape(-1, 64).astype(np.float32) / dataset.scale, dataset.labels[rows]
    make = lambda n, m: {
        "kernel": np.float32(random.normal(scale=(2 / n) ** 0.5, size=(n, m))),
        "bias": np.zeros(m, "f4"),
    }
    params = {"fc1": make(64, config.hidden), "fc2": make(config.hidden, 10)}
    if case == NOISE:
        values, grads = (np.asarray(one) for one in each(params, x[:TRAIN], y[:TRAIN]))
        found = {"gradient": np.array([spread(grads, size, random) for size in config.sizes]),
                 "loss": np.array([spread(values, size, random) for size in config.sizes])}  # fmt: skip
        slope = lambda noise: float(np.polyfit(np.log(config.sizes), np.log(noise), 1)[0])
        whole = float(np.linalg.norm(grads.mean(0)))
        return found | {f"slope of the {name}": slope(noise) for name, noise in found.items()} | {"whole": whole}
    size = int(case.split()[-1])
    steps = every(config, size)
    errors = np.asarray(trained(params, x, y, random.integers(TRAIN, size=(LOOKS, steps, size))))
    there = errors <= TARGET
    arrived = np.where(there.any(1), steps * (1.0 + there.argmax(1)), np.inf)
    best = int(np.argmin(arrived)) if there.any() else int(np.argmin(errors[:, -1]))
    return {"steps": float(arrived[best]), "examples": float(arrived[best] * size), "rate": RATES[best],
            "log10 of the rate": float(np.log10(RATES[best])), "errors": errors[best]}  # fmt: skip


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of = lambda size, what: (named(size), outcomes.numbers(named(size), what))
    pairs = [*zip(config.sizes[1:], config.sizes, strict=False)]
    return [
        claims.within("the noise of a batch's gradient falls as B to the power of −½", "E1",
                      ("exponent", outcomes.numbers(NOISE, "slope of the gradient")), low=-0.55, high=-0.45, unit="1"),
        claims.within("so does the spread of the losses of batches", "E1",
                      ("exponent", outcomes.numbers(NOISE, "slope of the loss")), low=-0.55, high=-0.45, unit="1"),
        *(claims.compare(f"larger batches need fewer steps to {TARGET:g} % wrong, {large} against {small}", "E1",
                         of(large, "steps"), of(small, "steps"), claimed="less", unit="steps")
          for large, small in pairs),
        *(claims.compare(f"smaller batches need fewer examples for it, {small} against {large}", "E1",
                         of(small, "examples"), of(large, "examples"), claimed="less", unit="examples")
          for large, small in pairs),
        claims.compare(f"larger batches allow larger rates, {config.sizes[-1]} against {config.sizes[0]}", "E1",
                       of(config.sizes[-1], "log10 of the rate"), of(config.sizes[0], "log10 of the rate"),
                       claimed="more", unit="log10 of the rate"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the noise, steps and examples against the size, and the errors against the examples."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure, sizes = Figure(figsize=(9.6, 3.4), layout="constrained"), np.array(config.sizes)
    noise, work, errors = figure.subplots(1, 3)
    for place, name in enumerate(("gradient", "loss")):
        values = outcomes.arrays(NOISE, name)
        noise.plot(sizes, values.T, "o", color=plots.COLORS[place], markersize=4)
        noise.plot(sizes, values[:, 0].mean() * sizes**-0.5, color=plots.COLORS[place], label=f"{name}, σ/√B")
    reached = False
    for place, what in enumerate(("steps", "examples")):
        values = np.array([outcomes.numbers(named(size), what) for size in sizes])
        reached |= np.isfinite(np.median(values, 1)).any()
        work.plot(sizes, np.median(values, 1), color=plots.COLORS[place], marker="os"[place], label=what)
    for place, size in enumerate(config.sizes):
        curve, steps = outcomes.arrays(named(size), "errors").mean(0), every(config, size)
        seen = steps * size * np.arange(1, LOOKS + 1)
        errors.plot(seen, curve, color=plots.COLORS[place], label=f"B = {size}")
    noise.set(xscale="log", yscale="log", xlabel="batch size", ylabel="rms distance from the mean", title="noise")
    work.set(
        xscale="log",
        yscale="log" if reached else "linear",
        xlabel="batch size",
        ylabel="until the target",
        title="steps, examples",
    )
    errors.set(xscale="log", yscale="log", xlabel="examples", ylabel="development error (%)", title="at the best rate")
    for axes in figure.axes:
        axes.legend(frameon=False)
    about = f"Left: noise of batches at the start. Middle: medians until {TARGET:g} % of the development examples are"
    return [
        demonstrations.Drawing("sizes", figure, f"{about} wrong. Right: their errors, means over the seeds. Digits.")
    ]


DEMONSTRATION = demonstrations.Demonstration(
    Config, lambda config: (digits := data.load("digits"), digits), lambda config: [NOISE, *map(named, config.sizes)],
    run, judge, draw, check,
)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
