"""`training.check_device_invariance` passes right steps, and names every planted fault."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from sklearn.datasets import load_digits

from jaxdl import data, nn, training

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES, LABELS = (IMAGES.reshape(-1, 64) / 16).astype(np.float32), LABELS.astype(np.int32)
KEY = jax.random.key(3)
NET = nn.serial(dense=nn.Dense(12, bias=False), norm=nn.BatchNorm(), relu=jax.nn.relu, logits=nn.Dense(10))
DROPPING = nn.serial(dense=nn.Dense(12), drop=nn.Dropout(0.5), logits=nn.Dense(10))
SGD = optax.sgd(0.1, momentum=0.9)


def batch(i, size=16):
    rows = np.arange(i * size, (i + 1) * size)
    weight = np.where(np.arange(size) % 5, 1, 0.5).astype(np.float32)
    return data.Batch(IMAGES[rows], LABELS[rows], weight, rows.astype(np.int32))


def start(net=NET):
    return training.create(KEY, net, SGD, (64,))


def check(step, *, net=NET, batches=1, counts=(4,), strategies=("pmap",), size=16, **options):
    batches = [batch(i, size) for i in range(batches)]
    return training.check_device_invariance(
        step, start(net), batches, KEY, counts=counts, strategies=strategies, **options
    )


@pytest.mark.slow
def test_a_right_step_is_the_same_after_ten_steps_under_every_strategy():
    found = check(training.train_step(NET, SGD), batches=10, counts=(2, 8), strategies=training.STRATEGIES)
    assert found.ok, str(found)
    assert set(found.compared) == {(strategy, count) for strategy in training.STRATEGIES for count in (2, 8)}
    assert str(found).startswith("the same on 2 (pmap), 8 (pmap)")


def own_step(*, grads=lambda g, w, name: jax.tree.map(lambda a: a / w, g), norm=True, fold=True, net=NET):
    """Return a step as people write it, with a place for each fault."""

    def step(state, batch, key, *, axis_name=None):
        key = jax.random.fold_in(key, state.step)
        if axis_name is not None and fold:
            key = jax.random.fold_in(key, lax.axis_index(axis_name))

        def loss(params):
            options = {"axis_name": axis_name} if norm else {}
            y, new = net.apply(params, state.layer_state, batch.image, train=True, key=key, **options)
            each = optax.softmax_cross_entropy_with_integer_labels(y, batch.label)
            return jnp.sum(batch.weight * each), new

        (value, new), grad = jax.value_and_grad(loss, has_aux=True)(state.params)
        weight = jnp.sum(batch.weight)
        if axis_name is not None:
            value, weight, grad = lax.psum((value, weight, grad), axis_name)
        updates, opt_state = SGD.update(grads(grad, weight, axis_name), state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state._replace(step=state.step + 1, params=params, layer_state=new, opt_state=opt_state)
        return state, {"loss": value / weight, "weight": weight}

    return step


def times_devices(grads, weight, axis_name):
    count = 1 if axis_name is None else lax.psum(1, axis_name)
    return jax.tree.map(lambda g: g * count / weight, grads)


def over_devices(grads, weight, axis_name):
    count = 1 if axis_name is None else lax.psum(1, axis_name)
    return jax.tree.map(lambda g: g / count / weight, grads)


def without_remainder(step, *, strategy, devices):
    """Return a data_parallel whose shards drop the last examples of an uneven batch."""
    made = training.data_parallel(step, strategy=strategy, devices=devices)
    even = lambda leaf: leaf[: len(leaf) // devices * devices]
    return made._replace(shard=lambda batch: made.shard(jax.tree.map(even, batch)))


FAULTS = {
    "4 times what one device gives": {"step": own_step(grads=times_devices)},
    "1/4 of what one device gives": {"step": own_step(grads=over_devices)},
    "is that of the first device's part alone: reduce it over axis_name": {"step": own_step(norm=False)},
    "every device draws the same random numbers": {"step": own_step(fold=False, net=DROPPING), "net": DROPPING},
    "the last 2 of 18 examples are dropped": {"step": own_step(), "size": 18, "parallel": without_remainder},
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_planted_fault_is_named(words):
    fault = dict(FAULTS[words])
    found = check(fault.pop("step"), **fault)
    assert not found.ok
    assert [words in cause for cause in found.causes] == [True], str(found)
    assert found.causes[0].startswith("on 4 devices (pmap): ")
    assert words in str(found)


def test_the_step_without_a_fault_passes():
    assert check(own_step()).ok
    assert check(own_step(net=DROPPING), net=DROPPING, strategies=("jit",)).ok


@pytest.mark.slow
def test_a_cause_that_fits_by_chance_leaves_random_numbers_undecided():
    """With 16 examples, two masks of dropout have twice as many hits as one, and Adam's steps are signs."""
    rng, optimizer = np.random.default_rng(1), optax.adam(1e-2)
    net = nn.serial(d=nn.Dropout(0.5), l=nn.Dense(4))
    for _ in range(5):  # of the fifth, with these names and keys, two devices hit twice as many
        images, labels = rng.normal(size=(16, 6)).astype(np.float32), rng.integers(0, 4, 16)
    one = data.Batch(images, labels, np.ones(16, np.float32), np.arange(16))
    state = training.create(jax.random.key(4), net, optimizer, (6,))
    step = training.train_step(net, optimizer)
    found = training.check_device_invariance(step, state, [one], jax.random.key(4), counts=[2], strategies=["pmap"])
    assert (found.differences, found.causes, len(found.undecided)) == ((), (), 1)


def test_random_numbers_per_device_are_undecided():
    found = check(training.train_step(DROPPING, SGD), net=DROPPING, strategies=("jit", "pmap"))
    assert not found.ok
    assert not found.differences
    assert not found.causes
    assert found.undecided == (
        "on 4 devices (pmap): the step draws random numbers per device; check it without them, or under 'jit' alone",
    )


def test_an_error_without_a_known_cause_is_shown_with_its_size():
    def step(state, batch, key, *, axis_name=None):
        del key
        shift = 0 if axis_name is None else lax.psum(1e-3, axis_name)
        total = jnp.sum(batch.weight)
        total = total if axis_name is None else lax.psum(total, axis_name)
        return {"a": state["a"] + 1 + shift, "b": state["b"]}, {"weight": total + 1000 * shift}

    state = {"a": jnp.zeros(3), "b": jnp.arange(3)}
    found = training.check_device_invariance(step, state, [batch(0)], KEY, counts=(4,), strategies=("pmap",))
    assert [(one.leaf, one.steps) for one in found.differences] == [("['a']", 1), ("metrics['weight']", 1)]
    np.testing.assert_allclose([one.error for one in found.differences], [4e-3, 4], rtol=1e-4)
    with pytest.raises(
        AssertionError, match=r"\['a'\] on 4 devices \(pmap\), step 1: differs by 0.004, allowed 2.2e-06"
    ):
        training.assert_device_invariance(step, state, [batch(0)], KEY, counts=(4,), strategies=("pmap",))


def test_counts_are_compared_exactly():
    def step(state, batch, key, *, axis_name=None):
        del key
        seen = jnp.array(len(batch.label) if axis_name is None else lax.psum(len(batch.label), axis_name) + 1)
        return {"seen": state["seen"] + seen}, {"correct": seen.astype(jnp.float32) * 1_000_000}

    found = training.check_device_invariance(
        step, {"seen": jnp.array(0)}, [batch(0)], KEY, counts=(2,), strategies=("pmap",)
    )
    assert [(one.leaf, one.error, one.allowed) for one in found.differences] == [
        ("['seen']", 1, 0), ("metrics['correct']", 1_000_000, 0)
    ]  # fmt: skip


def test_what_it_refuses(monkeypatch):
    step = training.train_step(NET, SGD)
    with pytest.raises(ValueError, match="batches: got 0, must hold at least one batch"):
        training.check_device_invariance(step, start(), [], KEY)
    with pytest.raises(ValueError, match="batch size 18 is not divisible by 4 devices"):
        check(step, size=18)
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:1])
    with pytest.raises(ValueError, match="there is 1 device; on CPU, JAX_NUM_CPU_DEVICES=8"):
        training.check_device_invariance(step, start(), [batch(0)], KEY)
