"""AdaMax: Adam with a decayed maximum of |g| in place of the root of the second moment. [Lecture row E7]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import ScaleByAdamState
from jaxdl.optimizers.trees import map_state, map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    eps_in_max: bool | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaMax: u ← max(b2·u, |g| + eps), w ← w − α·m̂/u; or with eps added to u after the maximum.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: see ``adam``.
        b2: decay of the maximum, in [0, 1).
        eps: at least 0; None takes the convention's (1e-8; Keras 1e-7; the paper 0).
        weight_decay: see ``adam``.
        convention: see ``adam``.
        eps_in_max: add eps inside the maximum; None takes the convention's (True for optax and PyTorch).
        form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, section 7.1,
    https://arxiv.org/abs/1412.6980.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adamax(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.09999999,  0.09999998], dtype=float32)

    [Lecture row E7]
    """
    check(non_negative={"learning_rate": learning_rate})
    direction = scale_by_adamax(b1, b2, **resolve("adamax", convention, form, eps=eps, eps_in_max=eps_in_max))
    penalty = stages.l2_penalty("adamax", weight_decay, convention)
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(*penalty, direction, rate, state_dtype=state_dtype)


def scale_by_adamax(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    eps_in_max: bool = True,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by AdaMax's direction. See ``adamax`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps})
    b1, b2, eps = trees.hyper(b1, b2, eps)

    def largest(g, u):
        u = trees.real(u)
        return jnp.maximum(jnp.abs(g) + eps, b2 * u) if eps_in_max else jnp.maximum(jnp.abs(g), b2 * u)

    def divide(g, m, u):
        del g
        u = trees.real(u)
        if eps_in_max:
            return m / u
        # a coordinate that never had a gradient stays put even if eps is 0
        below = u + eps
        return jnp.where(below > 0, m / jnp.where(below > 0, below, 1.0), 0.0)

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros(params), nu=zeros(params))

    def update(updates, state, params):
        del params
        count = trees.increment(state.count)
        mu = moments.update_moment(updates, state.mu, b1, 1, moment_form)
        nu = map_state(largest, updates, state.nu)
        direction = map_updates(divide, updates, moments.correct_bias(mu, b1, count, exact_correction), nu)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=count, mu=mu, nu=nu)

    return transformation("AdaMax's direction", ScaleByAdamState, init, update)
