"""The experiment: its options, its cases and its claims."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from experiments.filters import images, maps, sensor, waves
from jaxdl import data, demonstrations, runs
from jaxdl.demonstrations import claims

PHOTOGRAPH, LETTERS, NOISY, SENSOR, WAVES, DEPTH = CASES = ("photograph", "X or O", "pools", "sensor", "waves", "depth")


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "filters"

    seeds: int = 10
    """Number of seeds, each of which draws a crop, deformed letters, signals, noise and initial weights."""
    size: int = 192
    """Rows and columns of the crop."""
    letters: int = 200
    """Deformed letters, half of each kind."""
    kernels: int = 64
    """Kernels of each layer of the 1-D network, of 5 samples each; the lecture has 64, 128 or 256."""
    steps: int = 400
    """Steps of Adam for the 1-D network and for the dense one."""
    dataset: str = "mnist"
    """Images of the net whose maps are shown: mnist, fashion_mnist, a folder or archive, or package.module:function."""
    examples: int = 4000
    """Training examples of that net."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range; the photographs have 427 rows."""
    demonstrations.check_at_least(config, size=16, letters=2, kernels=1, steps=1, examples=maps.BATCH)
    if config.size > 427:
        raise ValueError(f"size={config.size} is not allowed: it must be at most 427")


def load(config: Config) -> tuple[str, Any]:
    """Return the name of the data, the photographs as grey values from 0 to 1, and the net's training and test images.

    Raises:
        ValueError: if the images do not suit the net, or there are too few.
    """
    from sklearn.datasets import load_sample_images

    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    splits = data.split(dataset, seed=0, dev_fraction=0)
    shape, count = splits.train.images.shape[1:], len(splits.train.labels)
    if shape != (28, 28, 1) or len(dataset.classes) > 10 or config.examples > count:
        raise ValueError(
            f"dataset={config.dataset}, examples={config.examples}: {count} images of shape {shape} and "
            f"{len(dataset.classes)} classes; must be as many of (28, 28, 1) and at most 10"
        )
    unit = lambda part: (
        part.images[: config.examples].astype(np.float32) / dataset.scale,
        part.labels[: config.examples],
    )
    photographs = [np.float32(image.mean(-1, keepdims=True) / 255) for image in load_sample_images().images]
    name = f"scikit-learn's photographs; drawn letters and signals; {dataset.name}"
    return name, (photographs, unit(splits.train), unit(splits.test))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Measure one case of the seed."""
    photographs, train, test = loaded
    if case == LETTERS:
        return images.x_or_o(config.letters, seed)
    if case == SENSOR:
        return sensor.sensor(seed)
    if case == WAVES:
        return waves.told_apart(config.kernels, config.steps, seed)
    if case == DEPTH:
        return maps.by_depth(train, test, seed)
    image = images.crop(photographs, seed, config.size)
    return images.photograph(image) if case == PHOTOGRAPH else images.pools(image, seed)


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of = lambda case, what: (what, outcomes.numbers(case, what))
    noise, amplitude, shares = "of full brightness, rms", "of the amplitude, rms", "% of the variance"
    depths = ("pixels", *maps.DEPTHS.values())
    return [
        claims.compare("sharpening makes slopes steeper", "H4", ("sharpened", of(PHOTOGRAPH, "sharp")[1]),
                       ("original", of(PHOTOGRAPH, "slope")[1]), claimed="more", unit="rms answer of Sobel's filter"),
        claims.within("an edge filter answers edges alone: |answer| < .05 at most pixels", "H4",
                      ("quiet pixels", of(PHOTOGRAPH, "quiet")[1]), low=50, unit="%"),
        claims.compare("the “strong” edge filter answers more strongly", "H4", of(PHOTOGRAPH, "strong edge"),
                       of(PHOTOGRAPH, "edge"), claimed="more", unit="rms answer"),
        claims.within("the falling stroke on the 9×9 X gives the published first row", "H2, H4",
                      ("largest difference", of(LETTERS, "from the printed row")[1]), high=0.01, unit="1"),
        claims.compare("strokes tell a deformed X from an O where pixels do not", "H4", of(LETTERS, "strokes"),
                       of(LETTERS, "pixels"), claimed="more", unit="% right"),
        *(claims.compare(f"{one} pooling suppresses noise", "H5", of(NOISY, one), of(NOISY, "none"), claimed="less",
                         unit=noise) for one in ("average", "max", "L2")),
        claims.compare("max pooling keeps less noise than a stride", "H5", of(NOISY, "max"), of(NOISY, "stride"),
                       claimed="less", unit=noise),
        claims.compare("an average of the last samples smooths a noisy sensor: the best window", "H1",
                       of(SENSOR, "at the best window"), of(SENSOR, "window 1"), claimed="less", unit=amplitude),
        claims.compare("with little loss of information: a window of 101 is better than one of 25", "H1",
                       of(SENSOR, "window 101"), of(SENSOR, "window 25"), claimed="less", unit=amplitude),
        claims.compare("and one of 401, which lags, is better than no average", "H1", of(SENSOR, "window 401"),
                       of(SENSOR, "window 1"), claimed="less", unit=amplitude),
        claims.compare(f"a 1-D network of {config.kernels} kernels tells waves apart better than a dense one as "
                       "large", "H1", of(WAVES, "1-D error"), of(WAVES, "dense error"), claimed="less",
                       unit="% wrong"),
        *(claims.compare(f"features get closer to the classes with depth: {b} against {a}", "H4", of(DEPTH, b),
                         of(DEPTH, a), claimed="more", unit=shares) for a, b in itertools.pairwise(depths)),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the figures of the first seed."""
    from experiments.filters import figures  # matplotlib takes a second to import, which --help need not wait for

    return figures.draw(config, outcomes)


DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"kernels": 256, "examples": 60_000}
)
