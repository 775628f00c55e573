"""Choose the fastest method of each product of a convolution on CPU from static shapes, by the numbers in `tuned`.

* A 1×1 convolution is a matrix product in all three products.
* The kernel gradient is a matrix product ("folded") if the unfolded rows fit in the cache, else a sum of such products
  over blocks of the batch ("blocked"). For a large kernel, adding the blocks would take longer than multiplying them,
  and 16 output channels or fewer make too thin a product; these use XLA's convolution, in slices of the batch
  ("sliced") unless the kernel is larger than the batch.
* The forward pass is XLA's convolution, with two exceptions. Few channels leave vector registers half empty, so two or
  four columns are folded into one. With 20 to 127 input channels and outputs no longer than the inputs, XLA calls
  YNNPACK, which runs on one core; appending rows of padding makes it call Eigen on all cores, up to three times as
  fast, and the extra outputs are dropped ("padded").
* The input gradient is the forward pass of another convolution. With a stride, or with windows that stay inside a small
  image, that convolution would mostly multiply zeros, so matrix products are added up instead ("patches"). So they
  are for images of few channels, such as the network's own input, which leave vector registers empty.
* Up to 8 groups run one after the other. A depthwise convolution multiplies and adds one place of the window at a time,
  in the forward pass and in the input gradient.
* oneDNN ("native", where it is installed) is faster for all but small products, 1×1 convolutions whose result is no
  kernel, sums of few terms, and input gradients of small strided images.
"""

import math

from jaxdl.kernels import tuned
from jaxdl.kernels.folding import foldable
from jaxdl.kernels.native.descriptors import crops_fit
from jaxdl.kernels.unfolding import transposed_axes
from jaxdl.kernels.windows import Axis

__all__ = ["choose", "folds_blocks", "rows_to_append"]

Shape = tuple[int, ...]
Axes = tuple[Axis, ...]


def choose(product: str, a: Shape, b: Shape, axes: Axes, groups: int = 1, *, native: bool = False) -> str:
    """Return the name of the fastest method on CPU. Other devices always use "xla".

    Args:
        product: one of `PRODUCTS`.
        a, b: shapes of the two factors; see `compute`.
        axes: windows of the convolution along each spatial axis.
        groups: number of channel groups.
        native: whether oneDNN may be chosen (`native.serves`).

    Examples:
        A 3x3 convolution of a batch of one grey 28x28 image to 8 channels:

        >>> axes = kernels.axes_of((28, 28), 3, 1, "SAME")
        >>> kernels.choose("forward", (1, 28, 28, 1), (3, 3, 1, 8), axes) in kernels.METHODS
        True
    """
    otherwise = _CHOICES[product](a, b, axes, groups)
    return "native" if native and _native_pays(product, a, b, axes, groups, otherwise) else otherwise


def rows_to_append(axis: Axis) -> int:
    """Return the rows to append so that there are more outputs than inputs, or 1 where that would cost too much.

    Even a single row makes YNNPACK faster.
    """
    rows = axis.length + 1 - axis.outputs
    return rows if axis.stride == 1 and 0 < rows <= tuned.PAD_ROWS * axis.outputs else 1


def folds_blocks(c_in: int, axes: Axes) -> bool:
    """Return whether each block of a "blocked" kernel gradient folds its columns, because its product is thin."""
    return c_in <= tuned.FOLD_BLOCK_INPUTS or axes[-1].size >= tuned.FOLD_BLOCK_WINDOW


def _native_pays(product: str, a: Shape, b: Shape, axes: Axes, groups: int, otherwise: str) -> bool:
    c_in, c_out = (b[-2] * groups, a[-1]) if product == "input_gradient" else (a[-1], b[-1])
    window, places = (math.prod(sizes) for sizes in zip(*((axis.size, axis.outputs) for axis in axes), strict=True))
    products = a[0] * places * window * c_in * c_out // groups
    if not crops_fit(axes):
        return False
    if groups == c_in == c_out != 1:
        return products >= tuned.NATIVE_DEPTHWISE
    if products < tuned.NATIVE_PRODUCTS * (2 if places <= tuned.NATIVE_PLACES else 1):
        return False
    if product == "kernel_gradient":
        return True
    if window == 1:
        return False
    if product == "forward":
        return window * c_in // groups >= tuned.NATIVE_TERMS
    strided = any(axis.stride > 1 for axis in axes)
    few = places <= tuned.NATIVE_PLACES or c_in <= tuned.NATIVE_INPUTS
    kept = otherwise == "patches" and groups == 1 and ((strided and few) or c_in < tuned.UNFOLD_INPUTS)
    return otherwise != "folded" and not kept


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
    window = math.prod(axis.size for axis in axes)
    strided = any(axis.stride > 1 for axis in axes)
    thin = c_in < tuned.UNFOLD_INPUTS and cotangent[-1] >= tuned.UNFOLD_OUTPUTS
    if groups == 1 and thin and window > 1 and (strided or window <= tuned.WINDOW):
        return "patches"
    if groups <= tuned.FEW_GROUPS and wasted > tuned.WASTED and wide:
        return "patches"
    if groups == 1 and strided:
        return "xla"  # it skips the zeros between the cotangents, which the other methods would multiply
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
