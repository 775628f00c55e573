"""Style transfer: one photograph's content in another's style, by Adam and by L-BFGS, from content and from noise.

    python -m experiments.style_transfer                                  # random filters: texture, not style
    python -m experiments.style_transfer --weights vgg19-dcbb9e9d.pth     # VGG-19 of torchvision, the paper's network

Content and style are crops of scikit-learn's two photographs. Without a file of weights, features are those of an
untrained network of random filters on four scales: they hold texture and colours, and what is shown then is texture
transfer and no more. Measured are the losses of content, style and variation beside those of the picture of the
content, of the picture of the style, and of noise. A minute on one core; minutes with VGG-19.

(Lecture row J.)
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, demonstrations, layers, optimizers
from jaxdl.applications import style_transfer
from jaxdl.demonstrations import claims

ADAM, LBFGS, NOISE, SMOOTH, STRONG = CASES = ("Adam", "L-BFGS", "from noise", "with variation", "ten times the style")
WIDTHS = (16, 32, 32, 32)  # of the random filters, by scale
KEPT = (0, 1 / 30, 1 / 10, 1 / 3)  # shares of the steps at which the strip shows the image
VARIATION = 0.05  # γ of the case, in the unit of the weight of style
CONTENT = style_transfer.CONTENT_LAYERS


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "style_transfer"

    weights: Path | None = None
    """A file of VGG-19's weights under torchvision's names; without it, filters are random."""
    width: float = 1.0
    """Multiplier of VGG-19's channels, for files of smaller networks."""
    size: int = 96
    """Rows and columns of both crops; each seed has others."""
    steps: int = 150
    """Steps of the optimizer."""
    style: float = 1.0
    """Weight of style over content, the first in units of what the content's picture loses, the second of what the
    style's does."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range; the photographs have 427 rows."""
    demonstrations.check_at_least(config, size=32, steps=4, style=0)
    if config.weights is None and config.width != 1:
        raise ValueError(f"width={config.width} is not allowed: without weights, filters are random and have one width")
    if config.size > 427:
        raise ValueError(f"size={config.size} is not allowed: it must be at most 427")


def load(config: Config) -> tuple[str, Any]:
    """Return what the data are, and the photographs with the network's features, key → features, if it has a file."""
    from sklearn.datasets import load_sample_images

    photographs = [np.float32(image / 255) for image in load_sample_images().images]
    if config.weights is None:
        return "scikit-learn's photographs; random filters, no VGG-19", (photographs, random_features, None)
    layer, params = style_transfer.load_vgg19(config.weights, width=config.width)
    make = functools.partial(style_transfer.vgg19_features, layer)
    return "scikit-learn's photographs; VGG-19 from a file", (photographs, make, params)


def random_kernels(random: np.random.Generator) -> list[np.ndarray]:
    """Return 3×3 kernels by He's rule, for each scale."""
    pairs = itertools.pairwise((3, *WIDTHS))
    return [(random.normal(size=(3, 3, n, m)) * np.sqrt(2 / (9 * n))).astype(np.float32) for n, m in pairs]


def random_features(kernels: Sequence[jax.Array]) -> style_transfer.Features:
    """Return features of an untrained network under VGG-19's names: a convolution of 3×3 and ReLU on each scale."""

    def features(image):
        x, seen = 2 * image[None] - 1, {}
        for i, kernel in enumerate(kernels, 1):
            x = activations.relu(layers.conv2d(x if i == 1 else layers.avg_pool2d(x), kernel))
            seen[f"conv{i}_1"] = x[0]
        return {**seen, "conv4_2": seen["conv4_1"]}

    return features


@functools.cache
def _compiled(make: Any, by_lbfgs: bool, steps: int) -> Any:
    """Return the compiled transfer, (weights, content, style, start, β, γ) -> (Stylized, losses of the pictures).

    The latter are the content that the style's picture loses, the style that the content's loses, and its variation;
    β and γ are in their units.
    """
    optimizer = optimizers.lbfgs() if by_lbfgs else optimizers.adam(0.02)
    keep = tuple(int(share * steps) for share in KEPT)

    def transfer(weights, content, style, start, beta, gamma):
        features = make(weights)
        ours, theirs = features(content), features(style)
        names = [name for name in style_transfer.STYLE_LAYERS if name in ours]  # four of the random filters
        content_lost = sum(style_transfer.content_loss(theirs[name], ours[name]) for name in CONTENT)
        style_lost = sum(style_transfer.style_loss(ours[name], style_transfer.gram(theirs[name])) for name in names)
        whole = jnp.stack([content_lost, style_lost / len(names), style_transfer.total_variation(content)])
        options = {"style_weight": beta * whole[0] / whole[1], "variation_weight": gamma * whole[0] / whole[2]}
        options |= {"optimizer": optimizer, "steps": steps, "keep": keep, "layers": (CONTENT, names)}
        return style_transfer.stylize(features, content, style, start=start, **options), whole

    return jax.jit(transfer)


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Make an image with the seed's crops, filters and noise."""
    photographs, make, weights = loaded
    random = np.random.default_rng(seed)
    crop = lambda image, top, left: image[top : top + config.size, left : left + config.size]
    content, style = (crop(x, *(random.integers(n - config.size + 1) for n in x.shape[:2])) for x in photographs)
    noise = random.uniform(size=content.shape).astype(np.float32)
    start = noise if case == NOISE else content
    beta, gamma = config.style * (10 if case == STRONG else 1), VARIATION if case == SMOOTH else 0.0
    weights = random_kernels(random) if weights is None else weights
    made, whole = _compiled(make, case == LBFGS, config.steps)(weights, content, style, start, beta, gamma)
    content_left, style_left, variation = (100 * np.asarray(one) / float(each) for one, each in
                                           zip(made[1:4], whole, strict=True))  # fmt: skip
    return {
        "content": content_left[-1],
        "style": style_left[-1],
        "variation": np.log10(variation[-1]),  # differs by decades between pictures
        "total": np.log10(content_left[-1] + config.style * style_left[-1]),
        "trace": np.stack([content_left, style_left]),
        "strip": np.stack([*made.strip, made.image]),
        "picture": style,
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold what is said of style transfer to the losses."""
    of = lambda case, what: (case, outcomes.numbers(case, what))
    what = "texture (random filters)" if config.weights is None else "style"
    content, style = "% of the content lost by the style's picture", "% of the style lost by the content's picture"
    return [
        claims.within(f"an image can have another's {what}: the loss falls below a quarter", "J", of(ADAM, "style"),
                      high=25, unit=style),
        claims.within("and keep its own content: the loss stays below that of a half", "J", of(ADAM, "content"),
                      high=50, unit=content),
        claims.within("it also comes from noise: its content loss is below a half", "J", of(NOISE, "content"), high=50,
                      unit=content),
        claims.compare("L-BFGS, the paper's choice, ends lower than Adam after as many steps", "J", of(LBFGS, "total"),
                       of(ADAM, "total"), claimed="less", unit="log₁₀ of % of content + % of style"),
        claims.compare("a larger weight of style costs content", "J", of(STRONG, "content"), of(ADAM, "content"),
                       claimed="more", unit=content),
        claims.compare("a penalty on variation makes the image smoother", "J", of(SMOOTH, "variation"),
                       of(ADAM, "variation"), claimed="less", unit="log₁₀ of % of the content's picture's"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the strip of progress of each case, and the losses by step."""
    from jaxdl import plots

    steps = [*(int(share * config.steps) for share in KEPT), config.steps]
    style = outcomes.arrays(ADAM, "picture")[0]
    images, captions = [], []
    for case in CASES[:4]:
        images += [style, *outcomes.arrays(case, "strip")[0]]
        captions += [f"style\n{case}", *(f"step {step}\n " for step in steps)]
    features = "random filters: texture, not style" if config.weights is None else "VGG-19"
    strip = plots.image_grid(np.stack(images), captions, columns=len(steps) + 1, title=f"By {features}")
    trace = {case: outcomes.arrays(case, "trace").mean(0) for case in CASES}
    number = np.arange(config.steps + 1)
    of = lambda one: {name: {"mean over the seeds": (number, x)} for name, x in zip(("content (%)", "style (%)"), one,
                                                                                  strict=True)}  # fmt: skip
    curves = {case: of(trace[case]) for case in (ADAM, LBFGS, NOISE)}
    return [
        demonstrations.Drawing("strip", strip, "From a picture, or from noise, to the content of scikit-learn's "
                               f"photograph of China in the style of that of a flower, by {features}."),
        demonstrations.Drawing("losses", plots.learning_curves(curves, xlabel="step"), "Content lost, in per cent of "
                               "what the style's picture loses, and style, in per cent of what the content's picture "
                               "loses; means over the seeds."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
