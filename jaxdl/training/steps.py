"""One step of training and one of evaluation, as pure functions.

The gradient is psum(gradient of the weighted sum of losses) / psum(weights), which is right for any weights and any
number of devices, unlike a mean of per-device means. Metrics are sums and counts, so that they add up the same way.
Examples of weight 0 (padding) may hold anything, including NaN images and impossible labels. They count nowhere, except
that in training a layer that mixes examples, such as batch norm, sees them as zeros; train on full batches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl import data, losses, nn, optimizers
from jaxdl.data.splits import is_listed
from jaxdl.optimizers.loops import check_transformation, descending
from jaxdl.training.measures import Measure, check_several, counted, measure_of
from jaxdl.training.scaling import all_finite, loss_scale
from jaxdl.training.state import TrainState, check_layer, strong

Metrics = dict[str, Array]
_RESERVED = ("loss", "weight", "penalty")


def train_step(
    layer: nn.Layer,
    optimizer: optax.GradientTransformation,
    *,
    loss: Callable[[Any, Any], Array] = losses.softmax_cross_entropy,
    metrics: Measure | None = None,
    ignore_label: int | None = None,
    preprocess: Callable[[Array], Array] | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    penalty: Callable[[Any], Array] | None = None,
    average_decay: float | None = None,
    accumulate: int = 1,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Make ``step(state, batch, key, *, axis_name=None) -> (state, metrics)``.

    Random numbers depend on (key, state.step) alone. Augmentation is keyed per example by its index in the epoch, so
    that it is the same on any number of devices; with ``axis_name`` the network's own key differs per device.

    The gradient is taken where the optimizer asks for it (`optimizers.gradient_point`); `eval_variables` returns the
    parameters to evaluate. An optimizer that needs the loss as a function, such as L-BFGS, gets it for the same batch
    and key, but only without ``axis_name``, that is on one device or under ``strategy="jit"``.

    Examples of weight 0 are padding: what mixes examples, such as batch norm, sees zeros in their place.

    Args:
        layer: the network, whose output goes to ``loss``. For `nn.WithAuxiliary`, the weighted losses of the heads are
            added to that of the output. Any other tuple goes to ``loss`` whole; its first entry goes to ``metrics``,
            which get it whole where labels are several, too.
        optimizer: any optax transformation; `loss_scaled` around it scales the loss, for networks that compute in
            float16. One that takes extra arguments gets those of `optimizers.update`:
            ``value`` (the mean loss with the penalty), ``grad`` and ``grad_fn``, and without ``axis_name`` also
            ``value_fn``, ``model_fn`` and ``loss_fn`` (the mean loss without the penalty).
        loss: ``(outputs, labels) -> (n,)``, one number per example. Values per output, ``(n, ...)``, are averaged over
            each example's own axes. A function of your own also takes a tuple or dict of labels, as the batch has.
        metrics: ``(outputs, labels) -> {name: values}`` with values shaped like the loss's. "loss", "weight" and
            "penalty" are reserved names, and "correct" rules out "accuracy", its name in `evaluate`. None selects by
            the loss: "correct" for classes, logits of two classes and several labels, "squared_error" and
            "absolute_error" for real targets, nothing for an unknown loss whose labels are not class numbers.
        ignore_label: integer labels of this value, such as -1, are left out of the loss, the gradient, the metrics
            and the weight, so that means are over the other labels.
        preprocess: maps the batch's images, after augmentation, to the network's input, on the device.
        augment: ``(key, image) -> image`` for one example of the batch.
        penalty: ``params -> scalar``, added to the mean loss.
        average_decay: decay in [0, 1] of the running average ``decay * average + (1 - decay) * new`` of the state and
            of the parameters to evaluate (`optimizers.eval_params`); None keeps no average.
        accumulate: number of microbatches, one after another, whose gradients are summed: the gradient of the whole
            batch with the memory of a part. Layers that mix examples, such as batch norm, see a microbatch at a time.
            It must divide the batch size of each device. Functions of the loss still take the batch whole.

    Returns:
        A function ready for `data_parallel` or ``jax.jit``. Its metrics are sums over the batch, in float32 or wider:
        "loss" (without the penalty), "weight", those of ``metrics``, and the scalar "penalty". If all examples have
        weight 0, the gradient is the penalty's. The function raises ValueError if only one of ``average_decay`` and the
        TrainState's average exists, if losses or metrics have a wrong shape or name, if no label can equal
        ``ignore_label``, or if the optimizer needs an argument that is not offered.

    Raises:
        ValueError: for what is no layer or no optimizer, and an ``average_decay`` or ``accumulate`` out of range.

    Examples:
        Softmax regression from zero on two examples; the loss falls from ln 2 to ln(1 + 1/e):

        >>> from jaxdl import data, models, optimizers
        >>> net, optimizer = models.softmax_regression(2), optimizers.sgd(1.0)
        >>> step = jax.jit(training.train_step(net, optimizer))
        >>> state = training.create(jax.random.key(0), net, optimizer, (1,))
        >>> x, labels = np.array([[-1.0], [1.0]], np.float32), np.array([0, 1])
        >>> batch = data.Batch(x, labels, weight=np.ones(2, np.float32), index=np.arange(2))
        >>> for _ in range(2):
        ...     state, sums = step(state, batch, jax.random.key(1))
        ...     print(round(float(sums["loss"] / sums["weight"]), 4))
        0.6931
        0.3133
    """
    _check_arguments(layer, optimizer, average_decay, accumulate)
    sums_of = _summing(loss, metrics, ignore_label)

    def step(state: TrainState, batch: data.Batch, key: Array, *, axis_name: str | None = None):
        _check_average(state.average, average_decay)
        augment_key, layer_key = jax.random.split(jax.random.fold_in(key, state.step))
        if axis_name is not None:
            layer_key = jax.random.fold_in(layer_key, jax.lax.axis_index(axis_name))
        x = _prepare(batch, preprocess, augment, augment_key)

        forward = functools.partial(layer.apply, train=True, axis_name=axis_name)
        scale = loss_scale(state.opt_state)
        gradient = _gradient(forward, sums_of, int(accumulate), scale)
        of_params = lambda params: gradient(params, state.layer_state, x, batch, layer_key)
        outputs = lambda params: forward(params, state.layer_state, x, key=layer_key)[0]
        of_batch = _objective(of_params, outputs, lambda y: sums_of(y, batch), penalty, axis_name)
        point = optimizers.gradient_point(state.opt_state, state.params)
        grads, sums, new_state = of_batch.differentiate(point)
        offered = of_batch.offered(sums, axis_name)
        updates, opt_state = optimizers.update(optimizer, grads, state.opt_state, state.params, **offered)
        params = optax.apply_updates(state.params, updates)
        judged = optimizers.eval_params(opt_state, params)
        average = _averaged(state.average, {"params": judged, "state": new_state}, average_decay)
        new = TrainState(state.step + 1, params, new_state, opt_state, average)
        return strong(new if scale is None else _skipping(grads, state, new)), sums

    return step


def _skipping(grads: Any, old: TrainState, new: TrainState) -> TrainState:
    """Keep what else than parameters would change, where `loss_scaled` skips a gradient that is not finite."""
    kept = functools.partial(jnp.where, all_finite(grads))
    layer_state = jax.tree.map(kept, new.layer_state, old.layer_state)
    return new._replace(layer_state=layer_state, average=jax.tree.map(kept, new.average, old.average))


class _Objective(NamedTuple):
    """The loss of one batch as functions of the parameters."""

    differentiate: Callable[[Any], tuple[Any, Metrics, Any]]  # params -> (gradient, sums, new state of the network)
    value_fn: Callable[[Any], Array]  # params -> mean loss with the penalty
    model_fn: Callable[[Any], Any]  # params -> outputs
    loss_fn: Callable[[Any], Array]  # outputs -> mean loss
    mean: Callable[[Metrics], Array]  # sums -> mean loss with the penalty

    def offered(self, sums: Metrics, axis_name: str | None) -> dict[str, Any]:
        """Return the optimizer's extra arguments; one part of a split batch offers no functions of the whole."""
        found = {"value": self.mean(sums), "grad_fn": lambda params, i=None: self.differentiate(params)[0]}
        if axis_name is None:
            found |= {"value_fn": self.value_fn, "model_fn": self.model_fn, "loss_fn": self.loss_fn}
        return found


def _check_arguments(layer: Any, optimizer: Any, average_decay: Any, accumulate: Any) -> None:
    check_layer(layer)
    check_transformation(optimizer)
    if isinstance(accumulate, bool) or not isinstance(accumulate, Integral) or accumulate < 1:
        raise ValueError(f"accumulate={accumulate!r} must be a whole number of at least 1")
    if isinstance(average_decay, int | float) and not 0 <= average_decay <= 1:
        raise ValueError(f"average_decay={average_decay} is not in [0, 1]")


def _gradient(forward, sums_of, parts: int, scale: Array | None):
    """Make ``(params, layer_state, x, batch, key) -> (gradient of the sum of losses, sums, new state)``."""

    def gradient(params, layer_state, x, batch, key):
        def weighted_sum(params):
            y, new_state = forward(params, layer_state, x, key=key)
            sums = sums_of(y, batch)
            # a mean's gradient in half precision, whatever the size of the batch
            scaled = sums["loss"] if scale is None else scale / len(batch.weight) * sums["loss"]
            return scaled, (sums, new_state)

        grads, (sums, new_state) = jax.grad(weighted_sum, has_aux=True)(params)
        grads = jax.tree.map(_wide, grads)  # half precision would round sums and counts
        if scale is not None:
            back = len(batch.weight) / scale
            grads = jax.tree.map(lambda g: g * back, grads)
        return grads, sums, new_state

    return gradient if parts == 1 else _in_parts(gradient, parts)


def _in_parts(gradient, parts: int):
    """Make the gradient of `_gradient` in equal parts of the batch, which the state passes through in order."""

    def whole(params, layer_state, x, batch, key):
        if len(batch.weight) % parts:
            raise ValueError(f"accumulate={parts} must divide the batch size of each device, {len(batch.weight)}")
        split = jax.tree.map(lambda a: jnp.asarray(a).reshape(parts, -1, *jnp.shape(a)[1:]), (x, batch))

        def following(carried, part):
            sums, layer_state = carried
            number, (x, batch) = part
            *new, new_state = gradient(params, layer_state, x, batch, jax.random.fold_in(key, number))
            return (jax.tree.map(jnp.add, sums, tuple(new)), strong(new_state)), None

        first = jax.tree.map(lambda a: a[0], split)
        *shapes, _ = jax.eval_shape(gradient, params, layer_state, *first, key)
        zeros = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), tuple(shapes))
        ((grads, sums), layer_state), _ = jax.lax.scan(following, (zeros, layer_state), (jnp.arange(parts), split))
        return grads, sums, layer_state

    return whole


def _objective(gradient, outputs, sums_of, penalty, axis_name: str | None) -> _Objective:
    def count(sums):  # makes the gradient 0 for a batch without weight, such as one of padding
        return jnp.where(sums["weight"] == 0, 1, sums["weight"])

    def differentiate(params):
        grads, sums, new_state = gradient(params)
        if axis_name is not None:
            grads, sums = jax.lax.psum((grads, sums), axis_name)
        grads = jax.tree.map(lambda g, p: (g / count(sums)).astype(p.dtype), grads, params)
        sums["penalty"] = jnp.zeros_like(sums["loss"])
        if penalty is not None:
            value, penalty_grads = jax.value_and_grad(penalty)(params)
            sums["penalty"] = _wide(value)
            grads = jax.tree.map(jnp.add, grads, penalty_grads)
        return descending(grads), sums, new_state

    def loss_fn(y):
        sums = sums_of(y)
        return sums["loss"] / count(sums)

    def value_fn(params):
        value = loss_fn(outputs(params))
        return value if penalty is None else value + _wide(penalty(params))

    def mean(sums):
        return sums["loss"] / count(sums) + sums["penalty"]

    return _Objective(differentiate, value_fn, outputs, loss_fn, mean)


def eval_step(
    layer: nn.Layer,
    *,
    loss: Callable[[Any, Any], Array] = losses.softmax_cross_entropy,
    metrics: Measure | None = None,
    ignore_label: int | None = None,
    preprocess: Callable[[Array], Array] | None = None,
) -> Callable[..., tuple[Metrics, Any]]:
    """Make ``step(variables, batch) -> (metrics, outputs)`` for ``variables = (params, state)`` of `eval_variables`.

    The caller drops the rows of ``outputs (n, ...)`` whose examples have weight 0. See `train_step` for the arguments.

    Examples:
        >>> from jaxdl import data, models
        >>> net = models.softmax_regression(2)
        >>> step = training.eval_step(net)
        >>> examples = data.Examples(np.array([[-1.0], [1.0], [2.0]], np.float32), np.array([0, 1, 1]))
        >>> variables = net.init(jax.random.key(0), (1,))  # all zero: each class has the probability ½
        >>> means, outputs = training.evaluate(step, variables, data.eval_batches(examples, 2))
        >>> means["loss"], outputs.shape  # ln 2
        (0.6931472, (3, 2))
    """
    check_layer(layer)
    sums_of = _summing(loss, metrics, ignore_label)

    def step(variables: tuple[Any, Any], batch: data.Batch):
        params, state = variables
        y, _ = layer.apply(params, state, _prepare(batch, preprocess, None, None))
        return sums_of(y, batch), y

    return step


def _prepare(batch: data.Batch, preprocess, augment, key) -> Any:
    if not hasattr(batch, "image"):
        got = f"got a {type(batch).__name__}, allowed are data.Batch(image, label, weight, index)"
        raise ValueError(f"batch: {got}, as data.batches makes them; data.from_arrays takes arrays")
    x = jax.tree.map(jnp.asarray, batch.image, is_leaf=is_listed)
    if augment is not None:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)
        x = jax.vmap(augment)(keys, x)
    x = x if preprocess is None else preprocess(x)
    if isinstance(x, jax.Array):
        return _without_padding(x, batch.weight)
    # of several inputs, whole numbers stay: a length of 0 would make a mean over steps NaN
    floats = lambda one: jnp.issubdtype(one.dtype, jnp.inexact)
    return jax.tree.map(lambda one: _without_padding(one, batch.weight) if floats(one) else one, x)


def _without_padding(x: Array, weight: ArrayLike) -> Array:
    """Zero the examples of weight 0: a NaN would survive the product with that 0 in the backward pass."""
    counts = (jnp.asarray(weight) > 0).reshape(-1, *[1] * (x.ndim - 1))
    return jnp.where(counts, x, jnp.zeros((), x.dtype))


def _summing(loss, metrics: Measure | None, ignore_label: int | None) -> Callable[[Any, data.Batch], Metrics]:
    """Make ``(outputs, batch) -> sums`` of the loss, the metrics and the weights."""
    measure = measure_of(loss) if metrics is None else metrics

    def sums_of(y: Any, batch: data.Batch) -> Metrics:
        without = lambda one: _without_padding(jnp.asarray(one), batch.weight)
        label = jax.tree.map(without, batch.label, is_leaf=is_listed)
        several, counts = not isinstance(label, jax.Array), None
        if several:
            check_several(loss, ignore_label)
        elif ignore_label is not None:
            counts = counted(label, ignore_label)
            label = jnp.where(counts, label, jnp.zeros((), label.dtype))  # a label that every loss accepts
        of_loss = per_example(loss, y, label)  # first: it knows best which labels its outputs take
        main = isinstance(y, nn.WithAuxiliary) or (isinstance(y, tuple) and not several)
        measured = measure(y[0] if main else y, label)
        _check_names(measured)
        found = {"loss": of_loss, **measured}
        _check_pairs(found, (y, label))
        weight = jnp.asarray(batch.weight, _wide(found["loss"]).dtype)
        sums = {name: jnp.sum(weight * _mean_of_each(name, values, weight, counts)) for name, values in found.items()}
        if counts is not None:
            weight = weight * _mean_of_each("weight", counts, weight, None)
        return {**sums, "weight": jnp.sum(weight)}

    return sums_of


def _check_names(measured: Metrics) -> None:
    """Raise ValueError for metrics that would overwrite a step's own."""
    taken = [name for name in _RESERVED if name in measured]
    if taken or {"correct", "accuracy"} <= set(measured):
        raise ValueError(
            f"metrics: got {', '.join(map(repr, measured))}, must be other names than {', '.join(_RESERVED)}, and not "
            "both 'correct' and 'accuracy'"
        )


def _check_pairs(found: Metrics, of: Any) -> None:
    """Raise ValueError for values per pair of examples, as (n, 1) outputs and (n,) labels give by broadcasting."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(of)]
    for name, values in found.items():
        shape = jnp.shape(values)
        pairs = len(shape) > 1 and shape[0] == shape[1] > 1
        if pairs and not any(shape == other[: len(shape)] for other in shapes):
            given = ", ".join(map(str, shapes))
            raise ValueError(
                f"{name}: got shape {shape} for outputs and labels {given}: it compares all pairs of examples"
            )


def _mean_of_each(name: str, values: Array, weight: Array, counts: Array | None) -> Array:
    """Return the mean of values ``(n, ...)`` over each example's own axes, ``(n,)``; ignored labels count as 0."""
    values = jnp.asarray(values)
    if values.shape[:1] != weight.shape:
        raise ValueError(
            f"{name}: got shape {values.shape} for {len(weight)} examples, must be one number per example, "
            f"({len(weight)},), or one per output, ({len(weight)}, ...)"
        )
    values = values.astype(weight.dtype) if values.dtype == bool else _wide(values)
    if counts is not None:
        if values.shape != counts.shape:
            raise ValueError(
                f"{name}: got shape {values.shape}, must be the labels' shape {counts.shape} for ignore_label to apply"
            )
        values = jnp.where(counts, values, 0)
    return values if values.ndim == 1 else jnp.mean(values.reshape(len(weight), -1), axis=1)


def per_example(loss: Callable[[Any, Any], Array], y: Any, label: Any) -> Array:
    """Return ``loss(y, label)``, ``(n,)``, plus the weighted losses of the auxiliary heads of `nn.WithAuxiliary`.

    Examples:
        >>> from jaxdl import losses
        >>> training.per_example(losses.softmax_cross_entropy, jnp.zeros((2, 2)), jnp.array([0, 1]))  # ln 2
        Array([0.6931472, 0.6931472], dtype=float32)
    """
    if not isinstance(y, nn.WithAuxiliary):
        return loss(y, label)
    of_heads = [weight * loss(head, label) for head, weight in zip(y.heads, y.weights, strict=True)]
    return sum(of_heads, loss(y.output, label))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _check_average(average: Any, decay: float | None) -> None:
    if (decay is None) != (average is None):
        has = "no average" if average is None else "an average, which would never change"
        raise ValueError(f"average_decay={decay}, but the state has {has}: create it with average={decay is not None}")


def _averaged(average: Any, new: Any, decay: float | None) -> Any:
    if average is None or decay is None:
        return None
    return jax.tree.map(lambda a, n: _mixed(a, n, decay), average, new)


def _mixed(average: Array, new: Array, decay: float) -> Array:
    if not jnp.issubdtype(average.dtype, jnp.inexact):
        return new  # a count has no average
    return decay * average + (1 - decay) * new.astype(average.dtype)
