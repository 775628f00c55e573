"""Schedules against optax's namesakes and closed forms in numpy, at traced and huge steps, too."""

import inspect

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from jaxdl import data, nn, optimizers, schedules, training

STEPS = np.concatenate([np.arange(0, 130), [1000, 100_000]])

TWINS = {
    "constant": (schedules.constant(0.3), optax.constant_schedule(0.3)),
    "step": (schedules.step(0.1, {30: 0.1, 60: 0.5}), optax.piecewise_constant_schedule(0.1, {30: 0.1, 60: 0.5})),
    "polynomial": (schedules.polynomial(1.0, 0.1, 2, 100, 7), optax.polynomial_schedule(1.0, 0.1, 2, 100, 7)),
    "linear": (schedules.linear(1.0, 0.1, 100), optax.linear_schedule(1.0, 0.1, 100)),
    "exponential": (schedules.exponential(0.5, 10, 0.9, 5), optax.exponential_decay(0.5, 10, 0.9, 5)),
    "exponential_staircase": (
        schedules.exponential(0.5, 10, 0.5, 5, True, 0.1),
        optax.exponential_decay(0.5, 10, 0.5, 5, True, 0.1),
    ),
    "exponential_growth": (
        schedules.exponential(0.5, 10, 1.1, end_value=0.7),
        optax.exponential_decay(0.5, 10, 1.1, end_value=0.7),
    ),
    "cosine": (schedules.cosine(0.5, 100, 0.1, 1.5), optax.cosine_decay_schedule(0.5, 100, 0.1, 1.5)),
    "one_cycle": (schedules.one_cycle(100, 0.2), optax.cosine_onecycle_schedule(100, 0.2)),
    "one_cycle_linear": (
        schedules.one_cycle(100, 0.2, 0.25, final_div_factor=100.0, anneal="linear"),
        optax.linear_onecycle_schedule(100, 0.2, 0.25, final_div_factor=100.0),
    ),
    "warmup_cosine": (
        schedules.warmup(schedules.cosine(0.5, 90, 0.1), 10),
        optax.warmup_cosine_decay_schedule(0.0, 0.5, 10, 100, 0.05),
    ),
    "cosine_restarts": (
        schedules.cosine_restarts(0.5, 20, period_factor=2, peak_factor=0.8),
        optax.sgdr_schedule(
            [
                {"init_value": v, "peak_value": v, "warmup_steps": 0, "decay_steps": n}
                for v, n in zip(0.5 * 0.8 ** np.arange(13), 20 * 2 ** np.arange(13), strict=True)
            ]
        ),
    ),
    "joined": (
        schedules.joined([schedules.constant(1.0), schedules.linear(2.0, 0.0, 20)], [40]),
        optax.join_schedules([optax.constant_schedule(1.0), optax.linear_schedule(2.0, 0.0, 20)], [40]),
    ),
}

CLOSED = {
    "inverse_time": (schedules.inverse_time(0.3, 20, 2.0), lambda t: 0.3 / (1 + 2 * t / 20)),
    "inverse_time_staircase": (schedules.inverse_time(0.3, 20, staircase=True), lambda t: 0.3 / (1 + t // 20)),
    "inverse_sqrt": (schedules.inverse_sqrt(0.3), lambda t: 0.3 / np.sqrt(t + 1)),
    "inverse_sqrt_timescale": (schedules.inverse_sqrt(0.3, 50), lambda t: 0.3 / np.sqrt(1 + t / 50)),
    "range_test": (schedules.range_test(1e-5, 10.0, 100), lambda t: 1e-5 * 1e6 ** (np.minimum(t, 100) / 100)),
    "warmup_number": (schedules.warmup(0.4, 8, 0.1), lambda t: np.where(t < 8, 0.1 + 0.3 * t / 8, 0.4)),
    "warmup_zero": (schedules.warmup(0.4, 0), lambda t: np.full(t.shape, 0.4)),
}


@pytest.mark.parametrize("name", TWINS)
def test_equals_the_optax_namesake(name):
    ours, theirs = TWINS[name]
    expected = [theirs(jnp.asarray(t)) for t in STEPS]
    np.testing.assert_allclose([ours(jnp.asarray(t)) for t in STEPS], expected, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("name", CLOSED)
def test_equals_the_closed_form(name):
    ours, expected = CLOSED[name]
    np.testing.assert_allclose([ours(int(t)) for t in STEPS], expected(STEPS.astype(float)), rtol=2e-6)


@pytest.mark.parametrize("name", [*TWINS, *CLOSED])
def test_is_traceable_and_takes_arrays(name):
    schedule = {**TWINS, **CLOSED}[name][0]
    steps = jnp.asarray(STEPS)
    one_by_one = np.array([schedule(int(t)) for t in STEPS])
    np.testing.assert_allclose(np.broadcast_to(schedule(steps), steps.shape), one_by_one, rtol=1e-6, atol=5e-8)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(steps), one_by_one, rtol=1e-6, atol=5e-8)


def test_known_values():
    assert float(schedules.cosine(1.0, 100)(50)) == pytest.approx(0.5)
    assert float(schedules.one_cycle(100, 1.0)(30)) == pytest.approx(1.0)
    assert float(schedules.one_cycle(100, 1.0)(100)) == pytest.approx(1 / 25e4)
    assert float(schedules.step(1.0, {10: 0.1})(9)) == 1.0
    assert float(schedules.step(1.0, {10: 0.1})(10)) == pytest.approx(0.1)
    assert float(schedules.inverse_sqrt(1.0)(3)) == 0.5


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: schedules.cosine(1.0, 0), "decay_steps is 0"),
        (lambda: schedules.polynomial(1.0, 0.0, 1, -3), "transition_steps is -3"),
        (lambda: schedules.linear(1.0, 0.0, 5, -1), "transition_begin is -1"),
        (lambda: schedules.exponential(1.0, 5, 0.0), "decay_rate is 0"),
        (lambda: schedules.exponential(1.0, 5, float("nan")), "decay_rate is nan"),
        (lambda: schedules.step(1.0, {3: -0.1}), r"boundaries_and_scales\[3\] is -0.1"),
        (lambda: schedules.one_cycle(0, 1.0), "transition_steps is 0"),
        (lambda: schedules.one_cycle(10, 1.0, 1.5), "pct_start is 1.5"),
        (lambda: schedules.one_cycle(10, 1.0, anneal="linear", pct_final=0.1), "pct_final is 0.1"),
        (lambda: schedules.one_cycle(10, 1.0, anneal="square"), "anneal is 'square'"),
        (lambda: schedules.one_cycle(10, 1.0, div_factor=0.0), "div_factor is 0"),
        (lambda: schedules.inverse_time(1.0, 0), "transition_steps is 0"),
        (lambda: schedules.inverse_sqrt(1.0, 0), "timescale is 0"),
        (lambda: schedules.warmup(1.0, -1), "warmup_steps is -1"),
        (lambda: schedules.joined([schedules.constant(1.0)], [3]), "boundaries has 1 entries for 1"),
        (lambda: schedules.joined([schedules.constant(1.0)] * 3, [5, 3]), r"boundaries is \[5, 3\]"),
        (lambda: schedules.range_test(0.0, 1.0, 10), "init_value is 0"),
        (lambda: schedules.cosine_restarts(1.0, 0), "decay_steps is 0"),
        (lambda: schedules.cosine_restarts(1.0, 5, period_factor=0), "period_factor is 0"),
        (lambda: schedules.reduce_on_plateau(factor=1.0), "factor is 1.0: it must lie between 0 and 1"),
        (lambda: schedules.reduce_on_plateau(rtol=1.5), "rtol is 1.5"),
        (lambda: schedules.reduce_on_plateau().update({}, schedules.reduce_on_plateau().init({})), "value: got none"),
        (lambda: schedules.reduce_on_plateau(atol=-1.0), "atol is -1.0"),
        (lambda: schedules.reduce_on_plateau(rtol=0.0), "rtol and atol are 0"),
    ],
)
def test_a_mistake_is_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()


# ---------------------------------------------------------------- plateaus

RULES = {
    "defaults": {},
    "patient": {"patience": 3, "factor": 0.5, "cooldown": 2},
    "means": {"patience": 2, "factor": 0.5, "accumulation_size": 4, "min_scale": 0.2},
    "absolute": {"patience": 2, "rtol": 0.0, "atol": 0.05, "min_scale": 0.3},
}


@pytest.mark.parametrize("name", RULES)
def test_reduce_on_plateau_goes_through_the_states_of_optax(name):
    ours, theirs = schedules.reduce_on_plateau(**RULES[name]), optax.contrib.reduce_on_plateau(**RULES[name])
    params = {"w": jnp.ones(3), "b": jnp.ones(())}
    a, b = ours.init(params), theirs.init(params)
    values = jnp.asarray(np.random.default_rng(0).normal(size=60) * 0.2 + 1 / (1 + np.arange(60)), jnp.float32)

    def run(transformation, state):
        step = lambda state, value: transformation.update({"w": 2 * jnp.ones(3)}, state, value=value)[::-1]
        last, updates = jax.lax.scan(step, state, values)
        states = [step(state, values[0])[0]]
        for value in values[1:]:
            states.append(step(states[-1], value)[0])
        return last, updates, states

    ours, theirs = jax.jit(lambda: run(ours, a))(), jax.jit(lambda: run(theirs, b))()
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for x, y in zip(jax.tree.leaves((a, ours)), jax.tree.leaves((b, theirs)), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x.astype(jnp.float32), y.astype(jnp.float32), rtol=1e-6)
    assert float(ours[0].scale) < 1


def test_small_improvements_count_beside_narrow_parameters():
    plateau = schedules.reduce_on_plateau(patience=2)
    state = plateau.init({"w": jnp.ones(3, jnp.bfloat16), "n": jnp.ones((), jnp.int32)})
    for value in np.linspace(1, 0.99, 12, dtype=np.float32):  # in bfloat16 most of them are equal
        updates, state = plateau.update({"w": jnp.ones(3, jnp.bfloat16)}, state, value=value)
    assert float(state.scale) == 1
    assert (state.scale.dtype, updates["w"].dtype) == (jnp.float32, jnp.bfloat16)


def test_a_plateau_lowers_the_rate_of_a_training():
    """A constant loss is a plateau from its second value on."""
    layer, labels = nn.serial(out=nn.Dense(2)), np.array([0, 1, 1, 0])
    for wrap in (lambda one: one, jax.jit):
        optimizer = optax.chain(optimizers.sgd(0.0), schedules.reduce_on_plateau(0.5, patience=2))
        state = training.create(jax.random.key(0), layer, optimizer, (3,))
        step = wrap(training.train_step(layer, optimizer))
        batch = data.Batch(np.ones((4, 3), np.float32), labels, np.ones(4, np.float32), np.arange(4))
        for _ in range(5):
            state, _ = step(state, batch, jax.random.key(1))
        assert float(state.opt_state[1].scale) == 0.25


def test_a_plateau_of_validation_losses_needs_no_parameters():
    plateau = schedules.reduce_on_plateau(patience=2, cooldown=1)
    state, scales = plateau.init({}), []
    for value in (1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
        _, state = plateau.update({}, state, value=value)
        scales.append(round(float(state.scale), 6))
    assert scales == [1, 1, 1, 0.1, 0.1, 0.1, 0.01]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patience": 0}, "patience is 0: it must be a whole number of at least 1"),
        ({"patience": 2.5}, "patience is 2.5"),
        ({"patience": float("inf")}, "patience is inf"),
        ({"cooldown": -1}, "cooldown is -1"),
        ({"accumulation_size": 0}, "accumulation_size is 0"),
        ({"min_scale": -0.1}, r"min_scale is -0.1: it must be in \[0, 1\]"),
        ({"min_scale": 2}, "min_scale is 2"),
    ],
)
def test_a_plateau_of_no_values_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        schedules.reduce_on_plateau(**options)


NUMBERS = {  # of schedules that are made of numbers alone, of each as many as it needs
    name: [0.1 if one.annotation != "int" else 10 for one in needed]
    for name in schedules.__all__
    if inspect.isfunction(function := getattr(schedules, name)) and name not in ("joined", "warmup")
    if (needed := [one for one in inspect.signature(function).parameters.values() if one.default is one.empty])
}


@pytest.mark.parametrize(
    "wrong", [schedules.constant(0.1), "0.1", None, [0.1]], ids=["schedule", "text", "None", "list"]
)
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_named_when_the_schedule_is_made(name, wrong, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for i, argument in enumerate([*inspect.signature(getattr(schedules, name)).parameters][: len(NUMBERS[name])]):
        given = [*NUMBERS[name]]
        given[i] = wrong
        with pytest.raises(ValueError, match=rf"^{argument} is .*: it must be a number$"):
            getattr(schedules, name)(*given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda cosine: schedules.warmup(5, cosine), "warmup_steps is a function: it must be a number"),
        (lambda cosine: schedules.warmup(None, 5), "value is None: it must be a number"),
        (lambda cosine: schedules.joined(cosine, [5]), "schedules is a function: it must be a sequence"),
        (lambda cosine: schedules.joined([0.1, cosine], [5]), "schedules has 0.1: it must be schedules, such as"),
        (lambda cosine: schedules.joined([cosine, cosine], 5), "boundaries is 5: it must be a sequence"),
        (
            lambda cosine: schedules.joined([cosine, cosine], [cosine]),
            r"boundaries\[0\] is a function: it must be",
        ),
    ],
)
def test_schedules_of_schedules_name_what_is_out_of_place(call, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=said):
        call(schedules.cosine(0.1, 100))
