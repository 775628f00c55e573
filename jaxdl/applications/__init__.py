"""What is built from trained networks."""

from jaxdl.applications import transfer

__all__ = ["transfer"]
