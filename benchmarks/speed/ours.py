"""jaxdl: its model, loss and optimizer."""

import jax
import numpy as np

from benchmarks.speed import jitted, nets
from jaxdl import activations, losses, nn, optimizers


def build(net: nets.Net, params, state, batch, *, dtype: str = "float32", compilations: int = 3):
    layer = nn.compute_in(dtype, net.layer()) if dtype != "float32" else net.layer()

    def loss(params, state, x, labels):
        logits, state = layer.apply(params, state, x, train=True)
        return losses.softmax_cross_entropy(logits, labels).mean(), state

    def to_leaves(grads):
        return [np.asarray(leaf) for own in nets.in_order(layer, grads) for leaf in jax.tree.leaves(own)]

    optimizer = optimizers.sgd(nets.OPTIMIZER["learning_rate"], nets.OPTIMIZER["momentum"])
    infer = lambda params, state, x: layer.apply(params, state, x)[0]
    return jitted.peer(loss, infer, params, state, batch, to_leaves, optimizer, compilations)


def serial(operations, method: str | None = None) -> nn.Layer:
    """Return a net without blocks from its operations, with one method for all convolutions."""

    def made(kind, *options):
        if kind == "conv":
            outputs, window, stride, padding, bias = options
            return nn.Conv(outputs, window, stride=stride, padding=padding, bias=bias, method=method)
        if kind == "pool":
            window, stride, padding = options
            return nn.MaxPool(window, stride=stride, padding=padding)
        return nn.Dense(options[0]) if kind == "dense" else {"relu": activations.relu, "flatten": nn.flatten}[kind]

    return nn.serial(**{f"{kind}{i}": made(kind, *options) for i, (kind, *options) in enumerate(operations)})
