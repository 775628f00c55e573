"""Linear regions of ReLU networks: exact counts along a line, and bounds on their number. [Lecture row A6]"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

NARROW: Final = 1e-9  # of the segment; narrower regions are rounding errors where two kinks coincide
SAME: Final = 1e-9  # relative difference below which two slopes are one


class LinearRegions(NamedTuple):
    """The linear regions of a network along a segment from t = 0 to t = 1."""

    count: int
    boundaries: Float[np.ndarray, " count-1"]  # float64, t in (0, 1), ascending


class RegionBounds(NamedTuple):
    """Bounds on the largest number of linear regions that networks of one shape have."""

    lower: int  # some network has as many
    upper: int  # no network has more


def linear_regions(layers: Sequence[Mapping[str, ArrayLike]], start: ArrayLike, end: ArrayLike) -> LinearRegions:
    """Count the linear regions of a ReLU network along a segment, exactly.

    A region is a longest interval on which the output is an affine function of the input. Each layer splits the pieces
    of the one before where one of its units changes its sign; the slopes of all pieces are carried along in float64, so
    that nothing is sampled and no region is missed. Regions narrower than 1e-9 of the segment do not count.

    Args:
        layers: dense layers ``{"kernel": (n, m), "bias": (m,)}`` in order, a bias being optional; a ReLU follows each
            but the last, whose outputs are the network's.
        start: the input at t = 0, shape (d,).
        end: the input at t = 1, shape (d,).

    Raises:
        ValueError: if there are no layers, the ends are equal or not finite, or shapes do not fit.

    Reference: G. Montúfar, R. Pascanu, K. Cho, Y. Bengio, On the Number of Linear Regions of Deep Neural Networks,
    2014, https://arxiv.org/abs/1402.1869.

    Examples:
        |t − ½| is ReLU(t − ½) + ReLU(½ − t), with one boundary at ½:

        >>> layers = [{"kernel": [[1, -1]], "bias": [-0.5, 0.5]}, {"kernel": [[1], [1]]}]
        >>> analysis.linear_regions(layers, [0.0], [1.0])
        LinearRegions(count=2, boundaries=array([0.5]))

    [Lecture row A6]
    """
    first, last = (np.asarray(end_, np.float64) for end_ in (start, end))
    if first.ndim != 1 or first.shape != last.shape:
        raise ValueError(f"start, end: got shapes {first.shape} and {last.shape}, needed are two points of one space")
    if not (np.isfinite(first).all() and np.isfinite(last).all()) or (first == last).all():
        raise ValueError(f"start={start}, end={end}: needed are two different finite points")
    if not layers:
        raise ValueError("layers: got none, needed is at least one")
    ends, slope, offset = np.array([0.0, 1.0]), (last - first)[None], first[None]  # of each piece: slope · t + offset
    for place, layer in enumerate(layers):
        kernel, bias = _arrays(layer, slope.shape[1], place)
        slope, offset = slope @ kernel, offset @ kernel + bias
        if place < len(layers) - 1:
            ends, slope, offset = _rectified(ends, slope, offset)
    scale = np.abs(slope).max()
    boundary = np.abs(np.diff(slope, axis=0)).max(1, initial=0.0) > SAME * scale
    return LinearRegions(1 + int(boundary.sum()), ends[1:-1][boundary])


def region_bounds(inputs: int, widths: Sequence[int]) -> RegionBounds:
    """Bound the largest number of linear regions of a ReLU network: L ≤ max ≤ U.

    L = ∏_{l<L} ⌊n_l / n₀⌋^{n₀} · Σ_{j≤n₀} C(n_L, j), which a network that folds its input reaches, and
    U = ∏_l Σ_{j≤d_l} C(n_l, j) with d_l = min(n₀, …, n_l). Of one hidden layer both are Σ_{j≤n₀} C(n₁, j).

    Args:
        inputs: n₀, at least 1.
        widths: units n_l of each hidden layer, at least one, each at least ``inputs``.

    Raises:
        ValueError: for an argument out of range.

    Reference: the lower bound is that of Montúfar et al., On the Number of Linear Regions of Deep Neural Networks,
    2014, https://arxiv.org/abs/1402.1869, corollary 5; the upper one that of G. Montúfar, Notes on the number of linear
    regions of deep neural networks, 2017, which Serra et al., 2018, https://arxiv.org/abs/1711.02114 cite.

    Examples:
        >>> analysis.region_bounds(1, [4, 4]), analysis.region_bounds(1, [8])
        (RegionBounds(lower=20, upper=25), RegionBounds(lower=9, upper=9))

    [Lecture row A6]
    """
    if inputs < 1 or not len(widths) or min(widths) < inputs:
        raise ValueError(f"inputs={inputs}, widths={widths}: needed is an input, and hidden layers at least as wide")
    pieces = [sum(math.comb(n, j) for j in range(inputs + 1)) for n in widths]
    folds = math.prod((n // inputs) ** inputs for n in widths[:-1])
    return RegionBounds(folds * pieces[-1], math.prod(pieces))


def folding_layers(widths: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Build a ReLU network of one input that reaches the lower bound of `region_bounds` on [0, 1].

    Each layer of n units folds [0, 1] n times onto itself by the zigzag relu(nv) − relu(2nv − 2) + relu(2nv − 4) − …
    of the folded coordinate v, whose slopes are n and −n in turn; the last layer bends at n thresholds instead.

    Args:
        widths: units of each hidden layer, at least one layer, each of at least 2.

    Returns:
        The layers as `linear_regions` takes them, the last of which sums to one output.

    Raises:
        ValueError: for no layer, or fewer than two units in one.

    Reference: see `region_bounds`.

    Examples:
        >>> layers = analysis.folding_layers([2, 2])
        >>> analysis.linear_regions(layers, [0.0], [1.0]).count, analysis.region_bounds(1, [2, 2]).lower  # 2 * (1 + 2)
        (6, 6)

    [Lecture row A6]
    """
    if not len(widths) or min(widths) < 2:
        raise ValueError(f"widths={widths}: needed is at least one layer, each of at least two units")
    layers, mix = [], np.ones((1, 1))
    for n in widths[:-1]:
        steps = np.arange(n)
        layers.append({"kernel": mix * np.where(steps, 2.0 * n, n), "bias": -2.0 * steps})
        mix = np.where(steps % 2, -1.0, 1.0)[:, None]
    n = widths[-1]
    sign, threshold = np.where(np.arange(n), 1.0, -1.0), (np.arange(n) + 0.5) / n
    return [*layers, {"kernel": mix * sign, "bias": -sign * threshold}, {"kernel": np.ones((n, 1))}]


def _arrays(layer: Mapping[str, ArrayLike], features: int, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias in float64, after checking their shapes."""
    kernel = np.asarray(layer["kernel"], np.float64)
    bias = np.asarray(layer.get("bias", np.zeros(kernel.shape[-1:])), np.float64)
    if kernel.ndim != 2 or kernel.shape[0] != features or bias.shape != kernel.shape[1:]:
        raise ValueError(
            f"layers[{place}]: got a kernel {kernel.shape} and a bias {bias.shape}, needed are ({features}, m) and (m,)"
        )
    return kernel, bias


def _rectified(ends: np.ndarray, slope: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split pieces where a unit changes its sign, and return their ends, and slopes and offsets after the ReLU."""
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -offset / slope
    inside = (crossing > ends[:-1, None] + NARROW) & (crossing < ends[1:, None] - NARROW)
    parts = np.sort(np.concatenate([ends, crossing[inside]]))
    keep = np.append(True, np.diff(parts) > NARROW)
    keep[-1] = True
    parts = parts[keep]
    middle = (parts[:-1] + parts[1:]) / 2
    piece = np.searchsorted(ends, middle) - 1
    slope, offset = slope[piece], offset[piece]
    active = slope * middle[:, None] + offset > 0
    return parts, slope * active, offset * active
