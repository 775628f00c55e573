"""Toy data: rings and spirals, which no line separates, and objects pasted on canvases. [Lecture rows A5, A7, J]"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from jaxdl.data.splits import Examples, check_whole

__all__ = ["Canvases", "pasted", "rings", "spiral"]


class Canvases(NamedTuple):
    """Images with the boxes and classes of the objects that are pasted on them."""

    images: Float[np.ndarray, "n side side 1"]
    corners: Float[np.ndarray, "n most 4"]  # x₀, y₀, x₁, y₁ of each object in pixels; 0 where there is none
    classes: Int[np.ndarray, "n most"]  # −1 where there is none


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

    Examples:
        >>> points = toy.rings(4, seed=0, radii=(1.0, 2.0), noise=0.0)
        >>> points.labels, np.linalg.norm(points.images, axis=1)
        (array([0, 1, 0, 1], dtype=int32), array([1., 2., 1., 2.], dtype=float32))

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

    Examples:
        >>> points = toy.spiral(6, seed=0, arms=3)
        >>> points.images.shape, sorted(points.labels.tolist())
        ((6, 2), [0, 0, 1, 1, 2, 2])

    [Lecture row A5]
    """
    check_whole("arms", arms)
    if arms < 1:
        raise ValueError(f"arms={arms}: must be at least 1")
    random = _random(count, arms, seed, noise)
    labels = np.arange(count) % arms
    radius = np.sqrt(random.uniform(size=count))
    clean = _points(radius, 2 * np.pi * (turns * radius + labels / arms), labels)
    return clean._replace(images=clean.images + (noise * random.normal(size=(count, 2))).astype(np.float32))


def pasted(
    objects: Float[ArrayLike, "n h w"],
    labels: Int[ArrayLike, " n"],
    count: int,
    *,
    seed: int,
    side: int = 32,
    most: int = 3,
    factors: Sequence[float | int] = (1, 1.5, 2),
) -> Canvases:
    """Paste objects on black canvases at random places and in random sizes, so that their boxes are known exactly.

    A box is the smallest that holds all values above .25. An object whose box would overlap one that is there already
    is left out.

    Args:
        objects: grey images, 0 for black and 1 for white.
        labels: their classes.
        count: number of canvases.
        seed: determines the canvases, a non-negative integer.
        side: height and width of a canvas.
        most: objects per canvas, one to so many.
        factors: by which objects are enlarged.

    Raises:
        ValueError: for an argument out of range, or objects that do not fit on a canvas.

    Examples:
        >>> square = np.ones((1, 6, 6), np.float32)
        >>> scenes = toy.pasted(square, np.array([0]), 2, seed=0, side=16)
        >>> scenes.images.shape
        (2, 16, 16, 1)

    [Lecture row J]
    """
    from scipy import ndimage  # slow to import, and --help need not wait for it

    for name, value in (("count", count), ("seed", seed), ("side", side), ("most", most)):
        check_whole(name, value, int(name != "seed"))
    objects, labels = np.asarray(objects), np.asarray(labels)
    sizes = [np.clip(np.asarray(ndimage.zoom(objects, (1, factor, factor), order=1)), 0, 1) for factor in factors]
    if not sizes or not len(objects) or max(max(one.shape[1:]) for one in sizes) > side:
        raise ValueError(f"factors={tuple(factors)}: objects of shape {objects.shape} must fit on a canvas of {side}")
    random, images = np.random.default_rng(seed), np.zeros((count, side, side, 1), np.float32)
    corners, classes = np.zeros((count, most, 4), np.float32), np.full((count, most), -1, np.int32)
    for i in range(count):
        for k in range(random.integers(1, most + 1)):
            number = random.integers(len(objects))
            one = sizes[random.integers(len(sizes))][number]
            rows, columns = (np.flatnonzero((one > 0.25).any(axis)) for axis in (1, 0))
            if not rows.size:
                raise ValueError(f"objects: that of number {number} has no value above .25")
            top, left = (random.integers(0, side - length + 1) for length in one.shape)
            edges = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
            box = np.array(edges, np.float32)
            low, high = np.maximum(corners[i, :, :2], box[:2]), np.minimum(corners[i, :, 2:], box[2:])
            if not (high > low).all(-1).any():
                place = images[i, top : top + len(one), left : left + one.shape[1], 0]
                np.maximum(place, one, out=place)
                corners[i, k], classes[i, k] = box, labels[number]
    return Canvases(images, corners, classes)


def _random(count: int, classes: int, seed: int, noise: float | int) -> np.random.Generator:
    check_whole("seed", seed)
    check_whole("count", count)
    if count < classes:
        raise ValueError(f"count={count}: must be at least {classes}, one point per class")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise={noise}: allowed are finite numbers from 0 on")
    return np.random.default_rng(seed)


def _points(radius: np.ndarray, angle: np.ndarray, labels: np.ndarray) -> Examples:
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return Examples(points.astype(np.float32), labels.astype(np.int32))
