"""Logistic and softmax regression with an L2 penalty, and separable data told apart. [Lecture row A2]"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxdl import losses, numerics
from jaxdl.classical import optimum

__all__ = ["ClassifierFit", "logistic_regression", "softmax_regression"]

_METHODS = ("newton", "gradient_descent")
_STEPS = {"newton": 100, "gradient_descent": 100_000}


class ClassifierFit(NamedTuple):
    """A fitted linear classifier; logits are `x @ coefficients + intercept`.

    Fields:
        coefficients: one column per class; a vector for logistic regression.
        intercept: one per class; a number for logistic regression.
        cost: mean cross entropy and penalty at the end.
        iterations: steps made.
        converged: whether the gradient vanished to the tolerance at an optimum that exists.
        separable: whether there is no optimum: without a penalty (C = inf) a hyperplane was found that has no example
            on the wrong side, so that the cost falls for ever as the coefficients grow along it.
    """

    coefficients: Float[Array, " d"] | Float[Array, "d classes"]
    intercept: Float[Array, ""] | Float[Array, " classes"]
    cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    separable: Bool[Array, ""]


class _Model(NamedTuple):
    """What differs between logistic and softmax regression; logits are (m, classes), or (m, 1)."""

    loss: Callable  # logits, targets -> (m,)
    mean: Callable  # logits -> probabilities of the logits' shape
    hessian: Callable  # x with ones, probabilities -> mean Hessian over θ of shape (classes, d + 1), row by row
    margins: Callable  # logits, targets -> how far each example is on the right side of each boundary
    curvature: float  # largest eigenvalue of the loss's Hessian in the logits


def logistic_regression(
    x: Float[ArrayLike, "m d"],
    labels: Shaped[ArrayLike, " m"],
    *,
    C: ArrayLike = 1.0,
    method: Literal["newton", "gradient_descent"] = "newton",
    learning_rate: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike | None = None,
) -> ClassifierFit:
    """Minimise the mean binary cross entropy + ‖w‖² / (2 C m); p = sigmoid(wᵀx + b), the intercept b free.

    This is scikit-learn's ½‖w‖² + C Σ loss, divided by C m. Convex, unlike the squared error of p.

    Args:
        x: one row per example.
        labels: 0 or 1; any other gives NaN.
        C: inverse strength of the penalty; `jnp.inf` for none.
        method: "newton" (iteratively reweighted least squares, steps halved where they would ascend), or
            "gradient_descent" from zero over all examples at once, for features of like scale.
        learning_rate: of gradient descent; by default the inverse of a bound on the curvature, so that it descends.
        tolerance: end when the gradient with respect to each column is at most this times the column's root mean
            square; by default 1e-6 (float64: 1e-10).
        max_iterations: by default 100, of gradient descent 100,000.

    Returns:
        The fit. Without a penalty separable data has no finite optimum: `separable` says so, `converged` is False,
        and the coefficients are a direction that separates. Gradient descent sees this when all examples are on the
        right side; that some remain on the hyperplane itself (quasi-separation) only Newton sees.

    Raises:
        ValueError: shapes that do not fit, an unknown method, numbers not above 0.

    Reference: Albert and Anderson, On the existence of maximum likelihood estimates in logistic regression models,
    1984. https://doi.org/10.1093/biomet/71.1.1. [Lecture row A2]
    """
    optimum.check_examples(x, labels, "labels")
    labels = jnp.asarray(labels)
    targets = jnp.where((labels == 0) | (labels == 1), numerics.widen(labels), jnp.nan)
    fit = _fit(_BINARY, x, targets[..., None], C, method, learning_rate, tolerance, max_iterations)
    return fit._replace(coefficients=fit.coefficients[:, 0], intercept=fit.intercept[0])


def softmax_regression(
    x: Float[ArrayLike, "m d"],
    labels: Int[ArrayLike, " m"],
    *,
    num_classes: int,
    C: ArrayLike = 1.0,
    method: Literal["newton", "gradient_descent"] = "newton",
    learning_rate: ArrayLike | None = None,
    tolerance: ArrayLike | None = None,
    max_iterations: ArrayLike | None = None,
) -> ClassifierFit:
    """Minimise the mean cross entropy + ‖W‖² / (2 C m); p = softmax(Wᵀx + b), the intercepts b free.

    Classes may all be moved alike without effect; the fit is the one whose coefficients and intercepts sum to 0 over
    the classes. scikit-learn's `coef_` is the transpose. Newton's Hessian has (classes · (d + 1))² entries.

    Args:
        x: one row per example.
        labels: 0 ... num_classes − 1; any other gives NaN.
        num_classes: at least 2.
        C: and the rest, what is returned and raised: see `logistic_regression`.

    [Lecture row A2]
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: got {num_classes}, allowed are at least 2")
    optimum.check_examples(x, labels, "labels")
    labels = numerics.class_numbers(jnp.asarray(labels))
    one_hot = labels[:, None] == jnp.arange(num_classes, dtype=labels.dtype)[None]
    targets = jnp.where(jnp.any(one_hot, axis=1, keepdims=True), one_hot.astype(float), jnp.nan)
    fit = _fit(_SOFTMAX, x, targets, C, method, learning_rate, tolerance, max_iterations)
    return fit._replace(
        coefficients=fit.coefficients - jnp.mean(fit.coefficients, axis=1, keepdims=True),
        intercept=fit.intercept - jnp.mean(fit.intercept),
    )


def _fit(model, x, targets, C, method, learning_rate, tolerance, max_iterations):
    positive = {"C": C, "tolerance": tolerance, "max_iterations": max_iterations}
    optimum.check_options(method, _METHODS, learning_rate, positive)
    x = optimum.with_ones(x)
    steps = _STEPS[method] if max_iterations is None else max_iterations
    with jax.default_matmul_precision("highest"):
        propose = functools.partial(_newton if method == "newton" else _gradient_descent, rate=learning_rate)
        return _search(model, x, targets.astype(x.dtype), C, propose, optimum.tolerance_of(x.dtype, tolerance), steps)


def _search(model, x, targets, C, propose, tolerance, max_iterations):
    m, n = x.shape
    classes = targets.shape[1]
    free = jnp.asarray(C) == jnp.inf
    penalty = jnp.append(jnp.full(n - 1, 1 / (jnp.asarray(C, x.dtype) * m)), 0)  # of each row of θ; b has none
    objective, gradient, hessian = _objective(model, x, targets, penalty)

    def separates(theta):
        margins = model.margins(_logits(x, theta, classes), targets)
        rounding = 8 * n * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(margins))
        return free & (jnp.min(margins) > rounding)

    def leads_away(step):
        # near an optimum Newton's steps vanish; a step that still moves examples by a tenth of a unit of the logits,
        # and none of them to the wrong side, has met a direction along which the cost falls for ever
        margins = model.margins(_logits(x, step, classes), targets)
        return free & (jnp.max(margins) > 0.1) & (jnp.min(margins) > -1e-3 * jnp.max(margins))

    curvature = model.curvature * optimum.largest_curvature(x) + penalty[0]
    theta, (iterations, small, step) = optimum.stationary_point(
        gradient,
        propose(objective, hessian, curvature),
        jnp.zeros(classes * n, x.dtype),
        scale=jnp.tile(optimum.root_mean_square(x), classes),
        tolerance=tolerance,
        max_iterations=max_iterations,
        stop=lambda progress: separates(progress.theta),
    )
    separable = separates(theta) | (small & leads_away(step))
    fitted = theta.reshape(classes, n).T
    return ClassifierFit(fitted[:-1], fitted[-1], objective(theta), iterations, small & ~separable, separable)


def _objective(model, x, targets, penalty):
    """Return the cost of θ, its gradient and its Hessian, as functions of θ."""
    (m, n), classes = x.shape, targets.shape[1]

    def objective(theta):
        weights = jnp.square(theta.reshape(classes, n)) @ penalty
        return jnp.mean(model.loss(_logits(x, theta, classes), targets)) + 0.5 * jnp.sum(weights)

    def gradient(theta):
        slope = (model.mean(_logits(x, theta, classes)) - targets).T @ x / m
        return (slope + theta.reshape(classes, n) * penalty[None]).ravel()

    def hessian(theta):
        return model.hessian(x, model.mean(_logits(x, theta, classes))) + jnp.diag(jnp.tile(penalty, classes))

    return objective, gradient, hessian


def _logits(x, theta, classes):
    return x @ theta.reshape(classes, x.shape[1]).T


def _gradient_descent(objective, hessian, curvature, rate):
    del objective, hessian
    return lambda theta, gradient: -(1 / curvature if rate is None else rate) * gradient


def _newton(objective, hessian, curvature, rate):
    del curvature, rate

    def propose(theta, gradient):
        direction = -jax.scipy.linalg.solve(hessian(theta), gradient, assume_a="pos")
        return optimum.descend(objective, theta, gradient, direction)

    return propose


def _liftable(matrix, magnitudes):
    """Lift the diagonal by what its sums may have lost to rounding, so that Cholesky's factor exists."""
    lift = matrix.shape[0] * jnp.finfo(matrix.dtype).eps * jnp.where(magnitudes > 0, magnitudes, 1)
    return matrix + jnp.diag(lift)


def _binary_hessian(x, p):
    matrix = (x * (p * (1 - p))).T @ x / x.shape[0]
    return _liftable(matrix, jnp.diagonal(matrix))


def _softmax_hessian(x, p):
    """Σ xxᵀ ⊗ (diag p − ppᵀ) / m, and 11ᵀ ⊗ D for the common shifts of all classes, along which it is 0."""
    (m, n), classes = x.shape, p.shape[1]
    blocks = jnp.einsum("ia,ik,ib->kab", x, p, x, optimize="optimal") / m
    spread = (p[:, :, None] * x[:, None, :]).reshape(m, classes * n)
    matrix = jax.scipy.linalg.block_diag(*blocks) - spread.T @ spread / m
    shifts = jnp.kron(jnp.ones((classes, classes)), jnp.diag(optimum.root_mean_square(x) ** 2)).astype(x.dtype)
    return _liftable(matrix + shifts / classes**2, jnp.diagonal(blocks, axis1=1, axis2=2).ravel())


def _softmax_margins(logits, targets):
    margins = jnp.sum(logits * targets, axis=1, keepdims=True) - logits
    return jnp.where(targets > 0, jnp.max(margins), margins)  # no class bounds itself


_BINARY = _Model(
    loss=lambda logits, targets: losses.sigmoid_binary_cross_entropy(logits, targets)[:, 0],
    mean=jax.nn.sigmoid,
    hessian=_binary_hessian,
    margins=lambda logits, targets: (2 * targets - 1) * logits,
    curvature=0.25,
)
_SOFTMAX = _Model(
    loss=losses.softmax_cross_entropy,
    mean=jax.nn.softmax,
    hessian=_softmax_hessian,
    margins=_softmax_margins,
    curvature=0.5,
)
