"""Steps from curvature: Newton, Newton-CG, damped Gauss-Newton, natural gradient, and their products. Row E8.

These transformations need the loss itself: ``update(grads, state, params, value_fn=...)`` with
``value_fn(params) -> scalar`` (Gauss-Newton: ``model_fn(params) -> outputs`` and ``loss_fn(outputs) -> scalar``;
natural gradient: ``model_fn``).
They have no state, and go into ``chain`` and ``optax.apply_if_finite``, which pass extra arguments on. They do not
go into ``masked``, ``partition`` or a flax TrainState: the curvature of a part needs the whole tree.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Key
from optax import GradientTransformationExtraArgs

from jaxdl.optimizers import stages
from jaxdl.optimizers.states import EmptyState

ValueFn = Callable[[Any], Array]


def hessian_product(value_fn: ValueFn, params: Any, vector: Any) -> Any:
    """Return H·v, the derivative of the gradient along v, at the cost of about two gradients.

    Args:
        value_fn: params → scalar.
        params: where H is taken.
        vector: v, a tree like ``params``.

    Reference: Pearlmutter, Fast Exact Multiplication by the Hessian, 1994. Lecture row E8.
    """
    return jax.jvp(jax.grad(value_fn), (params,), (vector,))[1]


def gauss_newton_product(model_fn: Callable[[Any], Any], loss_fn: ValueFn, params: Any, vector: Any) -> Any:
    """Return G·v = JᵀH_L J·v, J the model's Jacobian and H_L the loss's Hessian in the outputs.

    G is positive semidefinite for a convex loss. For softmax cross entropy and for squared error it is the
    Fisher matrix too, so that a Gauss-Newton step is a natural-gradient step.

    Args:
        model_fn: params → outputs.
        loss_fn: outputs → scalar.
        params: where G is taken.
        vector: v, a tree like ``params``.

    Reference: Martens, New Insights and Perspectives on the Natural Gradient Method, 2020,
    https://arxiv.org/abs/1412.1193. Lecture row E8.
    """
    outputs, pushforward = jax.linearize(model_fn, params)
    pullback = jax.linear_transpose(pushforward, params)
    return pullback(hessian_product(loss_fn, outputs, pushforward(vector)))[0]


def fisher_product(
    model_fn: Callable[[Any], Array], params: Any, vector: Any, distribution: str = "categorical"
) -> Any:
    """Return F·v, F the Fisher matrix of the model's own predictions, in the mean over examples.

    F = mean over x of E[∇log p(y|x) ∇log p(y|x)ᵀ], y drawn from the model, not from the data (which would be the
    "empirical" Fisher, another matrix). It is JᵀF_z J with F_z the Fisher matrix in the outputs, known in closed form.

    Args:
        model_fn: params → outputs of shape (n, ...).
        params: where F is taken.
        vector: v, a tree like ``params``.
        distribution: what the outputs parametrise: the logits of a "categorical" distribution over the last axis, a
            "bernoulli" logit each, or the mean of a "gaussian" of variance 1 each.

    Raises:
        ValueError: there is no such distribution.

    Reference: Amari, Natural Gradient Works Efficiently in Learning, 1998, and Martens, 2020; see
    ``gauss_newton_product``, which it equals for these distributions' own losses. Lecture row E8.
    """
    _check_distribution(distribution)
    outputs, pushforward = jax.linearize(model_fn, params)
    pullback = jax.linear_transpose(pushforward, params)
    examples = outputs.size // outputs.shape[-1] if distribution == "categorical" else outputs.shape[0]
    return pullback(_OUTPUT_FISHER[distribution](outputs, pushforward(vector)) / examples)[0]


def _categorical_fisher(logits, tangent):
    p = jax.nn.softmax(logits)
    return p * (tangent - jnp.sum(p * tangent, axis=-1, keepdims=True))


def _bernoulli_fisher(logits, tangent):
    return jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits) * tangent


_OUTPUT_FISHER = {
    "categorical": _categorical_fisher,
    "bernoulli": _bernoulli_fisher,
    "gaussian": lambda mean, tangent: tangent,
}


def _check_distribution(distribution):
    if distribution not in _OUTPUT_FISHER:
        raise ValueError(f"distribution is {distribution!r}: it must be one of {', '.join(_OUTPUT_FISHER)}")


def hutchinson_diagonal(key: Key[Array, ""], value_fn: ValueFn, params: Any, samples: int = 1) -> Any:
    """Estimate the Hessian's diagonal as the mean of z⊙Hz over random signs z; exact if H is diagonal.

    Args:
        key: a random key.
        value_fn: params → scalar.
        params: where H is taken.
        samples: number of sign vectors, at least 1.

    Raises:
        ValueError: ``samples`` is below 1.

    Reference: Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a matrix, 2007,
    https://doi.org/10.1016/j.apnum.2007.01.003. Lecture row E8.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}: it must be at least 1")
    flat, unravel = ravel_pytree(params)

    def one(key):
        signs = jax.random.rademacher(key, flat.shape, flat.dtype)
        product = hessian_product(value_fn, params, unravel(signs))
        return signs * ravel_pytree(product)[0]

    return unravel(jax.lax.map(one, jax.random.split(key, samples)).mean(0))


def newton(learning_rate: ArrayLike = 1.0, damping: ArrayLike = 0.0) -> GradientTransformationExtraArgs:
    """Newton's method with the full Hessian: w ← w − α(H + λI)⁻¹g.

    It goes to the nearest stationary point, a saddle included; a damping above −λ_min makes it descend.
    Memory is quadratic in the number of parameters.

    Args:
        learning_rate: α, above 0.
        damping: λ, at least 0.

    Raises:
        ValueError: a number is out of range; at update, ``params`` or ``value_fn`` is missing.

    Lecture row E8 (ENEE4584).
    """
    stages.check(positive={"learning_rate": learning_rate}, non_negative={"damping": damping})

    def direction(grads, params, value_fn):
        flat, unravel = ravel_pytree(params)
        hessian = jax.hessian(lambda w: value_fn(unravel(w)))(flat)
        shifted = hessian + damping * jnp.eye(flat.size, dtype=flat.dtype)
        return unravel(jnp.linalg.solve(shifted, ravel_pytree(grads)[0]))

    return _transformation("newton", learning_rate, ("value_fn",), direction)


def newton_cg(
    learning_rate: ArrayLike = 1.0, damping: ArrayLike = 0.0, max_steps: int = 20, tolerance: ArrayLike = 1e-5
) -> GradientTransformationExtraArgs:
    """Newton's method by conjugate gradients on Hessian products, which stop at negative curvature.

    Args:
        learning_rate: α, above 0.
        damping: λ added to the curvature, at least 0.
        max_steps: conjugate-gradient steps, each one Hessian product; at least 1.
        tolerance: stop when the residual has fallen to this fraction of the gradient's norm, at least 0.

    Raises:
        ValueError: a number is out of range; at update, ``params`` or ``value_fn`` is missing.

    Reference: Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.1. Lecture row E8.
    """
    _check_cg(learning_rate, damping, max_steps, tolerance)

    def direction(grads, params, value_fn):
        def product(v):
            return hessian_product(value_fn, params, v)

        return _solve(product, grads, damping, max_steps, tolerance)

    return _transformation("newton_cg", learning_rate, ("value_fn",), direction)


def gauss_newton(
    learning_rate: ArrayLike = 1.0, damping: ArrayLike = 1e-3, max_steps: int = 20, tolerance: ArrayLike = 1e-5
) -> GradientTransformationExtraArgs:
    """Damped Gauss-Newton by conjugate gradients: w ← w − α(JᵀH_L J + λI)⁻¹g.

    Args:
        learning_rate: α, above 0.
        damping: λ, at least 0 (Levenberg-Marquardt).
        max_steps: see ``newton_cg``.
        tolerance: see ``newton_cg``.

    Raises:
        ValueError: a number is out of range; at update, ``params``, ``model_fn`` or ``loss_fn`` is missing.

    See ``gauss_newton_product``. Lecture row E8.
    """
    _check_cg(learning_rate, damping, max_steps, tolerance)

    def direction(grads, params, model_fn, loss_fn):
        def product(v):
            return gauss_newton_product(model_fn, loss_fn, params, v)

        return _solve(product, grads, damping, max_steps, tolerance)

    return _transformation("gauss_newton", learning_rate, ("model_fn", "loss_fn"), direction)


def natural_gradient(
    learning_rate: ArrayLike = 1.0,
    damping: ArrayLike = 1e-3,
    max_steps: int = 20,
    tolerance: ArrayLike = 1e-5,
    *,
    distribution: str = "categorical",
) -> GradientTransformationExtraArgs:
    """Natural gradient by conjugate gradients on the Fisher matrix: w ← w − α(F + λI)⁻¹g.

    Without damping the step does not depend on how the model is parametrised, to first order in α.

    Args:
        learning_rate: α, above 0.
        damping: λ, at least 0.
        max_steps: see ``newton_cg``.
        tolerance: see ``newton_cg``.
        distribution: what the model's outputs parametrise, "categorical", "bernoulli" or "gaussian".

    Raises:
        ValueError: a number or name is out of range; at update, ``params`` or ``model_fn`` is missing.

    See ``fisher_product``. Lecture row E8.
    """
    _check_cg(learning_rate, damping, max_steps, tolerance)
    _check_distribution(distribution)

    def direction(grads, params, model_fn):
        def product(v):
            return fisher_product(model_fn, params, v, distribution)

        return _solve(product, grads, damping, max_steps, tolerance)

    return _transformation("natural_gradient", learning_rate, ("model_fn",), direction)


def _transformation(name, learning_rate, needed, direction):
    def update(updates, state, params=None, **extra_args):
        stages.require_params(params, name)
        for argument in needed:
            if extra_args.get(argument) is None:
                raise ValueError(f"{argument} is None: {name} needs update(grads, state, params, {argument}=...)")
        step = direction(updates, params, **{argument: extra_args[argument] for argument in needed})
        return jax.tree.map(lambda d: -1 * learning_rate * d, step), state

    return GradientTransformationExtraArgs(lambda params: EmptyState(), update)


def _check_cg(learning_rate, damping, max_steps, tolerance):
    stages.check(positive={"learning_rate": learning_rate})
    stages.check(non_negative={"damping": damping, "tolerance": tolerance})
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}: it must be at least 1")


def _solve(product, grads, damping, max_steps, tolerance):
    """Conjugate gradients for (A + λI)x = g from x = 0; negative curvature at once gives g itself."""
    g, unravel = ravel_pytree(grads)
    limit = tolerance**2 * (g @ g)

    def proceed(carry):
        _, r, _, i, curved_up = carry
        return (i < max_steps) & curved_up & (r @ r > limit)

    def step(carry):
        x, r, p, i, _ = carry
        ap = ravel_pytree(product(unravel(p)))[0] + damping * p
        curvature = p @ ap
        up = curvature > 0
        size = (r @ r) / jnp.where(up, curvature, 1.0)
        new_x = jnp.where(up, x + size * p, jnp.where(i == 0, g, x))
        new_r = r - size * ap
        new_p = new_r + (new_r @ new_r) / (r @ r) * p
        return new_x, new_r, new_p, i + 1, up

    start = (jnp.zeros_like(g), g, g, jnp.int32(0), jnp.bool_(True))
    return unravel(jax.lax.while_loop(proceed, step, start)[0])
