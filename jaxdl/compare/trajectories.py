"""Run several optimizers side by side on one stream of gradients, in one compiled program."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.compare.distance import spacing
from jaxdl.optimizers.loops import settled
from jaxdl.paths import apart

TOLERANCE = 16
"""Ulps at leaf scale up to which the difference of two runs counts as rounding."""

COARSE_TOLERANCE = 2
"""Tolerance for bfloat16, where 16 ulps would be an eighth of the value."""


class Distances(NamedTuple):
    """The distance of one optimizer's parameters from the reference's, after each step and in each leaf."""

    absolute: np.ndarray  # (steps, leaves): largest |a − b|; NaN where one value is not finite and the other differs
    relative: np.ndarray  # (steps, leaves): the same over the leaf's scale
    ulps: np.ndarray  # (steps, leaves): the same over the spacing of floating point numbers at the leaf's scale
    moved: float  # largest distance of the reference from its starting point, in ulps
    limits: np.ndarray  # (leaves,): ulps that count as rounding

    def exceeded(self) -> np.ndarray:
        """Return where the distance is more than rounding, as bools (steps, leaves); NaN counts as more."""
        return ~(self.ulps <= self.limits)

    def close(self) -> bool:
        """Return whether the whole run agrees up to rounding."""
        return not self.exceeded().any()


def paths(tree: Any) -> tuple[str, ...]:
    """Return the path of every leaf, as ``jax.tree_util.keystr`` writes it."""
    return tuple(jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree))


def stack(gradients: Iterable[Any], params: Any, steps: int | None, parts: int = 1) -> Any:
    """Stack the gradients of the first ``steps`` batches into one tree with leading axes of steps and parts.

    Raises:
        ValueError: there are none, or fewer than ``steps``, or one does not have the shapes of ``params``; or the last
            batch is not whole.
    """
    taken = list(itertools.islice(gradients, None if steps is None else steps * parts))
    if not taken or len(taken) % parts or (steps is not None and len(taken) < steps * parts):
        wanted = "at least 1" if steps is None else f"steps={steps}"
        each = f" of {parts} each, and no part of one" if parts > 1 else ""
        raise ValueError(f"gradients: got {len(taken)} trees, needed are {wanted}{each}")
    for index, gradient in enumerate(taken):
        _check_shapes(gradient, params, index)
    return jax.tree.map(
        lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]).reshape(-1, parts, *np.shape(leaves[0])), *taken
    )


def _check_shapes(gradient, params, index):
    if jax.tree.structure(gradient) != jax.tree.structure(params):
        raise ValueError(f"gradients[{index}]: got {apart(gradient, params)}, must be a tree like params")
    for path, g, p in zip(paths(params), jax.tree.leaves(gradient), jax.tree.leaves(params), strict=True):
        if np.shape(g) != np.shape(p):
            raise ValueError(f"gradients[{index}]{path}: got shape {np.shape(g)}, must be params' {np.shape(p)}")


def distances(
    optimizers: Sequence[optax.GradientTransformation],
    reference: optax.GradientTransformation,
    params: Any,
    stacked: Any,
    *,
    locked: bool,
    parts: tuple[int, int] = (1, 1),
) -> list[Distances]:
    """Run all optimizers from the same parameters and measure the distance of each from the reference.

    Args:
        optimizers: the optimizers to measure.
        reference: the optimizer to measure from.
        params: the starting point.
        stacked: gradients with leading axes of steps and of the parts of a batch.
        locked: start every step from the reference's parameters, each optimizer with its own state.
        parts: how many gradients of a batch the optimizers get in turn, and how many the reference.
    """
    params = jax.tree.map(jnp.asarray, params)
    # one program for all, so that equal computations of two optimizers are also compiled equally
    difference, scale = jax.device_get(jax.jit(_scan((reference, *optimizers), locked, parts))(params, stacked))
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params)]
    limits = np.array([COARSE_TOLERANCE if d == jnp.bfloat16 else TOLERANCE for d in dtypes])
    ulps, relative = _divide(difference, _spacing(scale, dtypes)), _divide(difference, scale)
    moved = float(np.max(ulps[:, 0], initial=0.0))
    absolute = difference.astype(np.float64)
    return [Distances(absolute[:, i], relative[:, i], ulps[:, i], moved, limits) for i in range(1, len(optimizers) + 1)]


def _scan(optimizers, locked, parts):
    """Return a function to (steps, optimizers, leaves) of distances from the first optimizer, and of scales.

    The entry of the first optimizer itself is its distance from the start.
    """

    shares = (parts[1], *[parts[0]] * (len(optimizers) - 1))

    def run(params, stacked):
        start = jax.tree.leaves(params)
        first = jax.tree.map(lambda g: g[0, 0], stacked)
        points, states = [params] * len(optimizers), [settled(o, first, params) for o in optimizers]
        scales = jnp.stack([_sizes(leaf[None]) for leaf in start], -1) + jnp.zeros((len(optimizers), 1))

        def step(carry, gradient):
            points, states, scales = carry
            moves = zip(optimizers, shares, states, points, strict=True)
            points, states = zip(*(_advance(o, _shared(gradient, n), s, p) for o, n, s, p in moves), strict=True)
            reference, *others = (jax.tree.leaves(point) for point in points)
            # all optimizers' versions of a leaf in one array leave a third of the operations to compile
            rows = [jnp.stack(leaf) for leaf in zip(start, *others, strict=True)]
            apart = jnp.stack([_differences(x, y[None]) for x, y in zip(rows, reference, strict=True)], -1)
            sizes = [jnp.maximum(_sizes(x), _sizes(y[None])) for x, y in zip(rows, reference, strict=True)]
            scales = jnp.maximum(scales, jnp.stack(sizes, -1))
            points = [points[0]] * len(optimizers) if locked else list(points)
            return (points, list(states), scales), (apart, scales)

        return jax.lax.scan(step, (points, states, scales), stacked)[1]

    return run


def check(optimizer: optax.GradientTransformation, name: str, params: Any, stacked: Any) -> None:
    """Raise a ValueError that names the side if an optimizer's update needs more than gradients and parameters."""
    first = jax.tree.map(lambda g: g[0, 0], stacked)
    try:
        jax.eval_shape(lambda p, g: optimizer.update(g, optimizer.init(p), p), params, first)
    except (AttributeError, TypeError, ValueError) as error:  # optax.lookahead reads params.fast
        raise ValueError(
            f"{name}: its update does not run on gradients and parameters alone, as it must ({error})"
        ) from error


def _shared(gradients, count):
    """Return ``count`` means of equally many gradients each."""
    return jax.tree.map(lambda g: g.reshape(count, -1, *g.shape[1:]).mean(1, dtype=g.dtype), gradients)


def _advance(optimizer, gradients, state, params):
    """Return parameters and state after the gradients in turn."""

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    if len(jax.tree.leaves(gradients)[0]) == 1:  # no loop to compile
        return step((params, state), jax.tree.map(lambda g: g[0], gradients))[0]
    return jax.lax.scan(step, (params, state), gradients)[0]


def first_move(optimizer: optax.GradientTransformation, params: Any, gradients: Any) -> int | None:
    """Return after how many gradients an optimizer first changes a parameter; None if it never does.

    Args:
        optimizer: the optimizer.
        params: the starting point.
        gradients: with a leading axis.
    """

    def step(carry, gradient):
        after, state = _advance(optimizer, jax.tree.map(lambda g: g[None], gradient), carry[1], carry[0])
        moved = [jnp.any(x != y) for x, y in zip(jax.tree.leaves(after), jax.tree.leaves(params), strict=True)]
        return (after, state), jnp.any(jnp.stack(moved))

    params = jax.tree.map(jnp.asarray, params)
    state = settled(optimizer, jax.tree.map(lambda g: g[0], gradients), params)
    moved = np.asarray(
        jax.jit(lambda carry, gradients: jax.lax.scan(step, carry, gradients)[1])((params, state), gradients)
    )
    return int(np.argmax(moved)) + 1 if moved.any() else None


def _differences(x, y):
    """Return the largest |x − y| of each row, in float32 or wider; NaN if one of two unequal values is not finite."""
    axes = tuple(range(1, x.ndim))
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.where(jnp.any(x != y, axes), jnp.inf, 0.0)
    same = (x == y) | (jnp.isnan(x) & jnp.isnan(y))
    lost = jnp.any(~same & ~(jnp.isfinite(x) & jnp.isfinite(y)), axes)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    apart = jnp.where(same, 0.0, jnp.abs(x.astype(wide) - y.astype(wide)))
    return jnp.where(lost, jnp.nan, jnp.max(apart, axes, initial=0.0))


def _sizes(x):
    """Return the largest magnitude among the finite entries of each row, in float32 or wider."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros(len(x))
    size = jnp.max(jnp.where(jnp.isfinite(x), jnp.abs(x), 0.0), tuple(range(1, x.ndim)), initial=0.0)
    return size.astype(jnp.promote_types(size.dtype, jnp.float32))


def _spacing(scale, dtypes):
    """Return the gap between numbers at scales (..., leaves); 0 for integers, where any change counts."""
    columns = []
    for column, dtype in zip(np.moveaxis(scale, -1, 0), dtypes, strict=True):
        floating = jnp.issubdtype(dtype, jnp.inexact)
        columns.append(spacing(column, dtype) if floating else np.zeros(column.shape))
    return np.stack(columns, -1)


def _divide(above, below):
    """Return the quotient, with 0/0 = 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(above == 0, 0.0, above / below)
