"""The perceptron, a threshold unit that learns from its mistakes. [Lecture row A3]"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxdl import numerics
from jaxdl.classical import optimum

__all__ = ["PerceptronFit", "perceptron"]


class PerceptronFit(NamedTuple):
    """A fitted threshold unit, which predicts the sign of `x @ coefficients + intercept`.

    Fields:
        coefficients: w, one entry per feature.
        intercept: b.
        mistakes: number of corrections of w and b.
        passes: number of passes over all examples; if converged, the last one made no mistake.
        converged: whether a pass made no mistake, so that all examples are on the right side.
        margin: distance of the closest example from the hyperplane, min y(wᵀx + b) / ‖w‖, positive if and only if all
            examples are on the right side.
    """

    coefficients: Float[Array, " d"]
    intercept: Float[Array, ""]
    mistakes: Int[Array, ""]
    passes: Int[Array, ""]
    converged: Bool[Array, ""]
    margin: Float[Array, ""]


class _Unit(NamedTuple):
    theta: Array
    mistakes: Array
    passes: Array
    mistakes_before: Array  # mistakes before the last pass


def perceptron(
    x: Float[ArrayLike, "m d"], labels: Shaped[ArrayLike, " m"], *, max_passes: ArrayLike = 1000
) -> PerceptronFit:
    """Correct w ← w + y x, b ← b + y after every example with y(wᵀx + b) ≤ 0, in order, until there is none.

    If some (w, b) of norm 1 satisfies y(wᵀx + b) ≥ γ for all examples, the perceptron makes at most
    (max ‖(x, 1)‖ / γ)² corrections. On data that no hyperplane separates it never converges and stops after
    `max_passes`. A learning rate would only scale w and b.

    Args:
        x: one row per example.
        labels: y = ±1; other labels give NaN.
        max_passes: largest number of passes over all examples.

    Raises:
        ValueError: shapes that do not match, or `max_passes` not above 0.

    Reference: Rosenblatt, The perceptron, 1958. https://doi.org/10.1037/h0042519; Novikoff, On convergence proofs
    for perceptrons, 1962.

    Examples:
        The logical AND of two inputs is linearly separable:

        >>> x, labels = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([-1, -1, -1, 1])
        >>> fit = classical.perceptron(x, labels)
        >>> bool(fit.converged), np.sign(x @ fit.coefficients + fit.intercept)
        (True, array([-1., -1., -1.,  1.], dtype=float32))

    [Lecture row A3]
    """
    optimum.check_examples(x, labels, "labels")
    if isinstance(max_passes, int | float) and not max_passes > 0:
        raise ValueError(f"max_passes: got {max_passes}, allowed are numbers above 0")
    x, labels = optimum.with_ones(x), jnp.asarray(labels)
    y = jnp.where(jnp.abs(labels) == 1, numerics.widen(labels), jnp.nan).astype(x.dtype)
    zero = jnp.int32(0)
    unit = lax.while_loop(
        lambda unit: (unit.passes < max_passes) & (unit.mistakes > unit.mistakes_before),
        lambda unit: _one_pass(x, y, unit),
        _Unit(jnp.zeros_like(x[0]), zero, zero, zero - 1),
    )
    w = unit.theta[:-1]
    margin = jnp.min(y * (x @ unit.theta)) / jnp.linalg.norm(w)
    return PerceptronFit(w, unit.theta[-1], unit.mistakes, unit.passes, unit.mistakes == unit.mistakes_before, margin)


def _one_pass(x, y, unit):
    def correct(i, state):
        theta, mistakes = state
        wrong = ~(y[i] * jnp.sum(x[i] * theta) > 0)  # true for NaN, too
        return theta + jnp.where(wrong, y[i] * x[i], 0), mistakes + wrong.astype(mistakes.dtype)

    theta, mistakes = lax.fori_loop(0, x.shape[0], correct, (unit.theta, unit.mistakes))
    return _Unit(theta, mistakes, unit.passes + 1, unit.mistakes)
