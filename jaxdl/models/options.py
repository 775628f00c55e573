"""Helpers for the networks' options: scaled widths and checked choices."""

import math
from collections.abc import Iterable
from typing import Any


def scaled(channels: int, width: float, *, multiple: int = 1) -> int:
    """Return ``channels * width`` rounded half up to a multiple of ``multiple``, at least ``multiple`` itself.

    Raises:
        ValueError: for a width that is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width: got {width}, allowed are numbers above 0; it multiplies every channel count")
    return max(1, math.floor(channels * width / multiple + 0.5)) * multiple


def check_choice(name: str, value: Any, allowed: Iterable[Any]) -> None:
    """Raise ValueError naming the argument unless the value is one of those allowed."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(map(repr, allowed))}")
