"""Gradient checking against finite differences, with kinks told apart from bugs.

`check_grad(f, tree)` compares a gradient with differences of f and returns a `Report`; `assert_grad` does the same in
tests. These rules judge an entry, or a random direction through many entries:

* The slope is a central difference with one Richardson step. The step size is h, the dtype's eps^(1/5) times the size
  of the leaf, then h/16 and h/256 as long as rounding does not drown the slope. The first slope that agrees settles it.
* A gradient that differs where f is straight between x − h and x + h is wrong.
* If the one-sided slopes of an output differ however small the step, f has a kink there, and any gradient between them
  is right, as for relu at 0 or a tie in max pooling. Whether a tie passes its gradient on only once is not checked.
* A direction that is wrong or crosses kinks is halved until single entries are settled.
* If the rounding of f exceeds half of the slope and the gradient, as for x² + 10⁶ in float32, their agreement proves
  nothing, and the leaf is not ok. Use float64, or drop terms of f that do not depend on x. An f that does not change at
  all has gradient 0 if rounding leaves slopes of `rtol` visible.

[Lecture row D3]
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxdl.paths import apart

__all__ = ["Leaf", "Report", "assert_grad", "check_grad"]

_STEPS = (1.0, 1 / 16, 1 / 256)
_HIDDEN = "cannot tell: rounding hides it"


class Leaf(NamedTuple):
    """Result for one floating leaf of the tree."""

    path: str  # from jax.tree_util.keystr; "" for a tree that is a single array
    shape: tuple[int, ...]
    error: float  # largest |numeric − analytic| / size of the gradient
    index: tuple[int, ...] | None  # entry with that error; None for a direction, or if nothing was checked
    analytic: float  # gradient there
    numeric: float  # slope there
    problem: str  # "" if the leaf is ok, else the reason why it is not
    kinks: int  # entries at which f has a kink and the gradient is a subgradient
    checked: int  # compared entries and directions
    left: int  # directions through kinks that the budget left unresolved


class Report(NamedTuple):
    """Results of all leaves; `print` shows one line for each."""

    leaves: tuple[Leaf, ...]

    @property
    def ok(self) -> bool:
        """Whether every leaf was checked and none is wrong."""
        return not any(leaf.problem for leaf in self.leaves)

    def __str__(self) -> str:
        """Return the table."""
        rows = [("leaf", "shape", "error", "at", "gradient", "slope", "kinks", "checked", "verdict")]
        for leaf in self.leaves:
            numbers = (f"{leaf.error:.1e}", str(leaf.index or "-"), f"{leaf.analytic:.6g}", f"{leaf.numeric:.6g}")
            counts = (str(leaf.kinks), str(leaf.checked) + (f" (+{leaf.left} left)" if leaf.left else ""))
            rows.append((leaf.path or ".", str(leaf.shape), *numbers, *counts, leaf.problem or "ok"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


class _Verdict(NamedTuple):
    kind: str  # "ok", "hidden", "kink" or "wrong"
    error: float
    numeric: float
    analytic: float


class _Slopes(NamedTuple):
    """Slopes of f from differences over ±h and ±h/2."""

    numeric: float
    bend: float  # difference between the central differences of both widths
    low: float  # smaller one-sided slope of each output, summed over the outputs
    high: float  # larger one-sided slope, summed likewise

    @property
    def jump(self) -> float:
        return self.high - self.low


def check_grad(
    f: Callable[[PyTree], PyTree],
    tree: PyTree,
    *,
    backward: Callable[[PyTree, PyTree], PyTree] | None = None,
    rtol: float | None = None,
    step: float | None = None,
    max_entries: int = 64,
    directions: int = 4,
    budget: int = 300,
    seed: int = 0,
) -> Report:
    """Compare a gradient of f at one point with differences of f, leaf by leaf.

    Args:
        f: function of one tree, which JAX traces. Its outputs may be any tree; random weights contract them to a
            number.
        tree: the point. Floating leaves are checked, others are passed through. float64 is by far the sharpest.
        backward: hand-written gradient `(tree, cotangent) -> tree`, with the cotangent shaped like the output of f. It
            is not traced, so numpy will do.
            None uses `jax.vjp`, which checks `custom_vjp` and `custom_jvp` rules.
        rtol: largest relative error of a right gradient; None means 1e-6, 5e-3 and 0.1 for 64, 32 and 16 bits.
        step: h; None chooses it by the dtype and the size of the leaf.
        max_entries: largest leaf to check entry by entry. A larger leaf is checked along random directions and at
            this many entries, the first and the last among them.
        directions: number of random directions through a large leaf.
        budget: most comparisons for one leaf.
        seed: seed for weights, directions and entries.

    Raises:
        ValueError: there is no floating leaf, an output is not floating or not finite, or `backward` returns a tree of
            another structure.

    Examples:
        A hand-written gradient of x² that forgets the factor 2 is off by half of the right value:

        >>> x = np.array([1.0, -2.0], np.float32)
        >>> gradcheck.check_grad(lambda x: x**2, x, backward=lambda x, cotangent: 2 * x * cotangent).ok
        True
        >>> gradcheck.check_grad(lambda x: x**2, x, backward=lambda x, cotangent: x * cotangent).ok
        False
    """
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    floating = [k for k, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    if not floating:
        raise ValueError(f"tree: got dtypes {[str(leaf.dtype) for leaf in leaves]}, needs a floating leaf")
    random = np.random.default_rng(seed)
    outputs = jax.jit(lambda leaves: f(structure.unflatten(leaves)))
    weigh, cotangent = _weights(outputs(leaves), random)
    if not np.isfinite(weigh(outputs(leaves))).all():
        raise ValueError("f: its output is not finite at this point, so it has no slope here")
    point = structure.unflatten(leaves)
    gradient = _autodiff(f, point, cotangent) if backward is None else backward(point, cotangent)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    found = _gradient_leaves(gradient, structure)
    reports = []
    for k in floating:
        problem = _unusable(found[k], leaves[k])
        if problem:
            reports.append(Leaf(paths[k], leaves[k].shape, np.inf, None, np.nan, np.nan, problem, 0, 0, 0))
            continue
        judge = _judge(
            lambda x, k=k: weigh(outputs([*leaves[:k], x, *leaves[k + 1 :]])), leaves[k], found[k], rtol, step
        )
        visit = _visits(leaves[k].size, max_entries, directions, random)
        reports.append(_check_leaf(paths[k], leaves[k].shape, judge, visit, budget))
    return Report(tuple(reports))


def assert_grad(f: Callable[[PyTree], PyTree], tree: PyTree, **options: Any) -> None:
    """Raise AssertionError with the report unless `check_grad(f, tree, **options)` is ok.

    Examples:
        The derivative of x² is 2x:

        >>> x = np.array([1.0, -2.0], np.float32)
        >>> gradcheck.assert_grad(lambda x: x**2, x)
        >>> try:
        ...     gradcheck.assert_grad(lambda x: x**2, x, backward=lambda x, cotangent: 3 * x * cotangent)
        ... except AssertionError as error:
        ...     print(str(error).splitlines()[0])
        the gradient is not the derivative
    """
    report = check_grad(f, tree, **options)
    if not report.ok:
        only_hidden = {leaf.problem for leaf in report.leaves} <= {"", _HIDDEN}
        said = "cannot be told from rounding" if only_hidden else "is not the derivative"
        raise AssertionError(f"the gradient {said}\n{report}")


def _weights(output: PyTree, random: np.random.Generator) -> tuple[Callable[[PyTree], np.ndarray], PyTree]:
    """Return a function that weighs the outputs into a float64 vector, and the cotangent that holds the weights."""
    leaves, structure = jax.tree.flatten(output)
    if not all(jnp.issubdtype(y.dtype, jnp.floating) for y in leaves) or not leaves:
        raise ValueError(f"f: got outputs of dtypes {[str(y.dtype) for y in leaves]}, all must be floating")
    single = len(leaves) == 1 and leaves[0].size == 1
    # rounded to the dtype of the outputs, which the cotangent must have
    cotangents = [jnp.asarray(np.ones(y.shape) if single else random.normal(size=y.shape), y.dtype) for y in leaves]
    flat = np.concatenate([np.asarray(c, np.float64).ravel() for c in cotangents])

    def weigh(output):
        values = [np.asarray(y, np.float64).ravel() for y in jax.tree.leaves(output)]
        return flat * np.concatenate(values)

    return weigh, structure.unflatten(cotangents)


def _autodiff(f, point, cotangent):
    pulled = jax.jit(lambda point, cotangent: jax.vjp(f, point)[1](cotangent)[0])
    return pulled(point, cotangent)


def _gradient_leaves(gradient: PyTree, structure) -> list:
    if jax.tree.structure(gradient) != structure:
        like = jax.tree.unflatten(structure, [0.0] * structure.num_leaves)
        raise ValueError(f"backward: got {apart(gradient, like)}, must be a tree like tree")
    return jax.tree.leaves(gradient)


def _unusable(gradient, leaf) -> str:
    if jnp.shape(gradient) != leaf.shape:
        return f"gradient has shape {jnp.shape(gradient)}"
    if not np.isfinite(np.asarray(gradient, np.float64)).all():
        return "gradient is not finite"
    return ""


def _differences(value: Callable, leaf: jax.Array) -> tuple[Callable, np.ndarray]:
    """Return a function (entries, v, h) -> _Slopes of f along v, and the value of f at the leaf itself."""
    x, middle = np.asarray(leaf, np.float64).ravel(), value(leaf)

    def slopes(entries, v, h) -> _Slopes:
        def moved(t):
            y = x.copy()
            y[entries] += t * v
            return value(jnp.asarray(y.reshape(leaf.shape), leaf.dtype))

        up, down, near_up, near_down = (moved(t) for t in (h, -h, h / 2, -h / 2))
        fine, coarse = (near_up - near_down).sum() / h, (up - down).sum() / (2 * h)
        right, left = 2 * (near_up - middle) / h, 2 * (middle - near_down) / h
        low, high = np.minimum(left, right).sum(), np.maximum(left, right).sum()
        return _Slopes(float(fine + (fine - coarse) / 3), float(abs(fine - coarse)), float(low), float(high))

    return slopes, middle


def _judge(value: Callable, leaf: jax.Array, gradient, rtol: float | None, step: float | None) -> Callable:
    """Return a function (entries, signs) -> _Verdict that compares slope and gradient along one direction."""
    info = jnp.finfo(leaf.dtype)
    eps = float(info.eps)
    rtol = rtol or {64: 1e-6, 32: 5e-3}.get(info.bits, 0.1)
    x, g = np.asarray(leaf, np.float64).ravel(), np.asarray(gradient, np.float64).ravel()
    size = max(np.abs(x).max(initial=0), 0.01) if x.any() else 1.0
    slopes, middle = _differences(value, leaf)
    # rounding of f itself, and of x + h, which moves by multiples of eps
    rounding = 8 * eps * (np.linalg.norm(middle) + np.abs(g).max(initial=0) * size)

    def judge(entries: np.ndarray, signs: np.ndarray) -> _Verdict:
        v = signs / np.sqrt(len(entries))
        analytic = float(g[entries] @ v)
        size_of_gradient = np.abs(g).max() if len(entries) == 1 else np.sqrt(np.mean(g[entries] ** 2))
        tried: list[tuple[_Slopes, float, float]] = []
        for h in ((step or eps**0.2 * size) * s for s in _STEPS):
            at = slopes(entries, v, h)
            largest = max(abs(at.numeric), abs(analytic), size_of_gradient)
            allowed = rtol * largest + rounding / h
            if tried and rounding / h > 4 * rtol * largest:
                break
            tried.append((at, allowed, abs(at.numeric - analytic) / largest if largest else 0.0))
            if abs(at.numeric - analytic) <= allowed:
                told = rounding / h <= (largest / 2 or rtol)
                return _Verdict("ok" if told else "hidden", tried[-1][2], at.numeric, analytic)
            if max(at.jump, at.bend) <= allowed:
                return _Verdict("wrong", tried[-1][2], at.numeric, analytic)
        at, allowed, error = tried[-1]
        # where f is smooth, a 16 times smaller step brings the one-sided slopes 16 times closer
        kinked = at.jump > allowed and (len(tried) == 1 or at.jump > tried[-2][0].jump / 4)
        between = at.low - allowed <= analytic <= at.high + allowed
        unsettled = len(entries) > 1 or (kinked and between)
        return _Verdict("kink" if unsettled else "wrong", error, at.numeric, analytic)

    return judge


def _visits(size: int, max_entries: int, directions: int, random: np.random.Generator) -> list:
    """Return the first comparisons as (entries, signs), directions before single entries."""
    if size <= max_entries:
        return [(np.array([i]), np.ones(1)) for i in range(size)]
    everything = np.arange(size)
    lines = [(everything, random.choice([-1.0, 1.0], size)) for _ in range(directions)]
    inner = random.choice(np.arange(1, size - 1), min(max_entries, size) - 2, replace=False)
    return lines + [(np.array([i]), np.ones(1)) for i in (0, size - 1, *inner)]


def _check_leaf(path: str, shape: tuple[int, ...], judge: Callable, visit: list, budget: int) -> Leaf:
    """Judge all comparisons to visit, halve unsettled directions, and keep the worst verdict."""
    checked = kinks = left = 0
    worst: tuple[int, float, np.ndarray, _Verdict] | None = None
    pending = list(reversed(visit))
    while pending and checked < budget:
        entries, signs = pending.pop()
        verdict = judge(entries, signs)
        checked += 1
        kinks += verdict.kind == "kink" and len(entries) == 1
        # from worst to best: a wrong entry, a wrong direction, a hidden one, a right one
        level = {"wrong": 2 + (len(entries) == 1), "hidden": 1}.get(verdict.kind, 0)
        rank = (level, verdict.error)
        if verdict.kind != "kink" and (worst is None or rank > worst[:2]):
            worst = (*rank, entries, verdict)
        if verdict.kind not in ("ok", "hidden") and len(entries) > 1:
            pending.extend(_halves(entries, signs))
    left = sum(len(entries) > 1 for entries, _ in pending)
    if worst is None:
        return Leaf(path, shape, 0.0, None, np.nan, np.nan, "", kinks, checked, left)
    level, error, entries, verdict = worst
    index = tuple(int(i) for i in np.unravel_index(entries[0], shape)) if len(entries) == 1 else None
    problem = "wrong" if level > 1 else _HIDDEN if level else ""
    return Leaf(path, shape, error, index, verdict.analytic, verdict.numeric, problem, kinks, checked, left)


def _halves(entries: np.ndarray, signs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    half = len(entries) // 2
    for part in (slice(half, None), slice(half)):
        yield entries[part], signs[part] if len(entries[part]) > 1 else np.ones(1)
