"""Why non-linear, and why the representation matters: rings, a spiral and a line in the plane.

    python -m experiments.nonlinearity

The lectures say that a deep linear net is one linear map, that a ReLU net separates what no line can, and that data can
be easy in one representation and hard in another. Linear classifiers, deep linear nets and ReLU nets are trained on
rings and on a spiral; the linear classifier also sees the angle and the radius instead of the coordinates, where the
classes are rings and where they are the sides of a line. Every net has its best of six rates, chosen on development
points; accuracies are those on test points. A minute on one core; the figure shows the decision regions.

(Lecture rows A5, A7.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import activations, classical, data, demonstrations, losses, models, nn, optimizers
from jaxdl.demonstrations import claims

NETS = ("linear", "deep linear", "ReLU")
SHAPES = ("rings", "spiral")
POLAR = ("rings, polar", "line, Cartesian", "line, polar")
CASES = (*(f"{shape}, {net}" for shape in SHAPES for net in NETS), *POLAR)
RATES = tuple(10.0 ** (-3 + k / 2) for k in range(6))
SIDE = 41  # points of a picture along each axis


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "nonlinearity"

    seeds: int = 10
    """Number of seeds, each of which draws the points and the initial weights."""
    points: int = 300
    """Points of each part: training, development and test."""
    width: int = 32
    """Units of each of the two hidden layers."""
    steps: int = 1500
    """Steps of Adam on all training points."""


def points(config: Config, shape: str, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training, development and test points with their labels."""
    if shape == "line":
        x = np.random.default_rng(seed).normal(size=(3 * config.points, 2)).astype(np.float32)
        drawn = x, (x[:, 0] + 0.5 * x[:, 1] > 0.6).astype(np.int32)
    else:
        drawn = getattr(data.toy, shape)(3 * config.points, seed=seed)
    order = np.random.default_rng(seed).permutation(3 * config.points).reshape(3, -1)
    return [(drawn[0][rows], drawn[1][rows]) for rows in order]


def seen(x: Any, polar: bool) -> Any:
    """Return the points as a net sees them: coordinates, or radius and angle."""
    return jnp.stack([jnp.hypot(x[:, 0], x[:, 1]), jnp.arctan2(x[:, 1], x[:, 0])], 1) if polar else jnp.asarray(x)


def network(config: Config, name: str) -> nn.Layer:
    """Return a net by its name."""
    widths = () if name == "linear" else (config.width,) * 2
    return models.mlp(2, widths=widths, activation=activations.relu if name == "ReLU" else activations.linear)


@functools.cache
def _trained(config: Config, name: str) -> Any:
    """Return (key, x, y) -> parameters for each of the rates, compiled once."""
    layer = network(config, name)

    def train(rate, key, x, y):
        optimizer, (params, _) = optimizers.adam(rate), layer.init(key, (2,))

        def step(carry, _):
            params, state = carry
            loss = lambda params: losses.softmax_cross_entropy(layer.apply(params, {}, x)[0], y).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), None, length=config.steps)[0][0]

    return jax.jit(lambda key, x, y: jax.vmap(train, (0, None, None, None))(jnp.array(RATES), key, x, y))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train the case's net at all rates and judge the one that is best on the development points."""
    del loaded
    shape, kind = case.split(", ")
    name, polar = (kind, False) if kind in NETS else ("linear", kind == "polar")
    train, dev, test = points(config, shape, seed)
    layer, every = network(config, name), _trained(config, name)(jax.random.key(seed), seen(train[0], polar), train[1])
    guess = lambda params, x: np.argmax(layer.apply(params, {}, seen(x, polar))[0], -1)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], every) for i in range(len(RATES))]
    scores = [float(np.mean(guess(params, dev[0]) == dev[1])) for params in each]
    best = int(np.argmax(scores))
    line = np.linspace(-2.6, 2.6, SIDE) if shape != "spiral" else np.linspace(-1.2, 1.2, SIDE)
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)
    found = {
        "accuracy": 100 * float(np.mean(guess(each[best], test[0]) == test[1])),
        "rate": RATES[best],
        "region": guess(each[best], grid).reshape(SIDE, SIDE).astype(np.int8),
    }
    if kind == "deep linear":
        layers = [each[best][part] for part in ("fc1", "fc2", "logits")]
        one, deep = classical.collapse_linear(layers), layer.apply(each[best], {}, grid)[0]
        found["distance from one linear map"] = float(
            jnp.abs(classical.deep_linear([one], grid) - deep).max() / jnp.abs(deep).max()
        )
    return found


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the accuracies."""
    del config
    of = lambda case: (case, outcomes.numbers(case, "accuracy"))
    far = np.max([outcomes.numbers(f"{s}, deep linear", "distance from one linear map") for s in SHAPES], axis=0)
    percent = "% right"
    return [
        claims.within("a deep linear net is one linear map", "A5", ("largest relative difference", 100 * far),
                      high=0.01, unit="%"),
        *(claims.compare(f"a ReLU net separates what linear nets cannot ({shape})", "A5", of(f"{shape}, ReLU"),
                         of(f"{shape}, {net}"), claimed="more", unit=percent)
          for shape in SHAPES for net in NETS[:2]),
        claims.within("no line separates rings: linear accuracy near chance", "A5", of("rings, linear"), high=65,
                      unit=percent),
        claims.depends("polar coordinates make the classes easy for a linear classifier", "A7", {
            "rings": claims.compare("", "", of("rings, polar"), of("rings, linear"), claimed="more", unit=percent),
            "sides of a line": claims.compare("", "", of("line, polar"), of("line, Cartesian"), claimed="more",
                                              unit=percent),
        }),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the decision regions of the first seed."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure = Figure(figsize=(9.6, 9.6), layout="constrained")
    for axes, case in zip(figure.subplots(3, 3).ravel(), CASES, strict=True):
        shape, kind = case.split(", ")
        x, y = points(config, shape, outcomes.seeds[0])[2]
        reach = 1.2 if shape == "spiral" else 2.6
        colors = ListedColormap([plots.COLORS[0], plots.COLORS[1]])
        region = outcomes.arrays(case, "region")[0]
        axes.imshow(region, origin="lower", extent=(-reach, reach, -reach, reach), cmap=colors, alpha=0.25, vmin=0,
                    vmax=1, interpolation="nearest")  # fmt: skip
        for label, marker in ((0, "o"), (1, "^")):
            axes.plot(*x[y == label].T, marker, color=plots.COLORS[label], markersize=3)
        shown = f"{shape}, linear in {kind} coordinates" if case in POLAR else case
        axes.set_title(f"{shown}: {outcomes.numbers(case, 'accuracy')[0]:.0f} %", fontsize=10)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    return [demonstrations.Drawing(
        "regions", figure,
        "Decision regions and test points of the first seed, with the share of points that are right. Polar "
        "coordinates let a linear classifier separate rings, and spoil what a line separates.")]  # fmt: skip


check = functools.partial(demonstrations.check_at_least, points=4, width=1, steps=1)
DEMONSTRATION = demonstrations.Demonstration(
    Config, lambda config: ("drawn points", None), lambda config: CASES, run, judge, draw, check, {"points": 3000}
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
