"""Comparing complexity: accuracy against operations, parameters, activations and time, and the winners by year.

    python -m experiments.complexity

The lectures compare the networks of ImageNet by accuracy and cost. Parameters, multiply-adds and activations are those
that jaxdl counts in its own networks, from docs/zoo.md; seconds are those of a training step of eight images, from
benchmarks/zoo.md; errors are the published ones of torchvision's weights on ImageNet (one crop), and of the winners of
ILSVRC. Nothing is trained. All numbers are counted or published, not drawn, so all seeds agree and intervals have no
width; MNIST and CIFAR-10 are not this comparison, and are left out. Seconds on one core.

(Lecture row I.)
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from jaxdl import demonstrations
from jaxdl.demonstrations import claims

ROOT = Path(__file__).parents[1]
# per cent of ImageNet's validation images, top-1 and top-5: https://docs.pytorch.org/0.1.12/torchvision/models.html,
# and for GoogLeNet https://pytorch.org/docs/1.3.0/torchvision/models.html
ERRORS = {
    "alexnet": (43.45, 20.91), "vgg11": (30.98, 11.37), "vgg13": (30.07, 10.75), "vgg16": (28.41, 9.62),
    "vgg19": (27.62, 9.12), "googlenet (torch)": (30.22, 10.47), "resnet18": (30.24, 10.92), "resnet34": (26.70, 8.58),
    "resnet50": (23.85, 7.13), "resnet101": (22.63, 6.44), "resnet152": (21.69, 5.94), "densenet121": (25.35, 7.83),
    "densenet161": (22.35, 6.20), "densenet169": (24.00, 7.00), "densenet201": (22.80, 6.43),
}  # fmt: skip
# top-5 error of the entries on the test images without further data: O. Russakovsky et al., ImageNet Large Scale Visual
# Recognition Challenge, 2015, https://arxiv.org/abs/1409.0575, table 7; of 2015, https://arxiv.org/abs/1512.03385
WINNERS = {"2010 NEC-UIUC": 28.2, "2011 XRCE": 25.8, "2012 AlexNet": 16.4, "2013 Clarifai (ZFNet)": 11.7,
           "2014 VGG (second)": 7.3, "2014 GoogLeNet": 6.7, "2015 ResNet-152": 3.57}  # fmt: skip
COSTS = ("multiply-adds", "parameters", "activations", "seconds per step")
PAPERS = (
    "googlenet"  # GoogLeNet of the paper, with biases; torchvision's has batch norm, and a window of 3 for one of 5
)
TIMED = {PAPERS: "googlenet (torch)"}  # the paper's form is the one that is timed
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "complexity"

    seeds: int = 3
    """Number of seeds, which change nothing here."""


def number(cell: str) -> float:
    """Return the number of a cell such as "1.498 G" or "6,624,904"."""
    digits, _, unit = cell.strip().replace(",", "").partition(" ")
    return float(digits) * UNITS.get(unit, 1)


def counted() -> dict[str, dict[str, float]]:
    """Return the costs of each network by name, from the committed tables."""
    found: dict[str, dict[str, float]] = {}
    for line in (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 8 and cells[1] in {*ERRORS, PAPERS} and cells[2] == "224×224×3":
            found[cells[1]] = dict(zip(COSTS, (number(cells[i]) for i in (5, 3, 7)), strict=False))
    for line in (ROOT / "benchmarks" / "zoo.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 5 and cells[1] in found and cells[2] == "224x224x3":
            name = TIMED.get(cells[1], cells[1])
            found[name][COSTS[3]] = float(cells[5])
    if missing := {*ERRORS, PAPERS} - {*found}:
        raise ValueError(f"docs/zoo.md has no rows of {', '.join(sorted(missing))} for images of 224×224×3")
    return found


def load(config: Config) -> tuple[str, Any]:
    """Return the name of the data, and the costs."""
    del config
    return "docs/zoo.md, benchmarks/zoo.md and published errors", counted()


def agreement(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation."""
    found: Any = stats.spearmanr(x, y)
    return float(found.statistic)


def run(config: Config, costs: Mapping[str, Mapping[str, float]], case: str, seed: int) -> Mapping[str, Any]:
    """Return the ratios and rank correlations that the claims are about."""
    del config, case, seed
    names, of = list(ERRORS), lambda name, cost: costs[name][cost]
    top1 = [ERRORS[name][0] for name in names]
    timed = [name for name in names if COSTS[3] in costs[name]]
    ranks = {cost: agreement([of(name, cost) for name in names], top1) for cost in COSTS[:3]}
    seconds = {cost: agreement([of(name, cost) for name in timed], [of(name, COSTS[3]) for name in timed])
               for cost in COSTS[:2]}  # fmt: skip
    before_2016 = [name for name in names if not name.startswith("densenet")]
    googlenet, alexnet, vgg = "googlenet (torch)", "alexnet", "vgg16"
    per_operation = {name: (100 - ERRORS[name][0]) / of(name, COSTS[0]) for name in before_2016 if name != alexnet}
    winners = [error for name, error in WINNERS.items() if "second" not in name]
    return {
        "AlexNet's parameters over GoogLeNet's": of(alexnet, "parameters") / of(PAPERS, "parameters"),
        "GoogLeNet's parameters, millions": of(PAPERS, "parameters") / 1e6,
        "VGG-16's multiply-adds over GoogLeNet's": of(vgg, COSTS[0]) / of(googlenet, COSTS[0]),
        "rank of GoogLeNet in accuracy per multiply-add": 1 + sum(v > per_operation[googlenet]
                                                                 for v in per_operation.values()),
        "rank of ResNet-152 in error": 1 + sum(ERRORS[name][1] < ERRORS["resnet152"][1] for name in before_2016),
        "AlexNet's multiply-adds over ResNet-152's": of(alexnet, COSTS[0]) / of("resnet152", COSTS[0]),
        "largest ratio of one year's error to the last's": max(b / a for a, b in itertools.pairwise(winners)),
        **{f"rank correlation of {cost} and error": ranks[cost] for cost in ranks},
        **{f"rank correlation of {cost} and seconds": seconds[cost] for cost in seconds},
        "table": np.array([[costs[name].get(cost, np.nan) for cost in COSTS] for name in names]),
    }  # fmt: skip


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""

    def within(text, rows, name, unit="1", **bounds):
        return claims.within(text, rows, (name, outcomes.numbers("networks", name)), unit=unit, **bounds)

    correlation = lambda cost, what: (cost, outcomes.numbers("networks", f"rank correlation of {cost} and {what}"))
    return [
        within("GoogLeNet has “12× less” parameters than AlexNet", "I", "AlexNet's parameters over GoogLeNet's",
               low=11.5, high=12.5),
        within("GoogLeNet has “only 5 million parameters”", "I", "GoogLeNet's parameters, millions", low=4.5, high=5.5),
        within("GoogLeNet is efficient: it needs less than a fifth of VGG-16's multiply-adds", "I",
               "VGG-16's multiply-adds over GoogLeNet's", low=5),
        within("of the networks to 2015 that err less than AlexNet, GoogLeNet is the most accurate per multiply-add",
               "I", "rank of GoogLeNet in accuracy per multiply-add", high=1.5),
        within("ResNet-152 errs least of the networks to 2015", "I", "rank of ResNet-152 in error", high=1.5),
        within("AlexNet computes little: below a tenth of ResNet-152's multiply-adds", "I",
               "AlexNet's multiply-adds over ResNet-152's", high=0.1),
        within("each year's winner errs less than the last", "I", "largest ratio of one year's error to the last's",
               high=1),
        claims.compare("error falls with activations more than with parameters (rank correlation)", "I",
                       correlation("activations", "error"), correlation("parameters", "error"), claimed="less",
                       unit="1"),
        claims.compare("operations tell the time of a step better than parameters do (rank correlation)", "I",
                       correlation("multiply-adds", "seconds"), correlation("parameters", "seconds"), claimed="more",
                       unit="1"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw error against each cost, the lectures' balls, and the winners by year."""
    from matplotlib.figure import Figure

    table, names = outcomes.arrays("networks", "table")[0], list(ERRORS)
    top1 = np.array([ERRORS[name][0] for name in names])
    family = [re.match("[a-z]+", name)[0] for name in names]  # pyright: ignore[reportOptionalSubscript]
    colors = [f"C{sorted({*family}).index(one)}" for one in family]
    balls, four = (Figure(figsize=size, layout="constrained") for size in ((8, 4.6), (9.6, 3)))
    axes = balls.subplots()
    axes.scatter(table[:, 0] / 1e9, 100 - top1, table[:, 1] / 1e5, color=colors, alpha=0.5)
    for x, y, name in zip(table[:, 0] / 1e9, 100 - top1, names, strict=True):
        side = {"d": -1, "g": -1, "v": 0}.get(name[0], 1)  # beside its ball, away from its neighbour's
        axes.annotate(name.removesuffix(" (torch)"), (x, y), (11 * side, 0), textcoords="offset points", fontsize=8,
                      ha=("right", "center", "left")[side + 1], va="center")  # fmt: skip
    axes.set(xlabel="multiply-adds per image (billions)", ylabel="top-1 accuracy (%)", xlim=(-2, 23), ylim=(52, 82))
    for axes, cost, values in zip(four.subplots(1, 4, sharey=True), COSTS, table.T, strict=True):
        axes.scatter(values, top1, color=colors, s=18)
        axes.set(xlabel=cost, xscale="linear" if cost == COSTS[3] else "log")
    four.axes[0].set_ylabel("top-1 error (%)")
    years = Figure(figsize=(7, 3), layout="constrained")
    bars = years.subplots()
    drawn = bars.barh([*WINNERS][::-1], [*WINNERS.values()][::-1], color="#4c72b0")
    bars.bar_label(drawn, padding=3)
    bars.set(xlabel="top-5 error on ILSVRC's test images (%)", xlim=(0, 32))
    return [
        demonstrations.Drawing("balls", balls, "Accuracy of torchvision's weights on ImageNet against multiply-adds; "
                               "areas are numbers of parameters, colours families."),
        demonstrations.Drawing("costs", four, "The same error against each cost, in the colours of the balls. "
                               "Seconds are known for few networks."),
        demonstrations.Drawing("winners", years, "Winners of ILSVRC by year, and VGG, the second of 2014."),
    ]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: ("networks",), run, judge, draw)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
