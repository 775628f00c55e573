"""Make `words.json`: the verdict, cause, map and unseen keywords of every pair of conventions, in about ten minutes.

    PYTHONPATH=. python tests/golden/make_words.py

The file was first made by the code in which the entries of ``form=`` were keywords of their own: how an optimizer is
called changes nothing that users read. Make it again where an algorithm, a rule or a word changes on purpose.
"""

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import optax

from jaxdl import compare, optimizers
from jaxdl.compare import streams
from jaxdl.optimizers.conventions import NEED_THE_LOSS, REQUIRED, TABLE

FILE = Path(__file__).with_name("words.json")
PARAMS = {"m": np.float32([[0.3, -2], [1, 1], [0.5, 0.25]]), "w": np.float32([0.5, -1.0, 0.0])}
NUMBERS = {"eps": 1e-3, "eps_root": 1e-3, "decay": 0.8, "weight_decay": 0.01, "initial_accumulator_value": 0.1}


def gradients():
    """Gradients near every eps, then ones of size 1."""
    key = jax.random.key(0)
    return [*streams.tiny(key, PARAMS, 8), *streams.random(key, PARAMS, 8)]


def sides():
    """Return name → the two sides: every ordered pair of an optimizer's conventions, and optax's namesake first."""
    found = {}
    for name, rows in TABLE.items():
        if name in NEED_THE_LOSS:
            continue
        factory, momentum = getattr(optimizers, name), {"momentum": 0.9} if name == "sgd" else {}
        given = {
            convention: {"learning_rate": 0.01, "convention": convention}
            | momentum
            | {key: NUMBERS[key] for key, value in row.items() if value is REQUIRED}
            for convention, row in rows.items()
        }
        for a, b in itertools.permutations(rows, 2):
            found[f"{name}: {a} → {b}"] = (factory, given[a]), (factory, given[b])
        namesake = getattr(optax, name, None) or getattr(optax.contrib, name, None)
        if namesake is not None:
            for b in rows:
                found[f"{name}: optax itself → {b}"] = (
                    (namesake, {"learning_rate": 0.01} | momentum),
                    (factory, given[b]),
                )
    return found


def words(a, b):
    """Compare two sides and return what is read of it, as JSON keeps it."""
    record = compare.equivalence(a, b, PARAMS, gradients())
    return {
        "verdict": record.verdict,
        "cause": record.cause,
        "mapping": record.mapping and {name: _shown(value) for name, value in record.mapping.items()},
        "unseen": {name: [_shown(value) for value in values] for name, values in record.unseen.items()},
    }


def _shown(value):
    """A number as six digits, a schedule by name."""
    if callable(value):
        return "a schedule"
    return value if value is None or isinstance(value, bool | str) else f"{float(value):.6g}"


if __name__ == "__main__":
    record = {}
    for name, (a, b) in sides().items():
        record[name] = words(a, b)
        jax.clear_caches()
    lines = ",\n".join(f"{json.dumps(k, ensure_ascii=False)}: {json.dumps(v)}" for k, v in record.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
