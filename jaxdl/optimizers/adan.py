"""Adan: Adam with an average of the gradient's differences, as Nesterov's momentum rewritten for averages."""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import ScaleByAdanState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adan(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.98,
    b2: ArrayLike = 0.92,
    b3: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike | None = None,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask = None,
    *,
    convention: str = "optax",
    full_difference: bool | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Adan: w ← w − α·((m̂ + κv̂)/(√(n̂ + eps_root) + eps) + λw), with the gradient's change Δ = g − g₋₁.

    m, v and n are averages of g, Δ and (g + κΔ)², and κ is the weight of the change.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        b1: decay of m, in [0, 1). The paper's β₁ is 1 − b1, and so on.
        b2: decay of v, in [0, 1).
        b3: decay of n, in [0, 1).
        eps: added to the root, at least 0.
        eps_root: added inside the root, at least 0; None takes the convention's (optax 1e-8; the paper adds none).
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (0).
        mask: which parameters decay; None selects all.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``; "paper" is the authors' code, which
            corrects the bias of all three averages.
        full_difference: κ is b2 (.92) as in the paper, or 1 − b2 (.08) as in optax; None takes the convention's.
        form: order of operations, entries of ``conventions.FORMS``.
        state_dtype: dtype of the averages; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Xie et al., Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models, 2022,
    https://arxiv.org/abs/2208.06677.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adan(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.1,  0.1], dtype=float32)
    """
    check(non_negative={"learning_rate": learning_rate})
    given = {"eps_root": eps_root, "weight_decay": weight_decay, "full_difference": full_difference}
    options = resolve("adan", convention, form, **given)
    decay = {name: options.pop(name) for name in ("weight_decay", "decay_form")}
    direction = scale_by_adan(b1, b2, b3, eps, **options)
    return stages.chain(*stages.decoupled(direction, learning_rate, mask=mask, **decay), state_dtype=state_dtype)


def scale_by_adan(
    b1: ArrayLike = 0.98,
    b2: ArrayLike = 0.92,
    b3: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 1e-8,
    *,
    full_difference: bool = False,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by Adan's direction. See ``adan`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2, "b3": b3}, non_negative={"eps": eps, "eps_root": eps_root})
    b1, b2, b3, eps, eps_root = trees.hyper(b1, b2, b3, eps, eps_root)
    kappa = b2 if full_difference else 1 - b2

    ahead = partial(_ahead, kappa)

    def init(params):
        m, v, n, g = (trees.zeros_like(params) for _ in range(4))
        return ScaleByAdanState(m=m, v=v, n=n, g=g, t=jnp.zeros([], jnp.int32))

    def update(updates, state, params):
        del params
        change = trees.map_updates(partial(_change, state.t == 0), updates, state.g)
        m = moments.update_moment(updates, state.m, b1, 1, moment_form)
        v = moments.update_moment(change, state.v, b2, 1, moment_form)
        n = moments.update_moment(trees.map_updates(ahead, updates, change), state.n, b3, 2, moment_form)
        count = trees.increment(state.t)
        averages = ((m, b1), (v, b2), (n, b3))
        m_hat, v_hat, n_hat = (moments.correct_bias(x, b, count, exact_correction) for x, b in averages)
        numerator = trees.map_updates(lambda g, m, v: ahead(m, v), updates, m_hat, v_hat)
        direction = moments.ratio(updates, numerator, n_hat, eps, eps_root)
        kept = trees.map_state(lambda g, before: g, updates, state.g)
        m, v, n, g = trees.cast_like((m, v, n, kept), (state.m, state.v, state.n, state.g))
        return direction, ScaleByAdanState(m=m, v=v, n=n, g=g, t=count)

    return transformation("Adan's direction", ScaleByAdanState, init, update)


def _ahead(kappa, g, change):
    # the sum can overflow where n is infinite, and ∞/∞ would be NaN; finite values are unchanged
    return moments.finite(trees.plus(g, trees.times(kappa, change)))


def _change(first, g, before):
    return moments.finite(jnp.where(first, 0, trees.plus(g, -before)))
