"""Applications of trained networks."""

from jaxdl.applications import adversarial, colorization, detection, style_transfer, transfer

__all__ = ["adversarial", "colorization", "detection", "style_transfer", "transfer"]
