"""Early stopping on a development set. [Lecture row G2]"""

import math
from typing import NamedTuple


class EarlyStopping(NamedTuple):
    """Stop when a value has not fallen for ``patience`` epochs.

    Call ``stopping, improved = stopping.update(value, epoch)`` after each epoch, keep a copy of the weights whenever
    ``improved``, and restore it at the end.
    """

    patience: int  # epochs to wait for a new minimum, at least 1
    best: float = math.inf  # the lowest value so far
    best_epoch: int = -1  # the epoch of the lowest value
    waited: int = 0  # epochs since then

    @property
    def stop(self) -> bool:
        """Whether the patience is used up."""
        return self.waited >= self.patience

    def update(self, value: float, epoch: int) -> tuple["EarlyStopping", bool]:
        """Return the state after an epoch with this value, and whether the value improved; NaN never does."""
        if self.patience < 1:
            raise ValueError(f"patience={self.patience} is less than 1")
        if value < self.best:
            return self._replace(best=value, best_epoch=epoch, waited=0), True
        return self._replace(waited=self.waited + 1), False
