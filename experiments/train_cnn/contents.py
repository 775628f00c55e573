"""What a finished run folder holds, read and checked: the contract between training and its report.

- ``config.json``: the options, by name
- ``manifest.json``: how the run was made: ``command`` and whatever else was recorded
- ``summary.json``: `SUMMARY`, with a `ROW` per optimizer, a `LAYER` per layer and, for a pair, a `PAIR`
- ``metrics.csv``: the `COLUMNS`
- ``predictions.npz``: labels (n,), classes (k,) and for the i-th row probabilities_i (n, k),
  mistake_index_i (m,), mistake_images_i (m, H, W, C) in [0, 1] and, where the first layer is a convolution,
  filters_i (kh, kw, c_in, c_out)
"""

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

COLUMNS = ("optimizer", "step", "epoch", "split", "loss", "accuracy", "learning_rate", "seconds")
NUMBER = (int, float)
SUMMARY = {
    "dataset": str, "model": str, "parameters": int, "examples": dict, "rows": list, "parameter_table": list,
}  # fmt: skip
ROW = {"optimizer": str, "test_accuracy": NUMBER, "test_loss": NUMBER, "steps": int, "epochs": NUMBER,
       "steps_per_second": NUMBER, "learning_rate": NUMBER}  # fmt: skip
PAIR = {"a": str, "b": str, "max_relative_difference": NUMBER, "max_ulps": NUMBER}
LAYER = {"layer": str, "op": str, "output": list, "parameters": int}


class Contents(NamedTuple):
    """What the run folder holds, checked."""

    config: dict[str, Any]
    manifest: dict[str, Any]
    summary: dict[str, Any]
    metrics: dict[str, np.ndarray]  # one entry per column of metrics.csv, all of one length
    predictions: dict[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """The optimizers, in the order of the summary's rows."""
        return [row["optimizer"] for row in self.summary["rows"]]


def read(folder: Path) -> Contents:
    """Reads and checks the five files. Raises: ValueError naming the file and what is wrong."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the folder of a run")
    config, manifest, summary = (_json(folder / f"{name}.json") for name in ("config", "manifest", "summary"))
    _check(folder / "manifest.json", manifest, {"command": (str, list)})
    _check_summary(folder / "summary.json", summary)
    names = [row["optimizer"] for row in summary["rows"]]
    metrics = _metrics(folder / "metrics.csv", names)
    return Contents(config, manifest, summary, metrics, _predictions(folder / "predictions.npz", len(names)))


def _present(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} is missing; the report needs it")
    return path


def _json(path: Path) -> dict[str, Any]:
    data = _present(path).read_bytes()
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold an object of names and values, got a {type(value).__name__}")
    return value


def _check(path: Path, value: Any, fields: dict[str, Any], where: str = "") -> None:
    """Each field must be there and of its type."""
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {where or 'it'} must be an object, got {value!r}")
    for name, kind in fields.items():
        full = f"{where}.{name}" if where else name
        if name not in value:
            raise ValueError(f"{path}: {full} is missing")
        if not isinstance(value[name], kind):
            kinds = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"{path}: {full} must be {kinds}, got {value[name]!r}")


def _check_summary(path: Path, summary: dict[str, Any]) -> None:
    _check(path, summary, SUMMARY)
    _check(path, summary["examples"], {"train": int, "dev": int, "test": int}, "examples")
    for i, row in enumerate(summary["rows"]):
        _check(path, row, ROW, f"rows[{i}]")
    for i, layer in enumerate(summary["parameter_table"]):
        _check(path, layer, LAYER, f"parameter_table[{i}]")
    names = [row["optimizer"] for row in summary["rows"]]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{path}: rows must name at least one optimizer and each only once, got {names}")
    if summary.get("pair") is not None:
        _check(path, summary["pair"], PAIR, "pair")


def _metrics(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    try:
        lines = list(csv.reader(io.StringIO(_present(path).read_bytes().decode(), newline="")))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of text: {error}") from error
    header = lines[0] if lines else []
    if absent := [c for c in COLUMNS if c not in header]:
        raise ValueError(f"{path}: the first line lacks the columns {', '.join(absent)}; got {header}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise ValueError(f"{path}: line {number} has {len(line)} fields, the header has {len(header)}")
    table = {column: [line[header.index(column)] for line in lines[1:]] for column in COLUMNS}
    if absent := [name for name in names if name not in table["optimizer"]]:
        there = sorted(set(table["optimizer"])) or "no rows"
        raise ValueError(f"{path}: no rows of {absent[0]!r}, which summary.json names; there are {there}")
    strings = ("optimizer", "split")
    return {c: np.array(v) if c in strings else _numbers(path, c, v) for c, v in table.items()}


def _numbers(path: Path, column: str, values: list[str]) -> np.ndarray:
    """Reads a column of numbers; an empty field is NaN."""
    numbers = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        try:
            numbers[i] = float(value or "nan")
        except ValueError:
            raise ValueError(f"{path}: line {i + 2}: {column} must be a number, got {value!r}") from None
    return numbers


def _predictions(path: Path, count: int) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(_present(path)):
        raise ValueError(f"{path} is no npz archive, or is cut off")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or holds something other than plain arrays: {error}") from error
    n, k = np.size(arrays.get("labels", ())), np.size(arrays.get("classes", ()))
    _shape(path, arrays, "labels", (n,), "iu")
    _shape(path, arrays, "classes", (k,), "U")
    if not n or arrays["labels"].min() < 0 or arrays["labels"].max() >= k:
        raise ValueError(f"{path}: labels must hold at least one label, each from 0 to {k - 1} ({k} classes)")
    for i in range(count):
        _shape(path, arrays, f"probabilities_{i}", (n, k), "f")
        _check_mistakes(path, arrays, i)
        if f"filters_{i}" in arrays:
            _shape(path, arrays, f"filters_{i}", (None, None, None, None), "f")
    return arrays


def _check_mistakes(path: Path, arrays: dict[str, np.ndarray], i: int) -> None:
    n, m = len(arrays["labels"]), np.size(arrays.get(f"mistake_index_{i}", ()))
    if m == 0 and f"mistake_index_{i}" in arrays:  # an empty list's dtype says nothing
        arrays[f"mistake_index_{i}"] = np.zeros(0, np.int64)
        return
    _shape(path, arrays, f"mistake_index_{i}", (m,), "iu")
    _shape(path, arrays, f"mistake_images_{i}", (m, None, None, None), "f")
    index = arrays[f"mistake_index_{i}"]
    if index.min() < 0 or index.max() >= n:
        raise ValueError(f"{path}: mistake_index_{i} must lie from 0 to {n - 1}, got {index.min()}..{index.max()}")


def _shape(path: Path, arrays: dict[str, np.ndarray], name: str, shape: Sequence[int | None], kinds: str) -> None:
    """The array must be there, of the shape (None: any) and one of numpy's kinds."""
    if name not in arrays:
        raise ValueError(f"{path}: the array {name} is missing; there are {', '.join(sorted(arrays))}")
    array, kind = arrays[name], {"iu": "integers", "U": "text", "f": "floating-point numbers"}[kinds]
    fits = len(array.shape) == len(shape) and all(map(lambda h, w: w in (None, h), array.shape, shape))
    if not fits or array.dtype.kind not in kinds:
        wanted = tuple("any" if w is None else w for w in shape)
        raise ValueError(f"{path}: {name} must be {kind} of shape {wanted}, got {array.dtype} {array.shape}")
