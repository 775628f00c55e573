"""Sophia and SAM: against optax, by hand, and the mistakes that they name."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours
from jaxdl import data, nn, training
from tests.test_optimizers import MASK, SCHEDULE, initial_params, leaf_scale_ulps, stream

CURVATURE = np.linspace(-1.0, 4.0, 6)


def value(params):
    kernel = params["dense"]["kernel"]
    return sum(jnp.sum(jnp.sin(x) * jnp.cos(x.sum())) for x in jax.tree.leaves(params)) + jnp.sum(kernel) ** 2


def run(optimizer, steps=100, **functions):
    @jax.jit
    def scan(params, grads):
        def step(carry, grad):
            params, state = carry
            updates, state = optimizer.update(jax.tree.map(jnp.tanh, grad), state, params, **functions)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), grads)[0]

    return scan(initial_params(), jax.tree.map(lambda g: g[:steps], stream()))


SOPHIAS = {
    "defaults": (0.01,),
    "options": (SCHEDULE, 0.9, 0.95, 1e-6, 0.1, MASK, 0.05, None, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOPHIAS)
def test_sophia_is_optax_s(name):
    mine = run(ours.sophia(*SOPHIAS[name]), value_fn=value)
    theirs = run(optax.contrib.sophia(*SOPHIAS[name]), obj_fn=value)
    assert jax.tree.structure(mine) == jax.tree.structure(theirs)
    assert [x.dtype for x in jax.tree.leaves(mine[1])] == [x.dtype for x in jax.tree.leaves(theirs[1])]
    assert leaf_scale_ulps(mine[0], theirs[0]) <= 16
    assert leaf_scale_ulps(mine[1][0].nu, theirs[1][0].nu) <= 16


def test_sophia_s_paper_by_a_numpy_loop():
    """A diagonal Hessian, of which every Hutchinson estimate is exact; negative curvature meets eps."""
    quadratic = lambda w: 0.5 * jnp.sum(jnp.asarray(CURVATURE, jnp.float32) * w**2)
    tx = ours.sophia(0.05, 0.9, 0.8, gamma=0.5, weight_decay=0.1, update_interval=3, convention="paper")
    w = jnp.linspace(-1.0, 2.0, 6)
    state, expected, m, h = tx.init(w), np.asarray(w, np.float64), 0.0, 0.0
    update = jax.jit(lambda g, s, p: tx.update(g, s, p, value_fn=quadratic))
    for step in range(10):
        updates, state = update(jax.grad(quadratic)(w), state, w)
        w = optax.apply_updates(w, updates)
        m = 0.9 * m + 0.1 * CURVATURE * expected
        h = 0.8 * h + 0.2 * CURVATURE if step % 3 == 0 else h
        expected = expected - 0.05 * (np.clip(m / np.maximum(0.5 * h, 1e-8), -1, 1) + 0.1 * expected)
    np.testing.assert_allclose(w, expected, rtol=1e-5, atol=1e-6)


def test_the_mean_of_gauss_newton_bartlett_is_the_diagonal_of_the_gauss_newton_matrix():
    inputs = jax.random.normal(jax.random.key(0), (12, 3))
    params = jax.random.normal(jax.random.key(1), (3, 4))
    model = lambda w: inputs @ w
    estimate = ours.estimators.estimator("gauss_newton_bartlett")
    keys = jax.vmap(jax.random.PRNGKey)(jnp.arange(4000))
    one = lambda key: estimate.update(params, ours.states.HutchinsonState(key), params, model_fn=model)[0]
    found = jax.jit(lambda keys: jax.vmap(one)(keys).mean(0))(keys)
    p = np.asarray(jax.nn.softmax(model(params)), np.float64)
    expected = np.einsum("ni,nk->ik", np.asarray(inputs) ** 2, p * (1 - p)) / 12  # of the mean loss, by hand
    np.testing.assert_allclose(found, expected, rtol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sync_period": 3, "reset_state": False},
        {"opaque_mode": True},
        {"opaque_mode": True, "sync_period": 3, "reset_state": False},
    ],
)
def test_sam_is_optax_s(options):
    gradients = {"grad_fn": lambda p, i: jax.grad(value)(p)} if "opaque_mode" in options else {}
    mine, theirs = (
        run(library.sam(optax.adam(0.01), optax.sgd(0.01, momentum=0.9), **options), 60, **gradients)
        for library in (ours, optax.contrib)
    )
    assert jax.tree.structure(mine) == jax.tree.structure(theirs)
    assert leaf_scale_ulps(mine[0], theirs[0]) <= 16


def test_sam_by_hand():
    """w + ρg/‖g‖ = (3, 4) + .5·(3, 4)/5 for the loss ½‖w‖², so that w moves by .1 of (3.3, 4.4)."""
    gradient, w = (lambda p, i=0: p), jnp.array([3.0, 4.0])
    opaque = ours.sam(ours.sgd(0.1), rho=0.5, opaque_mode=True)
    updates, _ = opaque.update(w, opaque.init(w), w, grad_fn=gradient)
    np.testing.assert_allclose(updates, [-0.33, -0.44], rtol=1e-6)
    in_the_open = ours.sam(ours.sgd(0.1), rho=0.5)
    state, point = in_the_open.init(w), w
    for expected in ([3.3, 4.4], [2.67, 3.56]):
        updates, state = in_the_open.update(gradient(point), state, point)
        point = optax.apply_updates(point, updates)
        np.testing.assert_allclose(point, expected, rtol=1e-6)
        judged = ours.eval_params(state, point)
        np.testing.assert_allclose(judged, w if expected[0] > 3 else point, rtol=1e-6)


def test_sam_stands_still_without_a_gradient_and_is_the_optimizer_alone_at_period_one():
    w = jnp.array([3.0, 4.0])
    tx = ours.sam(ours.sgd(0.1))
    updates, state = tx.update(jnp.zeros(2), tx.init(w), w)
    np.testing.assert_array_equal(updates, 0.0)
    np.testing.assert_array_equal(tx.update(jnp.zeros(2), state, w)[0], 0.0)
    one, alone = ours.sam(ours.adam(0.1), sync_period=1), ours.adam(0.1)
    states, points = [one.init(w), alone.init(w)], [w, w]
    for g in (w, -w, 2 * w):
        for i, optimizer in enumerate((one, alone)):
            updates, states[i] = optimizer.update(g, states[i], points[i])
            points[i] = optax.apply_updates(points[i], updates)
    np.testing.assert_allclose(*points, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        partial(ours.sophia, 0.01),
        partial(ours.sophia, 0.01, hessian_diagonal_fn="gauss_newton_bartlett", key=jax.random.key(3)),
        partial(ours.sam, ours.sgd(0.1)),
        partial(ours.sam, ours.sgd(0.1), opaque_mode=True),
    ],
)
def test_a_training_step_serves_them(make):
    layer, optimizer = nn.serial(dense=nn.Dense(3)), make()
    step = jax.jit(training.train_step(layer, optimizer))
    images = np.random.RandomState(0).normal(size=(16, 4)).astype(np.float32)
    index = np.arange(16, dtype=np.int32)
    batch = data.Batch(images, index % 3, np.ones(16, np.float32), index)
    state = training.create(jax.random.key(1), layer, optimizer, (4,))
    losses = []
    for _ in range(6):
        state, metrics = step(state, batch, jax.random.key(2))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ours.sophia(0.1, hessian_diagonal_fn="exact"), "hessian_diagonal_fn is 'exact': it must be one of"),
        (lambda: ours.sophia(0.1, eps=0.0), "eps is 0.0"),
        (lambda: ours.sophia(0.1, verbose=True), "print_win_rate_every_n_steps is 0"),
        (lambda: ours.sophia(0.1, convention="paper"), "weight_decay is None"),
        (lambda: ours.sam(ours.sgd(0.1), batch_axis_name="batch"), "batch_axis_name is 'batch'"),
        (lambda: ours.sam(ours.sgd(0.1), rho=-1.0), "rho is -1.0"),
        (lambda: ours.sam(ours.sgd(0.1), None, 0), "sync_period is 0"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    ("optimizer", "match"),
    [
        (ours.sophia(0.1), "value_fn is None"),
        (ours.sophia(0.1, hessian_diagonal_fn="gauss_newton_bartlett"), "model_fn is None"),
        (ours.sam(ours.sgd(0.1), opaque_mode=True), "grad_fn is None"),
    ],
)
def test_a_missing_function_is_named_in_one_line(optimizer, match):
    w = jnp.ones(2)
    with pytest.raises(ValueError, match=match) as caught:
        optimizer.update(w, optimizer.init(w), w)
    assert "\n" not in str(caught.value)


def test_sophia_prints_the_share_of_unclipped_entries(capfd):
    w = jnp.array([1.0, 0.0])
    tx = ours.sophia(0.1, verbose=True, print_win_rate_every_n_steps=1)
    tx.update(w, tx.init(w), w, value_fn=lambda w: jnp.sum(w**2))
    jax.effects_barrier()
    assert "Sophia: 0.5 of the entries unclipped" in capfd.readouterr().out
