"""The nodes of an optimizer's state that ask something of the loop, found through all wrappers.

See `loops` for the things they may ask for. A node is one of the state classes in ``states``. Its own tree resembles
the parameters, with ``MaskedNode`` for parameters that belong to another optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl.optimizers.states import (
    AverageState,
    InjectStatefulHyperparamsState,
    LookaheadParams,
    MaskedNode,
    NesterovState,
    SAMState,
    ScheduleFreeState,
)
from jaxdl.optimizers.trees import is_array

_ASKING = (NesterovState, ScheduleFreeState, AverageState, SAMState)


_OWN = {NesterovState: "trace", AverageState: "average", ScheduleFreeState: "z", SAMState: "cache"}


def found_in(state: Any, kind: type) -> list[Any]:
    """List the outermost nodes of a class."""
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in nodes if isinstance(node, kind)]


def asking(state: Any) -> Iterator[Any]:
    """Yield the nodes that ask for something, with the momentum that the next step will use."""
    stops = (*_ASKING, InjectStatefulHyperparamsState)
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, stops)):
        if isinstance(node, InjectStatefulHyperparamsState):
            yield from (_with_hyperparams(inner, node) for inner in asking(node.inner_state))
        elif isinstance(node, _ASKING):
            if isinstance(node, ScheduleFreeState | SAMState):
                _check_alone(node)
            if isinstance(node, SAMState) and node.cache is None:  # opaque mode steps inside update
                yield from asking(node.opt_state)
            else:
                yield node


def _check_alone(node: Any) -> None:
    """Raise a ValueError if an optimizer inside schedule-free or SAM asks for something too."""
    outer = type(node).__name__.removesuffix("State")
    if found_in(tuple(node), NesterovState):
        raise ValueError(
            f"optimizer: Nesterov's method as published stands within {outer}, which takes the gradient "
            "elsewhere; use the form with gradient_at='params'"
        )
    if isinstance(node, SAMState) and node.cache is None:
        return  # in opaque mode the inner optimizer sees whole steps
    for kind in (ScheduleFreeState, AverageState, SAMState):
        if any(kind is not SAMState or found.cache is not None for found in found_in(tuple(node), kind)):
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


def judged_nodes(state: Any, params: Any) -> list[Any]:
    """Return the nodes that determine the parameters to evaluate, each for the slow weights if there are any."""
    judged = [node for node in asking(state) if not isinstance(node, NesterovState)]
    if isinstance(params, LookaheadParams) and any(isinstance(_own_tree(node), LookaheadParams) for node in judged):
        judged = [_of_slow(node) for node in judged]  # an average that follows lookahead also averages the slow weights
    elif isinstance(params, LookaheadParams) and judged:
        raise ValueError(f"optimizer: its state asks for several things of one parameter (lookahead, {_names(judged)})")
    check_disjoint(judged, params.slow if isinstance(params, LookaheadParams) else params)
    return judged


def check_disjoint(nodes: list[Any], params: Any) -> None:
    """Raise a ValueError if two nodes ask for something of one parameter."""
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


def _own_tree(node: Any) -> Any:
    """Return the part of a node that resembles the parameters, with MaskedNode for those of other optimizers."""
    return getattr(node, _OWN[type(node)])


def _of_slow(node: Any) -> Any:
    own = _own_tree(node)
    return node._replace(**{_OWN[type(node)]: own.slow if isinstance(own, LookaheadParams) else own})


def map_own(function: Callable[[Any, Any], Any], params: Any, own: Any) -> Any:
    """Apply a function to each parameter and the node's array for it, where there is one."""
    leaves, structure = jax.tree.flatten(params)

    def of_leaf(w, its):
        if not is_array(w):
            return w  # static leaf of a module
        w = jnp.asarray(w)
        if isinstance(its, MaskedNode) or not jnp.issubdtype(w.dtype, jnp.inexact):
            return w  # owned by another optimizer, or an integer, which has no average and no look-ahead
        wide = jnp.promote_types(jnp.promote_types(w.dtype, its.dtype), jnp.float32)
        return function(w.astype(wide), its.astype(wide)).astype(w.dtype)

    new = [of_leaf(w, its) for w, its in zip(leaves, _beside(leaves, structure, own), strict=True)]
    return jax.tree.unflatten(structure, new)


def _beside(leaves: list[Any], structure: Any, own: Any) -> list[Any]:
    """Return the leaves of a node's tree that belong to those of the parameters.

    A MaskedNode may stand for a whole part of them, where labels or a mask are a prefix of the parameters' tree.
    """
    masked = lambda node: isinstance(node, MaskedNode)
    try:
        whole = jax.tree.broadcast(own, jax.tree.unflatten(structure, leaves), is_leaf=masked)
        found = jax.tree.leaves(whole, is_leaf=masked)
    except ValueError:
        found = None
    alike = found is not None and len(found) == len(leaves) and all(map(_fits, leaves, found))
    if found is None or not alike:
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
    return map_own(lambda w, kept: jnp.where(node.steps_since_sync == 0, w, kept), params, node.cache)


JUDGED: dict[type, Callable[[Any, Any], Any]] = {
    AverageState: lambda node, params: map_own(lambda w, average: average, params, node.average),
    ScheduleFreeState: lambda node, params: map_own(lambda y, z: (y - (1.0 - node.b1) * z) / node.b1, params, node.z),
    SAMState: _before_adversarial_step,
}
