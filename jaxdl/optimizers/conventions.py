"""What the defaults of each optimizer are in each convention: one table, read by every factory.

Frameworks, papers and lectures print different algorithms under one name. Every optimizer here takes
``convention=``; an argument left at None takes the convention's value from ``TABLE``, an explicit argument
always wins, and a pair that is not in the table is a ``ValueError``. ``page`` prints the table as Markdown.

Conventions: ``optax`` (0.2.8), ``torch`` (PyTorch 2.15), ``keras`` (Keras 3), ``paper`` (the publication that
introduced the method), and the lectures ``lecture_p`` (PClub CS2020), ``lecture_s`` (CS182), ``lecture_e``
(ENEE4584).
"""

from typing import Any, Final

from jaxdl.optimizers.relations import EQUATIONS, RELATIONS

__all__ = ["CONVENTIONS", "EQUATIONS", "RELATIONS", "REQUIRED", "TABLE", "defined", "page", "resolve"]

CONVENTIONS: Final = ("optax", "torch", "keras", "paper", "lecture_p", "lecture_s", "lecture_e")

REQUIRED: Final = "required"
"""Marks an argument for which the convention prints no value, so that the caller must give one."""

_HEAVY_BALL = {"momentum_form": "heavy_ball"}
_VELOCITY = {"momentum_form": "velocity"}
_EXACT = {"exact_correction": True}
_ROUNDED = {"exact_correction": False}
_WEIGHTED = {"moment_form": "weighted"}
_TORCH = _EXACT | {"moment_form": "mixed"}
_KERAS = _ROUNDED | {"moment_form": "increment"}
_ADAM = {"eps": 1e-8, "eps_root": 0.0, "eps_hat": False, "bias_correction": True} | _ROUNDED | _WEIGHTED
_ADAM_EXACT = _ADAM | _EXACT
_ADAM_KERAS = _ADAM | _KERAS | {"eps": 1e-7, "eps_hat": True}
_NADAM = {"eps": 1e-8, "eps_root": 0.0, "momentum_schedule": False, "momentum_decay": 0.0} | _ROUNDED | _WEIGHTED
_AMSGRAD = {
    "eps": 1e-8,
    "eps_root": 0.0,
    "bias_correction_mu": True,
    "bias_correction_nu": True,
    "max_of_raw": False,
    "eps_hat": False,
} | (_ROUNDED | _WEIGHTED)
_RMSPROP = {"decay": 0.9, "eps": 1e-8, "eps_in_sqrt": True} | _WEIGHTED

TABLE: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "sgd": {
        "optax": _HEAVY_BALL,
        "torch": _HEAVY_BALL,
        "keras": _VELOCITY,
        "paper": _VELOCITY,
        "lecture_p": {"momentum_form": "ema"},
        "lecture_s": _HEAVY_BALL,
        "lecture_e": _VELOCITY,
    },
    "nesterov": {
        "optax": _HEAVY_BALL | {"gradient_at": "params"},
        "torch": _HEAVY_BALL | {"gradient_at": "params"},
        "keras": _VELOCITY | {"gradient_at": "params"},
        "paper": _VELOCITY | {"gradient_at": "lookahead"},
        "lecture_e": _VELOCITY | {"gradient_at": "lookahead"},
    },
    "adam": {
        "optax": _ADAM,
        "torch": _ADAM | _TORCH,
        "keras": _ADAM_KERAS,
        "paper": _ADAM_EXACT,
        "lecture_p": _ADAM_EXACT | {"eps": 0.0, "eps_root": 1e-8},
        "lecture_s": _ADAM_EXACT | {"eps": 1e-7},
        "lecture_e": _ADAM_EXACT | {"eps": 0.0, "eps_root": REQUIRED},
    },
    "adamw": {
        "optax": _ADAM | {"weight_decay": 1e-4, "decay_form": "joint"},
        "torch": _ADAM | _TORCH | {"weight_decay": 1e-2, "decay_form": "product"},
        "keras": _ADAM_KERAS | {"weight_decay": 4e-3, "decay_form": "difference"},
        "paper": _ADAM_EXACT | {"weight_decay": REQUIRED, "decay_form": "unscaled"},
    },
    "nadam": {
        "optax": _NADAM,
        "torch": _NADAM | _TORCH | {"momentum_schedule": True, "momentum_decay": 4e-3},
        "keras": _NADAM | _KERAS | _EXACT | {"eps": 1e-7, "momentum_schedule": True, "momentum_decay": 1.0},
    },
    "amsgrad": {
        "optax": _AMSGRAD,
        "torch": _AMSGRAD | _TORCH | {"max_of_raw": True},
        "keras": _AMSGRAD | _KERAS | {"eps": 1e-7, "max_of_raw": True, "eps_hat": True},
        "paper": _AMSGRAD
        | _EXACT
        | {"eps": REQUIRED, "max_of_raw": True, "bias_correction_mu": False, "bias_correction_nu": False},
    },
    "adamax": {
        "optax": {"eps": 1e-8, "eps_in_max": True} | _ROUNDED | _WEIGHTED,
        "torch": {"eps": 1e-8, "eps_in_max": True} | _TORCH,
        "keras": {"eps": 1e-7, "eps_in_max": False} | _KERAS,
        "paper": {"eps": 0.0, "eps_in_max": False} | _EXACT | _WEIGHTED,
    },
    "radam": {
        "optax": {"eps": 1e-8, "eps_root": 0.0, "threshold": 5.0, "eps_hat": False} | _ROUNDED | _WEIGHTED,
        "torch": {"eps": 1e-8, "eps_root": 0.0, "threshold": 5.0, "eps_hat": True} | _TORCH,
        "paper": {"eps": REQUIRED, "eps_root": 0.0, "threshold": 4.0, "eps_hat": True} | _EXACT | _WEIGHTED,
    },
    "lion": {
        "optax": {"weight_decay": 1e-3, "decay_form": "joint"},
        "keras": {"weight_decay": 0.0, "decay_form": "difference"},
        "paper": {"weight_decay": REQUIRED, "decay_form": "joint"},
    },
    "adagrad": {
        "optax": {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_in_sqrt": True},
        "torch": {"initial_accumulator_value": 0.0, "eps": 1e-10, "eps_in_sqrt": False},
        "keras": {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_in_sqrt": True},
        "paper": {"initial_accumulator_value": 0.0, "eps": REQUIRED, "eps_in_sqrt": False},
        "lecture_s": {"initial_accumulator_value": 0.0, "eps": 1e-7, "eps_in_sqrt": False},
        "lecture_e": {"initial_accumulator_value": 0.0, "eps": REQUIRED, "eps_in_sqrt": True},
    },
    "rmsprop": {
        "optax": _RMSPROP | _VELOCITY,
        "torch": _RMSPROP | {"decay": 0.99, "eps_in_sqrt": False, "moment_form": "mixed"} | _HEAVY_BALL,
        "keras": _RMSPROP | {"eps": 1e-7} | _VELOCITY,
        "paper": _RMSPROP | {"eps": REQUIRED, "eps_in_sqrt": False} | _VELOCITY,
        "lecture_p": _RMSPROP | {"eps_in_sqrt": False} | _VELOCITY,
        "lecture_s": _RMSPROP | {"eps": 1e-7, "eps_in_sqrt": False} | _VELOCITY,
        "lecture_e": _RMSPROP | {"decay": REQUIRED, "eps": REQUIRED} | _VELOCITY,
    },
    "adadelta": {
        "optax": {"learning_rate": 1.0, "rho": 0.9, "eps": 1e-6},
        "torch": {"learning_rate": 1.0, "rho": 0.9, "eps": 1e-6},
        "keras": {"learning_rate": 1e-3, "rho": 0.95, "eps": 1e-7},
        "paper": {"learning_rate": 1.0, "rho": 0.95, "eps": 1e-6},
    },
    "lars": {
        "optax": {"weight_decay": 0.0, "separate_norms": False},
        "paper": {"weight_decay": 5e-4, "separate_norms": True},
    },
    "lamb": {
        "optax": {"weight_decay": 0.0},
        "paper": {"weight_decay": 1e-2},
    },
    "muon": {
        "optax": {"weight_decay": 0.0},
    },
}


def defined(optimizer: str) -> tuple[str, ...]:
    """Return the conventions that define an optimizer, in the order of ``CONVENTIONS``.

    Args:
        optimizer: a name in ``TABLE``.

    Raises:
        ValueError: there is no such optimizer in the table.
    """
    if optimizer not in TABLE:
        raise ValueError(f"optimizer is {optimizer!r}: it must be one of {', '.join(TABLE)}")
    return tuple(name for name in CONVENTIONS if name in TABLE[optimizer])


def resolve(optimizer: str, convention: str, **given: Any) -> dict[str, Any]:
    """Replace every argument that is None by the convention's value.

    Args:
        optimizer: a name in ``TABLE``.
        convention: a name in ``CONVENTIONS``.
        **given: the caller's arguments; all are names in the table's row.

    Returns:
        The same names with their values; explicit values unchanged.

    Raises:
        ValueError: the convention does not define this optimizer, or prints no value for an argument that
            was left at None.
    """
    names = defined(optimizer)
    if convention not in names:
        raise ValueError(
            f"convention is {convention!r}, which does not define {optimizer}: it must be one of {', '.join(names)}"
        )
    row = TABLE[optimizer][convention]
    values = {name: row[name] if value is None else value for name, value in given.items()}
    for name, value in values.items():
        if value is REQUIRED:
            raise ValueError(
                f"{name} is None: the convention {convention!r} prints no value for {optimizer}'s {name}, "
                "so it must be given"
            )
    return values


def page() -> str:
    """Return the update equations, all defaults and the relations between conventions as Markdown."""
    return "\n\n".join(_section(optimizer) for optimizer in TABLE) + "\n"


def _section(optimizer):
    conventions = defined(optimizer)
    rows = [
        f"| {name} | " + " | ".join(_shown(TABLE[optimizer][c][name]) for c in conventions) + " |"
        for name in TABLE[optimizer]["optax"]
    ]
    head = ["| argument | " + " | ".join(conventions) + " |", "|---" * (len(conventions) + 1) + "|"]
    relations = [f"- {r.rule}" for r in RELATIONS if r.optimizer == optimizer]
    notes = ["", *relations] if relations else []
    return "\n".join([f"## {optimizer}", "", f"`{EQUATIONS[optimizer]}`", "", *head, *rows, *notes])


def _shown(value):
    return f"{value:g}" if isinstance(value, float) else str(value)
