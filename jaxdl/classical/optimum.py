"""Search for a stationary point, shared by the regressions, and its implicit derivative."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl import numerics

# in float32 rounding leaves about 1e-7 in the gradient of standardised features, in float64 1e-16
_TOLERANCES = {"float32": 1e-6, "float64": 1e-10}
_HALVINGS = 30  # most halvings of a step that does not descend, down to 1e-9 of Newton's step


class Progress(NamedTuple):
    """An iterate: the parameters, the step that led to them, the size of the gradient before it, the steps so far."""

    theta: Array
    step: Array
    size: Array
    iterations: Array


def stationary_point(
    gradient: Callable[[Array], Array],
    propose: Callable[[Array, Array], Array],
    start: Array,
    *,
    scale: Array,
    tolerance: ArrayLike,
    max_iterations: ArrayLike,
    stop: Callable[[Progress], Any] = lambda progress: False,
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Step until max |gradient / scale| ≤ tolerance, and once more. The derivative is that of the stationary point.

    The extra step is cheap accuracy, because a step of Newton's method squares the error.

    Args:
        gradient: gradient of the function to minimise, in the shape of `start`.
        propose: `(parameters, gradient) -> step`.
        start: initial parameters.
        scale: unit of each entry of the gradient.
        tolerance: see above.
        max_iterations: largest number of steps.
        stop: whether to end although the gradient has not vanished.

    Returns:
        The point, NaN if the gradient is NaN, and (iterations, converged, last step).
    """

    def unfinished(progress):
        small = progress.size <= tolerance
        return ~(small | jnp.isnan(progress.size) | stop(progress)) & (progress.iterations < max_iterations)

    def solve(gradient, theta):
        def advance(progress):
            slope = gradient(progress.theta)
            step = propose(progress.theta, slope)
            sizes = jnp.abs(slope) / scale
            # XLA on CPU drops NaN from the maximum of some thousand numbers and returns −inf if all are NaN
            # (jaxlib 0.10.2)
            size = jnp.where(jnp.isnan(sizes).any(), jnp.nan, jnp.max(sizes))
            return Progress(progress.theta + step, step, size, progress.iterations + 1)

        first = Progress(theta, jnp.zeros_like(theta), jnp.asarray(jnp.inf, theta.dtype), jnp.int32(0))
        last = lax.while_loop(unfinished, advance, first)
        # custom_root supports floats only
        return last.theta, (last.iterations.astype(theta.dtype), last.size, last.step)

    theta, extra = lax.custom_root(gradient, start, solve, _solve_linear, has_aux=True)
    iterations, size, step = lax.stop_gradient(extra)
    return theta, (iterations.astype(jnp.int32), size <= tolerance, step)


def _solve_linear(function, y):
    """Return the x of least norm with function(x) = y for a linear function with a symmetric matrix."""
    matrix = jax.vmap(function)(jnp.eye(y.size, dtype=y.dtype))
    return jnp.linalg.pinv(matrix, hermitian=True) @ y


def descend(objective: Callable[[Array], Array], theta: Array, gradient: Array, direction: Array) -> Array:
    """Halve a step until the objective falls by 1e-4 of the linear prediction (Armijo), up to rounding."""
    before, slope = objective(theta), jnp.vdot(gradient, direction)
    slack = 4 * jnp.finfo(theta.dtype).eps * jnp.abs(before)

    def too_far(state):
        halvings, rate = state
        risen = ~(objective(theta + rate * direction) <= before + 1e-4 * rate * slope + slack)
        return risen & (halvings < _HALVINGS)

    _, rate = lax.while_loop(too_far, lambda state: (state[0] + 1, state[1] / 2), (0, jnp.ones_like(before)))
    return rate * direction


def with_ones(x: ArrayLike) -> Array:
    """Return examples in float32 or wider with a last column of ones, so that θ ends with the intercept."""
    x = numerics.widen(x)
    return jnp.concatenate([x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1)


def root_mean_square(x: Array) -> Array:
    """Return √mean(x²) of each column, or 1 where it is 0."""
    size = jnp.sqrt(jnp.mean(jnp.square(lax.stop_gradient(x)), axis=0))
    return jnp.where(size > 0, size, 1)


def largest_curvature(x: Array) -> Array:
    """Return the largest eigenvalue of XᵀX/m."""
    return jnp.linalg.eigvalsh(lax.stop_gradient(x.T @ x) / x.shape[0])[-1]


def tolerance_of(dtype: Any, tolerance: ArrayLike | None) -> ArrayLike:
    """Return the given tolerance, or for None the smallest that this dtype can reach."""
    return _TOLERANCES[jnp.dtype(dtype).name] if tolerance is None else tolerance


def check_examples(x: ArrayLike, y: ArrayLike, name: str) -> None:
    """Raise ValueError unless x is (m, d) and y is (m,), both real, with m ≥ 1."""
    numerics.refuse_complex(**{"x": x, name: y})
    if jnp.ndim(x) != 2 or jnp.shape(x)[0] < 1:
        raise ValueError(f"x: got shape {jnp.shape(x)}, allowed are (m, d) with at least one example")
    if jnp.shape(y) != jnp.shape(x)[:1]:
        raise ValueError(f"{name}: got shape {jnp.shape(y)}, allowed is {jnp.shape(x)[:1]}, one per row of x")


def check_options(method: str, allowed: tuple[str, ...], learning_rate: Any, positive: dict[str, Any]) -> None:
    """Raise ValueError for an unknown method, an unused learning rate, or a Python number that is not above 0."""
    if method not in allowed:
        raise ValueError(f"method: got {method!r}, allowed are {', '.join(map(repr, allowed))}")
    if learning_rate is not None and method != "gradient_descent":
        raise ValueError(f"learning_rate: got {learning_rate}, allowed with method='gradient_descent' only")
    for name, value in {**positive, "learning_rate": learning_rate}.items():
        if isinstance(value, int | float) and not value > 0:
            raise ValueError(f"{name}: got {value}, allowed are numbers above 0")
