"""How often does a study's interval of 95 % contain the mean, and how often does a study of equal optimizers decide?

    python -m benchmarks.coverage > benchmarks/coverage.md   # ten seconds on one core
    python -m benchmarks.coverage --measure                  # trains 2,868 runs in three minutes for coverage.csv

The samples are normal, Student's with three degrees of freedom, lognormal, and drawn with replacement from paired
differences of real runs at tuned rates, whose values ``coverage.csv`` holds for 200 seeds.
"""

import argparse
import csv
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from jaxdl.studies import statistics

PAIRS = Path(__file__).with_suffix(".csv")
SEEDS, WIDTH = 200, 40
SIZES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30)
TRIALS = 100_000
STUDIES = 5_000
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
COVERED = f"""# Coverage of a study's intervals, and decisions among equal optimizers

`python -m benchmarks.coverage`

Share in percent of {TRIALS:,} samples of n seeds whose nominal 95 % interval (Student's) contains the mean. Fewer
than {statistics.MIN_SEEDS} seeds carry no verdict, because of metrics with steps. Real: differences of tuned runs on
digits_softmax, digits_mlp and quadratic_deep, 18 pairs, resampled from 200 seeds; the pair that is covered least
stands beside, from {TRIALS // 5:,} samples. Rounded: normal, rounded to half the standard deviation.
"""
DECIDED = f"""
Share in percent of {STUDIES:,} studies of six equal optimizers on three problems, 45 pairs, that decide any pair: by
the intervals alone, and after Holm's correction. Where the correction is exact, 5 % has a standard error of 0.3.
"""
OPTIMIZERS = ("sgd", "momentum", "adam", "rmsprop")
RATES = np.geomspace(1e-3, 10, 13)  # of tuning


def measure() -> None:
    """Tune four optimizers on three problems, train each from 200 other seeds, and write the final values."""
    from jaxdl import optimizers, studies
    from jaxdl.studies import sweep

    def final(traces):
        return [math.inf if trace.diverged else trace.points[-1].value for trace in traces]

    columns: dict[str, list[float]] = {}
    for make in (studies.digits_softmax, studies.digits_mlp, studies.quadratic_deep):
        problem = make()
        placed = sweep.place(problem)
        for name in OPTIMIZERS:
            runs = sweep.Sweep(placed, getattr(optimizers, name), width=WIDTH)
            tuning = [sweep.Member(float(rate), SEEDS + s) for rate in RATES for s in range(3)]
            rate = float(RATES[np.argmin(np.reshape(final(runs.run(tuning, problem.steps)), (-1, 3)).mean(1))])
            groups = [[sweep.Member(rate, s) for s in range(i, i + WIDTH)] for i in range(0, SEEDS, WIDTH)]
            columns[f"{problem.name} {name}"] = [v for g in groups for v in final(runs.run(g, problem.steps))]
            print(problem.name, name, f"{rate:.3g}", np.mean(columns[f"{problem.name} {name}"]), flush=True)
    with PAIRS.open("w", newline="") as file:
        rows = zip(*columns.values(), strict=True)
        csv.writer(file, lineterminator="\n").writerows([[*columns], *([f"{v:.7g}" for v in row] for row in rows)])


def real_pairs() -> dict[str, np.ndarray]:
    """Return the differences of every pair of optimizers on a problem, one per seed."""
    found = real_values()
    return {
        f"{problem}, {a} - {b}": values[a] - values[b]
        for problem, values in found.items()
        for a, b in itertools.combinations(values, 2)
    }


def real_values() -> dict[str, dict[str, np.ndarray]]:
    """Return the final values by problem and optimizer, one per seed."""
    with PAIRS.open(newline="") as file:
        header, *rows = csv.reader(file)
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, column in zip(header, np.array(rows, np.float64).T, strict=True):
        problem, optimizer = name.split()
        found.setdefault(problem, {})[optimizer] = column
    return found


def distributions() -> dict[str, tuple[Draw, float]]:
    """Return samplers of the distributions and their means; real differences are centred."""
    pools = np.stack([difference - difference.mean() for difference in real_pairs().values()])

    def real(rng, shape):
        pair = rng.integers(len(pools), size=(shape[0], *(1 for _ in shape[1:])))
        return pools[pair, rng.integers(pools.shape[1], size=shape)]

    return {
        "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
        "t3": (lambda rng, shape: rng.standard_t(3, size=shape), 0.0),
        "real": (real, 0.0),
        "rounded": (lambda rng, shape: np.round(rng.normal(0.3, 2.0, size=shape)), 0.3),
        "lognormal": (lambda rng, shape: rng.lognormal(size=shape), math.exp(0.5)),
    }


def coverage(draw: Draw, mean: float, n: int, *, trials: int = TRIALS, seed: int = 0) -> float:
    """Return the share of samples of n values whose Student's interval contains the mean, in percent."""
    samples = draw(np.random.default_rng([seed, n]), (trials, n))
    half = stats.t.ppf(0.975, n - 1) * samples.std(axis=1, ddof=1) / math.sqrt(n)
    # rounded values with equal digits have a half width of rounding errors
    return 100 * float(np.mean(np.abs(samples.mean(1) - mean) <= half + 1e-12))


def null_studies(n: int, kind: str, *, corrected: bool, studies: int = STUDIES, seed: int = 0) -> float:
    """Return the share of studies of equal optimizers, six on three problems, that decide any pair, in percent.

    Args:
        n: seeds per optimizer.
        kind: of the values: "real" draws those of one optimizer of `coverage.csv`, others from `distributions`.
        corrected: whether Holm's correction is applied.
        studies: how many to simulate.
        seed: of the simulation.
    """
    values = null_values(n, kind, studies=studies, seed=seed)
    first, second = np.triu_indices(values.shape[2], 1)
    tested = stats.ttest_1samp(values[:, :, first] - values[:, :, second], 0, axis=-1)
    p = np.asarray(tested[1]).reshape(studies, -1)
    # Holm's correction decides a pair exactly if Bonferroni's does
    return 100 * float(np.mean(p.min(1) * (p.shape[1] if corrected else 1) <= 0.05))


def null_values(n: int, kind: str, *, studies: int, seed: int = 0) -> np.ndarray:
    """Return final values of studies of equal optimizers, shape (studies, 3 problems, 6 optimizers, n)."""
    rng, shape = np.random.default_rng([seed, n]), (studies, 3, 6, n)
    if kind != "real":
        return distributions()[kind][0](rng, shape)
    pools = np.stack([values for problem in real_values().values() for values in problem.values()])
    return pools[rng.integers(len(pools), size=(studies, 3, 1, 1)), rng.integers(pools.shape[1], size=shape)]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def resampled(pool: np.ndarray) -> Draw:
    """Return a sampler, with replacement, of the centred values."""
    return lambda rng, shape: rng.choice(pool - pool.mean(), shape)


def main() -> None:
    """Print the tables."""
    kinds, pools = distributions(), real_pairs()
    print(COVERED)
    rows = []
    for n in SIZES:
        found = [coverage(*kinds[kind], n) for kind in kinds]
        worst = min(coverage(resampled(pool), 0.0, n, trials=TRIALS // 5) for pool in pools.values())
        rows.append([str(n), *(f"{one:.1f}" for one in (*found[:3], worst, *found[3:]))])
    print(table(["n", "normal", "t3", "real", "worst real pair", "rounded", "lognormal"], rows))
    print(DECIDED)
    rows = [
        [str(n), kind, *(f"{null_studies(n, kind, corrected=corrected):.1f}" for corrected in (False, True))]
        for n in (3, 4, 5, 10)
        for kind in ("normal", "t3", "real", "lognormal")
    ]
    print(table(["n", "values", "intervals alone", "after Holm"], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="train, and write coverage.csv")
    measure() if parser.parse_args().measure else main()
