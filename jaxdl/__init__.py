"""jaxdl: a functional research library for deep learning in JAX.

Import the module that you need: ``from jaxdl import layers, losses, optimizers``.
Everything is a pure function of arrays, or a NamedTuple of pure functions.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Import a module at its first use, as in ``jaxdl.layers.dense`` after ``import jaxdl``."""
    module = f"{__name__}.{name}"
    if not name.startswith("_"):
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
