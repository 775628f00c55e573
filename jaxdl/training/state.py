"""What training carries from step to step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxdl import nn


class TrainState(NamedTuple):
    """Everything that a step reads and returns; a pytree."""

    step: Int[Array, ""]  # number of updates done, int32
    params: Any  # nested dicts of arrays
    state: Any  # the network's non-trained state, such as running statistics
    opt_state: Any  # of the optimizer
    average: Any  # {"params", "state"} averaged over steps, or None


def create(
    key: Array,
    layer: nn.Layer,
    optimizer: optax.GradientTransformation,
    in_shape: Sequence[int],
    *,
    average: bool = False,
) -> TrainState:
    """Initial state of training ``layer`` on inputs of ``in_shape`` (no batch axis).

    Args:
        key: random key for the parameters.
        layer: the network.
        optimizer: any optax transformation.
        in_shape: shape of one input.
        average: whether to keep a Polyak average; it starts as a copy of the parameters, because donated buffers
            must not be shared.
    """
    params, state = layer.init(key, tuple(in_shape))
    return start(params, state, optimizer, average=average)


def start(params: Any, state: Any, optimizer: optax.GradientTransformation, *, average: bool = False) -> TrainState:
    """Like `create`, from parameters that exist; they are copied, so that several runs may start from the same."""
    params, state = jax.tree.map(jnp.copy, (params, state))
    averaged = jax.tree.map(jnp.copy, {"params": params, "state": state}) if average else None
    return TrainState(jnp.zeros((), jnp.int32), params, state, optimizer.init(params), averaged)
