"""AMSGrad: Adam divided by the root of the largest second moment so far. [Lecture row E7]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import ScaleByAmsgradState
from jaxdl.optimizers.trees import map_state
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    mu_dtype: DTypeLike | None = None,
    bias_correction_mu: bool | None = None,
    bias_correction_nu: bool | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    max_of_raw: bool | None = None,
    eps_hat: bool | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AMSGrad: Adam with the running maximum of v̂ in place of v̂.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``; None takes the convention's (the paper prints none).
        eps_root: see ``adam``.
        mu_dtype: see ``adam``.
        bias_correction_mu: divide m by 1 − b1ᵗ; None takes the convention's (False for the paper only).
        bias_correction_nu: divide v by 1 − b2ᵗ; None takes the convention's (False for the paper only).
        weight_decay: see ``adam``.
        convention: see ``adam``.
        max_of_raw: take the maximum of v before the bias correction; None takes the convention's. Only optax corrects
            first, so that large early estimates persist.
        eps_hat: see ``adam``.
        form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018,
    https://openreview.net/forum?id=ryQu7f-RZ.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.amsgrad(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.09999934,  0.09999933], dtype=float32)

    [Lecture row E7]
    """
    check(non_negative={"learning_rate": learning_rate})
    given = {"bias_correction_mu": bias_correction_mu, "bias_correction_nu": bias_correction_nu}
    given |= {"eps": eps, "eps_root": eps_root, "max_of_raw": max_of_raw, "eps_hat": eps_hat}
    direction = scale_by_amsgrad(b1, b2, mu_dtype=mu_dtype, **resolve("amsgrad", convention, form, **given))
    penalty = stages.l2_penalty("amsgrad", weight_decay, convention)
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(*penalty, direction, rate, state_dtype=state_dtype)


def scale_by_amsgrad(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    max_of_raw: bool = False,
    eps_hat: bool = False,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by AMSGrad's direction. See ``amsgrad`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "eps_root": eps_root})
    b1, b2, eps, eps_root = trees.hyper(b1, b2, eps, eps_root)

    def larger(g, top, v):
        del g
        return jnp.maximum(trees.real(top), trees.real(v))

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAmsgradState(jnp.zeros([], jnp.int32), zeros(params, mu_dtype), zeros(params), zeros(params))

    def update(updates, state, params):
        del params
        mu, nu = moments.update_moments(updates, state, b1, b2, moment_form)
        count = trees.increment(state.count)
        mu_hat = moments.first_moment(mu, updates, b1, count, False, bias_correction_mu, exact_correction)
        correct_first = bias_correction_nu and not max_of_raw
        seen = moments.correct_bias(nu, b2, count, exact_correction) if correct_first else nu
        nu_max = largest = map_state(larger, updates, state.nu_max, seen)
        if bias_correction_nu and max_of_raw:
            mu_hat, largest = moments.correct_ratio(mu_hat, largest, b2, count, eps_hat, exact_correction)
        direction = moments.ratio(updates, mu_hat, largest, eps, eps_root)
        mu, nu, nu_max = trees.cast_like((mu, nu, nu_max), (state.mu, state.nu, state.nu_max))
        return direction, ScaleByAmsgradState(count, mu, nu, nu_max)

    return transformation("AMSGrad's direction", ScaleByAmsgradState, init, update)
