"""The one convolution that every layer runs: three bilinear primitives, each the transpose of the other two.

They are the three products of `forms`, so every mode of differentiation works, to any order, and stays within the
three. What that wins is a choice, on CPU, of how each is computed (`choice`), also under `jax.vmap` over kernels, where
XLA's grouped convolution is slow. GPU and TPU keep XLA's own.
"""

from functools import partial

from jaxtyping import Array, Inexact

from jaxdl import primitives
from jaxdl.kernels import tuned
from jaxdl.kernels.choice import choose
from jaxdl.kernels.forms import compute
from jaxdl.kernels.unfolding import exchanged
from jaxdl.kernels.windows import Axis

__all__ = ["correlate", "correlate_transposed"]


def correlate(
    x: Inexact[Array, "b *n c_in"],
    kernel: Inexact[Array, "*k c_group c_out"],
    axes: tuple[Axis, ...],
    groups: int,
    method: str | None,
) -> Inexact[Array, "b *m c_out"]:
    """Cross-correlation of one batch axis with arrays of one dtype; see `conv2d` for what it computes.

    Args:
        x: inputs.
        kernel: weights.
        axes: the windows along each spatial axis.
        groups: of channels.
        method: how all three products are computed, one of `METHODS`; None is what `choose` says on CPU, for each
            product, and "xla" elsewhere.
    """
    return _forward(x, kernel, axes=axes, groups=groups, method=method)


def correlate_transposed(
    x: Inexact[Array, "b *m c_in"], kernel: Inexact[Array, "*k c_group c_out"], axes: tuple[Axis, ...], groups: int
) -> Inexact[Array, "b *n c_out"]:
    """Transposed convolution of one batch axis with arrays of one dtype: the input gradient of `correlate`.

    Args:
        x: inputs, of the lengths that `axes` have as outputs.
        kernel: weights.
        axes: the windows of the convolution that it transposes, from this one's outputs to its inputs.
        groups: of channels.
    """
    return _input_gradient(x, exchanged(kernel, groups), axes=axes, groups=groups, method=None)


def _anywhere(product: str, a: Array, b: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None) -> Array:
    return compute(product, a, b, axes, groups, method=method or "xla")


def _on_cpu(product: str, a: Array, b: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None) -> Array:
    chosen = method or choose(product, a.shape, b.shape, axes, groups)
    return compute(product, a, b, axes, groups, method=chosen)


def _primitive(name: str, product: str, a_cotangent, b_cotangent, *, joins: bool):
    return primitives.bilinear(
        name,
        partial(_anywhere, product),
        a_cotangent,
        b_cotangent,
        cpu=partial(_on_cpu, product),
        joins=joins,
        unrolled=tuned.UNROLLED,
    )


_forward = _primitive(
    "correlate",
    "forward",
    lambda cotangent, kernel, **options: _input_gradient(cotangent, kernel, **options),
    lambda cotangent, x, **options: _kernel_gradient(x, cotangent, **options),
    joins=True,
)
_input_gradient = _primitive(
    "correlate_input_gradient",
    "input_gradient",
    lambda x, kernel, **options: _forward(x, kernel, **options),
    lambda x, cotangent, **options: _kernel_gradient(x, cotangent, **options),
    joins=True,
)
_kernel_gradient = _primitive(
    "correlate_kernel_gradient",
    "kernel_gradient",
    lambda kernel, cotangent, **options: _input_gradient(cotangent, kernel, **options),
    lambda kernel, x, **options: _forward(x, kernel, **options),
    joins=False,
)
