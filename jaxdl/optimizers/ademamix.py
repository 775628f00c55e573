"""AdEMAMix: AdamW with a second, slow average of the gradient."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import ScaleByAdemamixState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def ademamix(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask = None,
    *,
    convention: str = "optax",
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdEMAMix: w ← w − η·((m̂₁ + α·m₂)/(√(v̂ + eps_root) + eps) + λw), where m₁ and m₂ forget g fast and slowly.

    m₁ and v are Adam's, and m₂ starts at 0 without a correction of its bias, so that it fills slowly.

    Args:
        learning_rate: η, a number of at least 0 or a schedule.
        b1: decay of m₁, in [0, 1).
        b2: decay of v, in [0, 1).
        b3: decay of m₂, in [0, 1), or a schedule; the paper raises it from b1 to this value.
        alpha: α, a number of at least 0 or a schedule; the paper raises it from 0 to this value.
        eps: added to the root, at least 0.
        eps_root: added inside the root, at least 0.
        mu_dtype: dtype in which m₁, m₂ and v are stored; None follows ``state_dtype``.
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (optax 0).
        mask: which parameters decay; None selects all.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        form: order of operations, entries of ``conventions.FORMS``.
        state_dtype: dtype of the averages; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Pagliardini et al., The AdEMAMix Optimizer: Better, Faster, Older, 2024,
    https://arxiv.org/abs/2409.03137.
    """
    check(non_negative={"learning_rate": learning_rate})
    options = resolve("ademamix", convention, form, weight_decay=weight_decay)
    decay = {name: options.pop(name) for name in ("weight_decay", "decay_form")}
    direction = scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype, **options)
    return stages.chain(*stages.decoupled(direction, learning_rate, mask=mask, **decay), state_dtype=state_dtype)


def scale_by_ademamix(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by AdEMAMix's direction. See ``ademamix`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2, "b3": b3}, non_negative={"alpha": alpha, "eps": eps, "eps_root": eps_root})
    b1, b2, eps, eps_root = trees.hyper(b1, b2, eps, eps_root)

    def init(params):
        zero, zeros = jnp.zeros([], jnp.int32), lambda: trees.zeros_like(params, mu_dtype)
        return ScaleByAdemamixState(count=zero, count_m2=trees.copied(zero), m1=zeros(), m2=zeros(), nu=zeros())

    def update(updates, state, params):
        del params
        slow, weight = (trees.hyper(x(state.count_m2) if callable(x) else x) for x in (b3, alpha))
        m1 = moments.update_moment(updates, state.m1, b1, 1, moment_form)
        m2 = moments.update_moment(updates, state.m2, slow, 1, moment_form)
        nu = moments.update_moment(updates, state.nu, b2, 2, moment_form)
        count = trees.increment(state.count)
        # the sum can overflow where v is infinite, and ∞/∞ would be NaN; finite values are unchanged
        mix = lambda g, fast, old: moments.finite(trees.plus(fast, trees.times(weight, old)))
        m1_hat, nu_hat = (moments.correct_bias(x, b, count, exact_correction) for x, b in ((m1, b1), (nu, b2)))
        direction = moments.ratio(updates, trees.map_updates(mix, updates, m1_hat, m2), nu_hat, eps, eps_root)
        m1, m2, nu = trees.cast_like((m1, m2, nu), (state.m1, state.m2, state.nu))
        return direction, ScaleByAdemamixState(count, trees.increment(state.count_m2), m1, m2, nu)

    return transformation("AdEMAMix's direction", ScaleByAdemamixState, init, update)
