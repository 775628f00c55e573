"""NAdam: Adam with Nesterov's look-ahead in the average of the gradient. [Lecture row E7]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.adam import scale_by_adam
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import ScaleByNadamState
from jaxdl.optimizers.trees import map_updates, times
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def nadam(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = True,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    momentum_schedule: bool | None = None,
    momentum_decay: ArrayLike | None = None,
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """NAdam: Adam with m̄ = b1·m/(1−b1ᵗ⁺¹) + (1−b1)·g/(1−b1ᵗ) in place of m̂.

    With the momentum schedule μₜ = b1·(1 − ½·.96^(t·ψ)) and P = μ₁⋯μₜ, m̄ = μₜ₊₁·m/(1−P·μₜ₊₁) + (1−μₜ)·g/(1−P).

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``; None takes the convention's (1e-8; Keras 1e-7).
        eps_root: see ``adam``.
        mu_dtype: see ``adam``.
        nesterov: False is Adam.
        weight_decay: see ``adam``.
        convention: see ``adam``.
        momentum_schedule: use the second formula; None takes the convention's (optax False; PyTorch and Keras True).
        momentum_decay: ψ, at least 0; None takes the convention's (PyTorch 0.004, Keras 1).
        form: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Dozat, Incorporating Nesterov Momentum into Adam, 2016,
    https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.nadam(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.14736743,  0.14736743], dtype=float32)

    [Lecture row E7]
    """
    check(non_negative={"learning_rate": learning_rate, "momentum_decay": momentum_decay})
    given = {"momentum_schedule": momentum_schedule, "momentum_decay": momentum_decay}
    options = resolve("nadam", convention, form, eps=eps, eps_root=eps_root, **given)
    scheduled, psi = options.pop("momentum_schedule"), options.pop("momentum_decay")
    if scheduled and nesterov:
        direction = scale_by_nadam(b1, b2, mu_dtype=mu_dtype, momentum_decay=psi, **options)
    else:
        direction = scale_by_adam(b1, b2, mu_dtype=mu_dtype, nesterov=nesterov, **options)
    penalty = stages.l2_penalty("nadam", weight_decay, convention)
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(*penalty, direction, rate, state_dtype=state_dtype)


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
    """Scale by NAdam's direction under the momentum schedule. See ``nadam`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "eps_root": eps_root})
    b1, b2, eps, eps_root, momentum_decay = trees.hyper(b1, b2, eps, eps_root, momentum_decay)

    def momentum(count):
        return b1 * (1 - 0.5 * moments.power(0.96, trees.as_float(count) * momentum_decay))

    def init(params):
        mu, nu = trees.zeros_like(params, mu_dtype), trees.zeros_like(params)
        return ScaleByNadamState(jnp.zeros([], jnp.int32), mu, nu, jnp.ones([], jnp.float32))

    def update(updates, state, params):
        del params
        mu, nu = moments.update_moments(updates, state, b1, b2, moment_form)
        count = trees.increment(state.count)
        now, ahead = momentum(count), momentum(count + 1)
        product = (state.mu_product * now).astype(state.mu_product.dtype)
        m_weight, g_weight = ahead / (1 - product * ahead), (1 - now) / (1 - product)

        def ahead_of(g, m):
            dtype = trees.real(g).dtype
            return moments.finite(trees.plus(times(m_weight.astype(dtype), m), g_weight.astype(dtype) * g))

        mu_bar = map_updates(ahead_of, updates, mu)
        direction = moments.ratio(updates, mu_bar, moments.correct_bias(nu, b2, count, exact_correction), eps, eps_root)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByNadamState(count=count, mu=mu, nu=nu, mu_product=product)

    return transformation("NAdam's direction", ScaleByNadamState, init, update)
