"""Learning curves: errors of training and test against the number of examples, and what they say is wrong.

    python -m experiments.learning_curves

The lectures read a learning curve: a training error far above that of people is a high bias, which a larger network
mends and more data does not; a test error far above the training error is a high variance, which more data mends; and
development data from elsewhere differ from both. Softmax regression and an MLP learn up to 10,000 handwritten digits by
Adam, and `analysis.diagnose` names the largest gap. The error of people is assumed to be .2 %, a number without a
source on which no verdict hangs. The data from elsewhere are the test images moved by two pixels. A minute on two
cores.

(Lecture row G10.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import analysis, data, demonstrations, losses, models, nn, optimizers, runs
from jaxdl.demonstrations import claims

SOFTMAX, MLP = CASES = ("softmax regression", "MLP")
PEOPLE, BATCH, PIXELS = 0.2, 64, 2  # % wrong; examples per step; shift of the data from elsewhere


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "learning_curves"

    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    sizes: tuple[int, ...] = (100, 300, 1000, 3000, 10_000)
    """Numbers of training examples, increasing."""
    width: int = 128
    """Hidden units of the MLP."""
    steps: int = 2000
    """Steps of Adam."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, width=1, steps=1)
    if len(config.sizes) < 2 or min(config.sizes) < 1 or list(config.sizes) != sorted({*config.sizes}):
        raise ValueError(f"sizes={config.sizes} is not allowed: it must be two or more increasing numbers above 0")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data.

    Raises:
        ValueError: if there are fewer training examples than the largest size.
    """
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    parts = [(part.images.astype(np.float32) / dataset.scale, part.labels) for part in (splits.train, splits.test)]
    if config.sizes[-1] > len(parts[0][1]):
        raise ValueError(f"sizes={config.sizes}: {dataset.name} has {len(parts[0][1])} training examples")
    return dataset, (*parts, len(dataset.classes))


def network(config: Config, case: str, classes: int) -> nn.Layer:
    """Return the network of a case."""
    return models.softmax_regression(classes) if case == SOFTMAX else models.mlp(classes, widths=(config.width,))


@functools.cache
def _trained(config: Config, case: str, classes: int) -> Any:
    """Return (key, images, labels, rows) -> parameters, compiled once per number of examples."""
    layer, optimizer = network(config, case, classes), optimizers.adam(1e-3)

    def train(key, images, labels, rows):
        params, _ = layer.init(key, images.shape[1:])

        def step(carry, rows):
            params, state = carry
            loss = lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, images[rows])[0], labels[rows]).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), rows)[0][0]

    return jax.jit(train)


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train on the first n of the seed's examples for every n."""
    (images, labels), (x, y), classes = loaded
    random, layer, found, curve = np.random.default_rng(seed), network(config, case, classes), {}, []
    chosen = random.permutation(len(labels))[: config.sizes[-1]]
    for n in config.sizes:
        seen = images[chosen[:n]], labels[chosen[:n]]
        rows = random.integers(n, size=(config.steps, BATCH))
        params = _trained(config, case, classes)(jax.random.key(seed), *seen, rows)
        logits = lambda x, params=params: layer.apply(params, {}, jnp.asarray(x))[0]
        wrong = lambda x, y, logits=logits: 100 * float(np.mean(np.argmax(logits(x), -1) != y))
        curve.append((wrong(*seen), wrong(x, y), wrong(np.roll(x, PIXELS, axis=2), y)))
        found |= dict(zip((f"train, n = {n}", f"test, n = {n}", f"moved, n = {n}"), curve[-1], strict=True))
    return found | {"curve": np.array(curve)}


def gaps(curve: np.ndarray, size: int, *, moved: bool = False) -> np.ndarray:
    """Return bias, variance and mismatch of each seed, from errors of (seeds, sizes, 3), at a place of the sizes."""
    diagnosed = [diagnosis(errors, moved=moved) for errors in curve[:, size].tolist()]
    return np.array([[found.bias, found.variance, found.mismatch] for found in diagnosed]).T


def diagnosis(errors: Sequence[float], *, moved: bool = False) -> analysis.Diagnosis:
    """Diagnose errors in training, in the test and on moved test images, the development data if ``moved``."""
    train, test, elsewhere = errors
    options = {"best_error": PEOPLE, "tolerance": 0.5}
    return analysis.diagnose(train, elsewhere if moved else test, held_out_error=test, **options)


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the gaps between the errors."""
    curves, percent = {case: outcomes.arrays(case, "curve") for case in CASES}, "% wrong"
    few, many = config.sizes[0], config.sizes[-1]
    of = lambda case, size, name: (f"{name} ({case})", gaps(curves[case], size)[("bias", "variance").index(name)])
    *others, mismatch = gaps(curves[MLP], -1, moved=True)
    sides = [(f"n = {n:,}", of(MLP, place, "variance")[1]) for n, place in ((many, -1), (few, 0))]
    fall = lambda case: (case, 100 * curves[case][:, -1, 1] / curves[case][:, -2, 1])
    return [
        claims.compare(f"a linear model of {many:,} examples has a high bias, more than variance", "G10",
                       of(SOFTMAX, -1, "bias"), of(SOFTMAX, -1, "variance"), claimed="more", unit=percent),
        claims.compare("against a high bias a larger network helps", "G10", of(MLP, -1, "bias"),
                       of(SOFTMAX, -1, "bias"), claimed="less", unit=percent),
        claims.compare(f"an MLP of {few:,} examples has a high variance, more than bias", "G10", of(MLP, 0, "variance"),
                       of(MLP, 0, "bias"), claimed="more", unit=percent),
        claims.compare("against a high variance more data help", "G10", *sides, claimed="less", unit=percent),
        claims.compare(f"more data help the model of high bias less: error left from {config.sizes[-2]:,} to {many:,} "
                       "examples", "G10", fall(SOFTMAX), fall(MLP), claimed="more", unit="% of the error"),
        claims.compare(f"images moved by {PIXELS} pixels are data of another distribution: the mismatch is the largest "
                       "gap", "G10", ("mismatch (MLP)", mismatch), ("the larger of both", np.max(others, 0)),
                       claimed="more", unit=percent),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the learning curves with a diagnosis at either end."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure, said = Figure(figsize=(9.6, 3.6), layout="constrained"), []
    for axes, case in zip(figure.subplots(1, 2, sharey=True), CASES, strict=True):
        curves = outcomes.arrays(case, "curve")
        for place, name in enumerate(("training", "test", f"test, moved by {PIXELS} pixels")):
            errors, style = curves[..., place], {"color": plots.COLORS[place], "marker": "osd"[place]}
            axes.plot(config.sizes, errors.mean(0), label=name, **style)
            axes.fill_between(config.sizes, errors.min(0), errors.max(0), color=style["color"], alpha=0.2, lw=0)
        axes.axhline(PEOPLE, color="#777777", linestyle=":", label="people (assumed)")
        first, last = (diagnosis(curves[:, place].mean(0).tolist()) for place in (0, -1))
        axes.set(xscale="log", xlabel="training examples", title=f"{case}: {first.problem} → {last.problem}")
        axes.grid(True, color="#e4e4e4")
        said += [f"{case}, n = {n:,}: {one.problem}, so {one.advice[0]}"
                 for n, one in ((config.sizes[0], first), (config.sizes[-1], last))]  # fmt: skip
    figure.axes[0].set_ylabel("error (%)")
    figure.axes[1].legend(frameon=False)
    about = (
        f"Errors against the number of examples, {config.dataset}, means over the seeds, bands from the least to the"
    )
    return [demonstrations.Drawing("curves", figure, f"{about} largest. Diagnosis: {'; '.join(said)}.")]


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"sizes": (100, 1000, 10_000, 54_000), "steps": 20_000}
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
