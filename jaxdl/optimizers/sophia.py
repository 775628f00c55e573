"""Sophia: momentum divided by an estimate of the Hessian's diagonal, and clipped."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check, check_whole
from jaxdl.optimizers.contracts import require_state
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.estimators import estimator, measure
from jaxdl.optimizers.grouping import Mask
from jaxdl.optimizers.states import SophiaState
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def sophia(
    learning_rate: ScalarOrSchedule,
    b1: ArrayLike = 0.965,
    b2: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike | None = None,
    weight_decay_mask: Mask = None,
    gamma: ArrayLike = 0.01,
    clip_threshold: ArrayLike | None = 1.0,
    update_interval: ArrayLike = 10,
    hessian_diagonal_fn: GradientTransformation | str = "hutchinson",
    mu_dtype: DTypeLike | None = None,
    verbose: bool = False,
    print_win_rate_every_n_steps: ArrayLike = 0,
    *,
    convention: str = "optax",
    bias_correction: bool | None = None,
    hessian_first: bool | None = None,
    key: Any = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Sophia: w ← w − α·(clip(m̂/max(γh, eps)) + λw), where h averages estimates of the Hessian's diagonal.

    ``update`` takes the loss as ``value_fn``, or the model as ``model_fn``, which ``training.train_step`` passes. The
    real and imaginary part of a complex leaf are two numbers.

    Args:
        learning_rate: α, a number of at least 0 or a schedule.
        b1: decay of m, the average of g, in [0, 1).
        b2: decay of h, in [0, 1).
        eps: least denominator, above 0.
        weight_decay: λ, at least 0; None takes the convention's (optax 1e-4; the paper's depends on the model).
        weight_decay_mask: which parameters decay; None selects all.
        gamma: γ, at least 0; about .01 for "hutchinson" and .05 for "gauss_newton_bartlett".
        clip_threshold: bound on every entry of the ratio, above 0; None does not clip.
        update_interval: steps from one estimate to the next, a whole number of at least 1.
        hessian_diagonal_fn: "hutchinson", z⊙Hz for random signs z, for any loss; "gauss_newton_bartlett", the square of
            the gradient for labels drawn from the model, for logits; or a transformation that returns an estimate.
        mu_dtype: dtype in which m is stored; None follows ``state_dtype``.
        verbose: print the share of unclipped entries.
        print_win_rate_every_n_steps: steps from one print to the next, at least 1 if ``verbose``.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        bias_correction: divide m by 1 − b1ᵗ; None takes the convention's (optax True, the paper False).
        hessian_first: use an estimate in the step in which it is made, not from the next; None takes the convention's
            (optax False, so that its first step is the sign of g; the paper True).
        key: of the random numbers; None is ``jax.random.PRNGKey(0)``.
        state_dtype: dtype of m and h; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, the estimate is unknown, or the convention does not define this optimizer;
            at update, ``params`` or the function that the estimate needs is missing.

    Reference: Liu et al., Sophia: A Scalable Stochastic Second-order Optimizer for Language Model Pre-training, 2023,
    https://arxiv.org/abs/2305.14342.
    """
    given: dict[str, Any] = {
        "weight_decay": weight_decay,
        "bias_correction": bias_correction,
        "hessian_first": hessian_first,
    }
    options = resolve("sophia", convention, **given)
    decay = stages.add_decayed_weights(options.pop("weight_decay"), weight_decay_mask)
    check(non_negative={"learning_rate": learning_rate})
    check_whole(print_win_rate_every_n_steps=(print_win_rate_every_n_steps, int(verbose)))
    estimate = estimator(hessian_diagonal_fn, key) if isinstance(hessian_diagonal_fn, str) else hessian_diagonal_fn
    report = print_win_rate_every_n_steps if verbose else None
    numbers = (b1, b2, eps, gamma, clip_threshold, update_interval)
    direction = scale_by_sophia(*numbers, estimate, mu_dtype, report_interval=report, **options)
    return stages.chain(direction, decay, stages.scale_by_learning_rate(learning_rate), state_dtype=state_dtype)


def scale_by_sophia(
    b1: ArrayLike,
    b2: ArrayLike,
    eps: ArrayLike,
    gamma: ArrayLike,
    clip_threshold: ArrayLike | None,
    update_interval: ArrayLike,
    estimate: GradientTransformation,
    mu_dtype: DTypeLike | None = None,
    *,
    report_interval: ArrayLike | None = None,
    bias_correction: bool = True,
    hessian_first: bool = False,
) -> GradientTransformationExtraArgs:
    """Scale by Sophia's direction. See ``sophia`` for the arguments; ``report_interval`` None does not print."""
    check(decay_rates={"b1": b1, "b2": b2}, positive={"eps": eps, "clip_threshold": clip_threshold})
    check(non_negative={"gamma": gamma})
    check_whole(update_interval=(update_interval, 1))
    b1, b2, eps, gamma, limit = trees.hyper(b1, b2, eps, gamma, clip_threshold)

    def init(params):
        mu, nu = trees.zeros_like(params, mu_dtype), trees.zeros_like(params)
        return SophiaState(jnp.zeros([], jnp.int32), mu, nu, estimate.init(params))

    def update(updates, state, params=None, **extra_args) -> Any:
        require_state(state, SophiaState, "Sophia's direction")
        stages.require_params(params, "sophia")
        functions = extra_args if isinstance(estimate, GradientTransformationExtraArgs) else {}
        measured = partial(measure, estimate, b2, updates, state, params, functions)
        due = state.count % update_interval == 0
        nu, memory = jax.lax.cond(due, measured, lambda: (state.nu, state.hessian_fn_state))
        mu, count = moments.update_moment(updates, state.mu, b1, 1), trees.increment(state.count)
        mu_hat = moments.correct_bias(mu, b1, count) if bias_correction else mu
        below = nu if hessian_first else state.nu
        steps = trees.map_updates(partial(_divided, gamma, eps, limit), updates, mu_hat, below)
        if report_interval is not None and limit is not None:
            _report(steps, limit, count, report_interval)
        return steps, SophiaState(count, trees.cast_like(mu, state.mu), nu, memory)

    return GradientTransformationExtraArgs(init, update)


def _divided(gamma, eps, limit, g, m, h):
    if jnp.iscomplexobj(m):
        parts = (m.real, h.real), (m.imag, h.imag)
        return jax.lax.complex(*(_divided(gamma, eps, limit, g, *part) for part in parts))
    u = m / jnp.maximum(trees.times(gamma, h), eps).astype(m.dtype)
    return u if limit is None else jnp.clip(u, -1 * limit, limit).astype(m.dtype)


def _report(steps, limit, count, interval):
    leaves = jax.tree.leaves(steps)
    inside = sum(jnp.sum(jnp.abs(u) < limit) for u in leaves) / sum(u.size for u in leaves)
    jax.lax.cond(
        count % interval == 0, lambda: jax.debug.print("Sophia: {} of the entries unclipped", inside), lambda: None
    )
