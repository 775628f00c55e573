"""Drawing helpers: colours, lines that stay readable where they coincide, literal names, PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Real

from jaxdl import disk
from jaxdl.extras import needed

with needed("jaxdl.plots", "plots"):
    from matplotlib import font_manager, rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

# M. Okabe, K. Ito, "Color universal design", 2008; without its yellow, which is too pale for lines on white
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DPI = 120

Curve = tuple[Real[ArrayLike, " _"], Real[ArrayLike, " _"]]  # x and y of the points, equally many


def shorten(name: str, length: int = 16) -> str:
    """Return the name, cut to a length with an ellipsis if it is longer.

    Examples:
        >>> plots.shorten("a_very_long_name", 8)
        'a_very_…'
    """
    return name if len(name) <= length else name[: length - 1] + "…"


def png(figure: Figure, *, limit: int = 200_000) -> bytes:
    """Encode a figure as a PNG of at most ``limit`` bytes, if necessary in 256 colours and at a lower resolution.

    Equal figures give equal bytes: the file has no date or version.

    Raises:
        ValueError: if a quarter of the usual resolution still exceeds the limit.

    Examples:
        >>> figure = plots.curves({"a": (np.arange(2), np.arange(2))}, xlabel="x", ylabel="y")
        >>> plots.png(figure)[1:4], plots.png(figure) == plots.png(figure)
        (b'PNG', True)
    """
    for dpi, palette in ((DPI, False), (DPI, True), (100, True), (80, True), (60, True), (30, True)):
        image, buffer = _pixels(figure, dpi), io.BytesIO()
        (image.quantize(256) if palette else image).save(buffer, "PNG", optimize=True, dpi=(dpi, dpi))
        if buffer.tell() <= limit:
            return buffer.getvalue()
    raise ValueError(f"limit must leave room for the figure, {buffer.tell()} bytes at {dpi} dpi, got {limit}")


def save(figure: Figure, path: str | Path, *, limit: int = 200_000) -> Path:
    """Write a figure as a PNG, see `png`, whole or not at all, and return the path."""
    disk.write_whole(path, png(figure, limit=limit))
    return Path(path)


def vector(figure: Figure, kind: str = "svg") -> bytes:
    """Encode a figure as SVG or PDF, for papers; equal figures give equal bytes.

    Args:
        figure: the figure.
        kind: "svg" or "pdf".

    Raises:
        ValueError: for another kind.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> plots.vector(Figure())[:5], plots.vector(Figure(), "pdf")[:5]
        (b'<?xml', b'%PDF-')
    """
    if kind not in ("svg", "pdf"):
        raise ValueError(f"kind={kind!r} is not allowed: it must be 'svg' or 'pdf'")
    buffer = io.BytesIO()
    undated = {"Date": None} if kind == "svg" else {"CreationDate": None}
    with rc_context({"svg.hashsalt": "jaxdl"}):
        figure.savefig(buffer, format=kind, metadata=undated)
    return buffer.getvalue()


def animation(frames: Iterable[Figure], *, seconds: float | int = 0.1, limit: int = 200_000) -> bytes:
    """Encode figures of one size as a GIF that repeats, of at most ``limit`` bytes, if necessary at a lower resolution.

    Args:
        frames: the figures in order, at least one.
        seconds: time for which each is shown; the last one is shown for ten times as long.
        limit: most bytes.

    Raises:
        ValueError: if there are no frames, or the lowest resolution still exceeds the limit.

    Examples:
        >>> x = np.arange(2)
        >>> frames = [plots.curves({"a": (x, k * x)}, xlabel="x", ylabel="y") for k in (1, 2)]
        >>> plots.animation(frames, seconds=0.5)[:6]
        b'GIF89a'
    """
    figures = list(frames)
    if not figures:
        raise ValueError("frames must hold at least one figure, got none")
    times = [round(1000 * seconds)] * (len(figures) - 1) + [round(10_000 * seconds)]
    buffer = io.BytesIO()
    for dpi in (DPI, 90, 70, 50):
        first, *others = [_pixels(figure, dpi).quantize(96, dither=Image.Dither.NONE) for figure in figures]
        buffer = io.BytesIO()
        first.save(buffer, "GIF", save_all=True, append_images=others, duration=times, loop=0, optimize=True)
        if buffer.tell() <= limit:
            return buffer.getvalue()
    raise ValueError(f"limit must leave room for the animation, {buffer.tell()} bytes at {dpi} dpi, got {limit}")


def _pixels(figure: Figure, dpi: int) -> Image.Image:
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def draw_lines(axes: Axes, series: Mapping[str, Curve], names: list[str], *, fine: bool = False) -> None:
    """Draw each curve in the style of its place among ``names``: a broad pale line under thin dashed ones.

    Fine lines have the same colours and dashes, and no markers, unless one would be a single point.
    """
    for name, (x, y) in series.items():
        place = names.index(name)
        few = np.size(x) <= (1 if fine else 40)
        under = place == 0 and len(names) > 1 and not fine
        axes.plot(
            np.asarray(x), np.asarray(y, np.float64), label=literal(name), color=COLORS[place % len(COLORS)],
            linewidth=5 if under else 0.9 if fine else 1.7, alpha=0.45 if under else 1,
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


def add_legend(figure: Figure, axes: Axes) -> None:
    """Add a legend of the lines in one panel above the figure."""
    handles, labels = axes.get_legend_handles_labels()
    letters = max(map(len, labels), default=0) + 8  # per column with its line; about ten fit into an inch
    columns = max(1, min(len(labels), int(10 * figure.get_figwidth() / letters)))
    columns = math.ceil(len(labels) / math.ceil(max(1, len(labels)) / columns)) or 1  # rows of equal length
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def bare_cells(number: int, columns: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``number`` bare cells of a size in inches, in rows of ``columns``."""
    columns = max(1, min(columns, number))
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(4.4, width * columns + 0.9), height * rows + 0.9), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, cell in enumerate(cells):
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set(color="#999999", linewidth=0.6)
        cell.set_visible(i < number)
    return figure, list(cells[:number])


def add_heading(figure: Figure, title: str) -> None:
    """Add a title above the figure, cut to its width."""
    figure.suptitle(literal(shorten(title, int(10 * figure.get_figwidth()))), fontsize=11)


def literal(name: str) -> str:
    """Escape a name so that matplotlib draws it literally, with the characters that its font has."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    letters: Iterable[str] = (c if font.get_char_index(ord(c)) else f"\\u{ord(c):04x}" for c in name)
    text = "".join(letters).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # legends omit labels that start with _
