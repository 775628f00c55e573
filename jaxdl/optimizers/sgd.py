"""Gradient descent with and without momentum, in every convention. [Lecture rows E1, E2, E3]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages
from jaxdl.optimizers.checks import check, check_momentum, check_momentum_form
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.states import NesterovState, TraceState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def sgd(
    learning_rate: ScalarOrSchedule,
    momentum: ArrayLike | None = None,
    nesterov: bool = False,
    accumulator_dtype: DTypeLike | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    momentum_form: str | None = None,
    gradient_at: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent w ← w − αg, optionally with momentum β in one of three forms.

    heavy_ball: t = βt + g, w ← w − αt. velocity: t = βt − αg, w ← w + t. ema: t = βt + (1−β)g, w ← w − αt.
    Heavy ball equals ema at α_ema = α/(1−β), and equals velocity as long as α is constant.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        momentum: β in [0, 1], where 1 is frictionless; None is plain descent.
        nesterov: use Nesterov's accelerated form, which requires a momentum.
        accumulator_dtype: dtype in which t is stored; None follows ``state_dtype``.
        weight_decay: see ``adam``.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        momentum_form: one of the forms above; None takes the convention's.
        gradient_at: where the loop takes the gradient if ``nesterov`` is set. "params" is the rewritten form, with the
            gradient at the parameters. "lookahead" is the published form, velocity only, with the gradient at
            ``gradient_point(state, params)``, which is w + βt; a loop that ignores the point runs plain momentum.
        state_dtype: dtype of the accumulator; None keeps float32 for half-precision leaves and the leaf's own for
            others.

    Raises:
        ValueError: a number is out of range, ``nesterov`` is set without a momentum, or the convention does not define
            this optimizer.

    Errata: CS182 prints ``x += learning_rate * dx``, which ascends. ENEE4584 divides a mean gradient by m again, and
    prints a Nesterov loop that never looks ahead and is therefore plain momentum, shifted by one step.
    Reference: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013,
    https://proceedings.mlr.press/v28/sutskever13.html.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.sgd(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.05,  0.01], dtype=float32)

    [Lecture rows E1, E2, E3]
    """
    check(non_negative={"learning_rate": learning_rate})
    rate = stages.scale_by_learning_rate(learning_rate)
    form, at = _resolve_form(nesterov, convention, momentum_form, gradient_at)
    penalty = stages.l2_penalty("sgd", weight_decay, convention)
    if momentum is None:
        if nesterov:
            raise ValueError("momentum is None: with nesterov it must be a number, such as 0.9")
        return stages.chain(*penalty, stages.identity(), rate, state_dtype=state_dtype)
    check_momentum(momentum)
    trace = stages.trace(momentum, nesterov and at == "params", accumulator_dtype, ema=form == "ema")
    if nesterov and at == "lookahead":
        trace = _ahead(trace, momentum)
    order = (rate, trace) if form == "velocity" else (trace, rate)
    return stages.chain(*penalty, *order, state_dtype=state_dtype)


gd = sgd  # the lectures' name for the same step on the gradient of all examples (row E1)


@own_words
def momentum(
    learning_rate: ScalarOrSchedule,
    momentum: ArrayLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    momentum_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Gradient descent with momentum: ``sgd(learning_rate, momentum)`` with β = 0.9 by default.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        momentum: β in [0, 1].
        accumulator_dtype: see ``sgd``.
        weight_decay: see ``adam``.
        convention: see ``sgd``.
        momentum_form: see ``sgd``.
        state_dtype: see ``sgd``.

    Raises:
        ValueError: see ``sgd``.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.momentum(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.05,  0.01], dtype=float32)

    [Lecture row E2]
    """
    return sgd(
        learning_rate,
        _required(momentum),
        accumulator_dtype=accumulator_dtype,
        weight_decay=weight_decay,
        convention=convention,
        momentum_form=momentum_form,
        state_dtype=state_dtype,
    )


@own_words
def nesterov(
    learning_rate: ScalarOrSchedule,
    momentum: ArrayLike = 0.9,
    accumulator_dtype: DTypeLike | None = None,
    *,
    weight_decay: ScalarOrSchedule | None = None,
    convention: str = "optax",
    momentum_form: str | None = None,
    gradient_at: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Nesterov's accelerated gradient: ``sgd(learning_rate, momentum, nesterov=True)`` with β = 0.9 by default.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        momentum: β in [0, 1].
        accumulator_dtype: see ``sgd``.
        weight_decay: see ``adam``.
        convention: see ``sgd``.
        momentum_form: see ``sgd``.
        gradient_at: see ``sgd``.
        state_dtype: see ``sgd``.

    Raises:
        ValueError: see ``sgd``.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.nesterov(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.095,  0.019], dtype=float32)

    [Lecture row E3]
    """
    return sgd(
        learning_rate,
        _required(momentum),
        nesterov=True,
        accumulator_dtype=accumulator_dtype,
        weight_decay=weight_decay,
        convention=convention,
        momentum_form=momentum_form,
        gradient_at=gradient_at,
        state_dtype=state_dtype,
    )


def _required(momentum):
    if momentum is None:
        raise ValueError("momentum is None: it must be a number between 0 and 1; sgd is descent without momentum")
    return momentum


def _ahead(trace: GradientTransformation, momentum: ArrayLike) -> GradientTransformation:
    """Store β next to the trace, so that the state alone determines the next gradient point."""

    def with_momentum(state):
        return NesterovState(state.trace, jnp.asarray(momentum, jnp.result_type(float)))

    def update(updates, state, params=None):
        updates, new = trace.update(updates, TraceState(state.trace), params)
        return updates, with_momentum(new)

    return GradientTransformation(lambda params: with_momentum(trace.init(params)), update)


def _resolve_form(nesterov, convention, momentum_form, gradient_at):
    given = {"momentum_form": momentum_form} | ({"gradient_at": gradient_at} if nesterov else {})
    options = resolve("nesterov" if nesterov else "sgd", convention, **given)
    form, at = options["momentum_form"], options.get("gradient_at", "params")
    check_momentum_form(form)
    if at not in ("params", "lookahead"):
        raise ValueError(f"gradient_at is {at!r}: it must be 'params' or 'lookahead'")
    if at == "lookahead" and form != "velocity":
        raise ValueError(f"momentum_form is {form!r}: with gradient_at='lookahead' it must be 'velocity'")
    return form, at
