"""Positions of the windows of convolutions and pools, shared by forward and backward passes.

Along one axis, output i reads the inputs s i + d p − P for the places p = 0, ..., k − 1, with P entries of padding
before the first input. `padding` is a value that `sizes` describes, for all axes or one per axis. [Lecture row H3]
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Array

from jaxdl import sizes

__all__ = ["Axis", "axes_of", "check_convolution"]


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
        """Number of inputs that one window spans, first and last place included."""
        return self.dilation * (self.size - 1) + 1

    @property
    def outputs(self) -> int:
        """Number of windows."""
        return (self.length + self.low + self.high - self.extent) // self.stride + 1

    @property
    def reach(self) -> int:
        """Number of inputs between the first and the last window's first place, both included."""
        return self.stride * (self.outputs - 1) + 1


def axes_of(lengths: Sequence[int], window, stride, padding, dilation=1) -> tuple[Axis, ...]:
    """Return one `Axis` per spatial axis of `lengths`.

    Raises:
        ValueError: a window, stride or dilation below 1, an unknown padding, or a window larger than the padded input.

    Examples:
        Stride 2 halves the length, (8 + 1 - 3) // 2 + 1, with one place of padding, at the end:

        >>> kernels.axes_of((8,), 3, 2, "SAME")
        (Axis(length=8, size=3, stride=2, dilation=1, low=0, high=1),)
    """
    named = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    values = [sizes.per_axis(name, value, len(lengths)) for name, value in named.items()]
    return tuple(_axis(*one) for one in zip(lengths, *values, strict=True))


def check_convolution(x: Array, kernel: Array, rank: int, groups: int) -> None:
    """Raise ValueError unless x (..., c_in) and kernel (..., c_in / groups, c_out) match over `rank` spatial axes."""
    if x.ndim < rank + 1:
        raise ValueError(f"x: got shape {x.shape}, allowed are at least {rank + 1} axes, channels last")
    if kernel.ndim != rank + 2:
        raise ValueError(f"kernel: got shape {kernel.shape}, allowed are {rank + 2} axes, (..., c_in/groups, c_out)")
    c_in = x.shape[-1]
    sizes.check_groups(groups, c_in, kernel.shape[-1])
    if kernel.shape[-2] * groups != c_in:
        first = x.ndim > rank and x.shape[-rank - 1] == kernel.shape[-2] * groups
        raise ValueError(
            f"kernel: got {kernel.shape[-2]} input channels, allowed are {c_in // groups}: "
            f"x has {c_in} channels in {groups} group(s)"
            + (f"; channels come last, and x has shape {x.shape}" if first else "")
        )


def _axis(length: int, size: int, stride: int, padding, dilation: int) -> Axis:
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    sizes.output_length(length, size, **options)  # raises where the window does not fit
    return Axis(length, size, stride, dilation, *sizes.padding_amounts(length, size, **options))
