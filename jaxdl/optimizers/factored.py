"""Second moments of matrices in factors: one average per row and one per column."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from optax import GradientTransformation

from jaxdl import compat
from jaxdl.optimizers import trees
from jaxdl.optimizers.checks import check, check_static, check_whole
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.states import FactoredState


class _Factors(NamedTuple):
    """The second moments of one array; those that it does not use are zeros of shape (1,)."""

    row: Any  # the array's shape without its longest axis
    column: Any  # the array's shape without its second longest axis
    full: Any  # the array's shape


def scale_by_factored_rms(
    factored: bool, decay_rate: ArrayLike, decay_offset: ArrayLike, min_dim_size_to_factor: Any, eps: ArrayLike
) -> GradientTransformation:
    """Divide by the root of V. See ``adafactor`` for the arguments."""
    check(positive={"eps": eps}, non_negative={"decay_rate": decay_rate})
    check_static(min_dim_size_to_factor=min_dim_size_to_factor)
    check_whole(min_dim_size_to_factor=(min_dim_size_to_factor, 1))
    rate, offset, eps = trees.hyper(decay_rate, decay_offset, eps)

    axes_of = partial(_axes_of, min_dim_size_to_factor if factored else None)

    def init(params):
        return _as_state(jnp.zeros([], jnp.int32), jax.tree.map(lambda p: _start(axes_of(p.shape), p), params))

    def update(updates, state, params):
        del params
        time = (state.count - offset + 1).astype(jnp.float32)
        decay = 1.0 - time ** (-1 * rate)
        before = jax.tree.map(_Factors, state.v_row, state.v_col, state.v)
        after = trees.map_state(lambda g, v: _advanced(axes_of(g.shape), decay, eps, g, v), updates, before)
        steps = trees.map_updates(lambda g, v: _divided(axes_of(g.shape), g, v), updates, after)
        return steps, _as_state(trees.increment(state.count), after)

    return transformation("Adafactor's direction", FactoredState, init, update)


def _axes_of(least, shape):
    """Return the second longest and the longest axis, or None if V is kept entry by entry."""
    if least is None or len(shape) < 2:
        return None
    second, longest = (int(axis) for axis in np.argsort(shape)[-2:])
    return (second, longest) if shape[second] >= least else None


def _start(axes, p):
    one = jnp.zeros((1,), p.dtype)
    if axes is None:
        return _Factors(one, trees.copied(one), jnp.zeros_like(p))
    row, column = (jnp.zeros(np.delete(p.shape, axis), p.dtype) for axis in axes[::-1])
    return compat.varying_like(_Factors(row, column, one), p)._replace(full=one)


def _advanced(axes, decay, eps, g, v):
    # sums of all squares stay finite
    square = jnp.minimum(trees.abs_square(g) + eps, jnp.finfo(trees.real(g).dtype).max / (4 * max(g.size, 1)))
    if axes is None:
        return v._replace(full=_average(decay, v.full, square))
    row, column = (jnp.mean(square, axis=axis) for axis in axes[::-1])
    return v._replace(row=_average(decay, v.row, row), column=_average(decay, v.column, column))


def _divided(axes, g, v):
    if axes is None:
        return g * trees.real(v.full) ** -0.5
    second, longest = axes
    row, column = trees.real(v.row), trees.real(v.column)
    row = row / jnp.mean(row, axis=second - (second > longest), keepdims=True)
    return g * jnp.expand_dims(row**-0.5, longest) * jnp.expand_dims(column**-0.5, second)


def _average(decay, old, new):
    moved = trees.plus(trees.times(decay, trees.real(old)), trees.times(1.0 - decay, new))
    return trees.as_dtype_of(moved, old)


def _as_state(count, factors):
    pick = lambda name: jax.tree.map(lambda f: getattr(f, name), factors, is_leaf=lambda f: isinstance(f, _Factors))
    return FactoredState(count=count, v_row=pick("row"), v_col=pick("column"), v=pick("full"))
