"""Comparison of optimizers by paired, tuned runs: `python -m experiments.compare_optimizers`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optax


def __getattr__(name: str) -> Any:
    """Import ``main`` when it is asked for: ``__main__`` prepares the process before anything slow is imported."""
    if name != "main":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from experiments.compare_optimizers.command import main

    return main


def adam_l2(learning_rate: Any = 1e-3, weight_decay: float = 0.1) -> "optax.GradientTransformation":
    """Adam with coupled weight decay: weight_decay times the parameters is added to the gradients, unlike in AdamW."""
    from jaxdl import optimizers

    return optimizers.chain(optimizers.add_decayed_weights(weight_decay), optimizers.adam(learning_rate))
