"""Transfer learning, the lecture's four ways: `python -m experiments.transfer`."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``main`` when it is asked for: ``__main__`` prepares the process before anything slow is imported."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments.transfer.command import main

    return main
