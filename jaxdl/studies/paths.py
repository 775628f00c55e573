"""Paths of optimizers on functions of few variables, and their largest stable learning rates. [Lecture row E13]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import optimizers
from jaxdl.optimizers.loops import settled

__all__ = ["descent_path", "largest_stable_rate"]


def descent_path(
    value: Callable[[Float[Array, " n"]], Float[Array, ""]],
    optimizer: optax.GradientTransformation,
    start: ArrayLike | Sequence[float],
    steps: int,
) -> Float[Array, "t n"]:
    """Return the points that an optimizer visits on exact gradients: the start, and one point after each step.

    Args:
        value: function of a point.
        optimizer: any optimizer. The gradient is taken where it asks for it, and it gets ``value`` and ``value_fn`` if
            it accepts them; see `optimizers.update`.
        start: starting point, shape (n,).
        steps: number of steps.

    Returns:
        The points at which the optimizer is evaluated; see `optimizers.eval_params`.

    Raises:
        ValueError: the optimizer asks for something else, as Gauss-Newton does for the parts of the function.

    Examples:
        Plain descent of ½x² with the rate ½ halves x:

        >>> studies.descent_path(lambda x: 0.5 * (x**2).sum(), optax.sgd(0.5), [8.0], 3).ravel()
        Array([8., 4., 2., 1.], dtype=float32)
    """
    start = jnp.asarray(start, jnp.float32)
    params = optimizers.start_params(optimizer, start)

    def step(carry, _):
        params, state = carry
        found, grads = jax.value_and_grad(value)(optimizers.gradient_point(state, params))
        updates, state = optimizers.update(optimizer, grads, state, params, value=found, value_fn=value)
        params = optax.apply_updates(params, updates)
        return (params, state), optimizers.eval_params(state, params)

    state = settled(optimizer, start, params, value=value(start), value_fn=value)
    params = jax.tree.map(jnp.asarray, params)
    _, points = jax.lax.scan(step, (params, state), None, length=steps)
    return jnp.concatenate([start[None], jnp.asarray(points)])


def largest_stable_rate(
    build: Callable[[Any], optax.GradientTransformation], *, steps: int = 4000, low: float = 0.1, high: float = 100.0
) -> float:
    """Find by bisection the largest learning rate at which an optimizer stays in the bowl ½x².

    On a bowl of curvature λ the largest rate is this one divided by λ. A rate is stable if the last tenth of the steps
    stays within the initial distance from the minimum; the relative error is about 1 in `steps`.

    Args:
        build: makes the optimizer from a learning rate, which is traced.
        steps: number of steps for which each rate is tried.
        low: a stable rate.
        high: an unstable rate.

    Returns:
        The rate: 2 for plain descent, 2(1 + β) for momentum β as heavy ball, 2(1 + β)/(1 − β) as an average, and
        2(1 + β)/(1 + 2β) for Nesterov's.

    Raises:
        ValueError: `low` is not stable or `high` is.

    Examples:
        A step multiplies x by 1 − rate, which must not exceed 1 in size:

        >>> studies.largest_stable_rate(optax.sgd, steps=100)
        2.0
    """

    @jax.jit
    def stable(rate):
        path = descent_path(lambda x: 0.5 * (x**2).sum(), build(rate), np.ones(1), steps)
        return (jnp.abs(path[-steps // 10 :]) <= 1).all()  # NaN is not

    if not stable(low) or stable(high):
        raise ValueError(f"low={low} must be a stable rate and high={high} must not be one")
    while high - low > 1e-5 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low
