"""Applications of trained networks."""

from jaxdl.applications import adversarial, transfer

__all__ = ["adversarial", "transfer"]
