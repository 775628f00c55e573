"""Training: the state, one step, the loop, several devices, early stopping, checkpoints, a test for the rate."""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.training import checkpoints
from jaxdl.training.batch_norm import reestimate_batch_norm
from jaxdl.training.invariance import Invariance, assert_device_invariance, check_device_invariance
from jaxdl.training.kronecker import KroneckerFactors, kronecker_factors
from jaxdl.training.loop import evaluate, fit, prefetch
from jaxdl.training.measures import check_labels
from jaxdl.training.parallel import STRATEGIES, Parallel, data_parallel, data_parallel_eval, replicate
from jaxdl.training.processes import join, own_part
from jaxdl.training.rates import RateSuggestion, RateTest, find_rate, suggest_rate
from jaxdl.training.resident import fits_in_memory
from jaxdl.training.scaling import loss_scaled
from jaxdl.training.state import TrainState, create, eval_variables, start
from jaxdl.training.steps import eval_step, per_example, train_step
from jaxdl.training.stopping import EarlyStopping

__all__ = [
    "STRATEGIES",
    "EarlyStopping",
    "Invariance",
    "KroneckerFactors",
    "Parallel",
    "RateSuggestion",
    "RateTest",
    "TrainState",
    "assert_device_invariance",
    "check_device_invariance",
    "check_labels",
    "checkpoints",
    "create",
    "data_parallel",
    "data_parallel_eval",
    "eval_step",
    "eval_variables",
    "evaluate",
    "find_rate",
    "fit",
    "fits_in_memory",
    "join",
    "kronecker_factors",
    "loss_scaled",
    "own_part",
    "per_example",
    "prefetch",
    "reestimate_batch_norm",
    "replicate",
    "start",
    "suggest_rate",
    "train_step",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
