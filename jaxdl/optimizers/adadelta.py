"""AdaDelta: a rate per coordinate in the units of the parameter. [Lecture row E7]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import ScaleByAdaDeltaState
from jaxdl.optimizers.trees import map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adadelta(
    learning_rate: ScalarOrSchedule | None = None,
    rho: ArrayLike | None = None,
    eps: ArrayLike | None = None,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaDelta: v ← ρv + (1−ρ)g², u = g·√(x + eps)/√(v + eps), x ← ρx + (1−ρ)u², w ← w − αu.

    Args:
        learning_rate: α, a number of at least 0 or a schedule; None takes the convention's (1; Keras 0.001). In optax
            None means no scaling and no sign, which climbs; here it descends.
        rho: ρ in [0, 1); None takes the convention's (optax and PyTorch 0.9, Keras and the paper 0.95).
        eps: above 0; None takes the convention's (1e-6; Keras 1e-7).
        weight_decay: λ of a coupled L2 penalty, a number of at least 0 or a schedule.
        weight_decay_mask: which parameters decay; None selects all.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        state_dtype: dtype of v and x; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012, https://arxiv.org/abs/1212.5701.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adadelta(1.0)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.00316221,  0.0031607 ], dtype=float32)

    [Lecture row E7]
    """
    options = resolve("adadelta", convention, learning_rate=learning_rate, rho=rho, eps=eps)
    rate = options.pop("learning_rate")
    check(non_negative={"learning_rate": rate})
    return stages.chain(
        stages.add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(**options),
        stages.scale_by_learning_rate(rate),
        state_dtype=state_dtype,
    )


def scale_by_adadelta(rho: ArrayLike = 0.9, eps: ArrayLike = 1e-6) -> GradientTransformation:
    """Scale by AdaDelta's direction. See ``adadelta`` for the arguments."""
    check(decay_rates={"rho": rho}, positive={"eps": eps})

    rho, eps = trees.hyper(rho, eps)

    def scale(g, v, x):
        return jnp.sqrt(trees.real(x) + eps) / jnp.sqrt(trees.real(v) + eps) * g

    def init(params):
        return ScaleByAdaDeltaState(e_g=trees.zeros_like(params), e_x=trees.zeros_like(params))

    def update(updates, state, params):
        del params
        e_g = moments.update_moment(updates, state.e_g, rho, 2)
        updates = map_updates(scale, updates, e_g, state.e_x)
        e_x = moments.update_moment(updates, state.e_x, rho, 2)
        e_g, e_x = trees.cast_like((e_g, e_x), (state.e_g, state.e_x))
        return updates, ScaleByAdaDeltaState(e_g=e_g, e_x=e_x)

    return transformation("AdaDelta's direction", ScaleByAdaDeltaState, init, update)
