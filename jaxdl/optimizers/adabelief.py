"""AdaBelief: Adam divided by the root of an average of the squared deviation from the average gradient."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.conventions import Form, resolve
from jaxdl.optimizers.states import ScaleByBeliefState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    eps_root: ArrayLike | None = None,
    *,
    nesterov: bool = False,
    convention: str = "optax",
    form: Form = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """AdaBelief: w ← w − α·m̂/(√ŝ + eps), s ← b2·s + (1−b2)·(g−m)² + eps_root, where m̂ and ŝ are unbiased.

    ``eps_root`` is a part of s, so that it adds up to eps_root/(1−b2), a thousand times itself at b2 = 0.999.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        b1: decay of m, the average of g, in [0, 1).
        b2: decay of s, in [0, 1).
        eps: added to the root, at least 0; None takes the convention's (optax 1e-16, the paper 1e-8).
        eps_root: added to s at every step, at least 0; None takes the convention's (optax 1e-16, the paper 1e-8).
        nesterov: look one step ahead in m, as ``nadam`` does.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        form: order of operations, the entry "exact_correction" of ``conventions.FORMS``.
        state_dtype: dtype of m and s; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, or the convention does not define this optimizer.

    Reference: Zhuang et al., AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients, 2020,
    https://arxiv.org/abs/2010.07468.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adabelief(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.11111039,  0.11111039], dtype=float32)
    """
    check(non_negative={"learning_rate": learning_rate})
    options = resolve("adabelief", convention, form, eps=eps, eps_root=eps_root)
    direction = scale_by_belief(b1, b2, nesterov=nesterov, **options)
    return stages.chain(direction, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)


def scale_by_belief(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-16,
    eps_root: ArrayLike = 1e-16,
    *,
    nesterov: bool = False,
    exact_correction: bool = False,
) -> GradientTransformation:
    """Scale by AdaBelief's direction. See ``adabelief`` for the arguments."""
    check(decay_rates={"b1": b1, "b2": b2}, non_negative={"eps": eps, "eps_root": eps_root})
    b1, b2, eps, eps_root = trees.hyper(b1, b2, eps, eps_root)

    def init(params):
        zeros = trees.zeros_like
        return ScaleByBeliefState(count=jnp.zeros([], jnp.int32), mu=zeros(params), nu=zeros(params))

    def update(updates, state, params):
        del params
        mu = moments.update_moment(updates, state.mu, b1, 1)
        surprise = trees.map_updates(lambda g, m: trees.plus(g, -m), updates, mu)
        nu = moments.update_moment(surprise, state.nu, b2, 2)
        nu = trees.map_state(lambda g, s: s + eps_root, updates, nu)
        count = trees.increment(state.count)
        mu_hat = moments.first_moment(mu, updates, b1, count, nesterov, True, exact_correction)
        nu_hat = moments.correct_bias(nu, b2, count, exact_correction)
        direction = moments.ratio(updates, mu_hat, nu_hat, eps, 0.0)
        mu, nu = trees.cast_like((mu, nu), (state.mu, state.nu))
        return direction, ScaleByBeliefState(count=count, mu=mu, nu=nu)

    return transformation("AdaBelief's direction", ScaleByBeliefState, init, update)
