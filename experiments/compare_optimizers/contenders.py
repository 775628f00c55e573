"""The optimizers that a study compares, from names on the command line: default rates and twins."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.optimizers.conventions import NEED_THE_LOSS, TABLE
from jaxdl.runs import names, tasks
from jaxdl.studies.sweep import Build

# rates for optimizers without a default: PyTorch 2.15's; Keras 3's for lion and lamb, which PyTorch lacks; the
# reference implementations' for ademamix, adopt, dog, adan, adabelief, sophia and soap;
# pytorch-optimizer's for shampoo; and the papers' for yogi and sign_sgd
DEFAULT_RATES: Final = {
    "sgd": 1e-3, "momentum": 1e-3, "nesterov": 1e-3, "adagrad": 1e-2, "rmsprop": 1e-2, "adam": 1e-3, "adamw": 1e-3,
    "adamax": 2e-3, "nadam": 2e-3, "amsgrad": 1e-3, "radam": 1e-3, "muon": 1e-3, "lion": 1e-3, "lamb": 1e-3,
    "ademamix": 1e-3, "adopt": 1e-3, "dog": 1.0, "rprop": 1e-2, "adafactor": 1e-2, "adan": 1e-3, "adabelief": 1e-3,
    "yogi": 1e-2, "sign_sgd": 1e-4, "sophia": 2e-4,
    "shampoo": 1e-3, "soap": 3e-3,
}  # fmt: skip

TUNING_FREE: Final = ("cocob", "dadapt_adamw", "dog", "dowg", "prodigy")
"""Methods that find their step size themselves, so they run at their default rate alone. Schedule-free needs a rate."""

FIRST_ORDER: Final = ("sgd", "momentum", *(name for name in TABLE if name != "sgd" and name not in NEED_THE_LOSS))
"""jaxdl's optimizers that need nothing but gradients."""

ON_REQUEST: Final = frozenset(
    {"adabelief", "adafactor", "adan", "dadapt_adamw", "rprop", "shampoo", "sign_sgd", "soap", "yogi"}
)
"""Those of them that the default study leaves out, which would take half as long again; rprop is for whole batches."""

TRACED: Final = (
    "it takes an array for a Python value, as `if weight_decay:` does: the rate, and with --space joint the other "
    "numbers of its space, are arrays of many runs; bind a number, as in NAME(weight_decay=0.01), or use jnp.where"
)


class Contender(NamedTuple):
    """One optimizer of a study."""

    label: str  # in results.csv
    build: Build  # from a learning rate, which may be traced
    default_rate: float | None  # None if it has none
    tuned: bool = True  # whether a study tries several rates


def contender(text: str) -> Contender:
    """Return the contender with a name, which may have keywords.

    Raises:
        ValueError: see `names.optimizer`.
    """
    factory, named = names.optimizer(text), names.parse_optimizer(text)
    rate = _default_rate(named, factory)
    tuned = rate is None or ":" in named.name or named.short not in TUNING_FREE
    return Contender(str(named), functools.partial(names.make_optimizer, factory), rate, tuned)


def check(one: Contender, params: Any, *, settings: int = 0) -> None:
    """Trace one update.

    Args:
        one: the optimizer.
        params: the problem's parameters, or their shapes.
        settings: the length of the vector of settings that ``build`` takes; 0 for a rate alone.

    Raises:
        ValueError: if a sweep cannot serve the optimizer.
    """

    def update(params, rate):
        return tasks.try_update(one.build(rate), params, functions=True, halves=False)

    try:
        _, state = jax.eval_shape(update, params, jax.ShapeDtypeStruct((settings,) if settings else (), jnp.float32))
    except names.CODE_ERRORS as error:
        raise ValueError(
            f"optimizer={one.label!r} does not work here: {error}; it is called with a traced learning rate, and its "
            "update with (grads, state, params) and what optimizers.update offers of the whole loss"
        ) from error
    tasks.warn_of_slow_schedule(one.label, state if settings else None)


def error_line(error: BaseException) -> str:
    """Return one line about an error: its type and its message, or what a callback's traceback ends with."""
    if isinstance(error, jax.errors.ConcretizationTypeError) or isinstance(
        error.__cause__, jax.errors.ConcretizationTypeError
    ):
        return TRACED
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = [line for line in lines if re.match(r"\w+(Error|Exception): ", line)]
    text = inner[-1] if inner else f"{type(error).__name__}: {lines[0] if lines else ''}"
    return text if len(text) <= 300 else f"{text[:299]}…"


def _default_rate(named: names.Named, factory: Callable[..., Any]) -> float | None:
    rate = inspect.signature(factory).parameters.get("learning_rate")
    if rate is not None and isinstance(rate.default, int | float):
        return float(rate.default)
    if ":" in named.name:
        return None
    convention = named.keywords.get("convention", "optax")
    conventional = TABLE.get(named.short, {}).get(convention, {}).get("learning_rate")
    return conventional if conventional is not None else DEFAULT_RATES.get(named.short)
