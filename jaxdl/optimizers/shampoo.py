"""Shampoo: AdaGrad with a matrix for every axis of an array in place of one number for every entry."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import kronecker, stages, trees
from jaxdl.optimizers.checks import check, check_static, check_whole
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.states import ShampooState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def shampoo(
    learning_rate: ScalarOrSchedule,
    eps: ArrayLike | None = None,
    *,
    decay: ArrayLike | None = None,
    update_interval: ArrayLike = 1,
    max_dim: ArrayLike | None = None,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Shampoo: W ← W − α·L^(−1/4)·G·R^(−1/4) with L ← L + GGᵀ and R ← R + GᵀG; both start at eps·I.

    An array of k axes has k matrices, each to the power −1/(2k); a vector has full-matrix AdaGrad. Entries of a
    gradient count as at most 1e15 in float32.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        eps: the first matrices and the least eigenvalue, above 0; None takes the convention's (1e-6; the paper tunes
            it).
        decay: β, in [0, 1), of averages L ← βL + (1−β)GGᵀ; None sums, as in the paper.
        update_interval: steps from one computation of the roots to the next, a whole number of at least 1.
        max_dim: longer axes have no matrix, and do not count in k; None takes the convention's (10,000).
        convention: whose defaults, a name in ``CONVENTIONS``.
        state_dtype: dtype of the matrices; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Gupta, Koren and Singer, Shampoo: Preconditioned Stochastic Tensor Optimization, 2018,
    https://arxiv.org/abs/1802.09568.

    Examples:
        >>> params, grads = jnp.eye(2), jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> optimizer = optimizers.shampoo(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0] + 0.0
        Array([[-0.1       ,  0.        ],
               [ 0.        , -0.09999996]], dtype=float32)
    """
    options = resolve("shampoo", convention, eps=eps, max_dim=max_dim)
    check(non_negative={"learning_rate": learning_rate})
    direction = scale_by_shampoo(options["eps"], decay, update_interval, options["max_dim"])
    return stages.chain(direction, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)


class _Memory(NamedTuple):
    """One array's matrices and their roots, packed."""

    statistics: Any
    roots: Any


def scale_by_shampoo(
    eps: ArrayLike, decay: ArrayLike | None, update_interval: ArrayLike, max_dim: Any
) -> GradientTransformation:
    """Return Shampoo's direction as a stage. See ``shampoo`` for the arguments."""
    check(positive={"eps": eps}, decay_rates={"decay": decay})
    check_static(max_dim=max_dim)
    check_whole(update_interval=(update_interval, 1), max_dim=(max_dim, 1))
    eps, decay = trees.hyper(eps, decay)

    def axes_of(x):
        return kronecker.axes_of(x.shape, max_dim)

    def init(params):
        start = lambda factor: jax.tree.map(lambda p: kronecker.identity(p, axes_of(p), factor), params)
        return ShampooState(count=jnp.zeros([], jnp.int32), statistics=start(eps), roots=start(1.0))

    def update(updates, state, params):
        del params
        always = isinstance(update_interval, int) and update_interval == 1
        due = always or state.count % update_interval == 0

        def advance(g, memory):
            axes, g = axes_of(g), kronecker.bounded(g)
            matrices = kronecker.unpack(memory.statistics, g.shape, axes)
            added = [kronecker.second_moment(g, axis) for axis in axes]
            matrices = [_summed(decay, m, x) for m, x in zip(matrices, added, strict=True)]
            root = lambda: [kronecker.inverse_root(m, 2 * len(axes), eps) for m in matrices]
            roots = _where(due, root, kronecker.unpack(memory.roots, g.shape, axes))
            return _Memory(*(kronecker.pack(x, memory.statistics) for x in (matrices, roots)))

        def direct(g, memory):
            axes, u = axes_of(g), kronecker.bounded(g)
            for axis, root in zip(axes, kronecker.unpack(memory.roots, g.shape, axes), strict=True):
                u = kronecker.multiply(root, u, axis)
            return u

        memory = trees.map_state(advance, updates, jax.tree.map(_Memory, state.statistics, state.roots))
        pick = lambda i: jax.tree.map(lambda m: m[i], memory, is_leaf=lambda m: isinstance(m, _Memory))
        return trees.map_updates(direct, updates, memory), ShampooState(trees.increment(state.count), pick(0), pick(1))

    return transformation("Shampoo's direction", ShampooState, init, update)


def _summed(decay, matrix, added):
    if decay is None:
        return trees.plus(matrix, added)
    return trees.plus(trees.times(decay, matrix), trees.times(1 - decay, added))


def _where(due, new, old):
    return (
        new()
        if due is True
        else jax.lax.cond(due, lambda: [x.astype(y.dtype) for x, y in zip(new(), old, strict=True)], lambda: old)
    )
