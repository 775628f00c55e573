"""Initialisers: factories of functions `f(key, shape, dtype=float32) -> array`.

The functions can replace those of `jax.nn.initializers`. `zeros()` and `ones()` are factories, too; `fans` and `gain`
are plain functions of Python values. The last two axes of a shape are (inputs, outputs), and the axes before them are
the window of a convolution: dense kernels are (d_in, d_out), convolution kernels (kh, kw, c_in / groups, c_out).

float16 and bfloat16 are drawn in float32 and rounded, which keeps the tails. `normal`, `orthogonal` and the
initialisers built on them draw complex numbers, too; bounded distributions raise ValueError for a complex dtype.

[Lecture row F]
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxdl import counterparts, numerics

__all__ = [
    "constant",
    "fans",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)

_TAIL = 2  # beyond it the distribution function is so near 1 that too few digits are left

F = TypeVar("F", bound=Callable[..., Any])
Initializer = Callable[..., Array]  # (key, shape, dtype=float32) -> array

# standard deviation of a standard normal cut off at ±2: √(1 − 4 φ(2) / (2 Φ(2) − 1))
_CUT_DEVIATION = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def _factory(function: F) -> F:
    """Answer ``he_normal(key, shape)``, a call as of what the factory makes."""

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Initializer:
        if len(args) > 1 and numerics.is_key(args[0]):
            name = function.__name__
            raise TypeError(f"{name} makes an initialiser, which takes the key: {name}(...)(key, shape)")
        return function(*args, **options)

    return called  # type: ignore[return-value]


@_factory
def zeros() -> Initializer:
    """Fill with 0, the usual start of a bias.

    Examples:
        >>> initializers.zeros()(jax.random.key(0), (3, 4)).sum()
        Array(0., dtype=float32)
    """
    return constant(0)


@_factory
def ones() -> Initializer:
    """Fill with 1, the usual start of a scale.

    Examples:
        >>> initializers.ones()(jax.random.key(0), (3, 4)).sum()
        Array(12., dtype=float32)
    """
    return constant(1)


@_factory
def constant(value: ArrayLike) -> Initializer:
    """Fill with one value.

    For the weights of a layer this is the symmetry experiment: all units compute the same value, get the same
    gradient and stay duplicates of one another.

    Examples:
        >>> initializers.constant(0.5)(jax.random.key(0), (3, 4)).sum()
        Array(6., dtype=float32)
    """

    return lambda key, shape, dtype=jnp.float32: jnp.full(shape, value, dtype)


def _drawn(sample: Callable, scale) -> Initializer:
    """Return the initialiser `scale · sample(key, shape)`, drawn in float32 or wider."""

    def init(key, shape, dtype=jnp.float32):
        numerics.check_key(key)
        wide = numerics.wide_dtype(dtype)
        return (sample(key, tuple(shape), wide) * jnp.asarray(scale, wide)).astype(dtype)

    return init


@_factory
def normal(stddev: ArrayLike) -> Initializer:
    """Draw from N(0, stddev²).

    Examples:
        >>> initializers.normal(0.01)(jax.random.key(0), (3, 4)).shape
        (3, 4)
    """
    return _drawn(jax.random.normal, stddev)


@_factory
def truncated_normal(stddev: ArrayLike, *, lower: float | int = -2, upper: float | int = 2) -> Initializer:
    """Draw from N(0, stddev²), truncated to values between lower · stddev and upper · stddev.

    `stddev` is the deviation before truncation: at ±2 the result has 0.8796 of it, which `variance_scaling`
    corrects.

    Raises:
        ValueError: `lower` is not below `upper`.

    Examples:
        >>> bool(abs(initializers.truncated_normal(1.0)(jax.random.key(0), (3, 4))).max() <= 2)
        True
    """
    if not lower < upper:
        raise ValueError(f"lower, upper: got {lower} and {upper}, lower must be below upper")

    def sample(key, shape, dtype):
        _check_real(dtype)
        if lower > _TAIL:
            return _normal_tail(key, lower, upper, shape, dtype)
        if upper < -_TAIL:
            return -_normal_tail(key, -upper, -lower, shape, dtype)
        return jax.random.truncated_normal(key, lower, upper, shape, dtype)

    return _drawn(sample, stddev)


def _check_real(dtype):
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"dtype: got {jnp.dtype(dtype)}, allowed are floats; complex numbers are drawn by `normal`")


def _normal_tail(key, lower, upper, shape, dtype):
    """Draw from the standard normal between two positive bounds, far from 0, where its distribution function is 1.

    With S = 1 − Φ and u uniform, x solves ln S(x) = ln S(lower) + ln(1 − u (1 − S(upper)/S(lower))), by Newton's
    method from the solution for S(x) ~ e^(−x²/2).
    """
    u = jax.random.uniform(key, shape, dtype)
    low, high = (jnp.asarray(bound, dtype) for bound in (lower, upper))
    first, last = log_ndtr(-low), log_ndtr(-high)
    fallen = jnp.log1p(u * jnp.expm1(last - first))
    x = jnp.sqrt(low * low - 2 * fallen)
    for _ in range(5):
        now = log_ndtr(-x)
        x = x + (now - first - fallen) * jnp.exp(now + 0.5 * x * x) * math.sqrt(2 * math.pi)
    return jnp.clip(x, low, high)


@_factory
def uniform(bound: ArrayLike) -> Initializer:
    """Draw from U(−bound, bound), whose variance is bound² / 3; jax's namesake draws from U(0, scale).

    Examples:
        >>> bool(abs(initializers.uniform(0.1)(jax.random.key(0), (3, 4))).max() <= 0.1)
        True
    """
    return _drawn(_symmetric_uniform, bound)


def _symmetric_uniform(key, shape, dtype):
    _check_real(dtype)
    return jax.random.uniform(key, shape, dtype, -1, 1)


def fans(shape: Sequence[int], *, groups: int = 1) -> tuple[int, int]:
    """Return (fan_in, fan_out), the number of inputs of one output and the number of outputs of one input.

    For a kernel (*window, c_in / groups, c_out): fan_in = ∏window · c_in / groups, fan_out = ∏window · c_out
    / groups. A dense kernel has no window.

    Args:
        shape: the kernel's shape, at least two axes.
        groups: number of groups of a grouped convolution, which the shape does not show.

    Raises:
        ValueError: fewer than two axes, or `groups` does not divide the number of outputs.

    Examples:
        >>> initializers.fans((3, 3, 16, 32))
        (144, 288)
    """
    if len(shape) < 2:
        raise ValueError(f"shape: got {tuple(shape)}, fans need at least the two axes (inputs, outputs)")
    if groups < 1 or shape[-1] % groups:
        raise ValueError(f"groups: got {groups}, must be positive and divide the {shape[-1]} outputs of {shape}")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1] // groups


@_factory
def variance_scaling(scale: float | int, mode: str, distribution: str, *, groups: int = 1) -> Initializer:
    """Draw with mean 0 and variance scale / n, where n is a fan of the kernel.

    Args:
        scale: the variance times n: 1 for linear units and tanh, 2 for ReLU.
        mode: n is "fan_in", "fan_out" or "fan_avg", the mean of both.
        distribution: "normal"; "truncated_normal", cut at two deviations of the uncut normal and then brought
            to the same variance; or "uniform" on ±√(3 · scale / n).
        groups: number of groups of a grouped convolution, see `fans`.

    Raises:
        ValueError: an unknown mode or distribution or a scale that is not positive, at once; a shape without
            fans, when the initialiser is called.

    Reference: He et al., Delving deep into rectifiers, 2015. https://arxiv.org/abs/1502.01852

    Examples:
        >>> initializers.variance_scaling(2.0, "fan_in", "truncated_normal")(jax.random.key(0), (3, 4)).shape
        (3, 4)
    """
    if mode not in ("fan_in", "fan_out", "fan_avg"):
        raise ValueError(f"mode: got {mode!r}, allowed are 'fan_in', 'fan_out' and 'fan_avg'")
    if distribution not in ("normal", "truncated_normal", "uniform"):
        raise ValueError(f"distribution: got {distribution!r}, allowed are 'normal', 'truncated_normal' and 'uniform'")
    if not scale > 0:
        raise ValueError(f"scale: got {scale}, must be positive")

    def init(key, shape, dtype=jnp.float32):
        fan_in, fan_out = fans(shape, groups=groups)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        deviation = math.sqrt(scale / max(n, 1))
        draw = {
            "normal": normal(deviation),
            "truncated_normal": truncated_normal(deviation / _CUT_DEVIATION),
            "uniform": uniform(math.sqrt(3) * deviation),
        }[distribution]
        return draw(key, shape, dtype)

    return init


@_factory
def lecun_normal(*, groups: int = 1) -> Initializer:
    """Draw from N(0, 1/n_in): the lecture's "variance 1/n", its rule for tanh.

    Reference: LeCun et al., Efficient BackProp, 1998. http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf

    Examples:
        >>> initializers.lecun_normal()(jax.random.key(0), (3, 4)).shape
        (3, 4)
    """
    return variance_scaling(1.0, "fan_in", "normal", groups=groups)


@_factory
def lecun_uniform(*, groups: int = 1) -> Initializer:
    """Draw from U(±√(3/n_in)), variance 1/n_in. See `lecun_normal`.

    Examples:
        >>> bool(abs(initializers.lecun_uniform()(jax.random.key(0), (3, 4))).max() <= 1)
        True
    """
    return variance_scaling(1.0, "fan_in", "uniform", groups=groups)


@_factory
def glorot_normal(*, gain: float | int = 1.0, groups: int = 1) -> Initializer:
    """Draw from N(0, gain² · 2/(n_in + n_out)). See `glorot_uniform`.

    Examples:
        >>> initializers.glorot_normal()(jax.random.key(0), (3, 4)).shape
        (3, 4)
    """
    return variance_scaling(gain**2, "fan_avg", "normal", groups=groups)


@_factory
def glorot_uniform(*, gain: float | int = 1.0, groups: int = 1) -> Initializer:
    """Draw from U(±gain · √(6/(n_in + n_out))), variance gain² · 2/(n_in + n_out).

    `gain` is 1 for linear units and tanh and 4 for the sigmoid (its slope at 0 is 1/4, see `gain`). Erratum:
    the lecture prints the factor 4 under tanh and none under the sigmoid.

    Reference: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks,
    2010. https://proceedings.mlr.press/v9/glorot10a.html

    Examples:
        >>> bool(abs(initializers.glorot_uniform()(jax.random.key(0), (3, 4))).max() <= (6 / 7) ** 0.5)
        True
    """
    return variance_scaling(gain**2, "fan_avg", "uniform", groups=groups)


@_factory
def he_normal(*, groups: int = 1) -> Initializer:
    """Draw from N(0, 2/n_in), for ReLU; not truncated, as in the paper and unlike jax's namesake.

    Reference: He et al., Delving deep into rectifiers, 2015. https://arxiv.org/abs/1502.01852

    Examples:
        >>> initializers.he_normal()(jax.random.key(0), (3, 4)).shape
        (3, 4)
    """
    return variance_scaling(2.0, "fan_in", "normal", groups=groups)


@_factory
def he_uniform(*, groups: int = 1) -> Initializer:
    """Draw from U(±√(6/n_in)), variance 2/n_in, for ReLU. See `he_normal`.

    Examples:
        >>> bool(abs(initializers.he_uniform()(jax.random.key(0), (3, 4))).max() <= 2**0.5)
        True
    """
    return variance_scaling(2.0, "fan_in", "uniform", groups=groups)


@_factory
def orthogonal(*, scale: ArrayLike = 1.0) -> Initializer:
    """Draw a matrix with orthonormal rows or columns, whichever are fewer, uniformly (Haar), times `scale`.

    A kernel of more than two axes is orthogonal as a matrix whose columns are the outputs, the last axis.

    Raises:
        ValueError: when called with a shape of fewer than two axes.

    Reference: Saxe, McClelland and Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks, 2014. https://arxiv.org/abs/1312.6120

    Examples:
        >>> w = initializers.orthogonal()(jax.random.key(0), (3, 3))
        >>> bool(jnp.allclose(w @ w.T, jnp.eye(3), atol=1e-5))
        True
    """

    def sample(key, shape, dtype):
        if len(shape) < 2:
            raise ValueError(f"shape: got {shape}, an orthogonal matrix needs at least two axes")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = jnp.linalg.qr(jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype))
        signs = jnp.sign(jnp.diagonal(r)) if jnp.iscomplexobj(r) else jnp.where(jnp.diagonal(r) < 0, -1, 1)
        q *= signs[None, :]  # the signs that QR chooses are not uniform
        return (q if rows >= columns else q.T).reshape(shape)

    return _drawn(sample, scale)


def gain(activation: Callable[[Array], Array], *, keeps: str = "moment") -> float:
    """Return the factor of the weights' deviation 1/√n with which a signal keeps its size through an activation g.

    Args:
        activation: an element-by-element function such as `activations.relu`.
        keeps: "moment": 1/√E[g(z)²] for z from N(0, 1), which is √2 for ReLU (He) and 1.59 for tanh;
            "slope": 1/|g'(0)|, for units that work near 0: 1 for tanh, 4 for the sigmoid (Glorot).

    Raises:
        ValueError: unknown `keeps`; or an activation that is 0 everywhere, or flat at 0 with "slope".

    PyTorch's table has 5/3 for tanh and 1 for the sigmoid, which follow neither formula.

    Examples:
        >>> initializers.gain(jax.nn.relu)
        1.4142135231872814
    """
    if keeps not in ("moment", "slope"):
        raise ValueError(f"keeps: got {keeps!r}, allowed are 'moment' and 'slope'")
    with jax.ensure_compile_time_eval():
        if keeps == "slope":
            size = abs(float(jax.grad(lambda z: activation(z))(jnp.float32(0))))
        else:
            nodes, weights = np.polynomial.hermite_e.hermegauss(64)
            values = np.asarray(activation(jnp.asarray(nodes, jnp.float32)), np.float64)
            size = math.sqrt(np.sum(weights * values**2) / math.sqrt(2 * math.pi))
    if size == 0:
        raise ValueError(f"activation: its {keeps} is 0, so no gain keeps the signal")
    return 1 / size
