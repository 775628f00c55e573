"""AdaGrad, RMSProp and AdaDelta: a rate per coordinate from the squares of its gradients. Rows E4, E5, E7."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.descent import check_form, check_momentum
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import (
    ScaleByAdaDeltaState,
    ScaleByRmsState,
    ScaleByRmsWithCountState,
    ScaleByRssState,
    ScaleByRStdDevState,
    ScaleByRStdDevWithCountState,
)
from jaxdl.optimizers.trees import map_state, map_updates
from jaxdl.schedules import ScalarOrSchedule


def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: ArrayLike | None = None,
    eps: ArrayLike | None = None,
    *,
    convention: str = "optax",
    eps_in_sqrt: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaGrad: s ← s + g², w ← w − α·g/√(s + eps), or with eps outside the root α·g/(√s + eps).

    Args:
        learning_rate: α, a number at least 0 or a schedule of the step.
        initial_accumulator_value: s at step 0, at least 0; None is the convention's (optax and Keras .1,
            PyTorch, the paper and the lectures 0).
        eps: at least 0; None is the convention's (optax, Keras and CS182 1e-7, PyTorch 1e-10).
        convention: whose algorithm; see ``conventions``.
        eps_in_sqrt: where eps stands; None is the convention's (optax, Keras, ENEE4584: inside).
        state_dtype: dtype of s; None is float32 for half-precision leaves, else the leaf's.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Reference: Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, 2011, https://jmlr.org/papers/v12/duchi11a.html. Lecture row E4.
    """
    options = resolve(
        "adagrad",
        convention,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
        eps_in_sqrt=eps_in_sqrt,
    )
    stages.check(non_negative={"learning_rate": learning_rate})
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(scale_by_rss(**options), rate, state_dtype=state_dtype)


def scale_by_rss(
    initial_accumulator_value: ArrayLike = 0.1, eps: ArrayLike = 1e-7, *, eps_in_sqrt: bool = True
) -> GradientTransformation:
    """Return AdaGrad's direction as a stage. See ``adagrad`` for the arguments."""
    stages.check(non_negative={"initial_accumulator_value": initial_accumulator_value, "eps": eps})

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
    convention: str = "optax",
    momentum_form: str | None = None,
    moment_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """RMSProp: v ← ρv + (1−ρ)g², w ← w − α·g/√(v + eps), or with eps outside the root α·g/(√v + eps).

    Args:
        learning_rate: α, a number at least 0 or a schedule of the step.
        decay: ρ in [0, 1); None is the convention's (.9; PyTorch .99).
        eps: at least 0; None is the convention's (optax and PyTorch 1e-8, Keras and CS182 1e-7).
        initial_scale: v at step 0, at least 0.
        eps_in_sqrt: where eps stands; None is the convention's (optax, Keras, ENEE4584: inside).
        centered: divide by the standard deviation, v − m², instead of the root mean square.
        momentum: β in [0, 1]; None is no momentum.
        nesterov: Nesterov's form of the momentum, which needs one.
        bias_correction: divide v (and m) by 1 − ρᵗ.
        convention: whose algorithm; see ``conventions``.
        momentum_form: "velocity" accumulates the steps, "heavy_ball" and "ema" the scaled gradients; None is
            the convention's (PyTorch: heavy_ball). They differ only while α changes.
        moment_form: see ``adam``.
        state_dtype: dtype of v and m; None is float32 for half-precision leaves, else the leaf's.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Erratum: a slide of CS2020 updates v_db from v_dw. Graves' form is centered, decay .95, eps 1e-4,
    momentum .9 (Generating Sequences With Recurrent Neural Networks, 2013, https://arxiv.org/abs/1308.0850).
    Reference: Tieleman and Hinton, Lecture 6.5: rmsprop, 2012. Lecture row E5.
    """
    given = {"decay": decay, "eps": eps, "eps_in_sqrt": eps_in_sqrt, "moment_form": moment_form}
    given |= {"momentum_form": momentum_form}
    options = resolve("rmsprop", convention, **given)
    form = options.pop("momentum_form")
    stages.check(non_negative={"learning_rate": learning_rate})
    check_momentum(momentum)
    check_form(form)
    if nesterov and momentum is None:
        raise ValueError("momentum is None: with nesterov it must be a number, such as 0.9")
    factory = scale_by_stddev if centered else scale_by_rms
    direction = factory(initial_scale=initial_scale, bias_correction=bias_correction, **options)
    rate = stages.scale_by_learning_rate(learning_rate)
    inertia = stages.identity() if momentum is None else stages.trace(momentum, nesterov, ema=form == "ema")
    order = (rate, inertia) if form == "velocity" else (inertia, rate)
    return stages.chain(direction, *order, state_dtype=state_dtype)


def scale_by_rms(
    decay: ArrayLike = 0.9,
    eps: ArrayLike = 1e-8,
    initial_scale: ArrayLike = 0.0,
    eps_in_sqrt: bool = True,
    bias_correction: bool = False,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Return RMSProp's direction as a stage. See ``rmsprop`` for the arguments."""
    _check_rms(decay, eps, initial_scale, moment_form)
    decay, eps, initial_scale = trees.hyper(decay, eps, initial_scale)

    def scale(g, n):
        n = trees.real(n)
        return (jax.lax.rsqrt(n + eps) if eps_in_sqrt else 1 / (jnp.sqrt(n) + eps)) * g

    def init(params):
        nu = trees.full_like(params, initial_scale)
        return _with_count(ScaleByRmsState, ScaleByRmsWithCountState, bias_correction, None, nu=nu)

    def update(updates, state, params):
        del params
        nu = stages.update_moment(updates, state.nu, decay, 2, moment_form)
        count = stages.increment(state.count) if bias_correction else None
        corrected = stages.correct_bias(nu, decay, count) if bias_correction else nu
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
    """Return centered RMSProp's direction as a stage. See ``rmsprop`` for the arguments."""
    _check_rms(decay, eps, initial_scale, moment_form)
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
        mu = stages.update_moment(updates, state.mu, decay, 1, moment_form)
        nu = stages.update_moment(updates, state.nu, decay, 2, moment_form)
        count = stages.increment(state.count) if bias_correction else None
        mu_hat, nu_hat = (stages.correct_bias(x, decay, count) if bias_correction else x for x in (mu, nu))
        updates = map_updates(scale, updates, mu_hat, nu_hat)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return updates, _with_count(*classes, count, mu=mu, nu=nu)

    return transformation("centered RMSProp's direction", state_class, init, update)


def _check_rms(decay, eps, initial_scale, moment_form):
    stages.check_moment_form(moment_form)
    stages.check(decay_rates={"decay": decay}, non_negative={"eps": eps, "initial_scale": initial_scale})


def _with_count(plain, counted, counts: bool, count, **moments):
    """Build the state class that optax has for a moment with or without bias correction."""
    if not counts:
        return plain(**moments)
    return counted(count=jnp.zeros([], jnp.int32) if count is None else count, **moments)


def adadelta(
    learning_rate: ScalarOrSchedule | None = None,
    rho: ArrayLike | None = None,
    eps: ArrayLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaDelta: v ← ρv + (1−ρ)g², u = g·√(x + eps)/√(v + eps), x ← ρx + (1−ρ)u², w ← w − αu.

    Args:
        learning_rate: α, a number at least 0 or a schedule; None is the convention's (1; Keras .001). optax
            leaves None unscaled and unsigned, which climbs; here None descends.
        rho: ρ in [0, 1); None is the convention's (optax and PyTorch .9, Keras and the paper .95).
        eps: above 0; None is the convention's (1e-6; Keras 1e-7).
        weight_decay: λ of a coupled L2 penalty, a number at least 0 or a schedule.
        weight_decay_mask: which parameters decay; None: all.
        convention: whose algorithm; see ``conventions``.
        state_dtype: dtype of v and x; None is float32 for half-precision leaves, else the leaf's.

    Raises:
        ValueError: a number is out of range, or the convention does not define this.

    Reference: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, https://arxiv.org/abs/1212.5701.
    Lecture row E7.
    """
    options = resolve("adadelta", convention, learning_rate=learning_rate, rho=rho, eps=eps)
    rate = options.pop("learning_rate")
    stages.check(non_negative={"learning_rate": rate})
    return stages.chain(
        stages.add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(**options),
        stages.scale_by_learning_rate(rate),
        state_dtype=state_dtype,
    )


def scale_by_adadelta(rho: ArrayLike = 0.9, eps: ArrayLike = 1e-6) -> GradientTransformation:
    """Return AdaDelta's direction as a stage. See ``adadelta`` for the arguments."""
    stages.check(decay_rates={"rho": rho}, positive={"eps": eps})

    rho, eps = trees.hyper(rho, eps)

    def scale(g, v, x):
        return jnp.sqrt(trees.real(x) + eps) / jnp.sqrt(trees.real(v) + eps) * g

    def init(params):
        return ScaleByAdaDeltaState(e_g=trees.zeros_like(params), e_x=trees.zeros_like(params))

    def update(updates, state, params):
        del params
        e_g = stages.update_moment(updates, state.e_g, rho, 2)
        updates = map_updates(scale, updates, e_g, state.e_x)
        e_x = stages.update_moment(updates, state.e_x, rho, 2)
        e_g, e_x = trees.cast_like((e_g, e_x), (state.e_g, state.e_x))
        return updates, ScaleByAdaDeltaState(e_g=e_g, e_x=e_x)

    return transformation("AdaDelta's direction", ScaleByAdaDeltaState, init, update)
