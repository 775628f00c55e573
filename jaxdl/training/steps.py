"""One step of training and one of evaluation, as pure functions.

The gradient is psum(gradient of the weighted sum of losses) / psum(weights): right for any weights and any number of
devices, where a mean of per-device means is not. Metrics are sums and counts, so that they add up the same way.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxdl import data, losses, nn
from jaxdl.training.state import TrainState

Metrics = dict[str, Array]


def train_step(
    layer: nn.Layer,
    optimizer: optax.GradientTransformation,
    *,
    loss: Callable[[Array, Array], Array] = losses.softmax_cross_entropy,
    preprocess: Callable[[Array], Array] | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    penalty: Callable[[Any], Array] | None = None,
    average_decay: float | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Make ``step(state, batch, key, *, axis_name=None) -> (state, metrics)``.

    Random numbers depend on (key, state.step) alone. Augmentation is keyed per example by its index in the epoch, so
    that it is the same on any number of devices; with ``axis_name`` the network's own key differs per device.

    Args:
        layer: the network; its output goes to ``loss``.
        optimizer: any optax transformation; ``value`` and the like are not passed.
        loss: ``(outputs, labels) -> (n,)``, one number per example.
        preprocess: maps the batch's images, after augmentation, to the network's input, on the device.
        augment: ``(key, image) -> image`` for one example as it comes in the batch.
        penalty: ``params -> scalar``, added to the mean loss.
        average_decay: keep ``average = decay * average + (1 - decay) * new`` of params and state; the TrainState must
            have been created with ``average=True``.

    Returns:
        A function ready for `data_parallel` or ``jax.jit``. Its metrics are float32 sums over the batch: "loss"
        (without the penalty), "correct", "weight", and the scalar "penalty".
    """

    def step(state: TrainState, batch: data.Batch, key: Array, *, axis_name: str | None = None):
        augment_key, layer_key = jax.random.split(jax.random.fold_in(key, state.step))
        if axis_name is not None:
            layer_key = jax.random.fold_in(layer_key, jax.lax.axis_index(axis_name))
        x = _prepare(batch, preprocess, augment, augment_key)

        def weighted_sum(params):
            y, new_state = layer.apply(params, state.state, x, train=True, key=layer_key, axis_name=axis_name)
            sums = _sums(y, batch, loss)
            return sums["loss"], (sums, new_state)

        grads, (sums, new_state) = jax.grad(weighted_sum, has_aux=True)(state.params)
        if axis_name is not None:
            grads, sums = jax.lax.psum((grads, sums), axis_name)
        grads = jax.tree.map(lambda g: g / sums["weight"].astype(g.dtype), grads)
        sums["penalty"] = jnp.zeros(())
        if penalty is not None:
            sums["penalty"], penalty_grads = jax.value_and_grad(penalty)(state.params)
            grads = jax.tree.map(jnp.add, grads, penalty_grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = _averaged(state.average, {"params": params, "state": new_state}, average_decay)
        return TrainState(state.step + 1, params, new_state, opt_state, average), sums

    return step


def eval_step(
    layer: nn.Layer,
    *,
    loss: Callable[[Array, Array], Array] = losses.softmax_cross_entropy,
    preprocess: Callable[[Array], Array] | None = None,
) -> Callable[..., tuple[Metrics, Array]]:
    """Make ``step(variables, batch) -> (metrics, outputs)`` with ``variables = (params, state)``.

    Examples of weight 0 (padding) count nowhere; their rows of ``outputs (n, ...)`` are to be dropped by weight.
    """

    def step(variables: tuple[Any, Any], batch: data.Batch):
        params, state = variables
        y, _ = layer.apply(params, state, _prepare(batch, preprocess, None, None))
        return _sums(y, batch, loss), y

    return step


def _prepare(batch: data.Batch, preprocess, augment, key) -> Array:
    x = jnp.asarray(batch.image)
    if augment is not None:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
        x = jax.vmap(augment)(keys, x)
    return x if preprocess is None else preprocess(x)


def _sums(y: Array, batch: data.Batch, loss) -> Metrics:
    weight = batch.weight.astype(jnp.float32)
    per_example = loss(y, batch.label).astype(jnp.float32)
    correct = (jnp.argmax(y, -1) == batch.label).astype(jnp.float32)
    return {
        # a padded row may hold any label, and 0 * nan is nan
        "loss": jnp.sum(jnp.where(weight > 0, weight * per_example, 0.0)),
        "correct": jnp.sum(weight * correct),
        "weight": jnp.sum(weight),
    }


def _averaged(average: Any, new: Any, decay: float | None) -> Any:
    if decay is None:
        return average
    return jax.tree.map(lambda a, n: decay * a + (1 - decay) * n, average, new)
