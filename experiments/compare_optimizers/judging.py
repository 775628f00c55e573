"""Which comparisons does a study decide? Paired tests of all pairs on all problems, with Holm's correction."""

import itertools
import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from experiments.compare_optimizers.records import Pair, StudyContents
from jaxdl.studies import statistics
from jaxdl.studies.statistics import Interval, PairedTest

Test = tuple[str, str, str, PairedTest]  # problem, first, second, first less second

LEVEL: Final = 0.05
"""A comparison with an adjusted p-value of at most this is decided."""

COVERAGE: Final = {
    3: (94.9, 96.2, 94.7),
    4: (95.0, 96.2, 94.8),
    5: (95.1, 96.2, 94.6),
    6: (95.0, 96.2, 94.6),
    7: (95.1, 96.0, 94.6),
    8: (95.0, 96.1, 94.5),
    9: (94.9, 96.0, 94.6),
    10: (95.0, 96.0, 94.5),
    12: (95.1, 96.0, 94.6),
    15: (95.1, 95.9, 94.7),
    20: (94.9, 95.6, 94.7),
    30: (95.1, 95.6, 94.8),
}
"""Coverage in percent by the number of seeds: normal values, t₃, real differences; from `benchmarks/coverage.md`."""


class Judged(NamedTuple):
    """The comparison of a pair on a problem, with its p-value after Holm's correction."""

    problem: str
    first: str
    second: str
    test: PairedTest  # of first less second
    adjusted: float  # p-value; NaN if too few seeds carry a verdict

    @property
    def decided(self) -> bool:
        """Return whether the study decides which of the two is better."""
        return self.adjusted <= LEVEL

    def verdict(self) -> str:
        """Say what the comparison means."""
        interval = self.test.interval
        if interval == (0, 0, 0):
            return "no difference"
        if math.isnan(self.adjusted):
            return "too few seeds"
        if not self.decided:
            return "not told apart" if interval.contains(0) else "not after Holm's correction"
        return "first is better" if interval.estimate < 0 else "second is better"

    def ordered(self) -> tuple[str, str, Interval]:
        """Return the optimizer with the lower mean, the other one, and the interval of their difference."""
        estimate, low, high = self.test.interval
        if estimate < 0:
            return self.first, self.second, self.test.interval
        return self.second, self.first, Interval(-estimate, -high, -low)


def judged(study: StudyContents) -> list[Judged]:
    """Return all comparisons of the study, on every problem those of every pair of optimizers.

    The pairs that were named before the runs, twins and planted ones, are one family and all others another. Each
    family gets half of 5 % by doubling its adjusted p-values, so that a study of equal optimizers decides any pair with
    a probability of at most 5 %. If one family is empty, the other gets all.
    """
    found, both = [], families(study)
    for tests in both:
        adjusted = np.minimum(1.0, len(both) * statistics.holm([test.p_value for *_, test in tests]))
        found += [Judged(*one, float(p)) for one, p in zip(tests, adjusted, strict=True)]
    return found


def families(study: StudyContents) -> list[list[Test]]:
    """Return the tests of the pairs that were named before the runs, and those of all others, without empty lists."""
    named = dict.fromkeys([*study.twins, *study.planted])
    others = [pair for pair in itertools.combinations(study.optimizers, 2) if not {pair, pair[::-1]} & {*named}]
    return [tests for tests in (_tests(study, named), _tests(study, others)) if tests]


def of_pairs(study: StudyContents, pairs: Iterable[Pair]) -> list[Judged]:
    """Return the comparisons of some pairs, problem by problem."""
    found = {(one.problem, one.first, one.second): one for one in judged(study)}
    return [found[key] for p in study.problems for pair in pairs if (key := (p, *pair)) in found]


def coverage(seeds: int) -> str:
    """Say how often an interval from so many seeds contains the mean, by ``benchmarks/coverage.md``."""
    if seeds < statistics.MIN_SEEDS:
        return f"Fewer than {statistics.MIN_SEEDS} seeds carry no interval and no verdict"
    known = max(n for n in COVERAGE if n <= seeds)
    normal, t3, real = COVERAGE[known]
    return (
        f"In simulations with {known} seeds, they contain the mean of normal values in {normal:.1f} %, of Student's t₃ "
        f"in {t3:.1f} %, and of resampled real differences in {real:.1f} % of all studies"
    )


def _tests(study: StudyContents, pairs: Iterable[Pair]) -> list[Test]:
    """Return the tests of some pairs, problem by problem, over the seeds that both have."""
    values: dict[tuple[str, str], dict[int, float]] = {}
    for run in study.select(stage="final"):
        values.setdefault((run.problem, run.optimizer), {})[run.seed] = run.value
    found = []
    for problem, (a, b) in itertools.product(study.problems, pairs):
        first, second = values.get((problem, a), {}), values.get((problem, b), {})
        if seeds := sorted({*first} & {*second}):
            test = statistics.paired_test([first[s] for s in seeds], [second[s] for s in seeds])
            found.append((problem, a, b, test))
    return found
