"""Prodigy: Adam whose step size is an estimate of the distance from the start to the solution."""

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
from jaxdl.optimizers.states import ProdigyState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def prodigy(
    learning_rate: ScalarOrSchedule = 1.0,
    betas: tuple[ArrayLike, ArrayLike] = (0.9, 0.999),
    beta3: ArrayLike | None = None,
    eps: ArrayLike = 1e-8,
    estim_lr0: ArrayLike = 1e-6,
    estim_lr_coef: ArrayLike = 1.0,
    weight_decay: ArrayLike | None = None,
    safeguard_warmup: bool = False,
    *,
    convention: str = "optax",
    bias_correction: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Prodigy: Adam on the gradients d·g with the rate α·d, where d grows towards the distance to the solution.

    With γ = α·d·√(1−b2ᵗ)/(1−b1ᵗ), or γ = α·d without ``bias_correction``: s ← β₃s + (d/d₀)γg,
    r ← β₃r + (d/d₀)γ⟨g, w₀−w⟩ and d ← max(d, c·r/‖s‖₁); w ← w − γ·(m/(√v + d·eps) + λw). Until a gradient is not 0, d
    stays.

    Args:
        learning_rate: α, a number of at least 0 or a schedule; 1 is the method's own.
        betas: b1 and b2, the decays of the averages m of dg and v of (dg)², in [0, 1).
        beta3: decay of r and s, in [0, 1); None takes √b2.
        eps: added to the root after scaling by d, at least 0.
        estim_lr0: d₀, the first d, above 0 and below the distance.
        estim_lr_coef: c, above 0.
        weight_decay: λ of decoupled weight decay, at least 0; None takes the convention's (optax 0).
        safeguard_warmup: leave α and the bias correction out of s, so that a warm-up cannot raise d.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        bias_correction: correct the bias of m and v; None takes the convention's (the paper does not).
        state_dtype: dtype of the accumulators; None keeps float32 for half-precision leaves and the leaf's own for
            others.

    Raises:
        ValueError: a number is out of range, the convention does not define this optimizer, or, at update, ``params``
            is missing.

    Reference: Mishchenko and Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner, 2023,
    https://arxiv.org/abs/2306.06101.
    """
    options = resolve("prodigy", convention, weight_decay=weight_decay, bias_correction=bias_correction)
    b1, b2 = betas
    check(
        positive={"estim_lr0": estim_lr0, "estim_lr_coef": estim_lr_coef},
        non_negative={"learning_rate": learning_rate, "eps": eps, "weight_decay": options["weight_decay"]},
        decay_rates={"b1": b1, "b2": b2, "beta3": beta3},
    )
    decay, correct = trees.hyper(options["weight_decay"]), options["bias_correction"]
    hypers = _Hypers(*trees.hyper(b1, b2, b2**0.5 if beta3 is None else beta3, eps, estim_lr0, estim_lr_coef, decay))
    constant = None if callable(learning_rate) else trees.hyper(learning_rate)

    def init(params):
        kind, zeros = trees.narrowest(params), trees.zeros_like
        averages = zeros(params), zeros(params), zeros(params), jax.tree.map(trees.copied, params)
        start, total = compat.varying_like((jnp.array(estim_lr0, kind), jnp.zeros([], kind)), params)
        return ProdigyState(*averages, start, total, jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        stages.require_params(params, "prodigy")
        rate = trees.hyper(learning_rate(state.count)) if callable(learning_rate) else constant
        return _update(hypers, updates, state, params, rate, correct=correct, safeguard=safeguard_warmup)

    return stages.alone(transformation("prodigy", ProdigyState, init, update), state_dtype)


class _Hypers(NamedTuple):
    """Prodigy's hyperparameters, checked."""

    b1: Any
    b2: Any
    b3: Any
    eps: Any
    start: Any  # d₀
    coefficient: Any  # c
    decay: Any


def _update(h: _Hypers, updates, state: Any, params, rate, *, correct: bool, safeguard: bool):
    count, d = trees.increment(state.count), state.estim_lr
    gamma = trees.times(rate, d)
    if correct:
        gamma = trees.times(moments.bias_weight(h.b2, count) ** 0.5 / moments.bias_weight(h.b1, count), gamma)
    gamma = gamma.astype(d.dtype)
    scaled = trees.map_updates(lambda g: trees.times(d, g), updates)
    mu = moments.update_moment(scaled, state.exp_avg, h.b1, 1)
    nu = moments.update_moment(scaled, state.exp_avg_sq, h.b2, 2)
    weight = d if safeguard else gamma

    def summed(g, s):
        return trees.plus(trees.times(h.b3, s), trees.times(weight, g) / h.start)

    sums = trees.map_state(summed, scaled, state.grad_sum)
    numerator, after = _distance(h, updates, sums, state, params, gamma)

    def step(g, m, v, p):
        del g
        root = trees.plus(jnp.sqrt(trees.real(v)), trees.times(h.eps, after))
        ahead = trees.times(-gamma, m / jnp.where(root == 0, 1, root))
        return trees.plus(trees.times(-1 * trees.times(h.decay, gamma), p), ahead)

    moved = trees.map_updates(step, scaled, mu, nu, params)
    mu, nu, sums = trees.cast_like((mu, nu, sums), (state.exp_avg, state.exp_avg_sq, state.grad_sum))
    return moved, ProdigyState(mu, nu, sums, state.params0, after, numerator, count)


def _distance(h: _Hypers, updates, sums, state: Any, params, gamma) -> tuple[jax.Array, jax.Array]:
    """Return the new r and d."""
    d = state.estim_lr
    along = trees.map_updates(lambda g, p, first: trees.inner(g, trees.plus(first, -p)), updates, params, state.params0)
    numerator = trees.times(h.b3, state.numerator_weighted) + d / h.start * gamma * trees.total(along, d.dtype)
    length = trees.total(trees.map_updates(lambda g, s: jnp.sum(jnp.abs(s)), updates, sums), d.dtype)
    estimate = trees.times(h.coefficient, numerator) / jnp.where(length == 0, 1, length)
    after = jnp.where(length == 0, d, jnp.maximum(d, estimate))  # without a gradient so far, d stays
    return numerator.astype(d.dtype), after.astype(d.dtype)
