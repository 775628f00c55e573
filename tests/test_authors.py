"""Optimizers against their authors' packages, or PyPI's pytorch-optimizer (tests/golden/make_contrib.py)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours
from tests.test_conventions import GOLDEN, GRADS, stream, ulps

RECORD = json.loads((GOLDEN / "contrib.json").read_text())["runs"]
CASES = {
    "adan": ours.adan(0.01, convention="paper"),
    "adabelief": ours.adabelief(0.01, convention="paper"),
    "ademamix": ours.ademamix(0.01, weight_decay=0.1, convention="paper"),
    "adopt": ours.adopt(0.01, use_clipping=True, convention="paper"),
    "dadapt_adamw": ours.dadapt_adamw(0.1, estim_lr0=1e-3, convention="paper"),
    "prodigy": ours.prodigy(0.01, estim_lr0=1e-3, convention="paper"),
    "prodigy_safeguard": ours.prodigy(0.1, estim_lr0=1e-3, safeguard_warmup=True, convention="paper"),
    "schedule_free_sgd": ours.schedule_free_sgd(0.01, convention="paper"),
    "schedule_free_warmup": ours.schedule_free_sgd(0.01, 50, convention="paper"),
    "schedule_free_adamw": ours.schedule_free_adamw(0.01, weight_decay=0.1, convention="paper"),
}
# Adan's code adds its two terms to the parameters one after the other, so each step rounds twice; D-Adaptation's has
# its step size, a ratio of sums of both signs, in float64: 0.1 ulps until step 100, then up to 56
BOUNDS = {"adan": 24, "dadapt_adamw": 64}


@pytest.mark.parametrize("name", CASES)
def test_a_thousand_steps_are_the_authors(name):
    tx, start = CASES[name], jnp.asarray(stream.INITIAL)

    @jax.jit
    def run(gradients):
        def step(carry, gradient):
            params, state = carry
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.lax.scan(step, (start, tx.init(start)), gradients)[1]

    for kind, gradients in GRADS.items():
        found = np.asarray(run(jnp.asarray(gradients)))[np.array(stream.SAVED) - 1]
        assert ulps(found, np.array(RECORD[name][kind], np.float32)).max() <= BOUNDS.get(name, 16), kind


def test_optax_s_adan_weighs_the_change_of_the_gradient_by_a_twelfth_of_the_paper_s():
    """1 − b2 = .08 stands where the paper and its code have b2 = .92; the golden vectors tell them apart."""
    optax_s, params = ours.adan(0.01), jnp.asarray(stream.INITIAL)
    state = optax_s.init(params)
    for g in jnp.asarray(GRADS["random"][:3]):
        updates, state = optax_s.update(g, state, params)
        params = optax.apply_updates(params, updates)
    assert ulps(params[None], np.array(RECORD["adan"]["random"], np.float32)[2:3]).max() > 1e4


def test_factors_are_the_rows_and_columns_of_the_square_by_hand():
    """One step: V = r·c/mean(r) with the row and column means of g², which is exact where g² has rank 1."""
    row, column = np.array([1.0, 2.0, 4.0]), np.array([0.5, 3.0])
    g = jnp.asarray(np.outer(row, column) * np.array([[1, -1], [-1, 1], [1, 1]]), jnp.float32)
    tx = ours.adafactor(0.01, 1, multiply_by_parameter_scale=False, clipping_threshold=None)
    state = tx.init(g)
    assert [state[0].v_row.shape, state[0].v_col.shape, state[0].v.shape] == [(2,), (3,), (1,)]
    updates, after = tx.update(g, state, g)
    np.testing.assert_allclose(updates, -0.01 * np.sign(g), rtol=1e-6)
    np.testing.assert_allclose(after[0].v_row, np.mean(np.square(g), axis=0), rtol=1e-6)
    np.testing.assert_allclose(after[0].v_col, np.mean(np.square(g), axis=1), rtol=1e-6)


def test_optax_s_rprop_is_one_update_late():
    grads = [jnp.array([1.0, -2.0]), jnp.array([0.5, -1.0]), jnp.array([1.0, 1.0])]

    def steps(**options):
        tx, found = ours.rprop(0.1, **options), []
        state = tx.init(grads[0])
        for g in grads:
            updates, state = tx.update(g, state, g)
            found.append(np.asarray(updates))
        return np.stack(found)

    np.testing.assert_allclose(steps(convention="torch"), [[-0.1, 0.1], [-0.12, 0.12], [-0.144, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(steps(convention="paper"), [[-0.1, 0.1], [-0.12, 0.12], [-0.144, -0.12]], rtol=1e-6)
    np.testing.assert_allclose(steps(), [[0.0, 0.0], [-0.1, 0.1], [-0.12, 0.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ours.rprop(0.1, step_form="late"), "step_form is 'late': it must be one of"),
        (lambda: ours.rprop(0.1, 1.0), "eta_minus is 1.0"),
        (lambda: ours.rprop(0.1, eta_plus=0.9), "eta_plus is 0.9: it must be at least 1"),
        (lambda: ours.adafactor(lambda t: 0.1, convention="paper"), "with relative_step it must be a number"),
        (lambda: ours.adafactor(0.1, eps=0.0), "eps is 0.0"),
        (lambda: ours.sign_sgd(0.1, momentum=1.0), "momentum is 1.0"),
        (lambda: ours.yogi(0.1, convention="paper"), "initial_accumulator_value is None"),
        (lambda: ours.adabelief(0.1, eps_root=-1.0), "eps_root is -1.0"),
    ],
)
def test_mistakes_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


# ---------------------------------------------------------------- prodigy


def test_without_a_gradient_nothing_moves_and_nothing_is_nan():
    tx, params = ours.prodigy(weight_decay=0.1), jnp.ones(3)
    state = tx.init(params)
    for _ in range(2):
        updates, state = tx.update(jnp.zeros(3), state, params)
    assert float(state.estim_lr) == np.float32(1e-6)
    assert np.isfinite(updates).all()
