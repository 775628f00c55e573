"""Convolutions and transposed convolutions over images and sequences."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxdl import layers, sizes
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, Shape, checked, declared
from jaxdl.nn.leaves import affine_params, init_affine


@declared
def Conv(
    features: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init=None,
    bias_init=None,
    method: str | None = None,
) -> Layer:
    """2-D convolution of ``(h, w, c)`` images; params ``kernel (kh, kw, c // groups, features)`` and ``bias``.

    Args:
        features: number of output channels, divisible by ``groups``.
        window, stride, dilation: one int or (height, width).
        padding: "SAME", "VALID", "FULL", an int or pairs, as in `layers.conv2d`.
        groups: number of groups of channels that do not see one another.
        bias: whether to add a bias.
        kernel_init, bias_init: as in `Dense`.
        method: algorithm, as in `layers.conv2d`; "xla" opts out of the choice by shape.

    Examples:
        >>> nn.Conv(4, 3, stride=2).out_shape((8, 8, 3))
        (4, 4, 4)
        >>> params, state = nn.Conv(4, 3).init(jax.random.key(0), (8, 8, 3))
        >>> params["kernel"].shape, params["bias"].shape
        ((3, 3, 3, 4), (4,))
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    affine = {"bias": bias, "kernel_init": kernel_init, "bias_init": bias_init}
    return _conv("Conv", layers.conv2d, 2, features, window, options, affine, method)


@declared
def Conv1d(
    features: int,
    window: int,
    *,
    stride: int = 1,
    padding: sizes.Padding = "SAME",
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init=None,
    bias_init=None,
    method: str | None = None,
) -> Layer:
    """1-D convolution of ``(n, c)`` sequences; params ``kernel (k, c // groups, features)`` and ``bias``. See `Conv`.

    ``padding=(dilation * (window - 1), 0)`` makes it causal.

    Examples:
        >>> nn.Conv1d(4, 3).out_shape((8, 3))
        (8, 4)
    """
    options = {"stride": stride, "padding": _one_axis(padding), "dilation": dilation, "groups": groups}
    affine = {"bias": bias, "kernel_init": kernel_init, "bias_init": bias_init}
    return _conv("Conv1d", layers.conv1d, 1, features, window, options, affine, method)


@declared
def ConvTranspose(
    features: int,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Any = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    output_padding: int | Sequence[int] = 0,
    bias: bool = True,
    kernel_init=None,
    bias_init=None,
) -> Layer:
    """Transposed 2-D convolution of ``(h, w, c)`` images. See `layers.conv_transpose2d`.

    Params ``kernel (kh, kw, c // groups, features)``, which is not flipped, and ``bias``.

    Args:
        features, window, groups, bias, kernel_init, bias_init: as in `Conv`.
        stride: distance between the places of neighbouring inputs: "SAME" makes the image so many times as large.
        padding: how much is cropped.
        dilation: distance between neighbouring weights.
        output_padding: rows and columns that are cropped less at the end, below max(stride, dilation).

    Examples:
        >>> nn.ConvTranspose(4, 3, stride=2).out_shape((4, 4, 3))
        (8, 8, 4)
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    affine = {"bias": bias, "kernel_init": kernel_init, "bias_init": bias_init}
    function = layers.conv_transpose2d
    return _conv_transpose("ConvTranspose", function, 2, features, window, options, affine, output_padding)


@declared
def ConvTranspose1d(
    features: int,
    window: int,
    *,
    stride: int = 1,
    padding: sizes.Padding = "SAME",
    dilation: int = 1,
    groups: int = 1,
    output_padding: int = 0,
    bias: bool = True,
    kernel_init=None,
    bias_init=None,
) -> Layer:
    """Transposed 1-D convolution of ``(n, c)`` sequences. See `ConvTranspose`.

    Examples:
        >>> nn.ConvTranspose1d(4, 3, stride=2).out_shape((4, 3))
        (8, 4)
    """
    options = {"stride": stride, "padding": _one_axis(padding), "dilation": dilation, "groups": groups}
    affine = {"bias": bias, "kernel_init": kernel_init, "bias_init": bias_init}
    function = layers.conv_transpose1d
    return _conv_transpose("ConvTranspose1d", function, 1, features, window, options, affine, output_padding)


def _one_axis(padding: sizes.Padding) -> Any:
    return (tuple(padding),) if isinstance(padding, list | tuple) else padding


def _conv(what: str, convolve: Callable, axes: int, features: int, window, options, affine, method) -> Layer:
    op = _op("conv", axes, features, window, options)
    each = _per_layer(op, axes) | {"method": method}

    def out_shape(in_shape):
        sizes.check_groups(op.groups, shapes.of_axes(what, in_shape, axes)[-1], features)
        return (*shapes.spatial_shape(what, in_shape, op), features)

    return _layer(what, op, features, affine, lambda x, *arrays: convolve(x, *arrays, **each), out_shape)


def _conv_transpose(what, convolve: Callable, axes: int, features: int, window, options, affine, more) -> Layer:
    op = _op("conv_transpose", axes, features, window, options)
    output_padding = sizes.per_axis("output_padding", more, axes)
    for axis in range(axes):
        _cropped(op, output_padding, axis)
    each = _per_layer(op, axes) | {"output_padding": output_padding if axes > 1 else output_padding[0]}

    def out_shape(in_shape):
        *lengths, channels = shapes.of_axes(what, in_shape, axes)
        sizes.check_groups(op.groups, channels, features)
        axis_options = [_axis_options(op, output_padding, axis) for axis in range(axes)]
        per_axis = zip(lengths, op.window, axis_options, strict=True)
        return (*(sizes.transposed_length(n, k, **one) for n, k, one in per_axis), features)

    return _layer(what, op, features, affine, lambda x, *arrays: convolve(x, *arrays, **each), out_shape)


def _layer(what: str, op, features: int, affine, convolve: Callable, out_shape: Callable) -> Layer:
    bias = affine["bias"]

    def init(key, in_shape):
        channels = shapes.of_axes(what, in_shape, len(op.window))[-1]
        sizes.check_groups(op.groups, channels, features)
        kernel_shape = (*op.window, channels // op.groups, features)
        return init_affine(key, kernel_shape, **affine), {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        return convolve(x, *affine_params(what, params, state, (*op.window, None, features), bias)), state

    return checked(Layer(init, apply, out_shape, {}, op))


def _op(kind: str, axes: int, features: int, window, options):
    sizes.check_at_least_one("features", features)
    sizes.check_groups(options["groups"], features)
    op = shapes.window_op(kind, window, options["stride"], options["padding"], options["dilation"], axes)
    return op._replace(groups=options["groups"])


def _per_layer(op, axes: int) -> dict[str, Any]:
    """Return the options as the function takes them: of one axis not in a tuple."""
    values = {"stride": op.stride, "padding": op.padding, "dilation": op.dilation}
    return {name: value if axes > 1 else value[0] for name, value in values.items()} | {"groups": op.groups}


def _axis_options(op, output_padding: Shape, axis: int) -> dict[str, Any]:
    options = {"stride": op.stride[axis], "padding": op.padding[axis], "dilation": op.dilation[axis]}
    return options | {"output_padding": output_padding[axis]}


def _cropped(op, output_padding: Shape, axis: int) -> tuple[int, int]:
    return sizes.crop_amounts(op.window[axis], **_axis_options(op, output_padding, axis))
