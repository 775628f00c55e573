"""Optional libraries, each with the extra of jaxdl that installs it.

A module imports them inside ``with needed(...)``, so that one that is missing is named with the command that brings it.
"""

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

__all__ = ["PACKAGES", "need", "needed"]

# name in Python -> name of the package
PACKAGES = {
    name: name
    for name in ("grain", "h5py", "keras", "matplotlib", "optuna", "pooch", "rich", "safetensors", "torch", "tyro")
}
PACKAGES |= {"PIL": "pillow", "absl": "absl-py", "markdown_it": "markdown-it-py", "orbax": "orbax-checkpoint"}
PACKAGES |= {"optuna": "optuna", "sklearn": "scikit-learn", "tensorboardX": "tensorboardX"}


@contextlib.contextmanager
def needed(purpose: str, extra: str | None) -> Iterator[None]:
    """Say in the error of an import within the block how to install what is missing.

    Args:
        purpose: what the library is needed for, which begins the message.
        extra: the extra that brings it; None for a library that no extra brings.

    Raises:
        ImportError: if an optional library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:  # a library that an installed one fails to find
            raise
        what = f"jaxdl[{extra}]" if extra else package
        raise ImportError(f"{purpose} needs {package}: install it with `pip install '{what}'`") from error


def need(module: str, *, purpose: str, extra: str = "experiments") -> ModuleType:
    """Import an optional library by name. See `needed`."""
    with needed(purpose, extra):
        return importlib.import_module(module)
