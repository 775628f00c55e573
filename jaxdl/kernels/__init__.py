"""Kernels: the code that computes convolutions and pools over windows given as Python ints.

`layers` wraps these functions in primitives that JAX can differentiate, and `backprop` builds the lectures' forward and
backward pairs from them. A convolution consists of three products: the forward pass, the input gradient and the kernel
gradient. `compute` runs one product by one method, `choose` picks the fastest method on CPU from the shapes, and
`method="xla"` opts out of the choice. `native` calls oneDNN where it is installed.
"""

from jaxdl.kernels.choice import choose
from jaxdl.kernels.correlation import correlate, correlate_transposed
from jaxdl.kernels.forms import METHODS, PRODUCTS, compute
from jaxdl.kernels.windows import Axis, axes_of

__all__ = ["METHODS", "PRODUCTS", "Axis", "axes_of", "choose", "compute", "correlate", "correlate_transposed"]
