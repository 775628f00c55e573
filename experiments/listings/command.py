"""The experiment: every listing beside its twin, and the networks of S and P in training."""

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from experiments.listings import beside, nets
from experiments.listings.beside import FORMULAS_OF, TWINS, UPHILL
from experiments.listings.nets import BATCH, EVERY, KERAS, P_NET, S_NET, TORCH
from jaxdl import data, demonstrations, runs
from jaxdl.demonstrations import claims

LOOPS, FORMULAS, TANH = CASES = ("loops", "formulas", "100 tanh layers")
MEAN, STD = 0.1307, 0.3081  # of MNIST
PRINTED = (2.2838, 0.6110, 0.1816, 0.3104, 0.5186, 0.1203, 0.0990, 0.0964, 0.1347, 0.0655,
           0.0311, 0.0395, 0.0981, 0.1520, 0.0167, 0.0058, 0.0755, 0.0121, 0.0343)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "listings"

    dataset: str = "mnist"
    """mnist, fashion_mnist, a folder or archive of images, or package.module:function; images of 28×28 pixels."""
    examples: int = 60_000
    """Training examples, each of which S's net sees once; P's net sees a twentieth of them."""
    peers: bool = False
    """Also run the listings of PyTorch and Keras themselves, which must be installed."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range, or if a peer is wanted and not installed."""
    demonstrations.check_at_least(config, examples=BATCH)
    missing = [name for name in ("torch", "keras") if config.peers and importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"peers=True is not allowed: python -m pip install {' '.join(missing)} first")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data, normalised by the mean and standard deviation of PyTorch's example.

    Raises:
        ValueError: if there are too few images, or they have other sizes than MNIST's.
    """
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0)
    shape, count = splits.train.images.shape[1:], len(splits.train.labels)
    if shape != (28, 28, 1) or len(dataset.classes) > 10:
        raise ValueError(
            f"dataset={config.dataset}: {len(dataset.classes)} classes of {shape}; must be up to 10 of (28, 28, 1)"
        )
    if config.examples > count:
        raise ValueError(f"examples={config.examples}: {dataset.name} has {count} training examples")
    normal = lambda part: ((part.images.astype(np.float32) / dataset.scale - MEAN) / STD, part.labels)
    return dataset, (normal(splits.train), normal(splits.test))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Run the listings of a case."""
    random = np.random.default_rng(seed)
    if case in (LOOPS, FORMULAS):
        return beside.loops(random) if case == LOOPS else beside.formulas(random, jax.random.key(seed))
    if case == TANH:
        return beside.tanh(random)
    return nets.keras_beside(loaded, seed) if case == KERAS else nets.trained(config.examples, loaded, case, seed)


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold jaxdl to the listings, and both to the printed numbers."""
    of = outcomes.numbers
    worst = lambda case, names: ("largest difference", np.max([of(case, name) for name in names], 0))
    same = lambda text, rows, case, names: claims.within(text, rows, worst(case, names), high=0.1, unit="%")
    printed = {f"loss at step {EVERY * i}": PRINTED[i] for i in (0, 1, 2)}
    losses_of = lambda case: dict(zip(printed, outcomes.arrays(case, "losses").T, strict=False))
    found = [
        same("jaxdl's optimizers walk as the loops do: " + ", ".join(TWINS), "E1, E2, E4, E5, E6, E12", LOOPS, TWINS),
        claims.within("the printed descent, x += learning_rate * dx, descends", "E1",
                      ("log10 of the value after over before", np.log10(of(LOOPS, UPHILL))), high=0, unit="decades"),
        same("its functions give the listings' numbers: " + ", ".join(FORMULAS_OF), "A1, C1, C3, G3, H5", FORMULAS,
             FORMULAS_OF),
        same("and those of 100 layers of tanh", "F", TANH, ["apart"]),
        claims.consistent("100 layers of tanh: the printed standard deviation", "F", ("std", of(TANH, "std")),
                          printed=0.0613, unit="1"),
        claims.consistent("their printed mean", "F", ("mean", of(TANH, "mean")), printed=-0.0034, unit="1"),
        claims.within("S's net after one epoch: the printed 97.71 %, within half a point", "I",
                      ("accuracy", of(S_NET, "accuracy")), low=97.21, high=98.21, unit="%"),
        claims.consistent("its printed test loss", "I", ("test loss", of(S_NET, "test loss")), printed=0.0733,
                          unit="1"),
        *(claims.consistent(f"its printed {name}", "I", (name, losses_of(S_NET)[name]), printed=number, unit="1")
          for name, number in printed.items() if name in losses_of(S_NET)),
        claims.within("P's net has the parameters of its listing", "I",
                      ("parameters more", of(P_NET, "parameters apart")), low=-0.5, high=0.5, unit="1"),
    ]  # fmt: skip
    if config.peers:
        found += [
            claims.within("the PyTorch listing is as accurate as jaxdl's net, within half a point", "I",
                          ("difference", of(S_NET, "accuracy") - of(TORCH, "accuracy")), low=-0.5, high=0.5,
                          unit="percentage points"),
            same("the Keras listing gives jaxdl's probabilities on the same weights", "I", KERAS, ["apart"]),
            claims.within("and has as many parameters", "I", ("more", of(KERAS, "parameters apart")), low=-0.5,
                          high=0.5, unit="1"),
        ]  # fmt: skip
    return found


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the losses of S's net and the printed ones."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, case in enumerate((S_NET, TORCH) if config.peers else (S_NET,)):
        curves = outcomes.arrays(case, "losses")
        steps = EVERY * np.arange(curves.shape[1])
        label = "PyTorch, each seed" if number else "jaxdl, each seed"
        for curve in curves:
            axes.plot(steps, curve, color=plots.COLORS[number], lw=0.9, alpha=0.6, label=label)
            label = None
    axes.plot(EVERY * np.arange(len(PRINTED)), PRINTED, "k.", markersize=9, label="printed in the lecture")
    axes.set(yscale="log", xlabel="step", ylabel="cross entropy of a batch of 32")
    axes.legend(frameon=False)
    said = f"The losses that S prints every {EVERY} steps of an epoch of {config.dataset}, and those of its net here."
    return [demonstrations.Drawing("losses", figure, said)]


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: [*CASES, *nets.NETS, *(nets.PEERS if config.peers else ())], run, judge, draw, check,
    {"seeds": 20},
)  # fmt: skip
