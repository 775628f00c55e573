"""The time that training takes, apart from compiling, measuring and saving."""

import math
import time
from typing import Any

import jax


class Clock:
    """Runs while one member trains. The first call of a process, which compiles, counts for `compile_seconds` alone."""

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self._seconds = 0.0  # up to the last stop
        self._steps = 0  # that the seconds were spent on
        self._mark: float | None = None  # when it was started; None while it stands
        self._compiled = False

    @property
    def seconds(self) -> float:
        """Training time so far, of all processes that took part in the run."""
        return self._seconds + (time.perf_counter() - self._mark if self._mark is not None else 0.0)

    @property
    def steps_per_second(self) -> float:
        """Over all steps but those of the first call of each process; NaN where there was no other."""
        return self._steps / self.seconds if self._steps else math.nan

    def start(self) -> None:
        """Begin or go on."""
        self._mark = time.perf_counter()

    def stop(self) -> None:
        """Stand still until the next `start`."""
        self._seconds, self._mark = self.seconds, None

    def count(self, result: Any, steps: int = 1) -> None:
        """Count the call of ``steps`` steps that is giving ``result``; the first is waited for and set aside."""
        if self._compiled:
            self._steps += steps
            return
        jax.block_until_ready(result)
        now = time.perf_counter()
        self.compile_seconds += now - (self._mark if self._mark is not None else now)
        self._mark, self._compiled = now, True

    def to_dict(self) -> dict[str, float | int]:
        """What a checkpoint keeps."""
        return {"seconds": self.seconds, "steps": self._steps, "compile_seconds": self.compile_seconds}

    def restore(self, values: dict[str, Any]) -> None:
        """Go on from what `to_dict` gave."""
        self._seconds, self._steps = values["seconds"], values["steps"]
        self.compile_seconds = values["compile_seconds"]
