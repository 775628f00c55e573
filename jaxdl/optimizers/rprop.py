"""Rprop: a step size for every coordinate, which grows while the gradient keeps its sign."""

from __future__ import annotations

from functools import partial
from typing import Final

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.states import ScaleByRpropState
from jaxdl.words import own_words

STEP_FORMS: Final = ("delayed", "zeroed", "reverted")


@own_words
def rprop(
    learning_rate: ArrayLike,
    eta_minus: ArrayLike = 0.5,
    eta_plus: ArrayLike = 1.2,
    min_step_size: ArrayLike = 1e-6,
    max_step_size: ArrayLike = 50.0,
    *,
    convention: str = "optax",
    step_form: str | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Rprop: w ← w − Δ·sgn(g), where Δ grows by η⁺ if the gradient kept its sign and shrinks by η⁻ if it changed.

    It is for whole batches: the noise of small ones changes signs. A coordinate whose sign changed stands still, and
    its next Δ neither grows nor shrinks. The sign of a complex number z is z/|z|, and two of them agree if their real
    inner product is above 0.

    Args:
        learning_rate: the first Δ, a number of at least 0. There are no schedules, because Δ finds its own size.
        eta_minus: η⁻, above 0 and below 1.
        eta_plus: η⁺, at least 1.
        min_step_size: least Δ, at least 0.
        max_step_size: largest Δ, above 0.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        step_form: "zeroed" as above; "reverted" also takes back the last step of a coordinate whose sign changed;
            "delayed" as "zeroed", with every step one update late, so that the first update is 0. None takes the
            convention's: optax "delayed", PyTorch "zeroed", the paper "reverted".
        state_dtype: dtype of Δ and of the last steps; None keeps float32 for half-precision leaves and the leaf's own
            for others.

    Raises:
        ValueError: a number is out of range, the learning rate is a schedule, the form is unknown, or the convention
            does not define this optimizer.

    Reference: Riedmiller and Braun, A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm, 1993, https://doi.org/10.1109/ICNN.1993.298623.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.rprop(0.1, convention="torch")
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.1,  0.1], dtype=float32)
    """
    form = resolve("rprop", convention, step_form=step_form)["step_form"]
    if callable(learning_rate):
        raise ValueError("learning_rate is a schedule: rprop changes its step sizes itself, so it must be a number")
    if form not in STEP_FORMS:
        raise ValueError(f"step_form is {form!r}: it must be one of {STEP_FORMS}")
    check(non_negative={"learning_rate": learning_rate})
    direction = scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size, step_form=form)
    return stages.chain(direction, stages.scale_by_learning_rate(1.0), state_dtype=state_dtype)


def scale_by_rprop(
    learning_rate: ArrayLike,
    eta_minus: ArrayLike,
    eta_plus: ArrayLike,
    min_step_size: ArrayLike,
    max_step_size: ArrayLike,
    *,
    step_form: str,
) -> GradientTransformation:
    """Return Rprop's steps as a stage. See ``rprop`` for the arguments."""
    check(decay_rates={"eta_minus": eta_minus}, non_negative={"min_step_size": min_step_size})
    check(positive={"eta_minus": eta_minus, "max_step_size": max_step_size})
    if isinstance(eta_plus, int | float) and eta_plus < 1:
        raise ValueError(f"eta_plus is {eta_plus}: it must be at least 1")
    down, up, least, most = trees.hyper(eta_minus, eta_plus, min_step_size, max_step_size)

    def init(params):
        return ScaleByRpropState(trees.full_like(params, learning_rate), trees.zeros_like(params))

    def resized(g, size, before):
        size, kept = trees.real(size), _agreement(g, before)
        grown = jnp.clip(trees.times(jnp.where(kept > 0, up, down), size), least, most)
        return jnp.where(kept == 0, size.astype(grown.dtype), grown)

    def stepped(g, size, before):
        own = jnp.sign(g) * size.astype(trees.real(g).dtype)
        return jnp.where(_agreement(g, before) < 0, jnp.zeros_like(own), own)

    def update(updates, state, params):
        del params
        sizes = trees.map_state(resized, updates, state.step_sizes, state.prev_updates)
        steps = trees.map_updates(stepped, updates, sizes, state.prev_updates)
        last = trees.map_state(lambda g, before, step: step, updates, state.prev_updates, steps)
        taken = trees.map_updates(partial(_taken, step_form), updates, steps, state.prev_updates)
        sizes, last = trees.cast_like((sizes, last), (state.step_sizes, state.prev_updates))
        return taken, ScaleByRpropState(sizes, last)

    return transformation("Rprop's steps", ScaleByRpropState, init, update)


def _taken(form, g, step, before):
    if form == "zeroed":
        return step
    turned = _agreement(g, before) < 0
    if form == "reverted":
        return jnp.where(turned, -before.astype(step.dtype), step)
    return jnp.where(turned, jnp.zeros_like(step), before.astype(step.dtype))


def _agreement(g, before):
    """Return the product of two numbers, which is above 0 if they have one sign, as a real number."""
    product = trees.times(before.conj() if jnp.iscomplexobj(before) else before, g)
    return trees.real(product)
