"""The loop, evaluation, prefetching and early stopping; a resumed run equals an uninterrupted one to the bit."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from flax import linen
from sklearn.datasets import load_digits

from jaxdl import data, nn, training
from jaxdl.data import augmentation

KEY = jax.random.key(5)
IMAGES, LABELS = load_digits(return_X_y=True)
DIGITS = data.Examples((IMAGES.reshape(-1, 8, 8, 1) / 16).astype(np.float32), LABELS.astype(np.int32))


@pytest.fixture(scope="module", autouse=True)
def _quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def counting_step(calls):
    """Return a step of plain Python whose state is the list of its batches."""

    def step(state, batch, key):
        calls.append((batch, key))
        return [*state, batch], {"loss": float(batch)}

    return step


@pytest.mark.trains
def test_fit_runs_all_batches_of_all_epochs_in_order():
    calls, metrics, epochs = [], [], []
    end = training.fit(
        counting_step(calls),
        [],
        lambda epoch: (10 * epoch + i for i in range(3)),
        key=KEY,
        epochs=range(1, 3),
        on_metrics=lambda epoch, state, found: metrics.append((epoch, len(state), found["loss"])),
        on_epoch=lambda epoch, state: epochs.append((epoch, list(state))),
    )
    assert end == [10, 11, 12, 20, 21, 22]
    assert [batch for batch, _ in calls] == end
    assert all(key is KEY for _, key in calls)
    assert metrics == [(1, 1, 10.0), (1, 2, 11.0), (1, 3, 12.0), (2, 4, 20.0), (2, 5, 21.0), (2, 6, 22.0)]
    assert epochs == [(1, [10, 11, 12]), (2, end)]


@pytest.mark.trains
def test_fit_without_callbacks_or_work():
    calls = []
    assert training.fit(counting_step(calls), [], lambda epoch: [epoch], key=KEY, epochs=[]) == []
    assert training.fit(counting_step(calls), [7], lambda epoch: [], key=KEY, epochs=range(3)) == [7]
    assert calls == []
    assert training.fit(counting_step(calls), [], lambda epoch: [epoch], key=KEY, epochs=range(3)) == [0, 1, 2]


@pytest.mark.trains
def test_a_true_result_of_on_metrics_ends_training_at_once():
    read, epochs = [], []

    def batches(epoch):
        for i in range(3):
            read.append((epoch, i))
            yield i

    end = training.fit(
        counting_step([]),
        [],
        batches,
        key=KEY,
        epochs=range(3),
        on_metrics=lambda epoch, state, found: epoch == 1 and found["loss"] == 1.0,
        on_epoch=lambda epoch, state: epochs.append(epoch),
    )
    assert end == [0, 1, 2, 0, 1]
    assert read[-1] == (1, 1)  # no batch is read for steps that never come
    assert epochs == [0]  # the interrupted epoch does not count as ended


@pytest.mark.trains
def test_a_true_result_of_on_epoch_ends_training():
    ends = []
    end = training.fit(
        counting_step([]),
        [],
        lambda epoch: range(2),
        key=KEY,
        epochs=itertools.count(),
        on_epoch=lambda epoch, state: bool(ends.append(epoch) or epoch == 2),
    )
    assert end == [0, 1] * 3
    assert ends == [0, 1, 2]


@pytest.mark.trains
def test_a_step_that_fails_is_not_hidden():
    def step(state, batch, key):
        raise RuntimeError(f"batch {batch}")

    with pytest.raises(RuntimeError, match="batch 0"):
        training.fit(step, [], lambda epoch: range(2), key=KEY, epochs=range(1))


@pytest.mark.trains
def test_a_run_resumed_within_an_epoch_equals_the_uninterrupted_one_to_the_bit(tmp_path):
    layer = nn.serial(
        flat=nn.flatten, hidden=nn.Dense(16), norm=nn.BatchNorm(), drop=nn.Dropout(0.3), logits=nn.Dense(10)
    )
    optimizer = optax.adam(optax.linear_schedule(1e-2, 1e-3, 20))
    examples = data.Examples(DIGITS.images[:320], DIGITS.labels[:320])
    step = training.train_step(
        layer, optimizer, augment=functools.partial(augmentation.noise, stddev=0.1), average_decay=0.9
    )
    parallel = training.data_parallel(step, strategy="jit", devices=1)
    key = parallel.place(KEY)
    start = training.create(jax.random.key(1), layer, optimizer, (8, 8, 1), average=True)
    losses = {"whole": [], "parts": []}

    def train(state, epochs, first=0, stop_at=None, into="whole"):
        def batches(epoch):
            skipped = first if epoch == epochs[0] else 0
            found = data.batches(examples, 64, seed=3, epoch=epoch, start=skipped)
            return training.prefetch(found, parallel.shard)

        def note(epoch, state, metrics):
            losses[into].append(float(metrics["loss"]))
            return int(state.step) == stop_at

        return training.fit(parallel.step, state, batches, key=key, epochs=epochs, on_metrics=note)

    whole = jax.device_get(train(parallel.place(start), [0, 1, 2]))
    stopped = train(parallel.place(start), [0, 1, 2], stop_at=8, into="parts")  # 5 steps an epoch: in the second
    training.checkpoints.save(tmp_path, 8, stopped, {})
    del stopped
    found = training.checkpoints.restore_newest(tmp_path, start)
    parts = jax.device_get(train(parallel.place(found.tree), [1, 2], first=3, into="parts"))
    assert len(losses["whole"]) == 15
    assert losses["parts"] == losses["whole"]
    jax.tree.map(np.testing.assert_array_equal, parts, whole)
    assert int(parts.step) == 15


WEIGHTS = {"kernel": np.random.default_rng(2).normal(size=(64, 10)).astype(np.float32), "bias": np.ones(10, np.float32)}
SOFTMAX = nn.serial(flat=nn.flatten, logits=nn.Dense(10))
EVALUATE = functools.partial(training.evaluate, jax.jit(training.eval_step(SOFTMAX)), ({"logits": WEIGHTS}, {}))


def test_evaluation_of_a_padded_set_is_the_plain_mean():
    found, outputs = EVALUATE(data.eval_batches(DIGITS, 256))  # 1797 = 7 * 256 + 5
    logits = DIGITS.images.reshape(-1, 64).astype(np.float64) @ WEIGHTS["kernel"] + 1
    highest = logits.max(1, keepdims=True)
    log_p = logits - highest - np.log(np.exp(logits - highest).sum(1, keepdims=True))
    # float32 sums of 256 losses; accuracy is a ratio of exact counts
    assert found["loss"] == pytest.approx(-log_p[np.arange(1797), DIGITS.labels].mean(), rel=1e-5)
    assert found["accuracy"] == np.mean(logits.argmax(1) == DIGITS.labels)
    assert found.keys() == {"loss", "accuracy"}
    assert outputs.shape == (1797, 10)
    np.testing.assert_allclose(outputs, logits, rtol=0, atol=1e-4)


def test_evaluation_weighs_and_keeps_no_padding():
    images, labels = DIGITS.images[:256].copy(), DIGITS.labels[:256].copy()
    weight = np.random.default_rng(0).choice(np.float32([0, 0.5, 3]), 256)
    images[weight == 0], labels[weight == 0] = np.nan, -1
    found, outputs = EVALUATE([data.Batch(images, labels, weight, np.arange(256, dtype=np.int32))])
    kept = weight > 0
    alone = data.Examples(images[kept], labels[kept])
    _, expected = EVALUATE(data.eval_batches(alone, 256))
    np.testing.assert_array_equal(outputs, expected)
    hits = expected.argmax(1) == labels[kept]
    assert found["accuracy"] == pytest.approx(np.average(hits, weights=weight[kept]), rel=1e-6)
    highest = expected.max(1, keepdims=True).astype(np.float64)
    log_p = expected - highest - np.log(np.exp(expected - highest).sum(1, keepdims=True))
    losses = -log_p[np.arange(len(log_p)), labels[kept]]
    assert found["loss"] == pytest.approx(np.average(losses, weights=weight[kept]), rel=1e-5)


def test_evaluation_of_nothing_is_an_error():
    nothing = next(data.eval_batches(DIGITS, 256))._replace(weight=np.zeros(256, np.float32))
    for batches in ([], [nothing]):
        with pytest.raises(ValueError, match="no example to evaluate on"):
            EVALUATE(batches)


def test_evaluation_holds_two_batches_and_not_all():
    read, under_way = [], []

    def batches():
        for i, batch in enumerate(data.eval_batches(DIGITS, 256)):
            read.append(i)
            yield batch

    class Sums(dict):
        def items(self):
            under_way.append(len(read) - len(under_way))
            return super().items()

    def step(variables, batch):
        return Sums(loss=1.0, correct=1.0, weight=2.0), jnp.zeros((256, 10))

    training.evaluate(step, ({}, {}), batches())
    assert len(under_way) == 8
    assert max(under_way) <= 2


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_prefetch_keeps_order_and_reads_only_so_far_ahead(size):
    read, placed = [], []

    def source():
        for i in range(20):
            read.append(i)
            yield i

    def place(i):
        assert i == read[-1]  # placed when it is read, not later
        placed.append(i)
        return 10 * i

    ahead = training.prefetch(source(), place, size=size)
    assert read == []  # nothing is read before the first request
    for i, found in enumerate(ahead):
        assert found == 10 * i
        assert len(placed) == min(20, i + size)
    assert placed == list(range(20))


def test_prefetch_of_little_and_onto_the_device():
    assert list(training.prefetch([], size=3)) == []
    (batch,) = training.prefetch([data.Batch(*(np.arange(2),) * 4)])
    assert all(isinstance(field, jax.Array) for field in batch)


def test_prefetch_of_no_size_is_an_error_at_once():
    with pytest.raises(ValueError, match="size=0 is less than 1"):
        training.prefetch([1, 2], size=0)


def test_prefetch_hands_on_an_error_of_the_source():
    def source():
        yield 1
        raise OSError("unreadable")

    ahead = training.prefetch(source(), lambda i: i, size=1)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="unreadable"):
        next(ahead)


def stops(values, patience):
    """Return the epochs run, the best epoch, and which epochs improved."""
    stopping, improved = training.EarlyStopping(patience), []
    for epoch, value in enumerate(values):
        stopping, better = stopping.update(float(value), epoch)
        improved.append(better)
        if stopping.stop:
            break
    return len(improved), stopping.best_epoch, improved


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ([3, 2, 1, 0], 1, (4, 3, [True] * 4)),
        ([1, 2, 0], 1, (2, 0, [True, False])),
        ([1, 2, 0, 5, 5, 5], 2, (5, 2, [True, False, True, False, False])),
        ([1, 1, 1], 2, (3, 0, [True, False, False])),  # an equal value is no improvement
        ([math.nan, 1, math.nan, math.nan, 0], 2, (4, 1, [False, True, False, False])),
        ([math.nan, math.nan, 1], 2, (2, -1, [False, False])),
        ([math.inf, 1, 2], 2, (3, 1, [False, True, False])),
        ([-math.inf, -math.inf], 1, (2, 0, [True, False])),
    ],
)
def test_early_stopping(values, patience, expected):
    assert stops(values, patience) == expected


def test_early_stopping_survives_json_and_refuses_no_patience():
    stopping, _ = training.EarlyStopping(3).update(0.5, 7)
    assert training.EarlyStopping(*list(stopping)) == stopping
    assert not stopping.stop
    with pytest.raises(ValueError, match="patience=0 is less than 1"):
        training.EarlyStopping(0).update(1.0, 0)


LINEAR, SGD = nn.serial(fc=nn.Dense(2)), optax.sgd(0.1)


def fit(step, state, batches, epochs):
    return training.fit(step, state, batches, key=jax.random.key(0), epochs=epochs)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: training.train_step(SGD, LINEAR), "layer: got Grad.*, allowed are layers, as from jaxdl.nn$"),
        (lambda: training.train_step(linen.Dense(2), SGD), "layer: got Dense, .*; interop.from_linen and .* flax"),
        (lambda: training.train_step(LINEAR, optax.sgd), "optimizer: got sgd, allowed are optax transformations"),
        (lambda: training.train_step(LINEAR, "sgd"), "optimizer: got str, allowed are optax transformations"),
        (lambda: training.eval_step(SGD), "layer: got GradientTransform"),
        (lambda: training.create(jax.random.key(0), SGD, LINEAR, (3,)), "layer: got GradientTransform"),
        (lambda: training.create(jax.random.key(0), linen.Dense(2), SGD, (3,)), "layer: got Dense"),
        (lambda: fit(0, print, list, range(1)), "step: got int, allowed is a function; the order is step, state, batc"),
        (lambda: fit(print, 0, [1, 2], range(1)), "batches: got list, allowed is a function"),
        (lambda: fit(print, 0, list, 2), r"epochs: got 2, allowed are the numbers of epochs, such as range\(2\)"),
    ],
)
def test_what_changed_places_is_named_before_a_step(call, said, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=said):
        call()
