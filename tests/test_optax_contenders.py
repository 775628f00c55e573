"""Every optimizer of optax and optax.contrib is a contender of a study, or a sentence says why it is none."""

import inspect

import jax
import jax.numpy as jnp
import optax
import pytest

from experiments.compare_optimizers import contenders
from jaxdl.runs import names

MODULES = {"optax": optax, "optax.contrib": optax.contrib}
PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
PARTS = {"scale_by_adam", "clip", "ema", "scale", "trace", "normalize"}
WRAPPERS = {"masked", "sam", "chain", "mechanize", "schedule_free", "lookahead", "partition"}
UNANNOTATED = {"dog", "dowg"}  # optax does not annotate what they return


def makes_transformations(factory):
    if not callable(factory) or inspect.isclass(factory):
        return False
    try:
        return "GradientTransformation" in str(inspect.signature(factory).return_annotation)
    except (TypeError, ValueError):  # an alias of a type
        return False


MEMBERS = [
    f"{library}.{name}"
    for library, module in MODULES.items()
    for name, factory in vars(module).items()
    if not name.startswith("_") and (makes_transformations(factory) or name in UNANNOTATED)
]
CONTENDERS = [name for name in MEMBERS if name in names.optimizer_names()]
OTHERS = {name.rpartition(".")[2]: name for name in MEMBERS if name not in names.optimizer_names()}


def test_both_modules_are_enumerated():
    assert len(CONTENDERS) >= 45
    theirs = {name for name in names.optimizer_names() if name.startswith("optax")}
    assert theirs == {*CONTENDERS}, "an optimizer without an annotation would be overlooked"


def test_every_optimizer_takes_a_step_in_a_sweep():
    shapes = jax.eval_shape(lambda: PARAMS)
    for name in CONTENDERS:
        contenders.check(contenders.contender(name), shapes)  # raises a ValueError with the reason


def test_every_other_function_is_refused_with_a_sentence():
    reasons = {}
    for short, name in OTHERS.items():
        with pytest.raises(ValueError, match=r"is no optimizer by itself: it .*; name a function of yours") as caught:
            names.optimizer(name)
        reasons.setdefault(str(caught.value).split(": ")[1].split("; ")[0], set()).add(short)
    assert reasons["it wraps other optimizers"] >= WRAPPERS
    assert reasons["it is a part of optimizers, without a learning rate"] >= PARTS
    alone = {next(iter(members)) for reason, members in reasons.items() if len(members) == 1}
    assert alone == {"noisy_sgd", "optimistic_adam", "polyak_sgd", "dpsgd"}


def test_names_that_optax_lacks_are_unknown():
    assert names.why_no_optimizer("optax.adamm") is None
    assert names.why_no_optimizer("jaxdl.chain") is None
    with pytest.raises(ValueError, match=r"optimizer='optax\.adamm' is unknown; the nearest is"):
        names.optimizer("optax.adamm")
