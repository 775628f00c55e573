"""Applications of trained networks."""

from jaxdl.applications import adversarial, detection, search, transfer

__all__ = ["adversarial", "detection", "search", "transfer"]
