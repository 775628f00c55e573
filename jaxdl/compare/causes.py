"""Why two optimizers differ: the fewest keywords that turn one into the other, found by running them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

import optax

from jaxdl.compare.mappings import is_number, proposals
from jaxdl.compare.settings import Known, Pair, Settings, common, differing, with_decay
from jaxdl.optimizers.conventions import REQUIRED, TABLE

Judge = Callable[[Sequence[optax.GradientTransformation], optax.GradientTransformation], list[bool]]
"""``(candidates, target)`` -> whether each candidate is equivalent to the target."""

WORDS: Final = {
    "learning_rate": "learning rate",
    "eps": "eps value",
    "eps_root": "eps value",
    "eps_hat": "eps placement",
    "eps_in_sqrt": "eps placement",
    "eps_in_max": "eps placement",
    "bias_correction": "bias correction",
    "bias_correction_mu": "bias correction",
    "bias_correction_nu": "bias correction",
    "exact_correction": "rounding of the bias correction",
    "moment_form": "rounding of the averages",
    "weight_decay": "decay value",
    "adam_weight_decay": "decay value",
    "mask": "decay mask",
    "weight_decay_mask": "decay mask",
    "decay_form": "decay coupling",
    "initial_accumulator_value": "initial accumulator",
    "initial_scale": "initial accumulator",
    "nesterov": "nesterov form",
    "gradient_at": "nesterov form",
    "momentum": "momentum value",
    "momentum_form": "momentum form",
    "momentum_schedule": "momentum schedule",
    "momentum_decay": "momentum schedule",
    "max_of_raw": "maximum placement",
    "centered": "centering",
    "threshold": "rectification threshold",
    "separate_norms": "norms of the trust ratio",
    "full_difference": "weight of the gradient's change",
    "momentum_from_zero": "initial accumulator",
    "step_form": "form of the steps",
    "relative_step": "schedule of the rate",
    "trust_coefficient": "trust coefficient",
    "b1": "averaging rate",
    "b2": "averaging rate",
    "beta": "averaging rate",
    "rho": "averaging rate",
    "decay": "averaging rate",
    "mu_dtype": "state dtype",
    "accumulator_dtype": "state dtype",
    "state_dtype": "state dtype",
}
"""The name of a keyword in a cause; a keyword that is missing here goes by its own name."""

FORMS: Final = {
    "momentum_form": ("heavy_ball", "velocity", "ema"),
    "decay_form": ("joint", "unscaled", "coupled"),
    "nesterov": (False, True),
    "eps_hat": (False, True),
    "bias_correction": (False, True),
    "centered": (False, True),
}
"""Values that a search tries in addition to those in the conventions' table."""

BATCH: Final = 20
"""Number of candidates compiled into one program."""


class Finding(NamedTuple):
    """The result of a search."""

    cause: str
    mapping: dict[str, Any] | None = None


def explain(
    a: Pair | Known | None, b: Pair | Known | None, left: Any, right: Any, judge: Judge, *, faithful: bool = True
) -> Finding:
    """Explain in words why two optimizers differ.

    Args:
        a: the first as a pair; None if it is opaque.
        b: the second.
        left: the first as a transformation.
        right: the second.
        judge: runs candidates against a target.
        faithful: whether ``a`` behaves like jaxdl's optimizer with the same keywords, which is the one that the search
            varies.
    """
    if _is_known(a) and _is_known(b):
        return _between(a, b, right, judge, faithful)
    if _is_known(a):
        return _from_one_side(a, b, right, "a", judge)
    if _is_known(b):
        return _from_one_side(b, a, left, "b", judge)
    why = "both sides are opaque, so there are no keywords to search; compare each with one of jaxdl's or optax's"
    return Finding(f"cannot know: {why}")


def _is_known(side: Pair | Known | None) -> TypeGuard[Known]:
    return isinstance(side, Known)


def _between(a: Known, b: Known, right, judge: Judge, faithful: bool) -> Finding:
    both = common(a.settings, b.settings)
    if both is None:
        return Finding(f"algorithm: {a.settings.family} against {b.settings.family}")
    start, end = both
    changes = {name: end.options[name] for name in differing(start.options, end.options)}
    found = smallest(start, changes, right, judge)
    if found is None:
        same = f"also with {', '.join(changes)} made equal" if changes else "no keyword differs"
        return Finding(f"implementation: {same}, so the factories themselves compute different things")
    cause = in_words(start.options, {name: changes[name] for name in found})
    if not faithful:
        cause += "; implementation: a does not do what jaxdl's optimizer does with the same keywords"
    return Finding(cause, _mapping(a, start.options, end.options, found, right, judge))


def _mapping(a: Known, before, after, found, target, judge: Judge) -> dict[str, Any] | None:
    """Return numbers for ``a``'s own keywords that make it equivalent to the target, if a proposal does."""
    allowed = set(inspect.signature(a.factory).parameters)
    built = [(p, _build(a, p)) for p in proposals(before, after, found) if set(p) <= allowed]
    usable = [(proposal, optimizer) for proposal, optimizer in built if optimizer is not None]
    answers = judge([optimizer for _, optimizer in usable], target) if usable else []
    return next(itertools.compress((proposal for proposal, _ in usable), answers), None)


def smallest(start: Settings, changes: dict[str, Any], target: Any, judge: Judge) -> tuple[str, ...] | None:
    """Return the fewest keywords whose change makes ``start`` equivalent to ``target``.

    If there are too many combinations to try, the result is a set from which no keyword can be dropped.

    Returns:
        The names, or None if even all changes together are not enough.
    """
    names = tuple(changes)
    if not names:
        return None
    singles = [{n: changes[n]} for n in names]
    together, *alone = ask(start, [changes, *singles], target, judge)
    if any(alone):
        return (names[alone.index(True)],)
    if not together:
        return None
    for size in range(2, len(names)):
        subsets = list(itertools.combinations(names, size))
        if len(subsets) > 2 * BATCH:
            return _greedy(start, changes, target, judge)
        answers = ask(start, [{n: changes[n] for n in subset} for subset in subsets], target, judge)
        if any(answers):
            return subsets[answers.index(True)]
    return names


def _greedy(start, changes, target, judge):
    kept = dict(changes)
    for name in changes:
        without = {n: v for n, v in kept.items() if n != name}
        if ask(start, [without], target, judge)[0]:
            kept = without
    return tuple(kept)


def ask(start: Settings, many: Sequence[dict[str, Any]], target: Any, judge: Judge) -> list[bool]:
    """Judge several changes of settings at once; a change that the factory refuses is not equivalent."""
    built = [_build(start, changes) for changes in many]
    usable = [optimizer for optimizer in built if optimizer is not None]
    batches = [usable[i : i + BATCH] for i in range(0, len(usable), BATCH)]
    answers = iter([answer for batch in batches for answer in judge(batch, target)])
    return [optimizer is not None and next(answers) for optimizer in built]


def _build(start: Settings | Known, changes: dict[str, Any]) -> optax.GradientTransformation | None:
    try:
        return start.build(**changes)
    except ValueError:  # for example, a form that does not allow schedules, or a decay without its convention
        return None


def _from_one_side(known: Known, other: Pair | Known | None, target, side: str, judge: Judge) -> Finding:
    """Search for the settings of the known side that behave like the other side."""
    keywords = {} if other is None else other.keywords
    start = with_decay(known.settings) if "weight_decay" in keywords else known.settings
    near = _neighbours(start, keywords)
    if other is not None and (defaults := _own_defaults(other)):
        near += _neighbours(start, defaults | keywords)
    answers = ask(start, near, target, judge)
    opaque = "ab"[side == "a"]
    if not any(answers):
        return Finding(f"cannot know: {opaque} is opaque, and no convention tried on {side} does the same")
    changes = near[answers.index(True)]
    found = smallest(start, changes, target, judge) or ()
    words = in_words(start.options, {name: changes[name] for name in found}, flipped=side == "b")
    mapping = _mapping(known, start.options, start.options | changes, found, target, judge) if side == "a" else None
    if other is None:
        return Finding(f"cannot know what is in {opaque}, which is opaque; {side} does the same with {words}", mapping)
    return Finding(f"{words} (found by trying conventions of {side}: {opaque}'s factory is not a known one)", mapping)


def _own_defaults(side: Pair | Known) -> dict[str, Any]:
    """Return the numbers and switches that a factory's signature gives."""
    found = {name: parameter.default for name, parameter in inspect.signature(side.factory).parameters.items()}
    return {name: value for name, value in found.items() if isinstance(value, bool | int | float)}


def _neighbours(start: Settings, keywords: dict[str, Any]) -> list[dict[str, Any]]:
    """Return changes to try: the other side's keywords, and on top of them single choices and whole conventions."""
    options = start.options
    taken = {n: v for n, v in keywords.items() if n in options and v is not None}
    taken = {n: taken[n] for n in taken if differing({n: options[n]}, taken)}
    base = options | taken
    row = TABLE["nesterov" if base.get("nesterov") and start.family == "sgd" else start.family]
    near = [taken] if taken else []
    for name in base:
        values = [convention.get(name, REQUIRED) for convention in row.values()] + list(FORMS.get(name, ()))
        near += [taken | {name: v} for v in dict.fromkeys(values) if v is not REQUIRED and v != base[name]]
    if base.get("eps_root") is not None and "eps" in base:
        near.append(taken | {"eps": base["eps_root"], "eps_root": base["eps"]})  # eps on the other side of the root
    conventions = ({n: v for n, v in c.items() if n not in taken and v is not REQUIRED} for c in row.values())
    return near + [taken | convention for convention in conventions]


def in_words(options: dict[str, Any], changes: dict[str, Any], *, flipped: bool = False) -> str:
    """Describe changes of keywords, as in "eps placement: eps_hat=False against True"."""
    parts = []
    for name, value in changes.items():
        first, second = (value, options[name]) if flipped else (options[name], value)
        parts.append(f"{_word(name, options, changes)}: {name}={shown(first)} against {shown(second)}")
    return "; ".join(parts)


def _word(name, options, changes):
    if name in ("eps", "eps_root") and _moves_into_root(options, changes):
        return "eps placement"
    if name == "decay_form" and {options[name], changes[name]} <= {"joint", "product", "difference"}:
        return "rounding of the decay"
    return WORDS.get(name, name)


def _moves_into_root(options, changes):
    """Return whether eps moves from outside the root into it, or out of it."""
    before, after = options.get("eps_root"), changes.get("eps_root")
    return is_number(before) and is_number(after) and bool(before == 0) != bool(after == 0)


def shown(value: Any) -> str:
    """Return the value of a keyword in at most 60 characters."""
    return getattr(value, "__name__", None) or f"{value!r:.60}"
