"""Schedules: pure functions ``step -> value``, for learning rates and every other hyperparameter.

Each constructor takes Python numbers and returns a traceable function of the step (an integer from 0, a
Python number or an array of any shape and any integer or floating dtype). Where optax has the same schedule the
arguments have its names, order and defaults. Steps before 0 are treated as 0. `reduce_on_plateau` alone follows a
measured value and is a transformation with a state.

Steps are counted, compared and divided as integers, within the range of their own dtype: numbers of steps may exceed
it, and a compiled schedule changes at the same step as an uncompiled one. [Lecture row E10]
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.schedules.counting import ScalarOrSchedule, Schedule
from jaxdl.schedules.cycles import cosine_restarts, joined, one_cycle, range_test, warmup
from jaxdl.schedules.decays import constant, cosine, exponential, inverse_sqrt, inverse_time, linear, polynomial, step
from jaxdl.schedules.plateau import reduce_on_plateau

__all__ = [
    "ScalarOrSchedule",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "inverse_sqrt",
    "inverse_time",
    "joined",
    "linear",
    "one_cycle",
    "polynomial",
    "range_test",
    "reduce_on_plateau",
    "step",
    "warmup",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
