"""Several optimizers side by side on one stream of gradients, in one compiled program."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

TOLERANCE = 16
"""Ulps at leaf scale up to which two runs count as equal but for rounding."""

COARSE_TOLERANCE = 2
"""The same for bfloat16, where 16 ulps would be an eighth of the value."""


class Distances(NamedTuple):
    """How far one optimizer's parameters are from the reference's, after each step and in each leaf."""

    absolute: np.ndarray  # (steps, leaves): largest |a − b|; NaN where one value is not finite and the other differs
    relative: np.ndarray  # (steps, leaves): the same over the leaf's scale
    ulps: np.ndarray  # (steps, leaves): the same over the spacing of floating point numbers at the leaf's scale
    moved: float  # largest distance of the reference from its starting point, in ulps
    limits: np.ndarray  # (leaves,): ulps that count as rounding

    def exceeded(self) -> np.ndarray:
        """Return where the distance is no rounding, as bools (steps, leaves); NaN is none."""
        return ~(self.ulps <= self.limits)

    def close(self) -> bool:
        """Return whether all of the run agrees but for rounding."""
        return not self.exceeded().any()


def paths(tree: Any) -> tuple[str, ...]:
    """Return the path of every leaf, as ``jax.tree_util.keystr`` writes it."""
    return tuple(jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree))


def stack(gradients: Iterable[Any], params: Any, steps: int | None) -> Any:
    """Return the first ``steps`` gradients as one tree with a leading axis of steps.

    Raises:
        ValueError: there are none, or fewer than ``steps``, or one does not have the shapes of ``params``.
    """
    taken = list(itertools.islice(gradients, steps))
    if not taken or (steps is not None and len(taken) < steps):
        wanted = "at least 1" if steps is None else f"steps={steps}"
        raise ValueError(f"gradients: got {len(taken)} trees, needed are {wanted}")
    for index, gradient in enumerate(taken):
        _check_shapes(gradient, params, index)
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *taken)


def _check_shapes(gradient, params, index):
    if jax.tree.structure(gradient) != jax.tree.structure(params):
        raise ValueError(
            f"gradients[{index}]: got {jax.tree.structure(gradient)}, "
            f"must be the structure of params, {jax.tree.structure(params)}"
        )
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
) -> list[Distances]:
    """Run all optimizers from the same parameters and measure each one's distance from the reference.

    Args:
        optimizers: what is measured.
        reference: what it is measured from.
        params: the starting point.
        stacked: gradients with a leading axis of steps.
        locked: every step starts from the reference's parameters; the states are each optimizer's own.
    """
    params = jax.tree.map(jnp.asarray, params)
    # one program for all: what two optimizers compute alike is then also compiled alike
    difference, scale, moved = jax.device_get(jax.jit(_scan(optimizers, reference, locked))(params, stacked))
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params)]
    limits = np.array([COARSE_TOLERANCE if d == jnp.bfloat16 else TOLERANCE for d in dtypes])
    moved = float(np.max(_divide(moved, _spacing(scale[:, 0], dtypes)), initial=0.0))
    measured = []
    for i in range(len(optimizers)):
        ulps = _divide(difference[:, i], _spacing(scale[:, i], dtypes))
        absolute = difference[:, i].astype(np.float64)
        measured.append(Distances(absolute, _divide(absolute, scale[:, i]), ulps, moved, limits))
    return measured


def _scan(optimizers, reference, locked):
    everyone = (reference, *optimizers)

    def run(params, stacked):
        start = jax.tree.leaves(params)
        first = jax.tree.map(lambda g: g[0], stacked)
        points = [params] * len(everyone)
        states = [_settled(optimizer, first, params) for optimizer in everyone]
        scales = [[_size(leaf, leaf) for leaf in start] for _ in optimizers]

        def step(carry, gradient):
            points, states, scales = carry
            moves = zip(everyone, states, points, strict=True)
            points, states = zip(*(_advance(o, gradient, s, p) for o, s, p in moves), strict=True)
            leaves = [jax.tree.leaves(point) for point in points]
            others = list(zip(leaves[1:], scales, strict=True))
            apart = [list(map(_difference, other, leaves[0])) for other, _ in others]
            scales = [[jnp.maximum(s, _size(*p)) for s, *p in zip(c, o, leaves[0], strict=True)] for o, c in others]
            moved = list(map(_difference, leaves[0], start))
            points = [points[0]] * len(everyone) if locked else list(points)
            return (points, list(states), scales), (_table(apart), _table(scales), jnp.stack(moved))

        return jax.lax.scan(step, (points, states, scales), stacked)[1]

    return run


def _table(rows):
    return jnp.stack([jnp.stack(row) for row in rows])


def _settled(optimizer, gradient, params):
    """Return the initial state in the dtypes that a step returns, which the loop must keep."""
    state = optimizer.init(params)
    after = jax.eval_shape(lambda s: optimizer.update(gradient, s, params)[1], state)
    return jax.tree.map(lambda s, t: jnp.asarray(s, t.dtype), state, after)


def _advance(optimizer, gradient, state, params):
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state


def _real_dtype(x):
    return jnp.promote_types(jnp.finfo(x.dtype).dtype, jnp.float32) if _inexact(x) else jnp.float32


def _inexact(x):
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _difference(x, y):
    """Return the largest |x − y| in float32 at least; NaN where one of two different values is not finite."""
    dtype = _real_dtype(x)
    if not _inexact(x):
        return jnp.where(jnp.any(x != y), jnp.inf, 0.0).astype(dtype)
    same = (x == y) | (jnp.isnan(x) & jnp.isnan(y))
    lost = jnp.any(~same & ~(jnp.isfinite(x) & jnp.isfinite(y)))
    wide = jnp.promote_types(x.dtype, jnp.float32)
    apart = jnp.where(same, 0.0, jnp.abs(x.astype(wide) - y.astype(wide)))
    return jnp.where(lost, jnp.nan, jnp.max(apart, initial=0.0)).astype(dtype)


def _size(x, y):
    """Return the largest magnitude among the finite entries of both."""
    if not _inexact(x):
        return jnp.zeros((), _real_dtype(x))
    largest = jnp.maximum(*(jnp.where(jnp.isfinite(z), jnp.abs(z), 0.0) for z in (x, y)))
    return jnp.max(largest, initial=0.0).astype(_real_dtype(x))


def _spacing(scale, dtypes):
    """Return the gap between floating point numbers at scales (steps, leaves); 0 for integers: any change counts."""
    columns = []
    for column, dtype in zip(np.moveaxis(scale, -1, 0), dtypes, strict=True):
        if not jnp.issubdtype(dtype, jnp.inexact):
            columns.append(np.zeros(len(column)))
            continue
        info = jnp.finfo(dtype)
        _, exponent = np.frexp(np.maximum(column.astype(np.float64), float(info.smallest_normal)))
        columns.append(np.ldexp(1.0, exponent - 1 - info.nmant))
    return np.stack(columns, -1)


def _divide(above, below):
    """Return the quotient, with 0/0 = 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(above == 0, 0.0, above / below)
