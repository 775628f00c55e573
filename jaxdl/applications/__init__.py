"""Applications of trained networks."""

from jaxdl.applications import transfer

__all__ = ["transfer"]
