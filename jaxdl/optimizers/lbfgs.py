"""L-BFGS with a backtracking line search. [Lecture row E8]"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array
from optax import GradientTransformationExtraArgs

from jaxdl import compat
from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check, check_static, check_whole
from jaxdl.optimizers.contracts import require_state


class LbfgsState(NamedTuple):
    """State of ``lbfgs`` for n real parameters (a complex one counts twice) and m pairs, in float32 or wider."""

    count: Array  # (), int32: updates so far
    params: Array  # (n,): the parameters of the last update
    grads: Array  # (n,): their gradient
    steps: Array  # (m, n): differences of parameters, newest last
    changes: Array  # (m, n): differences of gradients, newest last
    weights: Array  # (m,): 1/(step·change); 0 marks an empty pair


def lbfgs(
    memory_size: ArrayLike = 10, max_halvings: ArrayLike = 20, armijo: ArrayLike = 1e-4
) -> GradientTransformationExtraArgs:
    """L-BFGS: the direction −H·g from the last m pairs, halved until the loss falls enough.

    f(w + αd) ≤ f(w) + c·α·gᵀd with α = 1, ½, ¼, …; pairs without positive curvature are dropped. Call
    ``update(grads, state, params, value=f(params), value_fn=f)`` with f a function of all parameters, also inside
    jaxdl's ``masked`` and ``partition``. A complex gradient is the conjugate of jax.grad's, as for ``optax.lbfgs``. The
    arithmetic is in float32 or wider. The steps are those of ``optax.lbfgs`` until one is shorter than 1, for which
    optax searches by interpolation.

    Args:
        memory_size: m, a whole number of at least 1; it determines shapes and therefore cannot be traced.
        max_halvings: maximum number of halvings, a whole number of at least 0; if none is enough, the parameters stay.
        armijo: c, in [0, 1).

    Raises:
        ValueError: a number is out of range or not whole; a leaf is an integer; at update, ``params``, ``value`` or
            ``value_fn`` is missing, or the state is not one of ``lbfgs``.

    Reference: Liu and Nocedal, On the limited memory BFGS method for large scale optimization, 1989,
    https://doi.org/10.1007/BF01589116. [Lecture row E8]
    """
    check_static(memory_size=memory_size)
    check_whole(memory_size=(memory_size, 1), max_halvings=(max_halvings, 0))
    check(decay_rates={"armijo": armijo})
    armijo = trees.hyper(armijo)

    def init(params):
        n, dtype = trees.size(params)
        vector, pairs, weights = ((n,), dtype), ((memory_size, n), dtype), ((memory_size,), dtype)
        zeros = [jnp.zeros(*shape) for shape in (vector, vector, pairs, pairs, weights)]
        return LbfgsState(jnp.zeros([], jnp.int32), *compat.varying_like(zeros, params))

    def update(updates, state, params=None, *, value: Any = None, value_fn: Any = None, **extra_args):
        del extra_args
        stages.require_params(params, "lbfgs")
        for name, given in (("value", value), ("value_fn", value_fn)):
            if given is None:
                raise ValueError(f"{name} is None: lbfgs needs update(grads, state, params, {name}=...)")
        require_state(state, LbfgsState, "lbfgs")
        flat = trees.flatten(updates, params)
        w, g = flat.params, flat.grads
        if w.shape != state.params.shape:
            raise ValueError(f"state is of {state.params.size} parameters: these are {w.size}")
        new_state = trees.keep_dtypes(_remember(state, w, g), state)
        direction = -_inverse_hessian_product(new_state, g.astype(new_state.grads.dtype)).astype(w.dtype)

        def value_at(v):
            return value_fn(flat.point(v)).astype(w.dtype)

        start = jnp.asarray(value).astype(w.dtype)
        step = backtrack(value_at, w, direction, start, g @ direction, max_halvings, armijo)
        return flat.step(step * direction), new_state

    return GradientTransformationExtraArgs(init, update)


def _remember(state: LbfgsState, w, g) -> LbfgsState:
    """Append the newest pair if its curvature is positive."""
    s, y = w - state.params, g - state.grads
    curvature = s @ y
    usable = (state.count > 0) & (curvature > 0)

    def push(memory, new):
        return jnp.where(usable, jnp.concatenate([memory[1:], new[None]]), memory)

    weight = 1.0 / jnp.where(usable, curvature, 1.0)
    return LbfgsState(
        count=trees.increment(state.count),
        params=w,
        grads=g,
        steps=push(state.steps, s),
        changes=push(state.changes, y),
        weights=push(state.weights, weight),
    )


def _inverse_hessian_product(state: LbfgsState, g):
    """Run the two-loop recursion; empty pairs have weight 0 and contribute nothing."""
    pairs = (state.steps, state.changes, state.weights)

    def backward(q, pair):
        s, y, weight = pair
        a = weight * (s @ q)
        return q - a * y, a

    q, factors = jax.lax.scan(backward, g, pairs, reverse=True)
    s, y = state.steps[-1], state.changes[-1]
    has_pair = state.weights[-1] > 0
    # the first step, which has no pair yet, has length at most 1
    first = jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.linalg.norm(g), jnp.finfo(g.dtype).tiny))
    scale = jnp.where(has_pair, (s @ y) / jnp.where(has_pair, y @ y, 1.0), first)

    def forward(r, pair_and_factor):
        (s, y, weight), a = pair_and_factor
        return r + (a - weight * (y @ r)) * s, None

    return jax.lax.scan(forward, scale * q, (pairs, factors))[0]


def backtrack(value_fn: Any, w, direction, value, slope, max_halvings, armijo):
    """Return the first of 1, ½, ¼, … whose loss is low enough, or 0. A NaN loss is never low enough.

    Args:
        value_fn: point → loss.
        w: the point (n,).
        direction: d, (n,).
        value: the loss at w.
        slope: gᵀd.
        max_halvings: attempts after the first.
        armijo: c in f(w + αd) ≤ f(w) + c·α·gᵀd.
    """

    def low_enough(step):
        return value_fn(w + step * direction) <= value + armijo * step * slope

    def halve(carry):
        step, tries, _ = carry
        return step / 2, tries + 1, low_enough(step / 2)

    one = jnp.ones((), w.dtype)
    enough = low_enough(one)
    start = compat.varying_like((one, jnp.int32(0), enough), enough)
    step, _, found = jax.lax.while_loop(lambda c: ~c[2] & (c[1] < max_halvings), halve, start)
    return jnp.where(found, step, 0.0)
