"""Norms of gradients, and ratios of updates to weights, of each layer while an optimizer runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl import optimizers, paths

Norms = dict[str, jax.Array]  # path of a layer -> a scalar


class WatchedGradients(NamedTuple):
    """State of the first stage of `watched`."""

    norms: Norms  # float32


class UpdateRatios(NamedTuple):
    """State of the last stage of `watched`."""

    ratios: Norms  # float32; 0 for a layer whose parameters are all 0


class WatchedLayer(NamedTuple):
    """What `watched` saw of a layer in the last step."""

    gradient_norm: float
    update_ratio: float  # ‖Δw‖ / ‖w‖, with w before the step


def watched(
    optimizer: optax.GradientTransformation,
    *,
    chain: Callable[..., optax.GradientTransformation] = optimizers.chain,
) -> optax.GradientTransformation:
    """Return the optimizer with a state that also holds ‖g‖ and ‖Δw‖ / ‖w‖ of each layer; its updates do not change.

    A layer is all arrays of one innermost dict. As a rule of thumb, the ratio is about 1e-3 where the rate fits.

    Args:
        optimizer: any transformation whose updates are trees like its parameters.
        chain: the function that runs stages one after the other.

    Reference: A. Karpathy, CS231n, https://cs231n.github.io/neural-networks-3/#ratio.

    Examples:
        The gradient (6, 8) has the norm 10, and its tenth is a fifth of the weights (3, 4):

        >>> optimizer, params = analysis.watched(optax.sgd(0.1)), {"fc": {"kernel": jnp.array([3.0, 4.0])}}
        >>> _, state = optimizer.update({"fc": {"kernel": jnp.array([6.0, 8.0])}}, optimizer.init(params), params)
        >>> analysis.watched_layers(state)
        {'fc': WatchedLayer(gradient_norm=10.0, update_ratio=0.20000000298023224)}
    """

    def gradients(updates, state, params=None):
        del state, params
        return updates, WatchedGradients(_norms(updates))

    def ratios(updates, state, params=None):
        del state
        moved, weights = _norms(updates), _norms(params)
        safe = {name: jnp.where(norm > 0, norm, 1) for name, norm in weights.items()}
        return updates, UpdateRatios({k: jnp.where(weights[k] > 0, moved[k] / safe[k], 0) for k in moved})

    def zeros(params):
        return {name: jnp.zeros((), jnp.float32) for name, _ in _of_layers(params)}

    first = optax.GradientTransformation(lambda params: WatchedGradients(zeros(params)), gradients)
    last = optax.GradientTransformation(lambda params: UpdateRatios(zeros(params)), ratios)
    return chain(first, optimizer, last)


def watched_layers(opt_state: Any) -> dict[str, WatchedLayer]:
    """Return gradient norm and ratio of update to weights of each layer in the last step, by the layer's path.

    Args:
        opt_state: of an optimizer that `watched` made, on the host or a device; it may be inside other states.

    Raises:
        ValueError: no part of the state is of `watched`.
    """
    found = {}
    for kind in (WatchedGradients, UpdateRatios):
        nodes = jax.tree.leaves(opt_state, is_leaf=lambda node, kind=kind: isinstance(node, kind))
        found[kind] = next((node for node in nodes if isinstance(node, kind)), None)
    if None in found.values():
        raise ValueError("opt_state: is not the state of an optimizer that analysis.watched made")
    norms, ratios = found[WatchedGradients].norms, found[UpdateRatios].ratios
    return {name: WatchedLayer(float(norms[name]), float(ratios[name])) for name in norms}


def _norms(tree: Any) -> Norms:
    squares: Norms = {}
    for name, leaf in _of_layers(tree):
        squares[name] = squares.get(name, jnp.zeros((), jnp.float32)) + jnp.sum(
            jnp.square(jnp.abs(leaf).astype(jnp.float32))
        )
    return {name: jnp.sqrt(square) for name, square in squares.items()}


def _of_layers(tree: Any) -> list[tuple[str, Any]]:
    """Return each leaf with the path of its layer, such as stage1/conv."""
    return [(paths.slashed(path[:-1]), leaf) for path, leaf in paths.of_leaves(tree)]
