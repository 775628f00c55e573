"""The defaults of each optimizer in each convention: one table that every factory reads.

Frameworks, papers and lectures print different algorithms under one name. Every optimizer here takes
``convention=``: an argument left at None takes the convention's value from ``TABLE``, an explicit argument always
wins, and a pair that is missing from the table is a ``ValueError``. ``page`` renders the table as Markdown.

Conventions: ``optax`` (0.2.8), ``torch`` (PyTorch 2.15), ``keras`` (Keras 3), ``paper`` (the publication that
introduced the method), and the lectures ``lecture_p`` (PClub CS2020), ``lecture_s`` (CS182), ``lecture_e``
(ENEE4584).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jaxdl.optimizers.relations import RELATIONS

__all__ = [
    "CONVENTIONS",
    "EQUATIONS",
    "FORMS",
    "NEED_THE_LOSS",
    "RELATIONS",
    "REQUIRED",
    "TABLE",
    "Form",
    "defined",
    "forms",
    "page",
    "resolve",
]

CONVENTIONS: Final = ("optax", "torch", "keras", "paper", "lecture_p", "lecture_s", "lecture_e")

REQUIRED: Final = "required"
"""Mark of an argument for which the convention prints no value, so that the caller must give one."""

FORMS: Final[dict[str, tuple[Any, ...]]] = {
    "exact_correction": (False, True),
    "moment_form": ("weighted", "increment", "mixed"),
    "decay_form": ("joint", "product", "difference", "unscaled", "proximal"),
}
"""The entries of an optimizer's ``form=`` and their values: the order of operations in one formula.

- ``exact_correction`` computes 1−bᵗ without cancellation. optax and Keras subtract bᵗ from 1 in float32, which is off
  by up to 6e-5 in the first steps.
- ``moment_form`` orders an exponential average: "weighted" (1−b)·g + b·m, "increment" m + (1−b)·(g − m) as Keras, or
  "mixed", the average of g in increments and that of g² weighted, as PyTorch.
- ``decay_form`` orders decoupled decay: "joint" −α·(d + λw), "product" w·(1−αλ) before the step as PyTorch,
  "difference" w − αλw before the step as Keras. Two values are other formulas: "unscaled" w − λw, because AdamW's paper
  does not multiply λ by the learning rate, and Adan's "proximal" (w − α·d)/(1 + αλ).
"""

Form = Mapping[str, Any] | None
"""Entries of ``FORMS`` such as ``{"moment_form": "mixed"}``; an omitted entry takes the convention's."""

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
    "adan": "c = g - g₋₁, m = b1 m + (1-b1)g, v = b2 v + (1-b2)c, n = b3 n + (1-b3)(g + (1-b2)c)², "
    "w -= a((m̂ + (1-b2)v̂)/(√(n̂ + eps_root) + eps) + weight_decay w); full_difference: b2 c and b2 v̂ for (1-b2)c and "
    "(1-b2)v̂; proximal: w = (w - a(m̂ + …)/…)/(1 + a weight_decay)",
    "adabelief": "m = b1 m + (1-b1)g, s = b2 s + (1-b2)(g-m)² + eps_root, w -= a m̂/(√ŝ + eps)",
    "yogi": "m = b1 m + (1-b1)g, v -= (1-b2) sign(v - g²) g², w -= a m̂/(√v̂ + eps); not bias_correction: m and v; "
    "the first v, and without momentum_from_zero the first m, is initial_accumulator_value",
    "sign_sgd": "w -= a sign(g); with a momentum: m = bm + (1-b)g, w -= a sign(m)",
    "rprop": "s = clip(s·(eta_plus if g p > 0 else eta_minus)), p = s sign(g), w -= p; where g p < 0: p = 0; "
    "reverted: also w += the last p there; delayed: w -= the last p",
    "adafactor": "β = 1 - t^(-decay_rate), V = βV + (1-β)(g² + eps), u = g/√V, w -= a max(rms(w), 0.001) "
    "u/max(1, rms(u)); matrices: V = r cᵀ/mean(r) of the averages r of rows and c of columns; relative_step: "
    "min(a, 1/√t) for a",
    "ademamix": "m = b1 m + (1-b1)g, s = b3 s + (1-b3)g, v = b2 v + (1-b2)g², "
    "w -= a((m̂ + alpha s)/(√(v̂ + eps_root) + eps) + weight_decay w)",
    "adopt": "w -= a m after m = b1 m + (1-b1) clip(g/max(√v, eps), ⁴√t), with v of the steps before; "
    "v = b2 v + (1-b2)g²; not use_clipping: no clip",
    "prodigy": "adam of d g with the rate a d √(1-b2ᵗ)/(1-b1ᵗ), d = max(d, r/‖s‖₁), "
    "r = b3 r + (d/d0) rate ⟨g, w0 - w⟩, s = b3 s + (d/d0) rate g; not bias_correction: rate a d",
    "sophia": "m = b1 m + (1-b1)g, h = b2 h + (1-b2)(estimate of the Hessian's diagonal) at every update_interval-th "
    "step, w -= a(clip(m̂/max(gamma h, eps), clip_threshold) + weight_decay w) with the h of the step before; "
    "hessian_first: with the new h; not bias_correction: m for m̂",
    "dadapt_adamw": "w -= m/(√v + eps) + c weight_decay w, m = b1 m + (1-b1)c g with c = a d √(1-b2ᵗ)/(1-b1ᵗ), "
    "v = b2 v + (1-b2)g², d = max(d, r/((1-β)‖s‖₁)), r = βr + (1-β)c ⟨g, s/(√v + eps)⟩, s = βs + (1-β)c g, β = √b2; "
    "not bias_correction: c = a d",
    "schedule_free_sgd": "z -= a(g + weight_decay w), x = (1-c)x + cz, w = (1-b1)z + b1 x; judged at x; "
    "direct: w += c(z - w) + (1 - b1(1-c))u for the step u of z, without x",
    "schedule_free_adamw": "z -= a(g/(√v̂ + eps) + weight_decay w), x = (1-c)x + cz, w = (1-b1)z + b1 x; judged at x; "
    "direct: see schedule_free_sgd",
    "shampoo": "matrices: L += GGᵀ, R += GᵀG, W -= a L^(-1/4) G R^(-1/4); k axes: the power -1/(2k); from eps I; "
    "with a decay: L = decay L + (1-decay)GGᵀ",
    "soap": "L = b2 L + (1-b2)GGᵀ, R = b2 R + (1-b2)GᵀG, adam of Q_Lᵀ G Q_R with eps_hat, W -= a(Q_L adam Q_Rᵀ + "
    "weight_decay W); Q = the eigenvectors of the first L, later of qr(L Q); the first gradient makes no step",
    "muon": "matrices: w -= a √max(1, out/in) (orthogonal(m̂) + weight_decay w); other arrays: adamw",
}
"""The updates in terms of the arguments, the parameters w, the gradient g, the learning rate a and the step t ≥ 1."""

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
    "adan": {
        "optax": {"eps_root": 1e-8, "weight_decay": 0.0, "full_difference": False, "decay_form": "joint"}
        | (_ROUNDED | _WEIGHTED),
        "paper": {"eps_root": 0.0, "weight_decay": 0.0, "full_difference": True, "decay_form": "proximal"} | _TORCH,
    },
    "adabelief": {
        "optax": {"eps": 1e-16, "eps_root": 1e-16} | _ROUNDED,
        "paper": {"eps": 1e-8, "eps_root": 1e-8} | _EXACT,
    },
    "yogi": {
        "optax": {"initial_accumulator_value": 1e-6, "momentum_from_zero": False, "bias_correction": True},
        "paper": {"initial_accumulator_value": REQUIRED, "momentum_from_zero": True, "bias_correction": False},
    },
    "sign_sgd": {
        "optax": {},
        "paper": {},
    },
    "rprop": {
        "optax": {"step_form": "delayed"},
        "torch": {"step_form": "zeroed"},
        "paper": {"step_form": "reverted"},
    },
    "adafactor": {
        "optax": {"learning_rate": None, "min_dim_size_to_factor": 128, "relative_step": False},
        "paper": {"learning_rate": 1e-2, "min_dim_size_to_factor": 1, "relative_step": True},
    },
    "ademamix": {
        "optax": {"weight_decay": 0.0, "decay_form": "joint"} | _ROUNDED | _WEIGHTED,
        "paper": {"weight_decay": REQUIRED, "decay_form": "product"} | _TORCH,
    },
    "adopt": {
        "optax": {"use_clipping": True} | _WEIGHTED,
        "paper": {"use_clipping": False, "moment_form": "mixed"},
    },
    "prodigy": {
        "optax": {"weight_decay": 0.0, "bias_correction": True},
        "paper": {"weight_decay": 0.0, "bias_correction": False},
    },
    "sophia": {
        "optax": {"weight_decay": 1e-4, "bias_correction": True, "hessian_first": False},
        "paper": {"weight_decay": REQUIRED, "bias_correction": False, "hessian_first": True},
    },
    "dadapt_adamw": {
        "optax": {"weight_decay": 0.0, "bias_correction": True},
        "paper": {"weight_decay": 0.0, "bias_correction": False},
    },
    "schedule_free_sgd": {
        "optax": {"weight_decay": None, "direct": False},
        "paper": {"weight_decay": None, "direct": True},
    },
    "schedule_free_adamw": {
        "optax": {"weight_decay": 0.0, "direct": False},
        "paper": {"weight_decay": 0.0, "direct": True},
    },
    "shampoo": {
        "optax": {"eps": 1e-6, "max_dim": 10_000},
        "paper": {"eps": REQUIRED, "max_dim": 10_000},
    },
    "soap": {name: {"weight_decay": 0.01, "max_dim": 10_000} for name in ("optax", "paper")},
    "muon": {
        "optax": {"weight_decay": 0.0},
    },
}


NEED_THE_LOSS: Final = frozenset({"sophia"})
"""Optimizers of the table whose ``update`` needs the loss as a function, so that a gradient alone does not run them."""


def defined(optimizer: str) -> tuple[str, ...]:
    """Return the conventions that define an optimizer, in the order of ``CONVENTIONS``.

    Args:
        optimizer: a name in ``TABLE``.

    Raises:
        ValueError: the table has no such optimizer.
    """
    if optimizer not in TABLE:
        raise ValueError(f"optimizer is {optimizer!r}: it must be one of {', '.join(TABLE)}")
    return tuple(name for name in CONVENTIONS if name in TABLE[optimizer])


def forms(optimizer: str) -> tuple[str, ...]:
    """Return the entries that an optimizer's ``form`` accepts, in the order of ``FORMS``.

    Raises:
        ValueError: the table has no such optimizer.
    """
    row = TABLE[optimizer][defined(optimizer)[0]]
    return tuple(name for name in FORMS if name in row)


def resolve(optimizer: str, convention: str, form: Form = None, **given: Any) -> dict[str, Any]:
    """Replace every argument and every entry of ``form`` that is None by the convention's value.

    Args:
        optimizer: a name in ``TABLE``.
        convention: a name in ``CONVENTIONS``.
        form: the caller's entries of ``FORMS``; ``forms`` lists those of each optimizer.
        **given: the caller's arguments; all of them are names in the table's row.

    Returns:
        The names of ``given`` and ``forms(optimizer)`` with their values; explicit values are unchanged.

    Raises:
        ValueError: the convention does not define this optimizer, it prints no value for an argument that was left at
            None, or ``form`` has an entry or a value that it does not accept.
    """
    names = defined(optimizer)
    if convention not in names:
        raise ValueError(
            f"convention is {convention!r}, which does not define {optimizer}: it must be one of {', '.join(names)}"
        )
    row, given = TABLE[optimizer][convention], given | _entries(optimizer, form)
    values = {name: row[name] if value is None else value for name, value in given.items()}
    for name, value in values.items():
        if value is REQUIRED:
            raise ValueError(
                f"{name} is None: the convention {convention!r} prints no value for {optimizer}'s {name}, "
                "so it must be given"
            )
    return values


def _entries(optimizer, form):
    """Return every entry of an optimizer's ``form``, with None for those that the caller left out."""
    names = forms(optimizer)
    allowed = ", ".join(f"{name!r} ({' or '.join(map(repr, FORMS[name]))})" for name in names) or "nothing"
    if form is not None and not isinstance(form, Mapping):
        raise ValueError(f"form is {form!r}: it must be a mapping; for {optimizer} it may hold {allowed}")
    for name, value in (form or {}).items():
        if name not in names:
            raise ValueError(f"form has the entry {name!r}: for {optimizer} it may hold {allowed}")
        if value is not None and not any(type(value) is type(x) and value == x for x in FORMS[name]):
            raise ValueError(f"form[{name!r}] is {value!r}: it must be one of {', '.join(map(repr, FORMS[name]))}")
    return {name: (form or {}).get(name) for name in names}


def page() -> str:
    """Render the update equations, all defaults and the relations between conventions as Markdown."""
    return "\n\n".join(_section(optimizer) for optimizer in TABLE) + "\n"


def _section(optimizer):
    conventions = defined(optimizer)
    rows = [
        " | ".join([f"| {_argument(name)}", *(_shown(TABLE[optimizer][c][name]) for c in conventions)]) + " |"
        for name in TABLE[optimizer]["optax"]
    ]
    head = ["| argument | " + " | ".join(conventions) + " |", "|---" * (len(conventions) + 1) + "|"]
    relations = [f"- {r.rule}" for r in RELATIONS if r.optimizer == optimizer]
    notes = ["", *relations] if relations else []
    return "\n".join([f"## {optimizer}", "", f"`{EQUATIONS[optimizer]}`", "", *head, *rows, *notes])


def _argument(name):
    return f'form["{name}"]' if name in FORMS else name


def _shown(value):
    return f"{value:g}" if isinstance(value, float) else str(value)
