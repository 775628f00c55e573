"""Hyperparameters under which one form of an optimizer may do the same as another.

These are only proposals, and the caller runs one before using it. a and b are the keywords of two settings of one
optimizer; every rule returns keywords for a. Learning rate α, momentum β, decay λ, step t from 1.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.compare.settings import differing
from jaxdl.optimizers import moments
from jaxdl.optimizers.trees import called

COMPARED: Final = 10_000  # steps at which two schedules are compared
SCHEDULED: Final = ("learning_rate", "weight_decay", "adam_learning_rate", "adam_weight_decay")

Options = dict[str, Any]
Rule = Callable[[Options, Options], dict[str, Any]]


def proposals(a: Options, b: Options, found: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield maps of hyperparameters for ``a``, the simplest first.

    Args:
        a: every keyword of the first settings.
        b: every keyword of the second.
        found: keywords whose change makes the first equivalent to the second.
    """
    needed = {name: b[name] for name in found if is_hyperparameter(name, b[name])}
    if len(needed) == len(found):
        yield needed
        return
    every = {name: b[name] for name in differing(a, b) if is_hyperparameter(name, b[name])}
    for rule in RULES:
        values = rule(a, b)
        if values:
            yield needed | values
            yield every | values


def is_hyperparameter(name: str, value: Any) -> bool:
    """Return whether a keyword's value is a number or a schedule rather than a choice of algorithm."""
    return is_number(value) or (name in SCHEDULED and callable(value)) or (name == "momentum" and value is None)


def is_number(value: Any) -> bool:
    """Return whether a value is one real number, on the host or on a device."""
    if isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, int | float | np.number) or (isinstance(value, jax.Array | np.ndarray) and value.ndim == 0)


def act_alike(name: str, x: Any, y: Any, params: Any) -> bool:
    """Return whether two values of a keyword that are not equal still mean the same.

    Numbers do that agree in the precision of one that is an array; schedules, of which one may be a number, that agree
    up to rounding at the first 10,000 steps; and masks that choose the same of ``params``.
    """
    if is_number(x) and is_number(y):
        kinds = [one.dtype for one in (x, y) if hasattr(one, "dtype") and jnp.issubdtype(one.dtype, jnp.floating)]
        return any(np.asarray(x).astype(kind) == np.asarray(y).astype(kind) for kind in kinds)
    if name in ("mask", "weight_decay_mask"):
        return _chosen(x, params) == _chosen(y, params)
    return name in SCHEDULED and _same_schedule(x, y)


def _chosen(mask: Any, params: Any) -> list[bool]:
    """Return which leaves a mask chooses: a function of the parameters, a tree of flags, perhaps a prefix, or None."""
    flags = jax.tree.broadcast(called(True if mask is None else mask, params), params)
    return [bool(flag) for flag in jax.tree.leaves(flags)]


def _same_schedule(x: Any, y: Any) -> bool:
    if not all(callable(one) or is_number(one) for one in (x, y)):
        return False
    counts = jnp.arange(COMPARED)
    first, second = (jax.vmap(lambda t, v=v: jnp.asarray(v(t) if callable(v) else v))(counts) for v in (x, y))
    return bool(jnp.allclose(first, second, rtol=1e-5, atol=1e-6 * float(jnp.abs(second).max()), equal_nan=True))


def _average_or_sum(a: Options, b: Options) -> dict[str, Any]:
    """Map an average of gradients at α/(1 − β) to their sum at α."""
    forms = a.get("momentum_form"), b.get("momentum_form")
    if "ema" not in forms or forms[0] == forms[1] or not is_number(b["momentum"]) or b["momentum"] >= 1:
        return {}
    beta = b["momentum"]
    factor = 1 / (1 - beta) if forms[0] == "ema" else 1 - beta
    return {"learning_rate": _combine(operator.mul, b["learning_rate"], factor)}


def _scaled_decay(a: Options, b: Options) -> dict[str, Any]:
    """Map a decay of αλ per step to one of λ per step at λ/α."""
    forms = a.get("decay_form"), b.get("decay_form")
    if "unscaled" not in forms or "coupled" in forms or forms[0] == forms[1]:
        return {}
    combine = operator.mul if forms[0] == "unscaled" else operator.truediv
    return {"weight_decay": _combine(combine, b["weight_decay"], b["learning_rate"])}


def _corrected_rate(a: Options, b: Options) -> dict[str, Any]:
    """Map Adam without bias correction at α·√(1−b2ᵗ)/(1−b1ᵗ) to Adam with eps added to the raw root."""
    if "bias_correction" not in a or a["bias_correction"] == b["bias_correction"]:
        return {}
    corrected = b if b["bias_correction"] else a
    combine = operator.mul if b["bias_correction"] else operator.truediv

    def factor(count):
        b1, b2 = (moments.bias_weight(corrected[n], count + 1, corrected["exact_correction"]) for n in ("b1", "b2"))
        return jnp.sqrt(b2) / b1

    return {"learning_rate": _combine(combine, b["learning_rate"], factor)}


RULES: Final[tuple[Rule, ...]] = (_average_or_sum, _scaled_decay, _corrected_rate)


def _combine(operation, x, y):
    """Apply an operation to numbers, or to schedules step by step."""
    if not callable(x) and not callable(y):
        return operation(x, y)

    def combined(count):
        return operation(*(v(count) if callable(v) else v for v in (x, y)))

    return combined
