"""Exponential averages of gradients and their squares, bias correction, and the ratio of the two averages."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.optimizers import trees
from jaxdl.optimizers.trees import map_state, map_updates, times


def update_moment(updates, moments, decay, order: int, form: str = "weighted"):
    """Return an exponential average after x = g^order.

    "weighted" is (1 − β)·x + β·moment and "increment" is moment + (1 − β)·(x − moment). In float32, 1 − β and β do not
    sum to 1 (at β = 0.999 they miss it by 1e-8), so a weighted average of equal numbers settles 1e-5 away from them,
    while an incremented one does not.

    Args:
        updates: g; where a leaf is None, its average stays as it is.
        moments: the averages so far; at order 2 only their real part counts.
        decay: β.
        order: 1 for g, or 2 for |g|².
        form: "weighted", "increment", or "mixed", which increments order 1 and weights order 2.
    """

    def weighted(x, t):
        return trees.plus(times(1 - decay, x), times(decay, t))

    def increment(x, t):
        moved = trees.plus(t, times(1 - decay, trees.plus(x, -t)))
        # x − t overflows where the average does not, and is NaN where both are infinite
        return jnp.where(jnp.isfinite(moved), moved, weighted(x, t).astype(moved.dtype))

    average = increment if form == "increment" or (form == "mixed" and order == 1) else weighted

    def advance(g, t):
        return average(trees.power_of(g, order), trees.real(t) if order == 2 else t)

    return map_state(advance, updates, moments)


def update_moments(updates, state, b1, b2, form: str):
    """Return the averages of g and g² of a state with the fields ``mu`` and ``nu``. See ``update_moment``."""
    return update_moment(updates, state.mu, b1, 1, form), update_moment(updates, state.nu, b2, 2, form)


def correct_bias(moments, decay, count, exact: bool = False):
    """Divide an exponential average that started at 0 by 1 − β^count, the sum of its weights."""
    weight = bias_weight(decay, count, exact)
    return jax.tree.map(lambda t: t / weight.astype(trees.real(t).dtype), moments)


def bias_weight(decay, count, exact: bool = False):
    """Return 1 − β^count; ``exact`` avoids a cancellation that costs four digits at β = 0.999, count 1."""
    if not exact:
        return 1 - power(decay, count)
    if isinstance(decay, int | float):
        return -jnp.expm1(trees.as_float(count) * (math.log(decay) if decay > 0 else -math.inf))
    return -jnp.expm1(trees.times(jnp.log(decay), trees.as_float(count)))


@partial(jax.jit, inline=True)
def power(decay, count):
    """Return β^count, compiled: outside jit, a concrete integer exponent would compile anew for each value."""
    count = trees.as_float(count)
    return jnp.asarray(decay, trees.promoted(jnp.result_type(decay), count.dtype)) ** count


def first_moment(mu, updates, b1, count, nesterov: bool, bias_correction: bool, exact: bool = False):
    """Return the unbiased m, or Nesterov's look-ahead b1·m/(1 − b1ᵗ⁺¹) + (1 − b1)·g/(1 − b1ᵗ)."""
    if bias_correction:
        ahead = trees.increment(count) if nesterov else count
        mu = correct_bias(mu, b1, ahead, exact)
        updates = correct_bias(updates, b1, count, exact) if nesterov else updates
    if not nesterov:
        return mu
    # early g/(1 − b1ᵗ) can overflow although g does not, and ∞/√∞ would be NaN; finite values are unchanged
    return map_updates(lambda g, m: finite(trees.plus(trees.times(b1, m), trees.times(1 - b1, g))), updates, mu)


def finite(x):
    """Replace infinities by the largest finite value, in both parts of a complex array."""
    if jnp.iscomplexobj(x):
        return jax.lax.complex(finite(x.real), finite(x.imag))
    return jnp.clip(x, jnp.finfo(x.dtype).min, jnp.finfo(x.dtype).max)


def ratio(updates: Any, mu: Any, nu: Any, eps, eps_root) -> Any:
    """Return m/(√(v + eps_root) + eps) for every leaf of the updates."""

    def divide(g, m, v):
        del g
        return m / (jnp.sqrt(trees.real(v) + eps_root) + eps)

    return map_updates(divide, updates, mu, nu)


def correct_ratio(mu: Any, nu: Any, b2, count, eps_hat: bool, exact: bool):
    """Correct v's bias in the denominator, or with ``eps_hat`` as a factor of m, so that eps is not rescaled."""
    if not eps_hat:
        return mu, correct_bias(nu, b2, count, exact)
    root = jnp.sqrt(bias_weight(b2, count, exact))
    return jax.tree.map(lambda m: m * root.astype(trees.real(m).dtype), mu), nu
