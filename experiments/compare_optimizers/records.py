"""The records in the files of a study's folder, and a reader of the whole folder for its report.

- ``results.csv``: a `Result` per run
- ``curves.csv``: an `Evaluation` per evaluation of a run
- ``failures.csv``, if an optimizer raised an error: a `Failure` per optimizer and problem
- ``paths.csv``, if there are landscapes: a `PathPoint` per point of an optimizer's path
- ``diagnostics.csv``, after ``--diagnose``: a `Diagnostic` per number
- ``plan.json``: a `Plan`, which a report can do without
- ``manifest.json`` and ``config.json``, if they exist: provenance and options

Older files lack the column of settings, or have it in another place.

Lower values of a problem's test metric are better. An undefined value is NaN, and so is a target that was not reached.
"""

import math
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from jaxdl.runs import records
from jaxdl.runs.folder import CONFIG, MANIFEST, Manifest

RESULTS: Final = "results.csv"
CURVES: Final = "curves.csv"
PATHS: Final = "paths.csv"
FAILURES: Final = "failures.csv"
DIAGNOSTICS: Final = "diagnostics.csv"
PLAN: Final = "plan.json"
STAGES: Final = ("default", "tuning", "final")
TIMES: Final = ("seconds_to_target", "seconds", "compile_seconds", "update_microseconds")
"""The fields of a `Result` that differ when a study is run again."""

Stage = Literal["default", "tuning", "final"]
Key = tuple[Any, ...]  # problem, optimizer, stage, rate, seed, settings: they identify a run
Pair = tuple[str, str]


class Result(NamedTuple):
    """A run: a row of results.csv."""

    problem: str
    optimizer: str
    stage: Stage
    rate: float
    seed: int
    status: Literal["finished", "stopped", "diverged"]  # stopped: by the budget
    steps: int
    examples: int
    final: float
    best: float
    final_train_loss: float
    accuracy: float
    target: float
    steps_to_target: float
    seconds_to_target: float
    seconds: float  # its share of the time of its program's runs, without compiling and evaluating
    compile_seconds: float
    update_microseconds: float
    state_bytes: float
    settings: str = ""  # all that is tuned but the rate

    @property
    def value(self) -> float:
        """Return the final value; infinity if the run diverged."""
        return math.inf if self.status == "diverged" else self.final

    @property
    def key(self) -> Key:
        """Return the fields that identify the run."""
        return (*self[:5], self.settings)


class Evaluation(NamedTuple):
    """An evaluation of a run: a row of curves.csv."""

    problem: str
    optimizer: str
    stage: Stage
    rate: float
    seed: int
    step: int
    train_loss: float  # mean, with a penalty of the problem, over the steps since the last evaluation
    value: float
    accuracy: float
    settings: str = ""

    @property
    def key(self) -> Key:
        """Return the fields that identify the run."""
        return (*self[:5], self.settings)


class Failure(NamedTuple):
    """An optimizer that raised an error on a problem: a row of failures.csv."""

    problem: str
    optimizer: str
    stage: str  # "start" if the first trial failed
    error: str  # one line


class PathPoint(NamedTuple):
    """A point of an optimizer's path from a landscape's start at the best rate: a row of paths.csv."""

    problem: str
    optimizer: str
    step: int
    x: float
    y: float


class Diagnostic(NamedTuple):
    """A number measured along a final run: a row of diagnostics.csv; see `diagnosing`."""

    problem: str
    optimizer: str
    step: int
    quantity: str
    value: float


class Plan(NamedTuple):
    """plan.json: decisions that a resumed study keeps, and pairs of optimizers for the report."""

    steps: dict[str, int] | None = None  # of each problem, the same for all optimizers
    full_steps: dict[str, int] | None = None
    methods: dict[str, str] | None = None
    rates: tuple[float, ...] | None = None
    twins: tuple[Pair, ...] | None = None
    planted: tuple[Pair, ...] = ()
    tuning_seeds: tuple[int, ...] | None = None  # None in an older format, see `study`
    validated: tuple[str, ...] = ()  # problems whose tuning was judged on a validation part
    merged: tuple[str, ...] = ()  # the studies of which this one was put together


class StudyContents(NamedTuple):
    """The contents of a study's folder."""

    runs: list[Result]
    curves: dict[Key, dict[str, np.ndarray]]  # per run the fields of `Evaluation` from step on
    paths: dict[tuple[str, str], np.ndarray]  # per problem and optimizer the points, shape (n, 2)
    twins: list[Pair]
    planted: list[Pair]
    manifest: Manifest | None
    config: dict[str, Any]
    validated: list[str]
    failures: tuple[Failure, ...] = ()
    merged: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def problems(self) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(run.problem for run in self.runs))

    @property
    def optimizers(self) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(run.optimizer for run in self.runs))

    def select(
        self, problem: str | None = None, optimizer: str | None = None, stage: str | None = None
    ) -> list[Result]:
        """Return the runs of a problem, an optimizer and a stage; None selects all."""
        return [
            run
            for run in self.runs
            if (problem is None or run.problem == problem)
            and (optimizer is None or run.optimizer == optimizer)
            and (stage is None or run.stage == stage)
        ]


def read(folder: Path) -> StudyContents:
    """Read and check the files.

    Raises:
        ValueError: if a file is missing or damaged; the message names the file and the line.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give the folder of a study")
    path = folder / RESULTS
    runs = records.read_table(path, Result)
    failures = tuple(records.read_table(folder / FAILURES, Failure)) if (folder / FAILURES).exists() else ()
    if not runs:
        why = [f"; {one.optimizer} on {one.problem} failed: {one.error}" for one in failures[:1]]
        raise ValueError(f"{path}: there is no run in it{''.join(why)}")
    keys = [run.key for run in runs]
    if (
        twice := next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if len({*keys}) < len(keys)
        else None
    ):
        raise ValueError(f"{path}: the run {_words(twice)} is there twice")
    plan = records.read_record(folder / PLAN, Plan) if (folder / PLAN).exists() else Plan()
    names = {run.optimizer for run in runs}
    twins, planted = ([pair for pair in pairs if {*pair} <= names] for pairs in (_twins(plan, names), plan.planted))
    manifest = records.read_record(folder / MANIFEST, Manifest) if (folder / MANIFEST).exists() else None
    config = records.read_json(folder / CONFIG) if (folder / CONFIG).exists() else {}
    curves, paths = _curves(folder / CURVES, runs), _paths(folder / PATHS)
    diagnostics = (folder / DIAGNOSTICS).exists() and records.read_table(folder / DIAGNOSTICS, Diagnostic)
    return StudyContents(
        runs, curves, paths, twins, planted, manifest, config, [*plan.validated], failures, plan.merged,
        tuple(diagnostics or ()),
    )  # fmt: skip


def _words(key: Key) -> str:
    return ", ".join(str(one)[:100] for one in key if one != "")


def _curves(path: Path, runs: list[Result]) -> dict[Key, dict[str, np.ndarray]]:
    collected: dict[Key, list[tuple[Any, ...]]] = {}
    for row in records.read_table(path, Evaluation):
        collected.setdefault(row.key, []).append(row[5:-1])
    for run in runs:
        if run.key not in collected:
            raise ValueError(f"{path}: no rows of the run {_words(run.key)}, which results.csv names")
    names = Evaluation._fields[5:-1]
    return {
        run.key: dict(zip(names, np.array(collected[run.key], np.float64).T, strict=True))
        for run in runs
    }  # fmt: skip


def _paths(path: Path) -> dict[tuple[str, str], np.ndarray]:
    collected: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in records.read_table(path, PathPoint) if path.exists() else ():
        collected.setdefault((row.problem, row.optimizer), []).append((row.x, row.y))
    return {key: np.array(points) for key, points in collected.items()}


def _twins(plan: Plan, names: set[str]) -> list[Pair]:
    """Return the plan's twins or, without a plan, the optimizers of jaxdl and optax with the same name."""
    if plan.twins is not None:
        return [*plan.twins]
    return [(name, "optax." + name.removeprefix("jaxdl.")) for name in sorted(names) if name.startswith("jaxdl.")]
