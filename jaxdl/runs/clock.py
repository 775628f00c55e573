"""The time of a run by phases: compilation, training steps, evaluation, checkpoints; and times as users write them."""

import contextlib
import math
import re
import time
from collections.abc import Iterator
from typing import Any, Literal

import jax


def seconds_of(text: str) -> float | None:
    """Return the seconds of a time such as 90s, 1.5m, 3h or 1h30m; None if it is written otherwise."""
    number = r"(\d+(?:\.\d+)?)"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?", text)
    if not text or match is None:
        return None
    return sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True))


class Clock:
    """A stopwatch of one optimizer's training. The first call of a process compiles and counts as compilation only.

    Evaluation and checkpoints are timed apart, while the stopwatch stands still (`during`). The first evaluation of a
    part compiles, too, which counts as evaluation.
    """

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self.apart = {"evaluation": 0.0, "checkpoint": 0.0}  # seconds
        self._seconds = 0.0  # up to the last stop
        self._steps = 0  # done in those seconds
        self._mark: float | None = None  # time of the last start; None while stopped
        self._compiled = False

    @property
    def seconds(self) -> float:
        """Return the training time so far, summed over all processes of a resumed run."""
        return self._seconds + (time.perf_counter() - self._mark if self._mark is not None else 0.0)

    @property
    def steps_per_second(self) -> float:
        """Return the rate over all steps except the first call of each process; NaN if there was no other call."""
        return self._steps / self.seconds if self._steps else math.nan

    def start(self) -> None:
        """Start or continue."""
        self._mark = time.perf_counter()

    def stop(self) -> None:
        """Pause until the next `start`."""
        self._seconds, self._mark = self.seconds, None

    @contextlib.contextmanager
    def during(self, phase: Literal["evaluation", "checkpoint"]) -> Iterator[None]:
        """Add the time of the block to a phase; the stopwatch must stand still."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.apart[phase] += time.perf_counter() - begin

    def count(self, result: Any, steps: int = 1) -> None:
        """Count a call of ``steps`` steps that returned ``result``; the first one is waited for and not counted."""
        if self._compiled:
            self._steps += steps
            return
        jax.block_until_ready(result)
        now = time.perf_counter()
        self.compile_seconds += now - (self._mark if self._mark is not None else now)
        self._mark, self._compiled = now, True

    def to_dict(self) -> dict[str, float | int]:
        """Return the state for a checkpoint."""
        apart = {f"{phase}_seconds": seconds for phase, seconds in self.apart.items()}
        return {"seconds": self.seconds, "steps": self._steps, "compile_seconds": self.compile_seconds, **apart}

    def restore(self, values: dict[str, Any]) -> None:
        """Continue from a state of `to_dict`; older ones lack the phases apart."""
        self._seconds, self._steps = values["seconds"], values["steps"]
        self.compile_seconds = values["compile_seconds"]
        self.apart = {phase: values.get(f"{phase}_seconds", 0.0) for phase in self.apart}
