"""Applications of trained networks."""

from jaxdl.applications import adversarial, search, transfer

__all__ = ["adversarial", "search", "transfer"]
