"""Logistic and softmax regression with an L2 penalty, and detection of separable data. [Lecture row A2]"""

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
    """A fitted linear classifier with logits `x @ coefficients + intercept`.

    Fields:
        coefficients: one column per class, or a vector for logistic regression.
        intercept: one entry per class, or a number for logistic regression.
        cost: mean cross entropy plus penalty at the fit.
        iterations: number of steps.
        converged: whether an optimum exists and the gradient there is within the tolerance.
        separable: whether no optimum exists, because without a penalty (C = inf) some hyperplane leaves no example on
            the wrong side, so that the cost keeps falling as the coefficients grow.
    """

    coefficients: Float[Array, " d"] | Float[Array, "d classes"]
    intercept: Float[Array, ""] | Float[Array, " classes"]
    cost: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    separable: Bool[Array, ""]


class _Model(NamedTuple):
    """The parts in which logistic and softmax regression differ. Logits are (m, classes), or (m, 1)."""

    loss: Callable  # logits, targets -> (m,)
    mean: Callable  # logits -> probabilities of the logits' shape
    hessian: Callable  # x with ones, probabilities -> mean Hessian over θ of shape (classes, d + 1), row by row
    margins: Callable  # logits, targets -> margin of each example at each boundary, positive on the right side
    curvature: float  # largest eigenvalue of the Hessian of the loss with respect to the logits


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
    """Minimise the mean binary cross entropy + ‖w‖² / (2 C m) with p = sigmoid(wᵀx + b). The intercept b is
    unpenalised.

    The objective is scikit-learn's ½‖w‖² + C Σ loss divided by C m. It is convex, unlike the squared error of p.

    Args:
        x: one row per example.
        labels: 0 or 1; other labels give NaN.
        C: inverse strength of the penalty; `jnp.inf` removes it.
        method: "newton" is iteratively reweighted least squares, with steps halved where they would ascend.
            "gradient_descent" starts from zero, uses the full batch and needs features of similar scale.
        learning_rate: step size of gradient descent; by default the inverse of a bound on the curvature, so that the
            cost falls.
        tolerance: largest gradient with respect to a column at convergence, in units of the root mean square of the
            column; 1e-6 by default (1e-10 for float64).
        max_iterations: largest number of steps; 100 by default, and 100,000 for gradient descent.

    Returns:
        The fit. Separable data has no finite optimum without a penalty: then `separable` is True, `converged` is False,
        and the coefficients are a separating direction. Gradient descent detects this once all examples are on the
        right side; only Newton's method detects quasi-separation, where some stay on the hyperplane itself.

    Raises:
        ValueError: shapes that do not match, an unknown method, or numbers not above 0.

    Reference: Albert and Anderson, On the existence of maximum likelihood estimates in logistic regression models,
    1984. https://doi.org/10.1093/biomet/71.1.1.

    Examples:
        The data are symmetric about 0, so the intercept is 0:

        >>> x, labels = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
        >>> fit = classical.logistic_regression(x, labels)
        >>> bool(fit.converged), bool(fit.separable)
        (True, False)
        >>> bool(fit.coefficients[0] > 0), round(abs(float(fit.intercept)), 4)
        (True, 0.0)

    [Lecture row A2]
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
    """Minimise the mean cross entropy + ‖W‖² / (2 C m) with p = softmax(Wᵀx + b). The intercepts b are unpenalised.

    Adding the same vector to the coefficients of all classes changes nothing; in this fit, coefficients and intercepts
    sum to 0 over the classes. scikit-learn's `coef_` is the transpose. The Hessian of Newton's method has
    (classes · (d + 1))² entries.

    Args:
        x: one row per example.
        labels: 0 ... num_classes − 1; other labels give NaN.
        num_classes: number of classes, at least 2.
        C, method, learning_rate, tolerance, max_iterations: see `logistic_regression`.

    Returns, Raises: see `logistic_regression`.

    Examples:
        >>> x, labels = np.array([[-2.0], [0.0], [2.0]]), np.array([0, 1, 2])
        >>> fit = classical.softmax_regression(x, labels, num_classes=3)
        >>> (x @ fit.coefficients + fit.intercept[None]).argmax(-1)
        Array([0, 1, 2], dtype=int32)

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
    penalty = jnp.append(jnp.full(n - 1, 1 / (jnp.asarray(C, x.dtype) * m)), 0)  # one per column of θ, 0 for b
    objective, gradient, hessian = _objective(model, x, targets, penalty)

    def separates(theta):
        margins = model.margins(_logits(x, theta, classes), targets)
        rounding = 8 * n * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(margins))
        return free & (jnp.min(margins) > rounding)

    def leads_away(step):
        # near an optimum Newton's steps vanish; along a step that still moves the logits of examples by a tenth of a
        # unit, and none to the wrong side, the cost falls forever
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
    """Return the cost, its gradient and its Hessian as functions of θ."""
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
    """Add to the diagonal the most that its sums may have lost to rounding, so that a Cholesky factor exists."""
    lift = matrix.shape[0] * jnp.finfo(matrix.dtype).eps * jnp.where(magnitudes > 0, magnitudes, 1)
    return matrix + jnp.diag(lift)


def _binary_hessian(x, p):
    matrix = (x * (p * (1 - p))).T @ x / x.shape[0]
    return _liftable(matrix, jnp.diagonal(matrix))


def _softmax_hessian(x, p):
    """Return Σ xxᵀ ⊗ (diag p − ppᵀ) / m + 11ᵀ ⊗ D; without D it would be 0 along common shifts of all classes."""
    (m, n), classes = x.shape, p.shape[1]
    blocks = jnp.einsum("ia,ik,ib->kab", x, p, x, optimize="optimal") / m
    spread = (p[:, :, None] * x[:, None, :]).reshape(m, classes * n)
    matrix = jax.scipy.linalg.block_diag(*blocks) - spread.T @ spread / m
    shifts = jnp.kron(jnp.ones((classes, classes)), jnp.diag(optimum.root_mean_square(x) ** 2)).astype(x.dtype)
    return _liftable(matrix + shifts / classes**2, jnp.diagonal(blocks, axis1=1, axis2=2).ravel())


def _softmax_margins(logits, targets):
    margins = jnp.sum(logits * targets, axis=1, keepdims=True) - logits
    return jnp.where(targets > 0, jnp.max(margins), margins)  # a class has no boundary with itself


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
