"""Numbers of a study's report and their formats: times to a target, means, intervals."""

import math
from collections.abc import Sequence, Sized

import numpy as np

from experiments.compare_optimizers.records import Result, StudyContents
from jaxdl.studies import statistics
from jaxdl.studies.statistics import Interval


def with_target(study: StudyContents) -> list[tuple[str, float]]:
    """Return the problems that have a target, with it."""
    targets = {run.problem: run.target for run in study.runs if math.isfinite(run.target)}
    return list(targets.items())


def to_target(runs: Sequence[Result], unit: str) -> np.ndarray:
    """Return each run's steps, examples or seconds to the target; infinity if it was not reached."""
    steps = np.array(
        [max(run.steps_to_target, 1.0) if run.steps_to_target == 0 else run.steps_to_target for run in runs]
    )
    if unit == "examples":
        steps = steps * [run.examples / max(run.steps, 1) for run in runs]
    elif unit == "seconds":
        steps = np.array([max(run.seconds_to_target, 1e-9) for run in runs])
    return np.where(np.isnan(steps), np.inf, steps)


def reached(runs: Sequence[Result]) -> str:
    """Write how many of the runs reached the target."""
    return f"{np.isfinite(to_target(runs, 'steps')).sum()} of {len(runs)}"


def ended(runs: Sequence[Result]) -> list[float]:
    """Return the final value of each run; infinity where it diverged."""
    return [run.value for run in runs]


def best(run: Result) -> float:
    """Return the best value of a run; infinity where there is none."""
    return math.inf if math.isnan(run.best) else run.best


def by_rate(runs: Sequence[Result]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ascending rates of some runs and the mean final value of each; infinity where one diverged."""
    values: dict[float, list[float]] = {}
    for run in runs:
        values.setdefault(run.rate, []).append(run.value)
    rates = sorted(values)
    return np.array(rates), np.array([np.mean(values[rate]) for rate in rates])


def by_point(runs: Sequence[Result]) -> list[float]:
    """Return the mean final value of each point that some runs tried; infinity where one diverged."""
    values: dict[tuple[float, str], list[float]] = {}
    for run in runs:
        values.setdefault((run.rate, run.settings), []).append(run.value)
    return [float(np.mean(found)) for found in values.values()]


def flags(final: Sequence[Result], default: Sequence[Result], tuning: Sequence[Result]) -> str:
    """Write the signs of a tuned rate that may mislead: † at the end of the range, ‡ worse than the default."""
    found = remarks(final, default, tuning)
    return ("†" if "end of the range" in found else "") + ("‡" if "worse than" in found else "")


def remarks(final: Sequence[Result], default: Sequence[Result], tuning: Sequence[Result]) -> str:
    """Write the reasons for which a tuned rate may mislead."""
    if not tuning:
        return "not tuned"
    tried, found = {run.rate for run in tuning}, []
    if len(tried) > 1 and final[0].rate in (min(tried), max(tried)):
        found.append("tuned rate at the end of the range")
    if default and not mean(ended(final)).estimate <= mean(ended(default)).estimate:
        found.append("worse than at the default rate")
    return ", ".join(found)


def mean(values: Sequence[float]) -> Interval:
    """Return the mean of the known values with Student's interval."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.student(known) if known else Interval(math.nan, math.nan, math.nan)


def median(values: Sequence[float] | np.ndarray) -> float:
    """Return the median, which may be infinite."""
    with np.errstate(invalid="ignore"):
        return float(np.median(values))


def percent(interval: Interval, scale: float) -> Interval:
    """Return an interval in percent of a scale."""
    return Interval(*(100 * v / scale if scale and math.isfinite(scale) else v for v in interval))


def half(interval: Interval) -> str:
    """Write an estimate ± half of its interval."""
    width = interval.high - interval.low
    return f"{number(interval.estimate)} ± {width / 2:.2g}" if math.isfinite(width) else number(interval.estimate)


def ends(interval: Interval) -> str:
    """Write the ends of an interval."""
    if math.isnan(interval.low) or (interval.low, interval.high) == (-math.inf, math.inf):
        return "–"
    return f"{number(interval.low)} to {number(interval.high)}"


def number(value: float) -> str:
    """Write a number with five digits."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return "–" if math.isnan(value) else f"{value:.5g}"


def rate(runs: Sequence[Result]) -> str:
    """Write the learning rate that some runs share."""
    return f"{runs[0].rate:.4g}" if runs else "–"


def short(name: str) -> str:
    """Return an optimizer's label without its module."""
    return name.split(":", 1)[-1]


def counted(things: Sized, name: str) -> str:
    """Write how many things there are."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
