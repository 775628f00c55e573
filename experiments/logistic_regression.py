"""Logistic regression: cross entropy is convex and squared error is not; Newton's method and descent meet.

    python -m experiments.logistic_regression

The lectures say that cross entropy is convex in (w, b) while the squared error of the sigmoid is not, and that Newton's
method (iteratively reweighted least squares) and gradient descent reach the same optimum. Each seed draws three points
of a line with both labels, on which the least eigenvalue of either Hessian is searched over a grid of (w, b), and four
fifths of scikit-learn's breast cancer data with an L2 penalty, where the fits are held to scikit-learn's. Without the
penalty that data is separable and there is no finite optimum, which the fit has to say. Half a minute on one core; the
figure shows both surfaces.

(Lecture row A2.)
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import analysis, classical, data, demonstrations, losses
from jaxdl.demonstrations import claims

CASES = ("three points", "breast cancer", "breast cancer without a penalty")
SURFACES = ("cross entropy", "squared error")
REACH = 6.0  # of w and b in the search for negative curvature


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "logistic_regression"

    seeds: int = 10
    """Number of seeds, each of which draws the points and the training examples."""
    grid: int = 49
    """Values of w and of b at which the curvature is measured."""
    C: float = 1.0
    """Inverse strength of the L2 penalty, as in scikit-learn."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, grid=2)
    if not 0 < config.C < float("inf"):
        raise ValueError(f"C={config.C} is not allowed: it must be a positive number")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load scikit-learn's breast cancer data with standardised columns."""
    from sklearn import datasets  # it takes seconds to import, which --help need not wait for

    del config
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    dataset = data.from_arrays(x, y, classes=("malignant", "benign"), name="scikit-learn's breast cancer; drawn points")
    return dataset, dataset


def points(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return three numbers and their labels, not all the same."""
    random = np.random.default_rng(seed)
    return random.uniform(-2, 2, 3).astype(np.float32), random.permutation([0.0, 1.0, seed % 2]).astype(np.float32)


def surface(name: str, theta: jax.Array, x: np.ndarray, y: np.ndarray) -> jax.Array:
    """Return the mean loss of sigmoid(wx + b) at θ = (w, b)."""
    logits = theta[0] * x + theta[1]
    if name == "cross entropy":
        return losses.sigmoid_binary_cross_entropy(logits, y).mean()
    return losses.squared_error(jax.nn.sigmoid(logits), y).mean()


@functools.cache
def _curvatures(name: str) -> Any:
    """Return (θ of shape (g, 2), x, y) -> least eigenvalue at each θ, compiled once."""

    def least(theta, x, y):
        return analysis.hessian_eigenvalues(lambda t: surface(name, t, x, y), theta)[0]

    return jax.jit(jax.vmap(least, (0, None, None)))


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, float]:
    """Measure the curvature of both surfaces, or fit the seed's part of the data."""
    from sklearn.linear_model import LogisticRegression

    if case == "three points":
        line = np.linspace(-REACH, REACH, config.grid, dtype=np.float32)
        thetas, (x, y) = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), points(seed)
        return {f"least eigenvalue, {name}": float(_curvatures(name)(thetas, x, y).min()) for name in SURFACES}
    chosen = np.random.default_rng(seed).permutation(len(dataset.labels)) < 0.8 * len(dataset.labels)
    x, y, rest, target = (
        dataset.images[chosen],
        dataset.labels[chosen],
        dataset.images[~chosen],
        dataset.labels[~chosen],
    )
    if case == "breast cancer without a penalty":
        free = classical.logistic_regression(x, y, C=jnp.inf)
        return {"says that no optimum exists": float(free.separable & ~free.converged)}
    newton = classical.logistic_regression(x, y, C=config.C)
    descent = classical.logistic_regression(x, y, C=config.C, method="gradient_descent")
    theirs = LogisticRegression(C=config.C, tol=1e-10, max_iter=10_000).fit(x.astype(np.float64), y)
    weights = [np.append(fit.coefficients, fit.intercept) for fit in (newton, descent)]
    sklearns = np.append(theirs.coef_[0], theirs.intercept_)
    wrong = lambda predicted: 100 * float(np.mean(predicted != target))
    size = np.abs(sklearns).max()
    return {
        "steps of Newton": float(newton.iterations),
        "steps of descent": float(descent.iterations),
        "descent against Newton": float(np.abs(weights[0] - weights[1]).max() / size),
        "Newton against scikit-learn": float(np.abs(weights[0] - sklearns).max() / size),
        "test error": wrong(rest @ newton.coefficients + newton.intercept > 0),
        "test error of scikit-learn": wrong(theirs.predict(rest)),
    }


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lecture's sentences to the numbers."""
    del config
    toy, real, free = CASES
    of = outcomes.numbers
    least = {name: of(toy, f"least eigenvalue, {name}") for name in SURFACES}
    nowhere = 100 * (least["cross entropy"] >= -1e-6)  # of all seeds: an interval of skewed minima would reach below 0
    return [
        claims.within("cross entropy is convex in (w, b): its Hessian has no negative eigenvalue on a grid", "A2",
                      ("share of seeds", nowhere), low=100 - 1e-6, unit="%"),
        claims.within("the squared error of the sigmoid is not convex in (w, b)", "A2",
                      ("least eigenvalue", least["squared error"]), high=-1e-3, unit="1"),
        claims.within("Newton's method and gradient descent reach the same optimum", "A2",
                      ("largest relative difference", 100 * of(real, "descent against Newton")), high=0.1, unit="%"),
        claims.compare("Newton's method needs fewer steps", "A2", ("Newton", of(real, "steps of Newton")),
                       ("descent", of(real, "steps of descent")), claimed="less", unit="steps"),
        claims.within("the weights are scikit-learn's", "A2",
                      ("largest relative difference", 100 * of(real, "Newton against scikit-learn")), high=0.1,
                      unit="%"),
        claims.within("the test error is scikit-learn's", "A2",
                      ("difference", of(real, "test error") - of(real, "test error of scikit-learn")), low=-1e-6,
                      high=1e-6, unit="percentage points"),
        claims.within("without a penalty separable data has no finite optimum, and the fit says so", "A2",
                      ("share of parts", 100 * of(free, "says that no optimum exists")), low=100 - 1e-6, unit="%"),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw both surfaces of one seed's points, and where they curve downwards."""
    from matplotlib.figure import Figure

    from jaxdl import plots

    (x, y), line = points(outcomes.seeds[0]), np.linspace(-REACH, REACH, config.grid, dtype=np.float32)
    thetas = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for place, name in enumerate(SURFACES):
        heights = jax.vmap(lambda theta, name=name: surface(name, theta, x, y))(jnp.asarray(thetas))
        least = np.asarray(_curvatures(name)(thetas, x, y)).reshape(len(line), -1)
        axes = figure.add_subplot(1, 2, place + 1)
        shown = axes.contour(line, line, np.asarray(heights).reshape(least.shape), 14, cmap="Blues_r", linewidths=1)
        axes.clabel(shown, fontsize=7)
        axes.contourf(line, line, least, levels=[-10, -1e-4], colors=[plots.COLORS[1]], alpha=0.3)
        axes.set(xlabel="w", ylabel="b", title=name)
    labels = ", ".join(f"({one:.2f}, {int(label)})" for one, label in zip(x, y, strict=True))
    return [demonstrations.Drawing(
        "surfaces", figure,
        f"Mean loss of sigmoid(wx + b) on the points (x, label) {labels}. Where the surface is shaded, an eigenvalue "
        "of its Hessian is negative: nowhere for cross entropy, in most places for squared error.")]  # fmt: skip


DEMONSTRATION = demonstrations.Demonstration(Config, load, lambda config: CASES, run, judge, draw, check, {"grid": 199})
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
