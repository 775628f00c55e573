"""Functions of two variables whose valleys and saddles can be drawn: the elongated bowl, Rosenbrock, Beale, a saddle.

Each `Landscape` takes points of shape (..., 2), so that a whole grid for a contour plot is one call. [Lecture row E13]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl.studies.paths import descent_path
from jaxdl.studies.problems import Problem

Point = tuple[float, float]
SOLVED: Final = 1e-3  # share of the way down from the start that may be left when a problem counts as solved


class Landscape(NamedTuple):
    """A function of two variables, where it is started from, and its minimum."""

    name: str
    value: Callable[[ArrayLike], Array]  # of points (..., 2)
    start: Point
    minima: tuple[Point, ...]
    minimum: float  # the value there
    bounds: tuple[Point, Point]  # (x from, to), (y from, to): what a contour plot should show
    source: str


def bowl_value(point: Float[ArrayLike, "... 2"], *, condition: float | int = 25.0) -> Float[Array, "..."]:
    """½(x² + κy²): curvature 1 along, κ across."""
    x, y = _coordinates(point)
    return 0.5 * (x**2 + condition * y**2)


def rosenbrock_value(point: Float[ArrayLike, "... 2"]) -> Float[Array, "..."]:
    """(1 − x)² + 100(y − x²)²: a curved valley."""
    x, y = _coordinates(point)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale_value(point: Float[ArrayLike, "... 2"]) -> Float[Array, "..."]:
    """(1.5 − x(1 − y))² + (2.25 − x(1 − y²))² + (2.625 − x(1 − y³))²: flat plains, steep walls."""
    x, y = _coordinates(point)
    return (1.5 - x * (1 - y)) ** 2 + (2.25 - x * (1 - y**2)) ** 2 + (2.625 - x * (1 - y**3)) ** 2


def saddle_value(point: Float[ArrayLike, "... 2"]) -> Float[Array, "..."]:
    """½x² + ¼y⁴ − ½y²: a saddle at the origin between two minima; its gradient is (x, y³ − y)."""
    x, y = _coordinates(point)
    return 0.5 * x**2 + 0.25 * y**4 - 0.5 * y**2


def _coordinates(point: ArrayLike) -> tuple[Array, Array]:
    point = jnp.asarray(point)
    return point[..., 0], point[..., 1]


MORE: Final = (
    "J. Moré, B. Garbow, K. Hillstrom, Testing Unconstrained Optimization Software, 1981, "
    "https://doi.org/10.1145/355934.355936"
)

elongated_bowl: Final = Landscape(
    "elongated_bowl", bowl_value, (-10.0, 1.0), ((0.0, 0.0),), 0.0, ((-11.0, 3.0), (-2.0, 2.0)), "Lecture row E13"
)
rosenbrock: Final = Landscape(
    "rosenbrock", rosenbrock_value, (-1.2, 1.0), ((1.0, 1.0),), 0.0, ((-2.0, 2.0), (-1.0, 3.0)), f"{MORE}, problem 1"
)
beale: Final = Landscape(
    "beale", beale_value, (1.0, 1.0), ((3.0, 0.5),), 0.0, ((-0.5, 4.5), (-1.0, 1.6)), f"{MORE}, problem 5"
)
# off the ridge y = 0, on which plain descent would run into the saddle itself
saddle: Final = Landscape(
    "saddle",
    saddle_value,
    (1.0, 1e-3),
    ((0.0, -1.0), (0.0, 1.0)),
    -0.25,
    ((-1.2, 1.2), (-1.6, 1.6)),
    "Y. Nesterov, Introductory Lectures on Convex Optimization, 2004, example 1.2.2",
)

LANDSCAPES: Final = (elongated_bowl, rosenbrock, beale, saddle)


def landscape_problem(landscape: Landscape, *, spread: float | int = 0.05, steps: int = 500) -> Problem:
    """The problem of going down a landscape, with gradients free of noise.

    Its target is the value at which all but 1e-3 of the way from the start's value to the minimum is done, the
    criterion of Moré and Wild, Benchmarking Derivative-Free Optimization Algorithms, 2009.

    Args:
        landscape: of this module, or your own.
        spread: standard deviation of the starting points about ``landscape.start``, per seed; 0 starts all there.
        steps: of a full run; every tenth is evaluated.

    Raises:
        ValueError: ``spread`` is negative or ``steps`` below 1.
    """
    if not spread >= 0 or steps < 1:
        raise ValueError(f"spread={spread}, steps={steps}: allowed are spread of at least 0 and steps of at least 1")
    start = np.asarray(landscape.start, np.float32)

    def init(key):
        return jnp.asarray(start) + spread * jax.random.normal(key, (2,)), ()

    highest = float(landscape.value(start))
    return Problem(
        name=landscape.name,
        init=init,
        loss=lambda params, state, batch, data, key: (landscape.value(params), state),
        evaluate=lambda params, state, data: {"value": landscape.value(params)},
        batches=lambda seed, epoch: np.zeros((1, 0), np.float32),
        steps=steps,
        evaluate_every=10,
        target=landscape.minimum + SOLVED * (highest - landscape.minimum),
        source=landscape.source,
    )


def path(landscape: Landscape, build: Callable[[Any], Any], learning_rate: float, *, steps: int = 500) -> np.ndarray:
    """The points that an optimizer goes through from ``landscape.start``, of shape (steps + 1, 2).

    Args:
        landscape: whose gradient it follows, without noise.
        build: makes the optimizer from a learning rate.
        learning_rate: of all steps.
        steps: how many; a path that leaves the numbers stays at its last point.
    """
    walk = jax.jit(lambda rate: descent_path(landscape.value, build(rate), landscape.start, steps))
    points = np.array(walk(jnp.float32(learning_rate)))
    gone = ~(np.isfinite(points).all(1) & np.isfinite(landscape.value(jnp.asarray(points))))
    if gone.any():
        points[gone.argmax() :] = points[gone.argmax() - 1]
    return points
