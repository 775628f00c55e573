"""Sign descent: steps of one length in every coordinate."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import stateless
from jaxdl.optimizers.conventions import resolve
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def sign_sgd(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: ArrayLike | None = None,
    convention: str = "optax",
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Sign descent: w ← w − α·sgn(g), or w ← w − α·sgn(m) with m ← βm + (1−β)g, the paper's Signum.

    The sign of a complex number z is z/|z|.

    Args:
        learning_rate: α, a number of at least 0 or a schedule; the step of each coordinate.
        momentum: β in [0, 1); None takes the sign of the gradient itself.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        state_dtype: dtype of m; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018,
    https://arxiv.org/abs/1802.04434.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.sign_sgd(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.1,  0.1], dtype=float32)
    """
    check(non_negative={"learning_rate": learning_rate}, decay_rates={"momentum": momentum})
    resolve("sign_sgd", convention)
    signs = stateless("a sign", lambda updates, params: trees.map_updates(jnp.sign, updates))
    averaged = () if momentum is None else (stages.trace(momentum, ema=True),)
    return stages.chain(*averaged, signs, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)
