"""Problems that are not networks on images: matrix factorization, and a differential equation solved by a network.

Targets are what tuned Adam reaches two thirds of the way through a full run.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, initializers, models
from jaxdl.data import batching
from jaxdl.studies.problems import Problem, Tuning, indices

# ---------------------------------------------------------------- matrix factorization


def matrix_factorization(*, rank: int = 8) -> Problem:
    """Complete the matrix of scikit-learn's digits: M ≈ μ + UVᵀ, images × pixels, from four fifths of its entries.

    The loss of a step is the mean of (Mᵢⱼ − μⱼ − Uᵢ·Vⱼ)² over 512 known entries, with pixels in [0, 1] and μ learned. A
    run is judged by the mean over a tenth of the entries that no step sees; another tenth judges tuning. A step changes
    few rows of U: its gradient is zero at most entries, as in recommendation.

    Args:
        rank: columns of U and V, at least 1.

    Raises:
        ValueError: ``rank`` is below 1.

    Reference: Y. Koren, R. Bell, C. Volinsky, Matrix Factorization Techniques for Recommender Systems, 2009,
    https://doi.org/10.1109/MC.2009.263.

    Examples:
        >>> studies.matrix_factorization().data["judged"].shape  # a tenth of 1797 · 64 entries, (row, column)
        (11500, 2)
    """
    if rank < 1:
        raise ValueError(f"rank={rank}: must be at least 1")
    images = data.load("digits").images
    matrix = (images.reshape(len(images), -1) / np.float32(16)).astype(np.float32)
    rows, columns = matrix.shape
    order, held = batching.order(matrix.size, seed=0, epoch=0), matrix.size // 10
    parts = {"test": order[:held], "validation": order[held : 2 * held], "train": order[2 * held :]}
    entries = {name: np.stack([one // columns, one % columns], -1).astype(np.int32) for name, one in parts.items()}

    def error(params, chosen, matrix):
        i, j = chosen[:, 0], chosen[:, 1]
        guess = params["offset"][j] + (params["rows"][i] * params["columns"][j]).sum(-1)
        return jnp.square(matrix[i, j] - guess).mean()

    def init(key):
        of_rows, of_columns = jax.random.split(key)
        draw = lambda key, count: 0.1 * jax.random.normal(key, (count, rank))
        params = {"rows": draw(of_rows, rows), "columns": draw(of_columns, columns), "offset": jnp.zeros(columns)}
        return params, ()

    steps, known = len(entries["train"]) // 512, {"matrix": matrix, "known": entries["train"]}
    return Problem(
        name="matrix_factorization",
        init=init,
        loss=lambda params, state, batch, data, key: (error(params, data["known"][batch], data["matrix"]), state),
        evaluate=lambda params, state, data: {"value": error(params, data["judged"], data["matrix"])},
        batches=indices(len(entries["train"]), 512),
        steps=10 * steps,
        steps_per_epoch=steps,
        batch_size=512,
        evaluate_every=steps,
        data=known | {"judged": entries["test"]},
        target=0.04,
        source="https://doi.org/10.1109/MC.2009.263",
        tuning=lambda: Tuning(indices(len(entries["train"]), 512), known | {"judged": entries["validation"]}),
    )


# ---------------------------------------------------------------- heat equation

DIFFUSIVITY: Final = 0.1
INSIDE, EDGE = 256, 64  # points of a step inside the region, and at its start and each of its ends
PER_EPOCH: Final = 100


def heat_exact(x: Any, t: Any) -> Any:
    """Return u(x, t) = e^(−απ²t) sin πx + ½ e^(−9απ²t) sin 3πx with α = .1, the solution of `heat_pinn`'s equation."""
    decay = DIFFUSIVITY * np.pi**2
    return jnp.exp(-decay * t) * jnp.sin(np.pi * x) + 0.5 * jnp.exp(-9 * decay * t) * jnp.sin(3 * np.pi * x)


def heat_pinn() -> Problem:
    """Solve uₜ = α uₓₓ on [0, 1]² by a network u(x, t), a physics-informed one with three layers of 32 tanh units.

    The loss of a step is the mean of (uₜ − α uₓₓ)² over random points, plus the mean squared errors at t = 0, where
    u = sin πx + ½ sin 3πx, and at x = 0 and 1, where u = 0. Points are a function of (seed, epoch). A run is judged by
    ‖u − exact‖ / ‖exact‖ on a grid; tuning is judged on the midpoints of that grid.

    Reference: M. Raissi, P. Perdikaris, G. Karniadakis, Physics-informed neural networks, 2019,
    https://doi.org/10.1016/j.jcp.2018.10.045.
    """
    layer = models.mlp(1, widths=(32, 32, 32), activation=jnp.tanh, kernel_init=initializers.glorot_normal())

    def u(params, point):
        return layer.apply(params, {}, point[None])[0][0, 0]

    def residual(params, point):
        slope = jax.grad(functools.partial(u, params))
        _, curvature = jax.jvp(lambda x: slope(jnp.stack([x, point[1]]))[0], (point[0],), (jnp.ones(()),))
        return slope(point)[1] - DIFFUSIVITY * curvature

    def loss(params, state, batch, data, key):
        inside, x, t = batch["inside"], batch["x"], batch["t"]
        within = jax.vmap(functools.partial(residual, params))(inside)
        start = jnp.stack([x, jnp.zeros_like(x)], -1)
        ends = jnp.concatenate([jnp.stack([jnp.full_like(t, side), t], -1) for side in (0.0, 1.0)])
        of_all = lambda points: layer.apply(params, {}, points)[0][:, 0]
        at_start = of_all(start) - heat_exact(x, 0.0)
        return jnp.square(within).mean() + jnp.square(at_start).mean() + jnp.square(of_all(ends)).mean(), state

    def evaluate(params, state, data):
        found, exact = layer.apply(params, {}, data["points"])[0][:, 0], data["exact"]
        return {"value": jnp.sqrt(jnp.square(found - exact).sum() / jnp.square(exact).sum())}

    return Problem(
        name="heat_pinn",
        init=lambda key: (layer.init(key, (2,))[0], ()),
        loss=loss,
        evaluate=evaluate,
        batches=_points,
        steps=20 * PER_EPOCH,
        steps_per_epoch=PER_EPOCH,
        batch_size=INSIDE,
        evaluate_every=PER_EPOCH,
        data=_grid(0.0),
        target=0.03,
        source="https://doi.org/10.1016/j.jcp.2018.10.045",
        tuning=lambda: Tuning(_points, _grid(0.5)),
    )


def _points(seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Return the random points of an epoch's steps; numpy guarantees raw streams, but not how it draws from them."""
    stream = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    sizes = {"inside": (PER_EPOCH, INSIDE, 2), "x": (PER_EPOCH, EDGE), "t": (PER_EPOCH, EDGE)}
    draw = lambda shape: (stream.random_raw(int(np.prod(shape))) >> 40).reshape(shape).astype(np.float32) / 2**24
    return {name: np.asarray(draw(shape), np.float32) for name, shape in sizes.items()}


def _grid(shift: float) -> dict[str, np.ndarray]:
    """Return 32 × 32 points, moved by a part of their distance, and the solution there."""
    ticks = (np.arange(32) + shift) / 32
    points = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    return {"points": points, "exact": np.asarray(heat_exact(points[:, 0], points[:, 1]), np.float32)}
