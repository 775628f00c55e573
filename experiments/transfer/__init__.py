"""Transfer learning, the lecture's four ways: `python -m experiments.transfer`."""

from experiments.transfer.command import main

__all__ = ["main"]
