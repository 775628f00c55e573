"""What a backward pass must know and is no array: shapes, axes, options."""

import dataclasses
from typing import Any

import jax

__all__ = ["Static"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Static:
    """A hashable Python value inside a tree of residuals; jit, vmap and scan leave it alone."""

    value: Any
