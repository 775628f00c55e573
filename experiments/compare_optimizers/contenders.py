"""From the names of a command line to optimizers that a study compares: keywords, default rates, twins."""

import ast
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl.optimizers.conventions import TABLE
from jaxdl.runs import names
from jaxdl.studies.sweep import Build

# where optax and jaxdl leave the rate to the user: PyTorch 2.15's default; of lion and lamb, which it lacks, Keras 3's
DEFAULT_RATES: Final = {
    "sgd": 1e-3, "momentum": 1e-3, "nesterov": 1e-3, "adagrad": 1e-2, "rmsprop": 1e-2, "adam": 1e-3, "adamw": 1e-3,
    "adamax": 2e-3, "nadam": 2e-3, "amsgrad": 1e-3, "radam": 1e-3, "muon": 1e-3, "lion": 1e-3, "lamb": 1e-3,
}  # fmt: skip

FIRST_ORDER: Final = ("sgd", "momentum", *(name for name in TABLE if name != "sgd"))
"""jaxdl's optimizers that need gradients alone."""

_TWINS: Final = {"momentum": "optax.sgd(momentum=0.9)", "nesterov": "optax.sgd(momentum=0.9, nesterov=True)"}


class Contender(NamedTuple):
    """One optimizer of a study."""

    label: str  # as results.csv has it
    build: Build  # from a learning rate, which may be traced
    default_rate: float | None  # where it has one


def contender(text: str) -> Contender:
    """Read ``jaxdl.NAME``, ``optax.NAME`` or ``package.module:function``, with or without ``(keyword=value, ...)``.

    Raises:
        ValueError: for an unknown name, what is no list of keywords with plain values, or keywords that it lacks.
    """
    name, keywords = _parsed(text)
    factory = names.optimizer(name)
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [] if takes_all else sorted({*keywords} - {*parameters})
    if unknown or "learning_rate" in keywords:
        wrong = ", ".join(unknown or ["learning_rate"])
        allowed = ", ".join(name for name in parameters if name != "learning_rate")
        raise ValueError(f"optimizer={text!r}: {wrong} is no keyword to set here; allowed are {allowed}")
    build = functools.partial(_build, factory, keywords)
    return Contender(label(text), build, _default_rate(name, keywords, parameters))


def label(text: str) -> str:
    """What results call an optimizer: its name and keywords, spaced alike however they were written."""
    name, keywords = _parsed(text)
    inside = ", ".join(f"{key}={value!r}" for key, value in keywords.items())
    return f"{name}({inside})" if keywords else name


def twin(text: str) -> str | None:
    """The label of optax's optimizer that is the same algorithm as one of jaxdl's; None where there is none."""
    name, keywords = _parsed(text)
    library, _, short = name.partition(".")
    if library != "jaxdl" or ":" in name:
        return None
    other = _TWINS.get(short, f"optax.{short}")
    if _parsed(other)[0] not in names.optimizer_names() or (keywords and short in _TWINS) or "convention" in keywords:
        return None
    inside = ", ".join(f"{key}={value!r}" for key, value in keywords.items())
    return label(f"{other}({inside})" if keywords else other)


def twins(labels: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of labels that are one algorithm in two libraries."""
    pairs = [(one, twin(one)) for one in labels]
    return [(one, other) for one, other in pairs if other in labels and other is not None]


def check(one: Contender, params: Any) -> None:
    """Trace one update.

    Raises:
        ValueError: if it does not take what a sweep offers.
    """

    def update(params, rate):
        return names.try_update(one.build(rate), params, functions=True, halves=False)

    try:
        jax.eval_shape(update, params, jax.ShapeDtypeStruct((), jnp.float32))
    except (TypeError, ValueError, jax.errors.ConcretizationTypeError) as error:
        raise ValueError(
            f"optimizer={one.label!r} does not work here: {error}; it is called with a traced learning rate, and its "
            "update with (grads, state, params) and what optimizers.update offers of the whole loss"
        ) from error


def _build(factory: Callable[..., Any], keywords: dict[str, Any], rate: Any) -> optax.GradientTransformation:
    found = factory(rate, **keywords)
    if not isinstance(found, optax.GradientTransformation):
        raise TypeError(f"it returned {type(found).__name__}, not an optax.GradientTransformation")
    return found


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return name, {}
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError("only keywords are allowed between the brackets")
        return name, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"optimizer={text!r}: {error}; the form is NAME or NAME(keyword=value, ...)") from error


def _default_rate(name: str, keywords: dict[str, Any], parameters: Any) -> float | None:
    short = name.partition(".")[2]
    own = parameters["learning_rate"].default if "learning_rate" in parameters else inspect.Parameter.empty
    if isinstance(own, int | float):
        return float(own)
    if ":" in name:
        return None
    conventional = TABLE.get(short, {}).get(keywords.get("convention", "optax"), {}).get("learning_rate")
    return conventional if conventional is not None else DEFAULT_RATES.get(short)
