"""Activation functions g(z), element by element except `softmax`, `log_softmax` and `glu`.

These properties hold for all of them:

* A result has the dtype of `x`, and its shape except in `glu`. float16 and bfloat16 are computed in float32 and
  rounded once.
* Values and gradients are finite for every finite `x`. At ±inf each gives its limit, except that a softmax whose
  largest entry is infinite gives NaN. NaN stays NaN.
* Complex inputs raise ValueError, except in `linear` and `tanh`.
* At a kink the gradient is the one of the lecture's "otherwise" case: 0 for relu at 0 (and for relu6 at 0 and
  6), `negative_slope` for leaky_relu, the slope for prelu, α for elu, λα for selu.
* Every mode of differentiation works. XLA on CPU treats subnormals as 0, so the tails of sigmoid, softplus
  and softmax end near 1e-38.

[Lecture row B]
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from jaxdl import counterparts, numerics
from jaxdl.words import own_words

__all__ = [
    "elu",
    "gelu",
    "glu",
    "hard_swish",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "noisy_relu",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "swish",
    "tanh",
    "threshold",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)

_GELU_TAIL = 40  # beyond it Φ(−z) is 0, in float64 too
_SIGMOID_TAIL = 1000  # beyond it sigmoid(−z) is 0, in float64 too
# the fixed point at which mean 0 and variance 1 pass through a layer: equation (14) of the paper in double precision
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def _widen(x):
    """Return x in at least float32, and the dtype that the result shall have."""
    numerics.refuse_complex(x=x)
    return numerics.widen(x), numerics.result_dtype(x)


@own_words
def linear(x: Inexact[ArrayLike, "*n"]) -> Inexact[Array, "*n"]:
    """Identity: g(z) = z, g'(z) = 1."""
    return jnp.asarray(x)


@own_words
def threshold(x: Float[ArrayLike, "*n"], *, at: ArrayLike = 0.0) -> Float[Array, "*n"]:
    """Step of the perceptron: g(z) = 1 if z ≥ at else 0, with gradient 0 everywhere.

    `sigmoid(k z)` and `(1 + tanh(k z)) / 2` tend to it as k grows, for z ≠ at = 0.
    """
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    at = jnp.asarray(at, x.dtype)
    above = jnp.where(x < at, 0, lax.stop_gradient(x))  # keeps NaN as NaN
    return jnp.where(x >= at, 1, above).astype(x.dtype)


@own_words
def sigmoid(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Logistic function: a = 1 / (1 + e⁻ᶻ), a' = a (1 − a); range (0, 1), saturated beyond |z| = 6.

    Outputs are independent: unlike `softmax` they need not sum to 1 over the classes.

    Examples:
        >>> activations.sigmoid(jnp.array([-1.0, 0.0, 2.0]))
        Array([0.26894143, 0.5       , 0.880797  ], dtype=float32)
    """
    z, dtype = _widen(x)
    return lax.logistic(z).astype(dtype)


@own_words
def tanh(x: Inexact[ArrayLike, "*n"]) -> Inexact[Array, "*n"]:
    """Hyperbolic tangent: a = 2 sigmoid(2z) − 1, a' = 1 − a²; range (−1, 1), saturated beyond |z| = 3."""
    return jnp.tanh(numerics.widen(x)).astype(numerics.result_dtype(x))


@own_words
def relu(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Rectified linear unit: g(z) = max(0, z), g'(z) = 1 if z > 0 else 0.

    Reference: Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.
    https://www.cs.toronto.edu/~hinton/absps/reluICML.pdf

    Examples:
        >>> activations.relu(jnp.array([-1.0, 0.0, 2.0]))
        Array([0., 0., 2.], dtype=float32)
    """
    numerics.refuse_complex(x=x)
    x = jnp.asarray(x)
    # not maximum: it gives half the gradient at 0, and XLA on CPU, where it fuses one with a sum, makes NaN 0
    return jnp.where(x <= 0, 0, x)


@own_words
def relu6(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Clipped rectifier of MobileNet: g(z) = min(max(0, z), 6), g'(z) = 1 if 0 < z < 6 else 0.

    Reference: Howard et al., MobileNets, 2017. https://arxiv.org/abs/1704.04861
    """
    x = relu(x)
    return jnp.where(x >= 6, 6, x)


@own_words
def leaky_relu(x: Float[ArrayLike, "*n"], *, negative_slope: ArrayLike = 0.01) -> Float[Array, "*n"]:
    """Leaky rectifier: g(z) = z if z > 0 else β z, with β = `negative_slope` < 1.

    Reference: Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.
    https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf

    Examples:
        >>> activations.leaky_relu(jnp.array([-1.0, 0.0, 2.0]), negative_slope=0.1)
        Array([-0.1,  0. ,  2. ], dtype=float32)
    """
    z, dtype = _widen(x)
    negative = jnp.where(z > 0, 0, z)  # at z = inf the slope's gradient would be 0 · inf
    return jnp.where(z > 0, z, jnp.asarray(negative_slope, z.dtype) * negative).astype(dtype)


@own_words
def prelu(x: Float[ArrayLike, "*n"], slope: Float[ArrayLike, "..."]) -> Float[Array, "*n"]:
    """Parametric rectifier: g(z) = z if z > 0 else β z, with a slope β that is learned.

    Args:
        x: inputs z, channels last.
        slope: β, a number or one per channel, `(channels,)`; the paper starts from 0.25.

    Raises:
        ValueError: `slope` is neither, or an argument is complex.

    Example:
        `prelu(jnp.array([-2.0, 3.0]), 0.25)` is [−0.5, 3].

    Reference: He et al., Delving deep into rectifiers, 2015. https://arxiv.org/abs/1502.01852

    Examples:
        >>> activations.prelu(jnp.array([-1.0, 0.0, 2.0]), jnp.array(0.25))
        Array([-0.25,  0.  ,  2.  ], dtype=float32)
    """
    numerics.refuse_complex(x=x, slope=slope)
    dtype = numerics.result_dtype(x, slope)
    z, slope = (jnp.asarray(one, numerics.wide_dtype(dtype)) for one in (x, slope))
    if slope.shape not in ((), z.shape[-1:]):
        raise ValueError(f"slope: got shape {slope.shape}, allowed for x {z.shape} are () and {z.shape[-1:]}")
    negative = jnp.where(z > 0, 0, z)  # at z = inf the slope's gradient would be 0 · inf
    return jnp.where(z > 0, z, jnp.broadcast_to(slope, z.shape) * negative).astype(dtype)


@own_words
def noisy_relu(
    key: jax.Array,
    x: Float[ArrayLike, "*n"],
    *,
    sigmoid_is: str = "variance",
) -> Float[Array, "*n"]:
    """Noisy rectifier: g(z) = max(0, z + ε), ε drawn from N(0, v(z)) for each element.

    Args:
        key: a PRNG key; the same key gives the same noise.
        x: inputs z.
        sigmoid_is: what sigmoid(z) stands for in N(0, σ(z)), which the lecture writes: the "variance", as in
            the paper, or the standard "deviation". Gradients go through it (reparametrised noise).

    Raises:
        ValueError: `sigmoid_is` is neither of the two.

    Reference: Nair and Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.
    https://www.cs.toronto.edu/~hinton/absps/reluICML.pdf

    Examples:
        >>> activations.noisy_relu(jax.random.key(0), jnp.array([-1.0, 0.0, 2.0])).shape
        (3,)
    """
    if sigmoid_is not in ("variance", "deviation"):
        raise ValueError(f"sigmoid_is: got {sigmoid_is!r}, allowed are 'variance' and 'deviation'")
    numerics.check_key(key)
    z, dtype = _widen(x)
    # √sigmoid(z) as exp(−softplus(−z)/2): the gradient of a root is infinite where sigmoid underflows to 0
    deviation = jnp.exp(-0.5 * numerics.softplus(-z)) if sigmoid_is == "variance" else lax.logistic(z)
    return relu(z + deviation * jax.random.normal(key, z.shape, z.dtype)).astype(dtype)


@own_words
def elu(x: Float[ArrayLike, "*n"], *, alpha: ArrayLike = 1.0) -> Float[Array, "*n"]:
    """Exponential linear unit: g(z) = z if z > 0 else α (eᶻ − 1), α ≥ 0 (the lecture's β); range (−α, ∞).

    Reference: Clevert, Unterthiner and Hochreiter, Fast and accurate deep network learning by exponential
    linear units, 2016. https://arxiv.org/abs/1511.07289
    """
    z, dtype = _widen(x)
    negative = jnp.where(z > 0, 0, z)  # keeps exp from overflowing in the branch that is not taken
    return jnp.where(z > 0, z, jnp.asarray(alpha, z.dtype) * jnp.expm1(negative)).astype(dtype)


@own_words
def selu(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Self-normalising unit: g(z) = λ z if z > 0 else λ α (eᶻ − 1), λ = 1.0507, α = 1.6733; range (−1.758, ∞).

    Inputs of mean 0 and variance 1 keep both, with weights from `initializers.lecun_normal`.

    Example:
        `selu(jnp.array([-jnp.inf, 1.0]))` is [−1.7581, 1.0507].

    Reference: Klambauer et al., Self-normalizing neural networks, 2017. https://arxiv.org/abs/1706.02515
    """
    z, dtype = _widen(x)
    return (_SELU_SCALE * elu(z, alpha=_SELU_ALPHA)).astype(dtype)


@own_words
def softplus(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Smooth rectifier: g(z) = ln(1 + eᶻ), g'(z) = sigmoid(z); range (0, ∞).

    Reference: Dugas et al., Incorporating second-order functional knowledge for better option pricing, 2001.
    https://papers.nips.cc/paper/1920-incorporating-second-order-functional-knowledge-for-better-option-pricing
    """
    z, dtype = _widen(x)
    return numerics.softplus(z).astype(dtype)


@own_words
def gelu(x: Float[ArrayLike, "*n"], *, approximate: bool = False) -> Float[Array, "*n"]:
    """Gaussian error linear unit: g(z) = z Φ(z), Φ the normal distribution function.

    Args:
        x: inputs z.
        approximate: use ½ z (1 + tanh(√(2/π) (z + 0.044715 z³))) instead, which differs by at most 5e-4.

    Reference: Hendrycks and Gimpel, Gaussian error linear units, 2016. https://arxiv.org/abs/1606.08415

    Examples:
        >>> activations.gelu(jnp.array([-1.0, 0.0, 2.0]))
        Array([-0.15865527,  0.        ,  1.9544997 ], dtype=float32)
    """
    z, dtype = _widen(x)
    inside = jnp.where(jnp.abs(z) > _GELU_TAIL, 0, z)  # z³ overflows, and so do derivatives of exp(−z²/2)
    if approximate:
        inner = (2 / jnp.pi) ** 0.5 * (inside + 0.044715 * inside**3)
        y = 0.5 * inside * (1 + jnp.tanh(inner))
    else:
        y = 0.5 * inside * lax.erfc(-(0.5**0.5) * inside)
    return _with_tails(z, z, _GELU_TAIL, y).astype(dtype)


@own_words
def swish(x: Float[ArrayLike, "*n"], *, beta: ArrayLike = 1.0) -> Float[Array, "*n"]:
    """Swish, with β = 1 also called SiLU: g(z) = z sigmoid(β z).

    Reference: Ramachandran, Zoph and Le, Searching for activation functions, 2017.
    https://arxiv.org/abs/1710.05941

    Examples:
        >>> activations.swish(jnp.array([-1.0, 0.0, 2.0]), beta=2.0)
        Array([-0.11920292,  0.        ,  1.9640275 ], dtype=float32)
    """
    z, dtype = _widen(x)
    beta = jnp.asarray(beta, z.dtype)
    inside = jnp.where(jnp.abs(beta * z) > _SIGMOID_TAIL, 0, z)  # −inf · 0 is NaN
    y = inside * lax.logistic(beta * inside)
    return _with_tails(z, beta * z, _SIGMOID_TAIL, y).astype(dtype)


@own_words
def silu(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Sigmoid-weighted linear unit: g(z) = z sigmoid(z), which is `swish` with β = 1.

    Reference: Elfwing, Uchibe and Doya, Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning, 2018. https://arxiv.org/abs/1702.03118
    """
    return swish(x)


@own_words
def mish(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Mish: g(z) = z tanh(ln(1 + eᶻ)), smooth, with a minimum of −0.309 at z = −1.192.

    Example:
        `mish(1.0)` is tanh(ln(1 + e)) = 0.8651.

    Reference: Misra, Mish: a self regularized non-monotonic activation function, 2020.
    https://arxiv.org/abs/1908.08681
    """
    z, dtype = _widen(x)
    inside = jnp.where(jnp.abs(z) > _SIGMOID_TAIL, 0, z)  # −inf · 0 is NaN
    # tanh(ln(1 + e)) is a quotient of polynomials in e = eᶻ; tanh itself rounds to 1 too early for its slope
    up, down = jnp.exp(-jnp.where(z > 0, inside, 0)), jnp.exp(jnp.where(z > 0, 0, inside))
    above, below = 1 + 2 * up, down * (down + 2)
    gate = jnp.where(z > 0, above / (above + 2 * up * up), below / (below + 2))
    return _with_tails(z, z, _SIGMOID_TAIL, inside * gate).astype(dtype)


@own_words
def hard_swish(x: Float[ArrayLike, "*n"]) -> Float[Array, "*n"]:
    """Piecewise swish of MobileNetV3: g(z) = z min(max(0, z + 3), 6) / 6, with gradient 0 at −3 and 1 at 3.

    Example:
        `hard_swish(jnp.array([-3.0, 1.0, 4.0]))` is [0, 2/3, 4].

    Reference: Howard et al., Searching for MobileNetV3, 2019. https://arxiv.org/abs/1905.02244
    """
    z, dtype = _widen(x)
    inside = jnp.where(jnp.abs(z) < 3, z, 0)  # z² overflows
    return jnp.where(z >= 3, z, jnp.where(z <= -3, 0, inside * (inside + 3) / 6 + 0 * z)).astype(dtype)


@own_words
def glu(x: Float[ArrayLike, "*n"], *, axis: int = -1) -> Float[Array, "*m"]:
    """Gated linear unit: g(a, b) = a sigmoid(b), the two halves of an axis.

    Args:
        x: a and b one after the other on `axis`.
        axis: the axis to halve; the result has half its length there.

    Raises:
        ValueError: the axis does not exist or has an odd length, or x is complex.

    Other gates are products of the caller's: SwiGLU is `silu(a) * b`.

    Reference: Dauphin et al., Language modeling with gated convolutional networks, 2017.
    https://arxiv.org/abs/1612.08083

    Examples:
        >>> activations.glu(jnp.array([1.0, 2.0, 0.0, 0.0]))
        Array([0.5, 1. ], dtype=float32)
    """
    z, dtype = _widen(x)
    if not -z.ndim <= axis < z.ndim or z.shape[axis] % 2:
        raise ValueError(f"x: got shape {z.shape}, needs an axis {axis} of even length")
    a, b = jnp.split(z, 2, axis)
    return (a * lax.logistic(b)).astype(dtype)


def _with_tails(z, scaled, tail, y):
    """Return z where `scaled` is above `tail`, 0 where it is below −tail, and y between."""
    return jnp.where(scaled > tail, z, jnp.where(scaled < -tail, 0, y))


@own_words
def softmax(x: Float[ArrayLike, "*n"], *, axis: int = -1) -> Float[Array, "*n"]:
    """Probabilities from logits: ŷ_i = e^{z_i} / Σ_j e^{z_j}, computed after subtracting the largest z.

    Args:
        x: logits; −inf gives probability 0.
        axis: the axis of the classes, over which the result sums to 1; one of length 0 gives an empty result.

    The Jacobian is ∂ŷ_i/∂z_k = ŷ_i (δ_ik − ŷ_k), so that cross entropy against labels y has the gradient
    Σ_j y_j (ŷ_k − δ_jk) = ŷ_k − y_k. Erratum: the lecture prints Σ_j (ŷ_k − δ_jk), without the factor y_j.

    Examples:
        >>> activations.softmax(jnp.array([0.0, 0.0, jnp.log(2.0)]))
        Array([0.25, 0.25, 0.5 ], dtype=float32)
    """
    z, dtype = _widen(x)
    if not z.size:
        return z.astype(dtype)
    unnormalized = jnp.exp(z - lax.stop_gradient(z.max(axis, keepdims=True)))
    return (unnormalized / unnormalized.sum(axis, keepdims=True)).astype(dtype)


@own_words
def log_softmax(x: Float[ArrayLike, "*n"], *, axis: int = -1) -> Float[Array, "*n"]:
    """Logarithm of `softmax`: z_i − log Σ_j e^{z_j}, finite where the probability itself underflows.

    Args and Raises: see `softmax`.
    """
    z, dtype = _widen(x)
    if not z.size:
        return z.astype(dtype)
    shifted = z - lax.stop_gradient(z.max(axis, keepdims=True))
    return (shifted - jnp.log(jnp.exp(shifted).sum(axis, keepdims=True))).astype(dtype)
