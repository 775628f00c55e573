"""Bias and variance: error against capacity, the bull's-eye, learning curves, and the optimism of choosing.

    python -m experiments.bias_variance

The lectures say that too little capacity means a high bias and too much a high variance, that the error is their sum
and the noise, that more data helps against variance alone, that development and test data have to come from one
distribution, and that a chosen model looks better on the data that chose it. Polynomials are fitted to a sine with
noise. At high degrees a few fits far outside carry the means, so medians stand beside them. A minute on one core.

(Lecture rows G2, G9, G10.)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from jaxdl import analysis, data, demonstrations
from jaxdl.demonstrations import claims

LEARNING, CHOICE, LOW, MIDDLE, HIGH = "learning curves", "choosing a degree", 1, 3, 9
SIZES = (25, 50, 100, 200, 400)
sine = lambda x: np.sin(np.pi * x)  # the truth


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "bias_variance"

    seeds: int = 8
    """Number of seeds, each of which draws all training sets."""
    examples: int = 25
    """Examples of a training set."""
    resamples: int = 300
    """Training sets per seed."""
    noise: float = 0.3
    """Standard deviation of the targets' noise."""
    degrees: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Degrees of the polynomials."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, examples=max(15, *config.degrees), resamples=2, noise=0)
    if not {LOW, MIDDLE, HIGH} <= {*config.degrees} or min(config.degrees) < 0:
        raise ValueError(f"degrees={config.degrees} is not allowed: it must hold 1, 3 and 9, and none below 0")


def draw_set(random: np.random.Generator, count: int, noise: float, *, low: float = -1.0) -> tuple[Any, Any]:
    """Return x, uniform from low to 1, and noisy targets."""
    x = random.uniform(low, 1, count)
    return x, sine(x) + noise * random.normal(size=count)


def fit(x: np.ndarray, y: np.ndarray, degree: int) -> Any:
    """Return the polynomial of least squares, x -> y."""
    powers = np.arange(degree + 1)
    weights = np.linalg.lstsq(x[:, None] ** powers, y, rcond=None)[0]
    return lambda x: x[:, None] ** powers @ weights


def error(model: Any, examples: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the mean squared error."""
    return float(np.mean((model(examples[0]) - examples[1]) ** 2))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Fit all resamples of the seed."""
    del loaded
    random = np.random.default_rng(seed)
    if case == LEARNING:
        return learning(config, random)
    if case == CHOICE:
        return choosing(config, random, seed)
    degree, test = int(case.removeprefix("degree ")), draw_set(random, 1000, config.noise)
    sets = [draw_set(random, config.examples, config.noise) for _ in range(config.resamples)]
    models, truth = [fit(x, y, degree) for x, y in sets], sine(test[0])
    predictions = np.stack([model(test[0]) for model in models])
    parts = analysis.bias_variance(predictions.astype(np.float32), truth.astype(np.float32))
    middle = np.median(predictions, 0)
    return {
        "bias²": float(parts.bias_squared.mean()),
        "variance": float(parts.variance.mean()),
        "median bias²": float(np.mean((middle - truth) ** 2)),
        "train error": float(np.mean([error(model, one) for model, one in zip(models, sets, strict=True)])),
        "test error": float(np.mean((predictions - test[1]) ** 2)),
        "shots": np.stack([model(np.array([-0.5, 0.5])) for model in models[:100]]),
    }


def learning(config: Config, random: np.random.Generator) -> dict[str, Any]:
    """Return training and test errors of two degrees against the number of examples, medians over 50 sets."""
    test, found = draw_set(random, 2000, config.noise), {}
    for degree in (LOW, HIGH):
        errors = []
        for size in SIZES:
            sets = [draw_set(random, size, config.noise) for _ in range(50)]
            pairs = [(error(model := fit(*one, degree), one), error(model, test)) for one in sets]
            errors.append(np.median(pairs, 0))
            found[f"gap of degree {degree}, n = {size}"] = float(errors[-1][1] - errors[-1][0])
        found |= {f"train error of degree {degree}": float(errors[-1][0]), f"curve {degree}": np.array(errors)}
    return found


def choosing(config: Config, random: np.random.Generator, seed: int) -> dict[str, float]:
    """Choose the degree on a small development set, on one of another distribution, and by cross-validation."""
    rows = []
    for number in range(100):
        x, y = draw_set(random, config.examples, config.noise)
        test, folds = draw_set(random, 1000, config.noise), data.k_fold(y, 5, seed=1000 * seed + number)
        train, dev = folds[0]
        one = [fit(x[train], y[train], degree) for degree in config.degrees]
        on_dev = [error(model, (x[dev], y[dev])) for model in one]
        elsewhere = draw_set(random, len(dev), config.noise, low=0.5)
        on_folds = [np.mean([error(fit(x[a], y[a], degree), (x[b], y[b])) for a, b in folds])
                    for degree in config.degrees]  # fmt: skip
        best, far = one[int(np.argmin(on_dev))], one[int(np.argmin([error(model, elsewhere) for model in one]))]
        again = [fit(x, y, config.degrees[int(np.argmin(errors))]) for errors in (on_dev, on_folds)]
        rows.append((min(on_dev), *(error(model, test) for model in (best, far, *again))))
    names = ("dev error of the chosen", "its test error", "chosen elsewhere", "one split", "5 folds")
    return dict(zip(names, map(float, np.median(rows, 0)), strict=True))


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    of, square = outcomes.numbers, "squared error"
    side = lambda degree, what: (f"degree {degree}", of(f"degree {degree}", what))
    parts = of(f"degree {MIDDLE}", "bias²") + of(f"degree {MIDDLE}", "variance") + config.noise**2
    chosen = lambda what: (what, of(CHOICE, what))
    gap = lambda degree, size: (f"degree {degree}, n = {size}", of(LEARNING, f"gap of degree {degree}, n = {size}"))
    return [
        claims.compare("too little capacity has a high bias", "G10", side(LOW, "bias²"), side(MIDDLE, "bias²"),
                       claimed="more", unit=square),
        claims.compare("too much capacity has a high variance", "G10", side(HIGH, "variance"),
                       side(MIDDLE, "variance"), claimed="more", unit=square),
        claims.compare("more capacity means less bias, even beyond the best degree: in means", "G10",
                       side(HIGH, "bias²"), side(MIDDLE, "bias²"), claimed="less", unit=square),
        claims.compare("so it does in medians", "G10", side(HIGH, "median bias²"), side(MIDDLE, "median bias²"),
                       claimed="less", unit=square),
        claims.within("the error is bias² + variance + noise", "G10",
                      (f"their sum over the error, degree {MIDDLE}", parts / of(f"degree {MIDDLE}", "test error")),
                      low=0.97, high=1.03, unit="1"),
        claims.compare("more data closes the gap of a model of high variance", "G10", gap(HIGH, SIZES[-1]),
                       gap(HIGH, SIZES[0]), claimed="less", unit=square),
        claims.within(f"more data does not help a model of high bias: degree 1 stays above the noise, n = {SIZES[-1]}",
                      "G10", ("training error", of(LEARNING, f"train error of degree {LOW}")),
                      low=1.5 * config.noise**2, unit=square),
        claims.compare("the data that chose a model flatters it", "G9", chosen("dev error of the chosen"),
                       chosen("its test error"), claimed="less", unit=square),
        claims.compare("development data of another distribution chooses worse", "G9", chosen("chosen elsewhere"),
                       chosen("its test error"), claimed="more", unit=square),
        claims.compare("five folds choose better than one split", "G9", chosen("5 folds"), chosen("one split"),
                       claimed="less", unit=square),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the bull's-eye, the parts of the error, and learning curves with their diagnosis."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    from jaxdl import plots

    figure, centre = Figure(figsize=(9, 3.2), layout="constrained"), sine(np.array([-0.5, 0.5]))
    for place, (axes, degree) in enumerate(zip(figure.subplots(1, 3), (LOW, MIDDLE, HIGH), strict=True)):
        for radius in (0.3, 0.6, 0.9):
            axes.add_patch(Circle(centre, radius, fill=False, color="#999999"))
        axes.plot(
            *outcomes.arrays(f"degree {degree}", "shots")[0].T, "o", color=plots.COLORS[place], markersize=3, alpha=0.6
        )
        axes.set(xlim=centre[0] + np.array([-1.2, 1.2]), ylim=centre[1] + np.array([-1.2, 1.2]), aspect="equal",
                 title=f"degree {degree}", xlabel="prediction at x = −½", ylabel="prediction at x = ½")  # fmt: skip
    mean = lambda name: np.array([outcomes.numbers(f"degree {degree}", name).mean() for degree in config.degrees])
    lines = {n: (np.array(config.degrees), mean(n)) for n in ("bias²", "variance", "train error", "test error")}
    curves, said, sizes = {}, [], np.array(SIZES)
    for degree in (LOW, HIGH):
        train, test = outcomes.arrays(LEARNING, f"curve {degree}").mean(0).T
        curves[f"degree {degree}"] = {"squared error": {"train": (sizes, train), "test": (sizes, test)}}
        found = analysis.diagnose(float(train[0]), float(test[0]), best_error=config.noise**2, tolerance=0.02)
        said.append(f"degree {degree} at n = {SIZES[0]}: {found.problem}, so {found.advice[0]}")
    return [
        demonstrations.Drawing("bullseye", figure, "A dot per training set: predictions at two points, circles around "
                               "the truth. Degree 1 misses on one side, degree 9 scatters."),
        demonstrations.Drawing("capacity", plots.curves(lines, xlabel="degree", ylabel="squared error"),
                               f"Parts of the error, {config.examples} points of a sine, means over training sets."),
        demonstrations.Drawing("learning", plots.learning_curves(curves, xlabel="examples"),
                               f"Median error against the number of examples. Diagnosis of {'; '.join(said)}."),
    ]  # fmt: skip


cases = lambda config: [*(f"degree {degree}" for degree in config.degrees), LEARNING, CHOICE]
load = lambda config: ("a sine with noise", None)
DEMONSTRATION = demonstrations.Demonstration(Config, load, cases, run, judge, draw, check, {"resamples": 3000})
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
