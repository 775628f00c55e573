"""Steps from curvature: Newton, Newton-CG, damped Gauss-Newton and natural gradient. [Lecture row E8]

These transformations need the loss itself: ``update(grads, state, params, value_fn=...)`` with
``value_fn(params) -> scalar`` (Gauss-Newton: ``model_fn(params) -> outputs`` and ``loss_fn(outputs) -> scalar``;
natural gradient: ``model_fn``). They run inside any wrapper that passes extra arguments on: ``chain``,
``optax.apply_if_finite``, and jaxdl's ``masked`` and ``partition``, which hold the other parameters fixed. They do not
run inside a flax TrainState.

A complex parameter counts as the pair of its real and imaginary parts, and its gradient is the conjugate of jax.grad's,
so that descent subtracts it, as everywhere in optax. The arithmetic is in float32 or wider.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array
from optax import GradientTransformationExtraArgs

from jaxdl import compat
from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.checks import check, check_whole
from jaxdl.optimizers.contracts import require_state
from jaxdl.optimizers.curvature import check_distribution, fisher_product, gauss_newton_product, hessian_product
from jaxdl.optimizers.lbfgs import backtrack
from jaxdl.optimizers.states import EmptyState
from jaxdl.words import own_words


@own_words
def newton(learning_rate: ArrayLike = 1.0, damping: ArrayLike = 0.0) -> GradientTransformationExtraArgs:
    """Newton's method with the full Hessian: w ← w − α(H + λI)⁻¹g.

    It converges to the nearest stationary point, even a saddle; with a damping above −λ_min it descends. Memory is
    quadratic in the number of parameters.

    Args:
        learning_rate: α, at least 0.
        damping: λ, at least 0.

    Raises:
        ValueError: a number is out of range or a schedule; at update, ``params`` or ``value_fn`` is missing.

    [Lecture row E8 (ENEE4584)]
    """
    _check_numbers(learning_rate, damping)

    def direction(flat, value_fn):
        hessian = jax.hessian(lambda v: value_fn(flat.point(v)))(flat.params)
        shift = jnp.asarray(damping, flat.params.dtype)
        return jnp.linalg.solve(hessian + shift * jnp.eye(flat.params.size, dtype=flat.params.dtype), flat.grads)

    return _transformation("newton", learning_rate, ("value_fn",), direction)


@own_words
def newton_cg(
    learning_rate: ArrayLike = 1.0,
    damping: ArrayLike = 0.0,
    max_steps: ArrayLike = 20,
    tolerance: ArrayLike = 1e-5,
    *,
    max_halvings: ArrayLike = 20,
    armijo: ArrayLike = 1e-4,
) -> GradientTransformationExtraArgs:
    """Newton's method by conjugate gradients on Hessian products, stopped at negative curvature.

    The step d is halved until the loss falls enough, f(w + d) ≤ f(w) + c·gᵀd, so no step ascends on its own batch. If
    no halving is enough, the parameters stay.

    Args:
        learning_rate: α, at least 0.
        damping: λ added to the curvature, at least 0.
        max_steps: conjugate-gradient steps of one Hessian product each, a whole number of at least 1.
        tolerance: stop once the residual has fallen to this fraction of the gradient's norm, at least 0.
        max_halvings: maximum number of halvings, a whole number of at least 0; each costs one evaluation of the loss.
        armijo: c, in [0, 1).

    Raises:
        ValueError: a number is out of range or a schedule; at update, ``params`` or ``value_fn`` is missing.

    Reference: Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.1. [Lecture row E8]
    """
    _check_cg(learning_rate, damping, max_steps, tolerance)
    check_whole(max_halvings=(max_halvings, 0))
    check(decay_rates={"armijo": armijo})

    def direction(flat, value_fn):
        def value_at(w):
            return value_fn(flat.point(w)).astype(flat.params.dtype)

        def product(v):
            return hessian_product(value_at, flat.params, v)

        d = -jnp.asarray(learning_rate, flat.params.dtype) * _solve(product, flat.grads, damping, max_steps, tolerance)
        slope = flat.grads @ d
        share = backtrack(value_at, flat.params, d, value_at(flat.params), slope, max_halvings, trees.hyper(armijo))
        return -share * d

    return _transformation("newton_cg", 1.0, ("value_fn",), direction)


class GaussNewtonState(NamedTuple):
    """State of ``gauss_newton`` with adaptive damping."""

    damping: Array  # (), float32: λ of the next step


@own_words
def gauss_newton(
    learning_rate: ArrayLike = 1.0,
    damping: ArrayLike = 0.1,
    max_steps: ArrayLike = 20,
    tolerance: ArrayLike = 1e-5,
    *,
    adaptive: bool = True,
) -> GradientTransformationExtraArgs:
    """Damped Gauss-Newton by conjugate gradients: w ← w − α(JᵀH_L J + λI)⁻¹g, with Levenberg-Marquardt damping.

    Each step is tried: if the loss does not fall, the parameters stay and λ is quadrupled, so no step ascends on its
    own batch. λ is halved after a step that achieves more than ¾ of the predicted decrease, and doubled after one that
    achieves less than ¼. A trial costs two evaluations of the loss and one more product.

    On small batches λ follows the noise. There, use ``adaptive=False`` and the smallest stable λ, 0.1 to 1 for a mean
    loss of classes. A constant λ of 1e-3 lets a 64-32-10 net on scikit-learn's digits diverge within 20 steps.

    Args:
        learning_rate: α, at least 0.
        damping: λ of the first step, at least 0; above 0 if ``adaptive`` is set.
        max_steps: see ``newton_cg``.
        tolerance: see ``newton_cg``.
        adaptive: adapt λ and store it in the state; False keeps λ and takes every step, whatever the loss.

    Raises:
        ValueError: a number is out of range or a schedule; at update, ``params``, ``model_fn`` or ``loss_fn`` is
            missing.

    See ``gauss_newton_product``.
    References: Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters, 1963,
    https://doi.org/10.1137/0111030; Martens, Deep learning via Hessian-free optimization, 2010. [Lecture row E8]
    """
    _check_cg(learning_rate, damping, max_steps, tolerance)
    if adaptive:
        check(positive={"damping": damping})

    def products(flat, model_fn, loss_fn):
        return lambda v: gauss_newton_product(lambda w: model_fn(flat.point(w)), loss_fn, flat.params, v)

    def direction(flat, model_fn, loss_fn):
        return _solve(products(flat, model_fn, loss_fn), flat.grads, damping, max_steps, tolerance)

    if not adaptive:
        return _transformation("gauss_newton", learning_rate, ("model_fn", "loss_fn"), direction)

    def update(updates, state, params=None, **extra_args):
        model_fn, loss_fn = _needed("gauss_newton", params, ("model_fn", "loss_fn"), extra_args)
        require_state(state, GaussNewtonState, "gauss_newton")
        flat = trees.flatten(updates, params)
        product = products(flat, model_fn, loss_fn)
        solution = _solve(product, flat.grads, state.damping, max_steps, tolerance)
        step = -jnp.asarray(learning_rate, flat.params.dtype) * solution

        def loss(w):
            return loss_fn(model_fn(flat.point(w))).astype(flat.params.dtype)

        fall = loss(flat.params) - loss(flat.params + step)
        predicted = -(flat.grads @ step) - 0.5 * (step @ product(step))
        state = GaussNewtonState(_adapted(state.damping, fall, predicted))
        return flat.step(jnp.where(fall > 0, step, jnp.zeros_like(step))), state

    init = lambda params: GaussNewtonState(compat.varying_like(jnp.array(damping, jnp.float32), params))
    return GradientTransformationExtraArgs(init, update)


def _adapted(damping, fall, predicted):
    """Quadruple λ if the loss did not fall; else double it after a poor prediction and halve it after a good one."""
    factor = jnp.where(fall > 0.75 * predicted, 0.5, jnp.where(fall < 0.25 * predicted, 2.0, 1.0))
    return damping * jnp.where(fall > 0, factor, 4.0).astype(damping.dtype)


@own_words
def natural_gradient(
    learning_rate: ArrayLike = 1.0,
    damping: ArrayLike = 0.1,
    max_steps: ArrayLike = 20,
    tolerance: ArrayLike = 1e-5,
    *,
    distribution: str = "categorical",
) -> GradientTransformationExtraArgs:
    """Natural gradient by conjugate gradients on the Fisher matrix: w ← w − α(F + λI)⁻¹g.

    Without damping, the step is independent of the model's parametrization to first order in α. Nothing restrains a
    step that raises the loss, so a small λ diverges far from the optimum: a 64-32-10 net on scikit-learn's digits
    diverges within 20 steps at λ = 1e-3 but not at 0.1. ``gauss_newton`` uses the same matrix for these losses and
    adapts λ.

    Args:
        learning_rate: α, at least 0.
        damping: λ, at least 0.
        max_steps: see ``newton_cg``.
        tolerance: see ``newton_cg``.
        distribution: the distribution that the model's outputs parametrize: "categorical", "bernoulli" or "gaussian".

    Raises:
        ValueError: a number or name is out of range, or a number is a schedule; at update, ``params`` or ``model_fn``
            is missing.

    See ``fisher_product``. [Lecture row E8]
    """
    _check_cg(learning_rate, damping, max_steps, tolerance)
    check_distribution(distribution)

    def direction(flat, model_fn):
        def product(v):
            return fisher_product(lambda w: model_fn(flat.point(w)), flat.params, v, distribution)

        return _solve(product, flat.grads, damping, max_steps, tolerance)

    return _transformation("natural_gradient", learning_rate, ("model_fn",), direction)


def _needed(name, params, needed, extra_args):
    """Return the extra arguments that a method requires; the parameters are required too."""
    stages.require_params(params, name)
    for argument in needed:
        if extra_args.get(argument) is None:
            raise ValueError(f"{argument} is None: {name} needs update(grads, state, params, {argument}=...)")
    return [extra_args[argument] for argument in needed]


def _transformation(name, learning_rate, needed, direction):
    def update(updates, state, params=None, **extra_args):
        arguments = _needed(name, params, needed, extra_args)
        require_state(state, EmptyState, name)
        flat = trees.flatten(updates, params)
        step = direction(flat, *arguments)
        return flat.step(-1 * jnp.asarray(learning_rate, step.dtype) * step), state

    return GradientTransformationExtraArgs(lambda params: EmptyState(), update)


def _check_cg(learning_rate, damping, max_steps, tolerance):
    _check_numbers(learning_rate, damping)
    check(non_negative={"tolerance": tolerance})
    check_whole(max_steps=(max_steps, 1))


def _check_numbers(learning_rate, damping):
    for name, value in (("learning_rate", learning_rate), ("damping", damping)):
        if callable(value):  # these methods keep no count of steps
            raise ValueError(f"{name} is a schedule: second-order methods take a number")
    check(non_negative={"learning_rate": learning_rate, "damping": damping})


def _solve(product, g, damping, max_steps, tolerance):
    """Solve (A + λI)x = g by conjugate gradients from x = 0; negative curvature in the first step returns g."""
    shift, share = jnp.asarray(damping, g.dtype), jnp.asarray(tolerance, g.dtype)
    limit = share**2 * (g @ g)

    def proceed(carry):
        _, r, _, i, curved_up = carry
        return (i < max_steps) & curved_up & (r @ r > limit)

    def step(carry):
        x, r, p, i, _ = carry
        ap = product(p) + shift * p
        curvature = p @ ap
        up = curvature > 0
        size = (r @ r) / jnp.where(up, curvature, 1.0)
        new_x = jnp.where(up, x + size * p, jnp.where(i == 0, g, x))
        new_r = r - size * ap
        new_p = new_r + (new_r @ new_r) / (r @ r) * p
        return new_x, new_r, new_p, i + 1, up

    start = compat.varying_like((jnp.zeros_like(g), g, g, jnp.int32(0), jnp.bool_(True)), g)
    return jax.lax.while_loop(proceed, step, start)[0]
