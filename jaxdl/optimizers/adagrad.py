"""AdaGrad: a rate per coordinate from the sum of its squared gradients. [Lecture row E4]"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.states import ScaleByRssState
from jaxdl.optimizers.trees import map_state, map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: ArrayLike | None = None,
    eps: ArrayLike | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    eps_in_sqrt: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaGrad: s ← s + g², w ← w − α·g/√(s + eps); or with eps outside the root, α·g/(√s + eps).

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        initial_accumulator_value: initial s, at least 0; None takes the convention's (optax and Keras 0.1; PyTorch, the
            paper and the lectures 0).
        eps: at least 0; None takes the convention's (optax, Keras and CS182 1e-7, PyTorch 1e-10).
        weight_decay: see ``adam``.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        eps_in_sqrt: add eps inside the root; None takes the convention's (True for optax, Keras and ENEE4584).
        state_dtype: dtype of s; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, 2011, https://jmlr.org/papers/v12/duchi11a.html.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adagrad(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.08451542,  0.03015112], dtype=float32)

    [Lecture row E4]
    """
    options = resolve(
        "adagrad",
        convention,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
        eps_in_sqrt=eps_in_sqrt,
    )
    check(non_negative={"learning_rate": learning_rate})
    rate = stages.scale_by_learning_rate(learning_rate)
    penalty = stages.l2_penalty("adagrad", weight_decay, convention)
    return stages.chain(*penalty, scale_by_rss(**options), rate, state_dtype=state_dtype)


def scale_by_rss(
    initial_accumulator_value: ArrayLike = 0.1, eps: ArrayLike = 1e-7, *, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """Scale by AdaGrad's direction. See ``adagrad`` for the arguments."""
    check(non_negative={"initial_accumulator_value": initial_accumulator_value, "eps": eps})

    initial, eps = trees.hyper(initial_accumulator_value, eps)

    def scale(g, s):
        s = trees.real(s)
        seen = jnp.where(s > 0, s, 1.0)
        if eps_in_sqrt:
            return jnp.where(s > 0, jax.lax.rsqrt(seen + eps), 0.0) * g
        return g / jnp.where(s > 0, jnp.sqrt(seen) + eps, 1.0)

    def init(params):
        return ScaleByRssState(sum_of_squares=trees.full_like(params, initial))

    def update(updates, state, params):
        del params
        total = map_state(lambda g, s: trees.plus(trees.abs_square(g), trees.real(s)), updates, state.sum_of_squares)
        new_state = ScaleByRssState(sum_of_squares=trees.cast_like(total, state.sum_of_squares))
        return map_updates(scale, updates, total), new_state

    return transformation("AdaGrad's direction", ScaleByRssState, init, update)
