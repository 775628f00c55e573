"""ADOPT: Adam that normalizes each gradient by the squares of earlier ones, and then averages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import ScaleByAdamState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


def fourth_root(count: jax.Array) -> jax.Array:
    """Return ⁴√t, the bound of ADOPT's normalized gradients after t updates."""
    return trees.as_float(count) ** 0.25


@own_words
def adopt(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.9999,
    eps: ArrayLike = 1e-6,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    use_clipping: bool | None = None,
    clip_value_fn: Callable[[jax.Array], jax.Array] | ArrayLike = fourth_root,
    convention: str = "optax",
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """ADOPT: w ← w − α·m, m ← b1·m + (1−b1)·clip(g/max(√v, eps), c), where v is the average of earlier g².

    The first gradient only sets v = g²; the parameters stay.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        b1: decay of m, in [0, 1).
        b2: decay of v, in [0, 1).
        eps: least denominator, above 0.
        mu_dtype: dtype in which m is stored; None follows ``state_dtype``.
        nesterov: look one step ahead in m.
        use_clipping: clip the entries of g/max(√v, eps) to [−c, c], and complex ones to the modulus c; None takes the
            convention's (optax True; the paper's first form does not clip).
        clip_value_fn: c, a function of the number of earlier updates or a number.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        form: order of operations, the entry "moment_form" of ``conventions.FORMS``; "weighted" is optax's, which takes
            1 − b1 and 1 − b2 in float32, so that the latter is 1.7e-4 of itself too large.
        state_dtype: dtype of m and v; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Taniguchi et al., ADOPT: Modified Adam Can Converge with Any β₂ with the Optimal Rate, 2024,
    https://arxiv.org/abs/2411.02853.
    """
    check(non_negative={"learning_rate": learning_rate})
    options = resolve("adopt", convention, form, use_clipping=use_clipping)
    limit = clip_value_fn if options.pop("use_clipping") else None
    direction = scale_by_adopt(b1, b2, eps, mu_dtype, nesterov=nesterov, limit=limit, **options)
    return stages.chain(direction, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)


def scale_by_adopt(
    b1: ArrayLike,
    b2: ArrayLike,
    eps: ArrayLike,
    mu_dtype: DTypeLike | None = None,
    *,
    nesterov: bool = False,
    limit: Callable[[jax.Array], jax.Array] | ArrayLike | None = fourth_root,
    moment_form: str = "weighted",
) -> GradientTransformation:
    """Scale by ADOPT's direction. See ``adopt`` for the arguments; ``limit`` None does not clip."""
    check(decay_rates={"b1": b1, "b2": b2}, positive={"eps": eps})
    b1, b2, eps = trees.hyper(b1, b2, eps)

    def init(params):
        zeros = trees.zeros_like
        return ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros(params, mu_dtype), nu=zeros(params))

    def update(updates, state, params):
        del params
        first = state.count == 0
        average = partial(_average, first, moment_form)

        def normalized(g, v):
            scaled = g / jnp.maximum(jnp.sqrt(trees.real(v)), eps)
            return scaled if limit is None else _clipped(scaled, limit(state.count) if callable(limit) else limit)

        scaled = trees.map_updates(normalized, updates, state.nu)
        # the first gradient is v and leaves m as it is
        nu, mu = average(updates, state.nu, b2, 2, 0.0), average(scaled, state.mu, b1, 1, 1.0)
        direction = average(scaled, mu, b1, 1, 1.0) if nesterov else mu
        direction = trees.map_updates(lambda g, m: m, updates, direction)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByAdamState(count=trees.increment(state.count), mu=mu, nu=nu)

    return transformation("ADOPT's direction", ScaleByAdamState, init, update)


def _average(first, form, updates, old, decay, order, at_first):
    """Return an average, which the first gradient moves by another decay."""
    if form == "weighted":
        return moments.update_moment(updates, old, jnp.where(first, at_first, decay), order)
    new = moments.update_moment(updates, old, decay, order, form)
    start = moments.update_moment(updates, old, at_first, order)
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), start, new)


def _clipped(x: jax.Array, limit: ArrayLike) -> jax.Array:
    limit = jnp.asarray(limit, trees.real(x).dtype)
    if not jnp.iscomplexobj(x):
        return jnp.clip(x, -limit, limit)
    size = jnp.abs(x)
    return x * jnp.where(size > limit, limit / jnp.where(size > limit, size, 1), 1)
