"""The optimizers' state classes: optax's own, so that a state can be swapped in mid-run.

Everything that jaxdl takes from optax's private modules stands here. Those classes are not exported, but a
pytree of another class would be another tree.
"""

from optax import (
    EmptyState,
    MaskedNode,
    MaskedState,
    ScaleByAdamState,
    ScaleByScheduleState,
    TraceState,
)
from optax.transforms._adding import WeightDecaySchedule

__all__ = [
    "EmptyState",
    "MaskedNode",
    "MaskedState",
    "ScaleByAdamState",
    "ScaleByScheduleState",
    "TraceState",
    "WeightDecaySchedule",
]
