"""Functions of two variables to draw: the elongated bowl, Rosenbrock, Beale, a saddle, and a false minimum.

Each `Landscape` takes points of shape (..., 2), so that the grid of a contour plot is one call. [Lecture row E13]
"""

from __future__ import annotations

import math
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
SOLVED: Final = 1e-3  # a problem counts as solved once this share of the initial distance is left


class Landscape(NamedTuple):
    """A function of two variables with its starting point and minimum."""

    name: str
    value: Callable[[ArrayLike], Array]  # of points (..., 2)
    start: Point
    minima: tuple[Point, ...]
    minimum: float  # the value at the minima
    bounds: tuple[Point, Point]  # (x from, to), (y from, to): extent of a contour plot
    source: str


def bowl_value(point: Float[ArrayLike, "... 2"], *, condition: float | int = 25.0) -> Float[Array, "..."]:
    """Return ½(x² + κy²), with curvature 1 along the valley and κ across it.

    Examples:
        >>> landscapes.bowl_value(jnp.array([1.0, 2.0]), condition=25.0)  # (1 + 25 * 4) / 2
        Array(50.5, dtype=float32)
    """
    x, y = _coordinates(point)
    return 0.5 * (x**2 + condition * y**2)


def rosenbrock_value(point: Float[ArrayLike, "... 2"]) -> Float[Array, "..."]:
    """Return (1 − x)² + 100(y − x²)², a curved valley.

    Examples:
        >>> landscapes.rosenbrock_value(jnp.array([[1.0, 1.0], [0.0, 0.0]]))
        Array([0., 1.], dtype=float32)
    """
    x, y = _coordinates(point)
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale_value(point: Float[ArrayLike, "... 2"]) -> Float[Array, "..."]:
    """Return (1.5 − x(1 − y))² + (2.25 − x(1 − y²))² + (2.625 − x(1 − y³))²: flat plains and steep walls.

    Examples:
        >>> landscapes.beale_value(jnp.array([3.0, 0.5]))  # its minimum
        Array(0., dtype=float32)
    """
    x, y = _coordinates(point)
    return (1.5 - x * (1 - y)) ** 2 + (2.25 - x * (1 - y**2)) ** 2 + (2.625 - x * (1 - y**3)) ** 2


def saddle_value(point: Float[ArrayLike, "... 2"]) -> Float[Array, "..."]:
    """Return ½x² + ¼y⁴ − ½y², a saddle at the origin between two minima; its gradient is (x, y³ − y).

    Examples:
        >>> landscapes.saddle_value(jnp.array([[0.0, 0.0], [0.0, 1.0]]))  # the saddle and a minimum
        Array([ 0.  , -0.25], dtype=float32)
    """
    x, y = _coordinates(point)
    return 0.5 * x**2 + 0.25 * y**4 - 0.5 * y**2


def two_wells_value(point: Float[ArrayLike, "... 2"], *, tilt: float | int = 0.1) -> Float[Array, "..."]:
    """Return ¼(x² − 1)² + tilt·x + ½y²: a false minimum near x = 1 and the lowest near x = −1, a barrier between them.

    The stationary points have y = 0 and x³ − x + tilt = 0; see `two_wells_stationary`.

    Examples:
        >>> landscapes.two_wells_value(jnp.array([1.0, 0.0]))
        Array(0.1, dtype=float32)
    """
    x, y = _coordinates(point)
    return 0.25 * (x**2 - 1) ** 2 + tilt * x + 0.5 * y**2


def two_wells_stationary(tilt: float | int = 0.1) -> tuple[float, float, float]:
    """Return the x of the lowest minimum, the barrier and the false minimum of `two_wells_value`.

    They are x = (2/√3) cos((θ − 2πk)/3) for k = 1, 2, 0 with cos θ = −(3√3/2) tilt, Viète's roots of x³ − x + tilt.

    Raises:
        ValueError: unless 0 < tilt < 2/(3√3), beyond which there is one minimum only.

    Examples:
        >>> lowest, barrier, false = landscapes.two_wells_stationary(0.1)
        >>> [round(x**3 - x + 0.1, 6) + 0.0 for x in (lowest, barrier, false)], lowest < barrier < false
        ([0.0, 0.0, 0.0], True)
    """
    if not 0 < tilt < 2 / (3 * math.sqrt(3)):
        raise ValueError(f"tilt={tilt}: allowed are numbers above 0 and below {2 / (3 * math.sqrt(3)):.4f}")
    angle = math.acos(-1.5 * math.sqrt(3) * tilt)
    lowest, barrier, false = (2 / math.sqrt(3) * math.cos((angle - 2 * math.pi * k) / 3) for k in (2, 1, 0))
    return min(lowest, barrier), max(lowest, barrier), false


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
# starts off the ridge y = 0, along which plain descent converges to the saddle itself
saddle: Final = Landscape(
    "saddle",
    saddle_value,
    (1.0, 1e-3),
    ((0.0, -1.0), (0.0, 1.0)),
    -0.25,
    ((-1.2, 1.2), (-1.6, 1.6)),
    "Y. Nesterov, Introductory Lectures on Convex Optimization, 2004, example 1.2.2",
)
_LOWEST: Final = (two_wells_stationary()[0], 0.0)
two_wells: Final = Landscape(
    "two_wells",
    two_wells_value,
    (1.8, 1.0),  # above the barrier, so that a ball without friction would roll over it
    (_LOWEST,),
    0.25 * (_LOWEST[0] ** 2 - 1) ** 2 + 0.1 * _LOWEST[0],
    ((-2.0, 2.0), (-1.3, 1.3)),
    "Lecture row E13",
)

LANDSCAPES: Final = (elongated_bowl, rosenbrock, beale, saddle, two_wells)


def landscape_problem(landscape: Landscape, *, spread: float | int = 0.05, steps: int = 500) -> Problem:
    """Build the problem of descending a landscape with noise-free gradients.

    Its target is the value that leaves 1e-3 of the initial distance to the minimum, the criterion of Moré and Wild,
    Benchmarking Derivative-Free Optimization Algorithms, 2009.

    Args:
        landscape: one of this module, or your own.
        spread: standard deviation of the starting points around ``landscape.start``, per seed; 0 starts all runs there.
        steps: steps of a full run; every tenth is evaluated.

    Raises:
        ValueError: ``spread`` is negative or ``steps`` is below 1.

    Examples:
        >>> problem = studies.landscape_problem(studies.LANDSCAPES[0], steps=100)
        >>> problem.name, problem.steps
        ('elongated_bowl', 100)
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


def path(landscape: Landscape, build: Callable[[Any], Any], learning_rate: Any, *, steps: int = 500) -> np.ndarray:
    """Return the points that an optimizer visits from ``landscape.start``, of shape (steps + 1, 2).

    Args:
        landscape: the optimizer follows its gradient, without noise.
        build: makes the optimizer from a learning rate, or from several settings.
        learning_rate: of all steps, or the settings.
        steps: number of steps; a path that stops being finite stays at its last finite point.

    Examples:
        >>> from jaxdl import studies
        >>> points = landscapes.path(studies.LANDSCAPES[0], optax.sgd, 0.01, steps=5)
        >>> points.shape
        (6, 2)
    """
    walk = jax.jit(lambda rate: descent_path(landscape.value, build(rate), landscape.start, steps))
    points = np.array(walk(jnp.asarray(learning_rate, jnp.float32)))
    gone = ~(np.isfinite(points).all(1) & np.isfinite(landscape.value(jnp.asarray(points))))
    if gone.any():
        points[gone.argmax() :] = points[gone.argmax() - 1]
    return points
