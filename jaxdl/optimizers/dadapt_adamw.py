"""D-Adaptation: AdamW whose step size is a lower bound of the distance from the start to the solution."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformationExtraArgs

from jaxdl import compat
from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.states import DAdaptAdamWState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def dadapt_adamw(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    estim_lr0: ArrayLike = 1e-6,
    weight_decay: ArrayLike | None = None,
    *,
    convention: str = "optax",
    bias_correction: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """D-Adapted AdamW: w ← w − m/(√v + eps) − γλw, m ← b1·m + (1−b1)·γg, with γ = α·d·√(1−b2ᵗ)/(1−b1ᵗ).

    d ← max(d, r/((1−β)‖s‖₁)) is a lower bound of the distance, with β = √b2, s ← βs + (1−β)γg and
    r ← βr + (1−β)γ⟨g, s/(√v + eps)⟩, in which s and v are those before the step. Until a gradient is not 0, d stays.

    Args:
        learning_rate: α, a number of at least 0 or a schedule; 1 is the method's own.
        betas: b1 and b2, the decays of m and of v, the average of g², in [0, 1).
        eps: added to the root, above 0.
        estim_lr0: the first d, above 0 and below the distance.
        weight_decay: λ, at least 0; None takes the convention's (0).
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        bias_correction: False is γ = α·d; None takes the convention's (optax True, the paper False).
        state_dtype: dtype of the accumulators; None keeps float32 for half-precision leaves and the leaf's own for
            others.

    Raises:
        ValueError: a number is out of range, the convention does not define this optimizer, or, at update, ``params``
            is missing.

    Reference: Defazio and Mishchenko, Learning-Rate-Free Learning by D-Adaptation, 2023,
    https://arxiv.org/abs/2301.07733.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.dadapt_adamw(estim_lr0=0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.1,  0.1], dtype=float32)
    """
    options = resolve("dadapt_adamw", convention, weight_decay=weight_decay, bias_correction=bias_correction)
    check(
        positive={"estim_lr0": estim_lr0, "eps": eps},
        non_negative={"learning_rate": learning_rate, "weight_decay": options["weight_decay"]},
        decay_rates={"b1": betas[0], "b2": betas[1]},
    )
    b1, b2, eps, decay = trees.hyper(*betas, eps, options["weight_decay"])
    hypers = _Hypers(b1, b2, b2**0.5, eps, decay, options["bias_correction"])
    constant = None if callable(learning_rate) else trees.hyper(learning_rate)

    def init(params):
        kind, zeros = trees.narrowest(params), trees.zeros_like
        start, total = compat.varying_like((jnp.array(estim_lr0, kind), jnp.zeros([], kind)), params)
        return DAdaptAdamWState(zeros(params), zeros(params), zeros(params), start, total, jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        stages.require_params(params, "dadapt_adamw")
        rate = trees.hyper(learning_rate(state.count)) if callable(learning_rate) else constant
        return _update(hypers, updates, state, params, rate)

    return stages.alone(transformation("dadapt_adamw", DAdaptAdamWState, init, update), state_dtype)


class _Hypers(NamedTuple):
    """D-Adaptation's hyperparameters, checked."""

    b1: Any
    b2: Any
    b3: Any  # √b2, the decay of r and s
    eps: Any
    decay: Any
    correct: bool


def _update(h: _Hypers, updates, state: Any, params, rate):
    count, d = trees.increment(state.count), state.estim_lr
    gamma = trees.times(rate, d)
    if h.correct:
        gamma = trees.times(moments.bias_weight(h.b2, count) ** 0.5 / moments.bias_weight(h.b1, count), gamma)
    gamma = gamma.astype(d.dtype)

    def average(decay):
        return lambda g, t: trees.plus(trees.times(decay, t), trees.times(trees.times(1 - decay, gamma), g))

    def step(g, m, v, p):
        del g
        return trees.plus(trees.times(-1 * trees.times(h.decay, gamma), p), -m / _root(h, v))

    mu = trees.map_state(average(h.b1), updates, state.exp_avg)
    nu = moments.update_moment(updates, state.exp_avg_sq, h.b2, 2)
    sums = trees.map_state(average(h.b3), updates, state.grad_sum)
    numerator, after = _distance(h, updates, sums, state, gamma)
    steps = trees.map_updates(step, updates, mu, nu, params)
    mu, nu, sums = trees.cast_like((mu, nu, sums), (state.exp_avg, state.exp_avg_sq, state.grad_sum))
    return steps, DAdaptAdamWState(mu, nu, sums, after, numerator, count)


def _distance(h: _Hypers, updates, sums, state: Any, gamma) -> tuple[jax.Array, jax.Array]:
    """Return the new r and d."""
    d = state.estim_lr
    inner = lambda g, s, v: trees.inner(g, s / _root(h, v))
    along = trees.total(trees.map_updates(inner, updates, state.grad_sum, state.exp_avg_sq), d.dtype)
    numerator = trees.times(h.b3, state.numerator_weighted) + trees.times(1 - h.b3, gamma) * along
    length = trees.total(trees.map_updates(lambda g, s: jnp.sum(jnp.abs(s)), updates, sums), d.dtype)
    estimate = numerator / trees.times(1 - h.b3, jnp.where(length == 0, 1, length))
    after = jnp.where(length == 0, d, jnp.maximum(d, estimate))  # without a gradient so far, d stays
    return numerator.astype(d.dtype), after.astype(d.dtype)


def _root(h: _Hypers, v):
    return jnp.sqrt(trees.real(v)) + h.eps
