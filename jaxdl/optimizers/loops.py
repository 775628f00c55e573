"""What an optimizer may ask of the loop that runs it, and how a loop answers.

Most optimizers take the gradient at the parameters, and their parameters are the ones to evaluate. Some ask for more:

* another gradient point: Nesterov's method as published, the fast weights of lookahead;
* other parameters to evaluate: the averages of `polyak_average` and `tail_average`, schedule-free's x, the slow weights
  of lookahead, the weights before SAM's adversarial step;
* the function itself, as extra arguments of ``update``: L-BFGS, Newton, Gauss-Newton, SAM in opaque mode.

The first two are functions of the optimizer's state and the parameters alone. The states are found through ``chain``,
``masked``, ``partition``, ``inject_hyperparams`` and ``accumulate``, jaxdl's and optax's alike. A loop that serves all
of them, as every loop of this library does:

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

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from optax import GradientTransformation

from jaxdl.optimizers.states import (
    AverageState,
    DifferentiallyPrivateAggregateState,
    InjectStatefulHyperparamsState,
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

_ASKING = (NesterovState, ScheduleFreeState, AverageState, SAMState)
_AROUND_LOOKAHEAD = {
    MaskedState: "masked or partition",
    SAMState: "SAM",
    ScheduleFreeState: "schedule-free",
    MultiStepsState: "accumulate or MultiSteps",
}


def start_params(optimizer: GradientTransformation, params: Any) -> Any:
    """Return the parameters in the form in which a loop carries them for this optimizer.

    That is `lookahead_params` of them for lookahead, and the parameters themselves for all others.

    Args:
        optimizer: any transformation.
        params: the network's parameters.

    Raises:
        ValueError: lookahead stands within a mask or a partition, whose other parameters have no slow weights, or
            within SAM, schedule-free or an accumulation of gradients, which are to stand within it; or the state asks
            for what `gradient_point` and `eval_params` refuse.
    """
    state = _abstract_state(optimizer, params)
    for outer, name in _AROUND_LOOKAHEAD.items():
        if any(_found(tuple(node), LookaheadState) for node in _found(state, outer)):
            raise ValueError(f"optimizer: lookahead stands within {name}; put it around them")
    if not isinstance(params, LookaheadParams) and _found(state, LookaheadState):
        params = lookahead_params(params)
        state = _abstract_state(optimizer, params)
    _judged(state, params)
    return params


def _abstract_state(optimizer: GradientTransformation, params: Any) -> Any:
    """Return the shapes and dtypes of the initial state; a module's static leaves, such as functions, are no arrays."""
    leaves, structure = jax.tree.flatten(params)
    arrays = {i: leaf for i, leaf in enumerate(leaves) if is_array(leaf)}

    def init(arrays):
        return optimizer.init(jax.tree.unflatten(structure, [arrays.get(i, leaf) for i, leaf in enumerate(leaves)]))

    return jax.eval_shape(init, arrays)


def gradient_point(state: Any, params: Any) -> Any:
    """Return the parameters at which the loop takes the gradient.

    Args:
        state: of the optimizer.
        params: as the loop carries them; see `start_params`.

    Returns:
        A tree like the network's parameters: w + βv for Nesterov's method as published (``nesterov(...,
        convention="paper")``), the fast weights for lookahead, and ``params`` for all others.

    Raises:
        ValueError: the state asks for what is not defined: two looks ahead for one parameter, a scheduled momentum
            under ``inject_hyperparams``, or a look ahead within schedule-free or SAM.

    References: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013,
    https://proceedings.mlr.press/v28/sutskever13.html; Zhang et al., Lookahead Optimizer, 2019,
    https://arxiv.org/abs/1907.08610. [Lecture row E3]
    """
    point = params.fast if isinstance(params, LookaheadParams) else params
    ahead = [node for node in _asking(state) if isinstance(node, NesterovState)]
    _check_disjoint(ahead, point)
    for node in ahead:
        point = _map(lambda w, v, node=node: w + jnp.asarray(node.momentum).astype(v.dtype) * v, point, node.trace)
    return point


def eval_params(state: Any, params: Any) -> Any:
    """Return the parameters that the optimizer means to be evaluated, in the dtypes of ``params``.

    Networks with batch norm need `training.reestimate_batch_norm` for averaged parameters.

    Args:
        state: of the optimizer.
        params: as the loop carries them; see `start_params`.

    Returns:
        A tree like the network's parameters: the average of `polyak_average` or `tail_average`, schedule-free's x,
        lookahead's slow weights, the weights before SAM's adversarial steps, and ``params`` for all others.

    Raises:
        ValueError: two averages of one parameter, such as one within lookahead, SAM or schedule-free.

    References: Defazio et al., The Road Less Scheduled, 2024, https://arxiv.org/abs/2405.15682; Foret et al.,
    Sharpness-Aware Minimization, 2021, https://arxiv.org/abs/2010.01412; see `polyak_average` and `lookahead`.
    [Lecture row E12]
    """
    judged = _judged(state, params)
    params = params.slow if isinstance(params, LookaheadParams) else params
    for node in judged:
        params = _JUDGED[type(node)](node, params)
    return params


def _judged(state: Any, params: Any) -> list[Any]:
    """Return the nodes that know which parameters to evaluate, each for the slow weights where there are such."""
    judged = [node for node in _asking(state) if not isinstance(node, NesterovState)]
    if isinstance(params, LookaheadParams) and any(isinstance(_own_tree(node), LookaheadParams) for node in judged):
        judged = [_of_slow(node) for node in judged]  # an average after lookahead is one of its slow weights too
    elif isinstance(params, LookaheadParams) and judged:
        raise ValueError(f"optimizer: its state asks for several things of one parameter (lookahead, {_names(judged)})")
    _check_disjoint(judged, params.slow if isinstance(params, LookaheadParams) else params)
    return judged


def update(optimizer: GradientTransformation, grads: Any, state: Any, params: Any, **offered: Any) -> tuple[Any, Any]:
    """Call ``optimizer.update`` with those of the offered arguments that it takes.

    The names are optax's: ``value``, the loss at the gradient point; ``value_fn(params)`` and ``grad_fn(params, i)``,
    loss and gradient at any parameters on the same batch; ``model_fn(params)`` and ``loss_fn(outputs)``, the two halves
    of ``value_fn``. A loop offers the ones that it has. From them follow ``grad``, the gradients, and from ``value_fn``
    its other name ``obj_fn`` and a ``grad_fn``. Under ``accumulate`` and ``optax.MultiSteps`` the optimizer steps on
    the mean gradient of several batches, to which no function of the last batch belongs: there a plateau schedule gets
    the ``value``, and nothing else is offered.

    Args:
        optimizer: any transformation.
        grads: gradients at `gradient_point`.
        state: of the optimizer.
        params: as the loop carries them.
        **offered: arrays, trees and functions; None is not offered.

    Returns:
        ``(updates, state)``.

    Raises:
        ValueError: the optimizer does not run on what is offered; the message names both.
    """
    offered = {name: argument for name, argument in offered.items() if argument is not None}
    if _found(state, MultiStepsState):
        value = offered.get("value") if _found(state, ReduceLROnPlateauState) else None
        offered = {} if value is None else {"value": value}
    elif "value_fn" in offered:
        offered = _with_value_fn(**offered)
    if _found(state, DifferentiallyPrivateAggregateState):
        raise ValueError("optimizer: differentially private descent needs one gradient per example, not their mean")
    extra = {"grad": grads, **offered}
    if _found(state, SAMState):  # which refuses all but one where an optimizer around it hands on what it gets
        extra = {name: argument for name, argument in extra.items() if name == "grad_fn"}
    try:
        return optimizer.update(grads, state, params, **_taken(optimizer.update, extra))
    except (TypeError, ValueError) as error:
        among = ", ".join(["grads", "state", "params", *offered])
        raise ValueError(f"optimizer: its update does not run on what this loop offers ({among}): {error}") from error


def settled(optimizer: GradientTransformation, gradient: Any, params: Any, **offered: Any) -> Any:
    """Return the initial state in the dtypes that a step returns, which a `jax.lax.scan` must keep.

    See `update` for what may be offered.
    """
    state = optimizer.init(params)
    after = jax.eval_shape(lambda s: update(optimizer, gradient, s, params, **offered)[1], state)
    return jax.tree.map(lambda s, t: jnp.asarray(s, t.dtype), state, after)


def descending(grads: Any) -> Any:
    """Return the gradients of `jax.grad` as optax takes them: conjugated where complex, so that descent subtracts them.

    Args:
        grads: of a real loss with respect to real and complex parameters.
    """
    return jax.tree.map(jnp.conj, grads)


def _with_value_fn(value_fn: Callable[..., Any], **offered: Any) -> dict[str, Any]:
    """Return the offer with what follows from ``value_fn``.

    optax's line searches want a ``value_fn`` with a parameter for every extra argument that they do not know.
    """
    own = _taken(value_fn, offered)

    def value_of(params, **others):
        del others
        return value_fn(params, **own)

    offered = {"obj_fn": value_of, "grad_fn": lambda params, i=None: descending(jax.grad(value_of)(params)), **offered}
    parameters = [inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in offered]
    value_of.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    return {**offered, "value_fn": value_of}


def _taken(function: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Keep the arguments that a function has room for."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return offered
    return {name: value for name, value in offered.items() if name in parameters}


def _found(state: Any, kind: type) -> list[Any]:
    """List the outermost nodes of a class."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in nodes if isinstance(node, kind)]


def _asking(state: Any) -> Iterator[Any]:
    """Yield the nodes that ask for something, with the momentum that the next step will use."""
    stops = (*_ASKING, InjectStatefulHyperparamsState)
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, stops)):
        if isinstance(node, InjectStatefulHyperparamsState):
            yield from (_with_hyperparams(inner, node) for inner in _asking(node.inner_state))
        elif isinstance(node, _ASKING):
            if isinstance(node, ScheduleFreeState | SAMState):
                _check_alone(node)
            if isinstance(node, SAMState) and node.cache is None:  # opaque mode, whose adversarial steps nobody sees
                yield from _asking(node.opt_state)
            else:
                yield node


def _check_alone(node: Any) -> None:
    """Raise a ValueError where what stands within schedule-free or SAM asks for something too."""
    outer = type(node).__name__.removesuffix("State")
    if _found(tuple(node), NesterovState):
        raise ValueError(
            f"optimizer: Nesterov's method as published stands within {outer}, which takes the gradient "
            "elsewhere; use the form with gradient_at='params'"
        )
    if isinstance(node, SAMState) and node.cache is None:
        return  # its optimizer sees whole steps
    for kind in (ScheduleFreeState, AverageState, SAMState):
        if any(kind is not SAMState or found.cache is not None for found in _found(tuple(node), kind)):
            inner = kind.__name__.removesuffix("State")
            raise ValueError(f"optimizer: {inner} stands within {outer}, and each has parameters of its own to judge")


def _with_hyperparams(node: Any, injected: Any) -> Any:
    if not isinstance(node, NesterovState):
        return node
    if "momentum" not in injected.hyperparams:
        if others := sorted(set(injected.hyperparams) - {"learning_rate"}):
            raise ValueError(
                f"optimizer: inject_hyperparams has {', '.join(others)}, and one may be the momentum of Nesterov's "
                "method as published, whose gradient point depends on it: name it momentum, and the rate learning_rate"
            )
        return node
    if "momentum" in injected.hyperparams_states:
        raise ValueError(
            "optimizer: inject_hyperparams has a schedule for the momentum of Nesterov's method as published, whose "
            "gradient point needs the momentum before the step; use the form with gradient_at='params'"
        )
    return node._replace(momentum=injected.hyperparams["momentum"])


def _check_disjoint(nodes: list[Any], params: Any) -> None:
    """Raise a ValueError where two nodes ask for something of one parameter."""
    if len(nodes) < 2:
        return
    trees = [jax.tree.leaves(_claims(_own_tree(node), params)) for node in nodes]
    if any(sum(claims) > 1 for claims in zip(*trees, strict=True)):
        raise ValueError(f"optimizer: its state asks for several things of one parameter ({_names(nodes)})")


def _names(nodes: list[Any]) -> str:
    return ", ".join(type(node).__name__ for node in nodes)


def _claims(own: Any, params: Any) -> Any:
    leaves, structure = jax.tree.flatten(params)
    return jax.tree.unflatten(structure, [not isinstance(its, MaskedNode) for its in _beside(leaves, structure, own)])


_OWN = {NesterovState: "trace", AverageState: "average", ScheduleFreeState: "z", SAMState: "cache"}


def _own_tree(node: Any) -> Any:
    """Return the part of a node that is like the parameters, with MaskedNode for those that are not its own."""
    return getattr(node, _OWN[type(node)])


def _of_slow(node: Any) -> Any:
    own = _own_tree(node)
    return node._replace(**{_OWN[type(node)]: own.slow if isinstance(own, LookaheadParams) else own})


def _map(function: Callable[[Any, Any], Any], params: Any, own: Any) -> Any:
    """Apply a function to each parameter and a node's array for it, where it has one."""
    leaves, structure = jax.tree.flatten(params)

    def of_leaf(w, its):
        if not is_array(w):
            return w  # a module's static leaf
        w = jnp.asarray(w)
        if isinstance(its, MaskedNode) or not jnp.issubdtype(w.dtype, jnp.inexact):
            return w  # another optimizer's, or a count, of which there is no average and no point ahead
        wide = jnp.promote_types(jnp.promote_types(w.dtype, its.dtype), jnp.float32)
        return function(w.astype(wide), its.astype(wide)).astype(w.dtype)

    new = [of_leaf(w, its) for w, its in zip(leaves, _beside(leaves, structure, own), strict=True)]
    return jax.tree.unflatten(structure, new)


def _beside(leaves: list[Any], structure: Any, own: Any) -> list[Any]:
    """Return the leaves of a node's tree that belong to those of the parameters."""
    try:
        found = structure.flatten_up_to(own)
    except ValueError:
        found = None
    if found is None or any(not _fits(w, its) for w, its in zip(leaves, found, strict=True)):
        raise ValueError(
            "optimizer: its state asks for a gradient point or for parameters to evaluate, and its arrays are not like "
            "the parameters, as within optax.flatten or split_real_and_imaginary"
        )
    return found


def _fits(w: Any, its: Any) -> bool:
    if isinstance(its, MaskedNode) or not is_array(w):
        return True
    return getattr(its, "shape", None) == jnp.shape(w)


def _before_adversarial_step(node: SAMState, params: Any) -> Any:
    return _map(lambda w, kept: jnp.where(node.steps_since_sync == 0, w, kept), params, node.cache)


_JUDGED: dict[type, Callable[[Any, Any], Any]] = {
    AverageState: lambda node, params: _map(lambda w, average: average, params, node.average),
    ScheduleFreeState: lambda node, params: _map(lambda y, z: (y - (1.0 - node.b1) * z) / node.b1, params, node.z),
    SAMState: _before_adversarial_step,
}
