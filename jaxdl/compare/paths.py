"""Where an optimizer goes on a function of few variables, and at which rates it stays there. Lecture row E13."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl.compare.trajectories import settled

__all__ = ["descent_path", "largest_stable_rate"]


def descent_path(
    value: Callable[[Float[Array, " n"]], Float[Array, ""]],
    optimizer: optax.GradientTransformation,
    start: ArrayLike | Sequence[float],
    steps: int,
) -> Float[Array, "t n"]:
    """The points that an optimizer goes through on its exact gradients: the start, and one after each step.

    Args:
        value: the function, of a point.
        optimizer: any that takes (grads, state, params).
        start: where it begins, shape (n,).
        steps: how many.
    """
    start = jnp.asarray(start, jnp.float32)

    def step(carry, _):
        point, state = carry
        updates, state = optimizer.update(jax.grad(value)(point), state, point)
        point = jnp.asarray(optax.apply_updates(point, updates))
        return (point, state), point

    _, points = jax.lax.scan(step, (start, settled(optimizer, start, start)), None, length=steps)
    return jnp.concatenate([start[None], jnp.asarray(points)])


def largest_stable_rate(
    build: Callable[[Any], optax.GradientTransformation], *, steps: int = 4000, low: float = 0.1, high: float = 100.0
) -> float:
    """The largest learning rate at which an optimizer does not leave the bowl ½x², found by bisection.

    On a bowl of curvature λ the largest rate is this divided by λ. A rate is stable if the last tenth of the steps
    stays within the start's distance from the minimum; the error is about 1 in `steps`.

    Args:
        build: makes the optimizer from a learning rate, which is traced.
        steps: how long each rate is tried.
        low: a rate that is stable.
        high: a rate that is not.

    Returns:
        The rate, for plain descent 2, for momentum β as heavy ball 2(1 + β), as average 2(1 + β)/(1 − β), and for
        Nesterov's 2(1 + β)/(1 + 2β).

    Raises:
        ValueError: `low` is not stable or `high` is.
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
