"""The time that checkpoints may take."""

import contextlib
import time
from collections.abc import Callable, Iterator

SHARE = 0.1  # of a run's time
FIRST = 0.1  # seconds; assumed of a checkpoint until one is measured


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
