"""Compare optimizers: which is better, and how sure is that? `python -m experiments.compare_optimizers`."""

from experiments.compare_optimizers.command import adam_l2, main

__all__ = ["adam_l2", "main"]
