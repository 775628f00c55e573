"""Prodigy in its paper's convention against its authors' package (tests/golden/make_contrib.py)."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdl.optimizers as ours
from tests.test_conventions import GOLDEN, GRADS, stream, ulps

RECORD = json.loads((GOLDEN / "contrib.json").read_text())["runs"]


@pytest.mark.parametrize("name", ["prodigy", "prodigy_safeguard"])
def test_a_thousand_steps_are_the_authors(name):
    guarded = name == "prodigy_safeguard"
    tx = ours.prodigy(0.1 if guarded else 0.01, estim_lr0=1e-3, safeguard_warmup=guarded, convention="paper")
    start = jnp.asarray(stream.INITIAL)

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
        assert ulps(found, np.array(RECORD[name][kind], np.float32)).max() <= 16, kind


def test_without_a_gradient_nothing_moves_and_nothing_is_nan():
    tx, params = ours.prodigy(weight_decay=0.1), jnp.ones(3)
    state = tx.init(params)
    for _ in range(2):
        updates, state = tx.update(jnp.zeros(3), state, params)
    assert float(state.estim_lr) == np.float32(1e-6)
    assert np.isfinite(updates).all()
