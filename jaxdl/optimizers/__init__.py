"""Optimizers written from their formulas, interchangeable with optax's and explicit about conventions.

``NAME(learning_rate, ...)`` is an ``optax.GradientTransformation`` with its optax namesake's argument names,
order and state tree. ``convention=`` chooses whose algorithm it is; see ``conventions``.
"""

from optax import apply_updates

from jaxdl.optimizers.conventions import CONVENTIONS
from jaxdl.optimizers.descent import momentum, nesterov, nesterov_point, sgd
from jaxdl.optimizers.moments import adam, adamw
from jaxdl.optimizers.stages import add_decayed_weights, masked

__all__ = [
    "CONVENTIONS",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "masked",
    "momentum",
    "nesterov",
    "nesterov_point",
    "sgd",
]
