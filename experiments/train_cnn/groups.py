"""Groups of parameters with learning rates of their own, and frozen ones: ``--rate-factors`` and ``--freeze``."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from jaxdl import optimizers, regularizers
from jaxdl.runs import names


def parse(freeze: Sequence[str], rate_factors: Sequence[str]) -> list[tuple[str, float]]:
    """Return the pattern and the factor of each group of parameters; frozen ones come first, with factor 0.

    Raises:
        ValueError: for a pattern that is no regular expression, or a factor that is no positive number.
    """
    groups = []
    for name, given in (("freeze", freeze), ("rate_factors", rate_factors)):
        for one in given:
            pattern, _, factor = (one, "", "0") if name == "freeze" else one.rpartition("=")
            try:
                re.compile(pattern)
                groups.append((pattern, float(factor)))
                right = bool(pattern) and (name == "freeze" or 0 < groups[-1][1] < math.inf)
            except (re.error, ValueError):
                right = False
            form = (
                "a regular expression"
                if name == "freeze"
                else "PATTERN=FACTOR, a regular expression and a number above 0"
            )
            if not right:
                raise ValueError(f"{name}={one!r} is not allowed: it must be {form}")
    return groups


def factors_of(groups: Sequence[tuple[str, float]], params: Any) -> Any:
    """Return the factor on each parameter's learning rate: of the first pattern that matches its whole path, else 1.

    Raises:
        ValueError: for a pattern that matches no path, or if all parameters are frozen.
    """
    path_of = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern, factor in groups:
        if not any(re.fullmatch(pattern, path) for path in paths):
            some = f"{', '.join(paths[:6])}{', ...' if len(paths) > 6 else ''}"
            option = "rate_factors" if factor else "freeze"
            raise ValueError(f"{option}: {pattern!r} matches the whole path of no parameter; paths are {some}")
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: next((factor for one, factor in groups if re.fullmatch(one, path_of(path))), 1.0), params
    )
    if groups and not any(jax.tree.leaves(found)):
        raise ValueError(f"freeze={tuple(one for one, _ in groups)} leaves no parameter to train")
    return found


def per_group(
    factory: Callable[..., Any], learning_rate: Any, arguments: dict[str, Any], factors: Any, params: Any
) -> Any:
    """Return one optimizer for all, or one for each factor on the learning rate."""
    if {*jax.tree.leaves(factors)} <= {1.0}:
        return names.make_optimizer(factory, learning_rate, **arguments)

    def of(factor: float) -> optax.GradientTransformation:
        if not factor:
            return optimizers.set_to_zero()
        rate = (lambda step: factor * learning_rate(step)) if callable(learning_rate) else factor * learning_rate
        inside = jax.tree.map(lambda one, leaf: leaf if one == factor else None, factors, params)
        decays = any(jax.tree.leaves(regularizers.weights_mask(inside)))
        masks = arguments.keys() - {"weight_decay"}
        own = arguments if decays or not masks else {"weight_decay": 0.0}
        return names.make_optimizer(factory, rate, **own)

    label = lambda factor: f"rate * {factor:g}"
    transforms: dict[Any, Any] = {label(factor): of(factor) for factor in sorted({*jax.tree.leaves(factors)})}
    return optimizers.partition(transforms, jax.tree.map(label, factors))


def clipped(found: optax.GradientTransformation, norm: float | None, factors: Any) -> optax.GradientTransformation:
    """Scale down longer gradients first; frozen parameters do not count."""
    if norm is None:
        return found
    clip, trained = optimizers.clip_by_global_norm(norm), jax.tree.map(bool, factors)
    return optimizers.chain(clip if all(jax.tree.leaves(trained)) else optimizers.masked(clip, trained), found)
