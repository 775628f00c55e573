"""The curves of a study's report: values over steps, learning rates and the tuning budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare_optimizers import numbers as num
from experiments.compare_optimizers.records import StudyContents
from jaxdl import plots
from jaxdl.runs import pages
from jaxdl.studies import statistics

CurveOf = Callable[[StudyContents, str, str], plots.Curve | plots.Band | None]
"""(study, problem, optimizer) -> its curve, if it has one."""
MOST = 8
"""Number of curves in one panel."""


def groups(study: StudyContents) -> list[tuple[str, ...]]:
    """Return the groups of optimizers that share a panel: twins, planted pairs, and every other one alone."""
    pairs = [*study.twins, *study.planted]
    paired = {name for pair in pairs for name in pair}
    return [*pairs, *((name,) for name in study.optimizers if name not in paired)]


def panels(study: StudyContents, folder: Path, problem: str, kind: str, curve: CurveOf, **options: Any) -> str:
    """Draw a figure with a panel per group, and return the Markdown that shows it."""
    found = {name: one for name in study.optimizers if (one := curve(study, problem, name)) is not None}
    drawn = [{num.short(name): found[name] for name in group if name in found} for group in groups(study)]
    figure = plots.panels([group for group in drawn if group], title=problem, **options)
    alt = f"{problem}: {options['ylabel']} against {options['xlabel']}, a panel per algorithm, all others in grey"
    return pages.figure(folder, f"{kind}_{problem}", figure, alt, chart=True)


def overlay(study: StudyContents, folder: Path, problem: str, kind: str, curve: CurveOf, **options: Any) -> str:
    """Draw the curves of the best optimizers in one panel with their names, and return the Markdown that shows it."""
    found = {name: one for name in leading(study, problem) if (one := curve(study, problem, name)) is not None}
    figure = plots.overlay({num.short(name): one for name, one in found.items()}, title=problem, **options)
    alt = f"{problem}: {options['ylabel']} against {options['xlabel']} of {', '.join(map(num.short, found))}"
    return pages.figure(folder, f"{kind}_overlay_{problem}", figure, alt, chart=True)


def leading(study: StudyContents, problem: str) -> list[str]:
    """Return the optimizers with the lowest mean final values, at most `MOST`, without the second ones of twins."""
    ended = {}
    for name in study.optimizers:
        if runs := study.select(problem, name, "final") or study.select(problem, name, "tuning"):
            mean = num.mean(num.ended(runs)).estimate
            ended[name] = np.inf if np.isnan(mean) else mean
    if len(ended) > MOST:
        second = {other for first, other in study.twins if first in ended}
        ended = {name: mean for name, mean in ended.items() if name not in second}
    return sorted(ended, key=lambda name: ended[name])[:MOST]


def over_steps(study: StudyContents, problem: str, optimizer: str) -> plots.Band | None:
    """Return the mean over seeds at the tuned point, with its interval; a run is infinite after an early end."""
    curves = [study.curves[run.key] for run in study.select(problem, optimizer, "final")]
    if not curves:
        return None
    steps = max((curve["step"] for curve in curves), key=len)
    values = np.full((len(curves), len(steps)), np.inf)
    for row, curve in zip(values, curves, strict=True):
        row[: len(curve["value"])] = curve["value"]
    means, low, high = np.array([num.mean(column.tolist()) for column in values.T]).T
    return steps, means, low, high


def over_rates(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    """Return the mean tuning value of each rate; infinity where a run diverged."""
    runs = study.select(problem, optimizer, "tuning")
    return num.by_rate(runs) if runs else None


def over_tries(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    """Return the expected best tuning value of k points drawn from those that were tried, none of them twice."""
    runs = study.select(problem, optimizer, "tuning")
    if not runs:
        return None
    untrained = float(np.median([study.curves[run.key]["value"][0] for run in study.select(problem)]))
    best = statistics.expected_best(num.by_point(runs), worst=untrained, replacement=False)
    return np.arange(1, len(best) + 1), best
