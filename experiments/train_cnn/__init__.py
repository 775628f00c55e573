"""Train a network on images, with one optimizer or several side by side: `python -m experiments.train_cnn`."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import ``main`` when it is asked for: ``__main__`` prepares the process before anything slow is imported."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments.train_cnn.command import main

    return main
