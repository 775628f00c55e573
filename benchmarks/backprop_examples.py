"""Small examples for every pair of `jaxdl.backprop`, each with a function that has the right gradient.

The tests and `benchmarks.mutants` share these examples. Their values are generic, so that no two terms cancel by
accident; `TIES` holds inputs at kinks and ties, where only a rule decides.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, layers, losses
from jaxdl.kernels import METHODS, axes_of

__all__ = ["EXAMPLES", "TIES", "Example", "examples"]

KEY = jax.random.key(3)
_random = np.random.default_rng(7)
_apart = np.random.default_rng(8)  # for later examples, so that they do not change the draws of the earlier ones


class Example(NamedTuple):
    """A call of a pair."""

    oracle: Callable[..., Any]  # computes the same differently
    args: tuple[Any, ...]  # keys, float64 arrays, labels, None
    options: Mapping[str, Any] = MappingProxyType({})
    backward_options: Mapping[str, Any] = MappingProxyType({})


def _normal(*shape: int) -> np.ndarray:
    return _random.normal(size=shape)


def _between(low: float, high: float, *shape: int) -> np.ndarray:
    return _random.uniform(low, high, size=shape)


def _batch_norm_train(x, scale=None, offset=None, *, axis=None, eps=1e-5):
    return layers.batch_norm(x, *layers.batch_statistics(x, axis=axis), scale, offset, eps=eps)


def _places(x: jax.Array, window, stride=None, padding="VALID") -> tuple[jax.Array, np.ndarray]:
    """Return what each window of a pool reads, (..., h2, w2, places, c), and what of it lies in the image."""
    stride = window if stride is None else stride
    lengths = x.shape[-3:-1]
    axes = axes_of(lengths, window, stride, padding)
    starts = [axis.stride * np.arange(axis.outputs)[:, None] - axis.low for axis in axes]
    rows, columns = (start + np.arange(axis.size) for start, axis in zip(starts, axes, strict=True))
    index = np.stack(np.broadcast_arrays(rows[:, None, :, None], columns[None, :, None, :]))
    index = index.reshape(2, *index.shape[1:3], -1)
    inside = ((index >= 0) & (index < np.reshape(lengths, (2, 1, 1, 1)))).all(0)
    row, column = np.where(inside, index, 0)
    return x[..., row, column, :], inside.reshape((1,) * (x.ndim - 3) + inside.shape + (1,))


def _max_pool(x, *, window=2, **options):
    read, inside = _places(x, window, **options)
    largest = jnp.where(inside, read, -jnp.inf).max(-2, keepdims=True)
    # among equals of −inf, prefer a place inside the image
    first = jnp.argmax(inside & ((read == largest) | jnp.isnan(read)), -2, keepdims=True)
    return jnp.take_along_axis(read, jax.lax.stop_gradient(first), -2)[..., 0, :]


def _avg_pool(x, *, window=2, count_padding=False, **options):
    read, inside = _places(x, window, **options)
    return jnp.where(inside, read, 0).sum(-2) / (inside.shape[-2] if count_padding else inside.sum(-2))


def _l2_pool(x, *, window=2, **options):
    read, inside = _places(x, window, **options)
    squares = jnp.where(inside, read**2, 0).sum(-2)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def _weighted_pool(x, weights, **options):
    read, inside = _places(x, weights.shape, **options)
    weights = jnp.where(inside, weights.reshape((1,) * (read.ndim - 2) + (-1, 1)), 0)
    return (weights * read).sum(-2) / weights.sum(-2)


# both branches of each piecewise function, away from its kinks, and more than one axis
_Z = np.array([[-7.3, -2.1, -0.7, 0.4], [1.3, 2.6, 5.2, 8.1]])
_IMAGE = np.concatenate([_normal(2, 5, 4, 2), _apart.normal(size=(2, 5, 4, 1))], -1)

EXAMPLES: dict[str, list[Example]] = {
    **{name: [Example(getattr(activations, name), (_Z,))] for name in ("linear", "threshold", "relu", "relu6")},
    **{name: [Example(getattr(activations, name), (_Z / 2,))] for name in ("sigmoid", "tanh", "softplus")},
    "leaky_relu": [Example(activations.leaky_relu, (_Z,), {"negative_slope": 0.3})],
    "elu": [Example(activations.elu, (_Z,), {"alpha": 0.7})],
    "gelu": [Example(activations.gelu, (_Z / 3,), {"approximate": one}) for one in (False, True)],
    "swish": [Example(activations.swish, (_Z / 2,), {"beta": 1.7})],
    "softmax": [Example(activations.softmax, (_normal(2, 3, 2),), {"axis": axis}) for axis in (1, -1)],
    "log_softmax": [Example(activations.log_softmax, (_normal(2, 3, 2),), {"axis": axis}) for axis in (1, -1)],
    "noisy_relu": [
        Example(activations.noisy_relu, (KEY, _normal(12)), {"sigmoid_is": one}) for one in ("variance", "deviation")
    ],
    "dense": [
        Example(layers.dense, (_normal(2, 3, 4), _normal(4, 2), _normal(2))),
        Example(layers.dense, (_normal(4), _normal(4, 2), None)),
    ],
    "squared_error": [Example(losses.squared_error, (_normal(2, 3), _normal(2, 3)))],
    "half_squared_error": [
        Example(losses.half_squared_error, (_normal(2, 3), _normal(2, 3))),
        Example(losses.half_squared_error, (_normal(3), np.array([0, 1, -2]))),
    ],
    "binary_cross_entropy": [
        Example(losses.binary_cross_entropy, (_between(0.1, 0.9, 5), _between(0.1, 0.9, 5))),
        Example(losses.binary_cross_entropy, (np.array([0.04, 0.5, 0.97]), np.array([1, 0, 0])), {"eps": 0.1}),
    ],
    "sigmoid_binary_cross_entropy": [
        Example(losses.sigmoid_binary_cross_entropy, (3 * _normal(6), _between(0.1, 0.9, 6)))
    ],
    "softmax_cross_entropy": [
        Example(losses.softmax_cross_entropy, (_normal(2, 4), np.array([3, 1])), {"label_smoothing": 0.2}),
        Example(
            losses.softmax_cross_entropy, (_normal(2, 2, 3), _between(0.1, 0.9, 2, 2, 3)), {"label_smoothing": 0.2}
        ),
        Example(losses.softmax_cross_entropy, (_normal(2, 3), np.array([[0, 1, 0], [1, 0, 0]]))),
    ],
    "conv1d": [
        *(
            Example(
                layers.conv1d,
                (_normal(2, 6, 2), _normal(3, 2, 2), _normal(2)),
                {"stride": 2, "padding": (2, 1), "dilation": 2},
                {"method": method},
            )
            for method in METHODS
        ),
        # more examples than slices, or than a block of `benchmarks.mutants`, and no multiple of either
        *(
            Example(layers.conv1d, (_normal(count, 3, 1), _normal(2, 1, 1), None), {}, {"method": method})
            for count, method in ((9, "sliced"), (9, "patches"), (14, "blocked"))
        ),
        # one pixel of two channels, which is not one channel of two pixels
        Example(layers.conv1d, (_normal(3, 1, 2), _normal(1, 2, 1), None), {}, {"method": "patches"}),
        # rows whose columns can be folded, unless stride or dilation forbid it
        *(
            Example(layers.conv1d, (_normal(2, 8, 2), _normal(2, 2, 3), None), options, {"method": "folded"})
            for options in ({"padding": (0, 1)}, {"stride": 2, "padding": 0}, {"dilation": 2, "padding": 1})
        ),
        # a stride that does not divide twice the dilation
        Example(
            layers.conv1d,
            (_apart.normal(size=(2, 8, 1)), _apart.normal(size=(2, 1, 1)), None),
            {"stride": 3, "padding": 0},
            {"method": "padded"},
        ),
    ],
    "conv2d": [
        *(
            Example(
                layers.conv2d,
                (_normal(2, 4, 5, 4), _normal(2, 3, 2, 4), _normal(4)),
                {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2},
                {"method": method},
            )
            for method in METHODS
        ),
        Example(
            layers.conv2d,
            (_normal(2, 3, 4, 4), _normal(2, 3, 2, 2), None),
            {"padding": ((1, 0), (2, 2)), "groups": 2},
            {"method": "folded"},
        ),
        Example(layers.conv2d, (_normal(3, 4, 3, 1), _normal(3, 2, 1, 2), None), {}, {"method": "patches"}),
        Example(layers.conv2d, (_normal(4, 4, 1), _normal(2, 2, 1, 2), None), {"padding": "FULL", "stride": 3}),
        Example(layers.conv2d, (_normal(5, 5, 1), _normal(2, 2, 1, 1), None), {"padding": "VALID", "stride": 2}),
    ],
    "max_pool2d": [
        Example(_max_pool, (_IMAGE,)),
        Example(_max_pool, (_IMAGE,), {"window": 2, "stride": (3, 1)}),
        Example(_max_pool, (_IMAGE,), {"window": (3, 2), "stride": (2, 1), "padding": ((1, 2), 1)}),
    ],
    "avg_pool2d": [
        Example(_avg_pool, (_IMAGE,), {"window": (3, 2), "stride": (2, 1), "padding": ((1, 2), 1)}),
        Example(_avg_pool, (_IMAGE,), {"window": (2, 3), "padding": "SAME", "count_padding": True}),
        Example(_avg_pool, (_IMAGE,), {"window": (3, 2), "stride": (2, 1)}),
        Example(_avg_pool, (_IMAGE,), {"window": (2, 3), "stride": 2}),
    ],
    "l2_pool2d": [
        Example(_l2_pool, (_IMAGE,), {"window": (3, 2), "stride": (2, 1), "padding": ((1, 2), 1)}),
        Example(_l2_pool, (_IMAGE,)),
    ],
    "weighted_pool2d": [
        Example(_weighted_pool, (_IMAGE, _between(0.5, 2, 3, 2)), {"stride": (2, 1), "padding": ((1, 2), 1)}),
        Example(_weighted_pool, (_IMAGE, _between(0.5, 2, 2, 1)), {"stride": (3, 2)}),
    ],
    "batch_norm": [
        Example(layers.batch_norm, (_normal(3, 2, 2), _normal(2), _between(0.3, 2, 2), _normal(2), _normal(2))),
        Example(layers.batch_norm, (_normal(3, 4), _normal(3, 1), _between(0.3, 2, 3, 1), None, _normal(4))),
        Example(layers.batch_norm, (_normal(3, 4), _normal(4), _between(0.3, 2, 4), _normal(1, 4), None), {"eps": 0.1}),
    ],
    "batch_statistics": [
        Example(layers.batch_statistics, (_normal(4, 2, 3),)),
        Example(layers.batch_statistics, (_normal(4, 2, 3),), {"axis": (0, -1)}),
    ],
    "batch_norm_train": [
        Example(_batch_norm_train, (_normal(4, 2, 3), _normal(3), _normal(3))),
        Example(_batch_norm_train, (_normal(3, 4), None, _normal(4)), {"axis": -1, "eps": 0.1}),
        Example(_batch_norm_train, (_normal(3, 4), _normal(1, 4), None), {"axis": 1}),
    ],
    "local_response_norm": [
        Example(layers.local_response_norm, (_normal(2, 2, 5),), {"size": 4, "alpha": 0.3, "beta": 0.6, "k": 1.5}),
        Example(layers.local_response_norm, (_normal(2, 5),), {"size": 3, "alpha": 0.9, "k": 1.0, "per_size": True}),
    ],
    "dropout": [
        Example(layers.dropout, (KEY, _normal(12)), {"rate": 0.4, "mode": one}) for one in ("inverted", "as_drawn")
    ],
}

_TIED = _random.integers(0, 3, size=(2, 6, 5, 2)).astype(float)
_WITH_NAN = np.where(_TIED == 1, np.nan, _TIED)
_LOW = np.where(_TIED == 2, _TIED, -np.inf)
_POOL = {"window": 3, "stride": 2, "padding": 1}

TIES: dict[str, list[Example]] = {
    **{
        name: [Example(getattr(activations, name), (np.array([0.0, 6.0]),))] for name in ("relu", "relu6", "leaky_relu")
    },
    "threshold": [Example(activations.threshold, (np.array([0.0, np.nan]),))],
    "elu": [Example(activations.elu, (np.array([0.0]),), {"alpha": 0.7})],
    "max_pool2d": [
        *(Example(_max_pool, (x,), options) for x in (_TIED, _WITH_NAN) for options in ({}, _POOL)),
        # values as small as the padding, in one pass and in two
        *(Example(_max_pool, (_LOW,), {"window": size, "stride": 2, "padding": 1}) for size in (2, 3)),
    ],
    "conv2d": [  # no examples
        Example(layers.conv2d, (np.zeros((0, 5, 6, 2)), _normal(2, 3, 1, 4), None), {"groups": 2}, {"method": method})
        for method in METHODS
    ],
    "l2_pool2d": [Example(_l2_pool, (_TIED * (_TIED > 1),), {"window": 2})],
    "binary_cross_entropy": [
        Example(losses.binary_cross_entropy, (np.array([0.0, 1.0, 0.1, 0.9]), np.array([1, 0, 1, 0])), {"eps": 0.1})
    ],
    "softmax_cross_entropy": [
        Example(losses.softmax_cross_entropy, (np.array([[0.3, -np.inf, 1.0]]), np.array([2]))),
        Example(losses.softmax_cross_entropy, (_normal(2, 3), np.array([3, -1]))),
    ],
}


def examples(name: str) -> list[Example]:
    """Return every example of a pair, with those at ties last."""
    return EXAMPLES[name] + TIES.get(name, [])
