"""Curvature of a loss: eigenvalues of its Hessian, its condition number, and sharpness. [Lecture rows A2, G6]"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxdl import compat, numerics
from jaxdl.optimizers import hessian_product


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
    of_flat, flat = _flattened(function, params)
    with jax.default_matmul_precision("highest"):
        return jnp.linalg.eigvalsh(jax.hessian(of_flat)(flat))


def _flattened(function: Callable[[Any], Any], params: Any) -> tuple[Callable[[Array], Any], Float[Array, " n"]]:
    """Return the function of one vector, and the point, in float32 or wider."""
    for leaf in jax.tree.leaves(params):
        numerics.refuse_complex(params=leaf)
    flat, unravel = ravel_pytree(jax.tree.map(numerics.widen, params))
    if not flat.size:
        raise ValueError("params: got no numbers, needed is at least one")
    shape = jnp.shape(jax.eval_shape(lambda x: function(unravel(x)), flat))
    if shape != ():
        raise ValueError(f"function: returns shape {shape}, allowed is a scalar")
    return lambda x: function(unravel(x)), flat


def largest_eigenvalue(
    key: Array, function: Callable[[Any], Any], params: Any, *, iterations: int = 20
) -> Float[Array, ""]:
    """Return the largest eigenvalue of a function's Hessian by Lanczos' method, for any number of parameters.

    Each iteration costs a Hessian product, about two gradients; three vectors like the parameters are held. The result
    is at most the eigenvalue, up to rounding, and grows towards it. Plain descent at the rate η is stable where the
    eigenvalue is below 2/η, and training on whole batches tends to stay there, at the edge of stability.

    Args:
        key: random key of the first vector.
        function: a scalar function of the parameters.
        params: the point; see `hessian_eigenvalues`.
        iterations: at least 1; as many as there are parameters suffice.

    Raises:
        ValueError: see `hessian_eigenvalues`; also if ``iterations`` is below 1.

    References: C. Lanczos, An iteration method for the solution of the eigenvalue problem, 1950; J. Cohen et al.,
    Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability, 2021,
    https://arxiv.org/abs/2103.00065.

    Examples:
        >>> of = lambda x: x[0] ** 2 + 100 * x[1] ** 2
        >>> analysis.largest_eigenvalue(jax.random.key(0), of, jnp.ones(2))
        Array(200., dtype=float32)
    """
    numerics.check_key(key)
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: must be at least 1")
    of_flat, flat = _flattened(function, params)
    start = jax.random.normal(key, flat.shape, flat.dtype)
    start = start / jnp.linalg.norm(start)

    def step(carry, _):
        before, now, beta, first = carry
        product = hessian_product(of_flat, flat, now)
        alpha = jnp.where(jnp.any(now != 0), jnp.vdot(now, product), first)
        rest = product - alpha * now - beta * before
        size = jnp.linalg.norm(rest)
        # what is left is rounding once the vectors span an invariant subspace: then the first quotient is repeated
        size = jnp.where(size <= 4 * jnp.finfo(flat.dtype).eps * jnp.linalg.norm(product), 0, size)
        following = jnp.where(size > 0, rest / jnp.where(size > 0, size, 1), 0)
        return (now, following, size, jnp.where(jnp.isposinf(first), alpha, first)), (alpha, size)

    # infinity stands for no quotient yet, since jax_debug_nans would stop at a NaN
    begin = (jnp.zeros_like(flat), start, jnp.zeros((), flat.dtype), jnp.full((), jnp.inf, flat.dtype))
    begin = compat.varying_like(begin, flat)
    with jax.default_matmul_precision("highest"):
        _, (diagonal, beside) = jax.lax.scan(step, begin, None, length=min(iterations, flat.size))
        whole = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
        return jnp.linalg.eigvalsh(whole)[-1]


def sharpness(function: Callable[[Any], Any], params: Any, *, radius: float | int = 0.05) -> Float[Array, ""]:
    """Return L(w + ρ g / ‖g‖) − L(w), the rise of a loss at the distance ρ along its gradient g.

    To first order in ρ it is the largest rise within the distance, which SAM minimizes together with the loss.

    Args:
        function: L, a scalar function of the parameters.
        params: w; see `hessian_eigenvalues`.
        radius: ρ, above 0.

    Returns:
        A number; 0 where the gradient is 0.

    Raises:
        ValueError: see `hessian_eigenvalues`; also if ``radius`` is not above 0.

    Reference: P. Foret et al., Sharpness-Aware Minimization, 2021, https://arxiv.org/abs/2010.01412.

    Examples:
        From 1 by 0.5 along the gradient of x², to 1.5² − 1:

        >>> analysis.sharpness(lambda x: x**2, 1.0, radius=0.5)
        Array(1.25, dtype=float32)
    """
    if not radius > 0:
        raise ValueError(f"radius={radius} is not above 0")
    of_flat, flat = _flattened(function, params)
    value, grads = jax.value_and_grad(of_flat)(flat)
    norm = numerics.safe_sqrt(jnp.vdot(grads, grads))
    return of_flat(flat + radius * grads / jnp.where(norm > 0, norm, 1)) - value


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
