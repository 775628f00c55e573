"""Networks drawn as blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxdl import analysis
from jaxdl.plots.drawing import COLORS, add_heading, literal, shorten

_POOL, _OTHER = COLORS[2], COLORS[3]
_FILL = {"conv": COLORS[0], "dense": COLORS[1], "max_pool": _POOL, "avg_pool": _POOL, "input": "#BBBBBB"}


def network(table: analysis.Summary, *, depth: int = 1, columns: int = 10, title: str = "") -> Figure:
    """Draw a network as a row of blocks, taller for larger images and wider for more channels.

    Layers whose paths share the first ``depth`` names form a block, which shows its last output, its parameters and its
    multiply-adds. Layers without parameters and stored activations (ReLU, dropout, flatten) are left out. Height and
    width grow with the logarithms of the output's larger side and of its channels. The colour is that of a convolution
    if the block has one, else of a dense layer, else of a pool.

    Args:
        table: a result of `analysis.summary`.
        depth: number of path names that define a block; 2 splits the stages of a ResNet into their blocks.
        columns: most blocks per row.
        title: the heading.

    Examples:
        >>> from jaxdl import analysis, models
        >>> figure = plots.network(analysis.summary(models.cifar_demo(), (32, 32, 3)), title="cifar_demo")
        >>> len(plots.png(figure)) < 200_000
        True
    """
    if depth < 1 or columns < 1:
        raise ValueError(f"depth and columns must be at least 1, got {depth} and {columns}")
    groups: dict[str, list[analysis.SummaryRow]] = {}
    for row in table.compact().rows:
        if row.output is not None:
            groups.setdefault("/".join(row.layer.split("/")[:depth]), []).append(row)
    lines = math.ceil(len(groups) / columns)
    columns = math.ceil(len(groups) / lines)
    figure = Figure(figsize=(max(4.4, 1.15 * columns + 0.4), 2.2 * lines + 0.5), layout="constrained")
    cells = figure.subplots(lines, columns, squeeze=False).ravel()
    for cell in cells:
        cell.set(xlim=(-1, 1), ylim=(-1.6, 1.25))
        cell.axis("off")
    for cell, (name, rows) in zip(cells, groups.items(), strict=False):
        _block(cell, name, table.shapes[name], rows)
    add_heading(figure, title)
    return figure


def _block(axes: Axes, name: str, output: Sequence[int], rows: Sequence[analysis.SummaryRow]) -> None:
    *sides, channels = output if all(isinstance(n, int) for n in output) else (0,)
    x, y = 0.1 + 0.06 * math.log2(1 + channels), 0.1 + 0.1 * math.log2(1 + max(sides, default=0))
    kinds = {row.kind for row in rows}
    color = next((color for kind, color in _FILL.items() if kind in kinds), _OTHER)
    axes.add_patch(Rectangle((-x, -y), 2 * x, 2 * y, facecolor=color, edgecolor="black", alpha=0.8))
    axes.text(0, y + 0.06, literal(shorten(name)), ha="center", va="bottom", fontsize=8, weight="bold")
    counts = {"params": sum(row.parameters for row in rows), "mult-adds": sum(row.multiply_adds for row in rows)}
    said = ["×".join(map(str, (*sides, channels))), *(f"{_short(n)} {what}" for what, n in counts.items() if n)]
    axes.text(0, -y - 0.06, "\n".join(said), ha="center", va="top", fontsize=7)


def _short(n: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
