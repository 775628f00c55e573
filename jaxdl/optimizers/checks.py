"""Checks of hyperparameters, made by name at the moment an optimizer is built."""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

MOMENTUM_FORMS: Final = ("heavy_ball", "velocity", "ema")


def check(*, positive=None, non_negative=None, decay_rates=None) -> None:
    """Check hyperparameters that are Python or NumPy numbers, and refuse text and containers.

    Arrays, schedules and None pass unchecked.

    Args:
        positive: name → value; each must be finite and above 0.
        non_negative: name → value; each must be finite and at least 0.
        decay_rates: name → value; each must be at least 0 and below 1.

    Raises:
        ValueError: names the argument, its value and what is allowed.
    """
    rules = (
        (positive, lambda v: 0 < v < np.inf, "finite and above 0"),
        (non_negative, lambda v: 0 <= v < np.inf, "finite and at least 0"),
        (decay_rates, lambda v: 0 <= v < 1, "at least 0 and below 1"),
    )
    for values, allowed, words in rules:
        for name, value in (values or {}).items():
            if isinstance(value, int | float | np.number) and not allowed(value):
                raise ValueError(f"{name} is {value}: it must be {words}")
            if isinstance(value, str | bytes | list | tuple | dict | set):
                raise ValueError(f"{name} is {value!r}: it must be a number, {words}")


def check_whole(**at_least: tuple[Any, int]) -> None:
    """Check counts, which must be ints; the values of integer arrays pass unchecked.

    Args:
        **at_least: name → (value, smallest allowed value).

    Raises:
        ValueError: names the argument, its value and what is allowed.
    """
    for name, (value, smallest) in at_least.items():
        words = f"it must be a whole number, an int of at least {smallest}"
        if isinstance(value, jax.Array):
            if not jnp.issubdtype(value.dtype, jnp.integer):
                raise ValueError(f"{name} is an array of {value.dtype}: {words}")
        elif isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} is {value!r}: {words}")
        elif value < smallest:
            raise ValueError(f"{name} is {value}: {words}")


def check_static(**values: Any) -> None:
    """Check arguments that determine shapes; they must be Python or NumPy numbers, because a shape cannot be traced.

    Raises:
        ValueError: names the argument.
    """
    for name, value in values.items():
        if isinstance(value, jax.Array):
            raise ValueError(
                f"{name} is an array: it sets shapes, so it must be an int (for optax.inject_hyperparams, "
                f"static_args={{{name!r}}})"
            )


def check_optimizers(**optimizers: Any) -> None:
    """Check optimizers that another one wraps: anything with ``init`` and ``update``, such as optax's and jaxdl's.

    Raises:
        ValueError: names the argument; a learning rate or a factory that was not called stands in its place.
    """
    for name, optimizer in optimizers.items():
        if isinstance(optimizer, type) or not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            got = getattr(optimizer, "__name__", None) or f"{optimizer!r:.60}"
            raise ValueError(f"{name}: got {got}, allowed are optimizers such as optimizers.sgd(0.1)")


def check_momentum(momentum: Any) -> None:
    """Check that a momentum given as a Python or NumPy number lies in [0, 1]."""
    if isinstance(momentum, int | float | np.number) and not 0 <= momentum <= 1:
        raise ValueError(f"momentum is {momentum}: it must lie between 0 and 1")


def check_momentum_form(momentum_form: str) -> None:
    """Check the name of a form of momentum."""
    if momentum_form not in MOMENTUM_FORMS:
        raise ValueError(f"momentum_form is {momentum_form!r}: it must be one of {MOMENTUM_FORMS}")
