"""Where the windows of a convolution or a pool lie. The same arithmetic for forward and backward.

Along one axis output i reads the inputs s i + d p − P for p = 0, ..., k − 1, where P zeros (or −inf) stand before the
input. `padding` is "SAME" (⌈n/s⌉ outputs; of an odd total the larger half goes to the end), "VALID" (none), "FULL"
(d(k−1) on both sides), an int, or one entry per axis: an int or a pair (low, high) (Lecture row H3).
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Axis", "axes_of"]


class Axis(NamedTuple):
    """The windows along one spatial axis, as Python ints."""

    length: int  # n, inputs
    size: int  # k, places in a window
    stride: int  # s
    dilation: int  # d
    low: int  # P, padding before
    high: int  # padding after

    @property
    def extent(self) -> int:
        """Number of inputs from the first to the last place of one window."""
        return self.dilation * (self.size - 1) + 1

    @property
    def outputs(self) -> int:
        """Number of windows."""
        return (self.length + self.low + self.high - self.extent) // self.stride + 1

    @property
    def reach(self) -> int:
        """Number of inputs from the first windows' to the last windows' same place."""
        return self.stride * (self.outputs - 1) + 1


def axes_of(lengths: Sequence[int], window, stride, padding, dilation=1) -> tuple[Axis, ...]:
    """Return one `Axis` per spatial axis of `lengths`.

    Raises:
        ValueError: window, stride or dilation below 1, a padding that is none, a window larger than the padded input.
    """
    named = {"window": window, "stride": stride, "dilation": dilation, "padding": padding}
    values = [_per_axis(name, value, len(lengths)) for name, value in named.items()]
    for name, value in zip(list(named)[:3], values[:3], strict=True):
        if not all(isinstance(one, int) and one >= 1 for one in value):
            raise ValueError(f"{name}: got {named[name]!r}, allowed are ints ≥ 1")
    return tuple(_axis(*one) for one in zip(lengths, *values, strict=True))


def _per_axis(name: str, value, axes: int) -> tuple:
    if isinstance(value, str | int):
        return (value,) * axes
    if not isinstance(value, Sequence) or len(value) != axes:
        raise ValueError(f"{name}: got {value!r}, allowed are one value or a sequence of {axes}")
    return tuple(value)


def _axis(length: int, size: int, stride: int, dilation: int, padding) -> Axis:
    axis = Axis(length, size, stride, dilation, *_amounts(length, size, stride, dilation, padding))
    if axis.extent > length + axis.low + axis.high:
        raise ValueError(
            f"window: got {size} (dilation {dilation}, so {axis.extent} values wide), "
            f"allowed is at most the padded input length {length + axis.low + axis.high}"
        )
    return axis


def _amounts(length: int, size: int, stride: int, dilation: int, padding) -> tuple[int, int]:
    overlap = dilation * (size - 1)
    match padding:
        case "SAME":
            total = max((-(-length // stride) - 1) * stride + overlap + 1 - length, 0)
            return total // 2, total - total // 2
        case "VALID":
            return 0, 0
        case "FULL":
            return overlap, overlap
        case int() if padding >= 0:
            return padding, padding
        case (int(low), int(high)) if low >= 0 and high >= 0:
            return low, high
    allowed = "'SAME', 'VALID', 'FULL', an int ≥ 0 or a pair of them"
    raise ValueError(f"padding: got {padding!r}, allowed are {allowed}")
