"""What a product of oneDNN's depends on, as numbers that travel through XLA: sizes, and where oneDNN finds the entries.

A call carries its `Descriptor` and nothing of this process, so a program that another process compiled and cached means
the same here.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

from jaxdl.kernels.windows import Axis

PRODUCTS = ("forward", "input_gradient", "kernel_gradient")  # their places in it are part of a descriptor's numbers
DTYPES = ("float32", "bfloat16")  # ditto
_BLOCK = 16  # most channels in a block of oneDNN's
_HEAD, _AXIS = 6, len(Axis._fields)  # numbers before the axes and of each

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """One array as oneDNN sees it: batch or outputs, channels, places; weights of several groups with groups first."""

    shape: Shape
    strides: Shape  # in entries


class Descriptor(NamedTuple):
    """One product, all of it static."""

    product: str  # one of PRODUCTS
    dtype: str  # of both operands and of the result
    batch: int
    c_in: int
    c_out: int
    groups: int
    axes: tuple[Axis, ...]  # windows of the forward pass

    def numbers(self) -> list[int]:
        """Return the integers from which `from_numbers` makes the descriptor again."""
        head = [PRODUCTS.index(self.product), DTYPES.index(self.dtype), self.batch, self.c_in, self.c_out, self.groups]
        return head + [number for axis in self.axes for number in axis]

    @property
    def x(self) -> Layout:
        """The inputs, (b, ..., c_in) in memory."""
        return _channels_last((self.batch, *(axis.length for axis in self.axes), self.c_in))

    @property
    def y(self) -> Layout:
        """The outputs, (b, ..., c_out) in memory."""
        return _channels_last((self.batch, *(axis.outputs for axis in self.axes), self.c_out))

    @property
    def kernel(self) -> Layout:
        """The weights, (..., c_in / groups, c_out) in memory."""
        window = tuple(axis.size for axis in self.axes)
        inputs, outputs = self.c_in // self.groups, self.c_out // self.groups
        *of_window, of_inputs, of_outputs = _row_major((*window, inputs, self.c_out))
        layout = Layout((outputs, inputs, *window), (of_outputs, of_inputs, *of_window))
        if self.groups == 1:
            return layout
        return Layout((self.groups, *layout.shape), (outputs, *layout.strides))

    @property
    def result_shape(self) -> Shape:
        """Shape of the result in memory."""
        if self.product == "kernel_gradient":
            return (*(axis.size for axis in self.axes), self.c_in // self.groups, self.c_out)
        batch, channels, *places = (self.y if self.product == "forward" else self.x).shape
        return (batch, *places, channels)


def describe(product: str, a: Shape, b: Shape, dtype: str, axes: tuple[Axis, ...], groups: int) -> Descriptor:
    """Return the descriptor of a product of arrays of these shapes; see `kernels.compute`.

    Raises:
        ValueError: other dtypes than `DTYPES`, more than two spatial axes, or inputs that no window reaches.
    """
    if dtype not in DTYPES:
        raise ValueError(f'method="native": got arrays of {dtype}, allowed are {" and ".join(DTYPES)}')
    if len(axes) > 2:
        raise ValueError(f'method="native": got {len(axes)} spatial axes, allowed are 1 and 2')
    if not crops_fit(axes):
        raise ValueError(f'method="native": got windows that end too early, {axes}; see `crops_fit`')
    c_in, c_out = (b[-2] * groups, a[-1]) if product == "input_gradient" else (a[-1], b[-1])
    return Descriptor(product, dtype, a[0], c_in, c_out, groups, axes)


def crops_fit(axes: tuple[Axis, ...]) -> bool:
    """Return whether oneDNN takes the padding, which a transposed convolution's output padding may make negative.

    It refuses one below 0 before the inputs, and one that leaves a whole stride of inputs behind the last window.
    """
    return all(axis.low >= 0 and axis.high > -axis.stride for axis in axes)


def overruns(c_in: int, axes: tuple[Axis, ...]) -> bool:
    """Return whether oneDNN would write behind its buffer in the kernel gradient of a strided 1×1 convolution.

    It gathers the inputs that are read with room for their own channels, but counts whole blocks of channels to the
    place of each later part (https://github.com/uxlfoundation/oneDNN/issues/6035). Padding makes it gather none.
    """
    unpadded = all(axis.size == 1 and axis.low == 0 and axis.outputs * axis.stride == axis.length for axis in axes)
    return unpadded and c_in < _BLOCK and any(axis.stride > 1 for axis in axes)


def sums_garbage(dtype: str, axes: tuple[Axis, ...]) -> bool:
    """Return whether oneDNN's kernel gradient may add entries of a buffer that it has not filled.

    Version 3.2 does for bfloat16, windows dilated along the first of two axes, long rows and blocks of channels that
    are not full.
    """
    return dtype == "bfloat16" and len(axes) == 2 and axes[0].dilation > 1


def from_numbers(numbers: Sequence[int]) -> Descriptor:
    """Return the descriptor that the integers stand for.

    Raises:
        ValueError: for integers that stand for none, as those of another version of jaxdl may.
    """
    product, dtype, batch, c_in, c_out, groups, *rest = numbers
    if len(rest) not in (_AXIS, 2 * _AXIS) or product not in range(len(PRODUCTS)) or dtype not in range(len(DTYPES)):
        raise ValueError(f"the numbers {list(numbers)} describe no product of this version of jaxdl")
    axes = tuple(Axis(*rest[first : first + _AXIS]) for first in range(0, len(rest), _AXIS))
    return Descriptor(PRODUCTS[product], DTYPES[dtype], batch, c_in, c_out, groups, axes)


def _channels_last(shape: Shape) -> Layout:
    (batch, *places, channels), (of_batch, *of_places, of_channels) = shape, _row_major(shape)
    return Layout((batch, channels, *places), (of_batch, of_channels, *of_places))


def _row_major(shape: Shape) -> Shape:
    return tuple(accumulate((1, *reversed(shape[1:])), mul))[::-1]
