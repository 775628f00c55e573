"""Progress on the console: a bar per optimizer on a terminal, plain lines elsewhere, and the final table."""

import math
import time
from typing import Any

from jaxdl.extras import needed
from jaxdl.texts import printable

QUIET = 10.0  # seconds after which a train row is printed where there are no bars; a log shall not look dead


def decimals(value: float) -> str:
    """Format a loss with four decimals, or with four digits if it is huge: 1e30 has 31 digits before the point."""
    return f"{value:.4f}" if abs(value) < 1e5 or not math.isfinite(value) else f"{value:.4g}"


class RunProgress:
    """Progress of a training run.

    Args:
        steps: number of steps per optimizer, the length of the bars.
    """

    def __init__(self, steps: int) -> None:
        with needed("progress", "experiments"):
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeElapsedColumn as Elapsed
            from rich.progress import TimeRemainingColumn as Remaining

        self.console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)  # names are literal
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
            from rich.console import Console
            from rich.progress import Progress

        self.console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)  # names are literal
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
