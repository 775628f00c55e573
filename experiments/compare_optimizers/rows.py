"""The rows of a study: what results.csv and curves.csv hold, and the points of learning rates.

results.csv has a row per run, curves.csv one per evaluation of a run; on 2-D landscapes paths.csv has one per point of
the path from the landscape's start at the best rate. ``final`` and ``best`` are values of the
problem's test metric, lower is better; an empty cell is what is not defined or was not reached. ``status``: finished;
stopped, before the problem's full number of steps, by the budget; diverged. ``seconds`` is the run's share of the time
that all runs of its program took, without compiling and evaluating.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np

from jaxdl import studies
from jaxdl.studies import sweep

RESULTS: Final = (
    "problem", "optimizer", "stage", "rate", "seed", "status", "steps", "examples", "final", "best",
    "final_train_loss", "accuracy", "target", "steps_to_target", "seconds_to_target", "seconds", "compile_seconds",
    "update_microseconds", "state_bytes",
)  # fmt: skip
CURVES: Final = ("problem", "optimizer", "stage", "rate", "seed", "step", "train_loss", "value", "accuracy")
PATHS: Final = ("problem", "optimizer", "step", "x", "y")
KEY: Final = RESULTS[:5]  # the columns that say which run a row is of
TIMES: Final = ("seconds_to_target", "seconds", "compile_seconds", "update_microseconds")
"""The columns that differ when a study is run again."""


def key(row: Mapping[str, str]) -> tuple[str, ...]:
    """Which run a row is of."""
    return tuple(row[name] for name in KEY)


def result(problem: studies.Problem, trace: sweep.Trace, steps: int) -> dict[str, Any]:
    """The row of a run in results.csv, but for its name and what its optimizer costs.

    Args:
        problem: that was run.
        trace: what the run did.
        steps: that it was to do.
    """
    last = None if trace.diverged else trace.points[-1]
    reached = None if problem.target is None else reached_at(trace.points, problem.target)
    return {
        "status": "diverged" if trace.diverged else "stopped" if steps < problem.steps else "finished",
        "steps": trace.steps,
        "examples": trace.steps * problem.batch_size,
        "final": last and last.value,
        "best": min((point.value for point in trace.points), default=None),
        "final_train_loss": last and last.train_loss,
        "accuracy": last and last.accuracy,
        "target": problem.target,
        "steps_to_target": reached,
        "seconds_to_target": None if reached is None else round(trace.seconds * reached / max(trace.steps, 1), 6),
        "seconds": round(trace.seconds, 6),
        "compile_seconds": round(trace.compile_seconds, 3),
    }


def reached_at(points: Sequence[sweep.Point], target: float) -> int | None:
    """The step of the first evaluation at which the target is reached."""
    return next((point.step for point in points if point.value <= target), None)


def describe(rows: Sequence[Mapping[str, str]], problem: str, optimizer: str) -> str:
    """One line on how an optimizer did on a problem."""
    parts = []
    for stage, words in (("default", "default rate"), ("final", "best rate")):
        found = [row for row in rows if key(row)[:3] == (problem, optimizer, stage)]
        if not found:
            continue
        finals = [float(row["final"]) for row in found if row["final"]]
        text = f"{words} {float(found[0]['rate']):.4g}: "
        text += f"{np.mean(finals):.5g} ± {np.std(finals, ddof=min(1, len(finals) - 1)):.2g}" if finals else ""
        if len(finals) < len(found):
            text += f" {len(found) - len(finals)} of {len(found)} diverged"
        parts.append(text)
    return f"{problem:<15} {optimizer:<38} {'; '.join(parts)}"


def points(low: float, high: float, count: int, *, search: str = "grid") -> tuple[float, ...]:
    """Learning rates between two, even in their logarithm.

    Args:
        low, high: the least and the largest rate.
        count: how many.
        search: "grid" has both ends; "quasi_random" goes through van der Corput's sequence, of which every beginning
            is spread out evenly.

    Raises:
        ValueError: naming what is out of range.
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
    """SHA-256 of each problem's arrays and of the batches of its first epoch."""
    found = {}
    for problem in problems:
        digest = hashlib.sha256()
        for leaf in jax.tree.leaves((problem.data, problem.batches(0, 0))):
            array = np.ascontiguousarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        found[problem.name] = digest.hexdigest()
    return found
