"""From the names of a command line to the problems that a study runs on."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jaxdl import studies
from jaxdl.runs import names

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
        found = names.called("problem", name)
        if isinstance(found, studies.Problem):
            return found
        if isinstance(found, tuple) and len(found) == 3 and all(map(callable, found)):
            return studies.make_problem(*found, name=name)
        raise ValueError(f"problem={name!r} returned {type(found).__name__}, no Problem or (init, loss, batches)")
    if name not in PROBLEMS:
        near = difflib.get_close_matches(name, PROBLEMS, n=1, cutoff=0.0)[0]
        raise ValueError(f"problem={name!r} is unknown; the nearest is {near!r}; there are: {', '.join(PROBLEMS)}")
    return PROBLEMS[name](data_dir)
