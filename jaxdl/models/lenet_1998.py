"""LeNet-5 as published: trained subsampling, a partial connection table and RBF units. [Lecture row I]"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdl import initializers, layers, nn, numerics
from jaxdl.nn.layer import checked, own_arrays

# the paper's table I: the maps of S2 that feed each of the sixteen maps of C3
CONNECTIONS = [
    *[(0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)],
    *[(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)],
    *[(0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)],
    (0, 1, 2, 3, 4, 5),
]

# 7x12 drawings of the digits, the centres of the RBF units; drawn anew, because the paper has them only in a figure
DIGITS = """
.#####. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
##...## ..###.. ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .####.. ##...## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. .....## ##..##. ######. ######. ....##. .##.##. ##...##
##...## ...##.. ....##. ..####. ##..##. ##...## ##...## ...##.. .#####. .######
##...## ...##.. ...##.. .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. ..##... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...##.. ##..... ##...## ....##. ##...## ##...## .##.... ##...## ....##.
##...## ...##.. ##..... ##...## ....##. ##...## ##...## .##.... ##...## ...##..
.#####. .###### ####### .#####. ....##. .#####. .#####. .##.... .#####. .###...
"""


def lenet5_1998(num_classes: int = 10) -> nn.Layer:
    """LeNet-5 of 1998, on 28x28 images padded to 32x32: C1, S2, C3, S4, C5, F6 and RBF outputs.

    It has 60,000 trained parameters on one channel: 156 + 12 + 1,516 + 32 + 48,120 + 10,164. The logits are the
    negative squared distances to the classes' drawings, so that `losses.softmax_cross_entropy` is the paper's
    criterion without the constant of its rubbish class.

    Args:
        num_classes: number of classes, at most 10, because only digits have a drawing.

    Weights are drawn uniformly from ±2.4/fan_in; biases start at 0. The squashing function is 1.7159 tanh(2x/3).

    Reference: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition,
    1998, https://doi.org/10.1109/5.726791.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.lenet5_1998(), (28, 28, 1))
        60000
    """
    codes = drawings()
    if not 1 <= num_classes <= len(codes):
        raise ValueError(f"num_classes: got {num_classes}, allowed are 1 to {len(codes)}, the digits with a drawing")
    net = nn.serial(
        c1=nn.Conv(6, 5, padding=2, kernel_init=_uniform),
        act1=scaled_tanh,
        s2=_subsample(),
        act2=scaled_tanh,
        c3=_table_conv(CONNECTIONS, 5),
        act3=scaled_tanh,
        s4=_subsample(),
        act4=scaled_tanh,
        c5=nn.Conv(120, 5, padding="VALID", kernel_init=_uniform),
        act5=scaled_tanh,
        flatten=nn.flatten,
        f6=nn.Dense(84, kernel_init=_uniform),
        act6=scaled_tanh,
        rbf=nn.function(lambda x: _minus_squared_distance(x, codes[:num_classes]), kind="rbf"),
    )
    return nn.sized("LeNet-5", net)


def scaled_tanh(x: Array) -> Array:
    """Return A tanh(S x) with A = 1.7159 and S = 2/3, which maps ±1 to ±1."""
    return 1.7159 * jnp.tanh(2 / 3 * x)


def drawings() -> np.ndarray:
    """Return the centres of the RBF units: ten rows of 84 values, +1 for ink and -1 for paper."""
    rows = [line.split() for line in DIGITS.split("\n") if line]
    return np.stack([[1.0 if dot == "#" else -1.0 for row in rows for dot in row[i]] for i in range(10)])


def _minus_squared_distance(x: Array, centres: np.ndarray) -> Array:
    return -jnp.sum((x[:, None, :] - jnp.asarray(centres, x.dtype)[None]) ** 2, axis=-1)


def _uniform(key, shape, dtype=jnp.float32):
    fan_in, _ = initializers.fans(shape)
    return initializers.uniform(2.4 / fan_in)(key, shape, dtype)


def _subsample() -> nn.Layer:
    """Return a layer that sums 2x2 windows, then applies one trained coefficient and one bias per channel."""

    def init(key, in_shape):
        scale = initializers.uniform(2.4 / 4)(nn.child_key(key, "scale"), (in_shape[-1],))
        return {"scale": scale, "bias": jnp.zeros(in_shape[-1])}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        shape = jnp.shape(x)[-1:]
        own = own_arrays("subsample", {"params": params, "state": state}, "params", {"scale": shape, "bias": shape})
        total = numerics.widen(4 * layers.avg_pool2d(x, window=2))  # both gradients sum over all positions
        scale, bias = (own[name].astype(total.dtype)[None, None, None, :] for name in ("scale", "bias"))
        return (total * scale + bias).astype(numerics.result_dtype(x, own["scale"])), state

    pool = nn.AvgPool(2)
    return checked(nn.Layer(init, apply, pool.out_shape, {}, pool.op._replace(kind="subsample")))


def _table_conv(table, window: int) -> nn.Layer:
    """Return a convolution whose output channel o sees only the input channels ``table[o]``.

    Its kernel is ``(window, window, connections)``, with one connection per (input, output) pair in the table's order.
    """
    sources = np.array([i for inputs in table for i in inputs])
    targets = np.array([o for o, inputs in enumerate(table) for _ in inputs])
    bounds = np.array([2.4 / (window**2 * len(inputs)) for inputs in table for _ in inputs], np.float32)
    dense = nn.Conv(len(table), window, padding="VALID")

    def check(in_shape):
        if len(in_shape) == 3 and in_shape[-1] != sources.max() + 1:
            raise ValueError(f"in_shape: got {tuple(in_shape)}, the table connects {sources.max() + 1} channels")
        return dense.out_shape(in_shape)

    def init(key, in_shape):
        check(in_shape)
        draws = initializers.uniform(1.0)(nn.child_key(key, "kernel"), (window, window, len(sources)))
        return {"kernel": draws * bounds[None, None], "bias": jnp.zeros(len(table))}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        shapes = {"kernel": (window, window, len(sources)), "bias": (len(table),)}
        arrays = own_arrays("table_conv", {"params": params, "state": state}, "params", shapes)
        own = arrays["kernel"]
        kernel = jnp.zeros((window, window, x.shape[-1], len(table)), own.dtype).at[:, :, sources, targets].set(own)
        return layers.conv2d(x, kernel, arrays["bias"], padding="VALID"), state

    return checked(nn.Layer(init, apply, check, {}, dense.op._replace(kind="table_conv")))
