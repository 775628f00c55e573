"""Figures of a study of many optimizers: small multiples, intervals, a table of wins, paths on contour lines.

Thirty curves in one panel cannot be told apart. Here each panel colours one group of names, such as one algorithm in
two libraries, in front of all others in grey, so that every group is seen against the whole field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from jaxdl.plots.drawing import COLORS, Curve, add_heading, literal, shorten

Whisker = tuple[float, float, float]  # an estimate and the ends of its interval

Band = tuple[Real[ArrayLike, " _"], Real[ArrayLike, " _"], Real[ArrayLike, " _"], Real[ArrayLike, " _"]]
"""x and y of the points, and the ends of an interval around each y."""

GREY = "#c8c8c8"
SHADES = (*COLORS, "#8b8b8b")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
MARKS = ("o", "s", "^", "v", "D", "P", "X", "*")
MOST = len(SHADES)


def panels(
    groups: Sequence[Mapping[str, Curve | Band]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    logx: bool = False,
    logy: bool = False,
    steps: bool = False,
    line: float | int | None = None,
    ylim: tuple[float, float] | None = None,
    markers: bool | Mapping[str, float] = False,
) -> Figure:
    """Draw a small panel per group, with its members in colour and all others in grey.

    The first member of a group is a broad pale line, and later ones are thin and dashed on top of it. Panels share
    their axes. On a linear y axis the top tenth of the values may be cut off so as not to flatten the rest.

    Args:
        groups: ``groups[panel][name] = (x, y)`` with x and y of shape (n,); NaN and infinity leave a gap. A name may be
            in several groups. ``(x, y, low, high)`` also draws the band between low and high.
        xlabel: label of the x axis, with the unit.
        ylabel: label of the y axis, with the unit.
        title: the heading.
        logx: make the x axis logarithmic.
        logy: make the y axis logarithmic if all values are positive.
        steps: draw steps that rise at the points, as for a distribution.
        line: a value of y to mark in every panel, such as a target.
        ylim: ends of the y axis; None fits them to the values.
        markers: draw a marker at each point of the members, and a triangle at the upper edge where y is infinite; a
            mapping from names to an x also draws a ring around the point there, such as a default.

    Examples:
        >>> epochs = np.arange(2)
        >>> groups = [{"sgd": (epochs, np.array([2.0, 1.0]))}, {"adam": (epochs, np.array([2.0, 0.5]))}]
        >>> len(plots.panels(groups, xlabel="epoch", ylabel="loss (nats)").axes)
        2
    """
    if not groups:
        raise ValueError("groups must hold at least one panel, got none")
    figure, cells = _cells(len(groups), width=2.6, height=2.1)
    drawn = [{name: _finite(curve) for name, curve in group.items()} for group in groups]
    everything = {name: curve for group in drawn for name, curve in group.items()}
    for group, given, axes in zip(drawn, groups, cells, strict=True):
        for x, y in (curve for name, curve in everything.items() if name not in group):
            axes.plot(x, y, color=GREY, linewidth=0.6, drawstyle="steps-post" if steps else None, zorder=1)
        _bands(axes, given)
        _group(axes, group, steps)
        if markers is not False:
            _markers(axes, given, markers if isinstance(markers, Mapping) else {})
        _names(axes, group)
        if line is not None:
            axes.axhline(line, color="#444444", linewidth=0.8, linestyle=":", zorder=1.5)
    _scale(cells, [y for _, y in everything.values()], logx, logy, line)
    if ylim is not None:
        cells[0].set_ylim(ylim[0] - 0.02 * (ylim[1] - ylim[0]), ylim[1] + 0.02 * (ylim[1] - ylim[0]))
    figure.supxlabel(xlabel, fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    add_heading(figure, title)
    return figure


def overlay(
    curves: Mapping[str, Curve | Band],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    logx: bool = False,
    logy: bool = False,
    line: float | int | None = None,
) -> Figure:
    """Draw up to eight curves in one panel, each with its name at the right in the order of the last values.

    Args:
        curves: ``curves[name] = (x, y)`` or ``(x, y, low, high)``; see `panels`.
        xlabel: label of the x axis, with the unit.
        ylabel: label of the y axis, with the unit.
        title: the heading.
        logx: make the x axis logarithmic.
        logy: make the y axis logarithmic if all values are positive and differ much.
        line: a value of y to mark, such as a target.

    Raises:
        ValueError: there are no curves, or more than can be told apart.

    Examples:
        >>> curves = {"sgd": (np.arange(2), np.array([2.0, 1.0])), "adam": (np.arange(2), np.array([2.0, 0.5]))}
        >>> plots.overlay(curves, xlabel="epoch", ylabel="loss (nats)").axes[0].get_xlabel()
        'epoch'
    """
    if not 1 <= len(curves) <= MOST:
        raise ValueError(f"curves must hold 1 to {MOST} curves, got {len(curves)}")
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    _bands(axes, curves, SHADES)
    lines = {}
    for place, (name, curve) in enumerate(curves.items()):
        x, y = _finite(curve)
        few = x.size <= 40
        [lines[name]] = axes.plot(
            x, y, color=SHADES[place], linewidth=1.6, linestyle=DASHES[place % len(DASHES)], zorder=3 + place,
            marker=MARKS[place] if few else "", markersize=4, label=literal(shorten(name, 40)),
        )  # fmt: skip
    if line is not None:
        axes.axhline(line, color="#444444", linewidth=0.9, linestyle=":", zorder=2)
        axes.annotate("target", (1, line), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
                      fontsize=8, color="#444444", ha="right")  # fmt: skip
    _scale([axes], [_finite(curve)[1] for curve in curves.values()], logx, logy, line)
    order = sorted(curves, key=lambda name: -_last(curves[name]))
    figure.legend(
        [lines[name] for name in order], [str(lines[name].get_label()) for name in order],
        loc="outside right center", frameon=False, fontsize=8,
    )  # fmt: skip
    axes.set(xlabel=xlabel, ylabel=ylabel)
    add_heading(figure, title)
    return figure


def intervals(
    rows: Mapping[str, Whisker], *, xlabel: str, title: str = "", line: float | int | None = None, log: bool = False
) -> Figure:
    """Draw a row per name: a dot for the estimate, a whisker for its interval, an arrow where an end is infinite.

    Args:
        rows: estimate, lower and upper end per name, drawn from top to bottom.
        xlabel: label of the axis, with the unit.
        title: the heading.
        line: a value to mark, such as 0 for differences.
        log: make the axis logarithmic if all values are positive.

    Examples:
        >>> rows = {"sgd": (0.1, 0.0, 0.2), "adam": (0.3, 0.2, 0.4)}
        >>> figure = plots.intervals(rows, xlabel="accuracy gained", line=0)
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['sgd', 'adam']
    """
    if not rows:
        raise ValueError("rows must hold at least one interval, got none")
    figure = Figure(figsize=(8, 0.24 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    finite = [v for row in rows.values() for v in row if math.isfinite(v)]
    log = log and bool(finite) and min(finite) > 0 and max(finite) > 30 * min(finite)
    low, high = _span(finite, log, line)
    for place, (estimate, start, end) in enumerate(rows.values()):
        apart = line is not None and not start <= line <= end
        color = COLORS[1] if apart else COLORS[0]
        axes.plot([max(start, low), min(end, high)], [place, place], color=color, linewidth=1.6, solid_capstyle="butt")
        axes.plot(np.clip(estimate, low, high), place, "o", color=color, markersize=4)
        for outside, x, marker in ((start < low, low, "<"), (end > high, high, ">")):
            if outside:
                axes.plot(x, place, marker, color=color, markersize=6, clip_on=False)
    if line is not None:
        axes.axvline(line, color="#444444", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [literal(shorten(name, 60)) for name in rows], fontsize=8)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel=xlabel, xscale="log" if log else "linear", xlim=(low, high))
    _plain(axes, "x")
    add_heading(figure, title)
    return figure


def tally(
    wins: Real[ArrayLike, "s s"],
    ties: Real[ArrayLike, "s s"],
    names: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw who beats whom: wins minus losses of the row against the column as colour, wins-ties-losses as text.

    Args:
        wins: entry (i, j) is the number of problems that i won against j.
        ties: the ties, likewise.
        names: the s optimizers.
        title: the heading.

    Examples:
        >>> figure = plots.tally(np.array([[0, 3], [1, 0]]), np.array([[0, 1], [1, 0]]), ["adam", "sgd"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['3-1-1', '1-1-3']
    """
    wins, ties = np.asarray(wins), np.asarray(ties)
    count = wins + ties + wins.T
    share = np.where(count > 0, (wins - wins.T) / np.maximum(count, 1), np.nan)
    np.fill_diagonal(share, np.nan)
    size = float(np.clip(0.3 * len(names) + 2.6, 4.5, 11))
    figure = Figure(figsize=(size, 0.92 * size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="PuOr_r", vmin=-1, vmax=1, interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, label="won less lost (share of problems)")
    bar.set_ticks([-1, -0.5, 0, 0.5, 1])
    short = [literal(shorten(name, 34)) for name in names]
    axes.set_xticks(range(len(names)), short, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), short, fontsize=7)
    axes.set(xlabel="against", ylabel="optimizer")
    for i, j in zip(*np.nonzero((count > 0) & ~np.eye(len(names), dtype=bool)), strict=True):
        shade = "white" if abs(share[i, j]) > 0.7 else "black"
        text = f"{wins[i, j]:.0f}-{ties[i, j]:.0f}-{wins[j, i]:.0f}"
        if len(names) <= 18:
            axes.text(j, i, text, ha="center", va="center", fontsize=6, color=shade)
    add_heading(figure, title)
    return figure


def contours(
    x: Float[ArrayLike, " w"],
    y: Float[ArrayLike, " h"],
    values: Float[ArrayLike, "h w"],
    groups: Sequence[Mapping[str, Curve]],
    *,
    minima: Sequence[tuple[float, float]] = (),
    title: str = "",
) -> Figure:
    """Draw the paths of optimizers on the contour lines of a function of two variables, a panel per group.

    Levels are evenly spaced in the logarithm of the height above the lowest value. A square marks a start, a dot an end
    and a star a minimum; paths are clipped to the picture.

    Args:
        x: grid of the first variable.
        y: grid of the second.
        values: the function on the grid.
        groups: ``groups[panel][name] = (x, y)``, the points of each path in order.
        minima: the function's minima.
        title: the heading.

    Examples:
        >>> x, y = np.linspace(-1, 1, 20), np.linspace(-1, 1, 20)
        >>> values = x[None, :] ** 2 + 9 * y[:, None] ** 2
        >>> figure = plots.contours(x, y, values, [{"sgd": (np.array([-1, 0]), np.array([1, 0]))}], minima=[(0.0, 0.0)])
        >>> len(figure.axes)
        1
    """
    if not groups:
        raise ValueError("groups must hold at least one panel, got none")
    x, y, values = np.asarray(x), np.asarray(y), np.asarray(values, np.float64)
    height = values - values.min() + 1e-4 * np.ptp(values)
    levels = np.geomspace(height.min(), height.max(), 16)
    figure, cells = _cells(len(groups), width=2.6, height=2.3)
    for group, axes in zip(groups, cells, strict=True):
        axes.contour(x, y, height, levels=levels, norm=LogNorm(levels[0], levels[-1]), cmap="Greys_r", linewidths=0.5)
        _group(axes, {name: _finite(curve) for name, curve in group.items()}, False)
        for place, (px, py) in enumerate(map(_finite, group.values())):
            inside = np.isfinite(px) & np.isfinite(py)
            if inside.any():
                axes.plot(px[inside][0], py[inside][0], "s", color="black", markersize=3)
                axes.plot(px[inside][-1], py[inside][-1], "o", color=COLORS[place % len(COLORS)], markersize=3.5)
        for minimum in minima:
            axes.plot(*minimum, "*", color="black", markersize=7)
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        _names(axes, group)
    figure.supxlabel("x", fontsize=10)
    figure.supylabel("y", fontsize=10)
    add_heading(figure, title)
    return figure


def _cells(number: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return panels in up to four columns that share their axes."""
    columns = min(4, number)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(max(4.5, width * columns + 0.4), height * rows + 0.9), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for i, cell in enumerate(cells):
        cell.set_visible(i < number)
        cell.tick_params(labelsize=7, labelleft=i % columns == 0, labelbottom=i + columns >= number)
    return figure, list(cells[:number])


def _group(axes: Axes, group: Mapping[str, Curve], steps: bool) -> None:
    for place, (x, y) in enumerate(group.values()):
        under = place == 0 and len(group) > 1
        axes.plot(
            x, y, color=COLORS[place % len(COLORS)], linewidth=3.6 if under else 1.3, alpha=0.5 if under else 1,
            linestyle="-" if place == 0 else (3 * (place - 1), (3, 1 + 2 * place)), zorder=2 + place,
            drawstyle="steps-post" if steps else None,
        )  # fmt: skip


def _bands(axes: Axes, curves: Mapping[str, Curve | Band], colors: Sequence[str] = COLORS) -> None:
    """Shade the intervals of those curves that have them."""
    for place, curve in enumerate(curves.values()):
        if len(curve) == 4:
            x, _, low, high = (np.asarray(one, np.float64) for one in curve)
            known = np.isfinite(low) & np.isfinite(high)
            axes.fill_between(x, low, high, where=known, color=colors[place % len(colors)], alpha=0.18, linewidth=0)


def _markers(axes: Axes, group: Mapping[str, Curve | Band], marked: Mapping[str, float]) -> None:
    """Mark the points of the members, those with infinite y at the upper edge, and one point of each with a ring."""
    for place, (name, curve) in enumerate(group.items()):
        x, y = (np.asarray(one, np.float64) for one in curve[:2])
        color, gone = COLORS[place % len(COLORS)], np.isposinf(y)
        edge = axes.get_xaxis_transform()  # x in data, y in shares of the height
        top = np.full(gone.sum(), 0.97 - 0.05 * place)
        at = x == marked.get(name, np.nan)
        ring = {"color": "black", "markersize": 6.5, "markerfacecolor": "none", "markeredgewidth": 0.9, "zorder": 9}
        axes.plot(x[~gone], y[~gone], "o", color=color, markersize=2.6, zorder=4 + place)
        axes.plot(x[at & ~gone], y[at & ~gone], "o", **ring)
        above = axes.plot(x[gone], top, "^", color=color, markersize=3.2, transform=edge, zorder=4 + place)
        above += axes.plot(x[at & gone], top[: (at & gone).sum()], "o", transform=edge, **ring)
        for line in above:
            line.set_clip_on(False)
            line.set_in_layout(False)  # an empty one would take room at the figure's corner


def _last(curve: Curve | Band) -> float:
    """Return the last finite value, -inf if there is none."""
    y = np.asarray(curve[1], np.float64)
    known = y[np.isfinite(y)]
    return float(known[-1]) if known.size else -math.inf


def _names(axes: Axes, group: Mapping[str, Curve]) -> None:
    """Write the members' names above the panel, each in the colour of its line."""
    for place, name in enumerate(reversed(list(group))):
        color = COLORS[(len(group) - 1 - place) % len(COLORS)]
        axes.annotate(
            literal(shorten(name, 38)), (0, 1), (0, 3 + 10 * place), xycoords="axes fraction", color=color,
            textcoords="offset points", fontsize=7.5, annotation_clip=False,
        )  # fmt: skip


def _scale(cells, drawn, logx, logy, line):
    """Set the scales and the ends of the shared axes."""
    values = np.concatenate([y[np.isfinite(y)] for y in drawn] or [np.zeros(0)])
    logy = logy and values.size > 0 and values.min() > 0 and values.max() > 30 * values.min()
    for axes in cells:
        axes.set(xscale="log" if logx else "linear", yscale="log" if logy else "linear")
        _plain(axes, "both")
        if logy:
            few = values.max() < 300 * values.min()  # powers of ten alone would be one or two ticks
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=10 if few else 6))
            axes.yaxis.set_minor_formatter(NullFormatter())
            if few:
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if values.size:
        most = float(np.quantile(values, 0.9))
        top = values.max() if logy else min(values.max(), most + 0.5 * (most - values.min()))
        cells[0].set_ylim(*_span([float(values.min()), float(top)], logy, line))


def _span(values, log, line):
    """Return the ends of an axis with a margin."""
    values = [*values, *([line] if line is not None else [])] or [0.0]
    low, high = min(values), max(values)
    if log:
        margin = (high / low) ** 0.04
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _finite(curve: Curve | Band) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(one, np.float64) for one in curve[:2])
    return np.where(np.isfinite(x), x, np.nan), np.where(np.isfinite(y), y, np.nan)


def _plain(axes: Axes, grid: str) -> None:
    axes.grid(True, axis=grid, color="#e4e4e4", linewidth=0.6)  # pyright: ignore[reportArgumentType]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
