"""equinox with optax: channels first and one example under vmap, as in its documentation."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.speed import jitted, nets
from benchmarks.speed.peer import Missing

try:
    import equinox  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise Missing("not installed") from error


def build(net: nets.Net, params, state, batch, *, compilations: int = 3):
    if any(operation[0] == "block" for operation in net.operations):
        raise Missing("not compared: its batch norm keeps other statistics")
    nets.only(net)
    own = nets.in_order(net.layer(), params)
    flattened = nets.flattened_shapes(net)
    layers = [make(*one) for one in zip(own, nets.owners(net.operations), flattened, strict=True)]

    def forward(layers, image):
        remaining = iter(layers)
        x = image
        for kind, *options in net.operations:
            if kind in ("conv", "dense"):
                x = next(remaining)(x)
            elif kind == "pool":
                x = pool(x, *options)
            else:
                x = {"relu": jax.nn.relu, "flatten": jnp.ravel}[kind](x)
        return x

    def loss(layers, state, x, labels):
        return jitted.cross_entropy(jax.vmap(forward, (None, 0))(layers, x), labels), state

    def to_leaves(grads):
        return [leaf for layer, shape in zip(grads, flattened, strict=True) for leaf in back(layer, shape)]

    x, labels = batch
    infer = lambda layers, state, x: jax.vmap(forward, (None, 0))(layers, x)
    arrays, static = equinox.partition(layers, equinox.is_array)
    with_static = lambda f: lambda arrays, *rest: f(equinox.combine(arrays, static), *rest)
    channels_first = np.ascontiguousarray(x.transpose(0, 3, 1, 2)), labels
    return jitted.peer(
        with_static(loss), with_static(infer), arrays, {}, channels_first, to_leaves, compilations=compilations
    )


def make(own, operation, shape):
    kind, *options = operation
    key, *_, c_out = jax.random.key(0), *own["kernel"].shape
    c_in = own["kernel"].shape[-2]
    if kind == "conv":
        _, window, stride, padding, _ = options
        layer = equinox.nn.Conv2d(c_in, c_out, window, stride, padding, key=key)
        weight, bias = own["kernel"].transpose(3, 2, 0, 1), own["bias"][:, None, None]
    else:
        layer = equinox.nn.Linear(c_in, c_out, key=key)
        weight, bias = channels_first_rows(own["kernel"], shape).T, own["bias"]
    return equinox.tree_at(lambda one: (one.weight, one.bias), layer, (jnp.asarray(weight), jnp.asarray(bias)))


def channels_first_rows(kernel, shape):
    """Reorder the rows of a dense kernel that follow (h, w, c) to (c, h, w)."""
    if len(shape) < 3:
        return kernel
    return kernel.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def channels_last_rows(kernel, shape):
    if len(shape) < 3:
        return kernel
    h, w, c = shape
    return kernel.reshape(c, h, w, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)


def back(layer, shape):
    """Return bias and kernel in jaxdl's axes."""
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    if weight.ndim == 4:
        return [bias.ravel(), weight.transpose(2, 3, 1, 0)]
    return [bias, channels_last_rows(weight.T, shape)]


def pool(x, window, stride, padding):
    around = [nets.amounts(n, window, stride, padding) for n in x.shape[1:]]
    return equinox.nn.MaxPool2d(window, stride, padding=around)(x)
