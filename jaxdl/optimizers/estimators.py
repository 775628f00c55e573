"""Random estimates of the Hessian's diagonal, as transformations that hold the key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
from optax import GradientTransformationExtraArgs

from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.contracts import require_state
from jaxdl.optimizers.curvature import hessian_product
from jaxdl.optimizers.states import HutchinsonState


def estimator(name: str, key: Any = None) -> GradientTransformationExtraArgs:
    """Return a transformation whose update is an estimate of the Hessian's diagonal at the parameters.

    Args:
        name: "hutchinson" or "gauss_newton_bartlett"; see ``sophia``.
        key: a random key; None is ``jax.random.PRNGKey(0)``, as in optax.

    Raises:
        ValueError: there is no such estimate; at update, the function that it needs or ``params`` is missing.
    """
    if name not in ESTIMATES:
        raise ValueError(f"hessian_diagonal_fn is {name!r}: it must be one of {', '.join(ESTIMATES)}")

    def init(params):
        del params
        return HutchinsonState(key=jax.random.PRNGKey(0) if key is None else trees.copied(key))

    def update(updates, state, params=None, *, value_fn=None, obj_fn=None, model_fn=None, **others):
        del others
        require_state(state, HutchinsonState, "an estimate of the Hessian")
        stages.require_params(params, "sophia")
        key, own = jax.random.split(state.key)
        flat = trees.flatten(updates, params)
        value_fn = obj_fn if value_fn is None else value_fn
        return flat.step(ESTIMATES[name](own, flat, value_fn, model_fn)), HutchinsonState(key=key)

    return GradientTransformationExtraArgs(init, update)


def measure(estimate: Any, b2, updates, state: Any, params, functions: dict[str, Any]):
    """Return the average of the Hessian's diagonal and the estimate's state, after a new estimate."""
    diagonal, after = estimate.update(updates, state.hessian_fn_state, params, **functions)
    nu = trees.cast_like(moments.update_moment(diagonal, state.nu, b2, 1), state.nu)
    return nu, trees.keep_dtypes(after, state.hessian_fn_state)


def _hutchinson(key, flat: trees.Flat, value_fn: Callable[..., Any] | None, model_fn) -> jax.Array:
    """Return z⊙Hz for random signs z, of which every array has a key of its own, as in optax."""
    del model_fn
    if value_fn is None:
        raise ValueError("value_fn is None: sophia needs update(updates, state, params, value_fn=...), the loss")
    arrays = jax.tree.leaves(flat.step(flat.params))
    keys = jax.random.split(key, len(arrays))
    drawn = [jax.random.rademacher(k, _real_shape(x), jnp.float32).ravel() for k, x in zip(keys, arrays, strict=True)]
    signs = jnp.concatenate(drawn).astype(flat.params.dtype)
    return signs * hessian_product(lambda v: value_fn(flat.point(v)), flat.params, signs)


def _real_shape(x):
    return (2, *x.shape) if jnp.iscomplexobj(x) else x.shape


def _gauss_newton_bartlett(key, flat: trees.Flat, value_fn, model_fn: Callable[..., Any] | None) -> jax.Array:
    """Return n·ĝ², where ĝ is the gradient of the mean cross entropy for n labels drawn from the model itself."""
    del value_fn
    if model_fn is None:
        raise ValueError(
            "model_fn is None: gauss_newton_bartlett needs update(..., params, model_fn=...), params → logits"
        )

    def negative_log_likelihood(v):
        logits = model_fn(flat.point(v))
        labels = jax.random.categorical(key, jax.lax.stop_gradient(logits))
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
        return -jnp.mean(chosen), labels.size

    gradient, examples = jax.grad(negative_log_likelihood, has_aux=True)(flat.params)
    return examples * gradient**2


ESTIMATES: Final = {"hutchinson": _hutchinson, "gauss_newton_bartlett": _gauss_newton_bartlett}
