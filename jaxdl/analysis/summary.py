"""Outputs, parameters and cost of each layer of a network, without allocating its parameters."""

import importlib.util
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl import nn
from jaxdl.analysis.walk import Seen, leaves, walk
from jaxdl.nn.layer import is_shape

HEADER = ("layer", "kind", "output", "activations", "bytes", "parameters", "multiply-adds", "receptive field")


class LayerRow(NamedTuple):
    """One leaf of a network."""

    layer: str  # path
    op: str  # kind
    output: tuple[int, ...]  # shape of one output
    parameters: int  # number of trained values


class SummaryRow(NamedTuple):
    """The cost of one leaf of a network for one image; the first row is the input itself."""

    layer: str  # path
    kind: str
    output: Any  # shape of one output; None for a leaf that does not run, such as an auxiliary head in evaluation
    activations: int  # values that it keeps; 0 if it works in place
    bytes: int  # of these values
    parameters: int  # number of trained values
    multiply_adds: int
    receptive_field: tuple[int, ...]  # (height, width) in pixels; () where the input is no image, or unknown


class Summary(NamedTuple):
    """The table of a network: ``rows`` as data, ``print`` for reading (with rich if it is installed), `markdown`."""

    rows: tuple[SummaryRow, ...]
    shapes: dict[str, Any]  # path of every part, including those with parts of their own → shape of one output

    @property
    def activations(self) -> int:
        """Values that one image keeps, including its own pixels."""
        return sum(row.activations for row in self.rows)

    @property
    def bytes(self) -> int:
        """Bytes of these values."""
        return sum(row.bytes for row in self.rows)

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image forward; twice as many floating-point operations."""
        return sum(row.multiply_adds for row in self.rows)

    def compact(self) -> "Summary":
        """Return the table without rows that neither keep nor train anything, such as ReLU, dropout and flatten."""
        return self._replace(rows=tuple(row for row in self.rows if row.activations or row.parameters))

    def markdown(self) -> str:
        """Return the table as aligned Markdown with a row of totals."""
        lines = [HEADER, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = ["-" * width if i < 3 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
        lines.insert(1, rule)
        pad = lambda i, cell: cell.ljust(widths[i]) if i < 3 else cell.rjust(widths[i])
        return "\n".join("| " + " | ".join(pad(i, cell) for i, cell in enumerate(line)) + " |" for line in lines)

    def __str__(self) -> str:
        """Return the table as text."""
        if importlib.util.find_spec("rich") is None:
            return self.markdown()
        from rich.console import Console

        console = Console(file=io.StringIO(), width=200)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def __rich__(self) -> Any:
        """Return the table for rich's console."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD)
        for i, name in enumerate(HEADER):
            table.add_column(name, justify="left" if i < 3 else "right", no_wrap=True)
        *rows, total = self._cells()
        for row in rows:
            table.add_row(*row)
        table.add_section()
        table.add_row(*total, style="bold")
        return table

    def _cells(self) -> list[tuple[str, ...]]:
        cells = [
            (row.layer, row.kind, _shape(row.output), *_counts(row[3:7]), _shape(row.receptive_field))
            for row in self.rows
        ]
        totals = (self.activations, self.bytes, self.parameters, self.multiply_adds)
        return [*cells, ("total", "", "", *_counts(totals), "")]


def summary(layer: nn.Layer, in_shape: Any, *, train: bool = False, dtype: DTypeLike = jnp.float32) -> Summary:
    """Summarise the output and cost of each leaf per image, from one abstract run.

    - A multiply-add is one product with its addition, in matrix products and convolutions; biases and pools are left
      out. Papers and torchvision call these figures FLOPs; floating-point operations are twice as many.
    - Activations are the values that a leaf keeps. A leaf without parameters and window that returns as many values as
      it takes (ReLU, dropout, flatten) works in place and keeps none; merges of branches are not counted.
    - The receptive field is that of one output in pixels, r + d (k - 1) ∏ strides along the path that sees most, with
      padding counted as image. The window and stride of a function are found by running it on NaN; behind one that
      hides them, as ``nan_to_num`` does, the field is empty. Statistics of a normalisation do not count.

    Args:
        layer: the network.
        in_shape: shape of one input, such as ``(224, 224, 3)``, or a tuple or dict of several.
        train: whether to run as in training, with the heads that run only there.
        dtype: dtype of the activations, which sets their bytes.

    Returns:
        A `Summary`: ``print(summary(...))``, ``.markdown()``, ``.rows``.

    Raises:
        ValueError: for an input that the network does not take.

    Reference: the table of VGG-16 in the lectures, whose printed total of 24 M values (96 MB) is an erratum: its rows
    sum to 15.2 M (61 MB).

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(conv1=nn.Conv(4, 3), flat=nn.flatten, fc=nn.Dense(10))
        >>> table = analysis.summary(net, (8, 8, 1))  # print(table) shows it
        >>> [(row.layer, row.parameters, row.multiply_adds) for row in table.rows if row.parameters]
        [('conv1', 40, 2304), ('fc', 2570, 2560)]

    [Lecture rows H3, H6, I]
    """
    in_shape = tuple(in_shape) if is_shape(in_shape) else in_shape
    seen, shapes, params = walk(layer, in_shape, train=train)
    values, size = _values(in_shape), np.dtype(dtype).itemsize
    field = (1, 1) if is_shape(in_shape) and len(in_shape) == 3 else ()
    rows = [SummaryRow("input", "input", in_shape, values, values * size, 0, 0, field)]
    for path, leaf in leaves(layer).items():
        rows.append(_row(path, leaf, seen.get(path), _count(_below(params, path)), size))
    return Summary(tuple(rows), {"input": in_shape, **shapes})


def _row(path: str, leaf: nn.Layer, seen: Seen | None, parameters: int, size: int) -> SummaryRow:
    if seen is None:
        return SummaryRow(path, leaf.op.kind, None, 0, 0, parameters, 0, ())
    given, taken = _values(seen.out_shape), _values(seen.in_shape)
    in_place = not parameters and not leaf.op.window and given == taken
    kept = 0 if in_place else given
    field = () if seen.field is None else tuple(map(math.ceil, seen.field.size))
    return SummaryRow(path, leaf.op.kind, seen.out_shape, kept, kept * size, parameters, seen.multiply_adds, field)


def count_parameters(layer: nn.Layer, in_shape: Any) -> int:
    """Return the number of trained values of a network on inputs of ``in_shape``, without a batch axis.

    Examples:
        >>> from jaxdl import models
        >>> analysis.count_parameters(models.lenet5(), (28, 28, 1))
        61706
    """
    return _count(_abstract_params(layer, in_shape))


def layer_rows(layer: nn.Layer, in_shape: Any) -> list[LayerRow]:
    """Return one row per leaf, in order of application; a network that is a leaf itself is one row with the path "".

    Args:
        layer: the network.
        in_shape: shape of one input, such as ``(28, 28, 1)``.

    See `summary`, whose rows include the cost of each layer.

    Examples:
        >>> from jaxdl import nn
        >>> rows = analysis.layer_rows(nn.serial(conv1=nn.Conv(4, 3), pool1=nn.MaxPool(2)), (8, 8, 1))
        >>> rows[0]  # 3 * 3 * 4 weights and 4 biases
        LayerRow(layer='conv1', op='conv', output=(8, 8, 4), parameters=40)
    """
    rows = summary(layer, in_shape).rows[1:]
    return [LayerRow(row.layer, row.kind, row.output or (), row.parameters) for row in rows]


def _abstract_params(layer: nn.Layer, in_shape: Any) -> Any:
    return jax.eval_shape(lambda key: layer.init(key, in_shape)[0], jax.random.key(0))


def _below(params: Any, path: str) -> Any:
    for name in path.split("/") if path else ():
        params = params.get(name, {})
    return params


def _count(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _values(shape: Any) -> int:
    return sum(map(math.prod, jax.tree.leaves(shape, is_leaf=is_shape)))


def _counts(values: Sequence[int]) -> list[str]:
    return [f"{value:,}" if value else "" for value in values]


def _shape(shape: Any) -> str:
    if shape is None:
        return "not run"
    if not is_shape(shape):
        return str(shape)
    return "×".join(map(str, shape))
