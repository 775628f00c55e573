"""Applications of trained networks."""

from jaxdl.applications import adversarial, detection, transfer

__all__ = ["adversarial", "detection", "transfer"]
