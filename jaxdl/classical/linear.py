"""Linear regression. [Lecture row A1]"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from jaxdl.classical import optimum

__all__ = ["LinearFit", "linear_regression"]


class LinearFit(NamedTuple):
    """A fitted hyperplane, which predicts `x @ coefficients + intercept`.

    Fields:
        coefficients: θ without its constant, one entry per feature.
        intercept: θ₀.
        cost: J at the fit.
        iterations: number of steps of gradient descent; 0 for the closed form.
        converged: whether the gradient is within the tolerance.
    """

    coefficients: Float[Array, " d"]
    intercept: Float[Array, ""]
    cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def linear_regression(
    x: Float[ArrayLike, "m d"],
    y: Float[ArrayLike, " m"],
    *,
    method: Literal["closed_form", "gradient_descent"] = "closed_form",
    learning_rate: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike = 100_000,
) -> LinearFit:
    """Minimise J(θ) = 1/(2m) Σ (θᵀx + θ₀ − y)², which is convex.

    Args:
        x: one row per example.
        y: target of each example.
        method: "closed_form" is least squares, with the least norm for dependent columns. "gradient_descent" is
            θ ← θ − α ∇J from zero over the full batch; the number of steps is about the ratio of the largest to the
            smallest curvature of J, which standardised columns make small.
        learning_rate: α; 1/λ by default, with λ the largest eigenvalue of the Hessian of J. Above 2/λ it diverges.
        tolerance: largest correlation of a column with the residual at convergence, in units of the root mean squares
            of the column and of y − mean(y); 1e-6 by default (1e-10 for float64).
        max_iterations: largest number of steps of gradient descent.

    Raises:
        ValueError: shapes that do not match, an unknown method, or numbers not above 0.

    Examples:
        Points on the line y = 1 + 2x:

        >>> fit = classical.linear_regression(np.array([[0.0], [1.0], [3.0]]), np.array([1.0, 3.0, 7.0]))
        >>> fit.coefficients, fit.intercept
        (Array([2.], dtype=float32), Array(1., dtype=float32))

    [Lecture row A1]
    """
    optimum.check_examples(x, y, "y")
    positive = {"tolerance": tolerance, "max_iterations": max_iterations}
    optimum.check_options(method, ("closed_form", "gradient_descent"), learning_rate, positive)
    with jax.default_matmul_precision("highest"):
        return _fit(optimum.with_ones(x), jnp.asarray(y), method, learning_rate, tolerance, max_iterations)


def _fit(x, y, method, learning_rate, tolerance, max_iterations):
    y = y.astype(x.dtype)

    def gradient(theta):
        return x.T @ (x @ theta - y) / x.shape[0]

    closed = method == "closed_form"
    solution = _least_squares(x[:, :-1], y) if closed else None
    rate = 1 / optimum.largest_curvature(x) if learning_rate is None else learning_rate

    def propose(theta, gradient):
        return -rate * gradient if solution is None else solution - theta

    theta, (iterations, converged, _) = optimum.stationary_point(
        gradient,
        propose,
        jnp.zeros_like(x[0]),
        scale=optimum.root_mean_square(x) * optimum.root_mean_square(y - jnp.mean(y)),
        tolerance=optimum.tolerance_of(x.dtype, tolerance),
        max_iterations=2 if closed else max_iterations,  # the second step only sees that the gradient vanished
    )
    cost = 0.5 * jnp.mean(jnp.square(x @ theta - y))
    return LinearFit(theta[:-1], theta[-1], cost, jnp.int32(0) if closed else iterations, converged)


def _least_squares(features, y):
    """Solve on centred columns, so that a large mean does not hide a small variance."""
    means = jnp.mean(features, axis=0)
    coefficients = jnp.linalg.lstsq(features - means[None], y - jnp.mean(y))[0]
    return jnp.append(coefficients, jnp.mean(y) - means @ coefficients)
