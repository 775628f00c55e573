"""The optimizers' state classes, which are optax's own, so that a state can be swapped in mid-run.

Everything that jaxdl imports from optax's private modules is here. optax does not export those classes, but a tree of
another class would be another tree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from jax import Array
from optax import (
    EmaState,
    EmptyState,
    FactoredState,
    InjectStatefulHyperparamsState,
    LookaheadParams,
    LookaheadState,
    MaskedNode,
    MaskedState,
    MultiStepsState,
    ScaleByAdaDeltaState,
    ScaleByAdamState,
    ScaleByAdanState,
    ScaleByAmsgradState,
    ScaleByBeliefState,
    ScaleByLionState,
    ScaleByRmsState,
    ScaleByRpropState,
    ScaleByRssState,
    ScaleByRStdDevState,
    ScaleByScheduleState,
    TraceState,
)
from optax._src.transform import ScaleByRmsWithCountState, ScaleByRStdDevWithCountState
from optax.contrib import (
    DAdaptAdamWState,
    DifferentiallyPrivateAggregateState,
    HutchinsonState,
    MuonDimensionNumbers,
    MuonState,
    ProdigyState,
    ReduceLROnPlateauState,
    SAMState,
    ScaleByAdemamixState,
    ScheduleFreeState,
    SophiaState,
)
from optax.transforms import PartitionState
from optax.transforms._adding import WeightDecaySchedule

__all__ = [
    "AverageState",
    "DAdaptAdamWState",
    "DifferentiallyPrivateAggregateState",
    "EmaState",
    "EmptyState",
    "FactoredState",
    "HutchinsonState",
    "InjectStatefulHyperparamsState",
    "LookaheadParams",
    "LookaheadState",
    "MaskedNode",
    "MaskedState",
    "MultiStepsState",
    "MuonDimensionNumbers",
    "MuonState",
    "NesterovState",
    "PartitionState",
    "ProdigyState",
    "ReduceLROnPlateauState",
    "SAMState",
    "ScaleByAdaDeltaState",
    "ScaleByAdamState",
    "ScaleByAdanState",
    "ScaleByAdemamixState",
    "ScaleByAmsgradState",
    "ScaleByBeliefState",
    "ScaleByLionState",
    "ScaleByNadamState",
    "ScaleByRStdDevState",
    "ScaleByRStdDevWithCountState",
    "ScaleByRmsState",
    "ScaleByRmsWithCountState",
    "ScaleByRpropState",
    "ScaleByRssState",
    "ScaleByScheduleState",
    "ScheduleFreeState",
    "ShampooState",
    "SoapState",
    "SophiaState",
    "TraceState",
    "WeightDecaySchedule",
]


class ScaleByNadamState(NamedTuple):
    """State of NAdam with a momentum schedule, which optax lacks."""

    count: Array  # (), int32: updates so far
    mu: Any  # like params: average of g
    nu: Any  # like params: average of g²
    mu_product: Array  # (), float32: product of the momenta so far


class ShampooState(NamedTuple):
    """State of Shampoo; the matrices of an array of shape (n₁, …, nₖ) lie in a vector of length Σ nᵢ²."""

    count: Array  # (), int32: updates so far
    statistics: Any  # like params, of vectors: sums or averages of GGᵀ for every axis
    roots: Any  # like params, of vectors: the inverse roots of the matrices when they were last computed


class SoapState(NamedTuple):
    """State of SOAP; matrices lie in vectors as in ``ShampooState``."""

    count: Array  # (), int32: updates so far, of which the first makes no step
    mu: Any  # like params: average of g
    nu: Any  # like params: average of the squares of g in the bases
    statistics: Any  # like params, of vectors: averages of GGᵀ for every axis
    bases: Any  # like params, of vectors: their approximate eigenvectors


class NesterovState(NamedTuple):
    """State of Nesterov's momentum as published, which takes the gradient ahead of the parameters."""

    trace: Any  # like params: v
    momentum: Array  # (), float32 (float64 under x64): β; the gradient point is w + βv


class AverageState(NamedTuple):
    """State of an average of the parameters."""

    count: Array  # (), int32: updates so far
    average: Any  # like params, float32 for half-precision leaves
