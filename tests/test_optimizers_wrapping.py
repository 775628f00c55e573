"""Clipping, averages, groups, accumulation and lookahead against optax's namesakes and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours

RANDOM = np.random.default_rng(1)
PARAMS = {
    "conv": RANDOM.normal(size=(3, 3, 2, 4)) * 0.1,
    "dense": {"kernel": RANDOM.normal(size=(6, 4)), "bias": np.zeros(4)},
}
PARAMS = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), PARAMS)
GRADS = jax.tree.map(lambda x: jnp.asarray(np.sin(37.0 * np.asarray(x)) + 0.3, jnp.float32), PARAMS)
MASK = {"conv": True, "dense": {"kernel": False, "bias": True}}
ZERO = jax.tree.map(lambda x: jnp.asarray(np.zeros_like(x)), PARAMS)


def apply(tx, grads=GRADS, params=PARAMS):
    return tx.update(grads, tx.init(params), params)[0]


def assert_close(a, b, rtol=1e-6):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=1e-12), a, b)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (ours.clip_by_value(0.2), optax.clip(0.2)),
        (ours.clip_by_global_norm(0.5), optax.clip_by_global_norm(0.5)),
        (ours.clip_by_global_norm(500.0), optax.clip_by_global_norm(500.0)),
        (ours.clip_by_block_rms(0.1), optax.clip_by_block_rms(0.1)),
        (ours.adaptive_grad_clip(0.02), optax.adaptive_grad_clip(0.02)),
        (ours.adaptive_grad_clip(0.02, 0.1, 0), optax.adaptive_grad_clip(0.02, 0.1, 0)),
        (ours.add_decayed_weights(0.1, MASK), optax.add_decayed_weights(0.1, MASK)),
        (ours.freeze(MASK), optax.freeze(MASK)),
        (ours.ema(0.9), optax.ema(0.9)),
        (ours.ema(0.9, False, jnp.bfloat16), optax.ema(0.9, False, jnp.bfloat16)),
        (ours.masked(ours.sgd(0.1), MASK), optax.masked(optax.sgd(0.1), MASK)),
        (
            ours.partition({"a": ours.sgd(0.1), "b": ours.adam(0.1)}, {"conv": "a", "dense": "b"}),
            optax.partition({"a": optax.sgd(0.1), "b": optax.adam(0.1)}, {"conv": "a", "dense": "b"}),
        ),
    ],
)
def test_equals_optax(mine, theirs):
    state = mine.init(PARAMS)
    assert jax.tree.structure(state) == jax.tree.structure(theirs.init(PARAMS))
    assert_close(apply(mine), apply(theirs))
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(apply(mine, ZERO)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ours.freeze("conv/.*"),
        lambda: ours.freeze({"w": "conv/.*", "b": False}),
        lambda: ours.masked(ours.sgd(0.1), "conv/.*"),
        lambda: ours.adamw(0.1, weight_decay=0.1, mask="conv/.*"),
        lambda: ours.lars(0.1, weight_decay=0.1, weight_decay_mask="conv/.*"),
    ],
)
def test_a_string_is_no_mask(make, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"mask has the string 'conv/\.\*'; .* such as mask_by_path\('conv/\.\*'\)"):
        make().init({"w": jnp.ones((2, 2)), "b": jnp.ones(2)})


def test_a_mask_that_freezes_nothing_is_refused():
    frozen = ours.freeze(ours.mask_by_path("kernal"))
    said = r"mask selects none of the \d+ leaves, so nothing would be frozen: it must .* one; see mask_by_path"
    with pytest.raises(ValueError, match=said):
        frozen.init(PARAMS)
    with pytest.raises(ValueError, match=said):
        frozen.update(PARAMS, ours.freeze(MASK).init(PARAMS), PARAMS)


def test_clip_by_norm_bounds_each_array():
    clipped = apply(ours.clip_by_norm(0.5))
    for before, after in zip(jax.tree.leaves(GRADS), jax.tree.leaves(clipped), strict=True):
        norm = np.linalg.norm(before)
        np.testing.assert_allclose(after, before * min(1.0, 0.5 / norm), rtol=1e-6)
    assert_close(apply(ours.clip_by_norm(1e3)), GRADS)


def test_norms_of_half_precision_gradients_do_not_overflow():
    grads = {"w": jnp.full((100,), 1000.0, jnp.float16)}
    clipped = apply(ours.clip_by_global_norm(1.0), grads, grads)["w"]
    assert clipped.dtype == jnp.float16
    np.testing.assert_allclose(clipped, 0.1, rtol=1e-3)


def test_decay_before_adam_is_the_l2_penalty_and_adamw_is_not():
    loss = {"w": jnp.array([1.0, -2.0])}
    grads = {"w": jnp.array([0.3, 0.5])}
    coupled = optax.chain(ours.add_decayed_weights(0.1), ours.adam(0.01))
    penalised = {"w": grads["w"] + 0.1 * loss["w"]}
    assert_close(apply(coupled, grads, loss), apply(ours.adam(0.01), penalised, loss))
    decoupled = apply(ours.adamw(0.01, weight_decay=0.1), grads, loss)
    plain = apply(ours.adam(0.01), grads, loss)
    assert_close(decoupled, {"w": plain["w"] - 0.01 * 0.1 * loss["w"]})


def test_groups_have_rates_of_their_own():
    scaled = apply(ours.scale_by_group({"conv": 0.1, "dense": 2.0}))
    assert_close(scaled["conv"], 0.1 * GRADS["conv"])
    assert_close(scaled["dense"]["bias"], 2.0 * GRADS["dense"]["bias"])
    with pytest.raises(ValueError, match="param_labels has 'c'"):
        ours.partition({"a": ours.sgd(0.1)}, {"conv": "c", "dense": "a"}).init(PARAMS)


def test_accumulating_parts_equals_one_large_batch():
    parts = [jax.tree.map(lambda g, s=s: s * g, GRADS) for s in (0.5, 1.0, 3.0)]
    tx, plain = ours.accumulate(ours.adam(0.1), 3), ours.adam(0.1)
    theirs = optax.MultiSteps(optax.adam(0.1), 3)
    state, their_state, params = tx.init(PARAMS), theirs.init(PARAMS), PARAMS
    assert jax.tree.structure(state) == jax.tree.structure(their_state)
    for i in range(2):
        for j, part in enumerate(parts):
            updates, state = jax.jit(tx.update)(part, state, params)
            expected, their_state = jax.jit(theirs.update)(part, their_state, params)
            assert_close(updates, expected)
            if j < 2:
                assert not any(x.any() for x in jax.tree.leaves(updates))
        assert int(state.gradient_step) == i + 1
    mean = jax.tree.map(lambda g: 1.5 * g, GRADS)
    assert_close(updates, jax.tree.map(jnp.asarray, plain.update(mean, plain.init(PARAMS), PARAMS)[0]), 1e-5)


@pytest.mark.parametrize("reset", [False, True])
def test_lookahead_equals_optax(reset):
    mine = ours.lookahead(ours.adam(0.1), 3, 0.5, reset)
    theirs = optax.lookahead(optax.adam(0.1), 3, 0.5, reset)
    results = []
    for tx in (mine, theirs):
        params = optax.LookaheadParams.init_synced(PARAMS)
        state, update = tx.init(params), jax.jit(tx.update)
        for i in range(7):
            updates, state = update(jax.tree.map(lambda g, i=i: g * (i - 2.5), GRADS), state, params)
            params = optax.apply_updates(params, updates)
        results.append((params, state))
    assert jax.tree.structure(results[0]) == jax.tree.structure(results[1])
    assert_close(*results, rtol=1e-5)
    with pytest.raises(ValueError, match="params is a dict"):
        mine.update(GRADS, mine.init(PARAMS), PARAMS)


def test_polyak_and_tail_averages_are_the_averages_of_the_parameters():
    chain = optax.chain(ours.sgd(0.1), ours.polyak_average(0.9), ours.tail_average(2))
    params, state = {"w": jnp.array([1.0, 2.0])}, None
    polyak, seen = np.array([1.0, 2.0]), []
    state = chain.init(params)
    for i in range(5):
        updates, state = chain.update({"w": jnp.array([i - 1.5, 1.0])}, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(np.asarray(params["w"]))
        polyak = 0.9 * polyak + 0.1 * seen[-1]
        tail = np.mean(seen[2:], 0) if i >= 2 else seen[-1]
        np.testing.assert_allclose(ours.averaged_params(state[1], params)["w"], polyak, rtol=1e-6)
        np.testing.assert_allclose(ours.averaged_params(state[2], params)["w"], tail, rtol=1e-6)
    with pytest.raises(ValueError, match="holds 2 averages"):
        ours.averaged_params(state, params)


def test_an_average_survives_the_donation_of_the_parameters():
    tx = ours.polyak_average()
    params = {"w": jnp.ones(3)}
    state = tx.init(params)
    step = jax.jit(lambda p, s: (p, tx.update(p, s, p)[1]), donate_argnums=(0, 1))
    params, state = step(params, state)
    assert jnp.isfinite(ours.averaged_params(state, params)["w"]).all()


def test_exponential_average_is_the_weighted_mean():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0])
    found = ours.exponential_average(values, 0.8)
    for t in range(1, 6):
        weights = 0.8 ** np.arange(t - 1, -1, -1)
        np.testing.assert_allclose(found[t - 1], weights @ values[:t] / weights.sum(), rtol=1e-6)
    raw = ours.exponential_average(values, 0.8, bias_correction=False)
    np.testing.assert_allclose(raw[0], 0.2 * 3.0, rtol=1e-6)
    np.testing.assert_allclose(ours.exponential_average(jnp.full((500,), 2.0), 0.98)[-1], 2.0, rtol=1e-5)


def test_orthogonalize_brings_singular_values_near_one():
    x = jax.random.normal(jax.random.key(0), (6, 10))
    found = np.linalg.svd(ours.orthogonalize(x), compute_uv=False)
    assert found.min() > 0.6
    assert found.max() < 1.3
    stack = ours.orthogonalize(jnp.stack([x, x]), dimension_numbers=optax.contrib.MuonDimensionNumbers(1, 2))
    np.testing.assert_allclose(stack[1], ours.orthogonalize(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ours.clip_by_value(0.0), "max_delta is 0.0"),
        (lambda: ours.clip_by_norm(-1.0), "max_norm is -1.0"),
        (lambda: ours.clip_by_global_norm(float("nan")), "max_norm is nan"),
        (lambda: ours.clip_by_block_rms(0), "threshold is 0"),
        (lambda: ours.adaptive_grad_clip(0.0), "clipping is 0.0"),
        (lambda: ours.adaptive_grad_clip(0.1).update(GRADS, None), "params is None"),
        (lambda: ours.accumulate(ours.sgd(0.1), 0), "every is 0"),
        (lambda: ours.lookahead(ours.sgd(0.1), 0, 0.5), "sync_period is 0"),
        (lambda: ours.lookahead(ours.sgd(0.1), 5, -0.5), "slow_step_size is -0.5"),
        (lambda: ours.polyak_average(1.0), "decay is 1.0"),
        (lambda: ours.tail_average(-1), "start is -1"),
        (lambda: ours.ema(-0.1), "decay is -0.1"),
    ],
)
def test_a_mistake_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_the_proximal_step_reaches_the_lasso_of_scikit_learn():
    from sklearn.linear_model import Lasso

    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 8)), random.normal(size=60)
    y += x[:, 0] - 2 * x[:, 3]
    rate, strength = 0.1, 0.3
    optimizer = ours.chain(ours.sgd(rate), ours.proximal_l1(rate * strength))
    params = jnp.zeros(8)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.grad(lambda w: 0.5 * jnp.mean((x @ w - y) ** 2))(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(500):
        params, state = step(params, state)
    theirs = Lasso(strength, fit_intercept=False, tol=1e-10).fit(x, y).coef_
    np.testing.assert_allclose(params, theirs, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(params) == 0, theirs == 0)
    assert 0 < (theirs == 0).sum() < 8


def test_the_proximal_step_is_soft_thresholding_of_what_the_step_reaches():
    params = {"w": jnp.array([[1.0, -0.4, 0.05]]), "b": jnp.array([0.05])}
    updates = {"w": jnp.array([[0.5, 0.1, 0.0]]), "b": jnp.array([0.01])}
    stage = ours.proximal_l1(lambda count: jnp.where(count == 0, 0.1, 0.0), ours.mask_by_path("w"))
    state = stage.init(params)
    found, state = stage.update(updates, state, params)
    after = optax.apply_updates(params, found)
    np.testing.assert_allclose(after["w"], [[1.4, -0.2, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(after["b"], [0.06], rtol=1e-6)
    again, _ = stage.update(updates, state, params)
    np.testing.assert_allclose(again["w"], updates["w"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"threshold.*-1"):
        ours.proximal_l1(-1.0)
    with pytest.raises(ValueError, match="params is None: proximal_l1 needs"):
        ours.proximal_l1(0.1).update(updates, ours.proximal_l1(0.1).init(params))


def test_max_norm_bounds_what_the_step_reaches():
    params = {"w": jnp.array([[3.0, 1.0], [4.0, 1.0]]), "b": jnp.array([9.0, 9.0])}
    updates = {"w": jnp.array([[3.0, 0.5], [4.0, 0.5]]), "b": jnp.array([1.0, 1.0])}
    stage = ours.max_norm(lambda count: jnp.where(count == 0, 5.0, 1.0))
    state = stage.init(params)
    found, state = stage.update(updates, state, params)
    after = optax.apply_updates(params, found)
    np.testing.assert_allclose(after["w"], [[3.0, 1.5], [4.0, 1.5]], rtol=1e-6)
    np.testing.assert_array_equal(after["b"], [10.0, 10.0])
    again, _ = stage.update(updates, state, params)
    np.testing.assert_allclose(jnp.linalg.norm(optax.apply_updates(params, again)["w"], axis=0), 1, rtol=1e-6)
    with pytest.raises(ValueError, match=r"radius.*0"):
        ours.max_norm(0.0)
    with pytest.raises(ValueError, match="params is None: max_norm needs"):
        ours.max_norm(0.1).update(updates, ours.max_norm(0.1).init(params))
    biases = ours.max_norm(0.1, ours.mask_by_path("b"))
    with pytest.raises(ValueError, match=r"a leaf of shape \(2,\)"):
        biases.update(updates, biases.init(params), params)


def test_accumulated_half_precision_gradients_are_averaged_and_applied_unrounded():
    """256 gradients of 1 + i/256 are rounded to steps of 1/128 in bfloat16; numpy has the mean of the rounded ones."""
    grads = np.asarray(jnp.asarray(1 + np.arange(256) / 256, jnp.bfloat16), np.float64)
    for inner in (ours.sgd(1.0), optax.sgd(1.0)):
        tx = ours.accumulate(inner, 256)
        params = jnp.zeros((), jnp.float32)
        (state, last), _ = jax.lax.scan(
            lambda c, g, tx=tx, params=params: (tx.update(g, c[0], params)[::-1], None),
            (tx.init(params), jnp.zeros((), jnp.bfloat16)),
            jnp.asarray(grads, jnp.bfloat16),
        )
        assert last.dtype == jnp.bfloat16
        np.testing.assert_allclose(float(last), -grads.mean(), rtol=2**-8)
    wide = ours.accumulate(ours.sgd(1.0), 3)
    with jax.enable_x64(True):
        params, state = jnp.zeros((), jnp.float64), None
        state = wide.init(params)
        for g in (1.0, 1.0 + 1e-12, 1.0 + 2e-12):
            updates, state = wide.update(jnp.asarray(g, jnp.float64), state, params)
        np.testing.assert_allclose(float(updates), -(1 + 1e-12), rtol=1e-15)
