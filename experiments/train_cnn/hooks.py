"""What happens around the steps of a run: `--log`, `--profile`, and when checkpoints are written."""

import contextlib
import functools
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax

from jaxdl.extras import needed
from jaxdl.runs import names
from jaxdl.runs.loading import optimizer_folder
from jaxdl.runs.progress import seconds_of

Log = Callable[[Mapping[str, Any], Path], Any]  # (row of metrics.csv, run folder), called for each row


def tensorboard(row: Mapping[str, Any], folder: Path) -> None:
    """Write loss, accuracy and learning rate as TensorBoard events, one run of it per optimizer.

    Raises:
        ImportError: if tensorboardX is not installed.
    """
    writer = _writer(folder / "tensorboard" / optimizer_folder(row["optimizer"]))
    for name in ("loss", "accuracy", "learning_rate"):
        if math.isfinite(row[name]):
            writer.add_scalar(f"{row['split']}/{name}", row[name], row["step"])
    writer.flush()


@functools.cache
def _writer(folder: Path) -> Any:
    return event_writer()(str(folder))


def event_writer() -> Callable[[str], Any]:
    """Return the class that writes event files.

    Raises:
        ImportError: if tensorboardX is not installed.
    """
    with needed("log='tensorboard'", "tensorboard"):
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
    return SummaryWriter


LOGS: Final[dict[str, Log]] = {"tensorboard": tensorboard}


def to_all(logs: Sequence[str], folder: Path) -> Callable[[NamedTuple], None]:
    """Return a function that hands a row to every log.

    A resumed run writes, and logs, the rows after its last checkpoint once more.
    """
    functions = [names.function("log", text, LOGS) for text in logs]

    def log(row: NamedTuple) -> None:
        for function in functions:
            function(row._asdict(), folder)

    return log


class Profiler:
    """Traces some steps after the first call, which compiles, with JAX's profiler.

    Args:
        folder: the trace goes here; TensorBoard and xprof read it.
        steps: the number of steps, at least; a trace ends with a call, and with the epoch.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._left = folder, steps
        self._trace: contextlib.ExitStack | None = None

    def count(self, steps: int, result: Any) -> None:
        """Count a call of ``steps`` steps that returned ``result``."""
        if self._left <= 0:
            return
        if self._trace is None:
            jax.block_until_ready(result)
            self._trace = contextlib.ExitStack()
            self._trace.enter_context(jax.profiler.trace(str(self._folder)))
            return
        self._left -= steps
        if self._left <= 0:
            jax.block_until_ready(result)
            self.stop()

    def stop(self) -> None:
        """End the trace if it runs."""
        if self._trace is not None:
            self._trace.close()
            self._trace, self._left = None, 0


SHARE = 0.1  # of a run's time
FIRST = 0.1  # seconds; assumed of a checkpoint until one is measured


class Every(NamedTuple):
    """How often checkpoints were asked for: one of the three, or all 0 for `SaveBudget` to decide."""

    steps: int = 0  # then also at the end of each epoch
    epochs: int = 0
    seconds: float = 0.0


def parse_every(given: int | str) -> Every:
    """Return how often checkpoints were asked for by ``--checkpoint-every``, such as 100, 2epochs, 90s, 10m or 1h30m.

    Raises:
        ValueError: if it is written otherwise, or negative.
    """
    if isinstance(given, int) and given >= 0:
        return Every(steps=given)
    epochs = re.fullmatch(r"([1-9]\d{0,8})\s*epochs?", str(given))
    if epochs is not None:
        return Every(epochs=int(epochs[1]))
    seconds = seconds_of(str(given))
    if not seconds:
        allowed = (
            "at least 0: a number of steps such as 100, of epochs such as 2epochs, or a time such as 90s, 10m or 1h"
        )
        raise ValueError(f"checkpoint_every={given!r} is not allowed: it must be {allowed}")
    return Every(seconds=seconds)


class SaveBudget:
    """Lets the checkpoints of all trainers of a run together take at most a tenth of its time.

    Args:
        now: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._begin = now, now()
        self._spent, self._last = 0.0, FIRST

    @property
    def allows(self) -> bool:
        """Return whether another checkpoint as slow as the last one stays within the share."""
        return self._spent + self._last <= SHARE * (self._now() - self._begin)

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Count the time of a checkpoint."""
        begin = self._now()
        yield
        self._last = self._now() - begin
        self._spent += self._last
