"""Sweeps against numpy loops and against one another, with members that diverge, too."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import models, nn, optimizers, studies
from jaxdl.kernels import native
from jaxdl.studies import classification, cost, quadratic, sweep
from jaxdl.studies.sweep import Member, Sweep, place

MEMBERS = [Member(0.01, 0), Member(0.001, 1), Member(0.02, 2), Member(0.01, 1)]
TOLERANCE = 1e-5  # relative: the rounding that the module's docstring allows over tens of steps


def run(problem, build, members=MEMBERS, steps=21, *, method="vmap", width=None, devices=None, **options):
    width = (width or len(members)) if method == "vmap" else 1
    placed = place(problem, method=method, devices=devices)
    return Sweep(placed, build, width=width).run(members, steps, **options)


def values(traces):
    return np.array([[point.value for point in trace.points] for trace in traces])


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert (a.member, a.diverged, a.steps) == (b.member, b.diverged, b.steps)
        assert [p.step for p in a.points] == [p.step for p in b.points]
        for name in ("train_loss", "value", "accuracy"):
            first, second = ([getattr(p, name) for p in trace.points] for trace in (a, b))
            first, second = (np.array([math.nan if x is None else x for x in each]) for each in (first, second))
            np.testing.assert_allclose(first, second, rtol=TOLERANCE)


@functools.cache
def descent():
    return run(studies.quadratic_deep(), optax.sgd)


# ---------------------------------------------------------------- one member


@pytest.mark.trains
def test_each_member_is_gradient_descent_on_its_own_batches_at_its_own_rate():
    problem = studies.quadratic_deep()
    hessian, train, test = quadratic.quadratic_deep_arrays()
    for trace in descent():
        theta, losses = np.ones(100), []
        for step in range(21):
            batch = train[problem.batches(trace.member.seed, step // 7)[step % 7]]
            losses.append(0.5 * np.einsum("ni,ij,nj->n", theta - batch, hessian, theta - batch).mean())
            theta = theta - trace.member.learning_rate * hessian @ (theta - batch.mean(0))
            if step % 7 == 6:
                point = trace.points[1 + step // 7]
                assert point.step == step + 1
                expected = 0.5 * np.einsum("ni,ij,nj->n", theta - test, hessian, theta - test).mean()
                np.testing.assert_allclose([point.value, point.train_loss], [expected, np.mean(losses)], rtol=1e-4)
                assert point.accuracy is None
                losses = []
        assert (trace.diverged, trace.steps, trace.points[0].train_loss) == (False, 21, None)
        assert trace.points[0].value == pytest.approx(353.45, abs=0.01)


@pytest.mark.slow
@pytest.mark.trains
def test_optimizers_are_paired():
    """Two optimizers start alike and, with vanishing steps, have the same losses on the same batches."""
    problem = studies.digits_mlp()
    members = [Member(1e-12, seed) for seed in range(3)]
    one, other = (run(problem, build, members, 44) for build in (optax.sgd, optax.adam))
    for a, b in zip(one, other, strict=True):
        for name in ("value", "train_loss", "accuracy"):
            first, second = ([getattr(point, name) for point in trace.points] for trace in (a, b))
            assert first[1:] == pytest.approx(second[1:], rel=1e-5)
    assert len({trace.points[0].value for trace in one}) == 3
    assert len({trace.points[1].train_loss for trace in one}) == 3


# ---------------------------------------------------------------- one program, separate runs, a loop, several devices


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("build", [optimizers.adam, optax.adam, optimizers.muon], ids=["jaxdl", "optax", "muon"])
def test_a_sweep_is_its_members_run_alone(build):
    problem = studies.digits_mlp()._replace(evaluate_every=5)
    together, alone = run(problem, build, steps=10), Sweep(place(problem), build)
    assert [p.step for p in together[0].points] == [0, 5, 10]
    assert_same(together, [trace for member in MEMBERS for trace in alone.run([member], 10)])


@pytest.mark.trains
def test_a_run_that_ends_between_two_evaluations_is_evaluated_at_its_end():
    (trace,) = run(studies.quadratic_deep(), optax.sgd, MEMBERS[:1], 10)
    assert [p.step for p in trace.points] == [0, 7, 10]
    assert trace.points[1][:3] == pytest.approx(descent()[0].points[1][:3], rel=TOLERANCE)


@pytest.mark.trains
def test_a_loop_is_a_sweep():
    assert_same(run(studies.quadratic_deep(), optax.sgd, method="loop"), descent())


@pytest.mark.trains
def test_groups_are_filled_up_and_programs_kept():
    whole = Sweep(place(studies.quadratic_deep()), optax.sgd, width=4)
    first, second = whole.run(MEMBERS[:3], 21), whole.run(MEMBERS[3:], 21)
    assert_same([*first, *second], descent())
    assert first[0].compile_seconds > 0
    assert second[0].compile_seconds == 0


@pytest.mark.slow
@pytest.mark.trains
def test_members_split_over_devices():
    members = [Member(0.001 * (i + 1), i) for i in range(8)]
    many = run(studies.quadratic_deep(), optax.adam, members, devices=jax.devices())
    assert_same(many, run(studies.quadratic_deep(), optax.adam, members))


def random_layer_problem():
    """Return the problem of a network with state and dropout."""
    dataset = classification.data.load("digits")
    layer = nn.serial(flatten=nn.flatten, norm=nn.BatchNorm(), drop=nn.Dropout(0.5), fc=nn.Dense(10))
    return studies.classification_problem("random", layer, dataset, batch_size=64, epochs=1)


@pytest.mark.slow
@pytest.mark.trains
def test_state_and_randomness_are_members_own():
    problem = random_layer_problem()
    twice = run(problem, optax.sgd, [Member(0.1, 0), Member(0.1, 0), Member(0.1, 1)], 22)
    assert twice[0].points == twice[1].points
    assert twice[0].points != twice[2].points
    assert_same(twice, run(problem, optax.sgd, [Member(0.1, 0), Member(0.1, 0), Member(0.1, 1)], 22, method="loop"))


@pytest.mark.trains
@pytest.mark.parametrize("method", sweep.METHODS)
def test_each_seed_and_step_has_a_key_of_its_own(method):
    """The loss is drawn from the key, over whole chunks of steps and over single steps."""
    drawn = studies.quadratic_deep()._replace(
        loss=lambda params, state, batch, data, key: (1 + jax.random.uniform(key) + 0 * params["theta"].sum(), state)
    )
    members = [Member(0.1, 0), Member(0.2, 0), Member(0.1, 1)]
    one = run(drawn._replace(evaluate_every=1), optax.sgd, members, 4, method=method)
    losses = np.array([[point.train_loss for point in trace.points[1:]] for trace in one])
    np.testing.assert_array_equal(losses[0], losses[1])
    assert len(np.unique(losses[[0, 2]])) == 8
    pairs = run(drawn._replace(evaluate_every=2), optax.sgd, members, 4, method=method)
    means = [[point.train_loss for point in trace.points[1:]] for trace in pairs]
    np.testing.assert_allclose(means, losses.reshape(3, 2, 2).mean(-1), rtol=1e-6)


# ---------------------------------------------------------------- divergence


@pytest.mark.trains
@pytest.mark.parametrize("method", sweep.METHODS)
def test_a_diverged_member_is_frozen_and_the_others_do_not_notice(method):
    problem = studies.quadratic_deep()
    wild = run(problem, optax.sgd, [MEMBERS[0], Member(10.0, 1), *MEMBERS[2:]], method=method)
    assert [trace.diverged for trace in wild] == [False, True, False, False]
    assert_same([wild[0], *wild[2:]], [descent()[i] for i in (0, 2, 3)])
    # curvature up to 60: each step multiplies the distance by up to 600, its square passes 1e3 in the first
    assert wild[1].steps == 1
    assert [point.step for point in wild[1].points] == [0]


def growing(factor):
    """Return a problem whose loss grows by ``factor`` per step, whatever the optimizer does."""

    def loss(params, batch):
        return jnp.float32(factor) ** batch[0] + 0.0 * params

    def batches(seed, epoch):
        return [np.full(1, 10 * epoch + i, np.float32) for i in range(10)]

    test = np.zeros(1, np.float32)
    return studies.make_problem(lambda key: jnp.ones(()), loss, batches, epochs=2, test=test)


@pytest.mark.trains
@pytest.mark.parametrize(("factor", "last"), [(9.0, 4), (-9.0, 4), (1.5, 18), (1.2, None)])
def test_a_loss_above_a_thousand_times_the_first_has_diverged(factor, last):
    """9³ is 729, 1.5¹⁷ is 985 and 1.2¹⁹ is 32."""
    (trace,) = run(growing(factor), optax.sgd, [Member(0.1, 0)], 20)
    assert (trace.diverged, trace.steps) == (last is not None, last or 20)


@pytest.mark.trains
def test_losses_may_be_negative():
    problem = growing(1.2)
    below = problem._replace(loss=lambda *arguments: (-problem.loss(*arguments)[0], ()))
    assert not run(below, optax.sgd, [Member(0.1, 0)], 20)[0].diverged


@pytest.mark.trains
def test_a_value_that_is_not_finite_has_diverged_too():
    problem = growing(1.0)._replace(
        evaluate=lambda params, state, data: {"value": jnp.where(params < 1, jnp.nan, params)},
        loss=lambda params, state, batch, data, key: (params, state),
    )
    low, still = run(problem, optax.sgd, [Member(0.1, 0), Member(0.0, 0)], 20)
    assert (low.diverged, [p.step for p in low.points]) == (True, [0])
    assert (still.diverged, [p.step for p in still.points]) == (False, [0, 10, 20])


@pytest.mark.trains
def test_a_run_can_be_stopped_at_an_evaluation():
    asked = iter([False, True])
    stopped = run(studies.quadratic_deep(), optax.sgd, stop=lambda: next(asked))
    assert [p.step for p in stopped[0].points] == [0, 7, 14]


# ---------------------------------------------------------------- the choice, the cost, mistakes


def test_xlas_convolutions_on_cpu_are_looped_and_nothing_else_is():
    images = np.zeros((20, 8, 8, 1), np.uint8)
    dataset = classification.data.from_arrays(images, np.arange(20) % 2)
    layer = nn.serial(conv=nn.Conv(2, 3), flatten=nn.flatten, fc=nn.Dense(10))
    conv = studies.classification_problem("conv", layer, dataset, batch_size=4, epochs=1)
    assert sweep.choose_method(conv, platform="cpu").name == "loop"
    assert sweep.choose_method(conv, platform="gpu").name == "vmap"
    assert sweep.choose_method(studies.digits_mlp(), platform="cpu").name == "vmap"
    assert "cpu" in sweep.choose_method(studies.quadratic_deep(), platform="cpu").reason


@pytest.mark.skipif(not native.available(), reason=native.status())
def test_convolutions_of_onednn_are_one_program():
    images = np.zeros((300, 28, 28, 1), np.uint8)
    dataset = classification.data.from_arrays(images, np.arange(300) % 10)
    problem = studies.classification_problem("2c2d", models.net_2c2d(), dataset, batch_size=128, epochs=1)
    assert sweep.choose_method(problem, platform="cpu").name == "vmap"


def test_the_cost_of_an_optimizer():
    params = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(5, jnp.bfloat16)}
    assert cost.state_bytes(optax.sgd, params) == 0
    assert cost.state_bytes(functools.partial(optax.sgd, momentum=0.9), params) == 12 * 4 + 5 * 2
    assert cost.state_bytes(optax.adam, params) == 2 * (12 * 4 + 5 * 2) + 4
    params = {"a": jnp.ones(100)}
    assert 0 < cost.update_microseconds(optimizers.adam, params) < 1e4


@pytest.mark.trains
def test_mistakes():
    placed = place(studies.quadratic_deep())
    with pytest.raises(ValueError, match="method='both'"):
        place(studies.quadratic_deep(), method="both")
    with pytest.raises(ValueError, match="devices: got 8"):
        place(studies.quadratic_deep(), method="loop", devices=jax.devices())
    with pytest.raises(ValueError, match="width=3"):
        Sweep(place(studies.quadratic_deep(), devices=jax.devices()[:2]), optax.sgd, width=3)
    with pytest.raises(ValueError, match="members: got 4"):
        Sweep(placed, optax.sgd, width=2).run(MEMBERS, 7)
    with pytest.raises(ValueError, match="members: got 0"):
        Sweep(placed, optax.sgd, width=2).run([], 7)


@pytest.mark.trains
@pytest.mark.parametrize("method", sweep.METHODS)
@pytest.mark.parametrize("kind", ["injected", "float64", "float64 search"])
def test_rates_may_be_injected_and_losses_of_any_dtype(kind, method):
    """Minimize w² from w = 2 with a rate of a quarter: w halves in each step."""
    dtype = jnp.dtype(kind.split()[0] if "float" in kind else "float32")
    build = {
        "injected": lambda rate: optax.inject_hyperparams(optax.sgd)(learning_rate=rate),
        "float64 search": lambda rate: optax.chain(optax.sgd(rate), optax.scale_by_backtracking_linesearch(3)),
    }.get(kind, optax.sgd)
    with jax.enable_x64(dtype == jnp.float64):
        problem = studies.make_problem(
            lambda key: jnp.array(2, dtype), lambda w, batch: w**2 + batch, lambda *_: [np.zeros((), dtype)]
        )
        (trace,) = sweep.Sweep(sweep.place(problem, method=method), build).run([sweep.Member(0.25, 0)], steps=3)
    assert (trace.diverged, trace.points[-1].value) == (False, 0.25**2)
