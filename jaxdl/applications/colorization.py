"""Colour spaces for colourisation, in which lightness and colour are apart. [Lecture row J]

    lab = colorization.rgb_to_lab(images)  # float images from 0 to 1
    lightness, ab = lab[..., :1], lab[..., 1:]
    images = colorization.lab_to_rgb(jnp.concatenate([lightness, network(lightness)], -1))

A network sees the lightness L and predicts a and b: as two numbers (regression), or as a histogram over bins of colour,
from which one colour is drawn.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxdl import activations, numerics

__all__ = ["ab_bins", "annealed_mean", "colorfulness", "lab_to_rgb", "nearest_bin", "rgb_to_lab"]

# sRGB's primaries as XYZ under D65, IEC 61966-2-1, and its white
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])
CORNER = 6 / 29  # where the cube root of CIE 1976 goes over into a line


def rgb_to_lab(x: Float[ArrayLike, "*n 3"]) -> Float[Array, "*n 3"]:
    """Convert sRGB to CIE L*a*b* under D65: L* from 0 to 100, a* from green to red, b* from blue to yellow.

    L* = 116 f(Y/Yₙ) − 16, a* = 500 (f(X/Xₙ) − f(Y/Yₙ)), b* = 200 (f(Y/Yₙ) − f(Z/Zₙ)), with f(t) = ∛t, and a line of the
    same value and slope below (6/29)³.

    Args:
        x: colours from 0 to 1 along the last axis; others are clipped.

    Raises:
        ValueError: if the last axis has not three values.

    Reference: IEC 61966-2-1:1999 and CIE 15:2004, as in scikit-image's ``rgb2lab``.

    Examples:
        White is the lightest colour, without a* and b*, and black the darkest:

        >>> lab = colorization.rgb_to_lab(jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
        >>> abs(lab).round(1)
        Array([[100.,   0.,   0.],
               [  0.,   0.,   0.]], dtype=float32)
        >>> colorization.lab_to_rgb(lab).round(3)
        Array([[1., 1., 1.],
               [0., 0., 0.]], dtype=float32)

    [Lecture row J]
    """
    z, dtype = _wide(x)
    z = jnp.clip(z, 0, 1)
    dark = z <= 0.04045
    linear = jnp.where(dark, z / 12.92, ((jnp.where(dark, 1, z) + 0.055) / 1.055) ** 2.4)
    xyz = _product(linear, (TO_XYZ / WHITE[:, None]).T)
    low = xyz <= CORNER**3
    f = jnp.where(low, xyz / (3 * CORNER**2) + 4 / 29, jnp.cbrt(jnp.where(low, 1, xyz)))
    return jnp.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1).astype(
        dtype
    )


def lab_to_rgb(x: Float[ArrayLike, "*n 3"]) -> Float[Array, "*n 3"]:
    """Convert CIE L*a*b* under D65 to sRGB, the inverse of `rgb_to_lab`; colours outside of sRGB are clipped.

    Args:
        x: L*, a* and b* along the last axis.

    Raises:
        ValueError: as in `rgb_to_lab`.

    Reference: see `rgb_to_lab`. [Lecture row J]
    """
    z, dtype = _wide(x)
    y = (z[..., 0] + 16) / 116
    f = jnp.stack([y + z[..., 1] / 500, y, y - z[..., 2] / 200], -1)
    xyz = jnp.where(f > CORNER, f**3, 3 * CORNER**2 * (f - 4 / 29))
    linear = jnp.clip(_product(xyz, np.linalg.inv(TO_XYZ / WHITE[:, None]).T), 0, 1)
    dark = linear <= 0.0031308
    bright = 1.055 * jnp.where(dark, 1, linear) ** (1 / 2.4) - 0.055
    return jnp.where(dark, 12.92 * linear, bright).astype(dtype)


def ab_bins(*, step: float | int = 20, limit: float | int = 100) -> Float[np.ndarray, "k 2"]:
    """Return the centers of square bins of (a*, b*), those that some colour of sRGB falls into.

    Args:
        step: side of a bin.
        limit: largest |a*| and |b*| of a center; sRGB reaches from −86 to 98 and from −108 to 94.

    Raises:
        ValueError: if ``step`` or ``limit`` is not above 0.

    Reference: R. Zhang, P. Isola, A. Efros, Colorful Image Colorization, 2016, section 2.1,
    https://arxiv.org/abs/1603.08511.

    Examples:
        >>> bins = colorization.ab_bins(step=50)
        >>> bins.shape[1], bool((abs(bins) <= 100).all())
        (2, True)

    [Lecture row J]
    """
    if not (step > 0 and limit > 0):
        raise ValueError(f"step={step}, limit={limit}: must be above 0")
    ends = math.floor(limit / step)
    values = step * np.arange(-ends, ends + 1)
    grid = np.linspace(0, 1, 33, dtype=np.float32)
    colors = np.asarray(rgb_to_lab(np.stack(np.meshgrid(grid, grid, grid), -1).reshape(-1, 3)))[:, 1:]
    found = np.unique(np.clip(np.rint(colors / step), -ends, ends).astype(int), axis=0)
    return (values[found + ends]).astype(np.float32)


def nearest_bin(ab: Float[ArrayLike, "*n 2"], bins: Float[ArrayLike, "k 2"]) -> Int[Array, "*n"]:
    """Return the number of the bin whose center is nearest to each colour, the label of a histogram's cross entropy.

    Args:
        ab: colours, a* and b* along the last axis.
        bins: centers, from `ab_bins`.

    Reference: see `ab_bins`.

    Examples:
        >>> colorization.nearest_bin(jnp.array([15.0, 30.0]), np.array([[0.0, 0.0], [20.0, 40.0]]))
        Array(1, dtype=int32)

    [Lecture row J]
    """
    ab, bins = numerics.widen(ab), numerics.widen(bins)
    # of |ab − c|² = |ab|² − 2 ab·c + |c|² the first term is the same for all bins
    products = jnp.matmul(ab, bins.T, precision="highest")
    squares = jnp.sum(bins**2, -1)
    return jnp.argmax(products - squares.reshape(*(1,) * (ab.ndim - 1), -1) / 2, -1)


def annealed_mean(
    logits: Float[ArrayLike, "*n k"], bins: Float[ArrayLike, "k 2"], *, temperature: float | int = 0.38
) -> Float[Array, "*n 2"]:
    """Return one colour per histogram: its mean after sharpening, Σ softmax(logits / T) · centers.

    T = 1 is the mean, which is as grey as regression; T → 0 is the likeliest bin, which jumps between neighbours.

    Args:
        logits: of the bins.
        bins: centers, from `ab_bins`.
        temperature: T, above 0.

    Raises:
        ValueError: if ``temperature`` is not above 0.

    Reference: section 2.3 of the paper of `ab_bins`.

    Examples:
        Two bins that are equally likely give the colour between them:

        >>> colorization.annealed_mean(jnp.zeros(2), np.array([[0.0, 0.0], [20.0, 40.0]]))
        Array([10., 20.], dtype=float32)

    [Lecture row J]
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}: must be above 0")
    shares = activations.softmax(numerics.widen(logits) / temperature)
    return jnp.matmul(shares, numerics.widen(bins), precision="highest").astype(numerics.result_dtype(logits))


def colorfulness(x: Float[ArrayLike, "*n h w 3"]) -> Float[Array, "*n"]:
    """Colourfulness of RGB images, √(σ_rg² + σ_yb²) + .3 √(μ_rg² + μ_yb²) with rg = R − G and yb = (R + G)/2 − B.

    Args:
        x: images from 0 to 1. The paper has values to 255, for which the result is 255 times as large; there it names
            15 "slightly", 33 "moderately" and 59 "quite" colourful.

    Raises:
        ValueError: if the last axis has not three values.

    Reference: D. Hasler, S. Süsstrunk, Measuring colorfulness in natural images, 2003,
    https://doi.org/10.1117/12.477378.

    Examples:
        A grey image has no colour:

        >>> colorization.colorfulness(jnp.full((4, 4, 3), 0.5))
        Array(0., dtype=float32)

    [Lecture row J]
    """
    z, dtype = _wide(x)
    red, green, blue = jnp.moveaxis(z, -1, 0)
    pairs = jnp.stack([red - green, (red + green) / 2 - blue])
    spread = numerics.safe_sqrt(jnp.var(pairs, (-2, -1)).sum(0))
    return (spread + 0.3 * numerics.safe_sqrt((jnp.mean(pairs, (-2, -1)) ** 2).sum(0))).astype(dtype)


def _wide(x: ArrayLike) -> tuple[Array, jnp.dtype]:
    numerics.refuse_complex(x=x)
    if not jnp.ndim(x) or jnp.shape(x)[-1] != 3:
        raise ValueError(f"x: got shape {jnp.shape(x)}, needed are three values along the last axis")
    return numerics.widen(x), numerics.result_dtype(x)


def _product(x: Array, matrix: np.ndarray) -> Array:
    """Multiply colours by a matrix in the highest precision that there is on accelerators."""
    return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision="highest")
