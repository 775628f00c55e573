"""Signatures as `help` and the site print them: short enough to read, with few arguments."""

import importlib
import inspect
import pkgutil
import typing
from types import ModuleType

import jax.numpy as jnp
import jaxtyping
import pytest

import jaxdl

LIMIT = 550  # five lines of help
LONG = {
    "jaxdl.optimizers.adafactor": "its keywords are optax's",
    "jaxdl.optimizers.muon": "its keywords are optax's, among them those of the AdamW inside it",
    "jaxdl.optimizers.sophia": "its keywords are optax's, among them those of the estimate",
}
MANY = 10  # arguments of a function; optimizers are exempt, as their keywords are optax's


def public():
    """Return every callable of the public namespaces by name, including those of exported modules."""
    found, namespaces = {}, [importlib.import_module(f"jaxdl.{m.name}") for m in pkgutil.iter_modules(jaxdl.__path__)]
    while namespaces:
        namespace = namespaces.pop()
        for name in getattr(namespace, "__all__", [name for name in vars(namespace) if not name.startswith("_")]):
            value = getattr(namespace, name)
            if isinstance(value, ModuleType) and value.__name__.startswith("jaxdl."):
                namespaces.append(value)
            elif callable(value) and (getattr(value, "__module__", None) or "").startswith("jaxdl"):
                found[f"{namespace.__name__}.{name}"] = value
    return found


PUBLIC = public()
FUNCTIONS = {name: value for name, value in PUBLIC.items() if not isinstance(value, type)}  # a class is a record here
SIGNATURES = {name: inspect.signature(value) for name, value in FUNCTIONS.items()}


def test_the_namespaces_are_seen():
    assert len(FUNCTIONS) > 300
    assert {"jaxdl.losses.hinge", "jaxdl.optimizers.adamw", "jaxdl.studies.statistics.bootstrap"} <= set(FUNCTIONS)


def test_signatures_are_short_enough_to_read():
    long = {name: len(str(signature)) for name, signature in SIGNATURES.items() if len(str(signature)) > LIMIT}
    assert set(long) == set(LONG), f"from __future__ import annotations prints annotations as written: {long}"


def test_annotations_of_optimizers_are_printed_as_written():
    signature = str(inspect.signature(jaxdl.optimizers.adamw))
    assert "weight_decay: 'ScalarOrSchedule | None' = None, mask: 'Mask' = None, *, nesterov: 'bool'" in signature


def test_every_postponed_annotation_evaluates():
    # a linter that unquotes a jaxtyping shape such as "..." leaves a name that nothing defines
    for name, function in FUNCTIONS.items():
        try:
            typing.get_type_hints(function)
        except (AttributeError, NameError, SyntaxError) as error:
            raise AssertionError(f"{name}: its annotations do not evaluate") from error


def test_the_suite_still_checks_postponed_annotations():
    with pytest.raises(jaxtyping.TypeCheckError):
        jaxdl.optimizers.adam(0.1, nesterov=3)
    with pytest.raises(jaxtyping.TypeCheckError):
        jaxdl.schedules.cosine(0.1, 2.5)


def test_no_function_has_more_arguments_than_a_reader_can_hold():
    many = {name: len(s.parameters) for name, s in SIGNATURES.items() if len(s.parameters) > MANY}
    assert {name for name in many if not name.startswith("jaxdl.optimizers.")} == set(), many


KEYED = [name for name, signature in SIGNATURES.items() if next(iter(signature.parameters), None) == "key"]


@pytest.mark.parametrize("name", KEYED)
def test_what_is_no_key_is_named_before_all_else(name, monkeypatch):
    """So that arguments in the order of flax and PyTorch, which take the key last, are told so."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    needed = [one for one in SIGNATURES[name].parameters.values() if one.default is one.empty]
    options = {one.name: 0.5 for one in needed if one.kind is one.KEYWORD_ONLY}
    given = [one for one in needed if one.kind is not one.KEYWORD_ONLY]
    for key in (0, jnp.ones((2, 2, 1))):
        with pytest.raises(ValueError, match=r"^key\b.* PRNG keys?\b|^key is .*expected one random key"):
            FUNCTIONS[name](key, *[None] * (len(given) - 1), **options)
