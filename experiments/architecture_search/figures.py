"""The figures: regret against the cost of a search, and errors against the number of filters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.architecture_search.command import BUDGETS, CASE, METHODS
from experiments.architecture_search.nets import KERNELS
from jaxdl import demonstrations, plots
from jaxdl.studies import statistics


def draw(config: Any, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the searches and the table."""
    about = f"{config.dataset}, {config.examples} training examples, {len(outcomes.seeds)} seeds"
    return [
        demonstrations.Drawing("regret", regret(outcomes), "Regret and test error of what searches find against their "
                               f"cost, with 95 % intervals over tables: {about}."),
        demonstrations.Drawing("filters", filters(config, outcomes), "Errors and losses against the filters of the "
                               f"second convolution, and development error of all nets: {about}."),
    ]  # fmt: skip


def regret(outcomes: demonstrations.Outcomes) -> Figure:
    """Return the figure of regret and test error against the cost of a search."""
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    cost = outcomes.numbers(CASE, "cost of the relaxed search").mean()
    for part, (axes, what) in enumerate(zip(figure.subplots(1, 2), ("regret", "test"), strict=True)):
        for number, name in enumerate(METHODS):
            curves, color = outcomes.arrays(CASE, f"{name} curve")[..., part], plots.COLORS[number]
            _, low, high = zip(*(statistics.student(values) for values in curves.T), strict=True)
            axes.plot(BUDGETS, curves.mean(0), "os"[number] + "-", ms=3, color=color, label=name)
            axes.fill_between(BUDGETS, np.maximum(low, 0.05), high, color=color, alpha=0.15, lw=0)
        values = outcomes.numbers(CASE, f"relaxed, {what}")
        middle, low, high = statistics.student(values)
        spread = [[middle - max(low, 0.05)], [high - middle]]
        axes.errorbar([cost], [middle], spread, fmt="D", color=plots.COLORS[2], capsize=3, label="differentiable")
        axes.set(xscale="log", xlabel="trainings", xticks=(1, 4, 16, 64), xticklabels=(1, 4, 16, 64))
        axes.minorticks_off()
    left, right = figure.axes
    left.set(ylabel="regret (points of error)", yscale="log", ylim=(0.05, None))
    right.set(ylabel="test error (%)", yscale="log", yticks=(ticks := (8, 10, 15, 20, 30)), yticklabels=ticks)
    right.minorticks_off()
    right.legend(frameon=False)
    return figure


def filters(config: Any, outcomes: demonstrations.Outcomes) -> Figure:
    """Return the figure of errors and losses against the number of filters, and of the table."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes, loss_axes, table = figure.subplots(1, 3)
    for one, what in ((axes, "errors"), (loss_axes, "losses")):
        means = outcomes.arrays(CASE, f"{what} by filters").mean(0)
        for number, (name, place) in enumerate((("training", 0), ("test", 2))):
            one.plot(config.filters, means[:, place], "os"[number] + "-", color=plots.COLORS[number], label=name)
        one.plot(config.filters, means[:, 2] - means[:, 0], "d--", color=plots.COLORS[2], label="gap")
        one.set(xscale="log", xlabel="filters of the second convolution", ylim=(0, None), xticks=config.filters,
                xticklabels=config.filters)  # fmt: skip
        one.minorticks_off()
    axes.set_ylabel("error (%)")
    loss_axes.set_ylabel("cross entropy")
    axes.legend(frameon=False)
    errors = outcomes.arrays(CASE, "dev errors").mean(0)  # (kernel, first, kernel, filters)
    rows = errors.reshape(-1, *errors.shape[2:]).swapaxes(0, 1).reshape(-1, errors.shape[-1])
    image = table.imshow(rows, aspect="auto", cmap="viridis_r")
    ticks = len(rows) // len(KERNELS)
    table.set(xlabel="filters of the second convolution", xticks=range(len(config.filters)), xticklabels=config.filters,
              yticks=[ticks * (i + 0.5) - 0.5 for i in range(len(KERNELS))], ylabel="kernel of the second",
              yticklabels=[f"{k}×{k}" for k in KERNELS])  # fmt: skip
    figure.colorbar(image, ax=table, label="development error (%)")
    return figure
