"""Losses, forward and backward, per example or per element.

`NAME_forward` computes the same as `jaxdl.losses.NAME`. `NAME_backward` returns the cotangents of predictions and
targets, with None for class numbers and other integers. The caller takes the mean over m examples, whose cotangent is
1/m for each (the lecture E divides by m twice, in the gradient and again in the update). Impossible labels make loss
and gradient NaN: a class number out of range in its own row, any other label outside [0, 1] in every result of the
call. [Lecture rows C1-C3, D1]
"""

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Shaped

from jaxdl import numerics
from jaxdl.backprop.activations import softplus
from jaxdl.primitives import Static

__all__ = [
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "half_squared_error_backward",
    "half_squared_error_forward",
    "sigmoid_binary_cross_entropy_backward",
    "sigmoid_binary_cross_entropy_forward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "squared_error_backward",
    "squared_error_forward",
]

Both = tuple[Float[Array, "..."], Float[Array, "..."] | None]


def squared_error_forward(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."]
) -> tuple[Float[Array, "..."], PyTree]:
    """Squared error (ŷ − y)², whose mean is the MSE.

    Raises:
        ValueError: shapes that differ.

    Examples:
        >>> y, residuals = backprop.squared_error_forward(jnp.array([3.0]), jnp.array([1.0]))
        >>> y, backprop.squared_error_backward(residuals, jnp.ones(1))[0]
        (Array([4.], dtype=float32), Array([4.], dtype=float32))
    """
    predictions, targets, dtypes = _widen_pair(predictions, targets)
    error = predictions - targets
    return (error * error).astype(_result(dtypes)), (error, dtypes)


def squared_error_backward(residuals: PyTree, cotangent: Float[Array, "..."]) -> Both:
    """∂E/∂ŷ = 2 (ŷ − y) δ and ∂E/∂y = −∂E/∂ŷ. With δ = 1/m it is the gradient of the MSE."""
    error, dtypes = residuals
    return _opposite(2 * error * cotangent.astype(error.dtype), dtypes)


def half_squared_error_forward(
    predictions: Float[ArrayLike, "..."], targets: Shaped[ArrayLike, "..."]
) -> tuple[Float[Array, "..."], PyTree]:
    """Half the squared error ½ (ŷ − y)². Raises: see `squared_error_forward`.

    Examples:
        >>> y, residuals = backprop.half_squared_error_forward(jnp.array([3.0]), jnp.array([1.0]))
        >>> y, backprop.half_squared_error_backward(residuals, jnp.ones(1))[0]
        (Array([2.], dtype=float32), Array([2.], dtype=float32))
    """
    predictions, targets, dtypes = _widen_pair(predictions, targets)
    error = predictions - targets
    return (0.5 * error * error).astype(_result(dtypes)), (error, dtypes)


def half_squared_error_backward(residuals: PyTree, cotangent: Float[Array, "..."]) -> Both:
    """∂E/∂ŷ = (ŷ − y) δ.

    Without a preceding non-linearity this is the only loss for which E's δ = ŷ − y holds. [Lecture row D2]
    """
    error, dtypes = residuals
    return _opposite(error * cotangent.astype(error.dtype), dtypes)


def binary_cross_entropy_forward(
    probabilities: Float[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, eps: ArrayLike = 1e-7
) -> tuple[Float[Array, "..."], PyTree]:
    """Cross entropy −y ln p − (1 − y) ln(1 − p); below eps, the tangent at eps continues the logarithm.

    Raises:
        ValueError: shapes that differ.

    Examples:
        At p = ½ the loss is ln 2, and its derivative −1/p:

        >>> y, residuals = backprop.binary_cross_entropy_forward(jnp.array([0.5]), jnp.array([1.0]))
        >>> y, backprop.binary_cross_entropy_backward(residuals, jnp.ones(1))[0]
        (Array([0.6931472], dtype=float32), Array([-2.], dtype=float32))
    """
    p, y, dtypes = _widen_pair(probabilities, labels, ("probabilities", "labels"))
    y = jnp.where(((y >= 0) & (y <= 1)).all(), y, jnp.nan)
    yes, no = _log_with_tangent(p, eps), _log_with_tangent(1 - p, eps)
    return (-y * yes - (1 - y) * no).astype(_result(dtypes)), (p, y, yes - no, eps, dtypes)


def binary_cross_entropy_backward(residuals: PyTree, cotangent: Float[Array, "..."]) -> Both:
    """∂E/∂p = ((1 − y)/(1 − p) − y/p) δ, with denominators of at least eps; ∂E/∂y = (ln(1 − p) − ln p) δ.

    For p = sigmoid(z), whose derivative is p (1 − p), this gives ∂E/∂z = (p − y) δ.
    """
    p, y, log_odds, eps, dtypes = residuals
    delta = cotangent.astype(p.dtype)
    slope = (1 - y) / jnp.maximum(1 - p, eps) - y / jnp.maximum(p, eps)
    return _cast((slope * delta, -log_odds * delta), dtypes)


def sigmoid_binary_cross_entropy_forward(
    logits: Float[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."]
) -> tuple[Float[Array, "..."], PyTree]:
    """Binary cross entropy of a logit, y ln(1 + e⁻ᶻ) + (1 − y) ln(1 + eᶻ).

    Raises:
        ValueError: shapes that differ.

    Examples:
        >>> y, residuals = backprop.sigmoid_binary_cross_entropy_forward(jnp.array([0.0]), jnp.array([1.0]))
        >>> y, backprop.sigmoid_binary_cross_entropy_backward(residuals, jnp.ones(1))[0]  # ln 2, ½ - 1
        (Array([0.6931472], dtype=float32), Array([-0.5], dtype=float32))
    """
    z, y, dtypes = _widen_pair(logits, labels, ("logits", "labels"))
    y = jnp.where(((y >= 0) & (y <= 1)).all(), y, jnp.nan)
    loss = _product(y, softplus(-z)) + _product(1 - y, softplus(z))
    return loss.astype(_result(dtypes)), (z, y, dtypes)


def sigmoid_binary_cross_entropy_backward(residuals: PyTree, cotangent: Float[Array, "..."]) -> Both:
    """∂E/∂z = (sigmoid(z) − y) δ and ∂E/∂y = −z δ."""
    z, y, dtypes = residuals
    delta = cotangent.astype(z.dtype)
    # sigmoid(z) − y without the cancellation of 1 − 1 for large z
    slope = (1 - y) * lax.logistic(z) - y * lax.logistic(-z)
    return _cast((slope * delta, -z * delta), dtypes)


def softmax_cross_entropy_forward(
    logits: Float[ArrayLike, "... classes"],
    labels: Shaped[ArrayLike, "..."],
    *,
    label_smoothing: ArrayLike = 0.0,
) -> tuple[Float[Array, "..."], PyTree]:
    """Cross entropy −Σ_k y_k ln ŷ_k of ŷ = softmax(z), one value per example.

    Args:
        logits: z, classes last.
        labels: class numbers in the shape of the logits without the last axis, or a distribution y in its full shape.
        label_smoothing: ε; y becomes (1 − ε) y + ε / classes.

    Raises:
        ValueError: labels of another shape, or class numbers that are not integers.

    Examples:
        Logits ln 1 and ln 3 have the probabilities ¼ and ¾, and the gradient is ŷ − y:

        >>> y, residuals = backprop.softmax_cross_entropy_forward(jnp.log(jnp.array([[1.0, 3.0]])), jnp.array([1]))
        >>> y, backprop.softmax_cross_entropy_backward(residuals, jnp.ones(1))[0]  # -ln ¾
        (Array([0.28768206], dtype=float32), Array([[ 0.25, -0.25]], dtype=float32))
    """
    numerics.refuse_complex(logits=logits, labels=labels)
    dtype = numerics.result_dtype(logits)
    z, labels = numerics.widen(logits), jnp.asarray(labels)
    label_smoothing = jnp.asarray(label_smoothing, z.dtype)
    y = (1 - label_smoothing) * _distribution(z, labels) + label_smoothing / z.shape[-1]
    shifted = z - z.max(-1, keepdims=True)
    log_p = shifted - jnp.log(jnp.exp(shifted).sum(-1, keepdims=True))
    surprise = jnp.where((y == 0) & jnp.isneginf(log_p), 0, -log_p)  # 0 ln 0 = 0
    dtypes = Static((dtype, labels.dtype))
    return (y * surprise).sum(-1).astype(dtype), (jnp.exp(log_p), y, surprise, 1 - label_smoothing, dtypes)


def softmax_cross_entropy_backward(residuals: PyTree, cotangent: Float[Array, "..."]) -> Both:
    """∂E/∂z = (ŷ Σ_k y_k − y) δ, which is (ŷ − y) δ for Σ y = 1; ∂E/∂y = −(1 − ε) ln ŷ δ.

    It follows from ∂ ln ŷ_k/∂z_i = 1[i=k] − ŷ_i: −Σ_k y_k ∂ ln ŷ_k/∂z_i = ŷ_i Σ_k y_k − y_i. Erratum: the lecture E
    sums 1[i=k] − ŷ_i without the factor y_k.
    """
    p, y, surprise, kept, dtypes = residuals
    delta = cotangent.astype(p.dtype)[..., None]
    slope = p * y.sum(-1, keepdims=True) - y
    return _cast((slope * delta, kept * surprise * delta), dtypes)


def _distribution(logits: Array, labels: Array) -> Array:
    """Return labels as a distribution over the last axis of the logits. A class number out of range gives NaN."""
    shape = logits.shape
    if shape and labels.shape == shape:
        return labels.astype(logits.dtype)
    if not shape or labels.shape != shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels: got shape {labels.shape} and dtype {labels.dtype}, allowed for logits of shape {shape} are "
            f"integers of shape {shape[:-1]} and distributions of shape {shape}"
        )
    labels = numerics.class_numbers(labels)
    one_hot = labels[..., None] == lax.broadcasted_iota(labels.dtype, shape, len(shape) - 1)
    possible = (labels >= 0) & (labels < shape[-1])
    return jnp.where(possible[..., None], one_hot.astype(logits.dtype), jnp.nan)


def _product(share: Array, surprise: Array) -> Array:
    """Return the product, with 0 · inf = 0."""
    return share * jnp.where((share == 0) & jnp.isinf(surprise), 0, surprise)


def _widen_pair(predictions, targets, names=("predictions", "targets")):
    """Return both in float32 or wider, and their own dtypes."""
    numerics.refuse_complex(**dict(zip(names[::-1], (targets, predictions), strict=True)))
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    if predictions.shape != targets.shape:
        raise ValueError(f"{names[1]}: got shape {targets.shape}, must be the shape of {names[0]}, {predictions.shape}")
    dtypes = Static((predictions.dtype, targets.dtype))
    wide = numerics.wide_dtype(numerics.result_dtype(predictions, targets))
    return predictions.astype(wide), targets.astype(wide), dtypes


def _result(dtypes: Static):
    return numerics.result_dtype(*(jnp.zeros((), dtype) for dtype in dtypes.value))


def _opposite(slope: Array, dtypes: Static) -> Both:
    return _cast((slope, -slope), dtypes)


def _cast(cotangents: tuple[Array, Array], dtypes: Static) -> Both:
    """Return each cotangent in the dtype of its input; None for integers."""
    (to_predictions, to_targets), (predictions, targets) = cotangents, dtypes.value
    floating = jnp.issubdtype(targets, jnp.floating)
    return to_predictions.astype(predictions), to_targets.astype(targets) if floating else None


def _log_with_tangent(p: Array, eps: ArrayLike) -> Array:
    inside = p >= eps
    eps = jnp.asarray(eps, p.dtype)
    return jnp.where(inside, jnp.log(jnp.where(inside, p, 1)), jnp.log(eps) + (p - eps) / eps)
