"""Shapes of one example, as the layers check and compute them without computing anything else."""

import math
from collections.abc import Sequence
from typing import Any

from jaxdl import sizes
from jaxdl.nn.layer import Op, Shape, is_shape


def same_shape(in_shape: Sequence[int]) -> Shape:
    """Return the shape as it came."""
    return tuple(in_shape)


def of_one_array(what: str, in_shape: Any) -> Shape:
    """Return the shape as it came, or raise ValueError for several inputs."""
    if not is_shape(in_shape):
        several = f"{what} takes one array; nn.pick(0, nn.{what}(...)) takes the first of several inputs"
        raise ValueError(f"in_shape: got {in_shape!r}, but {several}")
    return tuple(in_shape)


def channels(what: str, in_shape: Any) -> int:
    """Return the length of the last axis; that of a batch may be symbolic, as in `jax.export`.

    Raises:
        ValueError: there is no axis, or several inputs.
    """
    if not isinstance(in_shape, tuple | list) or not len(in_shape) or not is_shape(in_shape[-1:]):
        raise ValueError(f"in_shape: got {in_shape!r}, but {what} takes at least one axis, the last being its channels")
    return in_shape[-1]


def image_shape(what: str, in_shape: Any) -> Shape:
    """Return (height, width, channels), or raise ValueError."""
    return _of_rank(what, in_shape, 3, "images (height, width, channels)")


def sequence_shape(what: str, in_shape: Any) -> Shape:
    """Return (steps, features), or raise ValueError."""
    return _of_rank(what, in_shape, 2, "sequences (steps, features)")


def of_axes(what: str, in_shape: Any, axes: int) -> Shape:
    """Return the shape of an image or a sequence, for layers with windows along so many axes."""
    return image_shape(what, in_shape) if axes == 2 else sequence_shape(what, in_shape)


def several(what: str, in_shape: Any, parts: str, number: int) -> tuple[Any, ...]:
    """Return the shapes of several inputs, or raise ValueError.

    Args:
        what: the layer's name, for the message.
        in_shape: should be a tuple of shapes.
        parts: what the inputs are, for the message.
        number: how many they are.
    """
    if is_shape(in_shape) or not isinstance(in_shape, tuple | list) or len(in_shape) != number:
        raise ValueError(f"in_shape: got {in_shape!r}, but {what} takes a tuple of the shapes of {parts}")
    return tuple(in_shape)


def flat(in_shape: Any) -> Shape:
    """Return the shape of a flattened example."""
    if not is_shape(in_shape):
        raise ValueError(f"in_shape: got {in_shape!r}, but flatten takes one array")
    return (math.prod(in_shape),)


def window_op(kind: str, window, stride, padding, dilation, axes: int = 2) -> Op:
    """Return the options once per axis, checked."""
    windows, strides = _ints("window", window, axes), _ints("stride", stride, axes)
    paddings, dilations = sizes.per_axis("padding", padding, axes), _ints("dilation", dilation, axes)
    op = Op(kind, windows, strides, paddings, dilations)
    for axis in range(axes):
        amounts(op, axis)
    return op


def amounts(op: Op, axis: int) -> tuple[int, int]:
    """Return how much is padded before and after one axis."""
    length = op.window[axis]  # only "SAME" depends on the length, and is never wrong
    options = {"stride": op.stride[axis], "padding": op.padding[axis], "dilation": op.dilation[axis]}
    return sizes.padding_amounts(length, op.window[axis], **options)


def spatial_shape(what: str, in_shape: Any, op: Op) -> Shape:
    """Return the lengths that a convolution or a pool leaves."""
    lengths = of_axes(what, in_shape, len(op.window))[:-1]
    per_axis = zip(lengths, op.window, op.stride, op.padding, op.dilation, strict=True)
    return tuple(sizes.output_length(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in per_axis)


def _of_rank(what: str, in_shape: Any, rank: int, allowed: str) -> Shape:
    if not is_shape(in_shape) or len(in_shape) != rank:
        raise ValueError(f"in_shape: got {in_shape!r}, but {what} takes {allowed}")
    return tuple(in_shape)


def _ints(name: str, value: int | Sequence[int], axes: int) -> Shape:
    numbers = sizes.per_axis(name, value, axes)
    for one in numbers:
        sizes.check_at_least_one(name, one)
    return numbers
