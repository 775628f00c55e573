"""SOAP: Adam in the slowly changing eigenbasis of Shampoo's matrices."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl import numerics
from jaxdl.optimizers import kronecker, moments, stages, trees
from jaxdl.optimizers.checks import check, check_static, check_whole
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import SoapState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def soap(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.95,
    b2: ArrayLike = 0.95,
    eps: ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask = None,
    *,
    update_interval: ArrayLike = 10,
    max_dim: ArrayLike | None = None,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """SOAP: W ← W − α·(Q_L·N·Q_Rᵀ + λW) with N = m̃·√(1−b2ᵗ)/(1−b1ᵗ)/(√v + eps), which is Adam's in the bases Q.

    m averages G, m̃ = Q_Lᵀ·m·Q_R, and v averages the squares of Q_Lᵀ·G·Q_R. Q_L and Q_R are the eigenvectors of the
    averages L of GGᵀ and R of GᵀG, followed by a step of power iteration and QR. The first gradient makes the bases and
    no step. An array of k > 1 axes has k bases, and vectors have Adam's step; derivatives take bases as constants.

    Where the first gradient has a lower rank than L or R, rounding decides the eigenvectors of its null space. Runs
    that round unlike each other, such as one under vmap and one alone, then differ by more than rounding from the
    second gradient's step on.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        b1: decay of m, in [0, 1).
        b2: decay of v, L and R, in [0, 1).
        eps: added to the root, at least 0.
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (0.01).
        mask: which parameters decay; None selects all.
        update_interval: steps from one change of the bases to the next, a whole number of at least 1.
        max_dim: longer axes keep their basis; None takes the convention's (10,000).
        convention: whose defaults, a name in ``CONVENTIONS``.
        state_dtype: dtype of the averages and bases; None keeps float32 for half-precision leaves and the leaf's own
            for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, 2024, https://arxiv.org/abs/2409.11321.

    Examples:
        >>> params, grads = jnp.eye(2), jnp.array([[3.0, 1.0], [0.0, 1.0]])
        >>> optimizer = optimizers.soap(0.1, weight_decay=0.0)
        >>> _, state = optimizer.update(grads, optimizer.init(params), params)
        >>> optimizer.update(grads.T, state, params)[0]
        Array([[-0.12126781,  0.07276069],
               [-0.07276069, -0.12126781]], dtype=float32)
    """
    options = resolve("soap", convention, weight_decay=weight_decay, max_dim=max_dim)
    check(non_negative={"learning_rate": learning_rate})
    direction = scale_by_soap(b1, b2, eps, update_interval, options["max_dim"])
    decay = stages.add_decayed_weights(options["weight_decay"], mask)
    return stages.chain(direction, decay, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)


class _Memory(NamedTuple):
    """One array's average of squares, and its matrices and bases, packed."""

    nu: Any
    statistics: Any
    bases: Any


def scale_by_soap(
    b1: ArrayLike, b2: ArrayLike, eps: ArrayLike, update_interval: ArrayLike, max_dim: Any
) -> GradientTransformation:
    """Return SOAP's direction as a stage. See ``soap`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps})
    check_static(max_dim=max_dim)
    check_whole(update_interval=(update_interval, 1), max_dim=(max_dim, 1))
    b1, b2, eps = trees.hyper(b1, b2, eps)

    def axes_of(x):
        return kronecker.axes_of(x.shape, max_dim) if x.ndim > 1 else ()

    def init(params):
        start = lambda factor: jax.tree.map(lambda p: kronecker.identity(p, axes_of(p), factor), params)
        zeros = trees.zeros_like
        return SoapState(jnp.zeros([], jnp.int32), zeros(params), zeros(params), start(0.0), start(1.0))

    def update(updates, state, params):
        del params
        count, first = state.count, state.count == 0  # steps are one fewer than gradients
        due = ~first & (count % update_interval == 0)
        own_b1, own_b2 = jnp.where(first, 1.0, b1), jnp.where(first, 1.0, b2)
        sum1, sum2 = (moments.bias_weight(b, jnp.maximum(count, 1)) for b in (b1, b2))
        scale = jnp.where(first, 0.0, jnp.sqrt(sum2) / sum1)
        bounded = trees.map_updates(kronecker.bounded, updates)
        mu = moments.update_moment(bounded, state.mu, own_b1, 1)
        memory = jax.tree.map(_Memory, state.nu, state.statistics, state.bases)
        memory = trees.map_state(lambda g, m: _squared(g, m, axes_of(g), own_b2), bounded, memory)
        steps = trees.map_updates(lambda g, m, mean: _step(m, mean, axes_of(g), eps, scale), bounded, memory, mu)
        memory = trees.map_state(lambda g, m: _advanced(g, m, axes_of(g), b2, first, due), bounded, memory)
        pick = lambda i: jax.tree.map(lambda m: m[i], memory, is_leaf=lambda m: isinstance(m, _Memory))
        mu, nu = trees.cast_like((mu, pick(0)), (state.mu, state.nu))
        return steps, SoapState(trees.increment(count), mu, nu, pick(1), pick(2))

    return transformation("SOAP's direction", SoapState, init, update)


def _squared(g, memory: _Memory, axes, decay):
    turned = _turned(g, kronecker.unpack(memory.bases, g.shape, axes), axes)
    square = trees.times(1 - decay, trees.abs_square(turned))
    return memory._replace(nu=trees.plus(square, trees.times(decay, trees.real(memory.nu))))


def _step(memory: _Memory, mean, axes, eps, scale):
    bases = kronecker.unpack(memory.bases, mean.shape, axes)
    direction = _turned(mean, bases, axes) / (numerics.safe_sqrt(memory.nu) + eps)
    return trees.times(scale, _turned(direction, [q.conj().T for q in bases], axes))


def _turned(x, bases, axes):
    """Return Qᴴ times every axis."""
    for axis, q in zip(axes, bases, strict=True):
        x = kronecker.multiply(q.conj().T, x, axis)
    return x


def _advanced(g, memory: _Memory, axes, b2, first, due):
    """Return the memory after the averages have moved, with eigenvectors at first and turned bases where due."""
    if not axes:
        return memory
    matrices, bases = (kronecker.unpack(x, g.shape, axes) for x in (memory.statistics, memory.bases))
    added = [kronecker.second_moment(g, axis) for axis in axes]
    average = lambda m, x: trees.plus(trees.times(b2, m), trees.times(1 - b2, x))
    matrices = [average(m, x) for m, x in zip(matrices, added, strict=True)]
    nu, bases = kronecker.next_bases(matrices, bases, memory.nu, axes, first, due)
    packed = (kronecker.pack(x, memory.statistics) for x in (matrices, bases))
    return _Memory(nu, *packed)
