"""Yogi: Adam whose second moment moves by at most a share of the squared gradient, towards it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.states import ScaleByAdamState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def yogi(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-3,
    *,
    convention: str = "optax",
    initial_accumulator_value: ArrayLike | None = None,
    momentum_from_zero: bool | None = None,
    bias_correction: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Yogi: w ← w − α·m/(√v + eps), v ← v − (1−b2)·sgn(v − g²)·g², where m is the average of g.

    Where Adam's v is large, it forgets at a rate of its own size, and the step grows fast; Yogi's v falls by no more
    than (1−b2)g².

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        b1: decay of m, in [0, 1).
        b2: 1 − b2 is the share of g² by which v moves, in [0, 1).
        eps: added to the root, at least 0.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        initial_accumulator_value: the first v, at least 0; None takes the convention's (optax 1e-6; the paper advises
            the mean square of a first gradient, which the caller must give).
        momentum_from_zero: start m at 0, not at the first v; None takes the convention's (the paper's m starts at 0).
        bias_correction: divide m by 1 − b1ᵗ and v by 1 − b2ᵗ; None takes the convention's (optax True, the paper
            False).
        state_dtype: dtype of m and v; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Zaheer et al., Adaptive Methods for Nonconvex Optimization, 2018,
    https://papers.nips.cc/paper/2018/hash/90365351ccc7437a1309dc64e4db32a3-Abstract.html.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.yogi(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.09960293,  0.09443664], dtype=float32)
    """
    check(non_negative={"learning_rate": learning_rate})
    given: dict[str, Any] = {"momentum_from_zero": momentum_from_zero, "bias_correction": bias_correction}
    options = resolve("yogi", convention, initial_accumulator_value=initial_accumulator_value, **given)
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(scale_by_yogi(b1, b2, eps, **options), rate, state_dtype=state_dtype)


def scale_by_yogi(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-3,
    *,
    initial_accumulator_value: ArrayLike = 1e-6,
    momentum_from_zero: bool = False,
    bias_correction: bool = True,
) -> GradientTransformation:
    """Scale by Yogi's direction. See ``yogi`` for the arguments."""
    start = initial_accumulator_value
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "initial_accumulator_value": start})
    b1, b2, eps = trees.hyper(b1, b2, eps)

    def init(params):
        mu = trees.full_like(params, 0 if momentum_from_zero else start)
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=mu, nu=trees.full_like(params, start))

    def moved(g, v):
        square, v = trees.abs_square(g), trees.real(v)
        step = trees.times(1 - b2, jnp.sign(trees.plus(v, -square))) * square
        after = trees.plus(v, -step)
        return jnp.where(v == square, v.astype(after.dtype), after)  # two infinities are equal, not NaN

    def update(updates, state, params):
        del params
        mu = moments.update_moment(updates, state.mu, b1, 1)
        nu = trees.map_state(moved, updates, state.nu)
        count = trees.increment(state.count)
        mu_hat = moments.first_moment(mu, updates, b1, count, False, bias_correction)
        nu_hat = moments.correct_bias(nu, b2, count) if bias_correction else nu
        direction = moments.ratio(updates, mu_hat, nu_hat, eps, 0.0)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=count, mu=mu, nu=nu)

    return transformation("Yogi's direction", ScaleByAdamState, init, update)
