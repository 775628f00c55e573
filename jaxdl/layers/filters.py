"""Fixed kernels of image processing, and their application to every channel of an image. [Lecture rows H1, H4]

Kernels are float32 arrays for cross-correlation, which is what `layers.conv2d` computes. Those that find changes sum to
0, so that they answer nothing on an even area; the others sum to 1, so that they keep brightness.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import sizes
from jaxdl.layers.convolution import conv2d

__all__ = ["apply", "diagonal", "edge", "gaussian", "moving_average", "sharpen", "sobel", "strong_edge"]


def apply(
    image: Float[ArrayLike, "..."], kernel: Float[ArrayLike, "..."], *, padding: sizes.Padding = "SAME"
) -> Float[Array, "..."]:
    """Cross-correlate every channel with the same kernel: y[i, j, c] = Σ_{p,q} x[i + p, j + q, c] w[p, q].

    Args:
        image: images `(..., h, w, c)`.
        kernel: the weights `(kh, kw)`.
        padding: as in `layers.conv2d`; "SAME" pads with zeros, whose border an edge filter answers.

    Raises:
        ValueError: if the kernel is not of rank 2 or the image not of rank 3 or more.

    Examples:
        A Laplacian answers where brightness changes, and a flat image has edges at its border alone:

        >>> filters.apply(jnp.ones((3, 3, 1)), filters.edge())[..., 0]
        Array([[-2., -1., -2.],
               [-1.,  0., -1.],
               [-2., -1., -2.]], dtype=float32)
    """
    image, kernel = jnp.asarray(image), jnp.asarray(kernel)
    if kernel.ndim != 2 or image.ndim < 3:
        raise ValueError(f"image has shape {image.shape}, kernel {kernel.shape}; expected (..., h, w, c) and (kh, kw)")
    channels = image.shape[-1]
    weights = jnp.broadcast_to(kernel[:, :, None, None], (*kernel.shape, 1, channels))
    return conv2d(image, weights.astype(image.dtype), padding=padding, groups=channels)


def sharpen() -> Float[np.ndarray, "3 3"]:
    """Return the kernel that adds the difference from the four neighbours to the pixel; it sums to 1.

    Reference: https://en.wikipedia.org/wiki/Kernel_(image_processing).

    Examples:
        >>> filters.sharpen()
        array([[ 0., -1.,  0.],
               [-1.,  5., -1.],
               [ 0., -1.,  0.]], dtype=float32)

    [Lecture row H4]
    """
    return np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)


def edge() -> Float[np.ndarray, "3 3"]:
    """Return the discrete Laplacian over the four neighbours, which finds edges; it sums to 0. See `sharpen`."""
    return np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)


def strong_edge() -> Float[np.ndarray, "3 3"]:
    """Return the difference between the pixel, times 8, and its eight neighbours; it sums to 0. See `sharpen`."""
    return np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float32)


def sobel(axis: int = 0) -> Float[np.ndarray, "3 3"]:
    """Return Sobel's derivative along one axis, smoothed along the other; it sums to 0.

    Args:
        axis: 0 for changes from row to row, 1 for changes from column to column.

    Raises:
        ValueError: for another axis.

    Examples:
        >>> filters.sobel(axis=1)
        array([[-1.,  0.,  1.],
               [-2.,  0.,  2.],
               [-1.,  0.,  1.]], dtype=float32)
    """
    if axis not in (0, 1):
        raise ValueError(f"axis={axis}: allowed are 0, for rows, and 1, for columns")
    kernel = np.outer(np.array([-1, 0, 1], np.float32), np.array([1, 2, 1], np.float32))
    return kernel if axis == 0 else kernel.T


def gaussian(size: int, sigma: float | int, *, ndim: int = 2) -> Float[np.ndarray, "..."]:
    """Return a Gaussian blur, exp(−‖r‖² / 2σ²) at distance r from the centre, divided by its sum.

    Args:
        size: entries along each axis, at least 1; odd ones have a central entry.
        sigma: standard deviation in pixels, above 0.
        ndim: 2 for images, 1 for signals.

    Raises:
        ValueError: for a size, deviation or number of axes out of range.

    Examples:
        >>> blur = filters.gaussian(3, 1.0)
        >>> round(float(blur.sum()), 6), bool(blur.argmax() == 4)
        (1.0, True)
    """
    _check(size, ndim)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma={sigma}: allowed are finite numbers above 0")
    place = (np.arange(size) - (size - 1) / 2) / sigma
    line = np.exp(-0.5 * (place**2 - np.min(place**2)))  # the largest entry is 1, so that a small σ does not give 0/0
    return _product(line / line.sum(), ndim)


def moving_average(size: int, *, ndim: int = 2) -> Float[np.ndarray, "..."]:
    """Return the mean over a window, whose entries are equal and sum to 1. See `gaussian` for the arguments.

    Over a signal, ``conv1d(x, kernel[:, None, None], padding=(size − 1, 0))`` averages the last `size` samples.

    Examples:
        >>> filters.moving_average(4, ndim=1)
        array([0.25, 0.25, 0.25, 0.25], dtype=float32)

    [Lecture row H1]
    """
    _check(size, ndim)
    return _product(np.full(size, 1 / size), ndim)


def diagonal(size: int = 3, *, rising: bool = False) -> Float[np.ndarray, "n n"]:
    """Return the matched filter of a diagonal stroke: 1 on the diagonal, −1 elsewhere, divided by size².

    Over an image of ±1 the answer is the mean agreement, from −1 to 1, and 1 where the stroke fits exactly.

    Args:
        size: rows and columns, at least 1.
        rising: take the diagonal from bottom left to top right.

    Raises:
        ValueError: for a size below 1.

    Reference: B. Rohrer, How do Convolutional Neural Networks work?, 2016,
    https://brohrer.github.io/how_convolutional_neural_networks_work.html.

    Examples:
        >>> stroke = np.where(np.eye(3) == 1, 1.0, -1.0)
        >>> float((stroke * filters.diagonal(3)).sum())  # fits exactly
        1.0

    [Lecture row H4]
    """
    _check(size, 2)
    kernel = (2 * np.eye(size, dtype=np.float32) - 1) / size**2
    return kernel[::-1] if rising else kernel


def _check(size: int, ndim: int) -> None:
    if size < 1:
        raise ValueError(f"size={size}: must be at least 1")
    if ndim not in (1, 2):
        raise ValueError(f"ndim={ndim}: allowed are 1, for signals, and 2, for images")


def _product(line: np.ndarray, ndim: int) -> np.ndarray:
    return (line if ndim == 1 else np.outer(line, line)).astype(np.float32)
