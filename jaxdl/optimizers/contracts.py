"""Constructors of transformations that check their state and name the argument that is in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import numpy as np
from optax import GradientTransformation

from jaxdl.optimizers.states import EmptyState

ORDER: Final = "the arguments are update(updates, state, params), and state is what init or the last update returned"


def require_state(state: Any, state_class: type, name: str) -> None:
    """Raise a ``ValueError`` unless a state has the class that a transformation's init returns.

    Args:
        state: the state passed to ``update``.
        state_class: the expected class; ``EmptyState`` accepts anything without arrays, including None.
        name: the transformation's name, for the message.
    """
    if state_class is EmptyState:
        if any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(state)):
            raise ValueError(f"state is {described(state)}: {name} has a state without arrays; {ORDER}")
    elif not isinstance(state, state_class):
        raise ValueError(f"state is {described(state)}: {name} needs its {state_class.__name__}; {ORDER}")


def described(x: Any) -> str:
    """Describe a tree in a few words for a message."""
    if x is None:
        return "None"
    inside = f" with the keys {', '.join(map(str, x))}" if isinstance(x, dict) and x else ""
    return f"of type {type(x).__name__}{inside}"[:200]


def transformation(
    name: str, state_class: type, init: Any, update: Callable[[Any, Any, Any], Any]
) -> GradientTransformation:
    """Build a transformation whose ``update`` names a wrong state.

    Args:
        name: the transformation's name, for the message.
        state_class: class of the state that ``init`` returns.
        init: params → state.
        update: (updates, state, params) → (updates, state).
    """

    def checked(updates, state, params=None):
        require_state(state, state_class, name)
        return update(updates, state, params)

    return GradientTransformation(init, checked)


def stateless(name: str, function: Callable[[Any, Any], Any]) -> GradientTransformation:
    """Build a stage without a state from ``(updates, params) -> updates``."""

    def update(updates, state, params):
        return function(updates, params), state

    return transformation(name, EmptyState, _empty_state, update)


def _empty_state(params):
    del params
    return EmptyState()
