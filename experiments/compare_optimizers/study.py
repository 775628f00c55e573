"""A study: the order of its runs, the rows it writes, its budget, and resuming.

Each optimizer goes through three stages on each problem. "default" uses its own rate, if it has one, with all seeds;
"tuning" uses the same learning rates for all optimizers, and its own rate, with seeds that no other stage has; "final"
uses the rate whose tuning runs ended lowest in the mean, with all seeds. Tuning is judged on the problem's validation
part. A problem without one, such as a landscape, is judged on its own value. Methods that find their step size
themselves (`contenders.TUNING_FREE`) have the final stage alone, at their own rate.

Folders of an earlier format tuned with the first final seed on the number that is reported. They resume that way.

The runs of a stage are made in groups, in an order that the study's options fix. The rows of a group are written
together when it ends, so a resumed study repeats at most the group that was interrupted.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax

from experiments.compare_optimizers.contenders import Contender
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
from jaxdl.runs.names import twins
from jaxdl.runs.records import Table
from jaxdl.studies import cost, sweep


class StudySettings(NamedTuple):
    """Settings that all optimizers of a study share."""

    rates: tuple[float, ...]  # of tuning
    seeds: int
    budget_steps: int | None = None  # of each run
    budget_seconds: float | None = None  # of the whole study
    method: str | None = None  # of `sweep.METHODS`; None chooses per problem
    devices: int = 1
    tuning_seeds: int = 1


TUNING_SEED: Final = 1_000_000
"""The first seed of tuning; the others follow. Those of the other stages count from 0."""


class Group(NamedTuple):
    """Runs of one optimizer on one problem that are made and written together."""

    problem: str
    optimizer: str
    stage: Stage
    members: tuple[sweep.Member, ...]

    def keys(self) -> list[Key]:
        """Return the fields that identify its runs."""
        return [(self.problem, self.optimizer, self.stage, m.learning_rate, m.seed) for m in self.members]


class Stopped(Exception):
    """The study was asked to stop; the group that was running is not written."""


class Study:
    """A study in its folder.

    Args:
        folder: the study's folder, with its config.json.
        problems: at least one, with different names.
        contenders: at least one, with different labels; `contenders.check` tries them.
        settings: the settings that they share.
        planted: pairs of labels that the report expects to be told apart.
        line: prints a line of text.
        advance: called for each group that is in results.csv.
        stop: returns whether the study was asked to stop.

    Raises:
        ValueError: if a file of the folder is damaged; the message names it.
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
        self._tuning: dict[str, sweep.Placed] = {}  # of the problems with a validation part
        self._sweeps: dict[tuple[str, str], sweep.Sweep] = {}
        kept = self._kept_plan()
        self.is_old = kept is not None and kept.tuning_seeds is None
        self.tuning_seeds = (0,) if self.is_old else tuple(TUNING_SEED + i for i in range(settings.tuning_seeds))
        self._costs: dict[tuple[str, str], tuple[float, int]] = {}

    @property
    def groups(self) -> int:
        """Return the number of groups in the whole study."""
        return sum(len([*self._groups(p, c, 0.0)]) for p in self.problems for c in self.contenders.values())

    def run(self) -> None:
        """Make all runs that results.csv lacks.

        Raises:
            Stopped: if ``stop`` returned true.
        """
        for name, problem in self.problems.items():
            method, reason = self.methods[name]
            self.line(f"{name}: {method}, because {reason}")
            devices = jax.devices()[: self.settings.devices if method == "vmap" else 1]
            self._placed[name] = sweep.place(problem, method=method, devices=devices)
            if problem.tuning is not None and not self.is_old:
                self._tuning[name] = sweep.on_tuning(self._placed[name], problem.tuning())
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
                self._sweeps.pop((name, one.label), None)  # frees its programs
            self._placed.pop(name)
            self._tuning.pop(name, None)

    # ------------------------------------------------------------ order

    def _groups(self, problem: str, one: Contender, best: float | None) -> Iterator[Group]:
        """Yield the groups in order; if ``best`` is None, the best rate is read from results.csv after tuning."""
        seeds, width = self.settings.seeds, self._width(problem)
        tried = self._rates(one)
        if one.default_rate is not None and tried:
            yield from self._divided(problem, one, "default", [(one.default_rate, s) for s in range(seeds)], width)
        pairs = [(rate, seed) for rate in tried for seed in self.tuning_seeds]
        yield from self._divided(problem, one, "tuning", pairs, width)
        rate = self._best_rate(problem, one) if best is None else best
        yield from self._divided(problem, one, "final", [(rate, s) for s in range(seeds)], width)

    def _divided(self, problem: str, one: Contender, stage: Stage, pairs: list, width: int) -> Iterator[Group]:
        for first in range(0, len(pairs), width):
            members = tuple(sweep.Member(*pair) for pair in pairs[first : first + width])
            yield Group(problem, one.label, stage, members)

    def _width(self, problem: str) -> int:
        """Return the members per group: one under "loop", else the seeds, rounded up to a multiple of the devices."""
        devices = self.settings.devices
        if self.methods[problem].name == "loop":
            return 1
        return -(-self.settings.seeds // devices) * devices

    def _rates(self, one: Contender) -> tuple[float, ...]:
        """Return the rates that tuning tries: those of all optimizers and its own, or none."""
        if self.is_old:
            return self.settings.rates
        own = () if one.default_rate is None else (one.default_rate,)
        return tuple(dict.fromkeys([*self.settings.rates, *own])) if one.tuned else ()

    def _best_rate(self, problem: str, one: Contender) -> float:
        """Return the rate whose tuning runs ended lowest in the mean, or the lowest rate if each diverged for a seed.

        A method that is not tuned has its own rate.
        """
        tried = self._rates(one)
        if not tried:
            assert one.default_rate is not None  # see `contenders.contender`
            return one.default_rate
        ended: dict[float, list[float]] = {rate: [] for rate in tried}
        for row in self.results.rows:
            if row.key[:3] == (problem, one.label, "tuning") and row.rate in ended and row.seed in self.tuning_seeds:
                ended[row.rate].append(row.value)
        means = [(sum(values) / len(values), rate) for rate, values in ended.items() if values]
        finite = [pair for pair in means if math.isfinite(pair[0])]
        return min(finite)[1] if finite else min(tried)

    def _method(self, problem: studies.Problem) -> sweep.Method:
        if self.settings.method is not None:
            return sweep.Method(self.settings.method, "it was asked for")
        return sweep.choose_method(problem)

    # ------------------------------------------------------------ budget

    def _plan(self) -> dict[str, int]:
        """Return the steps per problem, the same for all optimizers, and write them for a resumed study."""
        path, found = self.folder / PLAN, self._kept_plan()
        if found is not None and (kept := found.steps) is not None:
            if {*kept} != {*self.problems} or min(kept.values()) < 1:
                raise ValueError(f"{path}: steps must be a positive number for each of {[*self.problems]}, got {kept}")
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
            tuning_seeds=self.tuning_seeds,
            validated=tuple(self._tuning),
        )
        records.write_json(path, plan)
        return steps

    def _kept_plan(self) -> Plan | None:
        path = self.folder / PLAN
        return records.read_record(path, Plan) if path.exists() else None

    def _affordable(self, seconds: float) -> dict[str, int]:
        """Return the steps per problem that fit into a time: equal time per problem, equal steps per optimizer.

        Every optimizer first runs a few steps, which compiles its program and measures its cost.
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
            share = left / (len(most) - i)  # time that cheap problems leave goes to the others
            count = min(most[name], max(1, int((share - fixed[name]) / each[name])))
            left -= fixed[name] + count * each[name]
            affordable[name] = min(self.problems[name].steps, count * units[name])
            self.line(f"{name}: {affordable[name]} of {self.problems[name].steps} steps fit into the budget")
        return {name: affordable[name] for name in self.problems}

    def _unit(self, problem: studies.Problem) -> int:
        """Return the unit of budgets in steps: an evaluation interval under "vmap", a few steps under "loop"."""
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
        """Drop rows of incomplete groups, and curves of runs that are not in results.csv."""
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
        validating = group.stage == "tuning" and group.problem in self._tuning
        return self._sweeps[pair].on(self._tuning[group.problem]) if validating else self._sweeps[pair]

    def _make(self, group: Group, steps: int) -> None:
        traces = self._sweep(group).run(group.members, steps, stop=self._check)
        pairs = list(zip(group.keys(), traces, strict=True))
        # the curves are on disk before results.csv, so every run in results.csv is complete
        self.curves.append([evaluation(key, point) for key, trace in pairs for point in trace.points])
        self.curves.sync()
        problem, costs = self.problems[group.problem], self._cost(group)
        self.results.append([result(key, problem, trace, steps, costs) for key, trace in pairs])
        self.results.sync()

    def _draw(self, problem: str, one: Contender, steps: int) -> None:
        """Write the path from a landscape's start at the best rate, for contour plots."""
        known = {landscape.name: landscape for landscape in studies.LANDSCAPES}
        if problem not in known:
            return
        paths = Table(self.folder / PATHS, PathPoint)
        if any(row[:2] == (problem, one.label) for row in paths.rows):
            return
        points = studies.landscapes.path(known[problem], one.build, self._best_rate(problem, one), steps=steps)
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
    """Write the manifest of a new study; for a resumed one, check that the problems' arrays are unchanged.

    Raises:
        ValueError: see `folder.check_same_data`.
    """
    sums = checksums(problems)
    source = folders.DataSource(", ".join(sums), "of the arrays and the first epoch's batches", sums)
    folders.write_manifest(folder, seed=0, devices=devices, source=source, argv=argv)
