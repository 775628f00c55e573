"""Losses of real targets, element by element."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from jaxdl import numerics
from jaxdl.losses.checking import Where, check_number, mask_of, only, widen_pair
from jaxdl.words import own_words

_LN2 = 0.6931471805599453


@own_words
def squared_error(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Squared error (ŷ − y)² of each element; its mean is the mean squared error.

    Args:
        predictions: ŷ, any shape.
        targets: y, of the same shape.
        where: the elements that count; see `jaxdl.losses`.

    Raises:
        ValueError: the shapes differ, or an argument is complex.

    The lectures' other form, J = 1/(2m) Σ (ŷ − y)², is the mean of `half_squared_error`. Erratum: the lecture
    defines J with 1/(2m) and then computes its example with 1/m (0.995 where the formula gives 0.4975).

    Examples:
        >>> losses.squared_error(jnp.array([1.0, 4.0]), jnp.array([2, 1]))
        Array([1., 9.], dtype=float32)

    [Lecture row C1]
    """
    return _of_error(jnp.square, predictions, targets, where)


@own_words
def half_squared_error(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Half the squared error, ½ (ŷ − y)², whose gradient is δ = ŷ − y; see `squared_error`.

    Examples:
        >>> losses.half_squared_error(jnp.array([1.0, 4.0]), jnp.array([2, 1]))
        Array([0.5, 4.5], dtype=float32)

    [Lecture rows C1, D2]
    """
    return _of_error(lambda error: 0.5 * jnp.square(error), predictions, targets, where)


@own_words
def absolute_error(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Absolute error |ŷ − y|, with gradient sgn(ŷ − y) and 0 at equality; see `squared_error`.

    Examples:
        >>> losses.absolute_error(jnp.array([1.0, 4.0]), jnp.array([2, 1]))
        Array([1., 3.], dtype=float32)

    [Lecture row C1]
    """
    return _of_error(numerics.safe_abs, predictions, targets, where)


@own_words
def huber(
    predictions: Float[ArrayLike, "..."],
    targets: Shaped[ArrayLike, "..."],
    *,
    delta: ArrayLike = 1.0,
    where: Where = None,
) -> Float[Array, "..."]:
    """Huber loss: ½ e² if |e| ≤ δ, else δ (|e| − ½ δ), with the error e = ŷ − y.

    Args:
        predictions: ŷ, any shape.
        targets: y, of the same shape.
        delta: δ > 0, the error at which the square turns into a straight line. With δ = 1 this is PyTorch's smooth
            L1 loss, and divided by δ it tends to `absolute_error` as δ falls.
        where: the elements that count; see `jaxdl.losses`.

    Raises:
        ValueError: as in `squared_error`, or a Python number `delta` that is not positive.

    Example:
        `huber(2.5, 0.0)` is 1 · (2.5 − ½) = 2.

    Reference: Huber, Robust estimation of a location parameter, 1964. https://doi.org/10.1214/aoms/1177703732

    Examples:
        >>> losses.huber(jnp.array([1.0, 4.0]), jnp.array([2, 1]))
        Array([0.5, 2.5], dtype=float32)
    """
    check_number("delta", delta, 0, above=True)

    def loss(error):
        d = jnp.asarray(delta, error.dtype)
        size = numerics.safe_abs(error)
        inside = size <= d
        small = jnp.where(inside, error, 0)  # the square of a large error overflows
        return jnp.where(inside, 0.5 * jnp.square(small), d * (size - 0.5 * d))

    return _of_error(loss, predictions, targets, where)


@own_words
def log_cosh(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Logarithm of the hyperbolic cosine of the error, ln cosh(ŷ − y), with gradient tanh(ŷ − y).

    It is near ½ e² for small and near |e| − ln 2 for large errors e; see `squared_error` for the arguments.

    Example:
        `log_cosh(1.0, 0.0)` is ln cosh 1 = 0.4338.

    Reference: Green, On use of the EM algorithm for penalized likelihood estimation, 1990.
    https://doi.org/10.1111/j.2517-6161.1990.tb01798.x

    Examples:
        >>> losses.log_cosh(jnp.array([1.0, 4.0]), jnp.array([2, 1]))
        Array([0.4337808, 2.3093286], dtype=float32)
    """
    return _of_error(_log_cosh, predictions, targets, where)


@jax.custom_jvp
def _log_cosh(z: Array) -> Array:
    # ln cosh z = ln(1 + 2 sinh²(z/2)), which does not cancel near 0; sinh overflows far from it
    size = jnp.abs(z)
    near = jnp.where(size < 1, z, 0)
    far = size + jnp.log1p(jnp.exp(-2 * size)) - _LN2
    return jnp.where(size < 1, jnp.log1p(2 * jnp.square(jnp.sinh(0.5 * near))), far)


# |z| has a kink at 0 that the formula cancels in value but not under differentiation
_log_cosh.defjvps(lambda tangent, _, z: tangent * lax.tanh(z))


@own_words
def squared_log_error(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."], *, where: Where = None
) -> Float[Array, "..."]:
    """Squared difference of logarithms, (ln ŷ − ln y)², for positive quantities.

    Its sum over the outputs is the lecture's ‖log y − log t‖². It is NaN outside its domain, at predictions or
    targets ≤ 0. See `squared_error` for the arguments.

    Examples:
        >>> losses.squared_log_error(jnp.array([1.0, 3.0]), jnp.array([3, 1]))
        Array([1.206949, 1.206949], dtype=float32)

    [Lecture row C4]
    """
    predictions, targets, dtype = widen_pair(predictions, targets)
    mask = mask_of(where, predictions.shape)
    predictions, targets = only(mask, predictions, 1), only(mask, targets, 1)
    difference = _log_of_positive(predictions) - _log_of_positive(targets)
    return only(mask, jnp.square(difference).astype(dtype))


def _log_of_positive(x: Array) -> Array:
    return jnp.log(jnp.where(x > 0, x, jnp.nan))


def _of_error(loss: Callable[[Array], Array], predictions: ArrayLike, targets: ArrayLike, where: Where) -> Array:
    """Return the loss of ŷ − y where the mask keeps it."""
    predictions, targets, dtype = widen_pair(predictions, targets)
    mask = mask_of(where, predictions.shape)
    return only(mask, loss(only(mask, predictions) - only(mask, targets)).astype(dtype))
