"""The convolution primitives that every layer runs: three bilinear maps, each the transpose of the other two.

They compute the three products of `forms`, so differentiation of any order and in any mode stays within the three. Each
lowers to the method that `choose` picks on CPU, also under `jax.vmap` over kernels, where XLA's grouped convolution is
slow, and to XLA's convolution on GPU and TPU.
"""

from functools import partial

from jaxtyping import Array, Inexact

from jaxdl import primitives
from jaxdl.kernels import native, tuned
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
    """Cross-correlation of a batch. `layers.conv2d` gives the formula.

    Args:
        x: inputs with one batch axis.
        kernel: weights, of the dtype of x.
        axes: windows along each spatial axis.
        groups: number of channel groups.
        method: the method of all three products; see `forms`. None lets `choose` pick one for each product on CPU and
            uses "xla" elsewhere.

    Examples:
        >>> x, kernel = jnp.array([1.0, 2.0, 4.0])[None, :, None], jnp.array([-1.0, 1.0])[:, None, None]
        >>> axes = kernels.axes_of((3,), 2, 1, "VALID")
        >>> kernels.correlate(x, kernel, axes, 1, "xla").ravel()  # 2 - 1, 4 - 2
        Array([1., 2.], dtype=float32)
    """
    return _forward(x, kernel, axes=axes, groups=groups, method=method)


def correlate_transposed(
    x: Inexact[Array, "b *m c_in"], kernel: Inexact[Array, "*k c_group c_out"], axes: tuple[Axis, ...], groups: int
) -> Inexact[Array, "b *n c_out"]:
    """Transposed convolution of a batch: the input gradient of `correlate`.

    Args:
        x: inputs with one batch axis, as long as the outputs of `axes`.
        kernel: weights, of the dtype of x.
        axes: windows of the convolution to transpose, which maps the outputs of this one to its inputs.
        groups: number of channel groups.

    Examples:
        Each of the two values puts (-1, 1) times itself into the three places:

        >>> x, kernel = jnp.array([1.0, 2.0])[None, :, None], jnp.array([-1.0, 1.0])[:, None, None]
        >>> axes = kernels.axes_of((3,), 2, 1, "VALID")
        >>> kernels.correlate_transposed(x, kernel, axes, 1).ravel()
        Array([-1., -1.,  2.], dtype=float32)
    """
    return _input_gradient(x, exchanged(kernel, groups), axes=axes, groups=groups, method=None)


def _anywhere(product: str, a: Array, b: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None) -> Array:
    return compute(product, a, b, axes, groups, method=method or "xla")


def _on_cpu(
    product: str, a: Array, b: Array, *, axes: tuple[Axis, ...], groups: int, method: str | None, whole: bool
) -> Array:
    # an explicit method is used even where XLA has to gather the batch for it
    by_native = whole and method is None and native.serves(a.dtype)
    known = all(isinstance(length, int) for length in a.shape)  # unlike the symbolic batch size of `jax.export`
    chosen = method or (choose(product, a.shape, b.shape, axes, groups, native=by_native) if known else "xla")
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
        loops=lambda **options: options["method"] == "native",  # a foreign call has no derivatives
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
