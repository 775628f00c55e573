"""Conventions that are one algorithm under a map of their hyperparameters.

Each entry of ``RELATIONS`` states a map, or that there is none, together with a pair of settings that shows it. A test
runs every pair.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import jax.numpy as jnp

from jaxdl import schedules

__all__ = ["RELATIONS", "Relation"]


class Relation(NamedTuple):
    """A statement about two settings of one optimizer, and the settings that demonstrate it."""

    optimizer: str
    rule: str
    left: dict[str, Any]
    right: dict[str, Any]
    equal: bool
    gradient_scale: float = 1.0


_DROP: Final = schedules.step(0.01, {10: 0.1})

RELATIONS: Final = (
    Relation(
        "sgd",
        "ema at a/(1 - b) is heavy_ball at a, under any schedule",
        {"learning_rate": lambda t: _DROP(t) / (1 - 0.9), "momentum": 0.9, "momentum_form": "ema"},
        {"learning_rate": _DROP, "momentum": 0.9, "momentum_form": "heavy_ball"},
        True,
    ),
    Relation(
        "sgd",
        "velocity is heavy_ball while the learning rate is constant",
        {"learning_rate": 0.01, "momentum": 0.9, "momentum_form": "velocity"},
        {"learning_rate": 0.01, "momentum": 0.9, "momentum_form": "heavy_ball"},
        True,
    ),
    Relation(
        "sgd",
        "velocity is not heavy_ball when the learning rate changes: old steps keep their old rate",
        {"learning_rate": _DROP, "momentum": 0.9, "momentum_form": "velocity"},
        {"learning_rate": _DROP, "momentum": 0.9, "momentum_form": "heavy_ball"},
        False,
    ),
    Relation(
        "adam",
        "torch is optax (within rounding of 1-bᵗ, which shows where parameters start at 0)",
        {"convention": "torch"},
        {},
        True,
    ),
    Relation(
        "adam",
        "keras is not optax at any eps: added to √v it means eps/√(1-b2ᵗ) beside √v̂ (gradients near eps)",
        {"convention": "keras"},
        {"eps": 1e-7},
        False,
        1e-6,
    ),
    Relation(
        "adam",
        "lecture_p is not optax at any eps: inside the root 1e-8 acts like 1e-4 outside (gradients near 1e-4)",
        {"convention": "lecture_p"},
        {"eps": 1e-4},
        False,
        1e-4,
    ),
    Relation("adamw", "torch is optax at weight_decay=0.01", {"convention": "torch"}, {"weight_decay": 0.01}, True),
    Relation(
        "adamw",
        "paper at a schedule-free rate is optax at weight_decay divided by the rate",
        {"convention": "paper", "weight_decay": 1e-4},
        {"weight_decay": 1e-2},
        True,
    ),
    Relation("nadam", "torch is not optax: it changes its momentum with the step", {"convention": "torch"}, {}, False),
    Relation(
        "nadam",
        "keras is torch at eps=1e-7, momentum_decay=1",
        {"convention": "keras"},
        {"convention": "torch", "eps": 1e-7, "momentum_decay": 1.0},
        True,
    ),
    Relation(
        "amsgrad",
        "torch is not optax: its maximum is taken before the bias correction, so early large steps fade",
        {"convention": "torch"},
        {},
        False,
    ),
    Relation("adamax", "torch is optax", {"convention": "torch"}, {}, True),
    Relation(
        "adamax",
        "keras is not optax at any eps: added after the maximum it does not decay (gradients near eps)",
        {"convention": "keras"},
        {"eps": 1e-7},
        False,
        1e-7,
    ),
    Relation(
        "radam",
        "torch is not optax: eps beside √v, not √v̂ (gradients near eps)",
        {"convention": "torch"},
        {},
        False,
        1e-7,
    ),
    Relation("lion", "keras is optax at weight_decay=0", {"convention": "keras"}, {"weight_decay": 0.0}, True),
    Relation("adagrad", "keras is optax", {"convention": "keras"}, {}, True),
    Relation(
        "adagrad",
        "torch is not optax at any eps: outside the root (gradients near eps)",
        {"convention": "torch"},
        {"initial_accumulator_value": 0.0, "eps": 1e-20},
        False,
        1e-10,
    ),
    Relation("rmsprop", "keras is optax at eps=1e-7", {"convention": "keras"}, {"eps": 1e-7}, True),
    Relation(
        "rmsprop",
        "torch is not optax at any eps: outside the root (gradients near eps)",
        {"convention": "torch"},
        {"decay": 0.99, "eps": 1e-16},
        False,
        1e-8,
    ),
    Relation("adadelta", "torch is optax", {"convention": "torch"}, {}, True),
    Relation(
        "adadelta",
        "keras is optax at rho=0.95, eps=1e-7",
        {"convention": "keras"},
        {"rho": 0.95, "eps": 1e-7},
        True,
    ),
    Relation(
        "lars",
        "paper is not optax at weight_decay=5e-4: norms of a sum are not sums of norms",
        {"convention": "paper", "trust_coefficient": 1.0},
        {"weight_decay": 5e-4, "trust_coefficient": 1.0},
        False,
        1e-2,
    ),
    Relation(
        "adan",
        "paper is not optax: it weighs the gradient's change by b2 = .92, and optax by 1 - b2 = .08",
        {"convention": "paper"},
        {"eps_root": 0.0},
        False,
    ),
    Relation(
        "adabelief",
        "paper is optax at eps=1e-8, eps_root=1e-8",
        {"convention": "paper"},
        {"eps": 1e-8, "eps_root": 1e-8},
        True,
    ),
    Relation(
        "yogi",
        "paper is not optax: it corrects no bias, so that its first steps are short",
        {"convention": "paper", "initial_accumulator_value": 1e-6},
        {},
        False,
    ),
    Relation("rprop", "torch is not optax, whose steps come one update late", {"convention": "torch"}, {}, False),
    Relation(
        "rprop",
        "paper is not torch: where the sign changed it takes back the last step",
        {"convention": "paper"},
        {"convention": "torch"},
        False,
    ),
    Relation(
        "adafactor",
        "paper is optax at the rate min(0.01, 1/√t) where no array is factored",
        {"convention": "paper"},
        {"learning_rate": lambda t: jnp.minimum(0.01, (t + 1.0) ** -0.5)},
        True,
    ),
    Relation(
        "ademamix",
        "paper is optax at the same weight_decay (within rounding)",
        {"convention": "paper", "weight_decay": 0.1},
        {"weight_decay": 0.1},
        True,
    ),
    Relation(
        "adopt",
        "paper at use_clipping=True is optax (within rounding: optax's 1-b2 in float32 is 1.7e-4 of itself too large, "
        "which adds up to 270 ulps in 1,000 steps)",
        {"convention": "paper", "use_clipping": True},
        {},
        True,
    ),
    Relation(
        "schedule_free_sgd",
        "paper is optax without a warm-up (within rounding: dividing by b1 and the float32 sum of weights add up to "
        "100 ulps in 1,000 steps)",
        {"convention": "paper"},
        {},
        True,
    ),
    Relation(
        "schedule_free_sgd",
        "paper is not optax in a warm-up, where its first step is a/W and optax's 0",
        {"convention": "paper", "warmup_steps": 10},
        {"warmup_steps": 10},
        False,
    ),
)
"""``learning_rate`` is .01 where a setting does not name it."""
