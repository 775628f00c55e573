"""A study: the order of its runs, the rows it writes, its budget, and resuming.

Each optimizer goes through three stages on each problem. "default" uses its own rate, if it has one, with all seeds;
"tuning" uses the same learning rates for all optimizers, and its own rate, with seeds that no other stage has; "final"
uses the rate whose tuning runs ended lowest in the mean, with all seeds. Tuning is judged on the problem's validation
part. A problem without one, such as a landscape, is judged on its own value. Methods that find their step size
themselves (`contenders.TUNING_FREE`) have the final stage alone, at their own rate.

Folders of an earlier format tuned with the first final seed on the number that is reported. They resume that way.

In a joint study, the points that tuning tries are settings of several keywords, see `spaces`, instead of rates.

The runs of a stage are made in groups, in an order that the study's options fix. The rows of a group are written
together when it ends, so a resumed study repeats at most the group that was interrupted. It makes all runs that it
lacks, and may have more seeds, optimizers and problems than before; in the end the tables have the order in which one
study makes all of it. An optimizer that raises an error loses the rest of its runs on that problem, and no other runs.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax

from experiments.compare_optimizers import diagnosing
from experiments.compare_optimizers.contenders import Contender
from experiments.compare_optimizers.groups import TUNING_SEED, Failed, Group, StudySettings, blaming
from experiments.compare_optimizers.records import (
    CURVES,
    DIAGNOSTICS,
    FAILURES,
    PATHS,
    PLAN,
    RESULTS,
    Diagnostic,
    Evaluation,
    Failure,
    Key,
    Pair,
    PathPoint,
    Plan,
    Result,
    Stage,
)
from experiments.compare_optimizers.rows import describe, evaluation, in_order, result
from experiments.compare_optimizers.spaces import Candidate, Space, alike
from jaxdl import studies
from jaxdl.runs import records
from jaxdl.runs.names import twins
from jaxdl.runs.records import Table
from jaxdl.studies import cost, sweep


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
        spaces: what each optimizer tries in a joint study, by label; None tunes the rate alone.
        broken: the errors of optimizers whose first trial on a problem failed, by the names of problem and optimizer.
        takes: called before an optimizer begins on a problem, with the numbers of both; a False leaves its runs out.
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
        spaces: Mapping[str, Space] | None = None,
        broken: Mapping[Pair, str] | None = None,
        takes: Callable[[int, int], bool] = lambda problem, optimizer: True,
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
        self.spaces, self.broken, self._takes = spaces, broken or {}, takes
        self.results: Table[Result] = Table(folder / RESULTS, Result)
        self.curves: Table[Evaluation] = Table(folder / CURVES, Evaluation)
        self._steps = {problem.name: problem.steps for problem in problems}
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
        return sum(len([*self._groups(p, c, Candidate(0.0))]) for p in self.problems for c in self.contenders.values())

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
        self._steps = self._plan()
        whole = self._written()
        self.curves.keep(lambda row: row.key in whole)  # no curves of runs that are not in results.csv
        if (self.folder / FAILURES).exists():
            Table(self.folder / FAILURES, Failure).replace([])  # what failed is tried again
        for place, name in enumerate(self.problems):
            for number, one in enumerate(self.contenders.values()):
                if not self._takes(place, number):
                    continue
                try:
                    self._complete(name, one)
                    self.line(describe(self.results.rows, name, one.label))
                except Failed as failed:
                    stage, error = failed.args
                    Table(self.folder / FAILURES, Failure).append([Failure(name, one.label, stage, error)])
                    self.line(f"{name:<15} {one.label:<38} failed: {error}")
                self._sweeps.pop((name, one.label), None)  # frees its programs
            self._placed.pop(name)
            self._tuning.pop(name, None)
        self._sort()

    def _complete(self, name: str, one: Contender) -> None:
        """Make all runs of an optimizer on a problem that results.csv lacks."""
        if (name, one.label) in self.broken:
            raise Failed("start", self.broken[name, one.label])
        for group in self._groups(name, one, None):
            if (lacking := group.without(self._written())).members:
                self._make(lacking)
            self.advance()
        self._draw(name, one)
        if self.settings.diagnose:
            self._diagnose(name, one)

    # ------------------------------------------------------------ order

    def _groups(self, problem: str, one: Contender, best: Candidate | None) -> Iterator[Group]:
        """Yield the groups in order; if ``best`` is None, the best point is read from results.csv after tuning."""
        seeds, own = range(self.settings.seeds), self._own(one)
        tried = self._points(one)
        if own is not None and tried:
            yield from self._divided(problem, one, "default", [(own, s) for s in seeds])
        yield from self._divided(problem, one, "tuning", [(point, s) for point in tried for s in self.tuning_seeds])
        point = self._best(problem, one) if best is None else best
        yield from self._divided(problem, one, "final", [(point, s) for s in seeds])

    def _divided(
        self, problem: str, one: Contender, stage: Stage, pairs: list[tuple[Candidate, int]]
    ) -> Iterator[Group]:
        width = self._width(problem)
        for first in range(0, len(pairs), width):
            part = pairs[first : first + width]
            members = tuple(sweep.Member(point.rate, seed, self._traced(problem, point)) for point, seed in part)
            yield Group(problem, one.label, stage, members, tuple(point.settings for point, _ in part))

    def _traced(self, problem: str, point: Candidate) -> tuple[float, ...]:
        """Return the settings that the program takes; schedules know the number of steps."""
        return (*point.values, float(self._steps[problem])) if point.values else ()

    def _width(self, problem: str) -> int:
        """Return the members per group: one under "loop", else the seeds, rounded up to a multiple of the devices."""
        devices = self.settings.devices
        if self.methods[problem].name == "loop":
            return 1
        return -(-self.settings.seeds // devices) * devices

    def _own(self, one: Contender) -> Candidate | None:
        """Return an optimizer's defaults; None if it has no default rate."""
        if self.spaces is not None:
            return self.spaces[one.label].own
        return None if one.default_rate is None else Candidate(one.default_rate)

    def _points(self, one: Contender) -> tuple[Candidate, ...]:
        """Return the points that tuning tries: those of all optimizers and its own, or none."""
        if self.spaces is not None:
            return self.spaces[one.label].points
        shared = tuple(Candidate(rate) for rate in self.settings.rates)
        if self.is_old:
            return shared
        own = () if one.default_rate is None else (Candidate(one.default_rate),)
        return tuple(dict.fromkeys([*shared, *own])) if one.tuned else ()

    def _build(self, label: str) -> sweep.Build:
        return self.contenders[label].build if self.spaces is None else self.spaces[label].build

    def _best(self, problem: str, one: Contender) -> Candidate:
        """Return the point whose tuning runs ended lowest in the mean, or the lowest rate if each diverged for a seed.

        A method that is not tuned has its own defaults.
        """
        tried = self._points(one)
        if not tried:
            own = self._own(one)
            assert own is not None  # see `contenders.contender`
            return own
        ended: dict[tuple[float, str], list[float]] = {point[:2]: [] for point in tried}
        for row in self.results.rows:
            point = row.rate, row.settings
            if row.key[:3] == (problem, one.label, "tuning") and point in ended and row.seed in self.tuning_seeds:
                ended[point].append(row.value)
        means = [(sum(ended[point[:2]]) / len(ended[point[:2]]), point) for point in tried if ended[point[:2]]]
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
        kept = (found.steps if found is not None else None) or {}
        if found is not None and found.steps is not None:
            begun = {row.problem for row in self.results.rows}
            if {*kept} - {*self.problems} or ({*self.problems} - {*kept}) & begun or min(kept.values(), default=1) < 1:
                raise ValueError(f"{path}: steps must be a positive number for each of {[*self.problems]}, got {kept}")
        budget, new = self.settings, [name for name in self.problems if name not in kept]
        if budget.budget_steps is not None:
            steps = {name: kept.get(name, budget.budget_steps) for name in self.problems}
        elif budget.budget_seconds is not None and new:
            steps = self._affordable(budget.budget_seconds)
        else:
            steps = {name: kept.get(name, problem.steps) for name, problem in self.problems.items()}
        plan = Plan(
            steps=steps,
            full_steps={name: problem.steps for name, problem in self.problems.items()},
            methods={name: method.name for name, method in self.methods.items()},
            rates=self.settings.rates,
            twins=tuple(pair for pair in twins([*self.contenders]) if self.spaces is None or alike(pair)),
            planted=self.planted,
            tuning_seeds=self.tuning_seeds,
            validated=tuple(self._tuning),
        )
        if found is not None and kept:  # the decisions on what it had are kept
            plan = plan._replace(
                full_steps={**(plan.full_steps or {}), **(found.full_steps or {})},
                methods={**(plan.methods or {}), **(found.methods or {})},
                rates=found.rates,
                tuning_seeds=found.tuning_seeds,
                merged=found.merged,
            )
        if plan != found:
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
                groups = [*self._groups(name, one, Candidate(0.0))]
                try:
                    self._time(groups[0], units[name])
                    first, last = (self._time(groups[0], round(units[name] * count)) for count in (1, more))
                except Failed:
                    continue  # fails again, and is written, when its turn comes
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
        with blaming(group.stage):
            self._sweep(group).run(group.members, steps, stop=self._check)
        return time.perf_counter() - began

    def _check(self) -> bool:
        if self.stop():
            raise Stopped
        return False

    # ------------------------------------------------------------ runs and rows

    def _written(self) -> set[Key]:
        return {row.key for row in self.results.rows}

    def _sort(self) -> None:
        """Put the tables into the order in which one study makes all of its runs."""
        tried = {one.label: [point[:2] for point in self._points(one)] for one in self.contenders.values()}
        rank = in_order([*self.problems], [*self.contenders], tried)
        self.results.sort(rank)
        self.curves.sort(rank)
        places = [[*self.problems], [*self.contenders]]
        known = [{name: i for i, name in enumerate(names)} for names in places]
        for file, kind in ((PATHS, PathPoint), (DIAGNOSTICS, Diagnostic)):
            if (self.folder / file).exists():
                Table(self.folder / file, kind).sort(
                    lambda row: (known[0].get(row.problem, len(known[0])), known[1].get(row.optimizer, len(known[1])))
                )

    def _sweep(self, group: Group) -> sweep.Sweep:
        pair = group.problem, group.optimizer
        if pair not in self._sweeps:
            build = self._build(group.optimizer)
            self._sweeps[pair] = sweep.Sweep(self._placed[group.problem], build, width=self._width(group.problem))
        validating = group.stage == "tuning" and group.problem in self._tuning
        return self._sweeps[pair].on(self._tuning[group.problem]) if validating else self._sweeps[pair]

    def _make(self, group: Group) -> None:
        steps = self._steps[group.problem]
        with blaming(group.stage):
            traces = self._sweep(group).run(group.members, steps, stop=self._check)
            costs = self._cost(group)
        pairs = list(zip(group.keys(), traces, strict=True))
        # the curves are on disk before results.csv, so every run in results.csv is complete
        self.curves.append([evaluation(key, point) for key, trace in pairs for point in trace.points])
        self.curves.sync()
        self.results.append([result(key, self.problems[group.problem], trace, steps, costs) for key, trace in pairs])
        self.results.sync()

    def _draw(self, problem: str, one: Contender) -> None:
        """Write the path from a landscape's start at the best point, for contour plots."""
        known = {landscape.name: landscape for landscape in studies.LANDSCAPES}
        if problem not in known:
            return
        paths = Table(self.folder / PATHS, PathPoint)
        if any(row[:2] == (problem, one.label) for row in paths.rows):
            return
        best, steps = self._best(problem, one), self._steps[problem]
        with blaming("final"):
            at = self._traced(problem, best) or best.rate
            points = studies.landscapes.path(known[problem], self._build(one.label), at, steps=steps)
        paths.append(PathPoint(problem, one.label, i, float(x), float(y)) for i, (x, y) in enumerate(points))

    def _diagnose(self, problem: str, one: Contender) -> None:
        """Write what is measured along the final run of the first seed."""
        table = Table(self.folder / DIAGNOSTICS, Diagnostic)
        if any(row[:2] == (problem, one.label) for row in table.rows):
            return
        best = self._best(problem, one)
        member, build = sweep.Member(best.rate, 0, self._traced(problem, best)), self._build(one.label)
        with blaming("diagnose"):
            steps = self._steps[problem]
            table.append(diagnosing.rows(self._placed[problem], one.label, build, member, steps, stop=self._check))

    def _cost(self, group: Group) -> tuple[float, int]:
        pair = group.problem, group.optimizer
        if pair not in self._costs:
            params, _ = self.problems[group.problem].init(jax.random.key(0))
            build = self.contenders[group.optimizer].build
            self._costs[pair] = cost.update_microseconds(build, params), cost.state_bytes(build, params)
        return self._costs[pair]
