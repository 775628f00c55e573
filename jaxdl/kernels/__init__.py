"""How convolutions and pools are computed: functions of arrays whose windows are given as Python ints.

`layers` differentiates what stands here, and `backprop` makes the lectures' pairs of it. A convolution has three
products (forward, input gradient, kernel gradient), each by several methods (`compute`); `choose` names the fastest on
CPU, and `method="xla"` is the way around all of them.
"""

from jaxdl.kernels.choice import choose
from jaxdl.kernels.correlation import correlate, correlate_transposed
from jaxdl.kernels.forms import METHODS, PRODUCTS, compute
from jaxdl.kernels.windows import Axis, axes_of

__all__ = ["METHODS", "PRODUCTS", "Axis", "axes_of", "choose", "compute", "correlate", "correlate_transposed"]
