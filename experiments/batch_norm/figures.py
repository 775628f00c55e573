"""The figures: accuracy against steps, rate and size of batches, and the bands of one unit's input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.batch_norm.command import AFTER, BEFORE, CASES, RATES, TUNING, WITHOUT
from jaxdl import demonstrations, plots


def draw(config: Any, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw accuracy against steps and rate, and the bands of one unit's input."""
    speed, bands = (Figure(figsize=(size, 3.4), layout="constrained") for size in (12, 9.6))
    (left, middle, right), sizes, mean = (
        speed.subplots(1, 3),
        config.batches,
        lambda *what: outcomes.arrays(*what).mean(0),
    )
    for number, case in enumerate(CASES):
        style = {"marker": "osd"[number], "markersize": 3, "color": plots.COLORS[number], "label": case}
        left.plot(mean(case, "steps"), mean(case, "curve"), **style)
        middle.plot(RATES, mean(case, "accuracy by rate"), **style)
        errors = [outcomes.numbers(f"{case}, batch {n}", "early error").mean() for n in sizes if case != AFTER]
        right.plot(sizes[: len(errors)], errors, **style)
    left.set(xlabel="step, at the best rate", ylabel="development accuracy (%)", ylim=(0, 100))
    middle.set(xscale="log", xlabel=f"learning rate, after {config.steps // TUNING:,} steps", ylim=(0, 100))
    right.set(xscale="log", yscale="log", xlabel="batch, equally many examples", ylabel="test error (%)")
    right.set(xticks=sizes, xticklabels=sizes, yticks=(5, 10, 20, 40), yticklabels=(5, 10, 20, 40))
    right.minorticks_off()
    left.legend(title="batch norm", frameon=False, loc="lower right")
    for axes, case in zip(bands.subplots(1, 2, sharey=True), (WITHOUT, BEFORE), strict=True):
        steps, three = (outcomes.arrays(case, name)[0] for name in ("steps", "bands"))
        unit = int(np.argsort(np.ptp(three[:, 1], axis=0))[three.shape[2] // 2])  # the one of median movement
        axes.fill_between(steps, three[:, 0, unit], three[:, 2, unit], color=plots.COLORS[0], alpha=0.25, lw=0)
        axes.plot(steps, three[:, 1, unit], color=plots.COLORS[0])
        axes.set(title=f"batch norm: {case}", xlabel="step")
    bands.supylabel("input of one sigmoid (15, 50, 85 %)")
    about = f"{config.dataset}, binarised, three hidden layers of {config.width} sigmoids"
    seen = f"Input of the last hidden layer's unit that moves by the median amount, seed 0, best rates: {about}."
    said = f"Accuracy against steps and rate, error against the size of batches: {about}, means over the seeds."
    return [demonstrations.Drawing("speed", speed, said), demonstrations.Drawing("bands", bands, seen)]
