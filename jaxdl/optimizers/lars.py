"""LARS: descent that scales the step of each parameter array to the array's own norm. [Lecture row E7]"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check, check_momentum
from jaxdl.optimizers.contracts import stateless
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.grouping import Mask, check_selects, masked, spread
from jaxdl.optimizers.trees import map_updates
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule | None = None,
    weight_decay_mask: Mask = True,
    trust_coefficient: ArrayLike = 0.001,
    eps: ArrayLike = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: ArrayLike = 0.9,
    nesterov: bool = False,
    *,
    convention: str = "optax",
    separate_norms: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """LARS: d = g + λw, v ← βv − α·η·‖w‖/(‖d‖ + eps)·d, w ← w + v, with norms per parameter array.

    The paper divides by ‖g‖ + λ‖w‖ instead of ‖d‖ (``separate_norms``).

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        weight_decay: λ, at least 0, or a schedule if ``separate_norms`` is off; None takes the convention's (optax 0,
            the paper 5e-4).
        weight_decay_mask: which parameters decay.
        trust_coefficient: η, at least 0.
        eps: added to the norm in the denominator, at least 0.
        trust_ratio_mask: which parameters are scaled by the ratio of norms.
        momentum: β in [0, 1].
        nesterov: use Nesterov's form of the momentum.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        separate_norms: use the paper's denominator; None takes the convention's.
        state_dtype: dtype of v; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: You, Gitman and Ginsburg, Large Batch Training of Convolutional Networks, 2017,
    https://arxiv.org/abs/1708.03888.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.lars(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-2.1926452e-04,  4.3852906e-05], dtype=float32)

    [Lecture row E7]
    """
    options = resolve("lars", convention, weight_decay=weight_decay, separate_norms=separate_norms)
    decay = options["weight_decay"]
    check(non_negative={"learning_rate": learning_rate})
    check_momentum(momentum)
    if options["separate_norms"]:
        if callable(decay):
            raise ValueError("weight_decay is a schedule: with separate_norms it must be a number")
        masks = (weight_decay_mask, trust_ratio_mask)
        direction = (_scale_by_separate_norms(decay, trust_coefficient, eps, *masks),)
    else:
        ratio = scale_by_trust_ratio(trust_coefficient, eps)
        decayed = stages.add_decayed_weights(decay, weight_decay_mask)
        direction = (decayed, masked(ratio, trust_ratio_mask))
    rate = stages.scale_by_learning_rate(learning_rate)
    return stages.chain(*direction, rate, stages.trace(momentum, nesterov), state_dtype=state_dtype)


def scale_by_trust_ratio(trust_coefficient: ArrayLike = 1.0, eps: ArrayLike = 0.0) -> GradientTransformation:
    """Scale each array by η·‖w‖/(‖u‖ + eps), or by 1 where a norm is 0.

    Args:
        trust_coefficient: η, at least 0.
        eps: at least 0.
    """
    check(non_negative={"trust_coefficient": trust_coefficient, "eps": eps})

    trust_coefficient, eps = trees.hyper(trust_coefficient, eps)

    def scale(u, w):
        return u * _ratio(trust_coefficient, trees.norm([w]), trees.norm([u]), eps).astype(trees.real(u).dtype)

    def update(updates, params):
        stages.require_params(params, "a trust ratio")
        return map_updates(scale, updates, params)

    return stateless("a trust ratio", update)


def _scale_by_separate_norms(decay, trust_coefficient, eps, decay_mask, ratio_mask):
    """Scale as LARS's paper: (g + λw)·η·‖w‖/(‖g‖ + λ‖w‖ + eps), with masks for the decay and the ratio."""
    decay, trust_coefficient, eps = trees.hyper(decay, trust_coefficient, eps)

    def scale(g, w, decays, scales):
        direction = g + decay * w if decays else g
        if not scales:
            return direction
        size = trees.norm([w])
        below = trees.norm([g]) + decay * size if decays else trees.norm([g])
        return direction * _ratio(trust_coefficient, size, below, eps).astype(trees.real(g).dtype)

    def update(updates, params):
        stages.require_params(params, "lars")
        if not (isinstance(decay, int | float) and decay == 0):
            check_selects(decay_mask, updates, "weight_decay_mask")
        masks = (spread(mask, updates) for mask in (decay_mask, ratio_mask))
        return map_updates(scale, updates, params, *masks)

    return stateless("a trust ratio", update)


def _ratio(trust_coefficient, above, below, eps):
    usable = (above > 0) & (below > 0)
    return jnp.where(usable, trust_coefficient * above / (jnp.where(usable, below, 1.0) + eps), 1.0)
