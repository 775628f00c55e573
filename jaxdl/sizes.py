"""Sizes of convolutions and pools in Python ints: lengths, parameters, multiply-adds and receptive fields.

`kernels`, `layers` and `backprop` follow this arithmetic, and `nn` uses it to infer shapes without computing anything.
`padding` along one axis of n values is one of these, with stride s, window k and dilation d:

* "SAME" gives ⌈n/s⌉ outputs; the end gets the larger half of an odd amount.
* "VALID" adds nothing, and "FULL" adds d(k−1) on both sides, so that every overlap counts.
* An int p adds p on both sides, and a pair (p_low, p_high) adds different amounts.

Names may be written in lower case, as in "same".

[Lecture rows H3, H6]
"""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

Padding = str | int | tuple[int, int]

__all__ = [
    "Window",
    "check_at_least_one",
    "check_groups",
    "check_recurrent",
    "check_state",
    "conv_multiply_adds",
    "conv_parameters",
    "crop_amounts",
    "dense_multiply_adds",
    "dense_parameters",
    "output_length",
    "padding_amounts",
    "per_axis",
    "receptive_field",
    "transposed_length",
]


class Window(NamedTuple):
    """Window of a convolution or a pool along one axis."""

    size: int
    stride: int = 1
    dilation: int = 1


def padding_amounts(
    length: int, window: int, *, stride: int = 1, padding: Padding = "VALID", dilation: int = 1
) -> tuple[int, int]:
    """Return the amounts that `padding` adds before and after an axis of `length` values.

    Raises:
        ValueError: a window, stride or dilation below 1, a negative padding, or a padding of unknown name.

    Examples:
        >>> sizes.padding_amounts(5, 3, padding="SAME"), sizes.padding_amounts(6, 3, stride=2, padding="SAME")
        ((1, 1), (0, 1))
        >>> sizes.padding_amounts(5, 3, dilation=2, padding="FULL")
        (4, 4)
    """
    for name, value in (("window", window), ("stride", stride), ("dilation", dilation)):
        check_at_least_one(name, value)
    extent = dilation * (window - 1) + 1
    name = padding.upper() if isinstance(padding, str) else None  # Keras and PyTorch write "same"
    match padding:
        case _ if name == "SAME":
            total = max((math.ceil(length / stride) - 1) * stride + extent - length, 0)
            return total // 2, total - total // 2
        case _ if name == "VALID":
            return 0, 0
        case _ if name == "FULL":
            return extent - 1, extent - 1
        case int() if padding >= 0:
            return padding, padding
        case (int(low), int(high)) if low >= 0 and high >= 0:
            return low, high
    allowed = "'SAME', 'VALID', 'FULL', an int ≥ 0 or a pair of them"
    raise ValueError(f"padding: got {padding!r}, allowed are {allowed}")


def output_length(length: int, window: int, *, stride: int = 1, padding: Padding = "VALID", dilation: int = 1) -> int:
    """Return the output length of a convolution or a pool: ⌊(n + p_low + p_high − d(k−1) − 1)/s⌋ + 1.

    Args:
        length: input length n.
        window: k, the number of values in the window.
        stride: s.
        padding: see the top of this module.
        dilation: d, the distance between neighbouring values of the window.

    Raises:
        ValueError: an invalid argument, or a window larger than the padded input.

    Reference: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, 2016.
    https://arxiv.org/abs/1603.07285.

    Examples:
        >>> sizes.output_length(224, 7, stride=2, padding=3)  # ResNet's first layer: (224 + 6 - 7) // 2 + 1
        112
        >>> sizes.output_length(5, 2, stride=2), sizes.output_length(5, 2, stride=2, padding="SAME")
        (2, 3)

    [Lecture row H3]
    """
    low, high = padding_amounts(length, window, stride=stride, padding=padding, dilation=dilation)
    extent = dilation * (window - 1) + 1
    if extent > length + low + high:
        raise ValueError(
            f"window: got {window} (dilation {dilation}, so {extent} values wide), "
            f"allowed is at most the padded input length {length + low + high}"
        )
    return (length + low + high - extent) // stride + 1


def transposed_length(
    length: int,
    window: int,
    *,
    stride: int = 1,
    padding: Padding = "VALID",
    dilation: int = 1,
    output_padding: int = 0,
) -> int:
    """Return the output length of a transposed convolution: s(n − 1) + d(k−1) + 1 − c_low − c_high + o.

    "SAME" gives s·n, "VALID" crops nothing, and ints and pairs are the cropped amounts c. The output padding o reduces
    the crop at the end, which selects one of the lengths that the convolution maps to n.

    Raises:
        ValueError: an invalid argument, no input, or a crop that leaves nothing.

    Examples:
        >>> sizes.transposed_length(4, 3, stride=2)  # 2 * (4 - 1) + 3
        9
        >>> sizes.transposed_length(4, 3, stride=2, padding="SAME")
        8
    """
    check_at_least_one("length", length)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    low, high = crop_amounts(window, **options)
    result = stride * (length - 1) + dilation * (window - 1) + 1 - low - high
    if result < 1:
        raise ValueError(f"padding: got {padding!r}, which leaves {result} of the output; allowed is less")
    return result


def crop_amounts(
    window: int, *, stride: int, padding: Padding, dilation: int, output_padding: int = 0
) -> tuple[int, int]:
    """Return the amounts that a transposed convolution crops, which the convolution it transposes pads.

    A negative amount stands for appended zeros: "SAME" appends them for a window smaller than the stride, and so does
    an output padding larger than the crop.

    Raises:
        ValueError: an output padding that is not an int in [0, max(stride, dilation)).

    Examples:
        >>> sizes.crop_amounts(3, stride=2, padding="SAME", dilation=1)
        (0, 1)
        >>> sizes.crop_amounts(3, stride=2, padding=1, dilation=1, output_padding=1)
        (1, 0)
    """
    if not isinstance(output_padding, Integral) or not 0 <= output_padding < max(stride, dilation):
        allowed = f"ints from 0 to max(stride, dilation) − 1 = {max(stride, dilation) - 1}"
        raise ValueError(f"output_padding: got {output_padding!r}, allowed are {allowed}")
    low, high = padding_amounts(stride, window, stride=stride, padding=padding, dilation=dilation)
    if isinstance(padding, str) and padding.upper() == "SAME":
        high = dilation * (window - 1) + 1 - stride - low
    return low, high - output_padding


def conv_parameters(
    window: Sequence[int], channels_in: int, channels_out: int, *, groups: int = 1, bias: bool = True
) -> int:
    """Return the number of parameters of a convolution: ∏k · c_in/groups · c_out weights and c_out biases.

    Raises:
        ValueError: `groups` does not divide both numbers of channels, or an int for a window, which leaves its axes
            open.

    Examples:
        >>> sizes.conv_parameters((3, 3), 16, 32)  # 3 * 3 * 16 * 32 + 32
        4640
        >>> sizes.conv_parameters((3, 3), 16, 16, groups=16, bias=False)  # depthwise
        144

    [Lecture rows H3, H6]
    """
    _check_lengths("window", window)
    check_groups(groups, channels_in, channels_out)
    return math.prod(window) * (channels_in // groups) * channels_out + bias * channels_out


def dense_parameters(features_in: int, features_out: int, *, bias: bool = True) -> int:
    """Return the number of parameters of a dense layer: n_in · n_out weights and n_out biases.

    Examples:
        >>> sizes.dense_parameters(784, 10)  # 784 * 10 + 10
        7850

    [Lecture row H6]
    """
    return features_in * features_out + bias * features_out


def conv_multiply_adds(
    out_shape: Sequence[int], window: Sequence[int], channels_in: int, channels_out: int, *, groups: int = 1
) -> int:
    """Return the number of multiply-adds of a convolution for one example, without biases.

    One multiply-add is two floating-point operations, but papers that report FLOPs mostly count multiply-adds.

    Args:
        out_shape: spatial lengths of the output, without channels.
        window: spatial lengths of the kernel.
        channels_in: number of input channels.
        channels_out: number of output channels.
        groups: number of channel groups.

    Examples:
        The first layer of AlexNet: 55 x 55 outputs of 96 channels, each of 11 x 11 x 3 products.

        >>> sizes.conv_multiply_adds((55, 55), (11, 11), 3, 96)
        105415200
    """
    _check_lengths("out_shape", out_shape)
    weights = conv_parameters(window, channels_in, channels_out, groups=groups, bias=False)
    return math.prod(out_shape) * weights


def dense_multiply_adds(features_in: int, features_out: int) -> int:
    """Return the number of multiply-adds of a dense layer for one example, without biases.

    Examples:
        >>> sizes.dense_multiply_adds(784, 10)
        7840
    """
    return features_in * features_out


def receptive_field(stack: Sequence[Window | tuple[int, ...]]) -> int:
    """Return the receptive field of a stack of layers: how many inputs along one axis one output sees.

    r = 1 + Σ_l d_l (k_l − 1) ∏_{i<l} s_i, with layers counted from the input.

    Args:
        stack: one `Window` or tuple (size, stride, dilation) per layer, first layer first.

    Reference: Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks, 2019.
    https://distill.pub/2019/computing-receptive-fields.

    Examples:
        Two 3x3 convolutions see as much as one of 5x5. The second layer of a pair counts by the first one's stride:

        >>> sizes.receptive_field([(3, 1, 1), (3, 1, 1)])
        5
        >>> sizes.receptive_field([sizes.Window(3, stride=2), sizes.Window(3)])  # 1 + 2 + 2 * 2
        7

    [Lecture rows H1, H3]
    """
    field, jump = 1, 1
    for layer in stack:
        if isinstance(layer, Integral):
            raise ValueError(f"stack: got {layer} for a layer, allowed are tuples (size, stride, dilation), or (size,)")
        size, stride, dilation = Window(*layer)
        for name, value in (("window", size), ("stride", stride), ("dilation", dilation)):
            check_at_least_one(name, value)
        field += dilation * (size - 1) * jump
        jump *= stride
    return field


def check_at_least_one(name: str, value: int) -> None:
    """Raise ValueError that names the argument unless it is an int ≥ 1.

    Examples:
        >>> sizes.check_at_least_one("stride", 0)
        Traceback (most recent call last):
            ...
        ValueError: stride: got 0, allowed are ints ≥ 1
    """
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name}: got {value!r}, allowed are ints ≥ 1")


def _check_lengths(name: str, lengths: Sequence[int]) -> None:
    if isinstance(lengths, Integral):
        raise ValueError(f"{name}: got {lengths}, allowed is one int for each spatial axis, such as (3, 3)")


def check_groups(groups: int, channels_in: int, channels_out: int | None = None) -> None:
    """Raise ValueError unless `groups` divides the number of channels, or both numbers.

    Examples:
        >>> sizes.check_groups(3, 8, 6)
        Traceback (most recent call last):
            ...
        ValueError: groups: got 3, allowed are common divisors of 8 input channels and 6 output channels
    """
    check_at_least_one("groups", groups)
    if channels_out is None and channels_in % groups:
        raise ValueError(f"groups: got {groups}, allowed are divisors of {channels_in} channels")
    if channels_out is not None and (channels_in % groups or channels_out % groups):
        raise ValueError(
            f"groups: got {groups}, allowed are common divisors of {channels_in} input channels "
            f"and {channels_out} output channels"
        )


def check_recurrent(units: int, kernel: tuple[int, ...], recurrent_kernel: tuple[int, ...], gates: int) -> None:
    """Raise ValueError for kernels that do not belong to a state of so many units.

    Examples:
        >>> from jaxdl import sizes
        >>> sizes.check_recurrent(4, (3, 16), (4, 16), 4)
        >>> sizes.check_recurrent(4, (3, 16), (3, 16), 4)
        Traceback (most recent call last):
            ...
        ValueError: recurrent_kernel: got shape (3, 16), allowed is (4, 16) for a state of 4 units
    """
    if kernel[-1] != gates * units:
        raise ValueError(f"kernel: got {kernel[-1]} columns, allowed are {gates} · units = {gates * units}")
    allowed = (units, gates * units)
    if recurrent_kernel != allowed:
        got = f"recurrent_kernel: got shape {recurrent_kernel}"
        raise ValueError(f"{got}, allowed is {allowed} for a state of {units} units")


def check_state(name: str, shape: tuple[int, ...], sequences: tuple[int, ...]) -> None:
    """Raise ValueError for a state ``(..., units)`` that lacks leading dimensions of sequences ``(..., t, d)``.

    Examples:
        >>> from jaxdl import sizes
        >>> sizes.check_state("h", (3, 4), (3, 5, 2))
        >>> sizes.check_state("h", (4,), (3, 5, 2))
        Traceback (most recent call last):
            ...
        ValueError: h: got shape (4,), allowed is (3, units) for x of shape (3, 5, 2)
    """
    own, lead = shape[:-1], sequences[:-2]
    behind = own[len(own) - len(lead) :]
    if not shape or len(own) < len(lead) or any(a != b != 1 for a, b in zip(behind, lead, strict=True)):
        allowed = ", ".join(map(str, (*lead, "units"))) + ("" if lead else ",")
        raise ValueError(f"{name}: got shape {shape}, allowed is ({allowed}) for x of shape {sequences}")


def per_axis(name: str, value: int | Sequence, axes: int) -> tuple:
    """Return a tuple of one entry per spatial axis. A sequence must have that length; numpy integers become ints.

    Examples:
        >>> sizes.per_axis("stride", 2, 2), sizes.per_axis("stride", (1, 2), 2)
        ((2, 2), (1, 2))
    """
    if isinstance(value, str | Integral):
        return (_plain(value),) * axes
    if not isinstance(value, Sequence) or len(value) != axes:
        raise ValueError(f"{name}: got {value!r}, allowed are one int or name, or a sequence of {axes}")
    return tuple(_plain(one) for one in value)


def _plain(value):
    """Convert integers, also inside a pair, to Python ints, which are hashable and equal in every cache."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_plain(one) for one in value)
    return int(value) if isinstance(value, Integral) else value
