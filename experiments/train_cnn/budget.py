"""How often checkpoints are written, and the time that they may take."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jaxdl.runs.progress import seconds_of

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
