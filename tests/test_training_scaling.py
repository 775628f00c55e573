"""Loss scaling: the factor's course, steps that change nothing, and float16 networks whose gradients it rescues."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import data, losses, nn, optimizers, training
from jaxdl.training.scaling import loss_scale

PARAMS = {"w": jnp.array([1.0, -2.0])}
GRADS = {"w": jnp.array([0.5, 0.25])}


def test_the_factor_halves_where_a_gradient_overflows_and_doubles_after_a_while():
    scaled, inner = training.loss_scaled(optax.adam(0.1), scale=8, period=3), optax.adam(0.1)
    state, plain, scales = scaled.init(PARAMS), inner.init(PARAMS), []
    for step in range(10):
        bad = step in (1, 2)
        grads = jax.tree.map(lambda g, bad=bad: g.at[1].set(jnp.inf if bad else g[1]), GRADS)
        updates, state = jax.jit(scaled.update)(grads, state, PARAMS)
        scales.append(float(state.scale))
        if bad:
            assert not np.any(updates["w"])
        else:
            wanted, plain = inner.update(GRADS, plain, PARAMS)
            np.testing.assert_allclose(updates["w"], wanted["w"], rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.inner, plain)
    assert scales == [8, 4, 2, 2, 2, 4, 4, 4, 8, 8]
    assert loss_scale(plain) is None


@pytest.mark.parametrize(("options", "said"), [({"scale": 0}, "scale=0 must"), ({"period": 0}, "period=0 must")])
def test_arguments_out_of_range_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        training.loss_scaled(optax.sgd(1.0), **options)


@pytest.mark.parametrize(
    "within",
    [
        lambda scaled: optax.chain(optax.clip_by_global_norm(1.0), scaled),
        lambda scaled: optimizers.accumulate(scaled, 4),
        lambda scaled: optimizers.masked(scaled, True),
        lambda scaled: optax.MultiSteps(scaled, 4).gradient_transformation(),
    ],
    ids=["chain", "accumulate", "masked", "MultiSteps"],
)
def test_a_factor_within_another_transformation_is_refused(within):
    """It would be found by none, so that the loss were never multiplied."""
    net, optimizer = nn.Dense(1), within(training.loss_scaled(optax.sgd(1.0)))
    batch = data.Batch(np.ones((4, 3), np.float32), np.zeros((4, 1), np.float32), np.ones(4, np.float32), np.arange(4))
    state = training.create(jax.random.key(0), net, optimizer, (3,))
    with pytest.raises(ValueError, match=r"got loss_scaled\(...\) within another transformation"):
        training.train_step(net, optimizer, loss=losses.squared_error)(state, batch, jax.random.key(1))


def test_gradients_that_float16_rounds_to_zero_survive():
    """The factor of the output makes the gradient of the kernel 1e-9, below float16's smallest number, 6e-8."""
    net = nn.compute_in(jnp.float16, nn.Dense(1, bias=False))
    batch = data.Batch(np.ones((4, 3), np.float32), np.zeros((4, 1), np.float32), np.ones(4, np.float32), np.arange(4))
    exact, moved = 1e-9 * np.ones((3, 1)), {}
    for name, optimizer in {"plain": optax.sgd(1.0), "scaled": training.loss_scaled(optax.sgd(1.0))}.items():
        step = training.train_step(net, optimizer, loss=lambda y, labels: 1e-9 * y[:, 0])
        state = training.create(jax.random.key(0), net, optimizer, (3,))
        state = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))  # sums with 1e-9 would round it away
        after, _ = jax.jit(step)(state, batch, jax.random.key(1))
        moved[name] = np.asarray(after.params["kernel"])
    assert not moved["plain"].any()
    np.testing.assert_allclose(moved["scaled"], -exact, rtol=2e-3)
