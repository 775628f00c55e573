"""The figures: error against strength, and the weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.regularization.command import CASES, NOISES, PENALTIES, SHOWN, ZONEOUT, strengths
from jaxdl import demonstrations, plots


def draw(config: Any, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the error against the strength, and the histogram of the weights."""
    del config
    place = {case: np.array([max(s, strengths(case)[1] / 3) for s in strengths(case)]) for case in CASES}
    curve = lambda case: (place[case], outcomes.arrays(case, "errors").mean(0))
    least = [curve(case)[1].min() for case in CASES]
    ends = min(5.0, np.floor(min(least))), min(102.0, max(30.0, 1.3 * max(least)))  # each curve is seen at its best
    groups = [{case: curve(case) for case in kind} for kind in (PENALTIES, NOISES, [ZONEOUT])]
    figure, labels = Figure(figsize=(12, 3.4), layout="constrained"), ("λ", "rate, or σ of Whiteout", "rate")
    for axes, group, label in zip(figure.subplots(1, 3, sharey=True), groups, labels, strict=True):
        for number, (case, (x, y)) in enumerate(group.items()):
            axes.plot(x, y, marker="osd"[number], color=plots.COLORS[number], label=case)
        axes.set(xscale="log", xlabel=f"{label} (leftmost: 0)", ylim=ends)
        axes.tick_params(which="minor", labelbottom=False)
        axes.grid(True, color="#e4e4e4")
        axes.legend(frameon=False)
    figure.axes[0].set_ylabel("test error (%)")
    weights, bins = Figure(figsize=(9.6, 2.8), layout="constrained"), np.linspace(-0.5, 0.5, 81)
    for axes, case in zip(weights.subplots(1, 3, sharey=True), PENALTIES, strict=True):
        axes.hist(outcomes.arrays(case, "weights").ravel(), bins, color=plots.COLORS[0], density=True)
        axes.set(yscale="log", xlabel="weight", title=case)
    weights.axes[0].set_ylabel("density")
    return [
        demonstrations.Drawing("strength", figure, "Test error against the strength, means over the seeds: digits; "
                               "Zoneout in an LSTM that reads a thousand images by rows."),
        demonstrations.Drawing("weights", weights, f"Weights at λ = {SHOWN:g}, all seeds: L1 by proximal step has "
                               "exact zeros, by gradient weights that tremble around zero."),
    ]  # fmt: skip
