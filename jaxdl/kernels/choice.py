"""The fastest method of each product of a convolution on CPU, from static shapes; the numbers stand in `tuned`.

* A window of one place is a matrix product, all three times.
* A kernel gradient is a matrix product where the unfolded rows stay in the cache, with two columns folded into one
  where they can be, and where the rows are larger a sum of such products over blocks of the batch. A large kernel's,
  whose sum would take longer to add than to multiply, is XLA's own, over slices of the batch if that has more numbers,
  and so is that of up to 16 outputs, which are too few for a product.
* Forward is XLA's, except for up to 8 outputs of up to 16 channels: four (or two) columns are folded into one, which
  fills the vector registers. From 20 to 127 channels XLA calls YNNPACK, which runs on one core, where the outputs are
  not longer than the inputs: so rows of padding are appended until they are, it calls Eigen, on all cores, up to three
  times as fast, and what is computed from these rows is dropped.
* An input gradient is the forward of another convolution, except with a stride, or with windows that stay inside
  a small image: there it is matrix products whose results are added up, and no zero is multiplied.
* Up to 8 groups are done one after the other; where each channel is its own group, places are multiplied
  and added, forward and for the input gradient.
"""

import math

from jaxdl.kernels import tuned
from jaxdl.kernels.folding import foldable
from jaxdl.kernels.unfolding import transposed_axes
from jaxdl.kernels.windows import Axis

__all__ = ["choose", "folds_blocks", "rows_to_append"]

Shape = tuple[int, ...]
Axes = tuple[Axis, ...]


def choose(product: str, a: Shape, b: Shape, axes: Axes, groups: int = 1) -> str:
    """Return the method that is fastest on CPU; on other devices XLA's own is.

    Args:
        product: one of `PRODUCTS`.
        a, b: shapes of the product's two arrays, see `compute`.
        axes: windows of the convolution along each spatial axis.
        groups: groups of channels.
    """
    return _CHOICES[product](a, b, axes, groups)


def rows_to_append(axis: Axis) -> int:
    """Outputs after which there are more than inputs, if they cost little; else one, which YNNPACK likes better."""
    rows = axis.length + 1 - axis.outputs
    return rows if axis.stride == 1 and 0 < rows <= tuned.PAD_ROWS * axis.outputs else 1


def folds_blocks(c_in: int, axes: Axes) -> bool:
    """Whether the blocks of a kernel gradient have their columns folded, or their products would be thin."""
    return c_in <= tuned.FOLD_BLOCK_INPUTS or axes[-1].size >= tuned.FOLD_BLOCK_WINDOW


def _forward(x: Shape, kernel: Shape, axes: Axes, groups: int) -> str:
    if groups == x[-1] == kernel[-1] != 1:
        return "patches"
    if groups != 1:
        return "sliced" if groups <= tuned.FEW_GROUPS else "xla"
    if all(axis.size == 1 for axis in axes):
        return "patches"
    few = x[-1] <= tuned.FOLD_INPUTS and kernel[-1] <= tuned.FOLD_OUTPUTS
    if few and foldable(axes, tuned.FOLD_FORWARD) > 1:
        return "folded"
    strided = any(axis.stride != 1 for axis in axes)
    unpadded = all(axis.low == axis.high == 0 for axis in axes)
    helps = unpadded or (not strided and rows_to_append(axes[0]) <= tuned.PAD_ROWS * axes[0].outputs)
    products = x[0] * math.prod(axis.outputs for axis in axes) * math.prod(kernel)
    large = products >= tuned.PAD_PRODUCTS and x[-1] in tuned.PAD_INPUTS
    return "padded" if large and helps and axes[0].outputs <= axes[0].length else "xla"


def _input_gradient(cotangent: Shape, kernel: Shape, axes: Axes, groups: int) -> str:
    c_in = kernel[-2]
    wasted = math.prod(axis.length for axis in axes) / math.prod(axis.outputs for axis in axes)
    wide = c_in >= tuned.UNFOLD_INPUTS and axes[-1].size * c_in >= tuned.UNFOLD_ROW
    if groups <= tuned.FEW_GROUPS and wasted > tuned.WASTED and wide:
        return "patches"
    if groups == 1 and any(axis.stride > 1 for axis in axes):
        return "xla"  # as a convolution it would read zeros between the δ, which XLA's own skips
    exchanged = (*kernel[:-2], kernel[-1] // groups, kernel[-2] * groups)
    return _forward(cotangent, exchanged, transposed_axes(axes), groups)


def _kernel_gradient(x: Shape, cotangent: Shape, axes: Axes, groups: int) -> str:
    if groups != 1:
        return "sliced" if groups <= tuned.FEW_GROUPS else "xla"
    if all(axis.size == 1 for axis in axes):
        return "patches"
    c_in, c_out = x[-1], cotangent[-1]
    kernel = math.prod(axis.size for axis in axes) * c_in * c_out
    if kernel >= tuned.LARGE_KERNEL:
        return "sliced" if kernel < math.prod(x) else "xla"
    lines = [axis.length + axis.low + axis.high for axis in axes[:-1]]
    unfolded = x[0] * math.prod(lines) * axes[-1].outputs * axes[-1].size * c_in
    if unfolded <= tuned.UNFOLDED_IN_CACHE:
        return "folded"
    narrow = c_out <= tuned.NARROW_OUTPUTS and not folds_blocks(c_in, axes)
    return "sliced" if narrow else "blocked"


_CHOICES = {"forward": _forward, "input_gradient": _input_gradient, "kernel_gradient": _kernel_gradient}
