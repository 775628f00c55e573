"""Filters of fixed weights: a photograph sharpened and its edges found, X or no X, and noise under pools.

    python -m experiments.filters

The lectures sharpen a photograph and find its edges, and its "strong" edges, by 3×3 kernels; find the strokes of an X
that is deformed, where a comparison of pixels fails; and pool feature maps. Measured are the answers to crops of
scikit-learn's photographs; the worked 9×9 X and its published answer; X against O, shifted and spotted, by the nearest
template in pixels and in strokes; and the noise that each pool of 2×2 leaves in a photograph. Seconds on one core.

(Lecture rows H2, H4, H5.)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from jaxdl import layers
from jaxdl.layers import filters
from jaxdl.runs import claims, commandline, demonstrations

PHOTOGRAPH, LETTERS, NOISY = CASES = ("photograph", "X or O", "pools")
KINDS = {"sharpen": filters.sharpen(), "edge": filters.edge(), "strong edge": filters.strong_edge(),
         "blur": filters.gaussian(9, 2), "Sobel": filters.sobel(1)}  # fmt: skip
POOLS = {"average": layers.avg_pool2d, "max": layers.max_pool2d, "stride": lambda x: x[..., ::2, ::2, :]}
NOISE = 0.5  # standard deviation, where 1 is full brightness
PRINTED = (0.77, -0.11, 0.11, 0.33, 0.55, -0.11, 0.33)  # first row of the worked answer, digits cut


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "filters"

    seeds: int = 10
    """Number of seeds, each of which draws a crop, deformed letters and noise."""
    size: int = 192
    """Rows and columns of the crop."""
    letters: int = 200
    """Deformed letters, half of each kind."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range; the photographs have 427 rows."""
    demonstrations.check_at_least(config, size=16, letters=2)
    if config.size > 427:
        raise ValueError(f"size={config.size} is not allowed: it must be at most 427")


def load(config: Config) -> tuple[str, Any]:
    """Return the name of the data, and the photographs as grey values from 0 to 1."""
    del config
    from sklearn.datasets import load_sample_images

    photographs = [np.float32(image.mean(-1, keepdims=True) / 255) for image in load_sample_images().images]
    return "scikit-learn's photographs; drawn letters", photographs


def run(config: Config, photographs: Sequence[np.ndarray], case: str, seed: int) -> Mapping[str, Any]:
    """Measure one case of the seed."""
    if case == LETTERS:
        return x_or_o(config, seed)
    image = crop(photographs, seed, config.size)
    return photograph(image) if case == PHOTOGRAPH else pools(image, seed)


def rms(difference: Any) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(difference, np.float64)))))


def crop(photographs: Sequence[np.ndarray], seed: int, size: int) -> np.ndarray:
    """Return a random part of one of the photographs, (size, size, 1)."""
    random, image = np.random.default_rng(seed), photographs[seed % len(photographs)]
    top, left = (int(random.integers(length - size + 1)) for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def photograph(image: np.ndarray) -> Mapping[str, Any]:
    """Apply all fixed kernels to the image."""
    answers = {name: np.asarray(filters.apply(image, kernel, padding="VALID")) for name, kernel in KINDS.items()}
    slope = lambda x: rms(filters.apply(x, filters.sobel(1), padding="VALID"))
    return {**{name: rms(y) for name, y in answers.items()}, "slope": slope(image), "sharp": slope(answers["sharpen"]),
            "quiet": 100 * float(np.mean(np.abs(answers["edge"]) < 0.05)), "shown": image}  # fmt: skip


def letter(name: str) -> np.ndarray:
    """Return a 9×9 X or O as ±1, (9, 9, 1)."""
    i, j = np.indices((9, 9)) - 4
    drawn = (abs(i) == abs(j)) & (abs(i) < 4) if name == "X" else abs(np.hypot(i, j) - 3) < 0.5
    return np.where(drawn, 1, -1)[..., None].astype(np.float32)


def padded(name: str) -> np.ndarray:
    """Return the letter with two pixels of −1 around it."""
    return np.pad(letter(name), ((2, 2), (2, 2), (0, 0)), constant_values=-1)


def strokes(images: np.ndarray) -> np.ndarray:
    """Return how well a falling stroke, a rising one and a small X fit at their best places, (..., 3)."""
    small = np.sign(filters.diagonal() + filters.diagonal(rising=True) + 1e-6) / 9
    kernels = (filters.diagonal(), filters.diagonal(rising=True), small)
    return np.stack([np.max(filters.apply(images, one, padding="VALID"), (-3, -2, -1)) for one in kernels], -1)


def deformed(random: np.random.Generator, name: str) -> np.ndarray:
    """Return the letter shifted by up to two pixels along each axis, with four pixels flipped."""
    image = np.roll(padded(name), random.integers(-2, 3, 2), (0, 1))
    places = random.choice(image.size, 4, replace=False)
    image.flat[places] *= -1
    return image


def x_or_o(config: Config, seed: int) -> Mapping[str, Any]:
    """Tell deformed letters apart by the nearest of two templates: in pixels, and in strokes."""
    random, names = np.random.default_rng(seed), np.resize(["X", "O"], config.letters)
    images = np.stack([deformed(random, name) for name in names])
    right = {}
    for kind, of in (("pixels", lambda x: x.reshape(len(x), -1)), ("strokes", strokes)):
        templates = of(np.stack([padded("X"), padded("O")]))
        distance = np.sum((of(images)[:, None] - templates) ** 2, -1)
        right[kind] = 100 * float(np.mean(np.array(["X", "O"])[distance.argmin(1)] == names))
    answer = np.asarray(filters.apply(letter("X"), filters.diagonal(), padding="VALID"))[..., 0]
    return {
        **right,
        "from the printed row": float(np.abs(answer[0] - PRINTED).max()),
        "answer": answer,
        "deformed": images[:2],
    }


def pools(image: np.ndarray, seed: int) -> Mapping[str, Any]:
    """Return the rms error that noise leaves in the image, as it is and after each pool of 2×2."""
    noisy = image + np.float32(NOISE * np.random.default_rng(seed).normal(size=image.shape))
    left = {name: rms(np.asarray(pool(noisy)) - pool(image)) for name, pool in POOLS.items()}
    return {"none": rms(noisy - image), **left}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    del config
    of = lambda case, what: (what, outcomes.numbers(case, what))
    noise = "of full brightness, rms"
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
                         unit=noise) for one in ("average", "max")),
        claims.compare("max pooling keeps less noise than a stride", "H5", of(NOISY, "max"), of(NOISY, "stride"),
                       claimed="less", unit=noise),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw a filtered crop, and the worked X with its answer as numbers."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    del config
    image = outcomes.arrays(PHOTOGRAPH, "shown")[0]
    seen = {name: np.asarray(filters.apply(image, kernel, padding="VALID")) for name, kernel in KINDS.items()}
    size = min(one.shape[0] for one in seen.values())
    middle = lambda one: one[(len(one) - size) // 2 :][:size, (len(one) - size) // 2 :][:, :size]
    grey = lambda name, one: one if name in ("sharpen", "blur") else 0.5 + one  # grey is 0
    sheet = np.stack([middle(image), *(middle(grey(name, one)) for name, one in seen.items())])
    photographs = plots.image_grid(sheet, ["original", *KINDS], columns=3)
    figure, answer = Figure(figsize=(10, 3.6), layout="constrained"), outcomes.arrays(LETTERS, "answer")[0]
    panels = {"a 9×9 X": letter("X")[..., 0], "a stroke": 9 * filters.diagonal(), "how well it fits": answer,
              "a shifted, spotted X": outcomes.arrays(LETTERS, "deformed")[0, 0, ..., 0]}  # fmt: skip
    for axes, (name, values) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        axes.imshow(values, cmap="PuOr", vmin=-1.6, vmax=1.6)
        axes.set(xticks=[], yticks=[], title=name)
        for (i, j), value in np.ndenumerate(values) if len(values) < 12 else ():
            axes.text(j, i, f"{value:.2f}" if name.startswith("how") else f"{value:.0f}", ha="center", va="center",
                      fontsize=7)  # fmt: skip
    return [
        demonstrations.Drawing("photograph", photographs, "A crop of a photograph of scikit-learn, and its answers to "
                               "fixed kernels; where an answer may be negative, grey is 0."),
        demonstrations.Drawing("x", figure, "An image is a matrix of numbers. A falling stroke of 3×3 slides over an "
                               "X, and its answer is 1 where it fits exactly. The last X is one of those that pixels "
                               "must tell from an O."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    commandline.run_main(main)
