"""The figures: a filtered crop, matrices of numbers, a smoothed sensor, feature maps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.filters.images import KINDS, letter
from experiments.filters.maps import DRAWN, SHOWN
from experiments.filters.sensor import PERIOD, WINDOWS
from jaxdl import demonstrations, plots
from jaxdl.layers import filters


def draw(config: Any, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw all figures of the first seed."""
    image, Drawing = outcomes.arrays("photograph", "shown")[0], demonstrations.Drawing
    answers, deformed = (outcomes.arrays("X or O", name)[0] for name in ("answer", "deformed"))
    maps = [outcomes.arrays("depth", name)[0] for name in ("image", *DRAWN.values())]
    return [
        Drawing("photograph", photograph(image), "A crop of a photograph of scikit-learn, and its answers to fixed "
                "kernels; where an answer may be negative, grey is 0."),
        Drawing("x", matrices(answers, deformed[0, ..., 0]), "An image is a matrix of numbers. A falling stroke of 3×3 "
                "slides over an X, and its answer is 1 where it fits exactly. The last X is one of those that pixels "
                "must tell from an O."),
        Drawing("sensor", signals(outcomes), "A noisy sensor, the mean of its last samples, and its error against the "
                "window: means over the seeds, bands from the least to the largest. Long windows lag."),
        Drawing("maps", feature_maps(*maps), f"A test image of {config.dataset}, and the first {SHOWN} maps after each "
                "convolution of S's net: with depth they are coarser and less like the image."),
    ]  # fmt: skip


def photograph(image: np.ndarray) -> Any:
    """Draw the crop and its answers to all fixed kernels."""
    seen = {name: np.asarray(filters.apply(image, kernel, padding="VALID")) for name, kernel in KINDS.items()}
    size = min(one.shape[0] for one in seen.values())
    middle = lambda one: one[(len(one) - size) // 2 :][:size, (len(one) - size) // 2 :][:, :size]
    grey = lambda name, one: one if name in ("sharpen", "blur") else 0.5 + one  # grey is 0
    sheet = np.stack([middle(image), *(middle(grey(name, one)) for name, one in seen.items())])
    return plots.image_grid(sheet, ["original", *KINDS], columns=3)


def matrices(answer: np.ndarray, deformed: np.ndarray) -> Any:
    """Draw the worked X, a stroke and the answer as numbers."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = {"a 9×9 X": letter("X")[..., 0], "a stroke": 9 * filters.diagonal(), "how well it fits": answer,
              "a shifted, spotted X": deformed}  # fmt: skip
    for axes, (name, values) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        axes.imshow(values, cmap="PuOr", vmin=-1.6, vmax=1.6)
        axes.set(xticks=[], yticks=[], title=name)
        for (i, j), value in np.ndenumerate(values) if len(values) < 12 else ():
            axes.text(j, i, f"{value:.2f}" if name.startswith("how") else f"{value:.0f}", ha="center", va="center",
                      fontsize=7)  # fmt: skip
    return figure


def signals(outcomes: demonstrations.Outcomes) -> Any:
    """Draw the first seed's test signal, and the error against the window."""
    figure, shown = Figure(figsize=(9.6, 3.4), layout="constrained"), outcomes.arrays("sensor", "shown")[0]
    best = outcomes.numbers("sensor", "best window")[0]
    (left, right), names = (
        figure.subplots(1, 2, width_ratios=(3, 2)),
        ("truth", "sensor", f"window {best:.0f}", "window 401"),
    )
    styles = [
        {"color": "k", "lw": 1.5},
        {"color": "#bbbbbb", "lw": 0.4},
        *({"color": c, "lw": 1} for c in plots.COLORS[:2]),
    ]
    for place in (1, 0, 2, 3):
        left.plot(np.arange(PERIOD) + PERIOD, shown[place, PERIOD : 2 * PERIOD], label=names[place], **styles[place])
    left.set(xlabel="sample", ylabel="signal, in amplitudes", ylim=(-2, 2))
    left.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
    errors = np.array([outcomes.numbers("sensor", f"window {size}") for size in WINDOWS])
    right.plot(WINDOWS, errors.mean(1), "o-", color=plots.COLORS[0], label="error")
    right.fill_between(WINDOWS, errors.min(1), errors.max(1), color=plots.COLORS[0], alpha=0.2, lw=0)
    right.set(xscale="log", xlabel="window (samples)", ylabel="error (rms, in amplitudes)", ylim=(0, None))
    return figure


def feature_maps(image: np.ndarray, *layers: np.ndarray) -> Any:
    """Draw an image beside rows of maps, one row per layer."""
    figure = Figure(figsize=(9.6, 2.6), layout="constrained")
    cells = figure.subplots(len(layers), SHOWN + 2, width_ratios=(*(1,) * (SHOWN + 2),))
    grid = cells[0, 0].get_gridspec()
    for axes in cells[:, :2].ravel():
        axes.remove()
    axes = figure.add_subplot(grid[:, :2])
    axes.imshow(image[..., 0], cmap="gray_r")
    axes.set(xticks=[], yticks=[], title=f"image, {len(image)}×{len(image)}")
    for row, (number, maps) in zip(cells[:, 2:], enumerate(layers, 1), strict=True):
        for cell, one in zip(row, maps, strict=False):
            cell.imshow(one, cmap="gray_r", vmin=0, vmax=max(maps.max(), 1e-6))
            cell.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"conv{number}, {len(maps[0])}×{len(maps[0])}", fontsize=8)
    return figure
