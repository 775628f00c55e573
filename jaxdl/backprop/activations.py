"""Activations g(z), forward and backward: ∂E/∂z = g'(z) δ, with δ = ∂E/∂g.

`NAME_forward` computes the same as `jaxdl.activations.NAME`, and `NAME_backward` multiplies by the derivative in its
docstring. float16 and bfloat16 are computed in float32 and rounded once. At a kink the derivative is that of the
lecture's "otherwise" case, such as 0 for relu at 0. [Lecture rows B, D1]
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxdl import numerics
from jaxdl.primitives import Static

__all__ = [
    "elu_backward",
    "elu_forward",
    "gelu_backward",
    "gelu_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "linear_backward",
    "linear_forward",
    "log_softmax_backward",
    "log_softmax_forward",
    "noisy_relu_backward",
    "noisy_relu_forward",
    "relu6_backward",
    "relu6_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "softplus_backward",
    "softplus_forward",
    "swish_backward",
    "swish_forward",
    "tanh_backward",
    "tanh_forward",
    "threshold_backward",
    "threshold_forward",
]

Values = Float[ArrayLike, "*n"]
Result = Float[Array, "*n"]


def linear_forward(x: Values) -> tuple[Result, PyTree]:
    """Identity g(z) = z."""
    numerics.refuse_complex(x=x)
    return jnp.asarray(x), ()


def linear_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 1."""
    del residuals
    return cotangent


def threshold_forward(x: Values, *, at: ArrayLike = 0.0) -> tuple[Result, PyTree]:
    """Step function g(z) = 1 if z ≥ at else 0; NaN stays NaN."""
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    at = jnp.asarray(at, x.dtype)
    return jnp.where(x >= at, 1, jnp.where(x < at, 0, x)).astype(x.dtype), ()


def threshold_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 0, even at the step, where g has no derivative."""
    del residuals
    return jnp.zeros_like(cotangent)


def sigmoid_forward(x: Values) -> tuple[Result, PyTree]:
    """Logistic function a = 1 / (1 + e⁻ᶻ).

    Examples:
        >>> y, residuals = backprop.sigmoid_forward(jnp.array([0.0, 100.0]))
        >>> y, backprop.sigmoid_backward(residuals, jnp.ones(2))  # a (1 - a)
        (Array([0.5, 1. ], dtype=float32), Array([0.25, 0.  ], dtype=float32))
    """
    z, dtype = _widen(x)
    a = lax.logistic(z)
    return a.astype(dtype), a


def sigmoid_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = a (1 − a)."""
    a = residuals
    return _times(a * (1 - a), cotangent)


def tanh_forward(x: Values) -> tuple[Result, PyTree]:
    """Hyperbolic tangent a = tanh z.

    Examples:
        >>> y, residuals = backprop.tanh_forward(jnp.array([0.0, 100.0]))
        >>> y, backprop.tanh_backward(residuals, jnp.ones(2))  # 1 - a²
        (Array([0., 1.], dtype=float32), Array([1., 0.], dtype=float32))
    """
    z, dtype = _widen(x)
    a = jnp.tanh(z)
    return a.astype(dtype), a


def tanh_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 1 − a²."""
    a = residuals
    return _times(1 - a * a, cotangent)


def relu_forward(x: Values) -> tuple[Result, PyTree]:
    """Rectifier g(z) = max(0, z); NaN stays NaN.

    Examples:
        >>> y, residuals = backprop.relu_forward(jnp.array([-1.0, 2.0]))
        >>> y, backprop.relu_backward(residuals, jnp.array([10.0, 10.0]))
        (Array([0., 2.], dtype=float32), Array([ 0., 10.], dtype=float32))
    """
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    return jnp.where(x <= 0, 0, x), x > 0


def relu_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 1 if z > 0 else 0."""
    return jnp.where(residuals, cotangent, 0)


def relu6_forward(x: Values) -> tuple[Result, PyTree]:
    """Clipped rectifier g(z) = min(max(0, z), 6)."""
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    return jnp.where(x >= 6, 6, jnp.where(x <= 0, 0, x)), (x > 0) & (x < 6)


def relu6_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 1 if 0 < z < 6 else 0."""
    return jnp.where(residuals, cotangent, 0)


def leaky_relu_forward(x: Values, *, negative_slope: ArrayLike = 0.01) -> tuple[Result, PyTree]:
    """Leaky rectifier g(z) = z if z > 0 else β z, with β = `negative_slope`.

    Examples:
        >>> y, residuals = backprop.leaky_relu_forward(jnp.array([-1.0, 2.0]), negative_slope=0.5)
        >>> y, backprop.leaky_relu_backward(residuals, jnp.array([10.0, 10.0]))
        (Array([-0.5,  2. ], dtype=float32), Array([ 5., 10.], dtype=float32))
    """
    z, dtype = _widen(x)
    slope = jnp.where(z > 0, 1, jnp.asarray(negative_slope, z.dtype))
    return (slope * z).astype(dtype), slope


def leaky_relu_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 1 if z > 0 else β."""
    return _times(residuals, cotangent)


def elu_forward(x: Values, *, alpha: ArrayLike = 1.0) -> tuple[Result, PyTree]:
    """Exponential linear unit g(z) = z if z > 0 else α (eᶻ − 1)."""
    z, dtype = _widen(x)
    negative = jnp.where(z > 0, 0, z)  # keeps exp from overflowing in the branch that is not taken
    alpha = jnp.asarray(alpha, z.dtype)
    return jnp.where(z > 0, z, alpha * jnp.expm1(negative)).astype(dtype), (z, alpha)


def elu_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = 1 if z > 0 else α eᶻ. The equivalent g(z) + α would lose all digits for z ≪ 0."""
    z, alpha = residuals
    return _times(jnp.where(z > 0, 1, alpha * jnp.exp(jnp.where(z > 0, 0, z))), cotangent)


def softplus_forward(x: Values) -> tuple[Result, PyTree]:
    """Smooth rectifier g(z) = ln(1 + eᶻ)."""
    z, dtype = _widen(x)
    return softplus(z).astype(dtype), z


def softplus_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = sigmoid(z)."""
    return _times(lax.logistic(residuals), cotangent)


def gelu_forward(x: Values, *, approximate: bool = False) -> tuple[Result, PyTree]:
    """Gaussian error linear unit g(z) = z Φ(z), or ½ z (1 + tanh u), u = √(2/π) (z + 0.044715 z³)."""
    z, dtype = _widen(x)
    phi = 0.5 * (1 + jnp.tanh(_gelu_inner(jnp.clip(z, -40, 40)))) if approximate else _normal_cdf(z)
    return jnp.where(z < -40, 0, z * phi).astype(dtype), (z, Static(approximate))  # −inf · 0 is NaN


def gelu_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = Φ(z) + z e^(−z²/2) / √(2π), or ½ (1 + t) + ½ z (1 − t²) √(2/π) (1 + 3 · 0.044715 z²), t = tanh u."""
    z, approximate = residuals
    z = jnp.clip(z, -30, 30)  # beyond, g' is exactly 0 or 1, and z² may overflow
    if not approximate.value:
        return _times(_normal_cdf(z) + z * jnp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi), cotangent)
    t = jnp.tanh(_gelu_inner(z))
    inner_slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z * z)
    return _times(0.5 * (1 + t) + 0.5 * z * (1 - t * t) * inner_slope, cotangent)


def swish_forward(x: Values, *, beta: ArrayLike = 1.0) -> tuple[Result, PyTree]:
    """Swish g(z) = z s, s = sigmoid(β z)."""
    z, dtype = _widen(x)
    beta = jnp.asarray(beta, z.dtype)
    s = lax.logistic(beta * z)
    return jnp.where(s == 0, 0, z * s).astype(dtype), (z, s, beta)  # −inf · 0 is NaN


def swish_backward(residuals: PyTree, cotangent: Result) -> Result:
    """g'(z) = s + β z s (1 − s)."""
    z, s, beta = residuals
    saturated = (s == 0) | (s == 1)  # inf · 0 is NaN
    return _times(s + jnp.where(saturated, 0, beta * z * s * (1 - s)), cotangent)


def softmax_forward(x: Values, *, axis: int = -1) -> tuple[Result, PyTree]:
    """Probabilities ŷ_i = e^{z_i} / Σ_j e^{z_j} over `axis`.

    Examples:
        Logits ln 1 and ln 3 have the probabilities ¼ and ¾; the gradient for the second is ŷ₂ (1 − ŷ₂):

        >>> y, residuals = backprop.softmax_forward(jnp.log(jnp.array([1.0, 3.0])))
        >>> y, backprop.softmax_backward(residuals, jnp.array([0.0, 1.0]))
        (Array([0.25, 0.75], dtype=float32), Array([-0.1875,  0.1875], dtype=float32))
    """
    z, dtype = _widen(x)
    if not z.size:
        return z.astype(dtype), (z, Static(axis))
    unnormalized = jnp.exp(z - z.max(axis, keepdims=True))
    probabilities = unnormalized / unnormalized.sum(axis, keepdims=True)
    return probabilities.astype(dtype), (probabilities, Static(axis))


def softmax_backward(residuals: PyTree, cotangent: Result) -> Result:
    """∂E/∂z_i = ŷ_i (δ_i − Σ_j ŷ_j δ_j), from the Jacobian ∂ŷ_j/∂z_i = ŷ_j (1[i=j] − ŷ_i).

    Erratum: the lecture E leaves out the factor y_j when it sums the Jacobian over the classes for the cross entropy.
    """
    probabilities, axis = residuals
    wide = cotangent.astype(probabilities.dtype)
    mean = (probabilities * wide).sum(axis.value, keepdims=True)
    return (probabilities * (wide - mean)).astype(cotangent.dtype)


def log_softmax_forward(x: Values, *, axis: int = -1) -> tuple[Result, PyTree]:
    """Logarithms of the probabilities, z_i − ln Σ_j e^{z_j} over `axis`.

    Examples:
        >>> y, residuals = backprop.log_softmax_forward(jnp.log(jnp.array([1.0, 3.0])))
        >>> backprop.log_softmax_backward(residuals, jnp.array([0.0, 1.0]))  # -¼, 1 - ¾
        Array([-0.25,  0.25], dtype=float32)
    """
    z, dtype = _widen(x)
    if not z.size:
        return z.astype(dtype), (z, Static(axis))
    shifted = z - z.max(axis, keepdims=True)
    logarithms = shifted - jnp.log(jnp.exp(shifted).sum(axis, keepdims=True))
    return logarithms.astype(dtype), (logarithms, Static(axis))


def log_softmax_backward(residuals: PyTree, cotangent: Result) -> Result:
    """∂E/∂z_i = δ_i − ŷ_i Σ_j δ_j."""
    logarithms, axis = residuals
    wide = cotangent.astype(logarithms.dtype)
    return (wide - jnp.exp(logarithms) * wide.sum(axis.value, keepdims=True)).astype(cotangent.dtype)


def noisy_relu_forward(key: jax.Array, x: Values, *, sigmoid_is: str = "variance") -> tuple[Result, PyTree]:
    """Noisy rectifier g(z) = max(0, z + d(z) n), n ~ N(0, 1), d = √sigmoid(z) or sigmoid(z) ("deviation").

    Raises:
        ValueError: `sigmoid_is` is neither "variance" nor "deviation".

    Examples:
        >>> y, residuals = backprop.noisy_relu_forward(jax.random.key(0), jnp.array([-100.0, 100.0]))
        >>> bool(y[0] == 0), bool(abs(y[1] - 100) < 10), backprop.noisy_relu_backward(residuals, jnp.ones(2))[1]
        (True, True, Array([0., 1.], dtype=float32))
    """
    numerics.check_key(key)
    if sigmoid_is not in ("variance", "deviation"):
        raise ValueError(f"sigmoid_is: got {sigmoid_is!r}, allowed are 'variance' and 'deviation'")
    z, dtype = _widen(x)
    power = 0.5 if sigmoid_is == "variance" else 1.0
    # a power of sigmoid(z) without its underflow for z ≪ 0
    noise = jnp.exp(-power * softplus(-z)) * jax.random.normal(key, z.shape, z.dtype)
    slope = jnp.where(z + noise > 0, 1 + power * lax.logistic(-z) * noise, 0)
    return jnp.where(z + noise <= 0, 0, z + noise).astype(dtype), slope


def noisy_relu_backward(residuals: PyTree, cotangent: Result) -> tuple[None, Result]:
    """g'(z) = 1 + d'(z) n if z + d(z) n > 0 else 0, where d' = p (1 − sigmoid) d for d = sigmoidᵖ; None for the key."""
    return None, _times(residuals, cotangent)


def softplus(z: Array) -> Array:
    """Return ln(1 + eᶻ) without overflow."""
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


def _widen(x: ArrayLike):
    """Return x in float32 or wider, and the dtype of the result."""
    numerics.refuse_complex(x=x)
    return numerics.widen(x), numerics.result_dtype(x)


def _times(slope: Array, cotangent: Array) -> Array:
    """Return the product in the cotangent's dtype, computed in the slope's."""
    return (slope * cotangent.astype(slope.dtype)).astype(cotangent.dtype)


def _normal_cdf(z: Array) -> Array:
    return 0.5 * lax.erfc(-math.sqrt(0.5) * z)


def _gelu_inner(z: Array) -> Array:
    return math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
