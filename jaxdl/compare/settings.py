"""The settings of a ``(factory, keywords)`` pair: every keyword of jaxdl's optimizer of that name, with none left open.

Pairs of jaxdl's optimizers and their optax namesakes are known; of all others only ``update`` is visible.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import numpy as np
import optax
import optax.contrib

from jaxdl import optimizers
from jaxdl.compare.bridges import bridged
from jaxdl.optimizers.conventions import FORMS, TABLE, forms, resolve

FAMILIES: Final = tuple(name for name in TABLE if name != "nesterov")
"""Optimizers with a factory of their own; momentum and nesterov are settings of sgd."""

PENALIZED: Final = tuple(
    name
    for name in FAMILIES
    if (given := inspect.signature(getattr(optimizers, name)).parameters.get("weight_decay")) and given.default is None
    if "weight_decay" not in TABLE[name]["optax"]
)
"""Optimizers whose ``weight_decay`` is an L2 penalty, under PyTorch's convention only; settings have 0.0 for none."""


class Settings(NamedTuple):
    """One of jaxdl's optimizers with every keyword given; the entries of its ``form`` count as keywords."""

    family: str
    options: dict[str, Any]

    def build(self, **changes: Any) -> optax.GradientTransformation:
        """Return jaxdl's optimizer with these settings, with some of them changed."""
        options = self.options | changes
        penalty: Any = 0.0
        mask = None
        if self.family in PENALIZED:
            penalty = options.pop("weight_decay")
        elif options.get("decay_form") == "coupled":
            penalty, mask = options["weight_decay"], options["mask"]
            options |= {"weight_decay": 0.0, "decay_form": "joint"}
        form = {name: options.pop(name) for name in FORMS if name in options}
        direction = getattr(optimizers, self.family)(**options, **({"form": form} if form else {}))
        if _is_zero(penalty):
            return direction
        return optimizers.chain(optimizers.add_decayed_weights(penalty, mask), direction)


def _is_zero(weight_decay: Any) -> bool:
    return not callable(weight_decay) and weight_decay == 0


class Pair(NamedTuple):
    """An unknown factory and its keywords."""

    factory: Callable[..., Any]
    keywords: dict[str, Any]


class Known(NamedTuple):
    """A known factory, its keywords, and the settings that they stand for."""

    factory: Callable[..., Any]
    keywords: dict[str, Any]
    settings: Settings

    def build(self, **changes: Any) -> optax.GradientTransformation:
        """Return the optimizer with some keywords changed."""
        return self.factory(**(self.keywords | changes))


def pair(side: Any, name: str) -> Pair | Known | None:
    """Read one side of a comparison: a pair, or None for a transformation.

    Args:
        side: a ``GradientTransformation``, or a factory and a mapping of its keywords. The factory may be a class of
            optimizers of PyTorch or Keras.
        name: the argument's name, for messages.

    Raises:
        ValueError: it is neither.
    """
    if hasattr(side, "init") and hasattr(side, "update"):
        return None
    if not (isinstance(side, tuple) and len(side) == 2 and callable(side[0]) and isinstance(side[1], Mapping)):
        raise ValueError(
            f"{name}: got {type(side).__name__} {side!r:.80}, allowed are a GradientTransformation and "
            "a pair (factory, keywords) such as (optax.adam, {'learning_rate': 0.01})"
        )
    factory, keywords = bridged(side[0]), dict(side[1])
    settings = _settings(factory, keywords)
    return Pair(factory, keywords) if settings is None else Known(factory, keywords, settings)


def _settings(factory, keywords):
    while _family(factory) is None and isinstance(factory, partial):
        positional = dict(zip(inspect.signature(factory.func).parameters, factory.args, strict=False))
        factory, keywords = factory.func, positional | factory.keywords | keywords
    if factory in (optimizers.momentum, optimizers.nesterov):
        keywords = _defaults(factory) | {"nesterov": factory is optimizers.nesterov} | keywords
        factory = optimizers.sgd
    family = _family(factory)
    if family is None:
        return None
    ours = getattr(optimizers, family)
    options = _spread(_defaults(ours) | _defaults(factory) | keywords, family)
    if options.get("convention") is None:
        options["convention"] = "optax"
    row = "nesterov" if family == "sgd" and options["nesterov"] else family
    convention = options.pop("convention")
    form = {name: options[name] for name in forms(row)}
    open_ones = {name: options[name] for name in TABLE[row]["optax"] if name not in form}
    options |= resolve(row, convention, form, **open_ones)
    if family == "sgd":
        options["gradient_at"] = options["gradient_at"] or "params"
    return Settings(family, options)


def _spread(options, family):
    """Replace ``form`` by its entries, and an L2 penalty that is not given by 0.0."""
    form = options.get("form") or {}
    spread = {}
    for name, value in options.items():
        if name == "form":
            spread |= {entry: form.get(entry) for entry in forms(family)}
        else:
            spread[name] = 0.0 if value is None and name == "weight_decay" and family in PENALIZED else value
    return spread


def _family(factory):
    for name in FAMILIES:
        namesake = getattr(optax, name, None) or getattr(optax.contrib, name, None)
        if factory is getattr(optimizers, name) or factory is namesake:
            return name
    return None


def _defaults(factory):
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def is_ours(factory: Callable[..., Any]) -> bool:
    """Return whether a factory is jaxdl's, whose behaviour its settings therefore define."""
    while isinstance(factory, partial):
        factory = factory.func
    return factory in [getattr(optimizers, name) for name in (*FAMILIES, "momentum", "nesterov")]


def stand_in(a: Pair | Known | None, b: Pair | Known | None) -> optax.GradientTransformation | None:
    """Return jaxdl's optimizer for an ``a`` from optax whose keywords differ from ``b``'s, as a search varies it."""
    if not (isinstance(a, Known) and isinstance(b, Known)) or is_ours(a.factory):
        return None
    both = common(a.settings, b.settings)
    return both[0].build() if both and differing(both[0].options, both[1].options) else None


def differing(a: dict[str, Any], b: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of the keywords whose values differ, in ``a``'s order."""
    return tuple(name for name in a if not _same(a[name], b[name]))


def _same(x, y):
    if x is y:
        return True
    if callable(x) or callable(y):  # two schedules are known to be equal only if they are the same object
        return False
    if jax.tree.structure(x) != jax.tree.structure(y):
        return False
    leaves = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return all(type(p) is type(q) and p == q if isinstance(p, str | bool) else np.array_equal(p, q) for p, q in leaves)


def common(a: Settings, b: Settings) -> tuple[Settings, Settings] | None:
    """Return both as settings of one optimizer; None if neither is a special case of the other's.

    Adam is AdamW without decay, or with a coupled one; NAdam without a momentum schedule is Adam with Nesterov's
    look-ahead.
    """
    if a.family == b.family:
        return a, b
    for lifted in _lifts(a):
        if lifted.family == b.family:
            return lifted, b
    for lifted in _lifts(b):
        if lifted.family == a.family:
            return a, lifted
    return None


def _lifts(settings):
    options = dict(settings.options)
    if settings.family == "adam":
        decay_form = "joint" if _is_zero(options["weight_decay"]) else "coupled"
        yield Settings("adamw", options | {"mask": None, "decay_form": decay_form})
        if not options.pop("eps_hat") and options.pop("bias_correction"):
            yield Settings("nadam", options | {"momentum_schedule": False, "momentum_decay": 0.0})
    if settings.family == "nadam":
        del options["momentum_decay"]
        if not options.pop("momentum_schedule") or not options["nesterov"]:
            yield Settings("adam", options | {"eps_hat": False, "bias_correction": True})


def with_decay(settings: Settings) -> Settings:
    """Return Adam as AdamW; other optimizers are unchanged."""
    return next(_lifts(settings)) if settings.family == "adam" else settings
