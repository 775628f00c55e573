"""Linear regions against depth: built by hand, with random weights, and after training.

    python -m experiments.depth_regions

The lectures say that a deep ReLU net cuts its input into exponentially more linear regions than a shallow one of as
many units. Regions of nets of one input are counted exactly, not sampled. A net built by hand folds the line onto
itself in each layer and reaches the published bound. Nets of the same shapes then get random weights, a hundred times
per seed, and are trained to follow a triangle wave, at the best of four rates. Of as many units a deep net has more
parameters, so one comparison is made at as many parameters. A minute on one core.

(Lecture row A6.)
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, analysis, demonstrations, optimizers
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

DEPTHS = (1, 2, 4)
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TEETH = 8  # of the triangle wave on [−1, 1]: 16 linear pieces, more than 8 units in one layer can make
GRID = 513  # points of [−1, 1] at which a fit is judged
FAR = 1000.0  # random nets are counted on [−FAR, FAR], which holds nearly all their kinks


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "depth_regions"

    seeds: int = 10
    """Number of seeds, each of which draws the weights."""
    neurons: tuple[int, ...] = (8, 16, 32, 64)
    """Hidden units of the nets, each divided evenly among 1, 2 and 4 layers."""
    draws: int = 100
    """Random nets of each shape."""
    steps: int = 3000
    """Steps of Adam on 256 points of the wave."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, draws=1, steps=1)
    if not config.neurons or any(n < 8 or n % 4 for n in config.neurons):
        raise ValueError(f"neurons={config.neurons} is not allowed: it must be multiples of 4 from 8 on")


def named(neurons: int, depth: int) -> str:
    """Return the name of a case, such as "8 units in 2 layers"."""
    return f"{neurons} units in {depth} layer{'s' if depth > 1 else ''}"


def widths_of(case: str) -> list[int]:
    """Return the hidden widths of a case."""
    neurons, depth = (int(word) for word in case.split() if word.isdigit())
    return [neurons // depth] * depth


def initial(random: np.random.Generator, widths: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Return He's weights and biases from N(0, 1), from the input to the output."""
    normal = lambda std, *shape: random.normal(scale=std, size=shape).astype(np.float32)
    sizes = itertools.pairwise([1, *widths, 1])
    return [{"kernel": normal((2 / n) ** 0.5, n, m), "bias": normal(1, m)} for n, m in sizes]


def applied(layers: Any, x: jax.Array) -> jax.Array:
    """Return the outputs of a net at points (n,)."""
    h = x[:, None]
    for layer in layers[:-1]:
        h = activations.relu(dense(h, **layer))
    return dense(h, **layers[-1])[:, 0]


def wave(x: Any) -> Any:
    """Return the triangle wave between −1 and 1 that has TEETH teeth on [−1, 1]."""
    return 4 * abs((x + 1) * TEETH / 2 % 1 - 0.5) - 1


@functools.cache
def _trained(steps: int) -> Any:
    """Return layers -> trained layers, errors and outputs at each of the rates, compiled once per shape."""
    x, grid = jnp.array(np.linspace(-1, 1, 256, endpoint=False)), jnp.array(np.linspace(-1, 1, GRID))

    def train(rate, params):
        optimizer = optimizers.adam(rate)
        loss = lambda params: jnp.mean((applied(params, x) - wave(x)) ** 2)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (params, optimizer.init(params)), None, length=steps)[0][0]
        outputs = applied(params, grid)
        return params, loss(params), jnp.sqrt(jnp.mean((outputs - wave(grid)) ** 2)), outputs

    return jax.jit(lambda params: jax.vmap(train, (0, None))(jnp.array(RATES), params))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Count the regions of the three kinds of nets of a shape."""
    del loaded
    widths, random = widths_of(case), np.random.default_rng(seed)
    counts = [analysis.linear_regions(initial(random, widths), [-FAR], [FAR]).count for _ in range(config.draws)]
    every, seen, errors, outputs = _trained(config.steps)(initial(random, widths))
    best = int(np.argmin(seen))
    return {
        "built": analysis.linear_regions(analysis.folding_layers(widths), [-1.0], [2.0]).count,
        "random": float(np.mean(counts)),
        "most of the random": max(counts),
        "trained": analysis.linear_regions(jax.tree.map(lambda leaf: leaf[best], every), [-1.0], [1.0]).count,
        "error": float(errors[best]),
        "rate": RATES[best],
        "fit": outputs[best],
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentence to the counts."""
    of = lambda kind, n, depth: (f"{named(n, depth)}, {kind}", outcomes.numbers(named(n, depth), kind))
    bounds = lambda case: analysis.region_bounds(1, widths_of(case))
    few, many, unit = config.neurons[0], config.neurons[-1], "regions"
    reached = np.min([outcomes.numbers(case, "built") / bounds(case).lower for case in outcomes.cases], axis=0)
    kinds = ("built", "most of the random", "trained")
    shares = [outcomes.numbers(case, kind) / bounds(case).upper for case in outcomes.cases for kind in kinds]
    shallow = lambda n: (f"{named(n, 1)}, at most", np.full(len(outcomes.seeds), n + 1))
    return [
        claims.within("nets built by hand reach the published lower bound", "A6", ("least share of it", reached), low=1,
                      unit="1"),
        claims.within("no net has more regions than the published upper bound", "A6",
                      ("largest share of it", np.max(shares, axis=0)), high=1, unit="1"),
        claims.compare("a deep net can have more regions than any shallow one of as many units", "A6",
                       of("built", few, 2), shallow(few), claimed="more", unit=unit),
        claims.compare("the advantage grows with depth", "A6", of("built", many, 4), of("built", many, 2),
                       claimed="more", unit=unit),
        *(claims.compare(f"a deep net of random weights has more regions than a shallow one, {n} units", "A6",
                         of("random", n, 4), of("random", n, 1), claimed="more", unit=unit) for n in (few, many)),
        *(claims.compare(f"training a deep net makes more regions than training a shallow one, {n} units", "A6",
                         of("trained", n, 2), of("trained", n, 1), claimed="more", unit=unit)
          for n in config.neurons),
        *(claims.compare(f"of as many units the deep net fits a triangle wave better, {n} units", "A6",
                         of("error", n, 2), of("error", n, 1), claimed="less", unit="rms error")
          for n in config.neurons),
        *(claims.compare("so it does of as many parameters, 97", "A6", of("error", n, 2), of("error", 2 * n, 1),
                         claimed="less", unit="rms error") for n in config.neurons if n == 16 and 32 in config.neurons),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the counts against the units, and the fits of the smallest nets."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 3, sharey=True), ("built", "random", "trained"), strict=True):
        for place, depth in enumerate(DEPTHS):
            values = np.array([outcomes.numbers(named(n, depth), kind) for n in config.neurons])
            color, name = plots.COLORS[place], named(0, depth).removeprefix("0 units in ")
            axes.plot(config.neurons, values.mean(1), color=color, marker="osd"[place], label=name)
            axes.fill_between(config.neurons, values.min(1), values.max(1), color=color, alpha=0.2, lw=0)
        axes.set(xscale="log", yscale="log", xlabel="units", title=kind)
        axes.set_xticks(config.neurons, [str(n) for n in config.neurons])
        axes.minorticks_off()
    figure.axes[0].set_ylabel("linear regions")
    figure.axes[0].legend(frameon=False)
    fits, many, x = Figure(figsize=(9.6, 2.6), layout="constrained"), config.neurons[-1], np.linspace(-1, 1, GRID)
    for axes, depth in zip(fits.subplots(1, len(DEPTHS), sharey=True), DEPTHS, strict=True):
        axes.plot(x, wave(x), color="#999999", linewidth=1)
        axes.plot(x, outcomes.arrays(named(many, depth), "fit")[0], color=plots.COLORS[0])
        axes.set(title=named(many, depth), xlabel="input", ylim=(-1.6, 1.6))
    return [
        demonstrations.Drawing("regions", figure, "Linear regions of nets of one input, means over the seeds, bands "
                               "from the least to the largest. Only nets built by hand gain exponentially by depth."),
        demonstrations.Drawing("fits", fits, "What training finds (blue) of a triangle wave (grey), first seed."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(
    Config, lambda config: ("drawn weights", None),
    lambda config: [named(n, depth) for n in config.neurons for depth in DEPTHS], run, judge, draw, check,
)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
