"""The experiment: its options, its cases and its claims."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, analysis, data, demonstrations, initializers, layers, losses, runs
from jaxdl.demonstrations import claims

WITHOUT, BEFORE, AFTER = CASES = ("without", "before the sigmoid", "after the sigmoid")
BATCH = 60
RATES, TARGET = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0), 85  # % accuracy that counts as learnt
RECORDS, SAMPLE, TUNING = 20, 1000, 3  # points of a curve; examples that judge each; the steps' part for tuning


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "batch_norm"

    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    width: int = 100
    """Units of each of the three hidden layers."""
    steps: int = 2500
    """Steps of gradient descent."""
    batches: tuple[int, ...] = (2, 8, 32, 256)
    """Further sizes of batches, increasing."""


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data and binarise the images."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    flat = lambda part: (part.images.reshape(len(part.images), -1) / dataset.scale > 0.5).astype(np.float32)
    return dataset, ({k: (flat(part), part.labels) for k, part in splits._asdict().items()}, len(dataset.classes))


def network(params: Any, x: jax.Array, case: str, statistics: Any = None) -> tuple[jax.Array, jax.Array, list[Any]]:
    """Return the logits, the inputs of the last sigmoids, and the statistics of each layer, by default the batch's."""
    z, used = x, []
    for place, layer in enumerate(params["hidden"]):
        z = layers.dense(x, layer["kernel"], layer["bias"])
        seen = activations.sigmoid(z) if case == AFTER else z
        used.append(layers.batch_statistics(seen) if statistics is None else statistics[place])
        mean, variance = used[-1]
        normal = seen if case == WITHOUT else layers.batch_norm(seen, mean, variance, layer["scale"], layer["offset"])
        z = z if case == AFTER else normal
        x = normal if case == AFTER else activations.sigmoid(z)
    return layers.dense(x, **params["out"]), z, used


def start(key: jax.Array, inputs: int, width: int, classes: int) -> Any:
    """Return the initial parameters, which are the same with and without batch norm."""
    make = lambda key, n, m: {"kernel": initializers.glorot_normal()(key, (n, m)), "bias": jnp.zeros(m)}
    keys, gain = jax.random.split(key, 4), {"scale": jnp.ones(width), "offset": jnp.zeros(width)}
    hidden = [make(k, n, width) | gain for k, n in zip(keys[:3], (inputs, width, width), strict=True)]
    return {"hidden": hidden, "out": make(keys[3], width, classes)}


@functools.cache
def _trained(case: str) -> Any:
    """Return (rates, params, images, labels, rows, sample, dev) -> (parameters, curves, bands), one entry per rate."""

    def train(rate, params, images, labels, rows, sample, dev):
        def step(params, rows):
            loss = lambda p: losses.softmax_cross_entropy(network(p, images[rows], case)[0], labels[rows]).mean()
            return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params)), None

        def record(params, rows):
            params, _ = jax.lax.scan(step, params, rows)
            logits, z, _ = network(params, dev[0], case, network(params, sample, case)[2])
            right = 100 * jnp.mean((jnp.argmax(logits, -1) == dev[1]).astype(jnp.float32))
            return params, (right, analysis.percentiles(z))

        params, recorded = jax.lax.scan(record, params, rows)
        return params, *recorded

    return jax.jit(lambda rates, *rest: jax.lax.map(lambda rate: train(rate, *rest), rates))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train at all rates for a while, at the best one for all steps, and judge it on the test examples."""
    (parts, classes), (case, _, batch) = loaded, case.partition(", batch ")
    (images, labels), (x, y), random = parts["train"], parts["test"], np.random.default_rng(seed)
    sample, dev = images[random.permutation(len(images))[:SAMPLE]], [one[:SAMPLE] for one in parts["dev"]]

    def trained(rates, steps, size=BATCH):
        rows = random.integers(len(images), size=(RECORDS, steps // RECORDS, size))
        params = start(jax.random.key(seed), images.shape[1], config.width, classes)
        return jax.tree.map(np.asarray, _trained(case)(jnp.array(rates), params, images, labels, rows, sample, dev))

    early, at = config.steps // TUNING, np.arange(1, RECORDS + 1)
    out = lambda params, x, known: np.argmax(network(params, x, case, known)[0], -1)
    wrong = lambda params, x, known: 100 * float(np.mean(out(params, x, known) != y))
    size, rates = int(batch or BATCH), (RATES[:6] if int(batch) < BATCH // 2 else RATES[2:8]) if batch else RATES
    every, tuned, _ = trained(rates, max(RECORDS, early * BATCH // size), size)
    best, usable = int(np.argmax(tuned[:, -1])), np.array(rates)[tuned[:, -1] >= TARGET]
    params = jax.tree.map(lambda leaf: leaf[best], every)
    found = {"best rate": rates[best], "early error": wrong(params, x, network(params, sample, case)[2])}
    if batch:
        return found
    decades = float(np.log10(usable.max() / usable.min())) if usable.size else 0.0
    found |= {"decades of usable rates": decades, "largest usable rate": usable.max(initial=RATES[0] / 10)}
    sooner = min((at * (early // RECORDS))[tuned.max(0) >= TARGET].tolist(), default=np.inf)
    every, (curve,), (bands,) = trained(rates[best : best + 1], config.steps)
    params, shifted = jax.tree.map(lambda leaf: leaf[0], every), 0.5 + 0.5 * x
    known, steps = network(params, sample, case)[2], at * (config.steps // RECORDS)
    found |= {"test error": wrong(params, x, known), "shifted": wrong(params, shifted, known)}
    found |= {"shifted, own statistics": wrong(params, shifted, None), "steps to the target": sooner, "steps": steps}
    return found | {"accuracy by rate": tuned[:, -1], "drift": drift(bands), "curve": curve, "bands": bands}


def drift(bands: np.ndarray) -> float:
    """Return how far the medians of (steps, 3, units) move between two records, in widths of the bands."""
    return float(np.abs(np.diff(bands[:, 1], axis=0)).mean() / (bands[:, 2] - bands[:, 0]).mean())


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    usable, early, sized = "decades of usable rates", "early error", [f"{BEFORE}, batch {n}" for n in config.batches]

    def versus(text, what, side, unit="% wrong", a=BEFORE, b=WITHOUT, of_b="", scale=np.abs):
        of = lambda case, what: (f"{what} ({case})", scale(outcomes.numbers(case, what)))
        return claims.compare(text, "G5", of(a, what), of(b, of_b or what), claimed=side, unit=unit)

    return [
        versus(f"batch norm reaches {TARGET} % sooner, each at its best rate", "steps to the target", "less", "steps"),
        versus(f"it is more accurate after {config.steps // TUNING:,} steps", early, "less"),
        versus(f"it is more accurate after {config.steps:,} steps", "test error", "less"),
        versus("it allows larger rates (log10)", "largest usable rate", "more", "decades", scale=np.log10),
        versus(f"a wider range of rates learns (reaches {TARGET} %)", usable, "more", "decades"),
        versus("it steadies the inputs of the last hidden units", "drift", "less", "widths of the band per record"),
        versus("it belongs before the non-linearity: it is more accurate there", "test error", "less", b=AFTER),
        versus("and a wider range of rates learns there", usable, "more", "decades", b=AFTER),
        *(versus(f"it is more accurate with batches of {n}", early, "less", a=f"{BEFORE}, batch {n}",
                 b=f"{WITHOUT}, batch {n}") for n in config.batches),
        *(versus(f"batches of the order of a hundred suit it: {config.batches[-1]} better than {n}", early, "less",
                 a=sized[-1], b=other) for n, other in zip(config.batches[:-1], sized, strict=False)),
        versus("a shift of the test images, a grey background, hurts", "shifted", "more", b=BEFORE, of_b="test error"),
        versus("statistics of the shifted images help", "shifted, own statistics", "less", b=BEFORE, of_b="shifted"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw accuracy against steps, rate and size of batches, and the bands of one unit's input."""
    from experiments.batch_norm import figures  # matplotlib is slow to import, and --help need not wait

    return figures.draw(config, outcomes)


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, width=1, steps=TUNING * RECORDS)
    if not config.batches or min(config.batches) < 1 or list(config.batches) != sorted({*config.batches}):
        raise ValueError(f"batches={config.batches} is not allowed: it must be increasing numbers above 0")


cases = lambda config: [*CASES, *(f"{case}, batch {n}" for n in config.batches for case in (WITHOUT, BEFORE))]
DEMONSTRATION = demonstrations.Demonstration(Config, load, cases, run, judge, draw, check, {"steps": 50_000})
