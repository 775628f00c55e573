"""Estimate batch norm's statistics for parameters that no training step has seen, such as averaged weights."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import nn
from jaxdl.nn import Layer


def reestimate_batch_norm(
    layer: Layer, params: Any, state: Any, batches: Iterable[Array], *, key: Array | None = None
) -> Any:
    """Return the state with running statistics estimated anew, as the plain mean of the batches' own statistics.

    Averaged weights need this, because training tracked the statistics of the weights along the way.

    Args:
        layer: a network with batch norm.
        params: its parameters, for example from ``optimizers.averaged_params``.
        state: its state, of which only batch norm's entries change.
        batches: inputs ``(n, ...)`` of the network, without padding; every batch has the same weight.
        key: for layers that draw at random in training, such as dropout.

    Raises:
        ValueError: if the layer has no batch norm, or there are no batches.

    Reference: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018, section 3.2,
    https://arxiv.org/abs/1803.05407.

    Examples:
        >>> from jaxdl import nn
        >>> layer = nn.BatchNorm()
        >>> params, state = layer.init(jax.random.key(0), (1,))
        >>> batches = [jnp.array([[1.0], [3.0]]), jnp.array([[5.0], [7.0]])]
        >>> training.reestimate_batch_norm(layer, params, state, batches)["mean"]  # of 2 and 6
        Array([4.], dtype=float32)

    [Lecture row E12]
    """
    momenta = {path: part.op.momentum for path, part in _parts(layer) if part.op.momentum is not None}
    if not momenta:
        raise ValueError("layer: got one without batch norm, so there are no statistics to estimate")
    empty = state
    for path in momenta:
        empty = _changed(empty, path, lambda old: jax.tree.map(jnp.zeros_like, old))

    @jax.jit
    def statistics(x, key):
        _, moved = layer.apply(params, empty, x, train=True, key=key)
        # starting at 0, a step moves the statistics to (1 - momentum) times the batch's
        return {path: _divided(_found(moved, path), 1 - momentum) for path, momentum in momenta.items()}

    total, count = None, 0
    for count, x in enumerate(batches, start=1):
        new = statistics(x, None if key is None else jax.random.fold_in(key, count))
        total = new if total is None else jax.tree.map(jnp.add, total, new)
    if total is None:
        raise ValueError("batches: got none, at least one is needed")
    for path, values in _divided(total, count).items():
        state = _changed(state, path, lambda old, values=values: values)
    return state


def _divided(tree: Any, by: float | int) -> Any:
    return jax.tree.map(lambda leaf: leaf / by, tree)


def _parts(layer: Layer):
    return [(path, nn.at(layer, path)) for path in ("", *nn.paths(layer))]


def _found(state: Any, path: str) -> Any:
    for name in path.split("/") if path else ():
        state = state[name]
    return state


def _changed(state: Any, path: str, change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(state)
    name, _, below = path.partition("/")
    return {**state, name: _changed(state[name], below, change)}
