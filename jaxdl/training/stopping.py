"""Early stopping on a development set (Lecture row G2)."""

import math
from typing import NamedTuple


class EarlyStopping(NamedTuple):
    """Stop when a value has not fallen for ``patience`` epochs.

    A value of plain numbers: ``stopping, improved = stopping.update(value, epoch)``; keep a copy of the weights
    whenever ``improved`` and restore them at the end.
    """

    patience: int  # epochs without a new minimum that are borne; at least 1
    best: float = math.inf  # the lowest value so far
    best_epoch: int = -1  # the epoch it came from
    waited: int = 0  # epochs since

    @property
    def stop(self) -> bool:
        """Whether patience is used up."""
        return self.waited >= self.patience

    def update(self, value: float, epoch: int) -> tuple["EarlyStopping", bool]:
        """Take in the value of one epoch; NaN never improves."""
        if self.patience < 1:
            raise ValueError(f"patience={self.patience} is less than 1")
        if value < self.best:
            return self._replace(best=value, best_epoch=epoch, waited=0), True
        return self._replace(waited=self.waited + 1), False
