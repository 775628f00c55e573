"""Dropout: error with and without it against the number of examples, and what it does to units and weights.

    python -m experiments.dropout           # 100 to 3,000 examples of MNIST, some minutes
    python -m experiments.dropout --full    # up to 50,000, hours

The lectures say that dropout lowers the test error of large nets, that its rate has a best value, that it makes
activations sparse, that it averages an ensemble of thinned nets, and that a bound on the norm of each unit's weights
helps it. Srivastava et al. (2014) found no gain with few examples. MLPs of 512 ReLUs a layer, half as many as in the
paper, train by Adam at 1e-3, at every rate of a grid, 0 among them; inputs are dropped at two fifths of the rate. The
rate and the moment to stop, for the nets without dropout, too, are those of the least error on development examples.
Ten passes are few for dropout, which slows learning; --full has a hundred.

(Lecture rows G3, G8.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, demonstrations, initializers, layers, losses, optimizers, runs
from jaxdl.demonstrations import claims

RATES, RADII = (0.0, 0.25, 0.5, 0.75), (1.0, 2.0, 3.0, 4.0)
OF_INPUTS, BATCH, RECORDS = 0.4, 100, 10  # share of the rate at inputs; examples per step; tests on dev examples
MASKS, TESTED, HISTOGRAM = 50, 2000, np.linspace(0, 4, 41)  # of the ensemble; test examples that judge it; activations
DEPTHS, BOUNDED = ("3 hidden layers", "4 hidden layers"), "max-norm"


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "dropout"

    seeds: int = 5
    """Number of seeds, each of which draws the examples and the initial weights."""
    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    sizes: tuple[int, ...] = (100, 500, 1000, 3000)
    """Numbers of training examples."""
    middle: int = 1000
    """Number of examples at which depths, max-norm and the ensemble are tried; one of the sizes."""
    width: int = 512
    """Units of each hidden layer."""
    epochs: int = 10
    """Passes over the examples; with fewer than 2,000 examples, as many steps as with 2,000."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, width=1, epochs=1)
    if config.middle not in config.sizes or min(config.sizes) < 10:
        raise ValueError(f"sizes={config.sizes}: must hold middle={config.middle}, and each must be at least 10")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data; raise ValueError if there are fewer training examples than the largest size."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    flat = lambda part: (part.images.reshape(len(part.images), -1).astype(np.float32) / dataset.scale, part.labels)
    parts = {name: flat(part) for name, part in splits._asdict().items()}
    if max(config.sizes) > len(parts["train"][1]):
        raise ValueError(f"sizes={config.sizes}: {dataset.name} has {len(parts['train'][1])} training examples")
    return dataset, (parts, len(dataset.classes))


def network(params: Any, x: jax.Array, rate: Any = 0, key: Any = None) -> tuple[jax.Array, jax.Array]:
    """Return the logits and the last hidden activations, with a draw of dropout if there is a key."""
    drop = lambda x, rate, place: x if key is None else layers.dropout(jax.random.fold_in(key, place), x, rate)
    hidden, x = x, drop(x, OF_INPUTS * rate, len(params))
    for place, layer in enumerate(params[:-1]):
        hidden = activations.relu(layers.dense(x, **layer))
        x = drop(hidden, rate, place)
    return layers.dense(x, **params[-1]), hidden


@functools.cache
def _trained(depth: int, width: int, classes: int, batch: int) -> Any:
    """Return (rates, radii, key, x, y, steps, dev) -> (parameters at the least error on dev, that error)."""

    def train(rate, radius, key, x, y, rows, dev):
        keys, sizes = jax.random.split(key, depth + 2), (x.shape[1], *(width,) * depth, classes)
        make = lambda key, n, m: {"kernel": initializers.he_normal()(key, (n, m)), "bias": jnp.zeros(m)}
        params = [make(*one) for one in zip(keys[:-1], sizes[:-1], sizes[1:], strict=True)]
        optimizer = optimizers.chain(optimizers.adam(1e-3), optimizers.max_norm(radius))

        def step(carry, drawn):
            (params, state), (rows, key) = carry, drawn
            loss = lambda p: losses.softmax_cross_entropy(network(p, x[rows], rate, key)[0], y[rows]).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        def record(carry, drawn):
            best, least, *carry = carry
            (params, state), _ = jax.lax.scan(step, tuple(carry), drawn)
            wrong = 100 * jnp.mean((jnp.argmax(network(params, dev[0])[0], -1) != dev[1]).astype(jnp.float32))
            best = jax.tree.map(lambda new, old: jnp.where(wrong < least, new, old), params, best)
            return (best, jnp.minimum(wrong, least), params, state), None

        drawn = (rows, jax.random.split(keys[-1], rows.shape[:2]))
        return jax.lax.scan(record, (params, jnp.inf, params, optimizer.init(params)), drawn)[0][:2]

    return jax.jit(lambda rates, radii, *rest: jax.lax.map(lambda one: train(*one, *rest), (rates, radii)))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train at all rates, choose one on the development examples, and judge it on the test examples."""
    (parts, classes), random = loaded, np.random.default_rng(seed)
    count = int(case.removeprefix("n = ")) if case.startswith("n = ") else config.middle
    depth = int(case[0]) if case in DEPTHS else 2
    rates = np.array((0.0, 0.5) if case in DEPTHS else [0.5] * len(RADII) if case == BOUNDED else RATES)
    radii = np.array(RADII if case == BOUNDED else [1e6] * len(rates))  # the latter bounds nothing
    chosen = random.permutation(len(parts["train"][1]))[:count]
    images, labels = (part[chosen] for part in parts["train"])
    batch, steps = min(BATCH, count), max(count, 2000) * config.epochs // BATCH
    rows = random.integers(count, size=(RECORDS, max(1, steps // RECORDS), batch))
    dev, (x, y) = [part[:1000] for part in parts["dev"]], parts["test"]
    train = _trained(depth, config.width, classes, batch)
    every, on_dev = train(jnp.float32(rates), jnp.float32(radii), jax.random.key(seed), images, labels, rows, dev)
    at = lambda place: jax.tree.map(lambda leaf: leaf[place], every)
    wrong = lambda logits: 100 * float(np.mean(np.argmax(logits, -1) != y[: len(logits)]))
    errors, best = [wrong(network(at(i), x)[0]) for i in range(len(rates))], int(np.argmin(on_dev))
    found = {"error without": errors[0], "error at the best": errors[best], "best rate": rates[best]}
    if case == BOUNDED:
        return {"error at the best": errors[best], "best radius": radii[best]}
    with_it = 1 + int(np.argmin(on_dev[1:]))
    found |= {"error with": errors[with_it], "error at the largest": errors[-1], "errors": np.array(errors)}
    hidden = [np.asarray(network(at(i), x)[1]) for i in (0, with_it)]
    for name, h in zip(("without", "with"), hidden, strict=True):
        found |= {f"active units {name}": 100 * float((h > 0).mean()), f"mean activation {name}": float(h.mean())}
    if count == config.middle and case not in DEPTHS:
        draw = lambda key: activations.softmax(network(at(with_it), x[:TESTED], float(rates[with_it]), key)[0])
        votes = sum(map(draw, jax.random.split(jax.random.key(seed), MASKS)))
        found |= {"error of the ensemble": wrong(votes), "its net's error": wrong(network(at(with_it), x[:TESTED])[0])}
        found["activations"] = np.stack([np.histogram(h, HISTOGRAM)[0] / h.size for h in hidden])
    return found


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    of, middle = lambda case, what: (what, outcomes.numbers(case, what)), f"n = {config.middle}"
    sides = lambda case: (of(case, "error with"), of(case, "error without"))
    gain = lambda case, text: claims.compare(text, "G3", *sides(case), claimed="less", unit="% wrong")
    apart = outcomes.numbers(middle, "error of the ensemble") - outcomes.numbers(middle, "its net's error")
    return [
        *(gain(f"n = {n}", f"dropout lowers the test error with {n:,} examples, two hidden layers")
          for n in config.sizes),
        *(gain(case, f"and with {case}, {config.middle:,} examples") for case in DEPTHS),
        claims.compare("too much dropout raises the error again", "G3", of(middle, "error at the largest"),
                       of(middle, "error at the best"), claimed="more", unit="% wrong"),
        claims.compare("dropout makes activations sparse: fewer units are active", "G3",
                       of(middle, "active units with"), of(middle, "active units without"), claimed="less", unit="%"),
        claims.within(f"the scaled net does what the average of {MASKS} thinned nets does, within .3 points", "G8",
                      ("difference of the errors", apart), low=-0.3, high=0.3, unit="percentage points"),
        claims.compare("max-norm lowers the error of dropout further", "G3", of(BOUNDED, "error at the best"),
                       of(middle, "error with"), claimed="less", unit="% wrong"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the error against the number of examples and the rate, and the histograms of activations."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure, middle = Figure(figsize=(9.6, 3.4), layout="constrained"), f"n = {config.middle}"
    (left, right), ticks = figure.subplots(1, 2, subplot_kw={"yscale": "log"}), (1, 2, 5, 10, 20, 40)
    for name, color, marker in (("without", plots.COLORS[0], "o"), ("with", plots.COLORS[1], "s")):
        errors = np.array([outcomes.numbers(f"n = {n}", f"error {name}") for n in config.sizes])
        left.plot(config.sizes, errors.mean(1), color=color, marker=marker, label=f"{name} dropout")
        left.fill_between(config.sizes, errors.min(1), errors.max(1), color=color, alpha=0.2, lw=0)
    for number, n in enumerate(config.sizes):
        errors = outcomes.arrays(f"n = {n}", "errors").mean(0)
        right.plot(RATES, errors, color=plots.COLORS[number], marker="osd^"[number % 4], label=f"{n:,} examples")
    sizes, rates = {"xscale": "log", "xlabel": "training examples"}, {"xlabel": "rate of dropout", "xticks": RATES}
    low = min(4, 0.8 * right.dataLim.y0)
    for axes, own in ((left, sizes), (right, rates)):
        axes.set(ylabel="test error (%)", yticks=ticks, yticklabels=ticks, ylim=(low, 100), **own)
        axes.tick_params(which="minor", labelleft=False)
        axes.legend(frameon=False, ncols=2, loc="upper center")
    shares, places = 100 * outcomes.arrays(middle, "activations").mean(0), HISTOGRAM[:-1]
    bars = {name: (places, share) for name, share in zip(("without dropout", "with dropout"), shares, strict=True)}
    about = f"{config.dataset}, {config.width} ReLUs a layer"
    return [demonstrations.Drawing("error", figure, f"{about}, two hidden layers: means, and bands of all seeds."),
        demonstrations.Drawing("activations", plots.curves(bars, xlabel="activation", ylabel="% of units and images"),
                               f"Activations of the last hidden layer on test images: {about}, {middle}.")]  # fmt: skip


cases = lambda config: [*(f"n = {n}" for n in config.sizes), *DEPTHS, BOUNDED]
full = {"width": 1024, "sizes": (100, 500, 1000, 5000, 10_000, 50_000), "epochs": 100}
DEMONSTRATION = demonstrations.Demonstration(Config, load, cases, run, judge, draw, check, full)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
