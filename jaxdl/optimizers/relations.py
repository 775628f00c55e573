"""The update equations, and which conventions are one algorithm under a map of their hyperparameters.

``EQUATIONS`` uses the arguments' names; w the parameters, g the gradient, a the learning rate, t the step from 1.
Each entry of ``RELATIONS`` states a map, or that there is none, with a pair of settings that shows it; a test
runs every pair.
"""

from typing import Any, Final, NamedTuple

from jaxdl import schedules

__all__ = ["EQUATIONS", "RELATIONS", "Relation"]

EQUATIONS: Final[dict[str, str]] = {
    "sgd": "heavy_ball: v = bv + g, w -= av; velocity: v = bv - ag, w += v; ema: v = bv + (1-b)g, w -= av",
    "nesterov": "params: w -= a(g + bv) after v = bv + g; lookahead: g taken at w + bv, v = bv - ag, w += v",
    "adam": "m = b1 m + (1-b1)g, v = b2 v + (1-b2)g², w -= a m̂/(√(v̂ + eps_root) + eps); "
    "eps_hat: w -= a √(1-b2ᵗ)/(1-b1ᵗ) m/(√(v + eps_root) + eps); weight_decay (torch only): g + weight_decay w for g",
    "adamw": "w -= a(adam + weight_decay w); unscaled: w -= a adam + weight_decay w",
    "nadam": "w -= a m̄/(√(v̂ + eps_root) + eps), m̄ = b1 m/(1-b1ᵗ⁺¹) + (1-b1)g/(1-b1ᵗ); momentum_schedule: "
    "μₜ = b1(1 - ½·0.96^(t·momentum_decay)) for b1 in m̄",
    "amsgrad": "w -= a m̂/(√(max v̂ + eps_root) + eps); max_of_raw: the maximum of v is corrected, not that of v̂",
    "adamax": "u = max(b2 u, |g| + eps), w -= a m̂/u; not eps_in_max: u = max(b2 u, |g|), w -= a m̂/(u + eps)",
    "radam": "w -= a r m̂/(√(v̂ + eps_root) + eps) where rho >= threshold, else w -= a m̂",
    "lion": "w -= a(sign(b1 m + (1-b1)g) + weight_decay w), m = b2 m + (1-b2)g",
    "adagrad": "s += g², w -= a g/√(s + eps); not eps_in_sqrt: w -= a g/(√s + eps)",
    "rmsprop": "v = decay v + (1-decay)g², w -= a g/√(v + eps); not eps_in_sqrt: w -= a g/(√v + eps)",
    "adadelta": "v = rho v + (1-rho)g², u = g √(x + eps)/√(v + eps), x = rho x + (1-rho)u², w -= a u",
    "lars": "d = g + weight_decay w, v = bv + a c ‖w‖/‖d‖ d, w -= v; separate_norms: ‖g‖ + weight_decay ‖w‖",
    "lamb": "d = adam + weight_decay w, w -= a ‖w‖/‖d‖ d",
    "muon": "matrices: w -= a √max(1, out/in) (orthogonal(m̂) + weight_decay w); other arrays: adamw",
}


class Relation(NamedTuple):
    """A statement about two settings of one optimizer, and the settings that show it."""

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
)
"""``learning_rate`` is .01 where a setting does not name it."""
