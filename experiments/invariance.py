"""Invariance: what an MLP, LeNet and CapsNet lose as digits are shifted, shrunk, turned, hidden, lit and cluttered.

    python -m experiments.invariance           # 2,000 examples of MNIST, a narrow CapsNet, some minutes
    python -m experiments.invariance --full    # 6,000 examples, the paper's CapsNet, 40 CPU minutes

The lectures say that invariance to translation, small deformations and illumination can be built into a network, and
that to a convolutional one "it does not matter where an object may be located". All nets train on the same upright,
centred digits, each at its best of three rates, chosen on development digits after one pass. Measured is the accuracy
on test digits against the amount of each change, that of nets trained and tested on permuted pixels, and whether a
convolution commutes with a shift.

(Lecture row H7.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
import optax

from jaxdl import analysis, data, demonstrations, layers, losses, models, nn, optimizers, runs
from jaxdl.analysis import changes
from jaxdl.demonstrations import claims
from jaxdl.models.capsnet import capsule_loss

MLP, LENET, CAPSNET = NETS = ("MLP", "LeNet", "CapsNet")
PERMUTED = ", permuted"
CASES = (*NETS, MLP_PERMUTED := MLP + PERMUTED, LENET_PERMUTED := LENET + PERMUTED)
RATES = (3e-4, 1e-3, 3e-3)

CHANGES = {  # change, its amounts, of which the fourth is that of the claims, and their unit
    "shift": (changes.shift, (0, 1, 2, 3, 4, 6), "pixels"),
    "shrinking": (changes.shrink, (0, 10, 20, 30, 40, 50), "%"),
    "rotation": (changes.rotate, (0, 10, 20, 30, 45, 60), "degrees"),
    "occlusion": (changes.occlude, (0, 4, 6, 8, 12, 16), "pixels a side"),
    "illumination": (changes.light, (0, 0.2, 0.4, 0.6, 0.8, 1), "of full brightness"),
    "clutter": (changes.clutter, (0, 2, 4, 6, 9, 12), "squares"),
}


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "invariance"

    seeds: int = 3
    """Number of seeds, each of which draws the examples, the initial weights and the changes."""
    dataset: str = "mnist"
    """mnist, fashion_mnist, a folder or archive of images, or package.module:function; at least 28×28 pixels."""
    examples: int = 2000
    """Training examples; a third as many development and test examples."""
    epochs: int = 5
    """Passes over them."""
    capsule_width: float = 0.125
    """Multiplier of the CapsNet's channels; 1 is the paper's."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, examples=100, epochs=1)
    if not 0 < config.capsule_width <= 1:
        raise ValueError(f"capsule_width={config.capsule_width} is not allowed: it must be above 0 and at most 1")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data as unit images; ValueError if they are too few."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.1)
    if (most := 3 * len(splits.train.labels) // 4) < config.examples:  # and a third as many for development
        raise ValueError(f"examples={config.examples} is not allowed: it must be at most {most} of {config.dataset}")
    parts = [(np.asarray(p.images, np.float32) / dataset.scale, p.labels) for p in (splits.train, splits.test)]
    return dataset, (parts, len(dataset.classes))


def network(config: Config, case: str, classes: int, shape: Sequence[int]) -> nn.Layer:
    """Return the network of a case."""
    if case == CAPSNET:
        return models.capsnet(classes, image_shape=shape, width=config.capsule_width)
    return models.lenet5(classes) if case == LENET else models.mlp(classes, widths=(256, 256))


@functools.cache
def _compiled(config: Config, net: str, classes: int, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return a pass over batches, rate, (params, state), images, labels, rows -> (params, state), and the logits."""
    layer = network(config, net, classes, shape)
    loss = capsule_loss if net == CAPSNET else losses.softmax_cross_entropy

    def epoch(rate, carry, images, labels, rows):
        def step(carry, rows):
            params, state = carry
            mean = lambda params: loss(layer.apply(params, {}, images[rows], train=True)[0], labels[rows]).mean()
            updates, state = optimizers.adam(rate).update(jax.grad(mean)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, carry, rows)[0]

    return jax.jit(epoch), jax.jit(lambda params, x: layer.apply(params, {}, x)[0])


def train(config: Config, case: str, classes: int, parts: Any, seed: int) -> Any:
    """Return the best rate on the development part after one pass, and the parameters after all passes at that rate."""
    (images, labels), dev, shape = *parts[:2], parts[0][0].shape[1:]
    epoch, logits = _compiled(config, case, classes, shape)
    start = network(config, case, classes, shape).init(jax.random.key(seed), shape)[0]

    def trained(rate: float, epochs: int) -> Any:
        carry = start, optimizers.adam(rate).init(start)
        for number in range(epochs):
            rows = data.batch_rows(len(labels), 50, seed=seed, epoch=number)
            carry = epoch(rate, carry, images, labels, np.stack([batch.row for batch in rows]))
        return carry[0]

    right = lambda params: np.mean(np.argmax(logits(params, dev[0]), -1) == dev[1])
    return (rate := max(RATES, key=lambda rate: right(trained(rate, 1)))), trained(rate, config.epochs)


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train the net of the case and measure its accuracy under all changes, in percent."""
    (learning, test), classes = loaded
    random, count, net = np.random.default_rng(seed), config.examples, case.removesuffix(PERMUTED)
    rows, held = (random.permutation(len(part[1])) for part in (learning, test))
    taken = ((learning, rows[:count]), (learning, rows[count:][: count // 3]), (test, held[: count // 3]))
    parts = [(x[take], y[take]) for (x, y), take in taken]
    if net != case:
        order = random.permutation(learning[0][0].size)
        parts = [(x.reshape(len(x), -1)[:, order].reshape(x.shape), y) for x, y in parts]
    rate, params = train(config, net, classes, parts, seed)
    classify = functools.partial(_compiled(config, net, classes, learning[0].shape[1:])[1], params)
    key, (x, y) = jax.random.key(seed), parts[2]
    measured = CHANGES if case in NETS else {"shift": (changes.shift, (0,), "pixels")}
    curves = {name: 100 * np.asarray(analysis.robustness(key, classify, x, y, change, np.array(amounts, "f")))
              for name, (change, amounts, _) in measured.items()}  # fmt: skip
    found = {"clean": float(curves["shift"][0]), "rate": rate, **curves}
    found |= {"image": x[0], "equivariance": equivariance(params["conv1"]["kernel"], x[:50])} if case == LENET else {}
    return found | {f"lost to {name}": found["clean"] - float(c[3]) for name, c in curves.items() if case in NETS}


def equivariance(kernel: Any, images: np.ndarray) -> float:
    """Return the largest relative difference between a convolution of shifted images and its shifted answer."""
    valid = lambda x: np.asarray(layers.conv2d(x, kernel, padding="VALID"))
    answer, moved = valid(images), valid(np.roll(images, (1, 2), (1, 2)))
    return float(np.abs(moved[:, 1:, 2:] - answer[:, :-1, :-2]).max() / np.abs(answer).max())


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the accuracies."""
    del config
    of, points, said = outcomes.numbers, "points of accuracy", "a convolutional net loses less than an MLP to"
    lost = lambda case, name: (case, of(case, f"lost to {name}"))
    return [
        *(claims.compare(f"{said} {name} ({amounts[3]:g} {unit})", "H7", lost(LENET, name), lost(MLP, name),
                         claimed="less", unit=points) for name, (_, amounts, unit) in CHANGES.items()),
        claims.within("to LeNet it does not matter where the object is: 3 pixels cost at most 1 point", "H7",
                      lost(LENET, "shift"), high=1, unit=points),
        claims.within("a convolution of stride 1 commutes with a shift", "H7",
                      ("largest relative difference", 100 * of(LENET, "equivariance")), high=0.001, unit="%"),
        claims.within("permuting the pixels leaves an MLP unharmed", "H7",
                      ("lost", of(MLP, "clean") - of(MLP_PERMUTED, "clean")), low=-1.5, high=1.5, unit=points),
        claims.compare("it hurts a convolutional net", "H7", ("permuted", of(LENET_PERMUTED, "clean")),
                       ("as they are", of(LENET, "clean")), claimed="less", unit="% right"),
        claims.compare("capsules lose less to rotation than LeNet", "H7", lost(CAPSNET, "rotation"),
                       lost(LENET, "rotation"), claimed="less", unit=points),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the accuracies against the amounts, and a digit under each change."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    cells = figure.subplots(2, 3, sharey=True).ravel()
    for axes, (name, (_, amounts, unit)) in zip(cells, CHANGES.items(), strict=True):
        for color, marker, case in zip(plots.COLORS, "os^", NETS, strict=False):
            axes.plot(amounts, outcomes.arrays(case, name).mean(0), color=color, marker=marker, label=case)
        axes.axvline(amounts[3], color="#444444", linewidth=0.8, linestyle=":")
        axes.set(xlabel=f"{name} ({unit})", ylim=(0, 101))
    cells[0].legend(frameon=False)
    figure.supylabel("test accuracy (%)")
    image, key = outcomes.arrays(LENET, "image")[0], jax.random.key(0)
    sheet = [change(key, image, amount) for change, amounts, _ in CHANGES.values() for amount in np.array(amounts, "f")]
    said = [f"{name} {amount:g}" for name, (_, amounts, _) in CHANGES.items() for amount in amounts]
    told = f"Accuracy on changed images of nets that trained on unchanged ones, {config.dataset}, means over seeds."
    return [
        demonstrations.Drawing("accuracy", figure, f"{told} Claims are judged at the dotted lines."),
        demonstrations.Drawing("changes", plots.image_grid(np.stack(sheet), said), "A test image under each change."),
    ]


FULL = {"examples": 6_000, "capsule_width": 1.0}
DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda _: CASES, run, judge, draw, check, FULL)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
