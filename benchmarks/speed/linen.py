"""flax.linen with optax."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from benchmarks.speed import jitted, nets


class Net(linen.Module):
    """A net made from its operations; parameters are named by number."""

    operations: tuple
    dtype: str = "float32"  # of activations; parameters and logits are float32

    @linen.compact
    def __call__(self, x, train: bool):
        """Return logits."""
        names = (f"layer{number}" for number in itertools.count())
        return self.run(self.operations, x, train, names).astype(jnp.float32)

    def run(self, operations, x, train, names):
        """Apply operations in order."""
        for kind, *options in operations:
            if kind == "conv":
                outputs, window, stride, padding, bias = options
                options = {"use_bias": bias, "dtype": self.dtype, "name": next(names)}
                x = linen.Conv(outputs, (window,) * 2, stride, padding, **options)(x)
            elif kind == "dense":
                x = linen.Dense(options[0], dtype=self.dtype, name=next(names))(x)
            elif kind == "depthwise":
                window, stride = options
                options = {"use_bias": False, "dtype": self.dtype, "name": next(names)}
                channels = x.shape[-1]
                x = linen.Conv(channels, (window,) * 2, stride, feature_group_count=channels, **options)(x)
            elif kind == "norm":
                constants = {"momentum": 0.9, "epsilon": options[0] if options else 1e-5, "dtype": self.dtype}
                x = linen.BatchNorm(use_running_average=not train, **constants, name=next(names))(x)
            elif kind == "pool":
                window, stride, padding = options
                pad: Any = [(padding, padding)] * 2 if isinstance(padding, int) else padding
                x = linen.max_pool(x, (window,) * 2, (stride,) * 2, pad)
            elif kind == "block":
                body, stride, outputs = options
                x = linen.relu(self.run(body, x, train, names) + shortcut(x, stride, outputs))
            elif kind == "projected":
                body, projection = options
                x = linen.relu(self.run(body, x, train, names) + self.run(projection, x, train, names))
            else:
                x = SIMPLE[kind](x)
        return x


def shortcut(x, stride, outputs):
    return jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, outputs - x.shape[-1])])


SIMPLE = {
    "relu": linen.relu,
    "flatten": lambda x: x.reshape(len(x), -1),
    "mean": lambda x: x.mean((1, 2)),
}
THEIRS = {"offset": "bias"}


def build(net: nets.Net, params, state, batch, *, dtype: str = "float32", compilations: int = 3):
    module, layer = Net(net.operations, dtype), net.layer()
    own = nets.in_order(layer, params)
    theirs = {f"layer{i}": {THEIRS.get(n, n): v for n, v in one.items()} for i, one in enumerate(own)}
    stats = {
        f"layer{i}": {"mean": np.zeros_like(one["scale"]), "var": np.ones_like(one["scale"])}
        for i, one in enumerate(own)
        if "scale" in one
    }

    def loss(params, stats, x, labels):
        variables = {"params": params, "batch_stats": stats}
        logits, changed = module.apply(variables, x, True, mutable=["batch_stats"])
        return jitted.cross_entropy(logits, labels), changed.get("batch_stats", {})

    def to_leaves(grads):
        leaves = []
        for i, one in enumerate(own):
            leaves += [np.asarray(grads[f"layer{i}"][THEIRS.get(name, name)]) for name in sorted(one)]
        return leaves

    infer = lambda params, stats, x: module.apply({"params": params, "batch_stats": stats}, x, False)
    theirs, stats = jax.device_put((theirs, stats))
    return jitted.peer(loss, infer, theirs, stats, batch, to_leaves, compilations=compilations)
