"""LAMB: Adam that scales the step of each parameter array to the array's own norm. [Lecture row E7]"""

from __future__ import annotations

from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformationExtraArgs

from jaxdl.optimizers import stages
from jaxdl.optimizers.adam import scale_by_adam
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.lars import scale_by_trust_ratio
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def lamb(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-6,
    eps_root: ArrayLike = 0.0,
    weight_decay: ScalarOrSchedule | None = None,
    mask: Mask = None,
    *,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """LAMB: d = Adam's direction + λw, w ← w − α·‖w‖/‖d‖·d, with norms per parameter array.

    Args:
        learning_rate: α, a number of at least 0 or a schedule, a function of the step.
        b1: see ``adam``.
        b2: see ``adam``.
        eps: see ``adam``.
        eps_root: see ``adam``.
        weight_decay: λ, a number of at least 0 or a schedule; None takes the convention's (optax 0, the paper 0.01).
        mask: which parameters decay; None selects all.
        convention: see ``adam``.
        state_dtype: see ``adam``.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020,
    https://arxiv.org/abs/1904.00962.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.lamb(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.15811452,  0.15811326], dtype=float32)

    [Lecture row E7]
    """
    decay = resolve("lamb", convention, weight_decay=weight_decay)["weight_decay"]
    check(non_negative={"learning_rate": learning_rate})
    return stages.chain(
        scale_by_adam(b1, b2, eps, eps_root),
        stages.add_decayed_weights(decay, mask),
        scale_by_trust_ratio(),
        stages.scale_by_learning_rate(learning_rate),
        state_dtype=state_dtype,
    )
