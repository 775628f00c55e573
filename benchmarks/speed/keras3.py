"""Keras on JAX: a functional model, stateless calls inside one jitted step, Keras' own SGD."""

import os

import jax
import numpy as np

from benchmarks.speed import jitted, nets
from benchmarks.speed.peer import Missing, Peer

os.environ["KERAS_BACKEND"] = "jax"
try:
    import keras  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise Missing("not installed") from error

THEIRS = {"offset": "beta", "scale": "gamma"}


def build(net: nets.Net, params, state, batch, *, compilations: int = 3):
    nets.only(net, "block")
    own = nets.in_order(net.layer(), params)
    made = []
    inputs = keras.Input(net.in_shape)
    model = keras.Model(inputs, run(net.operations, inputs, made))
    for layer, one in zip(made, own, strict=True):
        for name, value in one.items():
            getattr(layer, THEIRS.get(name, name)).assign(value)
    optimizer = keras.optimizers.SGD(nets.OPTIMIZER["learning_rate"], nets.OPTIMIZER["momentum"])
    optimizer.build(model.trainable_variables)
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(trainable, rest, x, labels):
        logits, rest = model.stateless_call(trainable, rest, x, training=True)
        return crossentropy(labels, logits), rest

    def step(trainable, rest, opt, x, labels):
        (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(trainable, rest, x, labels)
        trainable, opt = optimizer.stateless_apply(opt, grads, trainable)
        return trainable, rest, opt, value

    x, labels = jax.device_put(batch)
    values = lambda variables: [v.value for v in variables]
    start_values = [values(model.trainable_variables), values(model.non_trainable_variables)]
    carried = jax.tree.map(jax.numpy.array, [*start_values, values(optimizer.variables)])
    compiled, seconds = jitted.donating(step, *carried, x, labels, compilations=compilations)
    infer = jax.jit(lambda trainable, rest, x: model.stateless_call(trainable, rest, x, training=False)[0])

    def advance():
        *carried[:], value = compiled(*carried, x, labels)
        jax.block_until_ready((carried, value))

    def first():
        (value, _), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(*start_values, x, labels)
        by_id = {id(v): np.asarray(g) for v, g in zip(model.trainable_variables, grads, strict=True)}
        found = [by_id[id(getattr(m, THEIRS.get(n, n)))] for m, o in zip(made, own, strict=True) for n in sorted(o)]
        return float(value), found

    temporary = jitted.temporary_bytes(compiled)
    return Peer(advance, lambda: jax.block_until_ready(infer(*start_values, x)), first, seconds, temporary)


def run(operations, x, made):
    for operation in operations:
        kind, *options = operation
        if kind == "block":
            body, stride, outputs = options
            x = keras.layers.ReLU()(keras.layers.Add()([run(body, x, made), shortcut(x, stride, outputs)]))
        elif list(nets.owners([operation])):
            x = with_parameters(kind, options, x, made)
        elif kind == "pool":
            window, stride, padding = options
            x = keras.layers.MaxPooling2D(window, stride, padding.lower())(x)
        else:
            simple = {"relu": keras.layers.ReLU, "flatten": keras.layers.Flatten}
            x = simple.get(kind, keras.layers.GlobalAveragePooling2D)()(x)
    return x


def with_parameters(kind, options, x, made):
    if kind == "norm":
        made.append(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
    elif kind == "dense":
        made.append(keras.layers.Dense(options[0]))
    else:
        outputs, window, stride, padding, bias = options
        if isinstance(padding, int):
            x, padding = keras.layers.ZeroPadding2D(padding)(x), "valid"
        made.append(keras.layers.Conv2D(outputs, window, stride, padding.lower(), use_bias=bias))
    return made[-1](x)


def shortcut(x, stride, outputs):
    more = outputs - x.shape[-1]
    subsampled = x[:, ::stride, ::stride] if stride > 1 else x
    return keras.ops.pad(subsampled, [(0, 0), (0, 0), (0, 0), (0, more)]) if more else subsampled
