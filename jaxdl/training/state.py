"""The state that training carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxdl import nn, numerics, optimizers


class TrainState(NamedTuple):
    """Everything that a step reads and returns; a pytree."""

    step: Int[Array, ""]  # number of updates done, int32
    params: Any  # nested dicts of arrays; a LookaheadParams of two such for lookahead
    layer_state: Any  # the network's non-trained state, such as running statistics
    opt_state: Any  # the optimizer's state
    average: Any  # {"params", "state"} averaged over steps, at least float32; or None


def check_layer(layer: Any) -> None:
    """Raise ValueError for what is no layer, such as an optimizer in its place or another library's module."""
    if not isinstance(layer, nn.Layer):
        modules = "; interop.from_linen and interop.from_nnx make layers of flax modules"
        hint = modules if callable(layer) else ""
        raise ValueError(f"layer: got {type(layer).__name__}, allowed are layers, as from jaxdl.nn{hint}")


def create(
    key: Array,
    layer: nn.Layer,
    optimizer: optax.GradientTransformation,
    in_shape: Any,
    *,
    average: bool = False,
) -> TrainState:
    """Create the initial state for training ``layer`` on inputs of ``in_shape``.

    Args:
        key: random key for the parameters.
        layer: the network.
        optimizer: any optax transformation.
        in_shape: shape of one input, without a batch axis, or a tuple or dict of several.
        average: whether to keep a Polyak average, which starts at the initial values; `train_step` sets its decay.

    Examples:
        >>> from jaxdl import models, optimizers
        >>> state = training.create(jax.random.key(0), models.mlp(2, widths=(4,)), optimizers.adam(1e-3), (3,))
        >>> int(state.step), list(state.params)
        (0, ['fc1', 'logits'])
    """
    numerics.check_key(key)
    check_layer(layer)
    params, state = layer.init(key, in_shape)
    return start(params, state, optimizer, average=average)


def start(params: Any, state: Any, optimizer: optax.GradientTransformation, *, average: bool = False) -> TrainState:
    """Create the initial state from existing parameters, which are copied so that several runs may share them.

    Examples:
        >>> state = training.start({"w": jnp.ones(2)}, {}, optax.sgd(0.1))
        >>> params, layer_state = training.eval_variables(state)
        >>> params["w"]
        Array([1., 1.], dtype=float32)
    """
    params, state = _own((optimizers.start_params(optimizer, params), state))
    opt_state = _own(optimizer.init(params))
    judged = optimizers.eval_params(opt_state, params)
    averaged = jax.tree.map(_wide, _own({"params": judged, "state": state})) if average else None
    return TrainState(jnp.zeros((), jnp.int32), params, state, opt_state, averaged)


def eval_variables(train_state: TrainState) -> tuple[Any, Any]:
    """Return ``(params, state)`` for evaluation: the Polyak average if there is one, else the optimizer's choice.

    See `optimizers.eval_params`. The arrays may be the state's own, which the next step donates; copy what you keep.
    """
    if train_state.average is not None:
        return train_state.average["params"], train_state.average["state"]
    return optimizers.eval_params(train_state.opt_state, train_state.params), train_state.layer_state


def _own(tree: Any) -> Any:
    """Copy every leaf: a step donates its state, in which no buffer may appear twice.

    Some optimizers keep the parameters themselves in their state.
    """
    return strong(jax.tree.map(jnp.copy, tree))


def strong(tree: Any) -> Any:
    """Make weak types strong, because a state whose types change between steps would compile the step again."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), tree)


def _wide(leaf: Array) -> Array:
    # in bfloat16, adding a thousandth of a difference changes nothing
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
