"""Augmentation: which distortions of the training images help, on clean test images and on distorted ones.

    python -m experiments.augmentation

The lectures say that shifted, turned, scaled and noisy copies of few images lower the error, and that training should
show a network all conditions that it will meet. MLPs learn a thousand handwritten digits and a thousand pictures of
clothes, at half their resolution, by Adam, with one distortion, with all of them but the flip, or with none. The test
images are clean, or distorted by all. Every run makes the same number of steps. Two minutes on one core.

(Lecture row G7.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, demonstrations, losses, models, optimizers, runs
from jaxdl.data import augmentation
from jaxdl.demonstrations import claims

ALL, NONE = "all", "none"
OPERATIONS = {
    "shift": functools.partial(augmentation.translate, max_shift=1),
    "rotation": functools.partial(augmentation.rotate, max_degrees=15.0),
    "scale": functools.partial(augmentation.scale, max_change=0.2),
    "noise": functools.partial(augmentation.noise, stddev=0.1),
    "dropped pixels": functools.partial(augmentation.drop_pixels, rate=0.1),
}
EVERY = {**OPERATIONS, "flip": augmentation.flip}
HOW = (*EVERY, ALL, NONE)
BATCH, RATE, SHOWN, TESTED = 64, 2e-3, 6, 2000


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "augmentation"

    digits: str = "mnist"
    """Images of digits: digits, mnist, a folder or archive, or package.module:function."""
    clothes: str = "fashion_mnist"
    """Images for comparison, which may be mirrored."""
    examples: int = 1000
    """Training examples of either, drawn anew by each seed."""
    width: int = 64
    """Hidden units."""
    steps: int = 1500
    """Steps of Adam."""


check = functools.partial(demonstrations.check_at_least, examples=1, width=1, steps=1)


def load(config: Config) -> tuple[str, dict[str, Any]]:
    """Load both data sets at half their resolution.

    Raises:
        ValueError: if there are fewer training examples than asked for, or a side of the images is odd.
    """
    found, names = {}, []
    for kind in ("digits", "clothes"):
        dataset = runs.dataset(getattr(config, kind), data_dir=config.data_dir)
        if (shape := dataset.images.shape[1:3])[0] % 2 or shape[1] % 2:
            raise ValueError(f"{kind}={getattr(config, kind)!r} has images of {shape}; needed are even sides")
        splits = data.split(dataset, seed=0, dev_fraction=0.1)
        if config.examples > len(splits.train.labels):
            raise ValueError(f"examples={config.examples}: {dataset.name} has {len(splits.train.labels)} for training")
        parts = [(halved(part.images / np.float32(dataset.scale)), part.labels) for part in (splits.train, splits.test)]
        found[kind] = (*parts, len(dataset.classes))
        names.append(dataset.name)
    return " and ".join(names), found


def halved(images: np.ndarray) -> np.ndarray:
    """Return the means of squares of four pixels, (n, h / 2, w / 2, c)."""
    n, h, w, c = images.shape
    return images.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)).astype(np.float32)


def switches(how: str) -> np.ndarray:
    """Return which of the operations in EVERY are on."""
    return np.array([name == how or (how == ALL and name in OPERATIONS) for name in EVERY])


def changed(on: Any, key: jax.Array, images: Any) -> jax.Array:
    """Return images distorted by the operations that are on; all choices are one program."""

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        for place, operation in enumerate(EVERY.values()):
            changing = jax.random.fold_in(key, place), image
            image = jax.lax.cond(on[place], operation, lambda key, image: image, *changing)
        return image

    return augmentation.per_example(one)(key, images, jnp.arange(len(images)))


@functools.partial(jax.jit, static_argnames=("width", "classes"))
def trained(width: int, classes: int, on: Any, key: Any, images: Any, labels: Any, rows: Any) -> Any:
    """Return the parameters of a net that saw distorted images."""
    layer, optimizer, keys = models.mlp(classes, widths=(width,)), optimizers.adam(RATE), jax.random.split(key)
    params, _ = layer.init(keys[0], images.shape[1:])

    def step(carry: Any, now: Any) -> Any:
        (params, state), (key, rows) = carry, now
        x = changed(on, key, images[rows])
        loss = lambda p: losses.softmax_cross_entropy(layer.apply(p, {}, x)[0], labels[rows]).mean()
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optimizers.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), (jax.random.split(keys[1], len(rows)), rows))[0][0]


distort = jax.jit(changed)


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train with the case's distortion, and judge clean and distorted test images."""
    kind, how = case.split(", ", 1)
    (images, labels), (x, y), classes = loaded[kind]
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(labels))[: config.examples]
    rows, on, key = random.integers(config.examples, size=(config.steps, BATCH)), switches(how), jax.random.key(seed)
    params = trained(config.width, classes, on, key, images[chosen], labels[chosen], rows)
    layer, some = models.mlp(classes, widths=(config.width,)), random.permutation(len(y))[:TESTED]
    wrong = lambda x: 100 * float(np.mean(np.argmax(layer.apply(params, {}, x)[0], -1) != y[some]))
    distorted = distort(switches(ALL), key, x[some])
    sheet = np.asarray(distort(on, key, images[np.resize(chosen, len(some))]))[:SHOWN]
    return {"clean": wrong(x[some]), "distorted": wrong(distorted), "sheet": sheet}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    del config
    of = lambda kind, how, test: (how, outcomes.numbers(f"{kind}, {how}", test))
    kinds = ("digits", "clothes")

    def less(text: str, kind: str, how: str, test: str) -> claims.Claim:
        return claims.compare(text, "G7", of(kind, how, test), of(kind, NONE, test), claimed="less", unit="% wrong")

    return [
        *(less(f"augmentation lowers the error ({how}, {kind})", kind, how, "clean")
          for kind in kinds for how in OPERATIONS),
        *(less(f"all of them together do ({kind})", kind, ALL, "clean") for kind in kinds),
        claims.depends("a flip from left to right lowers it", "G7",
                       {kind: less("", kind, "flip", "clean") for kind in kinds}),
        *(less(f"training under all conditions lowers the error on distorted images ({kind})", kind, ALL, "distorted")
          for kind in kinds),
        *(claims.compare(f"more than the best single distortion does ({kind})", "G7", of(kind, ALL, "distorted"),
                         ("best", np.min([of(kind, how, "distorted")[1] for how in OPERATIONS], 0)), claimed="less",
                         unit="% wrong") for kind in kinds),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw a sheet of distorted images, and the errors."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    names = [how for how in HOW if how != NONE]
    sheet = Figure(figsize=(9.6, 0.86 * (len(names) + 1)), layout="constrained")
    cells = sheet.subplots(len(names) + 1, 2 * SHOWN)
    for row, how in zip(cells, [NONE, *names], strict=True):
        for k, kind in enumerate(("digits", "clothes")):
            for axes, image in zip(row[k * SHOWN :], outcomes.arrays(f"{kind}, {how}", "sheet")[0], strict=False):
                axes.imshow(image.mean(-1), cmap="gray_r", vmin=0, vmax=1)
                axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(how.replace(" ", "\n"), rotation=0, ha="right", va="center", fontsize=8)
    errors = Figure(figsize=(9.6, 3.4), layout="constrained")
    for axes, kind in zip(errors.subplots(1, 2), ("digits", "clothes"), strict=True):
        for place, test in enumerate(("clean", "distorted")):
            values = np.array([outcomes.numbers(f"{kind}, {how}", test) for how in (NONE, *names)]).T
            axes.plot(range(len(names) + 1), values.T, "os"[place], color=plots.COLORS[place], markersize=3, alpha=0.6)
            axes.plot(values.mean(0), "_", color=plots.COLORS[place], markersize=16, label=f"{test} test images")
        axes.set_xticks(range(len(names) + 1), [NONE, *names], rotation=40, ha="right")
        axes.set(title=kind, ylabel="test error (%)", ylim=(0, None))
    errors.axes[0].legend(frameon=False)
    return [
        demonstrations.Drawing("sheet", sheet, "The same training images under each distortion, first seed."),
        demonstrations.Drawing("errors", errors, "Test errors after training under each distortion; bars are means."),
    ]


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: [f"{kind}, {how}" for kind in ("digits", "clothes") for how in HOW], run, judge, draw,
    check,
)  # fmt: skip
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
