"""Every loop of the library gives an optimizer what it asks for: where the gradient is taken, which parameters are
judged, and functions of the parameters. The expected numbers come from loops written out by hand."""

import functools

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from sklearn.datasets import load_digits

from jaxdl import data, losses, nn, optimizers, studies, training
from jaxdl.studies import problems, sweep

KEY = jax.random.key(1)
IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES, LABELS = (IMAGES[:64] / 16).astype(np.float32), LABELS[:64].astype(np.int32)
NET = nn.serial(logits=nn.Dense(10))
BATCH = data.Batch(IMAGES, LABELS, np.ones(64, np.float32), np.arange(64, dtype=np.int32))
START = {"logits": {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}}
STEPS = 6
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def objective(params):
    logits = IMAGES @ params["logits"]["kernel"] + params["logits"]["bias"][None]
    return (jax.nn.logsumexp(logits, axis=-1) - logits[np.arange(64), LABELS]).mean()


@jax.jit
def gradient(params):
    return jax.grad(objective)(params)


def tree_map(function, *trees):
    return jax.tree.map(function, *trees)


# --- loops by hand: (parameters, judged parameters) after STEPS steps ---


def published_nesterov(rate=0.5, beta=0.9, start=START, gradient=gradient, steps=STEPS):
    w, v = start, tree_map(jnp.zeros_like, start)
    for _ in range(steps):
        ahead = tree_map(lambda w, v: w + beta * v, w, v)
        v = tree_map(lambda v, g: beta * v - rate * g, v, gradient(ahead))
        w = tree_map(jnp.add, w, v)
    return w, w


def nesterov_of_the_bias_alone():
    """Train the bias by published Nesterov and the kernel by plain descent, with gradients at the mixed point."""
    w, v = START, jnp.zeros(10)
    for _ in range(STEPS):
        ahead = {"logits": {**w["logits"], "bias": w["logits"]["bias"] + 0.9 * v}}
        g = gradient(ahead)["logits"]
        v = 0.9 * v - 0.5 * g["bias"]
        w = {"logits": {"kernel": w["logits"]["kernel"] - 0.5 * g["kernel"], "bias": w["logits"]["bias"] + v}}
    return w, w


def nesterov_every_second():
    return published_nesterov(steps=STEPS // 2)  # all batches are equal, and so is their mean


def schedule_free():
    tx = optax.contrib.schedule_free(optax.sgd(0.5), 0.5, b1=0.9)
    y, state = START, tx.init(START)
    for _ in range(STEPS):
        updates, state = tx.update(gradient(y), state, y)
        y = optax.apply_updates(y, updates)
    return y, optax.contrib.schedule_free_eval_params(state, y)


def by_lookahead():
    fast = slow = START
    for step in range(1, STEPS + 1):
        fast = tree_map(lambda w, g: w - 0.5 * g, fast, gradient(fast))
        if step % 2 == 0:
            slow = fast = tree_map(lambda s, f: s + 0.3 * (f - s), slow, fast)
    return optimizers.LookaheadParams(fast=fast, slow=slow), slow


def averaged_lookahead():
    fast = slow = average = START
    for step in range(1, STEPS + 1):
        fast = tree_map(lambda w, g: w - 0.5 * g, fast, gradient(fast))
        if step % 2 == 0:
            slow = fast = tree_map(lambda s, f: s + 0.3 * (f - s), slow, fast)
        average = tree_map(lambda a, s: 0.5 * a + 0.5 * s, average, slow)
    return optimizers.LookaheadParams(fast=fast, slow=slow), average


def averaged():
    w = average = START
    for _ in range(STEPS):
        w = tree_map(lambda w, g: w - 0.5 * g, w, gradient(w))
        average = tree_map(lambda a, w: 0.5 * a + 0.5 * w, average, w)
    return w, average


def sharpness_aware(steps=STEPS):
    w = START
    for _ in range(steps):
        g = gradient(w)
        length = optax.tree.norm(g)
        climbed = tree_map(lambda w, g, n=length: w + 0.1 * g / n, w, g)
        w = tree_map(lambda w, g: w - 0.5 * g, w, gradient(climbed))
    return w, w


def sharpness_aware_in_the_open():
    """An odd number of calls ends at the adversarial weights; the weights before them are judged."""
    judged = sharpness_aware(2)[0]
    g = gradient(judged)
    length = optax.tree.norm(g)
    return tree_map(lambda w, g: w + 0.1 * g / length, judged, g), judged


def by_own_loop(build, *, halves=False):
    """Call an optimizer that needs the function itself, as its docstring says."""
    tx = build()
    w, state = START, tx.init(START)

    def outputs(p):
        return IMAGES @ p["logits"]["kernel"] + p["logits"]["bias"][None]

    def loss(z):
        return (jax.nn.logsumexp(z, axis=-1) - z[np.arange(64), LABELS]).mean()

    @jax.jit
    def step(w, state):
        value, g = jax.value_and_grad(objective)(w)
        whole = {"value_fn": objective, "value": value, "grad": g}
        updates, state = tx.update(g, state, w, **({"model_fn": outputs, "loss_fn": loss} if halves else whole))
        return optax.apply_updates(w, updates), state

    for _ in range(STEPS):
        w, state = step(w, state)
    return w, w


def paper(rate=0.5, **options):
    return optimizers.nesterov(rate, convention="paper", **options)


LABELLED = {"logits": {"kernel": "plain", "bias": "ahead"}}
BIAS = {"logits": {"kernel": False, "bias": True}}
CLIMB = optax.chain(optax.contrib.normalize(), optax.sgd(0.1))
SAM = functools.partial(optax.contrib.sam, optax.sgd(0.5), CLIMB)
FREE = functools.partial(optax.contrib.schedule_free, learning_rate=0.5)

CASES = {
    "paper": (paper, published_nesterov),
    "lecture_e": (lambda: optimizers.nesterov(0.5, convention="lecture_e"), published_nesterov),
    "jaxdl chain": (lambda: optimizers.chain(optimizers.clip_by_global_norm(1e6), paper()), published_nesterov),
    "optax chain": (lambda: optax.chain(optax.clip_by_global_norm(1e6), paper()), published_nesterov),
    "apply_if_finite": (lambda: optax.apply_if_finite(paper(), 3), published_nesterov),
    "jaxdl masked": (
        lambda: optax.chain(
            optimizers.masked(paper(), BIAS), optimizers.masked(optax.sgd(0.5), tree_map(lambda keep: not keep, BIAS))
        ),
        nesterov_of_the_bias_alone,
    ),
    "optax masked": (
        lambda: optax.chain(
            optax.masked(paper(), BIAS), optax.masked(optax.sgd(0.5), tree_map(lambda keep: not keep, BIAS))
        ),
        nesterov_of_the_bias_alone,
    ),
    "jaxdl partition": (
        lambda: optimizers.partition({"plain": optax.sgd(0.5), "ahead": paper()}, LABELLED),
        nesterov_of_the_bias_alone,
    ),
    "optax partition": (
        lambda: optax.partition({"plain": optax.sgd(0.5), "ahead": paper()}, LABELLED),
        nesterov_of_the_bias_alone,
    ),
    "inject_hyperparams": (
        lambda: optax.inject_hyperparams(optimizers.sgd)(0.5, momentum=0.9, nesterov=True, convention="paper"),
        published_nesterov,
    ),
    "accumulate": (lambda: optimizers.accumulate(paper(), 2), nesterov_every_second),
    "MultiSteps": (lambda: optax.MultiSteps(paper(), 2).gradient_transformation(), nesterov_every_second),
    "schedule_free": (lambda: optax.contrib.schedule_free(optax.sgd(0.5), 0.5, b1=0.9), schedule_free),
    "jaxdl lookahead": (lambda: optimizers.lookahead(optax.sgd(0.5), 2, 0.3), by_lookahead),
    "optax lookahead": (lambda: optax.lookahead(optimizers.sgd(0.5), 2, 0.3), by_lookahead),
    "polyak_average": (lambda: optax.chain(optax.sgd(0.5), optimizers.polyak_average(0.5)), averaged),
    "an average after lookahead": (
        lambda: optax.chain(optax.lookahead(optax.sgd(0.5), 2, 0.3), optimizers.polyak_average(0.5)),
        averaged_lookahead,
    ),
    "SAM, opaque, in a chain": (
        lambda: optax.chain(optax.clip(1e3), SAM(opaque_mode=True), optimizers.polyak_average(0.0)),
        sharpness_aware,
    ),
    "SAM, opaque, of an average": (
        lambda: optax.contrib.sam(optax.chain(optax.sgd(0.5), optimizers.polyak_average(0.0)), CLIMB, opaque_mode=True),
        sharpness_aware,
    ),
    "SAM, opaque, in lookahead": (
        lambda: optimizers.lookahead(SAM(opaque_mode=True), 1, 1.0),
        lambda: (optimizers.lookahead_params(sharpness_aware()[0]), sharpness_aware()[1]),
    ),
    "jaxdl partition, optax.lbfgs": (
        lambda: optimizers.partition({"all": optax.lbfgs()}, "all"),
        lambda: by_own_loop(optax.lbfgs),
    ),
    "SAM, opaque": (lambda: SAM(opaque_mode=True), sharpness_aware),
    "optax.lbfgs": (lambda: optax.lbfgs(), lambda: by_own_loop(optax.lbfgs)),
    "optax.lbfgs, zoom": (
        lambda: optax.chain(optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(5))),
        lambda: by_own_loop(lambda: optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(5))),
    ),
    "backtracking": (
        lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
        lambda: by_own_loop(lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10))),
    ),
    "jaxdl.lbfgs": (optimizers.lbfgs, lambda: by_own_loop(optimizers.lbfgs)),
    "newton_cg": (
        lambda: optimizers.newton_cg(damping=0.1),
        lambda: by_own_loop(lambda: optimizers.newton_cg(damping=0.1)),
    ),
    "polyak_sgd": (lambda: optax.polyak_sgd(1.0), lambda: by_own_loop(lambda: optax.polyak_sgd(1.0))),
}
HALVES = {  # these need the network and the loss apart, which only a training step has
    "gauss_newton": lambda: optimizers.gauss_newton(damping=0.1),
    "natural_gradient": lambda: optimizers.natural_gradient(damping=0.1),
}


def assert_close(found, wanted, rtol=2e-5):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * float(jnp.abs(b).max()) + 1e-7)


def trained(optimizer, **options):
    step = quick_jit(training.train_step(NET, optimizer, **options))
    state = training.start(START, {}, optimizer)
    for _ in range(STEPS):
        state, _ = step(state, BATCH, KEY)
    return state


@pytest.mark.parametrize("name", CASES)
def test_train_step_is_the_loop_by_hand(name):
    build, by_hand = CASES[name]
    state = trained(build())
    params, judged = by_hand()
    assert_close(state.params, params)
    assert_close(training.eval_variables(state)[0], judged)


@pytest.mark.parametrize("name", HALVES)
def test_train_step_offers_the_network_and_the_loss_of_its_outputs(name):
    state = trained(HALVES[name]())
    assert_close(state.params, by_own_loop(HALVES[name], halves=True)[0], rtol=1e-4)


def test_in_the_open_sam_is_judged_before_its_adversarial_step():
    step = quick_jit(training.train_step(NET, SAM()))
    state = training.start(START, {}, SAM())
    for _ in range(5):
        state, _ = step(state, BATCH, KEY)
    params, judged = sharpness_aware_in_the_open()
    assert_close(state.params, params)
    assert_close(training.eval_variables(state)[0], judged)


def problem():
    return problems.make_problem(
        lambda key: START, lambda params, batch: objective(params), lambda seed, epoch: [np.zeros(1)] * STEPS, epochs=1
    )


@pytest.mark.trains
@pytest.mark.parametrize("method", sweep.METHODS)
@pytest.mark.parametrize("name", ["paper", "optax partition", "schedule_free", "jaxdl lookahead", "polyak_average",
                                  "SAM, opaque", "backtracking", "jaxdl.lbfgs"])  # fmt: skip
def test_a_sweep_is_the_loop_by_hand(name, method):
    build, by_hand = CASES[name]
    found = sweep.Sweep(sweep.place(problem(), method=method), lambda rate: build())
    (trace,) = found.run([sweep.Member(0.5, 0)], STEPS)
    assert trace.points[-1].value == pytest.approx(float(objective(by_hand()[1])), rel=1e-5)
    assert not trace.diverged


BOWL = np.array([3.0, 1.0])


@pytest.mark.parametrize("name", ["paper", "schedule_free", "jaxdl lookahead", "polyak_average", "jaxdl.lbfgs"])
def test_a_path_goes_through_the_judged_points(name):
    value = lambda x: 0.5 * (jnp.asarray(BOWL) * x**2).sum()
    tx = CASES[name][0]()
    path = studies.descent_path(value, tx, [1.0, -2.0], 5)
    assert path.shape == (6, 2)
    point = optimizers.start_params(tx, jnp.array([1.0, -2.0]))
    state, expected = tx.init(point), [np.array([1.0, -2.0])]
    for _ in range(5):
        if name == "paper":
            g = jnp.asarray(BOWL) * (point + 0.9 * state[1].trace)
        else:
            g = jnp.asarray(BOWL) * (point.fast if name == "jaxdl lookahead" else point)
        extra = {"value": value(point), "value_fn": value} if name == "jaxdl.lbfgs" else {}
        updates, state = tx.update(g, state, point, **extra)
        point = optax.apply_updates(point, updates)
        judged = {
            "schedule_free": lambda s, p: optax.contrib.schedule_free_eval_params(s, p),
            "jaxdl lookahead": lambda s, p: p.slow,
            "polyak_average": optimizers.averaged_params,
        }.get(name, lambda s, p: p)
        expected.append(np.asarray(judged(state, point)))
    np.testing.assert_allclose(path, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("convention", ["paper", "lecture_e", "optax", "torch", "keras"])
def test_the_largest_stable_rate_of_nesterov_is_that_of_its_closed_form(convention):
    # heavy ball's is 2(1 + β) = 3.8, Nesterov's 2(1 + β)/(1 + 2β) = 1.357
    rate = studies.largest_stable_rate(lambda r: optimizers.nesterov(r, convention=convention), steps=2000)
    assert rate == pytest.approx(2 * 1.9 / 2.8, abs=5e-3)


def test_injected_momentum_is_read_where_it_is_changed():
    tx = optax.inject_hyperparams(optimizers.sgd)(0.5, momentum=0.9, nesterov=True, convention="paper")
    state = tx.init(START)
    updates, state = tx.update(gradient(START), state, START)
    w = optax.apply_updates(START, updates)
    state.hyperparams["momentum"] = jnp.float32(0.5)
    expected = tree_map(lambda w, v: w + 0.5 * v, w, updates)  # after one step the velocity is the update
    assert_close(optimizers.gradient_point(state, w), expected)


def test_half_precision_points_are_computed_wide_and_counts_stay():
    params = {"w": jnp.full(3, 1.0, jnp.bfloat16), "steps": jnp.int32(7)}
    state = (optimizers.nesterov(0.5, convention="paper").init({"w": params["w"], "steps": jnp.float32(0)}),)
    point = optimizers.gradient_point(state, params)
    assert point["w"].dtype == jnp.bfloat16
    assert point["steps"] == 7


REFUSED = {
    "accumulated L-BFGS": (lambda: optimizers.accumulate(optimizers.lbfgs(), 2), "value is None"),
    "accumulated optax.lbfgs": (lambda: optax.MultiSteps(optax.lbfgs(), 2).gradient_transformation(), "value"),
    "accumulated polyak_sgd": (lambda: optax.MultiSteps(optax.polyak_sgd(), 2).gradient_transformation(), "value"),
    "two looks ahead": (lambda: optax.chain(paper(), paper()), "several things of one parameter"),
    "two averages": (
        lambda: optax.chain(optax.sgd(0.1), optimizers.polyak_average(0.5), optimizers.tail_average()),
        "several things of one parameter",
    ),
    "a look ahead in schedule-free": (lambda: optax.contrib.schedule_free(paper(), 0.5), "within ScheduleFree"),
    "a look ahead in SAM": (lambda: optax.contrib.sam(paper(), optax.sgd(0.1)), "within SAM"),
    "lookahead of a part": (
        lambda: optax.masked(optax.lookahead(optax.sgd(0.1), 2, 0.5), BIAS),
        "lookahead stands within",
    ),
    "lookahead in SAM": (lambda: optax.contrib.sam(optax.lookahead(optax.sgd(0.1), 2, 0.5), CLIMB), "within SAM"),
    "accumulated lookahead": (
        lambda: optax.MultiSteps(optax.lookahead(optax.sgd(0.1), 2, 0.5), 2).gradient_transformation(),
        "within accumulate or MultiSteps",
    ),
    "an average in lookahead": (
        lambda: optax.lookahead(optax.chain(optax.sgd(0.1), optimizers.polyak_average(0.5)), 2, 0.5),
        "several things of one parameter .lookahead, AverageState",
    ),
    "schedule-free in lookahead": (lambda: optax.lookahead(FREE(optax.sgd(0.5)), 2, 0.5), "ScheduleFreeState"),
    "SAM in the open, in lookahead": (lambda: optax.lookahead(SAM(), 2, 0.5), "SAMState"),
    "SAM in the open, in schedule-free": (lambda: FREE(SAM()), "SAM stands within ScheduleFree"),
    "schedule-free in SAM": (lambda: optax.contrib.sam(FREE(optax.sgd(0.5)), CLIMB), "ScheduleFree stands within SAM"),
    "an average in SAM": (
        lambda: optax.contrib.sam(optax.chain(optax.sgd(0.5), optimizers.polyak_average(0.5)), CLIMB),
        "Average stands within SAM",
    ),
    "a look ahead of a flat vector": (lambda: optax.flatten(paper()), "its arrays are not like the parameters"),
    "an average of a flat vector": (lambda: optax.flatten(FREE(optax.sgd(0.5))), "arrays are not like the parameters"),
    "private descent": (
        lambda: optax.contrib.differentially_private_aggregate(1.0, 1.0, key=KEY),
        "one gradient per example",
    ),
    "a schedule of the momentum": (
        lambda: optax.inject_hyperparams(optimizers.sgd)(
            0.5, momentum=optax.linear_schedule(0.5, 0.9, 10), nesterov=True, convention="paper"
        ),
        "a schedule for the momentum",
    ),
    "a momentum of another name": (
        lambda: optax.inject_hyperparams(lambda learning_rate, beta: paper(learning_rate, momentum=beta))(0.5, 0.9),
        "beta, and one may be the momentum",
    ),
    "what nobody offers": (lambda: optax.GradientTransformationExtraArgs(lambda p: (), _wants_more), "wanted"),
}  # fmt: skip


def _wants_more(updates, state, params=None, *, wanted):
    return updates, state


@pytest.mark.parametrize("name", REFUSED)
def test_unservable_optimizers_are_refused_before_the_first_step(name):
    build, match = REFUSED[name]
    with pytest.raises(ValueError, match=match):
        training.eval_variables(jax.eval_shape(lambda: _first_step(build())))


def _first_step(optimizer, **options):
    return training.train_step(NET, optimizer)(training.start(START, {}, optimizer), BATCH, KEY, **options)[0]


@pytest.mark.parametrize("strategy", ["pmap", "shard_map", "jit"])
def test_functions_of_the_parameters_are_for_one_device_or_the_strategy_jit(strategy):
    optimizer = optimizers.lbfgs()
    run = training.data_parallel(training.train_step(NET, optimizer), strategy=strategy, devices=4)
    state = run.place(training.start(START, {}, optimizer))
    if strategy != "jit":
        with pytest.raises(ValueError, match="does not run on what this loop offers"):
            run.step(state, run.shard(BATCH), run.place(KEY))
        return
    for _ in range(STEPS):
        state, _ = run.step(state, run.shard(BATCH), run.place(KEY))
    assert_close(state.params, CASES["jaxdl.lbfgs"][1]()[0], rtol=1e-3)


@pytest.mark.parametrize("strategy", ["pmap", "shard_map", "jit"])
@pytest.mark.parametrize("name", ["paper", "SAM, opaque"])
def test_several_devices_serve_points_and_gradient_functions(name, strategy):
    build, by_hand = CASES[name]
    optimizer = build()
    run = training.data_parallel(training.train_step(NET, optimizer), strategy=strategy, devices=4)
    state = run.place(training.start(START, {}, optimizer))
    for _ in range(STEPS):
        state, _ = run.step(state, run.shard(BATCH), run.place(KEY))
    assert_close(state.params, by_hand()[0])


@pytest.mark.parametrize("name", ["schedule_free", "jaxdl lookahead", "SAM in the open"])
def test_a_polyak_average_is_of_the_judged_parameters(name):
    optimizer = SAM() if name == "SAM in the open" else CASES[name][0]()
    step = quick_jit(training.train_step(NET, optimizer, average_decay=0.5))
    state = training.start(START, {}, optimizer, average=True)
    average = START
    for _ in range(5):
        state, _ = step(state, BATCH, KEY)
        judged = optimizers.eval_params(state.opt_state, state.params)
        average = tree_map(lambda a, w: 0.5 * a + 0.5 * w, average, judged)
    assert_close(training.eval_variables(state)[0], average)


@pytest.mark.trains
def test_a_sweep_refuses_what_it_has_no_halves_for():
    found = sweep.Sweep(sweep.place(problem(), method="loop"), lambda rate: optimizers.gauss_newton())
    with pytest.raises(ValueError, match="model_fn"):
        found.run([sweep.Member(0.5, 0)], 1)


def test_the_loop_in_the_docstring_serves_them_all():
    for name in ("paper", "schedule_free", "jaxdl lookahead", "SAM, opaque", "backtracking"):
        build, by_hand = CASES[name]
        optimizer = build()
        params = optimizers.start_params(optimizer, START)
        state = optimizer.init(params)

        @quick_jit
        def step(params, state, optimizer=optimizer):
            point = optimizers.gradient_point(state, params)
            value, grads = jax.value_and_grad(objective)(point)
            updates, state = optimizers.update(optimizer, grads, state, params, value=value, value_fn=objective)
            return optimizers.apply_updates(params, updates), state

        for _ in range(STEPS):
            params, state = step(params, state)
        assert_close(optimizers.eval_params(state, params), by_hand()[1])


def test_a_plateau_schedule_gets_the_loss_also_where_gradients_are_accumulated():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=1.0)  # no value counts as an improvement
    state = trained(optax.chain(optax.MultiSteps(optax.sgd(0.5), 2).gradient_transformation(), plateau))
    assert float(optax.tree.get(state.opt_state, "scale")) < 1


@pytest.mark.slow
def test_losses_are_measured_as_before():
    _, sums = training.train_step(NET, optax.sgd(0.1))(training.start(START, {}, optax.sgd(0.1)), BATCH, KEY)
    assert sums["loss"] == pytest.approx(64 * float(losses.softmax_cross_entropy(jnp.zeros(10), jnp.int32(0))))


@pytest.mark.parametrize("method", ["train_step", pytest.param("sweep", marks=pytest.mark.trains), "SAM"])
def test_complex_parameters_descend(method):
    # |w − c|² has the gradient 2(w − c): with rate .25 the distance halves at each step
    start, goal = {"w": jnp.array([1 + 1j, 2 - 1j], jnp.complex64)}, 0.5 + 0.25j
    distance = lambda w: optimizers.trees.abs_square(w - goal).sum()
    if method == "sweep":
        bowl = problems.make_problem(
            lambda key: start, lambda p, batch: distance(p["w"]), lambda seed, epoch: [np.zeros(1)] * 3, epochs=1
        )
        (trace,) = sweep.Sweep(sweep.place(bowl), optax.sgd).run([sweep.Member(0.25, 0)], 3)
        assert trace.points[-1].value == pytest.approx(float(distance(start["w"])) / 64, rel=1e-5)
        return
    net = NET._replace(apply=lambda p, state, x, **options: (distance(p["w"])[None, None] + 0 * x[:, :1], state))
    climb = optax.chain(optax.contrib.normalize(), optax.sgd(0.0))
    sam = optax.contrib.sam(optax.sgd(0.25), climb, opaque_mode=True)
    optimizer = sam if method == "SAM" else optax.sgd(0.25)
    batch = BATCH._replace(label=np.zeros((64, 1), np.float32))
    step = quick_jit(training.train_step(net, optimizer, loss=losses.absolute_error, average_decay=0.5))
    state, average = training.start(start, {}, optimizer, average=True), start["w"]
    for _ in range(3):
        state, _ = step(state, batch, KEY)
        average = (average + state.params["w"]) / 2
    np.testing.assert_allclose(state.params["w"] - goal, (start["w"] - goal) / 8, rtol=1e-5)
    np.testing.assert_allclose(state.average["params"]["w"], average, rtol=1e-5)


def test_a_module_with_functions_among_its_leaves_starts_as_it_is():
    module = equinox.nn.MLP(2, 1, 4, 1, key=KEY)
    optimizer = optax.sgd(0.1)
    assert optimizers.start_params(optimizer, module) is module
    assert optimizers.eval_params(optimizer.init(module), module) is module
