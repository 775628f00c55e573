"""Figures of a run: learning curves, confusion matrix, images, filters. Images have channels last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from jaxdl.plots.drawing import Curve, add_heading, add_legend, bare_cells, draw_lines, literal, shorten


def curves(series: Mapping[str, Curve], *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Draw a panel with a line per name, readable where lines coincide.

    The first line is broad and pale, and later ones are dashed on top of it. The y axis is logarithmic if all values
    are positive and span more than a factor of 30.

    Args:
        series: for each name in the legend the points' x and y, each of shape (n,); NaN leaves a gap.
        xlabel: label of the x axis, with the unit.
        ylabel: label of the y axis, with the unit.
        title: the heading.

    Examples:
        >>> losses = {"adam": (np.arange(3), np.array([2.0, 0.5, 0.1]))}
        >>> figure = plots.curves(losses, xlabel="epoch", ylabel="loss (nats)")
        >>> figure.axes[0].get_xlabel(), len(plots.png(figure)) < 200_000
        ('epoch', True)
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    draw_lines(axes, series, list(series))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(literal(shorten(title, 80)), fontsize=11)
    add_legend(figure, axes)
    return figure


def learning_curves(
    runs: Mapping[str, Mapping[str, Mapping[str, Curve]]], *, xlabel: str = "epoch", together: bool = False
) -> Figure:
    """Draw a row of panels per metric and a column per split, with a line per run in each panel.

    The panels of a row share their y axis, which shows the gap between training and development.

    Args:
        runs: ``runs[name][metric][split] = (x, y)`` with x and y of shape (n,). The metric becomes the label of the y
            axis, so include its unit: ``{"adam": {"loss (nats)": {"train": (epochs, losses)}}}``.
        xlabel: label of the x axis, with the unit.
        together: whether all splits share one panel per metric, where lines of all but the last split are fine.

    Examples:
        >>> epochs = np.arange(2)
        >>> losses = {"train": (epochs, np.array([2.0, 1.0])), "dev": (epochs, np.array([2.0, 1.5]))}
        >>> figure = plots.learning_curves({"adam": {"loss (nats)": losses}})
        >>> [axes.get_title() for axes in figure.axes]
        ['train', 'dev']
    """
    metrics = list(dict.fromkeys(m for run in runs.values() for m in run))
    splits = list(dict.fromkeys(s for run in runs.values() for curves in run.values() for s in curves))
    if not metrics or not splits:
        raise ValueError(f"runs must hold at least one curve, got {dict(runs)!r}")
    if together:
        return _curves_together(runs, metrics, splits, xlabel)
    figure = Figure(figsize=(max(5.0, 4.6 * len(splits)), 3.1 * len(metrics) + 0.4), layout="constrained")
    grid = figure.subplots(len(metrics), len(splits), squeeze=False, sharex=True, sharey="row")
    for metric, row in zip(metrics, grid, strict=True):
        for split, axes in zip(splits, row, strict=True):
            drawn = {n: r[metric][split] for n, r in runs.items() if split in r.get(metric, {})}
            draw_lines(axes, drawn, list(runs))
            axes.set(xlabel=xlabel, ylabel=metric)
            axes.set_title(literal(split), fontsize=11)
            axes.label_outer()
    add_legend(figure, grid[0][0])
    return figure


def _curves_together(
    runs: Mapping[str, Mapping[str, Mapping[str, Curve]]], metrics: Sequence[str], splits: Sequence[str], xlabel: str
) -> Figure:
    figure = Figure(figsize=(max(5.0, 4.6 * len(metrics)), 3.6), layout="constrained")
    row = figure.subplots(1, len(metrics), squeeze=False)[0]
    for metric, axes in zip(metrics, row, strict=True):
        for split in splits:
            drawn = {f"{n}, {split}": r[metric][split] for n, r in runs.items() if split in r.get(metric, {})}
            draw_lines(axes, drawn, [f"{name}, {split}" for name in runs], fine=split != splits[-1])
        axes.set(xlabel=xlabel, ylabel=metric)
    add_legend(figure, max(row, key=lambda axes: len(axes.lines)))
    return figure


def confusion_matrix(counts: Int[ArrayLike, "k k"], classes: Sequence[str], *, title: str = "") -> Figure:
    """Draw how often each true class (row) is predicted as each class (column).

    The colour is the share of the true class on a square-root scale, which keeps rare confusions visible. Up to 20
    classes, cells show their counts; beyond 35 classes, only every second, third... class is named.

    Args:
        counts: entry (t, p) is the number of examples of true class t predicted as p.
        classes: the k names.
        title: the heading.

    Examples:
        >>> figure = plots.confusion_matrix(np.array([[9, 1], [2, 8]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['9', '1', '2', '8']
    """
    counts = np.asarray(counts)
    k = len(counts)
    if len(classes) != k:
        raise ValueError(f"classes must hold {k} names, one per row of counts, got {len(classes)}")
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = float(np.clip(0.42 * k + 2.2, 5.2, 10))
    figure = Figure(figsize=(size, 0.86 * size), layout="constrained")
    axes = figure.subplots()
    norm = PowerNorm(0.5, 0, 100)
    image = axes.imshow(share, cmap="Blues", norm=norm, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.85)
    bar.set_ticks([0, 1, 5, 10, 25, 50, 100])
    _class_ticks(axes, classes)
    axes.set_title(literal(shorten(title, int(8 * size))), fontsize=11)
    if k <= 20:
        for true, predicted in zip(*np.nonzero(counts), strict=True):
            shade = "white" if norm(share[true, predicted]) > 0.6 else "black"
            axes.text(predicted, true, str(counts[true, predicted]), ha="center", va="center", color=shade,
                      fontsize=9 if k <= 12 else 7)  # fmt: skip
    return figure


def image_grid(
    images: Float[ArrayLike, "n h w c"],
    captions: Sequence[str],
    *,
    columns: int = 6,
    title: str = "",
    note: str = "",
) -> Figure:
    """Draw images in rows, each with a caption above it.

    Args:
        images: values in [0, 1]; others are clipped, and NaN is black. One channel is drawn in grey, three as RGB, and
            of any other number the mean over channels in grey.
        captions: one per image, possibly with line breaks; lines are cut at 20 characters.
        columns: images per row.
        title: the heading.
        note: an explanation of the captions, below the images.

    Examples:
        >>> figure = plots.image_grid(np.zeros((2, 8, 8, 1)), ["zero", "one"])
        >>> [axes.get_title() for axes in figure.axes]
        ['zero', 'one']
    """
    images = np.asarray(images, np.float32)
    if len(captions) != len(images) or not len(images):
        raise ValueError(f"captions must be one per image and at least one, got {len(captions)} for {len(images)}")
    figure, cells = bare_cells(len(images), columns, width=1.4, height=1.4 + 0.15 * captions[0].count("\n"))
    for cell, image, caption in zip(cells, images, captions, strict=True):
        cell.set_title("\n".join(literal(shorten(line, 20)) for line in caption.split("\n")), fontsize=8)
        cell.imshow(_drawable(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    add_heading(figure, title)
    height, width = images.shape[1:3]
    figure.supxlabel(f"each image: {width} × {height} pixels\n{literal(note)}".strip(), fontsize=9)
    return figure


def filters(kernels: Float[ArrayLike, "kh kw c_in c_out"], *, limit: int = 64, title: str = "") -> Figure:
    """Draw the kernels of a convolution on a common scale that is symmetric about 0.

    Kernels of one channel are drawn from brown (negative) to violet (positive), kernels of three channels as RGB with
    grey for 0. For any other number of channels, a column is a filter and its rows are the input channels.

    Args:
        kernels: the weights; an infinite or NaN weight is drawn as 0.
        limit: most panels to draw: the first filters and, in rows, their first 8 input channels.
        title: the heading.

    Examples:
        >>> figure = plots.filters(np.random.default_rng(0).normal(size=(3, 3, 1, 4)))
        >>> len(figure.axes)  # four filters and the scale
        5
    """
    weights = np.nan_to_num(np.asarray(kernels, np.float32), posinf=0.0, neginf=0.0)
    height, width, c_in, c_out = weights.shape
    scale = float(np.abs(weights).max(initial=0)) or 1.0
    rows = 1 if c_in == 3 else min(c_in, 8)
    shown = max(1, min(c_out, limit // rows, limit if rows == 1 else 16))
    figure, cells = bare_cells(rows * shown, 8 if rows == 1 else shown, width=0.72, height=0.72)
    for i, cell in enumerate(cells):
        channel, filter_ = divmod(i, shown)
        panel = 0.5 + 0.5 * weights[..., filter_] / scale if c_in == 3 else weights[:, :, channel, filter_]
        image = cell.imshow(panel, cmap="PuOr", norm=Normalize(-scale, scale), interpolation="nearest")
    note = f"{shown} of {c_out} filters, {width} × {height} pixels each"
    if c_in == 3:
        note += f"\ngrey: weight 0, full colour: weight ±{scale:.2g}"
    else:
        figure.colorbar(image, ax=cells, label="weight (no unit)", location="bottom", shrink=0.8, aspect=40)
    if rows > 1:
        note += f"\ncolumns: filters; rows: input channels 0 to {rows - 1} of {c_in}"
    add_heading(figure, title)
    figure.supxlabel(note, fontsize=9)
    return figure


def _class_ticks(axes: Axes, classes: Sequence[str]) -> None:
    """Label both axes with classes, skipping some if labels would overlap."""
    step = math.ceil(len(classes) / 35)
    names = [literal(shorten(name)) for name in classes[::step]]
    ticks = np.arange(0, len(classes), step)
    flat = max(map(len, names)) <= 3 and len(names) <= 20
    size = 9 if len(names) <= 20 else 7
    axes.set_xticks(ticks, names, rotation=0 if flat else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    note = "" if step == 1 else f", every {step}{ {2: 'nd', 3: 'rd'}.get(step, 'th') } named"
    axes.set(xlabel=f"predicted class{note}", ylabel=f"true class{note}")


def _drawable(image: np.ndarray) -> np.ndarray:
    image = np.clip(np.nan_to_num(image, nan=0.0), 0, 1)
    return image if image.shape[-1] == 3 else image.mean(-1)
