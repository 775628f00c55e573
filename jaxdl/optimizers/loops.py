"""The demands that an optimizer may make of the loop that runs it, and functions with which a loop meets them.

Most optimizers need the gradient at the parameters and are evaluated at them. Some need more:

* another gradient point: Nesterov's method as published, or the fast weights of lookahead;
* other parameters for evaluation: the averages of `polyak_average` and `tail_average`, schedule-free's x, the slow
  weights of lookahead, or the weights before SAM's adversarial step;
* the function itself, as extra arguments of ``update``: L-BFGS, Newton, Gauss-Newton, and SAM in opaque mode.

The first two are functions of the optimizer's state and the parameters alone. States are found through ``chain``,
``masked``, ``partition``, ``inject_hyperparams`` and ``accumulate``, in jaxdl and optax alike. Every loop of this
library serves all of these optimizers, as follows:

    params = optimizers.start_params(optimizer, params)
    state = optimizer.init(params)
    for batch in batches:
        point = optimizers.gradient_point(state, params)
        value, grads = jax.value_and_grad(loss)(point, batch)  # conjugated where parameters are complex
        value_fn = lambda params: loss(params, batch)
        updates, state = optimizers.update(optimizer, grads, state, params, value=value, value_fn=value_fn)
        params = optimizers.apply_updates(params, updates)
    evaluate(optimizers.eval_params(state, params))
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from optax import GradientTransformation

from jaxdl import paths
from jaxdl.optimizers.demands import JUDGED, asking, check_disjoint, found_in, judged_nodes, map_own
from jaxdl.optimizers.states import (
    DifferentiallyPrivateAggregateState,
    LookaheadParams,
    LookaheadState,
    MaskedNode,
    MaskedState,
    MultiStepsState,
    NesterovState,
    ReduceLROnPlateauState,
    SAMState,
    ScheduleFreeState,
)
from jaxdl.optimizers.trees import is_array
from jaxdl.optimizers.wrapping import lookahead_params

_AROUND_LOOKAHEAD = {
    MaskedState: "masked or partition",
    SAMState: "SAM",
    ScheduleFreeState: "schedule-free",
    MultiStepsState: "accumulate or MultiSteps",
}

_FUNCTIONS = ("value_fn", "obj_fn", "grad_fn", "model_fn")  # these are functions of all parameters
_PART = (
    "optimizer: optax.masked or optax.partition hides parameters from an optimizer that needs the loss, which is a "
    "function of all of them; jaxdl.optimizers.masked and jaxdl.optimizers.partition hold the hidden ones fixed"
)


def start_params(optimizer: GradientTransformation, params: Any) -> Any:
    """Return the parameters in the form in which a loop carries them for this optimizer.

    This is `lookahead_params` of them for lookahead, and the parameters themselves for all other optimizers.

    Args:
        optimizer: any transformation.
        params: the network's parameters.

    Raises:
        ValueError: lookahead is inside a mask or a partition, whose other parameters have no slow weights; it is inside
            SAM, schedule-free or gradient accumulation, which belong inside lookahead; or the state asks for something
            that `gradient_point` and `eval_params` refuse; or the optimizer is no transformation.
    """
    check_transformation(optimizer)
    state = _abstract_state(optimizer, params)
    for outer, name in _AROUND_LOOKAHEAD.items():
        if any(found_in(tuple(node), LookaheadState) for node in found_in(state, outer)):
            raise ValueError(f"optimizer: lookahead stands within {name}; put it around them")
    if not isinstance(params, LookaheadParams) and found_in(state, LookaheadState):
        params = lookahead_params(params)
        state = _abstract_state(optimizer, params)
    judged_nodes(state, params)
    return params


def check_transformation(optimizer: Any) -> None:
    """Raise ValueError for what is no optimizer, such as ``adam`` in place of ``adam(1e-3)``."""
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        got = getattr(optimizer, "__name__", type(optimizer).__name__)
        raise ValueError(f"optimizer: got {got}, allowed are optax transformations, as from optimizers.adam(1e-3)")


def _abstract_state(optimizer: GradientTransformation, params: Any) -> Any:
    """Return the shapes and dtypes of the initial state; static leaves of a module, such as functions, are skipped."""
    leaves, structure = jax.tree.flatten(params)
    arrays = {i: leaf for i, leaf in enumerate(leaves) if is_array(leaf)}

    def init(arrays):
        return optimizer.init(jax.tree.unflatten(structure, [arrays.get(i, leaf) for i, leaf in enumerate(leaves)]))

    return jax.eval_shape(init, arrays)


@paths.through_variables
def gradient_point(state: Any, params: Any) -> Any:
    """Return the parameters at which the loop takes the gradient.

    Args:
        state: of the optimizer.
        params: as the loop carries them; see `start_params`.

    Returns:
        A tree like the network's parameters: w + βv for Nesterov's method as published (``nesterov(...,
        convention="paper")``), the fast weights for lookahead, and ``params`` for all others.

    Raises:
        ValueError: the state asks for something undefined: two looks ahead for one parameter, a scheduled momentum
            under ``inject_hyperparams``, or a look ahead inside schedule-free or SAM.

    References: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013,
    https://proceedings.mlr.press/v28/sutskever13.html; Zhang et al., Lookahead Optimizer, 2019,
    https://arxiv.org/abs/1907.08610. [Lecture row E3]
    """
    point = params.fast if isinstance(params, LookaheadParams) else params
    ahead = [node for node in asking(state) if isinstance(node, NesterovState)]
    check_disjoint(ahead, point)
    for node in ahead:
        point = map_own(lambda w, v, node=node: w + jnp.asarray(node.momentum).astype(v.dtype) * v, point, node.trace)
    return point


@paths.through_variables
def eval_params(state: Any, params: Any) -> Any:
    """Return the parameters to evaluate, in the dtypes of ``params``.

    Networks with batch norm need `training.reestimate_batch_norm` for averaged parameters.

    Args:
        state: of the optimizer.
        params: as the loop carries them; see `start_params`.

    Returns:
        A tree like the network's parameters: the average of `polyak_average` or `tail_average`, schedule-free's x,
        lookahead's slow weights, the weights before SAM's adversarial steps, and ``params`` for all others.

    Raises:
        ValueError: the state holds two averages of one parameter, such as one inside lookahead, SAM or schedule-free.

    References: Defazio et al., The Road Less Scheduled, 2024, https://arxiv.org/abs/2405.15682; Foret et al.,
    Sharpness-Aware Minimization, 2021, https://arxiv.org/abs/2010.01412; see `polyak_average` and `lookahead`.
    [Lecture row E12]
    """
    judged = judged_nodes(state, params)
    params = params.slow if isinstance(params, LookaheadParams) else params
    for node in judged:
        params = JUDGED[type(node)](node, params)
    return params


def update(optimizer: GradientTransformation, grads: Any, state: Any, params: Any, **offered: Any) -> tuple[Any, Any]:
    """Call ``optimizer.update`` with the offered arguments that it accepts.

    The names are optax's: ``value``, the loss at the gradient point; ``value_fn(params)`` and ``grad_fn(params, i)``,
    loss and gradient at any parameters on the same batch; ``model_fn(params)`` and ``loss_fn(outputs)``, the two halves
    of ``value_fn``. A loop offers those that it has. Derived from them are ``grad``, the gradients, and from
    ``value_fn`` its other name ``obj_fn`` and a ``grad_fn``. Under ``accumulate`` and ``optax.MultiSteps`` the
    optimizer steps on the mean gradient of several batches, to which no function of the last batch belongs: a plateau
    schedule then gets the ``value``, and nothing else is offered.

    Args:
        optimizer: any transformation.
        grads: gradients at `gradient_point`.
        state: of the optimizer.
        params: as the loop carries them.
        **offered: arrays, trees and functions; arguments that are None count as not offered.

    Returns:
        ``(updates, state)``.

    Raises:
        ValueError: the optimizer does not run on the offered arguments, which the message lists; or a mask of optax
            hides parameters from an optimizer that needs the loss; or an update has another shape than its parameter,
            to which adding would broadcast it.
    """
    offered = {name: argument for name, argument in offered.items() if argument is not None}
    if found_in(state, MultiStepsState):
        value = offered.get("value") if found_in(state, ReduceLROnPlateauState) else None
        offered = {} if value is None else {"value": value}
    elif "value_fn" in offered:
        offered = _with_value_fn(**offered)
    offered = {name: _of_whole(x) if name in _FUNCTIONS else x for name, x in offered.items()}
    if found_in(state, DifferentiallyPrivateAggregateState):
        raise ValueError("optimizer: differentially private descent needs one gradient per example, not their mean")
    extra = {"grad": grads, **offered}
    if found_in(state, SAMState):  # SAM accepts only grad_fn, while wrappers around it pass everything on
        extra = {name: argument for name, argument in extra.items() if name == "grad_fn"}
    try:
        updates, state = optimizer.update(grads, state, params, **taken(optimizer.update, extra))
    except jax.errors.ConcretizationTypeError as error:
        why = "takes an array for a Python value, as `if rate:` does; jnp.where and a number of Python's own do not"
        raise ValueError(f"optimizer: its update {why}: {error}") from error
    except (TypeError, ValueError) as error:
        if str(error) == _PART or MaskedNode.__name__ in str(error):  # optax's line searches fail on the trees first
            raise ValueError(_PART) from error
        among = ", ".join(["grads", "state", "params", *offered])
        raise ValueError(f"optimizer: its update does not run on what this loop offers ({among}): {error}") from error
    _check_shapes(updates, params)
    return updates, state


def _check_shapes(updates: Any, params: Any) -> None:
    """Refuse updates of other shapes than their parameters', which adding broadcasts in silence."""
    if jax.tree.structure(updates) != jax.tree.structure(params):
        return
    for (path, new), old in zip(paths.of_leaves(updates), jax.tree.leaves(params), strict=True):
        if is_array(old) and jnp.shape(new) != jnp.shape(old):
            raise ValueError(
                f"optimizer: its update of {paths.slashed(path)} has the shape {jnp.shape(new)}, allowed is that of "
                f"the parameter, {jnp.shape(old)}"
            )


def settled(optimizer: GradientTransformation, gradient: Any, params: Any, **offered: Any) -> Any:
    """Return the initial state in the dtypes that a step returns, which `jax.lax.scan` must preserve.

    See `update` for the arguments that may be offered.

    Raises:
        ValueError: the state that ``update`` returns is another tree than that of ``init``, or has other shapes.
    """
    state = optimizer.init(params)
    after = jax.eval_shape(lambda s: update(optimizer, gradient, s, params, **offered)[1], state)
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (state, after)]
    if jax.tree.structure(state) != jax.tree.structure(after) or shapes[0] != shapes[1]:
        before, new = (f"{jax.tree.map(jax.typeof, tree)!r:.200}" for tree in (state, after))
        raise ValueError(
            f"optimizer: its update must return a state like that of its init, which is {before}; it returns {new}"
        )
    return jax.tree.map(lambda s, t: jnp.asarray(s, t.dtype), state, after)


def descending(grads: Any) -> Any:
    """Conjugate the gradients of `jax.grad` where they are complex, as optax expects, so that descent subtracts them.

    Args:
        grads: of a real loss with respect to real and complex parameters.
    """
    return jax.tree.map(jnp.conj, grads)


def _with_value_fn(value_fn: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Add the arguments that follow from ``value_fn`` to the offered ones.

    optax's line searches require a ``value_fn`` with a parameter for every extra argument unknown to them.
    """
    own = taken(value_fn, offered)

    def value_of(params, **others):
        del others
        return value_fn(params, **own)

    offered = {"obj_fn": value_of, "grad_fn": lambda params, i=None: descending(jax.grad(value_of)(params)), **offered}
    parameters = [inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in offered]
    value_of.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return {**offered, "value_fn": value_of}


def _of_whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse trees in which a mask hides parameters that the function needs."""

    @functools.wraps(function)  # keeps the signature, which optax's line searches inspect
    def of_whole(params, *args, **kwargs):
        if found_in(params, MaskedNode):
            raise ValueError(_PART)
        return function(params, *args, **kwargs)

    return of_whole


def taken(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Keep the arguments that a function accepts."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return offered
    return {name: value for name, value in offered.items() if name in parameters}
