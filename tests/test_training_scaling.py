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
    # the factor on a quarter of 1e-9 makes it 8e-6, beside which float16's numbers are 6e-8 apart
    np.testing.assert_allclose(moved["scaled"], -exact, rtol=4e-3)


@pytest.mark.parametrize("strategy", ["jit", "pmap", "shard_map"])
def test_a_step_whose_gradient_overflows_keeps_running_statistics_and_averages(strategy):
    """An image of 1e6, which one of two devices has, is no number in float16, nor is a mean of it."""
    net = nn.compute_in(jnp.float16, nn.serial(norm=nn.BatchNorm(), logits=nn.Dense(2)))
    optimizer = training.loss_scaled(optax.sgd(0.1), scale=8.0)
    step = training.train_step(net, optimizer, average_decay=0.9)
    parallel = training.data_parallel(step, devices=2, strategy=strategy)
    state = parallel.place(training.create(jax.random.key(0), net, optimizer, (3,), average=True))
    key = parallel.place(jax.random.key(2))
    image, labels = np.asarray(jax.random.normal(jax.random.key(1), (8, 3))), np.arange(8) % 2
    states = []
    for factor in (1, 1e6):
        scaled = image * np.float32([factor, *[1] * 7])[:, None]
        batch = data.Batch(scaled, labels, np.ones(8, np.float32), np.arange(8))
        state, _ = parallel.step(state, parallel.shard(batch), key)
        states.append(jax.tree.map(np.array, state))
    taken, skipped = states
    assert taken.layer_state["norm"]["mean"].any()
    assert skipped.opt_state.scale == 4
    assert skipped.opt_state.skipped == 1
    for part in ("params", "layer_state", "average"):
        jax.tree.map(np.testing.assert_array_equal, getattr(skipped, part), getattr(taken, part))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_factor_is_on_the_mean_so_that_large_batches_do_not_overflow(accumulate):
    """Of 512 examples whose gradient is 1, the sum times 256 would be 131,072, above float16's largest number."""
    net = nn.compute_in(jnp.float16, nn.Dense(1))
    batch = data.Batch(*(np.ones(shape, np.float32) for shape in ((512, 1), (512, 1), (512,))), index=np.arange(512))
    optimizer = training.loss_scaled(optax.sgd(0.5), scale=256.0)
    step = training.train_step(net, optimizer, loss=lambda y, labels: y[:, 0] * labels[:, 0], accumulate=accumulate)
    state = training.create(jax.random.key(0), net, optimizer, (1,))
    after, _ = jax.jit(step)(state, batch, jax.random.key(1))
    assert after.opt_state.skipped == 0
    np.testing.assert_allclose(after.params["kernel"], state.params["kernel"] - 0.5, rtol=1e-6)
