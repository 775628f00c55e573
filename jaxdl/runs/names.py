"""From the names of a command line to functions. The library itself has no registry: pass the function."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import optax

from jaxdl import data, models, nn, optimizers

# optax.lbfgs needs the loss as a function, which a training step does not have
_NOT_FIRST_ORDER = {"lbfgs"}


def optimizer(name: str) -> Callable[..., optax.GradientTransformation]:
    """The factory called ``jaxdl.NAME``, ``optax.NAME`` or ``package.module:function``.

    Raises:
        ValueError: for an unknown name, with the nearest one and the list of what there is.
    """
    if ":" in name:
        return _imported("optimizer", name)
    known = optimizer_names()
    if name not in known:
        raise ValueError(_unknown("optimizer", name, known))
    return known[name]


def optimizer_names() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """Every first-order optimizer of jaxdl, optax and optax.contrib that takes a learning rate first, by its name."""
    found = {}
    for prefix, module in (("optax", optax.contrib), ("optax", optax), ("jaxdl", optimizers)):
        for short in getattr(module, "__all__", dir(module)):
            factory = getattr(module, short)
            if not short.startswith("_") and short not in _NOT_FIRST_ORDER and _takes_learning_rate(factory):
                found[f"{prefix}.{short}"] = factory
    return dict(sorted(found.items()))


def labels(names: Sequence[str]) -> list[str]:
    """What a run calls its optimizers: their names, numbered where one comes more than once."""
    names = list(names)
    return [f"{n}-{names[: i + 1].count(n)}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def model(name: str, num_classes: int) -> nn.Layer:
    """The network called ``NAME`` in `jaxdl.models` or ``package.module:function``, for that many classes.

    Raises:
        ValueError: for an unknown name, or a function that gives no `nn.Layer`.
    """
    if ":" in name:
        layer = _imported("model", name)(num_classes)
        if not isinstance(layer, nn.Layer):
            raise ValueError(f"model={name!r} returned {type(layer).__name__}, not a jaxdl.nn.Layer")
        return layer
    if name not in models.__all__:
        raise ValueError(_unknown("model", name, models.__all__))
    return getattr(models, name)(num_classes)


def dataset(name: str, **options: Any) -> data.Dataset:
    """The data set of `data.load`, or what ``package.module:function`` returns: a `data.Dataset`, or images and labels.

    Raises:
        ValueError: see `data.load` and `data.from_arrays`.
    """
    if ":" not in name:
        return data.load(name, **options)
    value = _imported("dataset", name)()
    if isinstance(value, data.Dataset):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return data.from_arrays(*value, name=name)
    raise ValueError(f"dataset={name!r} returned {type(value).__name__}, neither a Dataset nor (images, labels)")


def _imported(argument: str, name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{argument}={name!r}: {error}; the form is package.module:function") from error
    if not callable(function):
        raise ValueError(f"{argument}={name!r} is not a function")
    return function


def _takes_learning_rate(factory: Any) -> bool:
    if not inspect.isfunction(inspect.unwrap(factory)) and not callable(factory):
        return False
    if inspect.isclass(factory):
        return False
    try:
        first = next(iter(inspect.signature(factory).parameters), None)
    except (TypeError, ValueError):
        return False
    return first == "learning_rate"


def _unknown(argument: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"{argument}={name!r} is unknown; the nearest is {near[0]!r}; there are: {', '.join(sorted(known))}"
