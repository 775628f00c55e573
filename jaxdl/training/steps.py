"""One step of training and one of evaluation, as pure functions.

The gradient is psum(gradient of the weighted sum of losses) / psum(weights): right for any weights and any number of
devices, where a mean of per-device means is not. Metrics are sums and counts, so that they add up the same way.
Examples of weight 0 (padding) may hold anything, NaN images and impossible labels too. They count nowhere, except that
in training a layer that mixes examples, such as batch norm, sees them as zeros: train on full batches.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl import data, losses, nn
from jaxdl.training.state import TrainState, strong

Metrics = dict[str, Array]


def train_step(
    layer: nn.Layer,
    optimizer: optax.GradientTransformation,
    *,
    loss: Callable[[Any, Array], Array] = losses.softmax_cross_entropy,
    preprocess: Callable[[Array], Array] | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    penalty: Callable[[Any], Array] | None = None,
    average_decay: float | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Make ``step(state, batch, key, *, axis_name=None) -> (state, metrics)``.

    Random numbers depend on (key, state.step) alone. Augmentation is keyed per example by its index in the epoch, so
    that it is the same on any number of devices; with ``axis_name`` the network's own key differs per device.

    Args:
        layer: the network; its output goes to ``loss``. Of `nn.WithAuxiliary` the loss is that of the output plus
            the weighted losses of the heads; another tuple goes to ``loss`` whole, its first entry being the scores.
        optimizer: any optax transformation; one that takes extra arguments gets ``value``, the mean loss with the
            penalty, and ``grad``.
        loss: ``(outputs, labels) -> (n,)``, one number per example.
        preprocess: maps the batch's images, after augmentation, to the network's input, on the device.
        augment: ``(key, image) -> image`` for one example as it comes in the batch.
        penalty: ``params -> scalar``, added to the mean loss.
        average_decay: keep ``average = decay * average + (1 - decay) * new`` of params and state, decay in [0, 1].

    Returns:
        A function ready for `data_parallel` or ``jax.jit``. Its metrics are sums over the batch, in float32 or wider:
        "loss" (without the penalty), "correct", "weight", and the scalar "penalty". It raises ValueError unless the
        TrainState was created with ``average=True`` just where there is an ``average_decay``.

    Raises:
        ValueError: for an ``average_decay`` out of range.
    """
    if isinstance(average_decay, int | float) and not 0 <= average_decay <= 1:
        raise ValueError(f"average_decay={average_decay} is not in [0, 1]")

    def step(state: TrainState, batch: data.Batch, key: Array, *, axis_name: str | None = None):
        _check_average(state.average, average_decay)
        augment_key, layer_key = jax.random.split(jax.random.fold_in(key, state.step))
        if axis_name is not None:
            layer_key = jax.random.fold_in(layer_key, jax.lax.axis_index(axis_name))
        x = _prepare(batch, preprocess, augment, augment_key)

        def weighted_sum(params):
            y, new_state = layer.apply(params, state.state, x, train=True, key=layer_key, axis_name=axis_name)
            sums = _sums(y, batch, loss)
            return sums["loss"], (sums, new_state)

        grads, (sums, new_state) = jax.grad(weighted_sum, has_aux=True)(state.params)
        grads = jax.tree.map(_wide, grads)  # half precision would round the sum over devices and the count
        if axis_name is not None:
            grads, sums = jax.lax.psum((grads, sums), axis_name)
        grads = jax.tree.map(lambda g, p: (g / sums["weight"]).astype(p.dtype), grads, state.params)
        sums["penalty"] = jnp.zeros_like(sums["loss"])
        if penalty is not None:
            value, penalty_grads = jax.value_and_grad(penalty)(state.params)
            sums["penalty"] = _wide(value)
            grads = jax.tree.map(jnp.add, grads, penalty_grads)
        extra = _taken(optimizer.update, value=sums["loss"] / sums["weight"] + sums["penalty"], grad=grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, **extra)
        params = optax.apply_updates(state.params, updates)
        average = _averaged(state.average, {"params": params, "state": new_state}, average_decay)
        return strong(TrainState(state.step + 1, params, new_state, opt_state, average)), sums

    return step


def eval_step(
    layer: nn.Layer,
    *,
    loss: Callable[[Array, Array], Array] = losses.softmax_cross_entropy,
    preprocess: Callable[[Array], Array] | None = None,
) -> Callable[..., tuple[Metrics, Array]]:
    """Make ``step(variables, batch) -> (metrics, outputs)`` with ``variables = (params, state)``.

    Rows of ``outputs (n, ...)`` that belong to examples of weight 0 are to be dropped by weight.
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
    x = x if preprocess is None else preprocess(x)
    return _without_padding(x, batch.weight)


def _without_padding(x: Array, weight: ArrayLike) -> Array:
    """Put 0 where the weight is 0: backward, the weight's 0 would meet a NaN and give NaN, whatever is done after."""
    counts = (jnp.asarray(weight) > 0).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.where(counts, x, jnp.zeros((), x.dtype))


def _sums(y: Any, batch: data.Batch, loss) -> Metrics:
    label = _without_padding(jnp.asarray(batch.label), batch.weight)
    found = _wide(per_example(loss, y, label))
    weight = batch.weight.astype(found.dtype)
    scores = y[0] if isinstance(y, tuple) else y
    correct = (jnp.argmax(scores, -1) == label).astype(weight.dtype)
    return {"loss": jnp.sum(weight * found), "correct": jnp.sum(weight * correct), "weight": jnp.sum(weight)}


def per_example(loss: Callable[[Any, Array], Array], y: Any, label: Array) -> Array:
    """Return ``loss(y, label)``, ``(n,)``, to which the auxiliary heads of `nn.WithAuxiliary` add theirs, weighted."""
    if not isinstance(y, nn.WithAuxiliary):
        return loss(y, label)
    of_heads = [weight * loss(head, label) for head, weight in zip(y.heads, y.weights, strict=True)]
    return sum(of_heads, loss(y.output, label))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _taken(update: Callable[..., Any], **extra: Any) -> dict[str, Any]:
    """Keep the extra arguments that an optimizer has room for."""
    parameters = inspect.signature(update).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return extra
    return {name: value for name, value in extra.items() if name in parameters}


def _check_average(average: Any, decay: float | None) -> None:
    if (decay is None) != (average is None):
        has = "no average" if average is None else "an average, which would stay as it is"
        raise ValueError(f"average_decay={decay}, but the state has {has}: create it with average={decay is not None}")


def _averaged(average: Any, new: Any, decay: float | None) -> Any:
    if average is None or decay is None:
        return None
    return jax.tree.map(lambda a, n: _mixed(a, n, decay), average, new)


def _mixed(average: Array, new: Array, decay: float) -> Array:
    if not jnp.issubdtype(average.dtype, jnp.floating):
        return new  # a count has no average
    return decay * average + (1 - decay) * new.astype(average.dtype)
