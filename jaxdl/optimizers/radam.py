"""RAdam: Adam with a factor that rectifies the variance of its early steps. [Lecture row E7]"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import ScaleByAdamState
from jaxdl.optimizers.trees import map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def radam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    threshold: ArrayLike | None = None,
    *,
    nesterov: bool = False,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    eps_hat: bool | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """RAdam: Adam times a factor r that rectifies the variance of 1/√v̂, and α·m̂ while that variance is intractable.

    ρ∞ = 2/(1−b2) − 1, ρ = ρ∞ − 2t·b2ᵗ/(1−b2ᵗ), and r = √((ρ−4)(ρ−2)ρ∞/((ρ∞−4)(ρ∞−2)ρ)) where ρ ≥ threshold.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``; None takes the convention's (1e-8; the paper prints none).
        eps_root: see ``adam``.
        threshold: smallest ρ at which r is used; None takes the convention's (5; the paper 4).
        nesterov: see ``adam``.
        weight_decay: see ``adam``.
        convention: see ``adam``.
        eps_hat: see ``adam``; None takes the convention's (PyTorch True, optax False).
        form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020,
    https://arxiv.org/abs/1908.03265.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.radam(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.04999999,  0.01      ], dtype=float32)

    [Lecture row E7]
    """
    check(non_negative={"learning_rate": learning_rate})
    given = {"eps": eps, "eps_root": eps_root, "threshold": threshold, "eps_hat": eps_hat}
    direction = scale_by_radam(b1, b2, nesterov=nesterov, **resolve("radam", convention, form, **given))
    penalty = stages.l2_penalty("radam", weight_decay, convention)
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(*penalty, direction, rate, state_dtype=state_dtype)


def scale_by_radam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    threshold: ArrayLike = 5.0,
    *,
    nesterov: bool = False,
    eps_hat: bool = False,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by RAdam's direction. See ``radam`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "eps_root": eps_root})
    b1, b2, eps, eps_root, threshold = trees.hyper(b1, b2, eps, eps_root, threshold)
    limit = 2.0 / (1.0 - b2) - 1.0

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros(params), nu=zeros(params))

    def update(updates, state, params):
        del params
        mu, nu = moments.update_moments(updates, state, b1, b2, moment_form)
        count = trees.increment(state.count)
        rho = _rectifier_length(b2, count, exact_correction)
        usable = rho >= threshold
        factor = jnp.sqrt((rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho))
        mu_hat = moments.first_moment(mu, updates, b1, count, nesterov, True, exact_correction)
        above, below = moments.correct_ratio(mu_hat, nu, b2, count, eps_hat, exact_correction)

        def rectified(g, m, v, plain):
            del g
            adaptive = factor.astype(trees.real(m).dtype) * m / (jnp.sqrt(trees.real(v) + eps_root) + eps)
            return jnp.where(usable, adaptive, plain)

        direction = map_updates(rectified, updates, above, below, mu_hat)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=count, mu=mu, nu=nu)

    return transformation("RAdam's direction", ScaleByAdamState, init, update)


def _rectifier_length(b2, count, exact: bool):
    """Return RAdam's ρ.

    2t·bᵗ/(1−bᵗ) nearly cancels ρ∞. With L = −log b the exact form is ρ∞ − 2/L + (2/L)·h(tL), which does not cancel.
    """
    limit = 2.0 / (1.0 - b2) - 1.0
    if not exact:
        b2t = moments.power(b2, count)
        return limit - 2 * trees.as_float(count) * b2t / (1 - b2t)
    log = -math.log(b2) if isinstance(b2, float) and b2 > 0 else -jnp.log(b2)
    x = trees.as_float(count) * log
    series = x / 2 - x**2 / 12 + x**4 / 720 - x**6 / 30240
    h = jnp.where(x < 0.5, series, 1 - x / jnp.expm1(x))
    return limit - 2 / log + 2 / log * h
