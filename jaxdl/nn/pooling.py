"""Pools over windows and over whole images, and the way back from a pool."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxdl import layers, sizes
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, checked, declared, function, no_init

global_avg_pool = function(layers.global_avg_pool2d, kind="global_avg_pool")


@declared
def MaxPool(window: int | Sequence[int], *, stride=None, padding: Any = "VALID") -> Layer:
    """Maximum over windows, per channel. See `layers.max_pool2d`.

    Examples:
        >>> nn.MaxPool(2).out_shape((4, 4, 3))
        (2, 2, 3)
    """
    return _pool("max_pool", layers.max_pool2d, window, stride, padding)


@declared
def AvgPool(window: int | Sequence[int], *, stride=None, padding: Any = "VALID") -> Layer:
    """Mean over windows, per channel. See `layers.avg_pool2d`.

    Examples:
        >>> nn.AvgPool(2).out_shape((4, 4, 3))
        (2, 2, 3)
    """
    return _pool("avg_pool", layers.avg_pool2d, window, stride, padding)


@declared
def MaxUnpool(window: int | Sequence[int], *, stride=None, size: Sequence[int] | None = None) -> Layer:
    """Put values back where their maxima were; takes a pair (values, places). See `layers.max_unpool2d`.

    ``parallel(tuple, values=MaxPool(2), places=layers.max_pool2d_argmax)`` gives such a pair.

    Args:
        window, stride: those of the pool, without padding.
        size: (height, width) of the result; None for the smallest image that the pool takes to the values' size.

    Raises:
        ValueError: from ``init`` and ``out_shape`` for what is no pair of images of one shape.

    Examples:
        >>> nn.MaxUnpool(2).out_shape(((2, 2, 3), (2, 2, 3)))
        (4, 4, 3)
    """
    op = shapes.window_op("max_unpool", window, window if stride is None else stride, "VALID", 1)
    wanted = None if size is None else sizes.per_axis("size", size, 2)

    def out_shape(in_shape):
        values, places = shapes.several("MaxUnpool", in_shape, "the values and of their places", 2)
        height, width, channels = shapes.image_shape("MaxUnpool", values)
        if places != values:
            raise ValueError(f"in_shape: got {in_shape}, but MaxUnpool takes values and places of one shape")
        return (*(wanted or whole((height, width))), channels)

    def whole(lengths):
        per_axis = zip(lengths, op.window, op.stride, strict=True)
        return tuple(s * (n - 1) + k for n, k, s in per_axis)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        values, places = x
        return layers.max_unpool2d(values, places, size=wanted or whole(jnp.shape(values)[1:3])), state

    def init(key, in_shape):
        out_shape(in_shape)
        return no_init(key, in_shape)

    op = op._replace(input_dtype={1: jnp.int32})
    return checked(Layer(init, apply, out_shape, {}, op))


def _pool(kind: str, pool: Callable[..., Array], window, stride, padding) -> Layer:
    op = shapes.window_op(kind, window, window if stride is None else stride, padding, 1)
    for axis in range(2):
        if max(shapes.amounts(op, axis)) >= op.window[axis]:
            raise ValueError(f"padding: got {padding!r}, allowed is less than the window {op.window}")

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del params, train, key, axis_name
        return pool(x, window=op.window, stride=op.stride, padding=op.padding), state

    def out_shape(in_shape):
        return (*shapes.spatial_shape(kind, in_shape, op), in_shape[2])

    return checked(Layer(no_init, apply, out_shape, {}, op))
