"""Are two optimizers the same algorithm? Verdicts by hand and numpy, planted causes, maps, streams, mistakes."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import compare, nn, schedules
from jaxdl import optimizers as ours
from jaxdl.compare import settings, streams
from jaxdl.optimizers import conventions

KEY = jax.random.key(0)
PARAMS = {"w": np.float32([0.5, -1.0, 1.5]), "z": np.float32([-0.7, 0.3])}
RATE = {"learning_rate": 0.01}
NAMES = ("random", "sparse", "tiny", "huge")


@cache
def stream(name, steps=24):
    return [jax.device_get(g) for g in getattr(streams, name)(KEY, PARAMS, steps)]


@cache
def matrices(name):
    return list(getattr(streams, name)(KEY, {"m": np.zeros((3, 2), np.float32)}, 12))


def run(a, b, gradients="random", params=PARAMS, **options):
    gradients = stream(gradients) if isinstance(gradients, str) else gradients
    return compare.equivalence(a, b, params, gradients, **options)


def rate(**keywords):
    return RATE | keywords


# ---------------------------------------------------------------- verdicts


TWINS = {name: getattr(optax, name, None) or getattr(optax.contrib, name, None) for name in conventions.TABLE} | {
    "momentum": partial(optax.sgd, momentum=0.9),
    "nesterov": partial(optax.sgd, momentum=0.9, nesterov=True),
}
SAME = ("identical", "equivalent")


@pytest.mark.parametrize(
    "name", [name for name, twin in TWINS.items() if twin and name not in conventions.NEED_THE_LOSS]
)
def test_every_optimizer_is_its_optax_namesake(name):
    gradients = [{"m": g["m"]} for stream in ("tiny", "sparse", "random", "huge") for g in matrices(stream)]
    options = {"weight_decay": 1e-2} if name in ("lars", "lamb", "adamw") else {}
    options |= (
        {"estim_lr0": 0.01} if name in ("prodigy", "dadapt_adamw") else {}
    )  # it grows from there, and these streams are short
    sides = (getattr(ours, name), rate(**options)), (TWINS[name], rate(**options))
    record = run(*sides, gradients, {"m": np.float32([[0.3, -2], [1, 1], [0, 0]])}, locked=name == "lamb")
    assert record.verdict in SAME, record.ulps.max(1)
    assert record.max_ulps <= 16
    assert record.moved > 1e3
    assert record[1:5] == (None,) * 4
    assert record.ulps.shape == (48, 1)
    assert set(record.unseen) == ({"clip_value_fn"} if name == "adopt" else set())  # two functions that do the same


def test_the_measure_by_hand():
    # with g = 1 from w = 1, the rates 2⁻⁷ and 2⁻⁷ + 2⁻²⁰ part by exactly t·2⁻²⁰, 8t spacings of float32 at 1
    sides = (optax.sgd, {"learning_rate": 2**-7}), (optax.sgd, {"learning_rate": 2**-7 + 2**-20})
    params, gradients = {"x": jnp.ones(3), "y": jnp.ones(2)}, [{"x": jnp.zeros(3), "y": jnp.ones(2)}] * 4
    record = run(*sides, gradients, params)
    assert (record.verdict, record.step, record.leaf) == ("different", 2, "['y']")
    np.testing.assert_array_equal(record.ulps, [[0, 8], [0, 16], [0, 24], [0, 32]])
    np.testing.assert_array_equal(record.absolute[:, 1], np.arange(1, 5) * 2.0**-20)
    np.testing.assert_array_equal(record.relative, record.absolute)
    assert (record.max_ulps, record.max_absolute, record.max_relative) == (32, 2**-18, 2**-18)
    assert record.moved == 4 * (2**-7 + 2**-20) * 2**23
    assert record.leaves == ("['x']", "['y']")
    assert record.cause == "learning rate: learning_rate=0.0078125 against 0.00781345367431640625"[: len(record.cause)]
    assert record.mapping == {"learning_rate": 2**-7 + 2**-20}
    assert run(*sides, gradients, params, steps=2).verdict == "equivalent"
    locked = run(*sides, gradients, params, locked=True)
    assert locked.verdict == "equivalent"
    np.testing.assert_array_equal(locked.ulps[:, 1], 8)
    same = run(sides[0], sides[0], gradients, params)
    assert (same.verdict, same.max_ulps, same.max_absolute, same.unseen) == ("identical", 0, 0, {})


def test_the_scale_is_the_largest_so_far():
    # both pass zero, where 1 ulp of the distance travelled is many ulps of the position
    small = {"learning_rate": 2**-7}
    record = run((optax.sgd, small), (optax.sgd, {"learning_rate": 2**-7 + 2**-30}), [jnp.ones(())] * 140, jnp.ones(()))
    assert record.verdict == "equivalent"
    assert record.absolute[127] / np.spacing(np.float32(2**-12)) > 16
    assert record.unseen == {"learning_rate": (2**-7, 2**-7 + 2**-30)}


def adam_in_numpy(gradients, start, keras):
    w, m, v, points = np.float64(start), 0.0, 0.0, []
    for t, g in enumerate(np.float64(gradients), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        m_hat, root = m / (1 - 0.9**t), np.sqrt(1 - 0.999**t)
        w = w - 0.01 * (m_hat * root / (np.sqrt(v) + 1e-7) if keras else m_hat / (np.sqrt(v) / root + 1e-8))
        points.append(w)
    return np.array(points)


def test_step_and_leaf_of_eps_hat_against_a_numpy_loop():
    noise = np.random.RandomState(0).normal(size=(20, 3)) + 3
    late = np.where(np.arange(20)[:, None] < 7, 0.0, 1e-7 * noise)
    start = np.float32([1, -1, 1.5])
    apart = [np.abs(adam_in_numpy(g, start, False) - adam_in_numpy(g, start, True)).max(1) for g in (noise, late)]
    ulps = np.stack(apart, 1) / np.spacing(np.float32(1.5))
    expected = int(np.argmax((ulps > 16).any(1)))
    assert expected == 7
    gradients = [{"early": e, "late": s} for e, s in zip(np.float32(noise), np.float32(late), strict=True)]
    record = run((optax.adam, RATE), (ours.adam, rate(convention="keras")), gradients, {"early": start, "late": start})
    assert (record.verdict, record.step, record.leaf) == ("different", expected, "['late']")
    np.testing.assert_allclose(record.absolute[7:, 1], apart[1][7:], rtol=1e-3)
    assert record.ulps[:, 0].max() <= 16
    assert "eps placement: eps_hat=False against True" in record.cause
    assert record.mapping is None


# ---------------------------------------------------------------- not finite, half precision


def test_nan_in_both_is_no_difference_and_in_one_is():
    bad = [{"w": g["w"] * np.float32([1, np.nan, 1]), "z": g["z"]} for g in stream("random")[:6]]
    record = run((optax.adam, RATE), (ours.adam, RATE), bad)
    assert (record.verdict, record.max_ulps) == ("identical", 0)
    guarded = optax.chain(optax.zero_nans(), optax.adam(0.01))
    record = run(guarded, optax.adam(0.01), stream("random")[:3] + bad[3:])
    assert (record.verdict, record.step, record.leaf) == ("different", 3, "['w']")
    assert math.isnan(record.max_ulps)
    assert np.isnan(record.ulps[3:, 0]).all()
    assert (record.ulps[:3] <= 16).all()
    assert np.isfinite(record.ulps[:, 1]).all()
    # the other entries of a leaf with NaN are still measured
    record = run(optax.sgd(0.01), optax.sgd(0.02), bad)
    assert np.isfinite(record.ulps).all()
    assert record.verdict == "different"


def test_a_zero_gradient_in_float16_breaks_optax_alone():
    params, gradients = jnp.ones(2, jnp.float16), [jnp.zeros(2, jnp.float16)] * 2
    record = run((optax.adam, RATE), (ours.adam, RATE), gradients, params)
    assert (record.verdict, record.step, record.leaf) == ("different", 0, "")
    assert math.isnan(record.max_ulps)
    assert record.cause.startswith("implementation: no keyword differs")


def test_bfloat16_has_two_ulps():
    # the spacing at 1 is 2⁻⁷, and no rounding makes a difference of 3 spacings in one step
    params, gradients = jnp.ones(2, jnp.bfloat16), [-jnp.ones(2, jnp.bfloat16)]
    for steps, verdict in ((2, "equivalent"), (3, "different")):
        record = run(optax.sgd(2**-6), optax.sgd(2**-6 + steps * 2**-7), gradients, params)
        assert (record.verdict, record.max_ulps) == (verdict, steps)


# ---------------------------------------------------------------- causes


def planted(factory, name, **keywords):
    return getattr(factory, name), rate(**keywords)


PLANTED = {
    "eps value": (planted(optax, "adam", eps=1e-4), planted(ours, "adam"), "random", {"eps": 1e-8}),
    "eps placement": (planted(optax, "adam"), planted(ours, "adam", eps_hat=True), "tiny", None),
    "eps placement in the root": (
        planted(ours, "rmsprop"),
        planted(ours, "rmsprop", eps_in_sqrt=False),
        "tiny",
        None,
    ),
    "eps placement beside the root": (
        planted(optax, "adam", eps=0.0, eps_root=1e-8),
        planted(optax, "adam"),
        "tiny",
        {"eps": 1e-8, "eps_root": 0.0},
    ),
    "eps placement in the maximum": (planted(optax, "adamax"), planted(ours, "adamax", eps_in_max=False), "tiny", None),
    "bias correction": (planted(optax, "amsgrad"), planted(optax, "amsgrad", bias_correction_nu=False), "random", None),
    "decay value": (
        planted(optax, "adamw", weight_decay=0.1),
        planted(ours, "adamw", weight_decay=0.2),
        "random",
        {"weight_decay": 0.2},
    ),
    "initial accumulator": (
        planted(optax, "adagrad"),
        planted(ours, "adagrad", initial_accumulator_value=0.0),
        "random",
        {"initial_accumulator_value": 0.0},
    ),
    "nesterov form": (planted(ours, "momentum"), planted(optax, "sgd", momentum=0.9, nesterov=True), "random", None),
    "maximum placement": (planted(optax, "amsgrad"), planted(ours, "amsgrad", max_of_raw=True), "sparse", None),
    "averaging rate": (planted(optax, "rmsprop"), planted(ours, "rmsprop", decay=0.99), "random", {"decay": 0.99}),
    "momentum schedule": (planted(optax, "nadam"), planted(ours, "nadam", convention="keras"), "random", None),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_difference_is_named(case):
    a, b, gradients, mapping = PLANTED[case]
    record = run(a, b, gradients)
    assert record.verdict == "different"
    words = [part.split(":")[0] for part in record.cause.split("; ")]
    assert set(words) - {"rounding of the bias correction"} == {" ".join(case.split()[:2])}, record.cause
    assert record.mapping == mapping


def test_the_fewest_keywords_are_named():
    # b differs in four keywords, but only the averaging rate matters on this stream
    b = (ours.adam, rate(b2=0.9, eps=2e-8, eps_root=1e-18, form={"exact_correction": True}))
    record = run((optax.adam, RATE), b)
    assert record.cause == "averaging rate: b2=0.999 against 0.9"
    assert record.mapping == {"b2": 0.9}
    both = run((optax.sgd, rate(momentum=0.9)), (ours.sgd, rate(momentum=0.5, nesterov=True)))
    assert both.cause == "momentum value: momentum=0.9 against 0.5; nesterov form: nesterov=False against True"
    assert both.mapping is None


def test_keywords_that_do_not_show_are_listed():
    record = run((optax.adam, RATE), (ours.adam, rate(eps=1e-9)))
    assert record.verdict in SAME
    assert (record.cause, record.unseen) == (None, {"eps": (1e-8, 1e-9)})


def test_optimizers_that_are_cases_of_another():
    record = run((optax.nadam, RATE), (ours.adam, rate(nesterov=True)))
    assert (record.verdict, record.unseen) == ("identical", {})
    record = run((optax.adam, RATE), (optax.adamw, rate(weight_decay=0.1)))
    assert (record.cause, record.mapping) == ("decay value: weight_decay=0.0 against 0.1", None)  # adam has no decay
    assert run((optax.rmsprop, RATE), (optax.adam, RATE)).cause == "algorithm: rmsprop against adam"


def l2_adam(learning_rate, weight_decay):
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


@pytest.mark.slow
def test_decay_coupled_to_the_gradient_or_to_the_rate():
    decay = rate(weight_decay=0.1)
    record = run((optax.adamw, decay), (l2_adam, decay))
    assert record.cause.startswith("decay coupling: decay_form='joint' against 'coupled' (")
    record = run((l2_adam, decay), (optax.adam, RATE))
    words = "decay value: weight_decay=0.1 against 0.0; decay coupling: decay_form='coupled' against 'joint' (found by"
    assert record.cause.startswith(words)
    record = run((ours.adamw, decay), (ours.adamw, decay | {"form": {"decay_form": "unscaled"}}))
    assert record.cause == "decay coupling: decay_form='joint' against 'unscaled'"
    assert record.mapping == {"weight_decay": pytest.approx(0.1 / 0.01)}
    record = run((ours.adamw, decay | {"form": {"decay_form": "unscaled"}}), (optax.adamw, decay))
    assert record.mapping == {"weight_decay": pytest.approx(0.1 * 0.01)}


PENALISED = "sgd momentum nesterov adagrad rmsprop adam adamax nadam amsgrad radam".split()  # noqa: SIM905


@pytest.mark.parametrize("name", PENALISED)
def test_an_l2_penalty_is_a_decay_that_differs(name):
    factory, keywords = getattr(ours, name), rate(convention="torch")
    record = run((factory, keywords | {"weight_decay": 0.1}), (factory, keywords))
    assert (record.cause, record.mapping) == ("decay value: weight_decay=0.1 against 0.0", {"weight_decay": 0.0})
    record = run((factory, keywords), (factory, keywords | {"weight_decay": 0.1}))
    assert (record.cause, record.mapping) == ("decay value: weight_decay=0.0 against 0.1", {"weight_decay": 0.1})
    by_hand = optax.chain(optax.add_decayed_weights(0.1), factory(**keywords))
    assert run((factory, keywords | {"weight_decay": 0.1}), by_hand).verdict in SAME


@pytest.mark.parametrize("name", sorted(set(settings.FAMILIES) - conventions.NEED_THE_LOSS))
def test_settings_of_every_optimizer_build_it(name):
    pair = getattr(ours, name), RATE
    known = settings.pair(pair, "a")
    assert isinstance(known, settings.Known)
    assert run(known.settings.build(), pair).verdict in SAME


def test_an_l2_penalty_is_a_decay_that_is_coupled():
    penalty, decay = rate(convention="torch", weight_decay=0.1), rate(weight_decay=0.1)
    exact = {"form": {"exact_correction": True}}
    record = run((ours.adam, penalty), (ours.adamw, decay | exact))
    assert (record.cause, record.mapping) == ("decay coupling: decay_form='coupled' against 'joint'", None)
    record = run((optax.adam, RATE), (ours.adam, penalty))
    assert "decay value: weight_decay=0.0 against 0.1" in record.cause
    record = run((ours.sgd, rate()), (ours.sgd, penalty))  # whose first side takes no penalty under optax's convention
    assert (record.cause, record.mapping) == ("decay value: weight_decay=0.0 against 0.1", None)


def test_opaque_sides():
    a, b = optax.adam(0.01), (optax.adam, rate(b1=0.5))
    assert run(a, ours.adam(0.1)).cause.startswith("cannot know: both sides are opaque")
    record = run(a, b)
    assert record.cause.startswith("cannot know: a is opaque, and no convention tried on b does the same")
    assert record.mapping is None
    record = run((optax.sgd, rate(momentum=0.9)), ours.nesterov(0.01))
    assert record.cause.startswith("cannot know what is in b, which is opaque; a does the same with nesterov form:")


@pytest.mark.slow
def test_eps_inside_the_root_of_a_factory_of_ones_own_is_found():
    inside, outside = {"eps": 0.0, "eps_root": 1e-3}, {"eps": 1e-3, "eps_root": 0.0}
    for theirs, known in ((inside, outside), (outside, inside)):
        record = run(
            (lambda learning_rate, own=theirs: optax.adam(learning_rate, **own), RATE), (optax.adam, rate(**known))
        )
        expected = [f"eps placement: {name}={theirs[name]} against {known[name]}" for name in ("eps", "eps_root")]
        assert record.cause.startswith("; ".join(expected) + " (found by trying")


def test_an_implementation_that_departs_from_its_keywords():
    # optax's adadelta without a rate climbs, and no keyword of ours does that
    assert run((optax.adadelta, {}), (ours.adadelta, {})).cause.startswith("implementation: no keyword differs")
    record = run((optax.adadelta, {}), (ours.adadelta, {"learning_rate": 0.5}))
    assert record.cause.startswith("learning rate: learning_rate=1.0 against 0.5; implementation: a does not")


# ---------------------------------------------------------------- maps


def test_an_average_of_gradients_is_momentum_at_another_rate():
    ema = (ours.sgd, rate(momentum=0.9, momentum_form="ema"))
    record = run(ema, (optax.sgd, rate(momentum=0.8)))
    assert record.mapping == {"momentum": 0.8, "learning_rate": pytest.approx(0.01 / (1 - 0.8))}
    schedule = schedules.step(0.01, {5: 0.1})
    a, b = (optax.sgd, {"learning_rate": 0.3, "momentum": 0.9}), (ema[0], ema[1] | {"learning_rate": schedule})
    record = run(a, b)
    assert "momentum form: momentum_form='heavy_ball' against 'ema'" in record.cause
    assert set(record.mapping) == {"learning_rate"}
    steps = jnp.array([0, 4, 5])
    np.testing.assert_allclose(record.mapping["learning_rate"](steps), [1e-3, 1e-3, 1e-4], rtol=1e-5)
    assert run((a[0], a[1] | record.mapping), b).verdict in SAME


def test_velocity_is_heavy_ball_while_the_rate_is_constant_and_has_no_map_after():
    forms = [rate(momentum=0.9, momentum_form=form) for form in ("velocity", "heavy_ball")]
    assert run((ours.sgd, forms[0]), (ours.sgd, forms[1])).verdict in SAME
    falling = {"learning_rate": schedules.step(0.01, {5: 0.1})}
    record = run((ours.sgd, forms[0] | falling), (ours.sgd, forms[1] | falling))
    assert record.step == 5
    assert record.cause == "momentum form: momentum_form='velocity' against 'heavy_ball'"
    assert record.mapping is None
    # the search proposes the rate that turns an average into a sum, which is wrong here
    record = run((ours.sgd, forms[0] | falling), (ours.sgd, rate(momentum=0.9, momentum_form="ema") | falling))
    assert record.cause == "momentum form: momentum_form='velocity' against 'ema'"
    assert record.mapping is None


def test_adam_without_bias_correction_is_keras_adam_at_a_rate_of_its_own():
    almost = (ours.adam, rate(bias_correction=False, eps=1e-7))
    record = run(almost, (ours.adam, rate(convention="keras")), "tiny")
    assert record.cause.startswith("eps placement: eps_hat=False against True; bias correction: bias_correction=False")
    expected = [0.01 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t) for t in (1, 10)]
    np.testing.assert_allclose(
        [record.mapping["learning_rate"](jnp.int32(t - 1)) for t in (1, 10)], expected, rtol=1e-4
    )


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("name", NAMES)
def test_streams_are_sequences_of_trees_like_the_parameters(name):
    params = {"w": jnp.ones((50, 40), jnp.bfloat16), "b": np.zeros(3), "s": jnp.float16(1)}
    made = getattr(streams, name)(KEY, params, 3)
    assert len(made) == len(list(made)) == 3
    kinds = jax.tree.map(lambda x: (np.shape(x), jnp.result_type(x)), params)
    assert all(jax.tree.map(lambda x: (x.shape, x.dtype), g) == kinds for g in made)
    assert all(np.isfinite(x).all() for g in made for x in jax.tree.leaves(g))
    jax.tree.map(np.testing.assert_array_equal, made[-1], made[2])
    jax.tree.map(np.testing.assert_array_equal, made[1:], list(made)[1:])
    other = getattr(streams, name)(jax.random.key(1), params, 3)
    for differs in (made[1]["w"], other[0]["w"]):
        assert np.mean(np.asarray(made[0]["w"]) != np.asarray(differs)) > 0.1
    with pytest.raises(IndexError):
        made[3]


def test_streams_are_what_they_say():
    params = {"x": np.zeros((100, 100), np.float32)}

    def drawn(name, **options):
        return np.stack([g["x"] for g in getattr(streams, name)(KEY, params, 3, **options)])

    normal = drawn("random", scale=2.0)
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 2], atol=0.05)
    sparse = drawn("sparse", density=0.2)
    assert (sparse != 0).mean() == pytest.approx(0.2, abs=0.01)
    assert sparse[sparse != 0].std() == pytest.approx(1, abs=0.03)
    for name, low, high in (("tiny", 1e-10, 1e-3), ("huge", 1e3, 1e15)):
        # E log10|N(0, 1)| = (ψ(½) + ln 2)/(2 ln 10) = -0.2758; an entry keeps its magnitude over the steps
        logs = np.log10(np.abs(drawn(name)))
        assert logs.mean() == pytest.approx((math.log10(low) + math.log10(high)) / 2 - 0.2758, abs=0.1)
        assert logs.std(0).mean() < 1 < logs.std() < 6


def test_the_gradients_of_a_run():
    rng = np.random.RandomState(0)
    images, labels = rng.uniform(size=(6, 5)).astype(np.float32), rng.randint(3, size=6)
    # a batch of all examples has their mean loss in any order
    layer = nn.serial(fc=nn.Dense(3))
    params, gradients = streams.recorded(KEY, layer, images, labels, 3, batch_size=6, learning_rate=0.5)
    weights, bias = (np.float64(params["fc"][name]) for name in ("kernel", "bias"))
    for found in gradients:
        logits = np.exp(images @ weights + bias)
        error = (logits / logits.sum(1, keepdims=True) - np.eye(3)[labels]) / 6
        np.testing.assert_allclose(found["fc"]["kernel"], images.T @ error, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found["fc"]["bias"], error.sum(0), rtol=1e-4, atol=1e-7)
        weights, bias = weights - 0.5 * images.T @ error, bias - 0.5 * error.sum(0)


@pytest.mark.slow
def test_optimizers_on_the_gradients_of_a_lenet_run():
    rng = np.random.RandomState(0)
    images, labels = rng.uniform(size=(3, 16, 16, 1)).astype(np.float32), rng.randint(10, size=3)
    params, gradients = streams.lenet(KEY, images, labels, 2, batch_size=2)
    assert len(gradients) == 2
    assert np.any(gradients[0]["conv1"]["kernel"] != gradients[1]["conv1"]["kernel"])
    record = run((ours.adam, RATE), (optax.adam, RATE), gradients, params)
    assert record.verdict in SAME
    assert record.leaves == tuple(jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(params))
    assert len(record.leaves) == 10


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"a": optax.adam}, r"a: got function .*allowed are a GradientTransformation and a pair"),
        ({"b": (optax.adam, 0.1)}, r"b: got tuple .*, allowed are"),
        ({"b": ("adam", {})}, r"b: got tuple"),
        ({"b": (ours.adam, {"learning_rate": -1.0})}, "learning_rate is -1.0"),
        ({"b": (ours.adam, rate(convention="tensorflow"))}, "convention is 'tensorflow'"),
        (
            {"a": (optax.adam, rate(beta=0.9))},
            r"a: adam does not take the keywords \['beta', 'learning_rate'\]: got an",
        ),
        ({"b": (ours.adam, {})}, r"b: adam does not take the keywords \[\]: missing a required argument"),
        ({"b": optax.lbfgs(0.1)}, "b: its update does not run on gradients and parameters alone, as it must"),
        ({"a": ours.newton()}, r"a: its update .* alone, as it must \(value_fn is None: newton needs"),
        ({"gradients": []}, "gradients: got 0 trees, needed are at least 1"),
        ({"steps": 3}, "gradients: got 2 trees, needed are steps=3"),
        ({"steps": 0}, "steps=0: at least 1"),
        ({"gradients": [{"w": np.ones(3)}]}, r"gradients\[0\]: got a tree without z, must be"),
        ({"gradients": [PARAMS, PARAMS | {"z": np.ones(1)}]}, r"gradients\[1\]\['z'\]: got shape \(1,\), must be"),
        ({"params": {}}, "params: got no leaf"),
    ],
)
def test_mistakes_are_named(change, match):
    arguments = {
        "a": (optax.adam, RATE),
        "b": optax.adam(0.1),
        "params": PARAMS,
        "gradients": [PARAMS] * 2,
        "steps": None,
    }
    with pytest.raises(ValueError, match=match):
        compare.equivalence(**({"steps": None} | arguments | change))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: streams.random(KEY, PARAMS, 0), "steps=0"),
        (lambda: streams.random(KEY, {"n": jnp.arange(3)}), r"params\['n'\]: got int32, must be floating"),
        (lambda: streams.sparse(KEY, PARAMS, density=0.0), "density=0.0"),
        (lambda: streams.tiny(KEY, PARAMS, low=1.0, high=0.1), "low=1.0, high=0.1"),
        (lambda: streams.lenet(KEY, np.zeros((3, 28, 28, 1)), np.zeros(3, int)), "batch_size=32, 3 images"),
    ],
)
def test_mistakes_in_streams_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_generator_is_read_as_far_as_steps_say():
    def endless():
        while True:
            yield PARAMS

    record = compare.equivalence(optax.sgd(0.1), optax.sgd(0.2), PARAMS, endless(), 5)
    assert record.ulps.shape == (5, 2)
    assert record.step == 0
