"""Loss scaling for float16, whose smallest numbers are too large for many gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxdl import optimizers


class LossScaleState(NamedTuple):
    """State of `loss_scaled`."""

    scale: Float[Array, ""]  # float32, the factor on the loss
    good_steps: Int[Array, ""]  # int32, steps since the scale changed
    inner: Any  # the state of the optimizer
    skipped: Int[Array, ""]  # int32, steps whose gradient was not finite


def loss_scaled(
    optimizer: optax.GradientTransformation, *, scale: float | int = 2.0**15, period: int = 2000
) -> optax.GradientTransformationExtraArgs:
    """Let `train_step` multiply the loss by a factor that is as large as finite gradients allow.

    `train_step` multiplies the mean loss by it, and divides the gradient in float32, before ``update`` sees it; another
    loop multiplies and divides by ``opt_state.scale`` itself. If the gradient is not finite, parameters and optimizer
    stay and the factor halves, and `train_step` keeps the network's state and the averages, too; after ``period``
    finite gradients the factor doubles.

    Args:
        optimizer: any transformation, a whole chain too: `train_step` refuses one within another.
        scale: the first factor, above 0.
        period: finite gradients after which the factor doubles, at least 1.

    Raises:
        ValueError: an argument is out of range.

    Reference: Micikevicius et al., Mixed Precision Training, 2018, https://arxiv.org/abs/1710.03740, section 3.2.

    Examples:
        >>> optimizer = training.loss_scaled(optax.sgd(0.1), scale=8.0)
        >>> optimizer.init(jnp.zeros(2)).scale
        Array(8., dtype=float32)
    """
    if not scale > 0:
        raise ValueError(f"scale={scale} must be above 0")
    if period < 1:
        raise ValueError(f"period={period} must be at least 1")

    def init(params) -> LossScaleState:
        return LossScaleState(jnp.float32(scale), jnp.int32(0), optimizer.init(params), jnp.int32(0))

    def update(updates, state, params=None, **extra):
        finite = all_finite(updates)
        # an optimizer must not see what is not finite, even where its answer is thrown away
        safe = jax.tree.map(lambda g: jnp.where(finite, g, 0), updates)
        new, inner = optimizers.update(optimizer, safe, state.inner, params, **extra)
        new = jax.tree.map(lambda u: jnp.where(finite, u, 0), new)
        inner = jax.tree.map(lambda a, b: jnp.where(finite, a, b), inner, state.inner)
        good = jnp.where(finite, state.good_steps + 1, 0)
        grows = good >= period
        factor = jnp.where(finite, jnp.where(grows, 2.0, 1.0), 0.5)
        skipped = state.skipped + ~finite
        return new, LossScaleState(state.scale * factor, jnp.where(grows, 0, good), inner, skipped)

    return optax.GradientTransformationExtraArgs(init, update)


def all_finite(tree: Any) -> Array:
    """Return whether every number of a tree is finite, as a bool on the device."""
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def loss_scale(opt_state: Any) -> Array | None:
    """Return the factor on the loss; None if the optimizer is not from `loss_scaled`.

    Raises:
        ValueError: `loss_scaled` is within another transformation, which would keep a gradient that is not finite.
    """
    if _is_scale(opt_state):
        return opt_state.scale
    if any(map(_is_scale, jax.tree.leaves(opt_state, is_leaf=_is_scale))):
        raise ValueError(
            "optimizer: got loss_scaled(...) within another transformation, allowed is outermost alone, as in "
            "loss_scaled(chain(...)): no other transformation may see a gradient that is not finite"
        )
    return None


def _is_scale(part: Any) -> bool:
    return isinstance(part, LossScaleState)
