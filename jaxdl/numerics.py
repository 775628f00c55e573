"""Dtypes in which formulas are computed, and functions whose derivatives stay finite.

float16 and bfloat16 are computed in float32 and rounded once. Nothing here relies on implicit promotion between two
floating dtypes, so the library also runs under ``jax.numpy_dtype_promotion("strict")``.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

__all__ = [
    "add_bias",
    "check_key",
    "class_numbers",
    "floats",
    "merge_leading",
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
    """Return the dtype of a result: the promoted floating or complex dtype of the values, which ints do not widen."""
    inexact = [value for value in values if jnp.issubdtype(jnp.result_type(value), jnp.inexact)]
    return jnp.result_type(*inexact, float)


def wide_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Return the dtype to compute in: float32 for 16 bits and fewer, else the dtype itself."""
    dtype = jnp.dtype(dtype)
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def widen(x: ArrayLike) -> Array:
    """Return x as an array of at least float32; ints become floats."""
    return jnp.asarray(x, wide_dtype(result_dtype(x)))


def floats(x: ArrayLike) -> Array:
    """Return x as an array of floats; ints, whose means would be cut off, become floats."""
    return jnp.asarray(x, result_dtype(x))


def merge_leading(x: Array, keep: int) -> Array:
    """Return x with all axes but the last `keep` made one."""
    lead = x.ndim - keep
    return x.reshape(math.prod(x.shape[:lead]), *x.shape[lead:])


def add_bias(y: Array, bias: ArrayLike | None) -> Array:
    """Return y plus one bias for each entry of the last axis; None adds nothing.

    Raises:
        ValueError: a bias of another length.
    """
    if bias is None:
        return y
    bias = jnp.asarray(bias)
    if bias.shape != y.shape[-1:]:
        raise ValueError(f"bias: got shape {bias.shape}, allowed is {y.shape[-1:]}")
    dtype = result_dtype(y, bias)
    wide = wide_dtype(dtype)  # or else its gradient, a sum over all examples, would be made in 16 bits
    return (y.astype(wide) + jnp.broadcast_to(bias.astype(wide), y.shape)).astype(dtype)


def check_key(key: ArrayLike, name: str = "key") -> None:
    """Raise ValueError for what is no PRNG key, such as the seed itself."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and (dtype != jnp.uint32 or jnp.ndim(key) != 1):
        got = repr(key) if isinstance(key, int | float | str | None) else f"{type(key).__name__} of dtype {dtype}"
        raise ValueError(f"{name}: got {got}, allowed are PRNG keys, as jax.random.key(seed) makes them")


def class_numbers(labels: Array) -> Array:
    """Return integers of at least 32 bits: a byte cannot be compared with 300 classes.

    Raises:
        ValueError: the labels are no integers.
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels: got dtype {labels.dtype}, class numbers are integers")
    return labels if jnp.iinfo(labels.dtype).bits >= 32 else labels.astype(jnp.int32)


def refuse_complex(**values: ArrayLike | None) -> None:
    """Raise ValueError for a complex argument, by name."""
    for name, value in values.items():
        if value is not None and jnp.issubdtype(jnp.result_type(value), jnp.complexfloating):
            raise ValueError(f"{name}: got {jnp.result_type(value)}, allowed are real numbers")


def square(x: Array) -> Array:
    """Return |x|², which is x² for real x, as real numbers."""
    if jnp.iscomplexobj(x):
        return jnp.square(jnp.real(x)) + jnp.square(jnp.imag(x))
    return jnp.square(x)


def safe_abs(x: Array) -> Array:
    """Return |x|, with gradient 0 at 0."""
    if jnp.iscomplexobj(x):
        return safe_sqrt(square(x))
    return x * jnp.sign(x)  # not abs: its gradient at 0 is 1


def safe_sqrt(x: Array) -> Array:
    """Return √x, with gradient 0 instead of inf at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), jnp.where(x == 0, 0, x))


@jax.custom_jvp
def softplus(z: Array) -> Array:
    """Return ln(1 + eᶻ) without overflow."""
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


# the formula above has kinks at 0 that cancel in value but not under differentiation
softplus.defjvps(lambda tangent, _, z: tangent * lax.logistic(z))
