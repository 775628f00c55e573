"""Colourisation: a colour from lightness alone, by regression and by a histogram, beside grey and the mean colour.

    python -m experiments.colorization

The lectures colour grey photographs: a network whose hypercolumns join features of several depths predicts the colour
of each pixel, as one value or as a histogram of colours. Both are trained on CIFAR-10's lightness, beside grey and the
mean colour of the training images. JPEG files hold colour at half the resolution, so a* and b* are judged at 16×16.
Measured are the error of a* and b*, the peak signal-to-noise ratio, and colourfulness. Some ten minutes on two cores.

(Lecture row J.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, demonstrations, losses, nn, optimizers, runs, schedules
from jaxdl.applications import colorization
from jaxdl.demonstrations import claims

GREY, MEAN, REGRESSION, HISTOGRAM = CASES = ("grey", "mean colour", "regression", "histogram")
SIZE = 16  # of the maps of colour
BINS = colorization.ab_bins(step=10)
SCALE = 50.0  # a* and b* are predicted in this unit
SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "colorization"

    seeds: int = 3
    """Number of seeds, each of which draws images, parameters and batches."""
    dataset: str = "cifar10"
    """cifar10, a folder or archive of colour images of 32×32, or package.module:function."""
    images: int = 20_000
    """Training images; a tenth as many others are for the test."""
    steps: int = 2000
    """Training steps of 32 images each."""
    width: int = 16
    """Channels of the first map of features; the deeper ones have two and three times as many."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, images=10 * SHOWN, steps=1, width=1)


def load(config: Config) -> tuple[data.Dataset, np.ndarray]:
    """Load the images, from 0 to 255."""
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    if dataset.images.shape[1:] != (2 * SIZE, 2 * SIZE, 3) or len(dataset.images) < 1.1 * config.images:
        raise ValueError(
            f"dataset={config.dataset!r} has images of shape {dataset.images.shape}; needed are colour images of "
            f"32×32, a tenth more than images={config.images}"
        )
    return dataset, dataset.images if dataset.scale == 255 else dataset.images * np.float32(255 / dataset.scale)


def network(config: Config) -> nn.Layer:
    """Return a network from lightness (32, 32, 1) to a* and b* and the logits of bins at 16×16, from hypercolumns."""
    w, relu = config.width, activations.relu
    enlarged = lambda factor: lambda x: jnp.repeat(jnp.repeat(x, factor, 1), factor, 2)
    third = nn.serial(conv=nn.Conv(3 * w, 3, stride=2), relu=relu, up=enlarged(2))
    deep = nn.serial(conv=nn.Conv(2 * w, 3, stride=2), relu=relu,
                     columns=nn.parallel("concat", second=nn.identity, third=third), up=enlarged(2))  # fmt: skip
    columns = nn.parallel("concat", first=nn.identity, deep=deep)
    return nn.serial(conv=nn.Conv(w, 3, stride=2), relu=relu, columns=columns, mix=nn.Conv(3 * w, 1), relu2=relu,
                     colors=nn.Conv(2 + len(BINS), 1))  # fmt: skip


@functools.cache
def _compiled(config: Config) -> tuple[Any, Any, Any]:
    """Return initialisation, training, (key, params, weight of regression, lightness, ab) -> params, and the colours.

    One of the two losses has the weight 1 and the other 0, so that each case has a network of its own.
    """
    layer, optimizer = network(config), optimizers.adam(schedules.cosine(3e-3, config.steps))

    def mean_loss(params, weight, lightness, ab):
        said, _ = layer.apply(params, {}, lightness)
        values = losses.squared_error(said[..., :2], ab / SCALE).mean()
        bins = losses.softmax_cross_entropy(said[..., 2:], colorization.nearest_bin(ab, BINS)).mean()
        return weight * values + (1 - weight) * bins

    def train(key, params, weight, lightness, ab):
        def step(carry, key):
            params, state = carry
            rows = jax.random.randint(key, (32,), 0, len(ab))
            grads = jax.grad(mean_loss)(params, weight, lightness[rows], ab[rows])
            updates, state = optimizer.update(grads, state, params)
            return (optimizers.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, config.steps))[0][0]

    def colors(params, weight, lightness):
        said, _ = layer.apply(params, {}, lightness)
        return jnp.where(weight == 1, SCALE * said[..., :2], colorization.annealed_mean(said[..., 2:], BINS))

    quick = {"xla_backend_optimization_level": 0}  # at other levels the initial values take 25 s to compile
    init = jax.jit(lambda key: layer.init(key, (2 * SIZE, 2 * SIZE, 1))[0], compiler_options=quick)
    return init, jax.jit(train), jax.jit(colors)


@jax.jit
def separated(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return lightness, centered and over 50, (n, 32, 32, 1), and a* and b* at half the resolution, (n, 16, 16, 2)."""
    lab = colorization.rgb_to_lab(images.astype(jnp.float32) / 255)
    return lab[..., :1] / 50 - 1, lab[..., 1:].reshape(-1, SIZE, 2, SIZE, 2, 2).mean((2, 4))


@jax.jit
def drawn(lightness: jax.Array, ab: jax.Array) -> jax.Array:
    """Return images of a lightness and a colour, as `separated` gives them."""
    enlarged = jnp.repeat(jnp.repeat(ab, 2, 1), 2, 2)
    return colorization.lab_to_rgb(jnp.concatenate([50 * lightness + 50, enlarged], -1))


def run(config: Config, images: np.ndarray, case: str, seed: int) -> Mapping[str, Any]:
    """Colour test images by a case."""
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = np.split(order[: 11 * (config.images // 10)], [10 * (config.images // 10)])
    (lightness, ab), (seen, true) = separated(images[np.sort(train)]), separated(images[test])
    if case in (GREY, MEAN):
        found = jnp.zeros_like(true) + (ab.mean((0, 1, 2)).reshape(1, 1, 1, 2) if case == MEAN else 0)
    else:
        init, training, colors = _compiled(config)
        key, weight = jax.random.key(seed), np.float32(case == REGRESSION)
        found = colors(training(key, init(key), weight, lightness, ab), weight, seen)
    result, target = drawn(seen, found), drawn(seen, true)
    errors = jnp.mean((result - target) ** 2, (1, 2, 3))
    return {
        "ab error": float(jnp.sqrt(jnp.mean((found - true) ** 2))),
        "PSNR": float(jnp.mean(-10 * jnp.log10(jnp.maximum(errors, 1e-10)))),
        "colourfulness": 255 * float(colorization.colorfulness(result).mean()),
        "colourfulness of the truth": 255 * float(colorization.colorfulness(target).mean()),
        "shown": result[:SHOWN],
        "true": target[:SHOWN],
        "chroma": np.histogram(np.hypot(*np.moveaxis(np.asarray(found), -1, 0)), 40, (0, 80))[0],
        "true chroma": np.histogram(np.hypot(*np.moveaxis(np.asarray(true), -1, 0)), 40, (0, 80))[0],
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold what is said of colourisation to the numbers."""

    def less(text, what, a, b, unit, claimed="less"):
        sides = ((case, outcomes.numbers(case, what)) for case in (a, b))
        return claims.compare(text, "J", *sides, claimed=claimed, unit=unit)

    truth = ("truth", outcomes.numbers(HISTOGRAM, "colourfulness of the truth"))
    return [
        less("a network knows colours from lightness: regression errs less than the mean colour", "ab error",
             REGRESSION, MEAN, "in a* and b*, rms"),
        less("a histogram errs less than the mean colour", "ab error", HISTOGRAM, MEAN, "in a* and b*, rms"),
        less("regression errs less than a histogram", "ab error", REGRESSION, HISTOGRAM, "in a* and b*, rms"),
        less("a histogram gives more colourful images than regression", "colourfulness", HISTOGRAM, REGRESSION,
             "of 255", "more"),
        claims.compare("but less colourful ones than the truth", "J",
                       (HISTOGRAM, outcomes.numbers(HISTOGRAM, "colourfulness")), truth, claimed="less", unit="of 255"),
        less("PSNR prefers regression to a histogram", "PSNR", REGRESSION, HISTOGRAM, "dB", "more"),
        less("PSNR prefers grey to the colours of a histogram", "PSNR", GREY, HISTOGRAM, "dB", "more"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw test images in the colours of all cases, and how strong these colours are."""
    from jaxdl import plots

    data_set = "CIFAR-10 (JPEG)" if config.dataset == "cifar10" else config.dataset
    rows = {case: outcomes.arrays(case, "shown")[0] for case in (GREY, REGRESSION, HISTOGRAM)}
    rows["true colour"] = outcomes.arrays(GREY, "true")[0]
    sheet = plots.image_grid(np.concatenate([*rows.values()]), [name for name in rows for _ in range(SHOWN)],
                             columns=SHOWN, title="Colours from lightness")  # fmt: skip
    shares = lambda case, name: 100 * (counts := outcomes.arrays(case, name).sum(0)) / counts.sum()
    chroma = {case: (np.arange(1, 80, 2.0), shares(case, "chroma")) for case in (REGRESSION, HISTOGRAM)}
    chroma["true colour"] = (np.arange(1, 80, 2.0), shares(GREY, "true chroma"))
    lines = plots.curves(chroma, xlabel="chroma √(a*² + b*²)", ylabel="share of places (%)")
    return [
        demonstrations.Drawing("colours", sheet, f"Test images of {data_set} in the colours that networks give "
                               "their lightness; true colours are at half the resolution, too."),
        demonstrations.Drawing("chroma", lines, "How strong the colours are: shares of places by chroma."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
