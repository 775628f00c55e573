"""Products with the Hessian, Gauss-Newton and Fisher matrices, which are never formed, and the Hessian's diagonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxdl import compat, numerics
from jaxdl.optimizers import trees
from jaxdl.optimizers.checks import check_static, check_whole

ValueFn = Callable[[Any], Array]


def hessian_product(value_fn: ValueFn, params: Any, vector: Any) -> Any:
    """Return H·v, the derivative of jax.grad's gradient along v, at the cost of about two gradients.

    Args:
        value_fn: params → scalar.
        params: the point of H.
        vector: v, a tree like ``params``.

    Reference: Pearlmutter, Fast Exact Multiplication by the Hessian, 1994.

    Examples:
        >>> optimizers.hessian_product(lambda w: jnp.sum(w**3), jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))
        Array([6., 0.], dtype=float32)

    [Lecture row E8]
    """
    return jax.jvp(jax.grad(value_fn), (params,), (compat.varying_like(vector, params),))[1]


def gauss_newton_product(model_fn: Callable[[Any], Any], loss_fn: ValueFn, params: Any, vector: Any) -> Any:
    """Return G·v = JᵀH_L J·v, where J is the model's Jacobian and H_L the loss's Hessian in the outputs.

    G is positive semidefinite for a convex loss. For softmax cross entropy and squared error it equals the Fisher
    matrix, so that a Gauss-Newton step is a natural-gradient step.

    Args:
        model_fn: params → outputs.
        loss_fn: outputs → scalar.
        params: the point of G.
        vector: v, a tree like ``params``.

    Reference: Martens, New Insights and Perspectives on the Natural Gradient Method, 2020,
    https://arxiv.org/abs/1412.1193. [Lecture row E8]
    """
    outputs, pushforward = jax.linearize(model_fn, params)
    pullback = jax.linear_transpose(pushforward, params)
    return pullback(hessian_product(loss_fn, outputs, pushforward(vector)))[0]


def fisher_product(
    model_fn: Callable[[Any], Array], params: Any, vector: Any, distribution: str = "categorical"
) -> Any:
    """Return F·v, where F is the Fisher matrix of the model's own predictions, averaged over examples.

    F is the mean over x of E[∇log p(y|x) ∇log p(y|x)ᵀ] with y drawn from the model. Drawing y from the data would give
    the "empirical" Fisher, another matrix. F = JᵀF_z J, where the Fisher matrix F_z in the outputs has a closed form.

    Args:
        model_fn: params → outputs of shape (n, ...).
        params: the point of F.
        vector: v, a tree like ``params``.
        distribution: the distribution that the outputs parametrize: "categorical" for logits over the last axis,
            "bernoulli" for one logit each, or "gaussian" for the mean of a normal distribution of variance 1 each.

    Raises:
        ValueError: there is no such distribution.

    References: Amari, Natural Gradient Works Efficiently in Learning, 1998; Martens, 2020, see
    ``gauss_newton_product``, which this equals for these distributions' own losses. [Lecture row E8]
    """
    check_distribution(distribution)
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


def check_distribution(distribution: str) -> None:
    """Raise a ``ValueError`` unless ``fisher_product`` knows the distribution."""
    if distribution not in _OUTPUT_FISHER:
        raise ValueError(f"distribution is {distribution!r}: it must be one of {', '.join(_OUTPUT_FISHER)}")


def hutchinson_diagonal(key: Key[Array, ""], value_fn: ValueFn, params: Any, samples: Any = 1) -> Any:
    """Estimate the Hessian's diagonal by the mean of z⊙Hz over random signs z, which is exact if H is diagonal.

    Args:
        key: a random key.
        value_fn: params → scalar.
        params: the point of H.
        samples: number of sign vectors, a whole number of at least 1.

    Returns:
        A tree like ``params``. For a complex leaf, the diagonal of the real part plus i times that of the imaginary
        part.

    Raises:
        ValueError: ``samples`` is below 1 or not a whole number.

    Reference: Bekas, Kokiopoulou and Saad, An estimator for the diagonal of a matrix, 2007,
    https://doi.org/10.1016/j.apnum.2007.01.003. [Lecture row E8]
    """
    numerics.check_key(key)
    check_static(samples=samples)
    check_whole(samples=(samples, 1))
    flat = trees.flatten(params, params)

    def one(key):
        signs = jax.random.rademacher(key, flat.params.shape, flat.params.dtype)
        return signs * hessian_product(lambda v: value_fn(flat.point(v)), flat.params, signs)

    return flat.step(jax.lax.map(one, jax.random.split(key, int(samples))).mean(0))
