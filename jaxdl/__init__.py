"""jaxdl: a functional research library for deep learning in JAX.

Import the module that you need: ``from jaxdl import layers, losses, optimizers``.
Everything is a pure function of arrays, or a NamedTuple of pure functions.
"""

__version__ = "0.1.0"
