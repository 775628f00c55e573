"""How far a run has come: its time by phases, and bars or plain lines on standard output, which takes any text."""

import contextlib
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Literal

import jax

from jaxdl import disk
from jaxdl.extras import needed
from jaxdl.texts import printable

QUIET = 10.0  # seconds after which a train row is printed where there are no bars; a log shall not look dead


def decimals(value: float) -> str:
    """Format a loss with four decimals, or with four digits if it is huge: 1e30 has 31 digits before the point."""
    return f"{value:.4f}" if abs(value) < 1e5 or not math.isfinite(value) else f"{value:.4g}"


def _console() -> Any:
    """Return rich's console, with two changes: names are literal, and a reader who has gone is an error like others."""
    with needed("progress", "experiments"):
        from rich.console import Console

    class Literally(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich calls this where it catches the error, and would end without a word

    return Literally(soft_wrap=True, highlight=False, markup=False, emoji=False)


class RunProgress:
    """Progress of a training run.

    Args:
        steps: number of steps per optimizer, the length of the bars.
    """

    def __init__(self, steps: int) -> None:
        with needed("progress", "experiments"):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeElapsedColumn as Elapsed
            from rich.progress import TimeRemainingColumn as Remaining

        self.console = _console()
        self._steps = steps
        self._tasks: dict[str, Any] = {}
        self._bars = None
        self._said = time.monotonic()  # when the last line was printed
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                Elapsed(),
                TextColumn("left"),
                Remaining(),
            )
            self._bars = Progress(*columns, TextColumn("{task.fields[text]}", markup=False), console=self.console)

    def __enter__(self) -> "RunProgress":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def row(self, member: Any, row: Any) -> None:
        """Show one row of metrics.csv, of the trainer ``member``."""
        accuracy = "" if math.isnan(row.accuracy) else f" accuracy {row.accuracy:.2%}"
        text = f"{row.split} loss {decimals(row.loss)}{accuracy}"
        rate = member.clock.steps_per_second
        rate = f"  {rate:.1f} steps/s" if math.isfinite(rate) else ""
        if self._bars is not None:
            if member.name not in self._tasks:
                self._tasks[member.name] = self._bars.add_task(printable(member.name), total=self._steps, text="")
            self._bars.update(self._tasks[member.name], completed=row.step, text=f"{text}{rate}")
        elif row.split != "train" or time.monotonic() - self._said >= QUIET:
            self.line(f"{member.name:<22} epoch {row.epoch + 1:>3}  step {row.step:>6}  {text}{rate}")

    def line(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(printable(text, keep="\n"))
        self._said = time.monotonic()

    def table(self, summary: Any) -> None:
        """Print the final table of a run."""
        with needed("a table", "experiments"):
            from rich.table import Table

        title = f"{summary.model} on {summary.dataset}, {summary.parameters:,} parameters"
        table = Table(title=printable(title))
        for name in ("optimizer", "test accuracy", "test loss", "steps/s", "steps"):
            table.add_column(name, justify="left" if name == "optimizer" else "right")
        for row in summary.rows:
            table.add_row(
                printable(row.optimizer),
                f"{row.test_accuracy:.2%}" if math.isfinite(row.test_accuracy) else "–",
                decimals(row.test_loss) if math.isfinite(row.test_loss) else "–",
                f"{row.steps_per_second:.1f}" if math.isfinite(row.steps_per_second) else "–",
                str(row.steps),
            )
        self.console.print(table)
        for row in summary.rows:
            if row.diverged_at is not None:
                self.line(f"{row.optimizer} diverged at step {row.diverged_at:,}.")
        if summary.pair is not None:
            self.line(describe_pair(summary.pair))


def describe_pair(pair: Any) -> str:
    """Describe in one sentence how far apart the first two optimizers ended, compared with the noise floor."""
    text = (
        f"Final parameters of {pair.a} and {pair.b} differ by {pair.max_relative_difference:.2e} "
        f"of the largest in their leaf ({pair.max_ulps:.3g} ulps)"
    )
    if pair.noise_floor_relative is None:
        return text + "."
    return (
        f"{text}; {pair.b} differs from itself by {pair.noise_floor_relative:.2e} "
        f"({pair.noise_floor_ulps:.3g} ulps) after moving one leaf of its start by one ulp: the noise floor."
    )


class StudyProgress:
    """Progress of a study, in groups of runs."""

    def __init__(self) -> None:
        with needed("progress", "experiments"):
            from rich.progress import Progress

        self.console = _console()
        self._bar = Progress(console=self.console) if self.console.is_terminal else None
        self._task: Any = None

    def __enter__(self) -> "StudyProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, groups: int) -> None:
        """Set the number of groups."""
        if self._bar is not None:
            self._task = self._bar.add_task("groups of runs", total=groups)

    def advance(self) -> None:
        """Count a finished group."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(printable(text, keep="\n"))


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


def show_any_text() -> None:
    """Let standard output and errors take all text: what their encoding lacks is escaped, and both may be closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the command was started with it closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class NamedOutput:
    """Standard output whose errors name it, such as that of a full disk or of a reader who has gone."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with disk.naming("standard output"):
            return self._file.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with disk.naming("standard output"):
            self._file.flush()
