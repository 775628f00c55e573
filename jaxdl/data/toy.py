"""Toy data in the plane: rings and spirals, which no line separates. [Lecture rows A5, A7]"""

import math

import numpy as np

from jaxdl.data.splits import Examples, check_whole

__all__ = ["rings", "spiral"]


def rings(count: int, *, seed: int, radii: tuple[float | int, ...] = (1.0, 2.0), noise: float | int = 0.2) -> Examples:
    """Draw points on concentric rings, a class per ring: x = (r + noise · ε)(cos φ, sin φ), ε ~ N(0, 1).

    Classes take turns, so their numbers differ by one at most.

    Args:
        count: number of points, at least one per ring.
        seed: determines the points, a non-negative integer.
        radii: the radius of each ring, each at least 0.
        noise: standard deviation of the radius, at least 0.

    Returns:
        Points, float32 ``(count, 2)``, and labels, int32 ``(count,)``.

    Raises:
        ValueError: for an argument out of range.

    [Lecture rows A5, A7]
    """
    if not radii or not all(0 <= r < math.inf for r in radii):
        raise ValueError(f"radii={radii}: allowed is at least one finite radius, each at least 0")
    random = _random(count, len(radii), seed, noise)
    labels = np.arange(count) % len(radii)
    angle = random.uniform(0, 2 * np.pi, count)
    return _points(np.asarray(radii, np.float64)[labels] + noise * random.normal(size=count), angle, labels)


def spiral(count: int, *, seed: int, arms: int = 2, turns: float | int = 1.5, noise: float | int = 0.05) -> Examples:
    """Draw points on the arms of a spiral, a class per arm: at radius r the arm k has the angle 2π(turns · r + k/arms).

    Radii are √u with u uniform in [0, 1], so that points lie evenly in the disc.

    Args:
        count: number of points, at least one per arm.
        seed: determines the points, a non-negative integer.
        arms: number of arms, at least 1.
        turns: turns of each arm from the centre to radius 1.
        noise: standard deviation of both coordinates, at least 0.

    Returns:
        Points, float32 ``(count, 2)``, and labels, int32 ``(count,)``.

    Raises:
        ValueError: for an argument out of range.

    [Lecture row A5]
    """
    if arms < 1:
        raise ValueError(f"arms={arms}: must be at least 1")
    random = _random(count, arms, seed, noise)
    labels = np.arange(count) % arms
    radius = np.sqrt(random.uniform(size=count))
    clean = _points(radius, 2 * np.pi * (turns * radius + labels / arms), labels)
    return clean._replace(images=clean.images + (noise * random.normal(size=(count, 2))).astype(np.float32))


def _random(count: int, classes: int, seed: int, noise: float | int) -> np.random.Generator:
    check_whole("seed", seed)
    if count < classes:
        raise ValueError(f"count={count}: must be at least {classes}, one point per class")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise={noise}: allowed are finite numbers from 0 on")
    return np.random.default_rng(seed)


def _points(radius: np.ndarray, angle: np.ndarray, labels: np.ndarray) -> Examples:
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return Examples(points.astype(np.float32), labels.astype(np.int32))
