"""Applications of trained networks."""

from jaxdl.applications import adversarial, colorization, detection, relaxation, search, style_transfer, transfer

__all__ = ["adversarial", "colorization", "detection", "relaxation", "search", "style_transfer", "transfer"]
