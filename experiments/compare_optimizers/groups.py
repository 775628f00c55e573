"""Groups of runs of one optimizer on one problem, the settings that all runs share, and failures."""

import contextlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from experiments.compare_optimizers.contenders import error_line
from experiments.compare_optimizers.records import Key, Stage
from jaxdl.runs import names
from jaxdl.studies import sweep


class StudySettings(NamedTuple):
    """Settings that all optimizers of a study share."""

    rates: tuple[float, ...]  # of tuning
    seeds: int
    budget_steps: int | None = None  # of each run
    budget_seconds: float | None = None  # of the whole study
    method: str | None = None  # of `sweep.METHODS`; None chooses per problem
    devices: int = 1
    tuning_seeds: int = 1
    diagnose: bool = False  # measure along the final runs


TUNING_SEED: Final = 1_000_000
"""The first seed of tuning; the others follow. Those of the other stages count from 0."""


class Group(NamedTuple):
    """Runs of one optimizer on one problem that are made and written together."""

    problem: str
    optimizer: str
    stage: Stage
    members: tuple[sweep.Member, ...]
    texts: tuple[str, ...]  # the settings of each member in a joint study, else empty ones

    def keys(self) -> list[Key]:
        """Return the fields that identify its runs."""
        pairs = zip(self.members, self.texts, strict=True)
        return [(self.problem, self.optimizer, self.stage, m.learning_rate, m.seed, text) for m, text in pairs]

    def without(self, written: set[Key]) -> "Group":
        """Return the group of those runs that are not written."""
        left = [i for i, key in enumerate(self.keys()) if key not in written]
        return self._replace(members=tuple(self.members[i] for i in left), texts=tuple(self.texts[i] for i in left))


class Failed(Exception):
    """An optimizer raised an error."""


@contextlib.contextmanager
def blaming(stage: str) -> Iterator[None]:
    """Turn an error of an optimizer's code into `Failed`, with the stage and one line about it.

    Mistakes in code that is called with arrays are of these types; an operating system's errors, such as a full disk,
    and Ctrl-C are not the optimizer's.
    """
    try:
        yield
    except names.CODE_ERRORS as error:
        raise Failed(stage, error_line(error)) from error
