"""Optimizers on problems: who runs when, what is written, and how an interrupted study goes on.

Each optimizer goes through three stages on each problem: "default", its own rate where it has one, all seeds; "tuning",
the same points of learning rates for all, the first seed; "final", the rate whose tuning run ended lowest, all seeds.
As DeepOBS does, tuning judges by the number that is reported, so that the best of the points is a little flattered:
by the same number of draws for all.

The runs of a stage go through in groups, in an order that is fixed by the study's options. The rows of a group are
written together when it ends; a study that goes on repeats the group that was under way and no other.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.compare_optimizers.contenders import Contender, twins
from experiments.compare_optimizers.records import (
    CURVES,
    PATHS,
    PLAN,
    RESULTS,
    Evaluation,
    Key,
    Pair,
    PathPoint,
    Plan,
    Result,
    Stage,
)
from experiments.compare_optimizers.rows import checksums, describe, evaluation, result
from jaxdl import studies
from jaxdl.runs import folder as folders
from jaxdl.runs import records
from jaxdl.runs.records import Table
from jaxdl.studies import cost, sweep


class StudySettings(NamedTuple):
    """What all optimizers of a study have in common."""

    rates: tuple[float, ...]  # the points of tuning
    seeds: int
    budget_steps: int | None = None  # of each run
    budget_seconds: float | None = None  # of the whole study
    method: str | None = None  # of `sweep.METHODS`; None chooses per problem
    devices: int = 1


class Group(NamedTuple):
    """Runs of one optimizer on one problem that are made, and written, together."""

    problem: str
    optimizer: str
    stage: Stage
    members: tuple[sweep.Member, ...]

    def keys(self) -> list[Key]:
        """Which runs they are."""
        return [(self.problem, self.optimizer, self.stage, m.learning_rate, m.seed) for m in self.members]


class Stopped(Exception):
    """The study was asked to stop; what was under way is not written."""


class Study:
    """A study in its folder.

    Args:
        folder: the run's, with its config.json.
        problems: at least one, of different names.
        contenders: at least one, of different labels; `contenders.check` says whether they work.
        settings: what they have in common.
        planted: pairs of labels that the study must tell apart, for its report.
        line: shows one line of text.
        advance: called for each group that is in results.csv.
        stop: whether the study was asked to stop.

    Raises:
        ValueError: naming the file that is not what was written.
    """

    def __init__(
        self,
        folder: Path,
        problems: Sequence[studies.Problem],
        contenders: Sequence[Contender],
        settings: StudySettings,
        *,
        planted: Sequence[Pair] = (),
        line: Callable[[str], None] = print,
        advance: Callable[[], None] = lambda: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder, self.settings, self.planted = folder, settings, tuple(planted)
        self.problems = {problem.name: problem for problem in problems}
        self.contenders = {one.label: one for one in contenders}
        self.line, self.advance, self.stop = line, advance, stop
        self.began = time.perf_counter()
        self.methods = {problem.name: self._method(problem) for problem in problems}
        self.results, self.curves = Table(folder / RESULTS, Result), Table(folder / CURVES, Evaluation)
        self._placed: dict[str, sweep.Placed] = {}
        self._sweeps: dict[tuple[str, str], sweep.Sweep] = {}
        self._costs: dict[tuple[str, str], tuple[float, int]] = {}

    @property
    def groups(self) -> int:
        """How many groups the whole study has."""
        return sum(len([*self._groups(p, c, 0.0)]) for p in self.problems for c in self.contenders.values())

    def run(self) -> None:
        """Make all runs that results.csv does not hold.

        Raises:
            Stopped: where ``stop`` said so.
        """
        for name, problem in self.problems.items():
            method, reason = self.methods[name]
            self.line(f"{name}: {method}, because {reason}")
            devices = jax.devices()[: self.settings.devices if method == "vmap" else 1]
            self._placed[name] = sweep.place(problem, method=method, devices=devices)
        steps = self._plan()
        self._mend()
        for name in self.problems:
            for one in self.contenders.values():
                for group in self._groups(name, one, None):
                    if not {*group.keys()} <= self._written():
                        self._make(group, steps[name])
                    self.advance()
                self._draw(name, one, steps[name])
                self.line(describe(self.results.rows, name, one.label))
                self._sweeps.pop((name, one.label), None)  # its programs are not needed any more
            self._placed.pop(name)

    # ------------------------------------------------------------ what is run

    def _groups(self, problem: str, one: Contender, best: float | None) -> Iterator[Group]:
        """The groups in order; ``best`` None reads the best rate from results.csv once tuning is there."""
        seeds, width = self.settings.seeds, self._width(problem)
        if one.default_rate is not None:
            yield from self._divided(problem, one, "default", [(one.default_rate, s) for s in range(seeds)], width)
        yield from self._divided(problem, one, "tuning", [(rate, 0) for rate in self.settings.rates], width)
        rate = self._best_rate(problem, one.label) if best is None else best
        yield from self._divided(problem, one, "final", [(rate, s) for s in range(seeds)], width)

    def _divided(self, problem: str, one: Contender, stage: Stage, pairs: list, width: int) -> Iterator[Group]:
        for first in range(0, len(pairs), width):
            members = tuple(sweep.Member(*pair) for pair in pairs[first : first + width])
            yield Group(problem, one.label, stage, members)

    def _width(self, problem: str) -> int:
        """Members per group: one where they are run in turn, else as many as seeds, up to a multiple of the devices."""
        devices = self.settings.devices
        if self.methods[problem].name == "loop":
            return 1
        return -(-self.settings.seeds // devices) * devices

    def _best_rate(self, problem: str, optimizer: str) -> float:
        """The rate whose tuning run ended lowest; the lowest rate where none ended."""
        tuning = [row for row in self.results.rows if row.key[:3] == (problem, optimizer, "tuning")]
        ended = [(row.final, row.rate) for row in tuning if not math.isnan(row.final)]
        return min(ended)[1] if ended else min(self.settings.rates)

    def _method(self, problem: studies.Problem) -> sweep.Method:
        if self.settings.method is not None:
            return sweep.Method(self.settings.method, "it was asked for")
        return sweep.choose_method(problem)

    # ------------------------------------------------------------ how long

    def _plan(self) -> dict[str, int]:
        """Steps per problem, the same for all optimizers; written down, so that a study that goes on keeps them."""
        path = self.folder / PLAN
        if path.exists() and (kept := records.read_record(path, Plan).steps) is not None:
            return kept
        budget = self.settings
        if budget.budget_steps is not None:
            steps = dict.fromkeys(self.problems, budget.budget_steps)
        elif budget.budget_seconds is not None:
            steps = self._affordable(budget.budget_seconds)
        else:
            steps = {name: problem.steps for name, problem in self.problems.items()}
        plan = Plan(
            steps=steps,
            full_steps={name: problem.steps for name, problem in self.problems.items()},
            methods={name: method.name for name, method in self.methods.items()},
            rates=self.settings.rates,
            twins=tuple(twins([*self.contenders])),
            planted=self.planted,
        )
        records.write_json(path, plan)
        return steps

    def _affordable(self, seconds: float) -> dict[str, int]:
        """Steps per problem that make the study take about so long: equal time per problem, equal steps per optimizer.

        Every optimizer runs a few steps first, which compiles its program and shows what it costs.
        """
        fixed, each = dict.fromkeys(self.problems, 0.0), dict.fromkeys(self.problems, 0.0)
        units = {name: self._unit(problem) for name, problem in self.problems.items()}
        for name, problem in self.problems.items():
            more = min(4 * units[name], problem.steps) / units[name]
            for one in self.contenders.values():
                groups = [*self._groups(name, one, 0.0)]
                self._time(groups[0], units[name])
                first, last = (self._time(groups[0], round(units[name] * count)) for count in (1, more))
                cost = min(first, max(last - first, 1e-6) / (more - 1)) if more > 1 else first
                each[name] += cost * len(groups)
                fixed[name] += (first - cost) * len(groups)
        most = {name: -(-problem.steps // units[name]) for name, problem in self.problems.items()}
        left, affordable = seconds - (time.perf_counter() - self.began), {}
        for i, name in enumerate(sorted(most, key=lambda name: fixed[name] + most[name] * each[name])):
            share = left / (len(most) - i)  # what cheap problems leave goes to the others
            count = min(most[name], max(1, int((share - fixed[name]) / each[name])))
            left -= fixed[name] + count * each[name]
            affordable[name] = min(self.problems[name].steps, count * units[name])
            self.line(f"{name}: {affordable[name]} of {self.problems[name].steps} steps fit into the budget")
        return {name: affordable[name] for name in self.problems}

    def _unit(self, problem: studies.Problem) -> int:
        """Steps that budgets are counted in: an evaluation apart under "vmap", few where single steps are dear."""
        whole = problem.evaluate_every if self.methods[problem.name].name == "vmap" else 3
        return min(whole, problem.steps)

    def _time(self, group: Group, steps: int) -> float:
        began = time.perf_counter()
        self._sweep(group).run(group.members, steps, stop=self._check)
        return time.perf_counter() - began

    def _check(self) -> bool:
        if self.stop():
            raise Stopped
        return False

    # ------------------------------------------------------------ runs and rows

    def _written(self) -> set[Key]:
        return {row.key for row in self.results.rows}

    def _mend(self) -> None:
        """Drop rows of groups of which others are missing, and curves of runs that are not in results.csv."""
        written = self._written()
        partial: set[Key] = set()
        for name in self.problems:
            for one in self.contenders.values():
                for group in self._groups(name, one, None):
                    keys = {*group.keys()}
                    if not keys <= written:
                        partial |= keys & written
        self.results.keep(lambda row: row.key not in partial)
        whole = written - partial
        self.curves.keep(lambda row: row.key in whole)

    def _sweep(self, group: Group) -> sweep.Sweep:
        pair = group.problem, group.optimizer
        if pair not in self._sweeps:
            build = self.contenders[group.optimizer].build
            self._sweeps[pair] = sweep.Sweep(self._placed[group.problem], build, width=self._width(group.problem))
        return self._sweeps[pair]

    def _make(self, group: Group, steps: int) -> None:
        traces = self._sweep(group).run(group.members, steps, stop=self._check)
        pairs = list(zip(group.keys(), traces, strict=True))
        # results.csv comes last, and the curves are on disk before: what it holds is whole
        self.curves.append([evaluation(key, point) for key, trace in pairs for point in trace.points])
        self.curves.sync()
        problem, costs = self.problems[group.problem], self._cost(group)
        self.results.append([result(key, problem, trace, steps, costs) for key, trace in pairs])
        self.results.sync()

    def _draw(self, problem: str, one: Contender, steps: int) -> None:
        """On a landscape, the path from its start at the best rate, for contour plots."""
        known = {landscape.name: landscape for landscape in studies.LANDSCAPES}
        if problem not in known:
            return
        paths = Table(self.folder / PATHS, PathPoint)
        if any(row[:2] == (problem, one.label) for row in paths.rows):
            return
        points = studies.landscapes.path(known[problem], one.build, self._best_rate(problem, one.label), steps=steps)
        paths.append(PathPoint(problem, one.label, i, float(x), float(y)) for i, (x, y) in enumerate(points))

    def _cost(self, group: Group) -> tuple[float, int]:
        pair = group.problem, group.optimizer
        if pair not in self._costs:
            params, _ = self.problems[group.problem].init(jax.random.key(0))
            build = self.contenders[group.optimizer].build
            self._costs[pair] = cost.update_microseconds(build, params), cost.state_bytes(build, params)
        return self._costs[pair]


def describe_folder(
    folder: Path, problems: Sequence[studies.Problem], *, devices: Sequence[Any], argv: Sequence[str] | None = None
) -> None:
    """Write the manifest, or, where the study has begun before, see that the problems' arrays are the same.

    Raises:
        ValueError: see `folder.check_same_data`.
    """
    sums = checksums(problems)
    source = folders.DataSource(", ".join(sums), "of the arrays and the first epoch's batches", sums)
    folders.write_manifest(folder, seed=0, devices=devices, source=source, argv=argv)
