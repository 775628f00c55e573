"""A study's records of its runs, made from their traces; and the grid of learning rates."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.compare_optimizers.records import STAGES, Evaluation, Key, Result
from jaxdl import studies
from jaxdl.studies import sweep


def result(key: Key, problem: studies.Problem, trace: sweep.Trace, steps: int, cost: tuple[float, int]) -> Result:
    """Return a run's row of results.csv.

    Args:
        key: the fields that identify the run.
        problem: its problem.
        trace: its course.
        steps: the number of steps it was given.
        cost: microseconds of an update of its optimizer, and bytes of its state.
    """
    last = None if trace.diverged else trace.points[-1]
    reached = None if problem.target is None else reached_at(trace.points, problem.target)
    share = None if reached is None else round(trace.seconds * reached / max(trace.steps, 1), 6)
    return Result(
        *key[:5],
        status="diverged" if trace.diverged else "stopped" if steps < problem.steps else "finished",
        steps=trace.steps,
        examples=trace.steps * problem.batch_size,
        final=_known(last and last.value),
        best=min((point.value for point in trace.points), default=math.nan),
        final_train_loss=_known(last and last.train_loss),
        accuracy=_known(last and last.accuracy),
        target=_known(problem.target),
        steps_to_target=_known(reached),
        seconds_to_target=_known(share),
        seconds=round(trace.seconds, 6),
        compile_seconds=round(trace.compile_seconds, 3),
        update_microseconds=round(cost[0], 3),
        state_bytes=cost[1],
        settings=key[5],
    )


def evaluation(key: Key, point: sweep.Point) -> Evaluation:
    """Return an evaluation's row of curves.csv."""
    return Evaluation(
        *key[:5],
        step=point.step,
        train_loss=_known(point.train_loss),
        value=point.value,
        accuracy=_known(point.accuracy),
        settings=key[5],
    )


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def reached_at(points: Sequence[sweep.Point], target: float) -> int | None:
    """Return the step of the first evaluation that reaches the target; None if none does."""
    return next((point.step for point in points if point.value <= target), None)


def describe(runs: Sequence[Result], problem: str, optimizer: str) -> str:
    """Describe an optimizer's results on a problem in one line."""
    parts = []
    for stage, words in (("default", "default rate"), ("final", "best rate")):
        found = [run for run in runs if run.key[:3] == (problem, optimizer, stage)]
        if not found:
            continue
        finals = [run.final for run in found if not math.isnan(run.final)]
        text = f"{words} {found[0].rate:.4g}: "
        text += f"{np.mean(finals):.5g} (SD {np.std(finals, ddof=min(1, len(finals) - 1)):.2g})" if finals else ""
        if len(finals) < len(found):
            text += f" {len(found) - len(finals)} of {len(found)} diverged"
        parts.append(text)
    return f"{problem:<15} {optimizer:<38} {'; '.join(parts)}"


def points(low: float, high: float, count: int, *, search: str = "grid") -> tuple[float, ...]:
    """Return learning rates that are uniform in the logarithm.

    Args:
        low, high: the smallest and the largest rate.
        count: number of rates.
        search: "grid" includes both ends; "quasi_random" follows van der Corput's sequence, so that any first few are
            spread evenly.

    Raises:
        ValueError: if an argument is out of range.
    """
    if not (0 < low <= high and math.isfinite(high)):
        raise ValueError(f"rates={low, high}: must be two positive numbers, the lower one first")
    if count < 1 or search not in ("grid", "quasi_random"):
        raise ValueError(f"points={count}, search={search!r}: must be at least 1, and 'grid' or 'quasi_random'")
    if search == "grid":
        places = [i / max(count - 1, 1) for i in range(count)]
    else:
        places = [sum(((i >> bit) & 1) / 2 ** (bit + 1) for bit in range(i.bit_length())) for i in range(1, count + 1)]
    return tuple(float(f"{low * (high / low) ** place:.4g}") for place in places)


def checksums(problems: Sequence[studies.Problem]) -> dict[str, str]:
    """Return the SHA-256 of each problem's arrays and first epoch of batches."""
    found = {}
    for problem in problems:
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves((problem.data, problem.batches(0, 0))):
            array = np.ascontiguousarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        found[problem.name] = digest.hexdigest()
    return found


def in_order(
    problems: Sequence[str], optimizers: Sequence[str], tried: Mapping[str, Sequence[tuple[float, str]]]
) -> Callable[[Any], tuple]:
    """Return the place of a row of results.csv or curves.csv in a study that makes all runs in one go.

    Args:
        problems: their names in order; rows of others come last.
        optimizers: their labels in order.
        tried: for each label, the rate and the settings of its points of tuning in order.
    """
    places = [{name: i for i, name in enumerate(names)} for names in (problems, optimizers)]
    points = {label: {point: i for i, point in enumerate(found)} for label, found in tried.items()}

    def rank(row: Any) -> tuple:
        known = points.get(row.optimizer, {})
        point = known.get((row.rate, row.settings), len(known))
        first, second = (names.get(name, len(names)) for names, name in zip(places, row[:2], strict=True))
        return first, second, STAGES.index(row.stage), point, row.seed

    return rank
