"""Train a network on images, with one optimizer or several side by side: `python -m experiments.train_cnn`."""

from experiments.train_cnn.command import main

__all__ = ["main"]
