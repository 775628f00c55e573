"""The files of a demonstration: its numbers and arrays by case and seed, its claims and captions as rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from jaxdl import disk
from jaxdl.runs import records
from jaxdl.studies.statistics import Interval

MEASUREMENTS: Final = "measurements.csv"
RESULTS: Final = "results.csv"
FIGURES: Final = "figures.csv"
ARRAYS: Final = "arrays"
SECONDS: Final = "CPU seconds"  # the last number of each run, which marks it as finished


class CaseNumber(NamedTuple):
    """A row of measurements.csv: one number of one run."""

    case: str
    seed: int
    quantity: str
    value: float


class ClaimRow(NamedTuple):
    """A row of results.csv: one claim, and all that its numbers need to be believed."""

    experiment: str
    claim: str
    lecture: str
    measured: str
    estimate: float
    low: float
    high: float
    unit: str
    verdict: str
    seeds: int
    data: str
    cpu_seconds: float  # of all runs of the experiment
    command: str

    @property
    def interval(self) -> Interval:
        """The estimate with its interval."""
        return Interval(self.estimate, self.low, self.high)


class Caption(NamedTuple):
    """A row of figures.csv: a file in the folder figures, and its caption."""

    file: str
    caption: str


class Outcomes:
    """The numbers and arrays of the seeds that finished all cases, by case and quantity."""

    def __init__(self, folder: Path, cases: Sequence[str]) -> None:
        rows = records.read_table(folder / MEASUREMENTS, CaseNumber, unfinished=True)
        self._folder, self.cases = folder, list(cases)
        self._numbers: dict[tuple[str, int, str], float] = {}
        for row in rows:
            if (row.case, row.seed, row.quantity) in self._numbers:
                path = folder / MEASUREMENTS
                raise ValueError(f"{path}: has {row.quantity!r} of {row.case!r} and seed {row.seed} twice")
            self._numbers[row.case, row.seed, row.quantity] = row.value
        finished = {(row.case, row.seed) for row in rows if row.quantity == SECONDS}
        seeds = sorted({seed for _, seed in finished})
        self.seeds = [seed for seed in seeds if all((case, seed) in finished for case in cases)]
        self.cpu_seconds = sum(row.value for row in rows if row.quantity == SECONDS)

    def numbers(self, case: str, quantity: str) -> np.ndarray:
        """Return a quantity of a case, one value per seed.

        Raises:
            ValueError: if the case has no such quantity for a seed; the message has those that it has.
        """
        if lacking := [seed for seed in self.seeds if (case, seed, quantity) not in self._numbers]:
            there = sorted({q for c, s, q in self._numbers if (c, s) == (case, lacking[0])})
            raise ValueError(
                f"{self._folder / MEASUREMENTS}: {case!r} has no {quantity!r} for seed {lacking[0]}; it has "
                f"{', '.join(there)}"
            )
        return np.array([self._numbers[case, seed, quantity] for seed in self.seeds])

    def arrays(self, case: str, name: str) -> np.ndarray:
        """Return an array of a case, stacked over the seeds.

        Raises:
            ValueError: if its file is missing or damaged, or has no such array.
        """
        found = []
        for seed in self.seeds:
            path = arrays_file(self._folder, self.cases, case, seed)
            arrays = disk.read_arrays(path)
            if name not in arrays:
                raise ValueError(f"{path}: has no array {name!r}; it has {', '.join(arrays)}")
            found.append(arrays[name])
        return np.stack(found)

    def quantities(self, case: str) -> list[str]:
        """Return the names of the numbers of a case, in the order in which they were measured."""
        return list(dict.fromkeys(q for c, _, q in self._numbers if c == case))


def arrays_file(folder: Path, cases: Sequence[str], case: str, seed: int) -> Path:
    """Return the file of a run's arrays."""
    return folder / ARRAYS / f"{list(cases).index(case)}_{seed}.npz"
