"""Is it the same algorithm? Run two optimizers on one stream of gradients and find the reason where they part."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import optax

from jaxdl.compare import trajectories
from jaxdl.compare.accumulation import accumulation
from jaxdl.compare.causes import explain, shown
from jaxdl.compare.mappings import act_alike
from jaxdl.compare.settings import Known, common, differing, pair, stand_in

VERDICTS: Final = ("identical", "equivalent", "different")


class Equivalence(NamedTuple):
    """The result of `equivalence`. Arrays have one row per step and one column per leaf of the parameters."""

    verdict: str  # one of VERDICTS
    step: int | None  # index of the first gradient, or batch, after which they differ; None unless different
    leaf: str | None  # path of the largest difference at that step, as jax.tree_util.keystr writes it
    cause: str | None  # the reason in words; None unless different
    mapping: dict[str, Any] | None  # tried numbers for keywords that make a equivalent to b, or None
    max_ulps: float  # maximum of ulps; NaN if one run is not finite where the other is or differs
    max_absolute: float  # maximum of absolute
    max_relative: float  # maximum of relative
    ulps: np.ndarray  # |a − b| over the spacing of floating point numbers at the leaf's scale
    absolute: np.ndarray  # largest |a − b| of the leaf
    relative: np.ndarray  # the same over the leaf's scale
    leaves: tuple[str, ...]  # the columns' paths
    moved: float  # largest distance of b from the start, in the same ulps; if it is small, the verdict says little
    unseen: dict[str, tuple[Any, Any]]  # keywords that differ but made no difference on this stream

    def not_exercised(self) -> str:
        """Say in words which keywords differ but made no difference, with a comma in front; empty if there are none."""
        if not self.unseen:
            return ""
        named = "; ".join(f"{name}={shown(x)} against {shown(y)}" for name, (x, y) in self.unseen.items())
        return f", where these keywords differ but were not exercised: {named}"

    def __str__(self) -> str:
        if self.verdict != "different":
            return f"{self.verdict} on this stream{self.not_exercised()}"
        said = f"different from step {self.step}, most in {self.leaf or 'the parameters'}; cause: {self.cause}"
        if self.mapping:
            named = ", ".join(f"{name}={value!r}" for name, value in self.mapping.items())
            said += f"; the first is equivalent to the second with {named}"
        return said


def equivalence(
    a: Any,
    b: Any,
    params: Any,
    gradients: Iterable[Any],
    steps: int | None = None,
    *,
    locked: bool = False,
    micro_batches: tuple[int, int] = (1, 1),
) -> Equivalence:
    """Run two optimizers on the same gradients, decide whether they are one algorithm, and if not, say why.

    The parameters are compared after every step. Updates would differ in many digits where sums cancel, and anything
    below half an ulp of a parameter is lost in it. In each leaf, ``max|a − b|`` is divided by the spacing of floating
    point numbers at the leaf's scale, its largest magnitude so far. All zeros is "identical"; up to 16 (bfloat16: 2) is
    "equivalent". No map of hyperparameters is applied. NaN in the same place on both sides counts as equal.

    The verdict therefore holds for this stream, and ``str(record)`` reads "equivalent on this stream" with the keywords
    that were not exercised. An eps of 1e-8 next to gradients of 1 is below one ulp, and ``unseen``
    lists it; `streams.tiny`, parameters that start at 0, or float64 trees reveal it. It also lists two schedules,
    unless their numbers are the same, up to rounding, at each of the first 10,000 steps, and two masks, unless they
    choose the same of ``params``.

    Args:
        a: a ``GradientTransformation``, or a pair ``(factory, keywords)`` such as ``(optax.adam, {"learning_rate":
            0.1})`` or ``(torch.optim.Adam, {"lr": 0.1})``. See ``torch_optimizer``.
        b: likewise. The cause is found for pairs of jaxdl's or optax's factories, by running ``a`` with the fewest of
            b's keywords that make it equivalent to ``b``. The cause of an opaque side is reported as unknown. Neither
            side may need more than gradients and parameters, as a line search does.
        params: the starting point of both.
        gradients: trees like ``params``, shared by both; they are held in memory.
        steps: how many of them to use; None uses all. With ``micro_batches`` it counts batches.
        locked: start every step of both from b's parameters, each with its own state, so that differences do not
            accumulate.
        micro_batches: in how many equal parts a and b get each batch, of which the smaller number divides the larger.
            The gradients then are those of the smaller parts, and the other side gets their means. (4, 1) compares an
            ``a`` that accumulates four gradients with a ``b`` of large batches, after each batch.

    Raises:
        ValueError: a side is neither form, a factory refuses its keywords, an update needs more than gradients and
            parameters, there are no gradients or fewer than ``steps``, or one does not fit ``params``; or
            ``micro_batches`` is out of range, or its batches do not divide the gradients.

    Examples:
        Two gradients accumulated are one of their mean:

        >>> several, whole = optax.MultiSteps(optax.sgd(0.1), 2), optax.sgd(0.1)
        >>> parts = [jnp.array([1.0]), jnp.array([3.0])]
        >>> compare.equivalence(several, whole, jnp.zeros(1), parts, micro_batches=(2, 1)).verdict
        'identical'

        Plain descent and momentum take the same first step and then part:

        >>> params, gradients = jnp.zeros(2), [jnp.ones(2)] * 2
        >>> compare.equivalence(optax.sgd(0.1), optax.sgd(0.1, momentum=0.9), params, gradients).verdict
        'different'
    """
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps}: at least 1 is needed")
    finest = _finest(micro_batches)
    if not trajectories.paths(params):
        raise ValueError("params: got no leaf, at least one is needed")
    sides = pair(a, "a"), pair(b, "b")
    left, right = (
        _opaque(x) if given is None else _built(given, name) for x, given, name in zip((a, b), sides, "ab", strict=True)
    )
    stacked = trajectories.stack(gradients, params, steps, finest)
    for optimizer, name in ((left, "a"), (right, "b")):
        trajectories.check(optimizer, name, params, stacked)

    def measure(candidates, target):  # candidates stand for the side that the target is not
        of_a, of_b = micro_batches
        parts = (of_a, of_b) if target is right else (of_b, of_a)
        return trajectories.distances(candidates, target, params, stacked, locked=locked, parts=parts)

    double = stand_in(*sides)
    found, *doubles = measure([left] if double is None else [left, double], right)
    if found.close():
        verdict = "equivalent" if found.ulps.any() else "identical"
        return _record(found, params, verdict=verdict, unseen=_unseen(*sides, params))
    if cause := accumulation(left, right, params, stacked, micro_batches, lambda *given: measure(*given)[0].close()):
        return _record(found, params, verdict="different", **_place(found, params), cause=cause)
    faithful = all(np.allclose(d.ulps, found.ulps, 1e-6, d.limits.max(), equal_nan=True) for d in doubles)
    reason = explain(*sides, left, right, lambda *given: [d.close() for d in measure(*given)], faithful=faithful)
    return _record(found, params, verdict="different", **_place(found, params), **reason._asdict())


def _finest(micro_batches: tuple[int, int]) -> int:
    """Return the larger number of parts."""
    smaller, larger = sorted(micro_batches)
    if smaller < 1 or larger % smaller:
        raise ValueError(f"micro_batches={micro_batches}: needed are two numbers above 0, one a multiple of the other")
    return larger


def _opaque(side):
    """Return a transformation; optax.MultiSteps, for one, only looks like one."""
    if isinstance(side, optax.GradientTransformation):
        return side
    return optax.GradientTransformation(side.init, side.update)


def _built(given, name):
    try:
        inspect.signature(given.factory).bind(**given.keywords)
    except TypeError as error:
        factory = getattr(given.factory, "__name__", given.factory)
        raise ValueError(f"{name}: {factory} does not take the keywords {sorted(given.keywords)}: {error}") from error
    return given.factory(**given.keywords)


def _place(found, params):
    exceeded = found.exceeded()
    step = int(np.argmax(exceeded.any(1)))
    size = np.where(np.isnan(found.ulps[step]), np.inf, found.ulps[step])
    return {"step": step, "leaf": trajectories.paths(params)[int(np.argmax(np.where(exceeded[step], size, -1.0)))]}


def _record(found, params, *, step=None, leaf=None, cause=None, mapping=None, unseen=None, verdict) -> Equivalence:
    return Equivalence(
        verdict=verdict,
        step=step,
        leaf=leaf,
        cause=cause,
        mapping=mapping,
        max_ulps=float(np.max(found.ulps)),
        max_absolute=float(np.max(found.absolute)),
        max_relative=float(np.max(found.relative)),
        ulps=found.ulps,
        absolute=found.absolute,
        relative=found.relative,
        leaves=trajectories.paths(params),
        moved=found.moved,
        unseen=unseen or {},
    )


def _unseen(a, b, params) -> dict[str, tuple[Any, Any]]:
    if not (isinstance(a, Known) and isinstance(b, Known)):
        return {}
    both = common(a.settings, b.settings)
    if both is None:
        return {}
    first, second = both[0].options, both[1].options
    apart = ((name, first[name], second[name]) for name in differing(first, second))
    return {name: (x, y) for name, x, y in apart if not act_alike(name, x, y, params)}
