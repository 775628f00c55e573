"""A convolutional net against dense ones, and learned features against hand-made ones, by the number of examples.

    python -m experiments.cnn_against_mlp

The lectures say that convolutions need far fewer parameters than dense layers, that they read images better, and that
learned features beat those made by hand. On handwritten digits a CNN meets an MLP of as many parameters and one of
ten times as many, the nearest neighbours, a support vector machine with Gaussian kernels (both scikit-learn's), and a
linear classifier of histograms of oriented gradients. Each has the best of two or three settings on development
examples; networks make 500 steps at any n, 3.2 passes of 5,000. Four minutes on one core, most of them scikit-learn's.

(Lecture rows H6, A7.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, analysis, data, demonstrations, losses, models, nn, optimizers, runs
from jaxdl.demonstrations import claims

CNN, SAME, LARGE, NEIGHBOURS, SVM, HOG = METHODS = (
    "CNN", "MLP of as many parameters", "MLP of ten times as many", "nearest neighbours", "SVM", "HOG and linear",
)  # fmt: skip
RATES, BATCH, DEV, TEST, BINS = (1e-3, 4e-3), 32, 500, 2000, 8


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "cnn_against_mlp"

    seeds: int = 3
    """Number of seeds, each of which draws the examples and the initial weights."""
    dataset: str = "mnist"
    """digits, mnist, fashion_mnist, a folder or archive of images, or package.module:function."""
    sizes: tuple[int, ...] = (100, 1000, 5000)
    """Numbers of training examples, increasing."""
    steps: int = 500
    """Steps of Adam of a network, on 32 examples each."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, steps=1)
    if len(config.sizes) < 2 or config.sizes[0] < 20 or list(config.sizes) != sorted({*config.sizes}):
        raise ValueError(f"sizes={config.sizes} is not allowed: it must be two or more increasing numbers from 20 on")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the data.

    Raises:
        ValueError: if there are fewer training examples than the largest size.
    """
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0.2)
    parts = [(one.images.astype(np.float32) / dataset.scale, one.labels) for one in splits]
    if config.sizes[-1] > len(parts[0][1]):
        raise ValueError(f"sizes={config.sizes}: {dataset.name} has {len(parts[0][1])} training examples")
    return dataset, (parts, len(dataset.classes))


def named(method: str, size: int) -> str:
    """Return the name of a case."""
    return f"{method}, n = {size}"


@functools.cache
def network(method: str, classes: int, shape: tuple[int, ...]) -> nn.Layer:
    """Return a net; the widths of the MLPs follow from the number of parameters of the CNN."""
    cnn = nn.serial(
        conv1=nn.Conv(8, 5, stride=2), relu1=activations.relu, conv2=nn.Conv(16, 3, stride=2), relu2=activations.relu,
        flat=nn.flatten, logits=nn.Dense(classes),
    )  # fmt: skip
    factor, each = 10 if method == LARGE else 1, int(np.prod(shape)) + 1 + classes  # parameters of a hidden unit
    width = max(1, round((factor * analysis.count_parameters(cnn, shape) - classes) / each))
    return cnn if method == CNN else models.mlp(classes, widths=(width,))


@functools.partial(jax.jit, static_argnames=("method", "classes"))
def trained(method: str, classes: int, key: Any, images: Any, labels: Any, rows: Any, x: Any) -> jax.Array:
    """Return the classes that a net sees in x after training at each of the rates."""
    layer = network(method, classes, images.shape[1:])

    def train(rate: Any) -> jax.Array:
        optimizer, (params, _) = optimizers.adam(rate), layer.init(key, images.shape[1:])

        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            loss = lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, images[rows])[0], labels[rows]).mean()
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        params = jax.lax.scan(step, (params, optimizer.init(params)), rows)[0][0]
        return jnp.argmax(layer.apply(params, {}, x)[0], -1)

    return jax.lax.map(train, jnp.array(RATES))


def histograms(images: np.ndarray) -> np.ndarray:
    """Return how much gradient of each direction the cells of 4x4 pixels have, cells scaled to length 1: HOG.

    Reference: N. Dalal, B. Triggs, Histograms of oriented gradients, 2005, https://doi.org/10.1109/CVPR.2005.177.
    """
    down, right = np.gradient(images.mean(-1), axis=(1, 2))
    size, place = np.hypot(down, right), np.arctan2(down, right) / (2 * np.pi) * BINS % BINS
    low = np.floor(place).astype(int)
    found = np.zeros((*size.shape, BINS), np.float32)
    for cells, share in ((low % BINS, 1 - (place - low)), ((low + 1) % BINS, place - low)):
        found += (np.arange(BINS) == cells[..., None]) * (size * share)[..., None]
    n, h, w, _ = found.shape
    cells = found[:, : h // 4 * 4, : w // 4 * 4].reshape(n, h // 4, 4, w // 4, 4, BINS).sum((2, 4))
    return (cells / (np.linalg.norm(cells, axis=-1, keepdims=True) + 0.1)).reshape(n, -1)


def classical(method: str, images: np.ndarray, labels: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    """Return the classes that scikit-learn sees in x, for each of the settings."""
    from sklearn.linear_model import LogisticRegression  # slow to import, which --help need not wait for
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    if method == HOG:
        images, x = histograms(images), histograms(x)
    models_ = {
        NEIGHBOURS: [KNeighborsClassifier(k) for k in (1, 3, 5)],
        SVM: [SVC(C=c) for c in (1.0, 10.0)],
        HOG: [LogisticRegression(C=c, max_iter=1000) for c in (0.1, 1.0, 10.0)],
    }[method]
    flat = lambda x: x.reshape(len(x), -1)
    return [model.fit(flat(images), labels).predict(flat(x)) for model in models_]


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Fit a method to n examples, and judge it at its best setting."""
    (parts, classes), (method, _, n) = loaded, case.rpartition(", n = ")
    random, size = np.random.default_rng(seed), int(n)
    chosen = random.permutation(len(parts[0][1]))[: config.sizes[-1]]
    images, labels = parts[0][0][chosen], parts[0][1][chosen]
    few = [random.permutation(len(part[1]))[:most] for part, most in zip(parts[1:], (DEV, TEST), strict=True)]
    (dev_x, dev_y), (x, y) = ((part[0][rows], part[1][rows]) for part, rows in zip(parts[1:], few, strict=True))
    both, found = np.concatenate([dev_x, x]), {}
    if method in (CNN, SAME, LARGE):
        rows = random.integers(size, size=(config.steps, BATCH))
        seen = np.asarray(trained(method, classes, jax.random.key(seed), images, labels, rows, both))
        shape = images.shape[1:]
        found = {"parameters": analysis.count_parameters(network(method, classes, shape), shape)}
    else:
        seen = np.array(classical(method, images[:size], labels[:size], both))
    wrong = 100 * (seen != np.concatenate([dev_y, y]))
    best = int(np.argmin(wrong[:, : len(dev_y)].mean(1)))
    return {"error": float(wrong[best, len(dev_y) :].mean()), "setting": best, **found}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    of = lambda method, size: (method, outcomes.numbers(named(method, size), "error"))

    def less(text: str, row: str, other: str, size: int) -> claims.Claim:
        return claims.compare(text, row, of(CNN, size), of(other, size), claimed="less", unit="% wrong")

    return [
        *(less(f"a CNN errs less than an {other}, n = {size:,}", "H6", other, size)
          for other in (SAME, LARGE) for size in config.sizes),
        *(claims.depends(f"learned features beat {text}", "A7", {
            f"n = {size:,}": less("", "", other, size) for size in (config.sizes[0], config.sizes[-1])})
          for text, other in (("an SVM of pixels", SVM), ("nearest neighbours", NEIGHBOURS),
                              ("gradient histograms made by hand", HOG))),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the errors against the number of examples."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, method in enumerate(METHODS):
        errors = np.array([outcomes.numbers(named(method, size), "error") for size in config.sizes])
        axes.plot(config.sizes, errors.mean(1), marker="osd^vx"[place], color=plots.COLORS[place], label=method)
    axes.set(xscale="log", yscale="log", xlabel="training examples", ylabel="test error (%)")
    axes.legend(frameon=False, fontsize=8)
    about = f"Test errors against the number of examples, {config.dataset}, means over the seeds."
    return [demonstrations.Drawing("errors", figure, about)]


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: [named(m, n) for n in config.sizes for m in METHODS], run, judge, draw, check
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
