"""Filters of fixed weights on photographs and letters, and pools on noise."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl import layers
from jaxdl.layers import filters

KINDS = {"sharpen": filters.sharpen(), "edge": filters.edge(), "strong edge": filters.strong_edge(),
         "blur": filters.gaussian(9, 2), "Sobel": filters.sobel(1)}  # fmt: skip
POOLS = {"average": layers.avg_pool2d, "max": layers.max_pool2d, "L2": layers.l2_pool2d,
         "stride": lambda x: x[..., ::2, ::2, :]}  # fmt: skip
NOISE = 0.5  # standard deviation, where 1 is full brightness
PRINTED = (0.77, -0.11, 0.11, 0.33, 0.55, -0.11, 0.33)  # first row of the worked answer, digits cut


def rms(difference: Any) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(difference, np.float64)))))


def crop(photographs: Sequence[np.ndarray], seed: int, size: int) -> np.ndarray:
    """Return a random part of one of the photographs, (size, size, 1)."""
    random, image = np.random.default_rng(seed), photographs[seed % len(photographs)]
    top, left = (int(random.integers(length - size + 1)) for length in image.shape[:2])
    return image[top : top + size, left : left + size]


def photograph(image: np.ndarray) -> Mapping[str, Any]:
    """Apply all fixed kernels to the image."""
    answers = {name: np.asarray(filters.apply(image, kernel, padding="VALID")) for name, kernel in KINDS.items()}
    slope = lambda x: rms(filters.apply(x, filters.sobel(1), padding="VALID"))
    return {**{name: rms(y) for name, y in answers.items()}, "slope": slope(image), "sharp": slope(answers["sharpen"]),
            "quiet": 100 * float(np.mean(np.abs(answers["edge"]) < 0.05)), "shown": image}  # fmt: skip


def letter(name: str) -> np.ndarray:
    """Return a 9×9 X or O as ±1, (9, 9, 1)."""
    i, j = np.indices((9, 9)) - 4
    drawn = (abs(i) == abs(j)) & (abs(i) < 4) if name == "X" else abs(np.hypot(i, j) - 3) < 0.5
    return np.where(drawn, 1, -1)[..., None].astype(np.float32)


def padded(name: str) -> np.ndarray:
    """Return the letter with two pixels of −1 around it."""
    return np.pad(letter(name), ((2, 2), (2, 2), (0, 0)), constant_values=-1)


def strokes(images: np.ndarray) -> np.ndarray:
    """Return how well a falling stroke, a rising one and a small X fit at their best places, (..., 3)."""
    small = np.sign(filters.diagonal() + filters.diagonal(rising=True) + 1e-6) / 9
    kernels = (filters.diagonal(), filters.diagonal(rising=True), small)
    return np.stack([np.max(filters.apply(images, one, padding="VALID"), (-3, -2, -1)) for one in kernels], -1)


def deformed(random: np.random.Generator, name: str) -> np.ndarray:
    """Return the letter shifted by up to two pixels along each axis, with four pixels flipped."""
    image = np.roll(padded(name), random.integers(-2, 3, 2), (0, 1))
    places = random.choice(image.size, 4, replace=False)
    image.flat[places] *= -1
    return image


def x_or_o(count: int, seed: int) -> Mapping[str, Any]:
    """Tell deformed letters apart by the nearest of two templates: in pixels, and in strokes."""
    random, names = np.random.default_rng(seed), np.resize(["X", "O"], count)
    images = np.stack([deformed(random, name) for name in names])
    right = {}
    for kind, of in (("pixels", lambda x: x.reshape(len(x), -1)), ("strokes", strokes)):
        templates = of(np.stack([padded("X"), padded("O")]))
        distance = np.sum((of(images)[:, None] - templates) ** 2, -1)
        right[kind] = 100 * float(np.mean(np.array(["X", "O"])[distance.argmin(1)] == names))
    answer = np.asarray(filters.apply(letter("X"), filters.diagonal(), padding="VALID"))[..., 0]
    return {
        **right,
        "from the printed row": float(np.abs(answer[0] - PRINTED).max()),
        "answer": answer,
        "deformed": images[:2],
    }


def pools(image: np.ndarray, seed: int) -> Mapping[str, Any]:
    """Return the rms error that noise leaves in the image, as it is and after each pool of 2×2."""
    noisy = image + np.float32(NOISE * np.random.default_rng(seed).normal(size=image.shape))
    left = {name: rms(np.asarray(pool(noisy)) - pool(image)) for name, pool in POOLS.items()}
    return {"none": rms(noisy - image), **left}
