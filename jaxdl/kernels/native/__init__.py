"""Convolutions on CPU by oneDNN, through XLA's foreign function interface: an optional extra, ``jaxdl[native]``."""

from jaxdl.kernels.native.calls import available, compute, serves, status

__all__ = ["available", "compute", "serves", "status"]
