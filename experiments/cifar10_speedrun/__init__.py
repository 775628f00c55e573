"""CIFAR-10 to 94 % as fast as possible: `python -m experiments.cifar10_speedrun`."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``main`` when it is asked for: ``__main__`` prepares the process before anything slow is imported."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments.cifar10_speedrun.command import main

    return main
