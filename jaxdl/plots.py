"""Figures for papers, notebooks and reports: each function takes arrays and returns a matplotlib ``Figure``.

The figures are built through matplotlib's object interface, never through ``pyplot``: no global state, no
window, no backend to choose. Show one in a notebook by ending a cell with it, or write it with `save`.
Colours are the Okabe-Ito palette and matplotlib's ``Blues`` and ``PuOr``: colour-blind readers can tell them
apart. Names are drawn as they are: a ``$`` starts no formula, a letter that the font lacks is its code point.
Images and kernels have channels last.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Real
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from PIL import Image

# M. Okabe, K. Ito, "Color universal design", 2008; its yellow is left out: too pale for a line on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 120

Curve = tuple[Real[ArrayLike, " n"], Real[ArrayLike, " n"]]  # the points' x and y


def curves(series: Mapping[str, Curve], *, xlabel: str, ylabel: str, title: str = "") -> Figure:
    """One panel with one line per name, all of them readable where they coincide.

    The first line is broad and pale and the later ones are dashed on top. The y axis is logarithmic where the
    values are positive and span more than a factor of 30.

    Args:
        series: for each name in the legend the points' x and y, each of shape (n,); NaN leaves a gap.
        xlabel: what x is, with its unit.
        ylabel: what y is, with its unit.
        title: the heading.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    _lines(axes, series, list(series))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(_text(shorten(title, 80)), fontsize=11)
    _legend(figure, axes)
    return figure


def learning_curves(runs: Mapping[str, Mapping[str, Mapping[str, Curve]]], *, xlabel: str = "epoch") -> Figure:
    """A row of panels per metric and a column per split, with one line per run in each panel.

    Panels of a row share their y axis, so that the gap between training and development can be read across.

    Args:
        runs: ``runs[name][metric][split] = (x, y)`` with x and y of shape (n,). The metric is the y axis's
            label, so give its unit: ``{"adam": {"loss (nats)": {"train": (epochs, losses)}}}``.
        xlabel: what x is, with its unit.
    """
    metrics = list(dict.fromkeys(m for run in runs.values() for m in run))
    splits = list(dict.fromkeys(s for run in runs.values() for curves in run.values() for s in curves))
    if not metrics or not splits:
        raise ValueError(f"runs must hold at least one curve, got {dict(runs)!r}")
    figure = Figure(figsize=(max(5.0, 4.6 * len(splits)), 3.1 * len(metrics) + 0.4), layout="constrained")
    grid = figure.subplots(len(metrics), len(splits), squeeze=False, sharex=True, sharey="row")
    for metric, row in zip(metrics, grid, strict=True):
        for split, axes in zip(splits, row, strict=True):
            drawn = {n: r[metric][split] for n, r in runs.items() if split in r.get(metric, {})}
            _lines(axes, drawn, list(runs))
            axes.set(xlabel=xlabel, ylabel=metric)
            axes.set_title(_text(split), fontsize=11)
            axes.label_outer()
    _legend(figure, grid[0][0])
    return figure


def confusion_matrix(counts: Int[ArrayLike, "k k"], classes: Sequence[str], *, title: str = "") -> Figure:
    """How often each true class (row) is predicted as each class (column).

    Colour is the share of the true class, on a square-root scale: rare confusions stay visible. Cells carry
    their counts up to 20 classes; beyond 35 classes only every second, third... class is named.

    Args:
        counts: entry (t, p) counts the examples of true class t predicted as p.
        classes: the k names.
        title: the heading.
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
    axes.set_title(_text(shorten(title, int(8 * size))), fontsize=11)
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
    """Images in rows, each with its caption above.

    Args:
        images: values in [0, 1]. One channel is drawn in grey, three as RGB; of any other number the mean
            over the channels is drawn in grey. Values outside are clipped, NaN is black.
        captions: one per image; may hold line breaks. Lines are cut at 20 letters.
        columns: images per row.
        title: the heading.
        note: what the captions say; stands below the images.
    """
    images = np.asarray(images, np.float32)
    if len(captions) != len(images) or not len(images):
        raise ValueError(f"captions must be one per image and at least one, got {len(captions)} for {len(images)}")
    figure, cells = _grid(len(images), columns, width=1.4, height=1.4 + 0.15 * captions[0].count("\n"))
    for cell, image, caption in zip(cells, images, captions, strict=True):
        cell.set_title("\n".join(_text(shorten(line, 20)) for line in caption.split("\n")), fontsize=8)
        cell.imshow(_drawable(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _heading(figure, title)
    height, width = images.shape[1:3]
    figure.supxlabel(f"each image: {width} × {height} pixels\n{_text(note)}".strip(), fontsize=9)
    return figure


def filters(kernels: Float[ArrayLike, "kh kw c_in c_out"], *, limit: int = 64, title: str = "") -> Figure:
    """The kernels of a convolution on one scale, symmetric about 0, so that strong filters look strong.

    Kernels on one channel are drawn from brown (negative) to violet (positive), on three channels as RGB with
    grey for 0. On any other number of channels a column is a filter and its rows are its input channels.

    Args:
        kernels: the weights; an infinite or NaN weight is drawn as 0.
        limit: at most so many panels: the first filters and, in rows, their first 8 input channels.
        title: the heading.
    """
    weights = np.nan_to_num(np.asarray(kernels, np.float32), posinf=0.0, neginf=0.0)
    height, width, c_in, c_out = weights.shape
    scale = float(np.abs(weights).max(initial=0)) or 1.0
    rows = 1 if c_in == 3 else min(c_in, 8)
    shown = max(1, min(c_out, limit // rows, limit if rows == 1 else 16))
    figure, cells = _grid(rows * shown, 8 if rows == 1 else shown, width=0.72, height=0.72)
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
    _heading(figure, title)
    figure.supxlabel(note, fontsize=9)
    return figure


def shorten(name: str, length: int = 16) -> str:
    """The name, or as many of its letters as leave room for the ellipsis."""
    return name if len(name) <= length else name[: length - 1] + "…"


def save(figure: Figure, path: str | Path, *, limit: int = 200_000) -> Path:
    """Writes the figure as a PNG of at most ``limit`` bytes, where it must in 256 colours and then smaller.

    Equal figures give equal bytes: no date or version is written.

    Raises:
        ValueError: a quarter of the usual resolution is still above the limit.
    """
    for dpi, palette in ((DPI, False), (DPI, True), (100, True), (80, True), (60, True), (30, True)):
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        buffer = io.BytesIO()
        (image.quantize(256) if palette else image).save(buffer, "PNG", optimize=True, dpi=(dpi, dpi))
        if buffer.tell() <= limit:
            Path(path).write_bytes(buffer.getvalue())
            return Path(path)
    raise ValueError(f"limit must leave room for the figure, {buffer.tell()} bytes at {dpi} dpi, got {limit}")


def _lines(axes: Axes, series: Mapping[str, Curve], names: list[str]) -> None:
    """Draws each curve in the style of its place among `names`: a broad pale line under thin dashed ones."""
    for name, (x, y) in series.items():
        place = names.index(name)
        few = np.size(x) <= 40
        under = place == 0 and len(names) > 1
        axes.plot(
            np.asarray(x), np.asarray(y, np.float64), label=_text(name), color=COLORS[place % len(COLORS)],
            linewidth=5 if under else 1.7, alpha=0.45 if under else 1,
            linestyle="-" if place == 0 else (4 * (place - 1), (4, 2 + 2 * place)),
            marker=("o", "x", "+", "^", "v", "s", "d")[place % 7] if few else "",
            markersize=7 if under else 4.5, markerfacecolor="none" if under else None,
        )  # fmt: skip
    values = np.concatenate([np.asarray(y, np.float64).ravel() for _, y in series.values()] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    axes.grid(True, color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    letters = max(map(len, labels), default=0) + 8  # of a column with its line; about ten fit into an inch
    columns = max(1, min(len(labels), int(10 * figure.get_figwidth() / letters)))
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def _class_ticks(axes: Axes, classes: Sequence[str]) -> None:
    """Names the classes on both axes, every `step`-th where they would run into each other."""
    step = math.ceil(len(classes) / 35)
    names = [_text(shorten(name)) for name in classes[::step]]
    ticks = np.arange(0, len(classes), step)
    flat = max(map(len, names)) <= 3 and len(names) <= 20
    size = 9 if len(names) <= 20 else 7
    axes.set_xticks(ticks, names, rotation=0 if flat else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    note = "" if step == 1 else f", every {step}{ {2: 'nd', 3: 'rd'}.get(step, 'th') } named"
    axes.set(xlabel=f"predicted class{note}", ylabel=f"true class{note}")


def _grid(number: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with `number` bare cells of so many inches, in rows of `columns`."""
    columns = max(1, min(columns, number))
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(4.4, width * columns + 0.9), height * rows + 0.9), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, cell in enumerate(cells):
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set(color="#999999", linewidth=0.6)
        cell.set_visible(i < number)
    return figure, list(cells[:number])


def _heading(figure: Figure, title: str) -> None:
    figure.suptitle(_text(shorten(title, int(10 * figure.get_figwidth()))), fontsize=11)


def _drawable(image: np.ndarray) -> np.ndarray:
    image = np.clip(np.nan_to_num(image, nan=0.0), 0, 1)
    return image if image.shape[-1] == 3 else image.mean(-1)


def _text(name: str) -> str:
    """The name as matplotlib must get it to draw it literally, in the letters that its font has."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    letters: Iterable[str] = (c if font.get_char_index(ord(c)) else f"\\u{ord(c):04x}" for c in name)
    text = "".join(letters).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves labels that start with _ out of legends
