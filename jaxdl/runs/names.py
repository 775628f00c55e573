"""From the names of a command line to functions. The library itself has no registry: pass the function."""

import difflib
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax.flatten_util import ravel_pytree

from jaxdl import data, interop, losses, models, nn, optimizers, studies, training

_NEED_MORE = {"noisy_sgd"}  # wants a random key
_DEPRECATED = {"optimistic_adam"}


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
    """Every optimizer of jaxdl, optax and optax.contrib that is made from a learning rate alone, by its name.

    What its update asks for beside gradients is for `try_update` to see.
    """
    found = {}
    for prefix, module in (("optax", optax.contrib), ("optax", optax), ("jaxdl", optimizers)):
        for short, factory in vars(module).items():  # getattr would warn of names that optax is giving up
            hidden = short.startswith(("_", "scale_by_")) or short in _NEED_MORE | _DEPRECATED
            if (
                not hidden
                and callable(factory)
                and not inspect.isclass(factory)
                and _needs_learning_rate_alone(factory)
            ):
                found[f"{prefix}.{short}"] = factory
    return dict(sorted(found.items()))


def labels(names: Sequence[str]) -> list[str]:
    """What a run calls its optimizers: their names, numbered where one comes more than once."""
    names = list(names)
    return [f"{n}-{names[: i + 1].count(n)}" if names.count(n) > 1 else n for i, n in enumerate(names)]


def model(name: str, num_classes: int) -> nn.Layer:
    """The network called ``NAME`` in `jaxdl.models` or ``package.module:function``, for that many classes.

    Raises:
        ValueError: for an unknown name, or a function that does not take that number or gives neither an `nn.Layer`
            nor a flax module, which becomes one by `interop.from_linen`.
    """
    if ":" in name:
        layer = called("model", name, num_classes)
        if isinstance(layer, linen.Module):
            return interop.from_linen(layer)
        if not isinstance(layer, nn.Layer):
            raise ValueError(f"model={name!r} returned {type(layer).__name__}, not a jaxdl.nn.Layer or a flax module")
        return layer
    if name not in models.__all__:
        raise ValueError(_unknown("model", name, models.__all__))
    return getattr(models, name)(num_classes)


def loss(name: str) -> Callable[[Any, Any], Any]:
    """The function ``(outputs, labels) -> (n,)`` called ``NAME`` in `jaxdl.losses` or ``package.module:function``.

    Whether it takes a network's outputs and class numbers is for `check_loss` to see.

    Raises:
        ValueError: for an unknown name, with the nearest one and the list of what there is.
    """
    if ":" in name:
        return _imported("loss", name)
    if name not in losses.__all__:
        raise ValueError(_unknown("loss", name, losses.__all__))
    return getattr(losses, name)


def check_loss(name: str, model: str, layer: nn.Layer, in_shape: Sequence[int]) -> None:
    """Raise ValueError unless the loss gives one number per example from what the network returns, by shapes alone.

    Args:
        name: of the loss.
        model: what the message calls the network.
        layer: the network; in training it may return more than in evaluation.
        in_shape: of one image.
    """
    key, function = jax.random.key(0), loss(name)
    images, labels = (jax.ShapeDtypeStruct((2, *in_shape), "float32"), jax.ShapeDtypeStruct((2,), "int32"))
    for train in (False, True):
        outputs = jax.eval_shape(
            lambda x, train=train: layer.apply(*layer.init(key, tuple(in_shape)), x, train=train, key=key)[0], images
        )
        try:
            shape = jax.eval_shape(lambda y, labels: training.per_example(function, y, labels), outputs, labels).shape
        except (AttributeError, TypeError, ValueError) as error:
            what = "an array" if isinstance(outputs, jax.ShapeDtypeStruct) else f"a {type(outputs).__name__}"
            when = f"in {'training' if train else 'evaluation'}, {what}"
            why = textwrap.shorten(str(error), 200, placeholder=" ...")
            raise ValueError(f"loss={name!r} does not take what model={model!r} returns {when}: {why}") from error
        if shape != (2,):
            raise ValueError(f"loss={name!r} must give one number per example; for 2 examples it gives shape {shape}")


def dataset(name: str, **options: Any) -> data.Dataset:
    """The data set of `data.load`, or what ``package.module:function`` returns: a `data.Dataset`, or images and labels.

    Raises:
        ValueError: see `data.load` and `data.from_arrays`; and for what is not images with classes.
    """
    if ":" not in name:
        return data.load(name, **options)
    found = _called_dataset(name)
    if not found.classes or found.images.ndim != 4:
        what = f"real targets {found.labels.shape}" if not found.classes else f"features {found.images.shape}"
        raise ValueError(f"dataset={name!r} has {what}; experiments take images (N, H, W, C) and classes (N,)")
    return found


def _called_dataset(name: str) -> data.Dataset:
    value = called("dataset", name)
    if isinstance(value, data.Dataset):
        options = {key: getattr(value, key) for key in ("test_images", "test_labels", "classes", "name", "scale")}
        checked = data.from_arrays(value.images, value.labels, **options)
        return checked._replace(note=value.note, checksums=value.checksums or checked.checksums)
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
        raise ValueError(f"{argument}={name!r} is a {type(function).__name__}, not a function")
    return function


def called(argument: str, name: str, *args: Any) -> Any:
    """What ``package.module:function`` returns.

    Raises:
        ValueError: naming the command line's argument, if there is none or it does not take the arguments.
    """
    function = _imported(argument, name)
    try:
        inspect.signature(function).bind(*args)
    except TypeError as error:
        given = f"with {args[0]}, the number of classes" if args else "without arguments"
        raise ValueError(f"{argument}={name!r} is called {given}, but: {error}") from error
    return function(*args)


def _needs_learning_rate_alone(factory: Callable[..., Any]) -> bool:
    try:
        parameters = [*inspect.signature(factory).parameters.values()]
    except (TypeError, ValueError):  # what has no signature is no factory
        return False
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [p.name for p in parameters][:1] == ["learning_rate"] and needed in ([], ["learning_rate"])


def _unknown(argument: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"{argument}={name!r} is unknown; the nearest is {near[0]!r}; there are: {', '.join(sorted(known))}"


PROBLEMS: Final[dict[str, Callable[[Path | None], studies.Problem]]] = {
    **{one.name: lambda data_dir, one=one: studies.landscape_problem(one) for one in studies.LANDSCAPES},
    "quadratic_deep": lambda data_dir: studies.quadratic_deep(),
    "quadratic_deep_repeated": lambda data_dir: studies.quadratic_deep(shuffle="repeated"),
    "digits_softmax": lambda data_dir: studies.digits_softmax(),
    "digits_mlp": lambda data_dir: studies.digits_mlp(),
    "mnist_softmax": studies.mnist_softmax,
    "mnist_mlp": studies.mnist_mlp,
    "fashion_mnist_2c2d": studies.fashion_mnist_2c2d,
    "cifar10_3c3d": studies.cifar10_3c3d,
    "cifar10_resnet20": studies.cifar10_resnet20,
}


def problem(name: str, data_dir: Path | None = None) -> studies.Problem:
    """The problem called ``name``, or what ``package.module:function`` returns.

    Args:
        name: one of `PROBLEMS`, or a function without arguments that returns a `studies.Problem` or the three functions
            ``(init, loss, batches)`` of `studies.make_problem`; it is called by its name.
        data_dir: folder of the data sets' files.

    Raises:
        ValueError: for an unknown name, and a function that returns something else.
    """
    if ":" in name:
        found = called("problem", name)
        if isinstance(found, studies.Problem):
            return found
        if isinstance(found, tuple) and len(found) == 3 and all(map(callable, found)):
            return studies.make_problem(*found, name=name)
        parts = found if isinstance(found, tuple) else None
        what = type(found).__name__ if parts is None else f"({', '.join(type(part).__name__ for part in parts)})"
        raise ValueError(f"problem={name!r} returned {what}, no Problem or three functions (init, loss, batches)")
    if name not in PROBLEMS:
        near = difflib.get_close_matches(name, PROBLEMS, n=1, cutoff=0.0)[0]
        raise ValueError(f"problem={name!r} is unknown; the nearest is {near!r}; there are: {', '.join(PROBLEMS)}")
    return PROBLEMS[name](data_dir)


def try_update(optimizer: optax.GradientTransformation, params: Any, *, functions: bool, halves: bool = True) -> Any:
    """Update once with what a loop offers, for a loss that stands for any; to be traced with shapes.

    Args:
        optimizer: what is tried.
        params: the network's.
        functions: whether the loop offers functions of the parameters.
        halves: whether it offers the network and the loss of its outputs apart, as a training step does.

    Raises:
        ValueError: see `optimizers.update`.
    """

    def total(tree):
        return sum((jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(tree)), jnp.float32(0))

    offered: dict[str, Any] = {"value": total(params), "grad_fn": lambda params, i=None: params}
    if functions:
        offered |= {"value_fn": total}
    if functions and halves:
        offered |= {"model_fn": lambda p: ravel_pytree(p)[0][None], "loss_fn": total}
    carried = optimizers.start_params(optimizer, params)
    return optimizers.update(optimizer, params, optimizer.init(carried), carried, **offered)
