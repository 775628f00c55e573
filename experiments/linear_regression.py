"""Linear regression: gradient descent reaches the closed form, and diverges from a rate of 2/λmax.

    python -m experiments.linear_regression

J(θ) = 1/(2m) Σ (θᵀx + θ₀ − y)² is convex with one Hessian everywhere, whose largest eigenvalue is λmax. Each seed draws
four fifths of scikit-learn's diabetes data (all columns standardised, or the body-mass index alone) or of a line of
house prices with noise. Gradient descent is held to the closed form, both to scikit-learn on the other fifth, and the
largest rate that does not diverge to 2/λmax by bisection. Ten seconds on one core; the figures show the paths of three
rates on J and the fitted line.

(Lecture row A1.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import analysis, classical, data, demonstrations, optimizers, studies
from jaxdl.demonstrations import claims

CASES = ("diabetes, all columns", "diabetes, one column", "house prices")
BODY_MASS = 2  # its column in the diabetes data


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "linear_regression"

    seeds: int = 10
    """Number of seeds, each of which draws the training examples."""
    steps: int = 1000
    """Steps after which a rate counts as diverging if J is above its first value."""


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load scikit-learn's diabetes data with columns of variance 1."""
    from sklearn import datasets  # it takes seconds to import, which --help need not wait for

    del config
    x, y = datasets.load_diabetes(return_X_y=True)
    dataset = data.from_arrays(
        x * len(x) ** 0.5, np.asarray(y, np.float32), name="scikit-learn's diabetes; drawn lines"
    )
    return dataset, dataset


def examples(case: str, dataset: data.Dataset, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, targets and whether an example is in the training part."""
    random = np.random.default_rng(seed)
    if case == "house prices":  # square metres / 100 and thousands of a currency
        area = random.uniform(0.4, 2.5, 120)
        x, y = area[:, None], 60 + 130 * area + 25 * random.normal(size=120)
    else:
        x, y = dataset.images, dataset.labels
        x = x if case == "diabetes, all columns" else x[:, [BODY_MASS]]
    return x.astype(np.float32), np.asarray(y, np.float32), random.permutation(len(x)) < 0.8 * len(x)


def cost(theta: Any, x: Any, y: Any) -> jax.Array:
    """Return J, where θ begins with the constant."""
    return 0.5 * jnp.mean((theta[0] + x @ theta[1:] - y) ** 2)


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, float]:
    """Fit in both ways, and measure the largest stable rate."""
    from sklearn.linear_model import LinearRegression

    x, y, chosen = examples(case, dataset, seed)
    rest, target, x, y = x[~chosen], y[~chosen], x[chosen], y[chosen]
    closed = classical.linear_regression(x, y)
    descended = classical.linear_regression(x, y, method="gradient_descent")
    theirs = LinearRegression().fit(x.astype(np.float64), y.astype(np.float64))
    both = [np.append(fit.coefficients, fit.intercept) for fit in (closed, descended)]
    error = lambda fitted: float(np.sqrt(np.mean((fitted - target) ** 2)))
    ours, sklearns = error(rest @ closed.coefficients + closed.intercept), error(theirs.predict(rest))
    eigenvalues = analysis.hessian_eigenvalues(lambda theta: cost(theta, x, y), jnp.zeros(x.shape[1] + 1))
    return {
        "closed form against descent": float(np.abs(both[0] - both[1]).max() / np.abs(both[0]).max()),
        "test error": ours,
        "test error against scikit-learn's": abs(ours / sklearns - 1),
        "steps of descent": float(descended.iterations),
        "condition number": float(eigenvalues[-1] / eigenvalues[0]),
        "least eigenvalue": float(eigenvalues[0]),
        "largest stable rate by 2/λmax": largest_rate(x, y, config.steps) * float(eigenvalues[-1]) / 2,
    }


def largest_rate(x: np.ndarray, y: np.ndarray, steps: int) -> float:
    """Find by bisection the largest rate at which J is below its first value after so many steps."""
    low, high = 1e-3, 1e3
    while high > 1.001 * low:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _falls(middle, x, y, steps) else (low, middle)
    return low


@functools.partial(jax.jit, static_argnames="steps")
def _falls(rate: Any, x: Any, y: Any, steps: int) -> jax.Array:
    start = jnp.zeros(x.shape[1] + 1)
    path = studies.descent_path(lambda theta: cost(theta, x, y), optimizers.sgd(rate), start, steps)
    return cost(path[-1], x, y) <= cost(start, x, y)  # NaN is not


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lecture's sentences to the numbers of all cases."""
    del config
    worst = lambda quantity: np.max([outcomes.numbers(case, quantity) for case in CASES], axis=0)
    least = np.min([outcomes.numbers(case, "least eigenvalue") for case in CASES], axis=0)
    ratio = "largest stable rate by 2/λmax"
    return [
        claims.within("gradient descent reaches the closed form", "A1",
                      ("largest relative difference", 100 * worst("closed form against descent")), high=0.01, unit="%"),
        claims.within("the test error is scikit-learn's", "A1",
                      ("relative difference", 100 * worst("test error against scikit-learn's")), high=0.01, unit="%"),
        claims.within("J is convex: no eigenvalue of its Hessian is negative", "A1",
                      ("least eigenvalue", least), low=0.0, unit="squared units"),
        *(claims.within(f"gradient descent diverges from a rate of 2/λmax ({case})", "A1",
                        ("largest stable rate", outcomes.numbers(case, ratio)), low=0.98, high=1.02, unit="· 2/λmax")
          for case in CASES),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw paths of three rates on J, and the line."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    dataset, _ = load(config)
    x, y, _ = examples("house prices", dataset, outcomes.seeds[0])
    fit = classical.linear_regression(x, y)
    best = float(fit.intercept), float(fit.coefficients[0])
    largest = float(analysis.hessian_eigenvalues(lambda theta: cost(theta, x, y), jnp.zeros(2))[-1])
    paths = []
    for share in (0.1, 0.95, 1.01):
        walk = studies.descent_path(
            lambda theta: cost(theta, x, y), optimizers.sgd(2 * share / largest), [0.0, 0.0], 60
        )
        paths.append({f"{share:g} · 2/λmax": tuple(np.asarray(walk).T)})
    grid = np.linspace(-140, 260, 121), np.linspace(-60, 320, 121)
    points = np.stack(np.meshgrid(*grid), -1)
    values = np.asarray(jax.vmap(jax.vmap(lambda theta: cost(theta, x, y)))(jnp.asarray(points)))
    contours = plots.contours(*grid, values, paths, minima=[best], title="J over the constant (x) and the slope (y)")
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(100 * x[:, 0], y, "o", color=plots.COLORS[0], markersize=3, alpha=0.6, label="houses")
    ends = np.array([0.4, 2.5])
    axes.plot(100 * ends, best[0] + best[1] * ends, color=plots.COLORS[1], label=f"{best[0]:.0f} + {best[1]:.0f}·area")
    axes.set(xlabel="area (m²)", ylabel="price (thousands)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return [
        demonstrations.Drawing("paths", contours,
                               "Sixty steps of gradient descent from (0, 0) on J of house prices against area: slow, "
                               "oscillating just below 2/λmax, and diverging just above it. The star is the closed "
                               "form."),
        demonstrations.Drawing("line", figure, "The fitted line; areas and prices are drawn by seed 0."),
    ]  # fmt: skip


check = functools.partial(demonstrations.check_at_least, steps=1)
DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"steps": 20_000}
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
