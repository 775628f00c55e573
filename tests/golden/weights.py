"""The fixed weights and images of the tests of `jaxdl.interop`, by name; numpy only."""

import math
import zlib

import numpy as np


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 weights that depend on the name and shape alone, of a size that keeps activations in range.

    Kernels (PyTorch's ``weight``, Keras' ``kernel``) follow He's rule; scales and variances are near 1, all else
    near 0.
    """
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    short = name.replace("/", ".").rpartition(".")[2]
    if len(shape) > 1:
        fan_in = math.prod(shape[:-1] if short == "kernel" else shape[1:])
        return (noise * math.sqrt(2 / fan_in)).astype(np.float32)
    if short in ("weight", "gamma", "running_var", "moving_variance"):
        return np.exp(0.3 * noise).astype(np.float32)
    return (0.2 * noise).astype(np.float32)


def images(size: int) -> np.ndarray:
    """Return two images (2, size, size, 3), channels last."""
    return np.random.RandomState(size).standard_normal((2, size, size, 3)).astype(np.float32)
