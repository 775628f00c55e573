"""flax.nnx with optax, in its functional form (split and merge)."""

import numpy as np
from flax import nnx

from benchmarks.speed import jitted, nets
from benchmarks.speed.linen import SIMPLE, THEIRS, shortcut


class Net(nnx.Module):
    """A net made from its operations; `layers` are those with parameters, in order."""

    def __init__(self, operations, own):
        self.operations = operations
        rngs = nnx.Rngs(0)
        self.layers = nnx.List(
            [make(one, options, rngs) for one, options in zip(own, nets.owners(operations), strict=True)]
        )

    def __call__(self, x):
        """Return logits."""
        return self.run(self.operations, x, iter(self.layers))

    def run(self, operations, x, layers):
        """Apply operations in order."""
        for kind, *options in operations:
            if kind in ("conv", "dense", "norm"):
                x = next(layers)(x)
            elif kind == "pool":
                window, stride, padding = options
                x = nnx.max_pool(x, (window,) * 2, (stride,) * 2, padding)
            elif kind == "block":
                body, stride, outputs = options
                x = nnx.relu(self.run(body, x, layers) + shortcut(x, stride, outputs))
            else:
                x = SIMPLE[kind](x)
        return x


def make(own, operation, rngs):
    kind, *options = operation
    if kind == "norm":
        return nnx.BatchNorm(len(own["scale"]), momentum=0.9, epsilon=1e-5, rngs=rngs)
    *_, c_in, c_out = own["kernel"].shape
    if kind == "dense":
        return nnx.Linear(c_in, c_out, rngs=rngs)
    _, window, stride, padding, bias = options
    return nnx.Conv(c_in, c_out, (window,) * 2, stride, padding=padding, use_bias=bias, rngs=rngs)


def build(net: nets.Net, params, state, batch, *, compilations: int = 3):
    nets.only(net, "block")
    own = nets.in_order(net.layer(), params)
    module = Net(net.operations, own)
    for layer, one in zip(module.layers, own, strict=True):
        for name, value in one.items():
            getattr(layer, THEIRS.get(name, name)).set_value(value)
    module.train()
    graph, theirs, rest = nnx.split(module, nnx.Param, ...)
    module.eval()
    evaluation = nnx.graphdef(module)

    def loss(params, rest, x, labels):
        model = nnx.merge(graph, params, rest, copy=True)  # own variables, at this level of tracing
        value = jitted.cross_entropy(model(x), labels)
        return value, nnx.state(model, nnx.Not(nnx.Param))

    def to_leaves(grads):
        layers = grads["layers"]
        return [
            np.asarray(layers[i][THEIRS.get(name, name)].get_value())
            for i, one in enumerate(own)
            for name in sorted(one)
        ]

    infer = lambda params, rest, x: nnx.merge(evaluation, params, rest, copy=True)(x)
    return jitted.peer(loss, infer, theirs, rest, batch, to_leaves, compilations=compilations)
