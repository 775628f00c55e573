"""The figures: errors of the nets against steps, and errors of the probes against depth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.depth.command import RECORDS
from experiments.depth.nets import RESIDUAL
from jaxdl import demonstrations, plots


def draw(config: Any, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the errors and the probes."""
    about = f"{config.dataset}, {config.width:g} of the paper's channels, each at its best rate"
    return [
        demonstrations.Drawing("errors", errors(config, outcomes), "Training error against steps, seed by seed and "
                               f"their mean, and test error at the end: {about}."),
        demonstrations.Drawing("probes", probes(outcomes), "Test error of linear probes on a 2×2 grid of means, from "
                               f"the image to the last block: {about}, means over the seeds."),
    ]  # fmt: skip


def _style(outcomes: demonstrations.Outcomes, case: str) -> dict[str, Any]:
    number = outcomes.cases.index(case)
    color = plots.COLORS[int(case.startswith(RESIDUAL))]
    return {"color": color, "ls": "-" if number % 2 else "--", "label": case}


def errors(config: Any, outcomes: demonstrations.Outcomes) -> Figure:
    """Return the figure of training and test errors."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    steps = np.arange(1, RECORDS + 1) * (config.steps // RECORDS)
    for place, case in enumerate(outcomes.cases):
        curves, style = outcomes.arrays(case, "curve"), _style(outcomes, case)
        for curve in curves:
            left.plot(steps, curve, **{**style, "label": None}, alpha=0.25, lw=0.8)
        left.plot(steps, curves.mean(0), **style)
        values = outcomes.numbers(case, "test error")
        right.plot(values, [place] * len(values), "o", color=style["color"], mfc="none" if place % 2 else None)
    left.set(xlabel="step", ylabel="training error (%)")
    left.legend(frameon=False)
    right.set(
        xlabel="test error (%)",
        yticks=range(len(outcomes.cases)),
        yticklabels=outcomes.cases,
        ylim=(-0.5, len(outcomes.cases) - 0.5),
    )
    return figure


def probes(outcomes: demonstrations.Outcomes) -> Figure:
    """Return the figure of the probes' errors against depth."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, when in zip(figure.subplots(1, 2, sharey=True), ("untrained", "trained"), strict=True):
        for case in outcomes.cases:
            values = outcomes.arrays(case, when).mean(0)
            layers = [0, *range(1, 2 * len(values) - 2, 2)]  # a block has two layers, the first one is a convolution
            axes.plot(layers, values, marker=".", **_style(outcomes, case))
        axes.set(title=when, xlabel="layers below the probe")
    figure.axes[0].set_ylabel("test error of a linear probe (%)")
    figure.axes[0].legend(frameon=False)
    return figure
