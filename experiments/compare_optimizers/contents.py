"""What the folder of a study holds, read and checked: the contract between the runs and their report.

- ``results.csv``: a row per run, ``curves.csv``: a row per evaluation; see `RESULTS` and `CURVES`
- ``paths.csv``, where there are landscapes: the points that the optimizers went through, `PATHS`
- ``plan.json``, if it is there: ``twins`` and ``planted``, pairs of optimizers
- ``manifest.json`` and ``config.json``, if they are there: how the study was made

Values of a problem's test metric are lower for the better. An empty cell is undefined or not reached: NaN.
"""

import csv
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

KEY = {"problem": str, "optimizer": str, "stage": str, "rate": float, "seed": int}
RESULTS = KEY | {
    "status": str, "steps": int, "examples": int, "final": float, "best": float, "final_train_loss": float,
    "accuracy": float, "target": float, "steps_to_target": float, "seconds_to_target": float, "seconds": float,
    "compile_seconds": float, "update_microseconds": float, "state_bytes": float,
}  # fmt: skip
CURVES = KEY | {"step": int, "train_loss": float, "value": float, "accuracy": float}
PATHS = {"problem": str, "optimizer": str, "step": int, "x": float, "y": float}
ALLOWED = {"stage": ("default", "tuning", "final"), "status": ("finished", "stopped", "diverged")}

Key = tuple[str, str, str, float, int]


class Run(NamedTuple):
    """One row of results.csv."""

    problem: str
    optimizer: str
    stage: str  # default, tuning or final
    rate: float
    seed: int
    status: str  # finished, stopped (by the budget) or diverged
    steps: int
    examples: int
    final: float
    best: float
    final_train_loss: float
    accuracy: float
    target: float
    steps_to_target: float
    seconds_to_target: float
    seconds: float
    compile_seconds: float
    update_microseconds: float
    state_bytes: float

    @property
    def value(self) -> float:
        """The final value; infinity where the run diverged."""
        return math.inf if self.status == "diverged" else self.final

    @property
    def key(self) -> Key:
        """What tells it from other runs."""
        return self[:5]


class Study(NamedTuple):
    """What the folder of a study holds, checked."""

    runs: list[Run]
    curves: dict[Key, dict[str, np.ndarray]]  # per run the columns from step on
    paths: dict[tuple[str, str], np.ndarray]  # per problem and optimizer the points, shape (n, 2)
    twins: list[tuple[str, str]]
    planted: list[tuple[str, str]]
    manifest: dict[str, Any]
    config: dict[str, Any]

    @property
    def problems(self) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(run.problem for run in self.runs))

    @property
    def optimizers(self) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(run.optimizer for run in self.runs))

    def select(self, problem: str | None = None, optimizer: str | None = None, stage: str | None = None) -> list[Run]:
        """The runs of a problem, an optimizer and a stage; None takes all."""
        return [
            run
            for run in self.runs
            if (problem is None or run.problem == problem)
            and (optimizer is None or run.optimizer == optimizer)
            and (stage is None or run.stage == stage)
        ]


def read(folder: Path) -> Study:
    """Reads and checks the files. Raises: ValueError naming the file, the line and what is wrong."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the folder of a study")
    path = folder / "results.csv"
    runs = [Run(**row) for row in _rows(path, RESULTS)]
    if not runs:
        raise ValueError(f"{path}: there is no run in it")
    if len({run.key for run in runs}) < len(runs):
        twice = next(run.key for i, run in enumerate(runs) if run.key in {r.key for r in runs[:i]})
        raise ValueError(f"{path}: the run {', '.join(map(str, twice))} is there twice")
    plan = _object(folder / "plan.json")
    names = {run.optimizer for run in runs}
    twins = _pairs(folder / "plan.json", plan, "twins", names) if "twins" in plan else _twins(names)
    planted = _pairs(folder / "plan.json", plan, "planted", names)
    extra = [_object(folder / name) for name in ("manifest.json", "config.json")]
    return Study(runs, _curves(folder / "curves.csv", runs), _paths(folder / "paths.csv"), twins, planted, *extra)


def _rows(path: Path, columns: dict[str, type]) -> Iterable[dict[str, Any]]:
    if not path.is_file():
        raise ValueError(f"{path} is missing; the report needs it")
    try:
        text = path.read_bytes().decode()
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no table of text: {error}") from error
    header = lines[0] if lines else []
    if absent := [c for c in columns if c not in header]:
        raise ValueError(f"{path}: the first line lacks the columns {', '.join(absent)}; got {header}")
    if not text.endswith("\n"):
        raise ValueError(f"{path}: line {len(lines)} is cut off: it has no end")
    places = [(header.index(column), column, kind) for column, kind in columns.items()]
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise ValueError(f"{path}: line {number} has {len(line)} fields, the header has {len(header)}")
        yield {column: _cell(path, number, column, kind, line[place]) for place, column, kind in places}


def _cell(path: Path, number: int, column: str, kind: type, text: str) -> Any:
    if kind is str:
        if not text or text not in ALLOWED.get(column, (text,)):
            allowed = " or ".join(ALLOWED.get(column, ("a name",)))
            raise ValueError(f"{path}: line {number}: {column} must be {allowed}, got {text!r}")
        return text
    try:
        return kind(text or "nan")
    except ValueError:
        name = "a whole number" if kind is int else "a number or empty"
        raise ValueError(f"{path}: line {number}: {column} must be {name}, got {text!r}") from None


def _curves(path: Path, runs: list[Run]) -> dict[Key, dict[str, np.ndarray]]:
    collected: dict[Key, list[tuple[float, ...]]] = {}
    for row in _rows(path, CURVES):
        values = tuple(row.values())
        collected.setdefault(values[:5], []).append(values[5:])
    for run in runs:
        if run.key not in collected:
            raise ValueError(f"{path}: no rows of the run {', '.join(map(str, run.key))}, which results.csv names")
    names = list(CURVES)[5:]
    return {
        run.key: dict(zip(names, np.array(collected[run.key], np.float64).T, strict=True))
        for run in runs
    }  # fmt: skip


def _paths(path: Path) -> dict[tuple[str, str], np.ndarray]:
    collected: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in _rows(path, PATHS) if path.exists() else ():
        collected.setdefault((row["problem"], row["optimizer"]), []).append((row["x"], row["y"]))
    return {key: np.array(points) for key, points in collected.items()}


def _twins(names: set[str]) -> list[tuple[str, str]]:
    """jaxdl's and optax's optimizers of one name."""
    ours = sorted(name for name in names if name.startswith("jaxdl."))
    pairs = [(name, "optax." + name.removeprefix("jaxdl.")) for name in ours]
    return [pair for pair in pairs if pair[1] in names]


def _pairs(path: Path, plan: dict[str, Any], name: str, names: set[str]) -> list[tuple[str, str]]:
    found = plan.get(name, [])
    if not isinstance(found, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        raise ValueError(f"{path}: {name} must be a list of pairs of names, got {found!r}")
    return [(a, b) for a, b in found if {a, b} <= names]


def _object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold an object of names and values, got a {type(value).__name__}")
    return value
