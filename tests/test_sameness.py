"""Is it the same algorithm on every stream that could tell? `compare.same`, the assertion, and the command."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import same as command
from jaxdl import compare, optimizers, schedules
from jaxdl.compare import mappings, sameness

RATE = {"learning_rate": 0.01}
KERAS = (optimizers.adam, RATE | {"convention": "keras"})
ADAM = (optax.adam, RATE)


@functools.cache
def keras_against_optax():
    return compare.same(KERAS, ADAM)


@pytest.mark.slow
def test_an_eps_that_gradients_of_order_one_do_not_show_is_told_apart():
    params = sameness.starting_point()
    random = sameness.default_streams(params)["random"]
    # with eps 1e-7 and 1e-8 outside the root, N(0, 1) gradients differ by less than an ulp of the matrix
    near = compare.equivalence((optax.adam, RATE | {"eps": 1e-9}), ADAM, {"kernel": params["kernel"] + 3}, [
        {"kernel": g["kernel"]} for g in random
    ])  # fmt: skip
    assert near.verdict in ("identical", "equivalent")
    said = "on this stream, where these keywords differ but were not exercised: eps=1e-09 against 1e-08"
    assert str(near) == f"{near.verdict} {said}"
    found = keras_against_optax()
    assert (found.verdict, found.stream) == ("different", "mixed")
    assert "eps" in found.cause
    assert found.unseen == {}
    assert str(found).startswith("on the stream 'mixed': different from step ")
    assert f"cause: {found.cause}" in str(found)


# keywords of one factory that differ; the default streams must exercise each of them
EXERCISED = {
    "adam": [{"eps": 1e-9}, {"eps_root": 1e-12}, {"b1": 0.89}, {"b2": 0.9991}, {"nesterov": True}],
    "adamw": [{"weight_decay": 1.1e-4}],
    "rmsprop": [{"eps": 1e-9}, {"decay": 0.91}, {"centered": True}, {"initial_scale": 1e-9}, {"momentum": 0.1}],
    # the accumulator starts at .1, beside which the smallest eps would be below an ulp for any gradient
    "adagrad": [{"eps": 1e-4}, {"initial_accumulator_value": 0.11}],
    "sgd": [{"momentum": 0.1}],
    "lion": [{"b1": 0.91}, {"b2": 0.98}],
}


@pytest.mark.parametrize("name", EXERCISED)
def test_the_default_streams_exercise_keywords_that_differ(name):
    factory = getattr(optax, name)
    params = sameness.starting_point()
    streams = [list(stream) for stream in sameness.default_streams(params).values()]
    seen = set()
    for change in EXERCISED[name]:
        # opaque sides: no search of the cause, which compiles for long
        for stream in streams:
            if compare.equivalence(factory(**RATE), factory(**RATE | change), params, stream).verdict == "different":
                seen |= {*change}
                break
    assert seen == {key for change in EXERCISED[name] for key in change}


def test_twins_are_equivalent_and_the_record_is_returned():
    found = compare.assert_equivalent((optimizers.adam, RATE), ADAM)
    assert found.verdict in ("identical", "equivalent")
    assert [*found.records] == ["mixed", "sparse", "random"]
    assert (found.stream, found.cause, found.mapping, found.unseen) == (None, None, None, {})
    assert str(found) == f"{found.verdict} on the streams mixed, sparse, random"


def test_the_assertion_names_cause_and_place():
    streams = {"ones": [{"w": jnp.ones(2)}] * 3}
    said = r"not shown to be equivalent: on the stream .ones.: different from step 0, most in .*; cause: learning rate"
    with pytest.raises(AssertionError, match=f"{said}: .*with learning_rate=0.02"):
        compare.assert_equivalent(
            (optax.sgd, RATE), (optax.sgd, {"learning_rate": 0.02}), {"w": jnp.zeros(2)}, gradients=streams
        )


def test_what_is_not_exercised_fails_unless_it_is_allowed():
    params, streams = {"w": jnp.ones(2)}, {"ones": [{"w": jnp.ones(2)}] * 3}
    sides = (optax.adam, RATE), (optax.adam, RATE | {"eps": 1e-9})
    with pytest.raises(AssertionError, match="not exercised: eps=1e-08 against 1e-09; allow_unseen=True accepts that"):
        compare.assert_equivalent(*sides, params, gradients=streams)
    found = compare.assert_equivalent(*sides, params, gradients=streams, allow_unseen=True)
    assert found.unseen == {"eps": (1e-8, 1e-9)}
    # rounding alone never fails
    torch = (optimizers.adam, RATE | {"form": {"exact_correction": True}})
    assert [*compare.assert_equivalent(torch, (optimizers.adam, RATE), params, gradients=streams).unseen] == [
        "exact_correction"
    ]
    with pytest.raises(ValueError, match="gradients: got no stream"):
        compare.same(*sides, gradients={})


# ---------------------------------------------------------------- the command


MINE = """
import functools

import optax

half = functools.partial(optax.adam, b1=0.5)
fast = functools.partial(optax.adam, 0.02)

def opt(learning_rate):
    return optax.chain(optax.scale_by_adam(eps=1e-8), optax.scale(-learning_rate))

def own_eps(learning_rate, *, nesterov=False, b1=0.9, eps=1e-6):
    return optax.chain(optax.scale_by_adam(b1=b1, eps=eps), optax.scale(-learning_rate))

def rate_by_another_name(step_size):
    return optax.sgd(step_size)

def fixed():
    return optax.sgd(0.01)

def number(learning_rate):
    return 3

def needs_two(learning_rate, other):
    return optax.sgd(learning_rate)

def broken_update(learning_rate):
    return optax.GradientTransformation(optax.sgd(1).init, lambda grads, state, params=None: (grads, [][0]))

def broken_factory(learning_rate):
    return nothing
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "same_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_command_prints_verdict_cause_and_map(mine, capsys):
    assert command.main(["same_mine:opt", "optax.adam"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first in ("verdict: identical on these streams: mixed, sparse, random",
                     "verdict: equivalent on these streams: mixed, sparse, random")  # fmt: skip
    assert second == "not exercised: no keyword that is known to differ"
    assert command.main(["optax.sgd", "optax.sgd(learning_rate=0.02)"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("verdict: different on the stream mixed from gradient 0 on")
    assert out[1:] == [
        "cause: learning rate: learning_rate=0.01 against 0.02",
        "map: learning_rate=0.02 (of the first, to be the second)",
    ]


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        ("optax.nadam", "optax.adam", "nesterov"),
        ("optax.nadamw", "optax.adamw", "nesterov"),
        ("optax.nadam", "jaxdl.nadam", None),
        ("same_mine:half", "optax.adam", "b1=0.5 against 0.9"),
        ("same_mine:half", "optax.adam(b1=0.5)", None),
        ("same_mine:half(b1=0.25)", "optax.adam(b1=0.25)", None),
        ("same_mine:fast", "optax.adam", "learning_rate=0.02 against 0.01"),
    ],
)
def test_what_a_partial_function_sets_belongs_to_the_optimizer(mine, capsys, first, second, cause):
    assert command.main([first, second]) == (cause is not None)
    said = capsys.readouterr().out
    assert cause is None or cause in said


@pytest.mark.parametrize(
    ("first", "second", "cause"),
    [
        ("same_mine:own_eps", "optax.adam", "eps=1e-06 against 1e-08"),
        ("same_mine:own_eps(b1=0.5)", "jaxdl.adam(b1=0.5)", "eps=1e-06 against 1e-08"),
        ("jaxdl.adam", "same_mine:own_eps(b1=0.5)", "b1=0.9 against 0.5"),
        ("jaxdl.adam", "same_mine:own_eps(eps=1e-8, b1=0.5)", "b1=0.9 against 0.5"),
    ],
)
def test_defaults_of_an_own_factory_are_among_what_is_tried(mine, capsys, first, second, cause):
    assert command.main([first, second]) == 1
    assert cause in capsys.readouterr().out


def test_a_rate_by_another_name_or_none(mine, capsys):
    assert command.main(["same_mine:rate_by_another_name", "same_mine:fixed"]) == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optax.adamm", "first='optax.adamm' is unknown; the nearest is 'optax.adam"),
        ("same_mine:nothing", "first='same_mine:nothing': module 'same_mine' has no attribute"),
        ("same_mine:number", "first='same_mine:number' returned builtins.int, not an optax.GradientTransformation"),
        ("same_mine:needs_two", "first='same_mine:needs_two' is called with .*missing 1 required"),
        ("same_mine:broken_update", "an optimizer raised IndexError: list index out of range"),
        ("same_mine:broken_factory", "an optimizer raised NameError: name 'nothing' is not defined"),
        ("optax.lbfgs", "a: its update does not run on gradients and parameters alone"),
        ("optax.adam(epz=1)", "epz is no keyword to set here"),
    ],
)
def test_mistakes_are_named(mine, name, message):
    with pytest.raises(ValueError, match=message):
        command.main([name, "optax.sgd"])
    with pytest.raises(ValueError, match=r"learning_rate=0\.0 is not allowed"):
        command.main(["optax.sgd", "optax.sgd", "--learning-rate", "0"])


COSINE = optax.cosine_decay_schedule(0.01, 200)
STEPPED = optax.piecewise_constant_schedule(0.01, {5000: 0.1})  # parts from a constant where no stream comes to
PARAMS = {"m": jnp.ones((2, 2)), "v": jnp.ones(2)}


def _of_matrices(params):
    return {name: leaf.ndim > 1 for name, leaf in params.items()}


@pytest.mark.parametrize(
    ("name", "first", "second", "alike"),
    [
        ("learning_rate", schedules.cosine(0.01, 200), COSINE, True),
        ("learning_rate", optax.cosine_decay_schedule(0.01, 200), COSINE, True),
        ("learning_rate", lambda count: 0.01, 0.01, True),
        ("weight_decay", 0.01, optax.constant_schedule(0.01), True),
        ("learning_rate", STEPPED, 0.01, False),
        ("learning_rate", STEPPED, optax.piecewise_constant_schedule(0.01, {5001: 0.1}), False),
        ("learning_rate", COSINE, lambda count: COSINE(jnp.minimum(count, 150)), False),
        ("learning_rate", np.float32(0.01), 0.01, True),
        ("learning_rate", 0.01, jnp.float32(0.01), True),
        ("learning_rate", np.float64(0.01), 0.01 + 1e-12, False),
        ("eps", 1e-8, 1e-9, False),
        ("eps", np.int32(0), 1e-12, False),
        ("mask", _of_matrices, lambda params: {"m": True, "v": False}, True),
        ("mask", _of_matrices, {"m": True, "v": False}, True),
        ("mask", None, lambda params: {"m": True, "v": True}, True),
        ("weight_decay_mask", None, True, True),
        ("mask", _of_matrices, None, False),
        ("clip_value_fn", lambda count: count, lambda count: count, False),
    ],
)
def test_values_that_are_not_equal_may_mean_the_same(name, first, second, alike):
    assert mappings.act_alike(name, first, second, PARAMS) == alike


@pytest.mark.parametrize(("second", "open_ones"), [(lambda count: 0.01, []), (STEPPED, ["learning_rate"])])
def test_schedules_of_the_same_numbers_are_no_open_difference(second, open_ones):
    """They were: the assertion refused identical optimizers, since no two functions are equal."""
    sides = ((optax.sgd, {"learning_rate": rate}) for rate in (0.01, second))
    record = compare.equivalence(*sides, PARAMS, [PARAMS] * 3)
    assert (record.verdict != "different", [*record.unseen]) == (True, open_ones)


def test_a_schedule_one_step_late_is_different():
    late = (optax.sgd, {"learning_rate": lambda count: COSINE(count + 1)})
    assert compare.same((optax.sgd, {"learning_rate": COSINE}), late).verdict == "different"
