"""Curvature of a loss: all eigenvalues of its Hessian, and its condition number. [Lecture rows A2, G6]"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxdl import numerics


def hessian_eigenvalues(function: Callable[[Any], Any], params: Any) -> Float[Array, " n"]:
    """Return the eigenvalues of a function's exact Hessian in ascending order.

    A twice differentiable function is convex where none is negative. The Hessian is a dense (n, n) matrix, so this is
    meant for up to some thousand parameters.

    Args:
        function: a scalar function of the parameters.
        params: the point, an array or a tree of n real numbers in all; float16 and bfloat16 are widened to float32.

    Raises:
        ValueError: if there are no parameters, complex ones, or the function does not return a scalar.

    Examples:
        >>> analysis.hessian_eigenvalues(lambda x: x[0] ** 2 + 100 * x[1] ** 2, jnp.ones(2))
        Array([  2., 200.], dtype=float32)

    [Lecture rows A2, G6]
    """
    for leaf in jax.tree.leaves(params):
        numerics.refuse_complex(params=leaf)
    flat, unravel = ravel_pytree(jax.tree.map(numerics.widen, params))
    if not flat.size:
        raise ValueError("params: got no numbers, needed is at least one")
    shape = jnp.shape(jax.eval_shape(lambda x: function(unravel(x)), flat))
    if shape != ():
        raise ValueError(f"function: returns shape {shape}, allowed is a scalar")
    with jax.default_matmul_precision("highest"):
        return jnp.linalg.eigvalsh(jax.hessian(lambda x: function(unravel(x)))(flat))


def condition_number(function: Callable[[Any], Any], params: Any) -> Float[Array, ""]:
    """Return κ = λ_max / λ_min of a function's exact Hessian, infinity if the Hessian is not positive definite.

    Gradient descent on a quadratic function at its best rate, 2 / (λ_max + λ_min), multiplies the distance from the
    minimum by (κ − 1) / (κ + 1) in each step. An eigenvalue below n ε λ_max, of n eigenvalues of a precision ε, is
    nothing but rounding: it counts as 0, so a κ above some 10⁷ / n is not told from infinity in float32.

    Args:
        function: a scalar function of the parameters.
        params: the point; see `hessian_eigenvalues`.

    Raises:
        ValueError: see `hessian_eigenvalues`.

    Examples:
        >>> analysis.condition_number(lambda x: x[0] ** 2 + 100 * x[1] ** 2, jnp.ones(2))
        Array(100., dtype=float32)

    [Lecture row G6]
    """
    values = hessian_eigenvalues(function, params)
    least = len(values) * jnp.finfo(values.dtype).eps * values[-1]
    positive = values[0] > least
    return jnp.where(positive, values[-1] / jnp.where(positive, values[0], 1), jnp.inf)
