"""RMSProp: steps divided by the root of an average of the squared gradient. [Lecture row E5]"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check, check_momentum, check_momentum_form
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import (
    ScaleByRmsState,
    ScaleByRmsWithCountState,
    ScaleByRStdDevState,
    ScaleByRStdDevWithCountState,
)
from jaxdl.optimizers.trees import map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: ArrayLike | None = None,
    eps: ArrayLike | None = None,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool | None = None,
    centered: bool = False,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    momentum_form: str | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """RMSProp: v ← ρv + (1−ρ)g², w ← w − α·g/√(v + eps); or with eps outside the root, α·g/(√v + eps).

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        decay: ρ in [0, 1); None takes the convention's (0.9; PyTorch 0.99).
        eps: at least 0; None takes the convention's (optax and PyTorch 1e-8, Keras and CS182 1e-7).
        initial_scale: initial v, at least 0.
        eps_in_sqrt: add eps inside the root; None takes the convention's (True for optax, Keras and ENEE4584).
        centered: divide by the standard deviation, √(v − m²), instead of the root mean square.
        momentum: β in [0, 1]; None is no momentum.
        nesterov: use Nesterov's form of the momentum, which requires one.
        bias_correction: divide v (and m) by 1 − ρᵗ.
        weight_decay: see ``adam``.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        momentum_form: "velocity" accumulates steps, "heavy_ball" and "ema" accumulate scaled gradients; None takes the
            convention's (heavy_ball for PyTorch). They differ only while α changes.
        form: see ``adam``; the entry "moment_form" alone.
        state_dtype: dtype of v and m; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Erratum: a slide of CS2020 updates v_db from v_dw. Graves' variant is centered with decay 0.95, eps 1e-4 and
    momentum 0.9 (Generating Sequences With Recurrent Neural Networks, 2013, https://arxiv.org/abs/1308.0850).
    Reference: Tieleman and Hinton, Lecture 6.5: rmsprop, 2012.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.rmsprop(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.3162277 ,  0.31622618], dtype=float32)

    [Lecture row E5]
    """
    given = {"decay": decay, "eps": eps, "eps_in_sqrt": eps_in_sqrt, "momentum_form": momentum_form}
    options = resolve("rmsprop", convention, form, **given)
    order = options.pop("momentum_form")
    check(non_negative={"learning_rate": learning_rate})
    check_momentum(momentum)
    check_momentum_form(order)
    if nesterov and momentum is None:
        raise ValueError("momentum is None: with nesterov it must be a number, such as 0.9")
    factory = scale_by_stddev if centered else scale_by_rms
    direction = factory(initial_scale=initial_scale, bias_correction=bias_correction, **options)
    rate = stages.scale_by_learning_rate(learning_rate)
    inertia = stages.identity() if momentum is None else stages.trace(momentum, nesterov, ema=order == "ema")
    last = (rate, inertia) if order == "velocity" else (inertia, rate)
    penalty = stages.l2_penalty("rmsprop", weight_decay, convention)
    return stages.chain(*penalty, direction, *last, state_dtype=state_dtype)


def scale_by_rms(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
    moment_form: str = "weighted",
    exact_correction: bool = False,
) -> GradientTransformation:
    """Scale by RMSProp's direction. See ``rmsprop`` for the arguments."""
    _check_rms(decay, eps, initial_scale)
    decay, eps, initial_scale = trees.hyper(decay, eps, initial_scale)

    def scale(g, n):
        n = trees.real(n)
        return (jax.lax.rsqrt(n + eps) if eps_in_sqrt else 1 / (jnp.sqrt(n) + eps)) * g

    def init(params):
        nu = trees.full_like(params, initial_scale)
        return _with_count(ScaleByRmsState, ScaleByRmsWithCountState, bias_correction, None, nu=nu)

    def update(updates, state, params):
        del params
        nu = moments.update_moment(updates, state.nu, decay, 2, moment_form)
        count = trees.increment(state.count) if bias_correction else None
        corrected = moments.correct_bias(nu, decay, count, exact_correction) if bias_correction else nu
        updates = map_updates(scale, updates, corrected)
        nu = trees.cast_like(nu, state.nu)
        return updates, _with_count(ScaleByRmsState, ScaleByRmsWithCountState, bias_correction, count, nu=nu)

    state_class = ScaleByRmsWithCountState if bias_correction else ScaleByRmsState
    return transformation("RMSProp's direction", state_class, init, update)


def scale_by_stddev(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by centered RMSProp's direction. See ``rmsprop`` for the arguments."""
    _check_rms(decay, eps, initial_scale)
    decay, eps, initial_scale = trees.hyper(decay, eps, initial_scale)
    classes = (ScaleByRStdDevState, ScaleByRStdDevWithCountState, bias_correction)
    state_class = ScaleByRStdDevWithCountState if bias_correction else ScaleByRStdDevState

    def scale(g, m, n):
        n = trees.real(n)
        variance = n - trees.abs_square(m)
        if eps_in_sqrt:
            # rounding can make the variance of a steady gradient negative, and two overflows make it NaN
            smallest = jnp.where(jnp.isinf(n), jnp.inf, eps)
            shifted = variance + eps
            return jax.lax.rsqrt(jnp.where(shifted > 0, shifted, smallest)) * g
        smallest = jnp.where(jnp.isinf(n), jnp.inf, 0.0)
        return 1 / (jnp.sqrt(jnp.where(variance >= 0, variance, smallest)) + eps) * g

    def init(params):
        mu = trees.zeros_like(params)
        nu = trees.full_like(params, initial_scale)
        return _with_count(*classes, None, mu=mu, nu=nu)

    def update(updates, state, params):
        del params
        mu = moments.update_moment(updates, state.mu, decay, 1, moment_form)
        nu = moments.update_moment(updates, state.nu, decay, 2, moment_form)
        count = trees.increment(state.count) if bias_correction else None
        mu_hat, nu_hat = (moments.correct_bias(x, decay, count) if bias_correction else x for x in (mu, nu))
        updates = map_updates(scale, updates, mu_hat, nu_hat)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return updates, _with_count(*classes, count, mu=mu, nu=nu)

    return transformation("centered RMSProp's direction", state_class, init, update)


def _check_rms(decay, eps, initial_scale):
    check(decay_rates={"decay": decay}, non_negative={"eps": eps, "initial_scale": initial_scale})


def _with_count(plain, counted, counts: bool, count, **moments):
    """Build optax's state class for a moment with or without bias correction."""
    if not counts:
        return plain(**moments)
    return counted(count=jnp.zeros([], jnp.int32) if count is None else count, **moments)
