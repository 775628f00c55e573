"""Names on the command line and the functions they stand for, the same for every command.

`calling` has the form of a name. The library itself has no registry: in Python, pass the function.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import optax
from flax import linen

from jaxdl import data, interop, losses, models, nn, optimizers, studies
from jaxdl.compare.bridges import bridged
from jaxdl.optimizers.loops import taken
from jaxdl.runs.calling import Named, called, function, is_path, parse, unknown

CODE_ERRORS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError,
                      ValueError)  # fmt: skip
"""Errors that mistakes in an optimizer's code raise. JAX's own are subclasses of them."""

_REASONS: Final = {  # of optimizers that a learning rate alone does not make
    "noisy_sgd": "it needs a random key",
    "optimistic_adam": "it is deprecated in favour of optimistic_adam_v2",
    "polyak_sgd": "it takes its rate from the lowest value of the loss, up to a max_learning_rate",
    "dpsgd": "it needs one gradient per example, and a random key",
    "kfac": "it needs the factors of each batch, which a loop of your own can give it (jaxdl.optimizers.kfac)",
}
_WRAPPED = {"args", "base_optimizer", "fast_optimizer", "inner", "inner_factory", "optimizer", "transforms", "tx"}
_TWINS: Final = {"momentum": "optax.sgd(momentum=0.9)", "nesterov": "optax.sgd(momentum=0.9, nesterov=True)"}
_LIBRARIES = (("optax.contrib", optax.contrib), ("optax", optax), ("jaxdl", optimizers))


# ---------------------------------------------------------------- optimizers


def optimizer(text: str) -> Callable[..., optax.GradientTransformation]:
    """Return an optimizer's factory by its name; a name without a library is jaxdl's.

    Raises:
        ValueError: see `function`; the learning rate must not be among the keywords.

    Examples:
        >>> factory = runs.optimizer("adam(b1=0.8)")
        >>> optimizer = factory(learning_rate=1e-3)
        >>> updates, state = optimizer.update(jnp.array([2.0]), optimizer.init(jnp.zeros(1)))
        >>> updates  # the first step of Adam has the size of the rate
        Array([-0.001], dtype=float32)
    """
    named, known = parse_optimizer(text), optimizer_names()
    contributed = f"optax.contrib.{named.short}"
    if named.name == f"optax.{named.short}" and named.name not in known and contributed in known:
        named = named._replace(name=contributed)  # the spelling in older run folders
    if (reason := why_no_optimizer(named.name)) is not None:
        raise ValueError(f"optimizer={text!r} is no optimizer by itself: {reason}; {_OWN}")
    try:
        return function("optimizer", str(named), known, set_later=("learning_rate",))
    except ValueError as error:
        if named.name in known or ":" in named.name:
            raise
        raise ValueError(unknown("optimizer", text, named.name, known)) from error


def parse_optimizer(text: str) -> Named:
    """Parse an optimizer's name; one without a library is jaxdl's."""
    named = parse("optimizer", text)
    return named if "." in named.name or ":" in named.name else named._replace(name=f"jaxdl.{named.name}")


def optimizer_label(text: str) -> str:
    """Return an optimizer's label in results: library, name and keywords."""
    return str(parse_optimizer(text))


def labels(texts: Sequence[str]) -> list[str]:
    """Return the labels of a run's optimizers, numbered where one occurs more than once.

    Examples:
        >>> runs.labels(["adam", "optax:sgd", "adam"])
        ['jaxdl.adam-1', 'optax:sgd', 'jaxdl.adam-2']
    """
    found = [optimizer_label(text) for text in texts]
    return [f"{n}-{found[: i + 1].count(n)}" if found.count(n) > 1 else n for i, n in enumerate(found)]


def twin(text: str) -> str | None:
    """Return the label of the optax optimizer that is the same algorithm as one of jaxdl's; None if there is none."""
    named = parse_optimizer(text)
    if named.name != f"jaxdl.{named.short}":
        return None
    special = named.short in _TWINS
    other = parse_optimizer(_TWINS.get(named.short, f"optax.{named.short}"))
    if other.name not in optimizer_names():
        other = other._replace(name=f"optax.contrib.{named.short}")
    unknown = other.name not in optimizer_names()
    if unknown or (named.keywords and special) or "convention" in named.keywords:
        return None
    return str(other._replace(keywords=other.keywords | named.keywords))


def twins(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of labels that are the same algorithm in two libraries."""
    pairs = [(one, twin(one)) for one in labels]
    return [(one, other) for one, other in pairs if other in labels and other is not None]


def are_twins(first: str, second: str) -> bool:
    """Return whether two names stand for the same algorithm with the same keywords, perhaps in two libraries."""
    pair = [parse_optimizer(text) for text in (first, second)]
    if any(":" in named.name for named in pair):
        return False
    same = (pair[0].short, pair[0].keywords) == (pair[1].short, pair[1].keywords)
    others = [(twin(one), other) for one, other in ((first, pair[1]), (second, pair[0]))]
    return same or any(found is not None and parse_optimizer(found) == other for found, other in others)


def make_optimizer(factory: Callable[..., Any], learning_rate: Any, **options: Any) -> optax.GradientTransformation:
    """Call a factory.

    Raises:
        TypeError: if it does not return an optimizer, or is a class of PyTorch's or Keras', which cannot run in JAX's
            programs with a traced rate.
    """
    made = factory.func if isinstance(factory, functools.partial) else factory
    if bridged(made) is not made:
        said = "is a class of PyTorch or Keras, which compiled runs cannot call; python -m experiments.same compares it"
        raise TypeError(f"{made.__name__} {said} with another optimizer step by step")
    found = factory(learning_rate, **options)
    made = transformation(found)
    if made is None:
        raise TypeError(f"it returned {type(found).__name__}, not an optax.GradientTransformation")
    return made


def transformation(found: Any) -> optax.GradientTransformation | None:
    """Return an optimizer as a transformation, also an object with its two functions, such as `optax.MultiSteps`.

    An update that takes more than (updates, state, params) is marked as such, so that a chain passes the rest on to it.

    Returns:
        The transformation; None if ``found`` is none.
    """
    if isinstance(found, optax.GradientTransformation):
        return found
    if isinstance(found, type) or not all(callable(getattr(found, name, None)) for name in ("init", "update")):
        return None
    parameters = inspect.signature(found.update).parameters.values()
    if len(parameters) <= 3 and not any(one.kind is one.VAR_KEYWORD for one in parameters):
        return optax.GradientTransformation(found.init, found.update)

    def update(updates, state, params=None, **offered):
        return found.update(updates, state, params, **taken(found.update, offered))

    return optax.GradientTransformationExtraArgs(found.init, update)


@functools.cache
def optimizer_names() -> dict[str, Callable[..., optax.GradientTransformation]]:
    """Return all optimizers of jaxdl, optax and optax.contrib that need nothing but a learning rate, by name.

    `trials.try_update` finds out whether a loop can serve their updates.

    Examples:
        >>> names = runs.optimizer_names()
        >>> "jaxdl.adam" in names, "optax.lion" in names
        (True, True)
    """
    found = {}
    for library, module in _LIBRARIES:
        for short, factory in vars(module).items():  # getattr would raise optax's deprecation warnings
            hidden = short.startswith(("_", "scale_by_")) or short in _REASONS
            if (
                not hidden
                and callable(factory)
                and not inspect.isclass(factory)
                and _needs_learning_rate_alone(factory)
            ):
                found[f"{library}.{short}"] = factory
    return dict(sorted(found.items()))


_OWN: Final = "name a function of yours, (learning_rate) -> optimizer, as package.module:function"


def why_no_optimizer(name: str) -> str | None:
    """Say why a function that makes transformations is no optimizer to name; None if it is one, or unknown."""
    library, _, short = name.rpartition(".")
    if library == "jaxdl":
        return _REASONS.get(short)
    module = dict(_LIBRARIES[:2]).get(library)
    factory = vars(module).get(short) if module is not None else None
    if factory is None or inspect.isclass(factory) or not callable(factory) or name in optimizer_names():
        return None
    if short in _REASONS:
        return _REASONS[short]
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # an alias of a type
        return None
    if "GradientTransformation" not in str(signature.return_annotation):
        return None
    wraps = {*[*signature.parameters][:1]} & _WRAPPED
    return "it wraps other optimizers" if wraps else "it is a part of optimizers, without a learning rate"


def _needs_learning_rate_alone(factory: Callable[..., Any]) -> bool:
    try:
        parameters = [*inspect.signature(factory).parameters.values()]
    except (TypeError, ValueError):  # without a signature it is not a factory
        return False
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [p.name for p in parameters][:1] == ["learning_rate"] and needed in ([], ["learning_rate"])


# ---------------------------------------------------------------- models, losses, data, problems


def model(text: str, num_classes: int) -> nn.Layer:
    """Build a network by its name in `jaxdl.models` or as ``package.module:function``, for that many classes.

    Raises:
        ValueError: see `called`; also if the result is neither an `nn.Layer` nor a flax module, which
            `interop.from_linen` turns into one.

    Examples:
        >>> runs.model("mlp(widths=(8,))", 10).out_shape((4,))
        (10,)
    """
    layer = called("model", text, num_classes, known={name: getattr(models, name) for name in models.__all__})
    if isinstance(layer, linen.Module):
        return interop.from_linen(layer)
    if not isinstance(layer, nn.Layer):
        raise ValueError(f"model={text!r} returned {type(layer).__name__}, not a jaxdl.nn.Layer or a flax module")
    return layer


def loss(text: str) -> Callable[[Any, Any], Any]:
    """Return a loss ``(outputs, labels) -> (n,)`` by its name in `jaxdl.losses` or as ``package.module:function``.

    `tasks.check_loss` finds out whether it fits a network's outputs.

    Raises:
        ValueError: see `function`.

    Examples:
        >>> runs.loss("squared_error")(jnp.array([3.0]), jnp.array([1.0]))
        Array([4.], dtype=float32)
    """
    return function("loss", text, {name: getattr(losses, name) for name in losses.__all__})


def dataset(name: str, **options: Any) -> data.Dataset:
    """Load a data set by name or path, or call a ``package.module:function`` that returns a `data.Dataset` or a pair
    of images and labels. A path that exists wins over a function of that name.

    Raises:
        ValueError: see `data.load` and `data.from_arrays`; also if it is not images of at least two classes.

    Examples:
        >>> runs.dataset("digits").images.shape
        (1797, 8, 8, 1)
    """
    # brackets in the name of a folder have no meaning, nor has a colon in the path of one that exists
    called_by_name = ":" in name.partition("(")[0] and not is_path(name)
    found = _called_dataset(name) if called_by_name else data.load(name, **options)
    if not found.classes or found.images.ndim != 4:
        what = f"real targets {found.labels.shape}" if not found.classes else f"features {found.images.shape}"
        raise ValueError(f"dataset={name!r} has {what}; experiments take images (N, H, W, C) and classes (N,)")
    if len(found.classes) < 2:
        only = "".join(found.classes)
        raise ValueError(f"dataset={name!r} has one class, {only!r}; experiments tell at least two apart")
    return found


def _called_dataset(name: str) -> data.Dataset:
    value = called("dataset", name)
    if isinstance(value, data.Dataset):
        options = {key: getattr(value, key) for key in ("test_images", "test_labels", "classes", "name", "scale")}
        checked = data.from_arrays(value.images, value.labels, **options)
        kept = {key: getattr(value, key) for key in ("note", "dev_images", "dev_labels")}
        return checked._replace(**kept, checksums=value.checksums or checked.checksums)
    if isinstance(value, tuple) and len(value) == 2:
        return data.from_arrays(*value, name=name)
    raise ValueError(f"dataset={name!r} returned {type(value).__name__}, neither a Dataset nor (images, labels)")


PROBLEMS: Final[dict[str, Callable[..., studies.Problem]]] = {
    **{one.name: functools.partial(studies.landscape_problem, one) for one in studies.LANDSCAPES},
    "quadratic_deep": studies.quadratic_deep,
    "quadratic_deep_repeated": functools.partial(studies.quadratic_deep, shuffle="repeated"),
    "digits_softmax": studies.digits_softmax,
    "digits_mlp": studies.digits_mlp,
    "mnist_softmax": studies.mnist_softmax,
    "mnist_mlp": studies.mnist_mlp,
    "fashion_mnist_2c2d": studies.fashion_mnist_2c2d,
    "fashion_mnist_lenet5": studies.fashion_mnist_lenet5,
    "cifar10_3c3d": studies.cifar10_3c3d,
    "cifar10_resnet20": studies.cifar10_resnet20,
    "cifar10_vit": studies.cifar10_vit,
    "char_transformer": studies.char_transformer,
    "char_lstm": studies.char_lstm,
    "matrix_factorization": studies.matrix_factorization,
    "heat_pinn": studies.heat_pinn,
}


def problem(text: str, data_dir: Path | None = None) -> studies.Problem:
    """Return a problem by its name, or the one that a ``package.module:function`` returns.

    Args:
        text: one of `PROBLEMS`, or a function without arguments that returns a `studies.Problem` or the three functions
            ``(init, loss, batches)`` of `studies.make_problem`, which then has the text as its name.
        data_dir: folder of the data sets' files.

    Raises:
        ValueError: see `called`; also if the function returns anything else.

    Examples:
        >>> runs.problem("digits_softmax").batch_size
        64
    """
    if ":" not in text.partition("(")[0]:
        found = function("problem", text, PROBLEMS)
        where = {"data_dir": data_dir} if "data_dir" in inspect.signature(found).parameters else {}
        return found(**where)
    found = called("problem", text)
    if isinstance(found, studies.Problem):
        return found
    if isinstance(found, tuple) and len(found) == 3 and all(map(callable, found)):
        return studies.make_problem(*found, name=str(parse("problem", text)))
    parts = found if isinstance(found, tuple) else None
    what = type(found).__name__ if parts is None else f"({', '.join(type(part).__name__ for part in parts)})"
    raise ValueError(f"problem={text!r} returned {what}, neither a Problem nor three functions (init, loss, batches)")
