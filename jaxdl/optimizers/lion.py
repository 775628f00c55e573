"""Lion: steps of constant size in the direction of the momentum's sign. [Lecture row E7]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import ScaleByLionState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def lion(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask = None,
    *,
    convention: str = "optax",
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Lion: w ← w − α·(sign((1−b1)g + b1·m) + λw), m ← b2·m + (1−b2)·g. The sign of a complex number z is z/|z|.

    Args:
        learning_rate: α, a number of at least 0 or a schedule; about a tenth of Adam's.
        b1: weight of m in the direction, in [0, 1).
        b2: decay of m, in [0, 1).
        mu_dtype: dtype in which m is stored; None follows ``state_dtype``.
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (optax 1e-3, Keras 0).
        mask: which parameters decay; None selects all.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        form: see ``adamw``; the entry "decay_form" alone.
        state_dtype: dtype of m; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023,
    https://arxiv.org/abs/2302.06675.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.lion(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.1001    ,  0.09980001], dtype=float32)

    [Lecture row E7]
    """
    options = resolve("lion", convention, form, weight_decay=weight_decay)
    check(non_negative={"learning_rate": learning_rate})
    parts = stages.decoupled(scale_by_lion(b1, b2, mu_dtype), learning_rate, mask=mask, **options)
    return stages.chain(*parts, state_dtype=state_dtype)


def scale_by_lion(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.99, mu_dtype: DTypeLike | None = None
) -> GradientTransformation:
    """Scale by Lion's direction. See ``lion`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2})
    b1, b2 = trees.hyper(b1, b2)

    def sign(g, m):
        return jnp.sign(trees.plus(trees.times(1.0 - b1, g), trees.times(b1, m)))

    def init(params):
        return ScaleByLionState(count=jnp.zeros([], jnp.int32), mu=trees.zeros_like(params, mu_dtype))

    def update(updates, state, params):
        del params
        signs = trees.map_updates(sign, updates, state.mu)
        mu = trees.cast_like(moments.update_moment(updates, state.mu, b2, 1), state.mu)
        return signs, ScaleByLionState(count=trees.increment(state.count), mu=mu)

    return transformation("Lion's direction", ScaleByLionState, init, update)
