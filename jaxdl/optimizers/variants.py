"""Adam's relatives: NAdam, AMSGrad, AdaMax and RAdam. Lecture row E7."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.moments import finite, first_moment, ratio, scale_by_adam
from jaxdl.optimizers.states import (
    ScaleByAdamState,
    ScaleByAmsgradState,
    ScaleByNadamState,
)
from jaxdl.optimizers.trees import map_state, map_updates, times
from jaxdl.schedules import ScalarOrSchedule


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    convention: str = "optax",
    momentum_schedule: bool | None = None,
    momentum_decay: ArrayLike | None = None,
    exact_correction: bool | None = None,
    moment_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """NAdam: Adam with m̄ = b1·m/(1−b1ᵗ⁺¹) + (1−b1)·g/(1−b1ᵗ) for m̂.

    With the momentum schedule μₜ = b1·(1 − ½·.96^(t·ψ)) and P = μ₁⋯μₜ: m̄ = μₜ₊₁·m/(1−P·μₜ₊₁) + (1−μₜ)·g/(1−P).

    Args:
        learning_rate: α, a number at least 0 or a schedule of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``; None is the convention's (1e-8; Keras 1e-7).
        eps_root: see ``adam``.
        mu_dtype: see ``adam``.
        nesterov: False is Adam.
        convention: whose algorithm; see ``conventions``.
        momentum_schedule: use the second formula; None is the convention's (optax False; PyTorch, Keras True).
        momentum_decay: ψ, at least 0; None is the convention's (PyTorch .004, Keras 1).
        exact_correction: see ``adam``.
        moment_form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Reference: Dozat, Incorporating Nesterov Momentum into Adam, 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ. Lecture row E7.
    """
    stages.check(non_negative={"learning_rate": learning_rate, "momentum_decay": momentum_decay})
    given = {"momentum_schedule": momentum_schedule, "momentum_decay": momentum_decay}
    given |= {"exact_correction": exact_correction, "moment_form": moment_form}
    options = resolve("nadam", convention, eps=eps, eps_root=eps_root, **given)
    scheduled, psi = options.pop("momentum_schedule"), options.pop("momentum_decay")
    if scheduled and nesterov:
        direction = scale_by_nadam(b1, b2, mu_dtype=mu_dtype, momentum_decay=psi, **options)
    else:
        direction = scale_by_adam(b1, b2, mu_dtype=mu_dtype, nesterov=nesterov, **options)
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(direction, rate, state_dtype=state_dtype)


def scale_by_nadam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    momentum_decay: ArrayLike = 4e-3,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Return NAdam's direction under the momentum schedule as a stage. See ``nadam``."""
    _check_adam(b1, b2, eps, eps_root, moment_form)
    b1, b2, eps, eps_root, momentum_decay = trees.hyper(b1, b2, eps, eps_root, momentum_decay)

    def momentum(count):
        return b1 * (1 - 0.5 * stages.power(0.96, trees.as_float(count) * momentum_decay))

    def init(params):
        mu, nu = trees.zeros_like(params, mu_dtype), trees.zeros_like(params)
        return ScaleByNadamState(jnp.zeros([], jnp.int32), mu, nu, jnp.ones([], jnp.float32))

    def update(updates, state, params):
        del params
        mu = stages.update_moment(updates, state.mu, b1, 1, moment_form)
        nu = stages.update_moment(updates, state.nu, b2, 2, moment_form)
        count = stages.increment(state.count)
        now, ahead = momentum(count), momentum(count + 1)
        product = (state.mu_product * now).astype(state.mu_product.dtype)
        m_weight, g_weight = ahead / (1 - product * ahead), (1 - now) / (1 - product)

        def ahead_of(g, m):
            dtype = trees.real(g).dtype
            return finite(trees.plus(times(m_weight.astype(dtype), m), g_weight.astype(dtype) * g))

        mu_bar = map_updates(ahead_of, updates, mu)
        direction = ratio(updates, mu_bar, stages.correct_bias(nu, b2, count, exact_correction), eps, eps_root)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByNadamState(count=count, mu=mu, nu=nu, mu_product=product)

    return transformation("NAdam's direction", ScaleByNadamState, init, update)


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
    convention: str = "optax",
    max_of_raw: bool | None = None,
    eps_hat: bool | None = None,
    exact_correction: bool | None = None,
    moment_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AMSGrad: Adam with the largest v̂ so far in place of v̂.

    Args:
        learning_rate: α, a number at least 0 or a schedule of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``; None is the convention's (the paper prints none).
        eps_root: see ``adam``.
        mu_dtype: see ``adam``.
        bias_correction_mu: divide m by 1 − b1ᵗ; None is the convention's (only the paper: False).
        bias_correction_nu: divide v by 1 − b2ᵗ; None is the convention's (only the paper: False).
        convention: whose algorithm; see ``conventions``.
        max_of_raw: take the maximum of v, before the bias correction; None is the convention's (only optax
            corrects first, so that early large estimates stay).
        eps_hat: see ``adam``.
        exact_correction: see ``adam``.
        moment_form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Reference: Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018,
    https://openreview.net/forum?id=ryQu7f-RZ. Lecture row E7.
    """
    stages.check(non_negative={"learning_rate": learning_rate})
    given = {"bias_correction_mu": bias_correction_mu, "bias_correction_nu": bias_correction_nu}
    given |= {"eps": eps, "eps_root": eps_root, "max_of_raw": max_of_raw, "eps_hat": eps_hat}
    given |= {"exact_correction": exact_correction, "moment_form": moment_form}
    direction = scale_by_amsgrad(b1, b2, mu_dtype=mu_dtype, **resolve("amsgrad", convention, **given))
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(direction, rate, state_dtype=state_dtype)


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
    """Return AMSGrad's direction as a stage. See ``amsgrad`` for the arguments."""
    _check_adam(b1, b2, eps, eps_root, moment_form)
    b1, b2, eps, eps_root = trees.hyper(b1, b2, eps, eps_root)

    def larger(g, top, v):
        del g
        return jnp.maximum(trees.real(top), trees.real(v))

    def init(params):
        zeros = trees.zeros_like
        mu, nu, nu_max = zeros(params, mu_dtype), zeros(params), zeros(params)
        return ScaleByAmsgradState(jnp.zeros([], jnp.int32), mu, nu, nu_max)

    def update(updates, state, params):
        del params
        mu = stages.update_moment(updates, state.mu, b1, 1, moment_form)
        nu = stages.update_moment(updates, state.nu, b2, 2, moment_form)
        count = stages.increment(state.count)
        mu_hat = first_moment(mu, updates, b1, count, False, bias_correction_mu, exact_correction)
        correct_first = bias_correction_nu and not max_of_raw
        seen = stages.correct_bias(nu, b2, count, exact_correction) if correct_first else nu
        nu_max = largest = map_state(larger, updates, state.nu_max, seen)
        if bias_correction_nu and max_of_raw:
            mu_hat, largest = _correct_ratio(mu_hat, largest, b2, count, eps_hat, exact_correction)
        direction = ratio(updates, mu_hat, largest, eps, eps_root)
        mu, nu, nu_max = trees.cast_like((mu, nu, nu_max), (state.mu, state.nu, state.nu_max))
        return direction, ScaleByAmsgradState(count, mu, nu, nu_max)

    return transformation("AMSGrad's direction", ScaleByAmsgradState, init, update)


def _correct_ratio(mu: Any, nu: Any, b2, count, eps_hat: bool, exact: bool):
    """Correct v's bias below the line, or with ``eps_hat`` as a factor above it, where eps is untouched."""
    if not eps_hat:
        return mu, stages.correct_bias(nu, b2, count, exact)
    root = jnp.sqrt(stages.bias_weight(b2, count, exact))
    return jax.tree.map(lambda m: m * root.astype(trees.real(m).dtype), mu), nu


def adamax(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    *,
    convention: str = "optax",
    eps_in_max: bool | None = None,
    exact_correction: bool | None = None,
    moment_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaMax: u ← max(b2·u, |g| + eps), w ← w − α·m̂/u; or eps added to u afterwards.

    Args:
        learning_rate: α, a number at least 0 or a schedule of the step.
        b1: see ``adam``.
        b2: decay of the maximum, in [0, 1).
        eps: at least 0; None is the convention's (1e-8; Keras 1e-7; the paper 0).
        convention: whose algorithm; see ``conventions``.
        eps_in_max: where eps stands; None is the convention's (optax and PyTorch: inside the maximum).
        exact_correction: see ``adam``.
        moment_form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Reference: Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, section 7.1,
    https://arxiv.org/abs/1412.6980. Lecture row E7.
    """
    stages.check(non_negative={"learning_rate": learning_rate})
    given = {"eps": eps, "eps_in_max": eps_in_max, "exact_correction": exact_correction, "moment_form": moment_form}
    direction = scale_by_adamax(b1, b2, **resolve("adamax", convention, **given))
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(direction, rate, state_dtype=state_dtype)


def scale_by_adamax(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    eps_in_max: bool = True,
    exact_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Return AdaMax's direction as a stage. See ``adamax`` for the arguments."""
    _check_adam(b1, b2, eps, 0.0, moment_form)
    b1, b2, eps = trees.hyper(b1, b2, eps)

    def largest(g, u):
        u = trees.real(u)
        return jnp.maximum(jnp.abs(g) + eps, b2 * u) if eps_in_max else jnp.maximum(jnp.abs(g), b2 * u)

    def divide(g, m, u):
        del g
        u = trees.real(u)
        if eps_in_max:
            return m / u
        # a coordinate that never had a gradient stays, also where eps is 0
        below = u + eps
        return jnp.where(below > 0, m / jnp.where(below > 0, below, 1.0), 0.0)

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros(params), nu=zeros(params))

    def update(updates, state, params):
        del params
        count = stages.increment(state.count)
        mu = stages.update_moment(updates, state.mu, b1, 1, moment_form)
        nu = map_state(largest, updates, state.nu)
        direction = map_updates(divide, updates, stages.correct_bias(mu, b1, count, exact_correction), nu)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=count, mu=mu, nu=nu)

    return transformation("AdaMax's direction", ScaleByAdamState, init, update)


def radam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    threshold: ArrayLike | None = None,
    *,
    nesterov: bool = False,
    convention: str = "optax",
    eps_hat: bool | None = None,
    exact_correction: bool | None = None,
    moment_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """RAdam: Adam times a factor r that corrects the variance of 1/√v̂; α·m̂ alone while that is intractable.

    ρ∞ = 2/(1−b2) − 1, ρ = ρ∞ − 2t·b2ᵗ/(1−b2ᵗ), r = √((ρ−4)(ρ−2)ρ∞/((ρ∞−4)(ρ∞−2)ρ)), used where ρ ≥ threshold.

    Args:
        learning_rate: α, a number at least 0 or a schedule of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``; None is the convention's (1e-8; the paper prints none).
        eps_root: see ``adam``.
        threshold: None is the convention's (5; the paper 4).
        nesterov: see ``adam``.
        convention: whose algorithm; see ``conventions``.
        eps_hat: see ``adam``; None is the convention's (PyTorch True, optax False).
        exact_correction: see ``adam``.
        moment_form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Reference: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020,
    https://arxiv.org/abs/1908.03265. Lecture row E7.
    """
    stages.check(non_negative={"learning_rate": learning_rate})
    given = {"eps": eps, "eps_root": eps_root, "threshold": threshold, "eps_hat": eps_hat}
    given |= {"exact_correction": exact_correction, "moment_form": moment_form}
    direction = scale_by_radam(b1, b2, nesterov=nesterov, **resolve("radam", convention, **given))
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(direction, rate, state_dtype=state_dtype)


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
    """Return RAdam's direction as a stage. See ``radam`` for the arguments."""
    _check_adam(b1, b2, eps, eps_root, moment_form)
    b1, b2, eps, eps_root, threshold = trees.hyper(b1, b2, eps, eps_root, threshold)
    limit = 2.0 / (1.0 - b2) - 1.0

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros(params), nu=zeros(params))

    def update(updates, state, params):
        del params
        mu = stages.update_moment(updates, state.mu, b1, 1, moment_form)
        nu = stages.update_moment(updates, state.nu, b2, 2, moment_form)
        count = stages.increment(state.count)
        rho = _rectifier_length(b2, count, exact_correction)
        usable = rho >= threshold
        factor = jnp.sqrt((rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho))
        mu_hat = first_moment(mu, updates, b1, count, nesterov, True, exact_correction)
        above, below = _correct_ratio(mu_hat, nu, b2, count, eps_hat, exact_correction)

        def rectified(g, m, v, plain):
            del g
            adaptive = factor.astype(trees.real(m).dtype) * m / (jnp.sqrt(trees.real(v) + eps_root) + eps)
            return jnp.where(usable, adaptive, plain)

        direction = map_updates(rectified, updates, above, below, mu_hat)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=count, mu=mu, nu=nu)

    return transformation("RAdam's direction", ScaleByAdamState, init, update)


def _rectifier_length(b2, count, exact: bool):
    """ρ of RAdam; exact: 2t·bᵗ/(1−bᵗ) nearly cancels ρ∞, so with L = −log b it is ρ∞ − 2/L + (2/L)·h(tL)."""
    limit = 2.0 / (1.0 - b2) - 1.0
    if not exact:
        b2t = stages.power(b2, count)
        return limit - 2 * trees.as_float(count) * b2t / (1 - b2t)
    log = -math.log(b2) if isinstance(b2, float) and b2 > 0 else -jnp.log(b2)
    x = trees.as_float(count) * log
    series = x / 2 - x**2 / 12 + x**4 / 720 - x**6 / 30240
    h = jnp.where(x < 0.5, series, 1 - x / jnp.expm1(x))
    return limit - 2 / log + 2 / log * h


def _check_adam(b1, b2, eps, eps_root, moment_form):
    stages.check_moment_form(moment_form)
    stages.check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "eps_root": eps_root})
