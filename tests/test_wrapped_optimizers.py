"""What stands where an optimizer should: a rate, a factory, or an object of two functions."""

import contextlib
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.compare_optimizers import contenders
from experiments.train_cnn import choices
from jaxdl import compare, optimizers, training
from jaxdl.optimizers import loops
from jaxdl.runs import names
from jaxdl.studies import cost

unchecked = inspect.unwrap  # a user's run has no beartype, which the suite puts around every function
WRAPPERS = {
    "lookahead": lambda x: unchecked(optimizers.lookahead)(x, 5, 0.5),
    "accumulate": lambda x: unchecked(optimizers.accumulate)(x, 2),
    "schedule_free": lambda x: unchecked(optimizers.schedule_free)(x, 0.1),
    "masked": lambda x: unchecked(optimizers.masked)(x, True),
    "partition": lambda x: unchecked(optimizers.partition)({"a": x}, "a"),
    "chain": lambda x: unchecked(optimizers.chain)(x),
    "sam": lambda x: unchecked(optimizers.sam)(x),
    "ascent": lambda x: unchecked(optimizers.sam)(optax.sgd(0.1), x),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_what_is_no_optimizer_is_named(name):
    for wrong, said in ((0.1, "got 0.1"), (optimizers.adam, "got adam")):
        with pytest.raises(ValueError, match=said):
            WRAPPERS[name](wrong)


def test_comparing_lookahead_says_what_it_lacks():
    with pytest.raises(ValueError, match=r"a: its update does not run.*fast"):
        compare.same(optax.lookahead(optax.sgd(0.1), 5, 0.5), optax.sgd(0.1), {"w": jnp.ones(2)}, steps=2)


def test_a_factory_may_return_multi_steps():
    made = names.make_optimizer(lambda rate: optax.MultiSteps(optax.sgd(rate), 2), 0.5)
    state, grads = made.init(jnp.zeros(1)), (jnp.array([1.0]), jnp.array([3.0]))
    first, state = made.update(grads[0], state, jnp.zeros(1))
    second, _ = made.update(grads[1], state, jnp.zeros(1))
    assert (float(first[0]), float(second[0])) == (0.0, -1.0)  # 0.5 times the mean of 1 and 3


SEARCHES = {
    "value": lambda rate: optax.polyak_sgd(rate),
    "value_fn": lambda rate: optax.chain(optax.sgd(rate), optax.scale_by_backtracking_linesearch(3)),
}


@pytest.mark.parametrize(("asks", "dtype"), [("value", "float32"), ("value_fn", "float32"), ("value_fn", "complex64")])
def test_an_optimizer_that_asks_for_the_loss_has_a_cost(asks, dtype):
    assert 0 < cost.update_microseconds(SEARCHES[asks], jnp.ones(4, dtype)) < 1e6


class Search:
    """An object, not a transformation, that asks for the loss."""

    def __init__(self, rate):
        self.rate = rate

    def init(self, params):
        return optax.EmptyState()

    def update(self, updates, state, params, *, value, value_fn):
        step = -self.rate * updates
        return jnp.where(value_fn(params + step) < value, step, 0.0), state


@pytest.mark.parametrize("around", ["alone", "chain", "partition", "optax.chain"])
def test_an_object_that_asks_for_the_loss_gets_it_through_what_is_around_it(around):
    made = names.make_optimizer(Search, 0.5)
    tx = {
        "alone": made, "chain": optimizers.chain(made), "partition": optimizers.partition({"a": made}, "a"),
        "optax.chain": optax.chain(optax.clip(9.0), made),
    }[around]  # fmt: skip
    params, square = jnp.array([2.0]), lambda w: jnp.sum(w**2)
    state = tx.init(params)
    offered = {"value": square(params), "value_fn": square}
    updates, _ = optimizers.update(tx, 2 * params, state, params, **offered)
    assert float(updates[0]) == -2.0  # 2 - 0.5 * 4 = 0, where the square is lower


def growing(rate):
    def update(updates, state, params=None):
        memory = updates if state is None else jax.tree.map(jnp.add, state, updates)
        return jax.tree.map(lambda m: -rate * m, memory), memory

    return optax.GradientTransformation(lambda params: None, update)


def test_a_state_that_becomes_another_tree_is_named():
    with pytest.raises(ValueError, match=r"state like that of its init, which is None; it returns .*float32\[2\]"):
        loops.settled(growing(0.1), [jnp.ones(2)], [jnp.ones(2)])
    with pytest.raises(ValueError, match="must return a state like that of its init"):
        cost.update_microseconds(growing, jnp.ones(2))


@pytest.mark.parametrize(
    ("update", "shape"),
    [
        (lambda g: g.sum(), r"\(\)"),
        (lambda g: g[:1], r"\(1,\)"),
        (lambda g: g[None], r"\(1, 3\)"),
        (lambda g: 0.0, r"\(\)"),
    ],
    ids=["a sum", "one entry", "one axis more", "a number"],
)
@pytest.mark.parametrize("around", ["alone", "chain"])
def test_an_update_of_another_shape_is_named(update, shape, around):
    """Adding would broadcast it: the sum of a gradient moved every weight of the layer, in silence."""

    def one_changed(updates: Any, params: Any = None):
        return {**updates, "b": update(updates["b"])}

    tx = optax.stateless(one_changed)
    tx = optax.chain(tx, optax.identity()) if around == "chain" else tx
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    with pytest.raises(ValueError, match=rf"update of b has the shape {shape}, allowed is .* the parameter, \(3,\)"):
        optimizers.update(tx, params, tx.init(params), params)


def branching_factory(rate):
    return optax.sgd(rate) if rate else optax.identity()


def branching_update(rate):
    tx = optax.sgd(1.0)
    return optax.GradientTransformation(
        tx.init, lambda g, state, params=None: tx.update(g if rate else -g, state, params)
    )


@pytest.mark.parametrize("factory", [branching_factory, branching_update])
def test_an_optimizer_that_asks_python_about_its_rate_is_told_so(factory):
    """A study passes the rates of all runs as one array; the message named what the loop offers."""
    one = contenders.Contender("mine", factory, None)
    with pytest.raises(ValueError, match="does not work here") as caught:
        contenders.check(one, jnp.ones(2))
    assert caught.value.__cause__ is not None
    assert "as `if weight_decay:` does" in contenders.error_line(caught.value.__cause__)
    if factory is branching_update:
        assert "takes an array for a Python value, as `if rate:` does" in str(caught.value)


ACCUMULATING = {
    "optax": lambda rate: optax.MultiSteps(optax.sgd(rate), 4),
    "jaxdl": lambda rate: optimizers.accumulate(optimizers.sgd(rate), 4),
    "in a chain": lambda rate: optax.chain(
        optax.clip(9.0), optax.MultiSteps(optax.sgd(rate), 4).gradient_transformation()
    ),
}


@pytest.mark.parametrize("name", ACCUMULATING)
def test_the_rate_of_an_optimizer_that_accumulates_is_that_of_its_own_steps(name):
    """Ten batches are two steps of four batches; metrics.csv had the schedule's rate at ten."""
    tx, params = names.make_optimizer(ACCUMULATING[name], lambda count: 0.1 / (1 + count)), jnp.ones(2)
    state = tx.init(params)
    for _ in range(10):
        _, state = tx.update(params, state, params)
    assert choices.updates_made(state, 10) == 2
    assert choices.updates_made(optax.sgd(0.1).init(params), 10) == 10


def test_the_rate_in_half_precision_is_that_of_the_steps_that_were_not_skipped():
    tx, params = training.loss_scaled(optax.sgd(lambda count: 0.1 / (1 + count))), jnp.ones(2)
    state, rate = tx.init(params), None
    for step in range(10):
        updates, state = tx.update(params * (jnp.inf if step in (0, 1, 5) else 1.0), state, params)
        rate = -float(updates[0])
    assert choices.updates_made(state, 10) == 7
    assert choices.overflows(state) == 3
    assert rate == pytest.approx(0.1 / 7)


@pytest.mark.parametrize("name", [*ACCUMULATING, "none"])
def test_a_schedule_over_an_optimizer_that_accumulates_is_warned_of(name, monkeypatch):
    build: Any = ACCUMULATING.get(name, optax.sgd)
    monkeypatch.setattr(names, "optimizer", lambda text: build)
    params = {"w": jnp.ones(2)}
    slow = pytest.warns(RuntimeWarning, match="steps once for several batches, and a schedule counts those steps")
    with contextlib.nullcontext() if name == "none" else slow:
        choices.optimizer("sgd", lambda count: 0.1 / (1 + count), None, params, functions=True)
    choices.optimizer("sgd", 0.1, None, params, functions=True)  # a constant rate is the same at any step
    one = contenders.Contender("sgd", lambda given: names.make_optimizer(build, jnp.ravel(given)[0]), None)
    with contextlib.nullcontext() if name == "none" else slow:
        contenders.check(one, params, settings=2)
    contenders.check(one, params)


ASKING = {
    "schedule-free": lambda: optimizers.schedule_free_sgd(0.1),
    "optax's schedule-free": lambda: optax.contrib.schedule_free_sgd(0.1),
    "average": lambda: optimizers.chain(optimizers.sgd(0.1), optimizers.polyak_average(0.9)),
    "look ahead": lambda: optimizers.nesterov(0.1, convention="paper"),
}
IN_FULL = {"conv": {"kernel": True}, "head": {"kernel": False, "bias": False}}
PREFIX = {"conv": True, "head": False}
LABELS = {True: "asks", False: "plain"}


@pytest.mark.parametrize("name", ASKING)
@pytest.mark.parametrize("library", [optimizers, optax])
@pytest.mark.parametrize("around", ["partition", "masked"])
def test_groups_given_by_a_prefix_are_those_given_in_full(name, library, around):
    """A mask of a whole part was taken for arrays of another tree, when the parameters to evaluate were read."""
    params = {"conv": {"kernel": jnp.array([1.0, 2.0])}, "head": {"kernel": jnp.ones(3), "bias": jnp.zeros(())}}
    found = []
    for groups in (IN_FULL, PREFIX):
        if around == "masked":
            tx = library.masked(ASKING[name](), groups)
        else:
            labels = jax.tree.map(LABELS.get, groups)
            tx = library.partition({"asks": ASKING[name](), "plain": optimizers.sgd(0.1)}, labels)
        carried, state = params, tx.init(params)
        for _ in range(3):
            point = optimizers.gradient_point(state, carried)
            updates, state = optimizers.update(tx, jax.tree.map(lambda w: w - 3, point), state, carried)
            carried = optax.apply_updates(carried, updates)
        found.append((point, optimizers.eval_params(state, carried), carried))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), *found)
    point, judged, carried = found[1]
    differs = point if name == "look ahead" else judged
    assert (differs["conv"]["kernel"] != carried["conv"]["kernel"]).all()
