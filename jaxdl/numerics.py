"""Dtypes to compute in, functions with finite derivatives, and checks that many modules share.

float16 and bfloat16 are computed in float32 and rounded once. Nothing here relies on implicit promotion between two
floating dtypes, so the library also runs under ``jax.numpy_dtype_promotion("strict")``.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

__all__ = [
    "add_bias",
    "align",
    "check_key",
    "class_numbers",
    "floats",
    "is_key",
    "merge_leading",
    "reduced_axes",
    "refuse_complex",
    "result_dtype",
    "safe_abs",
    "safe_sqrt",
    "softplus",
    "square",
    "wide_dtype",
    "widen",
]


def result_dtype(*values: ArrayLike) -> jnp.dtype:
    """Return the promoted floating or complex dtype of the values. Integers do not widen it."""
    inexact = [value for value in values if jnp.issubdtype(_dtype("", value), jnp.inexact)]
    return jnp.result_type(*inexact, float)


def _dtype(name: str, value: ArrayLike) -> jnp.dtype:
    """Return the dtype of a value, or raise TypeError for a list, a tuple or a tensor of PyTorch."""
    if isinstance(value, list | tuple) or type(value).__module__.startswith("torch"):
        said = f"got a {type(value).__name__}, allowed are arrays and numbers; jnp.asarray makes an array of it"
        raise TypeError(f"{name}: {said}" if name else said)
    return jnp.result_type(value)


def wide_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Return the dtype to compute in: float32 for dtypes of 16 bits or fewer, else the dtype itself."""
    dtype = jnp.dtype(dtype)
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def widen(x: ArrayLike) -> Array:
    """Return x as an array of float32 or wider. Integers become floats."""
    return jnp.asarray(x, wide_dtype(result_dtype(x)))


def floats(x: ArrayLike) -> Array:
    """Return x as an array of floats. Integers become floats, so that their mean is not truncated."""
    return jnp.asarray(x, result_dtype(x))


def merge_leading(x: Array, keep: int) -> Array:
    """Merge all axes of x but the last `keep` into one."""
    lead = x.ndim - keep
    return x.reshape(math.prod(x.shape[:lead]), *x.shape[lead:])


def align(name: str, value: ArrayLike, x: Array) -> Array:
    """Return `value` in float32 or wider, with leading axes of length 1 up to the rank of x.

    Raises:
        ValueError: `value`, which the error calls `name`, does not broadcast to the shape of x.
    """
    value = widen(value)
    aligned = value.reshape((1,) * (x.ndim - value.ndim) + value.shape)
    fits = aligned.ndim == x.ndim and all(n in (1, m) for n, m in zip(aligned.shape, x.shape, strict=True))
    if not fits:
        raise ValueError(f"{name}: got shape {value.shape}, allowed are shapes that broadcast to that of x, {x.shape}")
    return aligned


def reduced_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes to reduce as sorted non-negative ints. None means all but the last.

    Raises:
        ValueError: a scalar, or an axis that an array of `ndim` axes lacks.
    """
    if ndim == 0:
        raise ValueError("x: got a scalar, allowed are arrays with at least one axis")
    if axis is None:
        return tuple(range(ndim - 1))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if not all(-ndim <= one < ndim for one in axes):
        raise ValueError(f"axis: got {axis!r}, allowed are axes of an array with {ndim} of them")
    return tuple(sorted({one % ndim for one in axes}))


def add_bias(y: Array, bias: ArrayLike | None) -> Array:
    """Add a bias of one entry per index of the last axis to y, or nothing for None.

    Raises:
        ValueError: a bias of another length.
    """
    if bias is None:
        return y
    bias = jnp.asarray(bias)
    if bias.shape != y.shape[-1:]:
        raise ValueError(f"bias: got shape {bias.shape}, allowed is {y.shape[-1:]}")
    dtype = result_dtype(y, bias)
    wide = wide_dtype(dtype)  # so that the gradient, a sum over all examples, is not summed in 16 bits
    return (y.astype(wide) + jnp.broadcast_to(bias.astype(wide), y.shape)).astype(dtype)


def is_key(value: Any) -> bool:
    """Return whether a value is a PRNG key, of the new kind or the raw one."""
    dtype = getattr(value, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    return typed or (dtype == jnp.uint32 and jnp.ndim(value) == 1)


def check_key(key: ArrayLike, name: str = "key") -> None:
    """Raise ValueError unless `key` is a PRNG key. An integer seed is not one."""
    if not is_key(key):
        dtype = getattr(key, "dtype", None)
        got = repr(key) if isinstance(key, int | float | str | None) else f"{type(key).__name__} of dtype {dtype}"
        raise ValueError(f"{name}: got {got}, allowed are PRNG keys, as jax.random.key(seed) makes them")


def class_numbers(labels: Array) -> Array:
    """Return class numbers with 32 bits or more, since a byte cannot be compared with 300 classes.

    Raises:
        ValueError: the labels are not integers.
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: got dtype {labels.dtype}, class numbers are integers")
    return labels if jnp.iinfo(labels.dtype).bits >= 32 else labels.astype(jnp.int32)


def refuse_complex(**values: ArrayLike | None) -> None:
    """Raise ValueError that names the first complex argument, if there is one."""
    for name, value in values.items():
        if value is not None and jnp.issubdtype(kind := _dtype(name, value), jnp.complexfloating):
            raise ValueError(f"{name}: got {kind}, allowed are real numbers")


def square(x: Array) -> Array:
    """Return |x|² as real numbers."""
    if jnp.iscomplexobj(x):
        return jnp.square(jnp.real(x)) + jnp.square(jnp.imag(x))
    return jnp.square(x)


def safe_abs(x: Array) -> Array:
    """Return |x|, with gradient 0 at 0."""
    if jnp.iscomplexobj(x):
        return safe_sqrt(square(x))
    return x * jnp.sign(x)  # jnp.abs has gradient 1 at 0


def safe_sqrt(x: Array) -> Array:
    """Return √x, with gradient 0 instead of inf at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), jnp.where(x == 0, 0, x))


@jax.custom_jvp
def softplus(z: Array) -> Array:
    """Return ln(1 + eᶻ) without overflow."""
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


# the kinks of the two terms at 0 cancel in value, but not under differentiation
softplus.defjvps(lambda tangent, _, z: tangent * lax.logistic(z))
