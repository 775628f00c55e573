"""The parts of a run one by one: folder, metrics, clock, signals, names, choices, and a member's training."""

import inspect
import json
import math
import multiprocessing
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.train_cnn import choices
from experiments.train_cnn import records as train_cnn
from experiments.train_cnn.member import Member
from experiments.train_cnn.records import Measurement
from jaxdl import data, nn, runs, training
from jaxdl.runs import clock, folder, loading, names, records, signals

# --- clock


def test_the_clock_leaves_out_the_first_step_of_every_process(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def steps(c, seconds):
        c.start()
        for s in seconds:
            now[0] += s
            c.count(jnp.zeros(()))
        c.stop()
        now[0] += 1000  # measuring, saving, waiting for the other optimizers

    first = clock.Clock()
    assert math.isnan(first.steps_per_second)
    steps(first, [30, 1, 1])
    steps(first, [1, 1])
    assert (first.compile_seconds, first.seconds, first.steps_per_second) == (30, 4, 1)
    resumed = clock.Clock()
    resumed.restore(json.loads(json.dumps(first.to_dict())))
    steps(resumed, [20, 2, 2])
    assert (resumed.compile_seconds, resumed.seconds, resumed.steps_per_second) == (50, 8, 6 / 8)


def test_the_clock_can_be_read_while_it_runs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    running = clock.Clock()
    running.start()
    now[0] = 3.0
    assert running.seconds == 3.0
    running.stop()
    running.stop()
    now[0] = 9.0
    assert running.seconds == 3.0


# --- signals


@pytest.fixture
def handlers():
    """Known handlers of both signals, whatever pytest runs in."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    seen = []
    for number in before:
        signal.signal(number, lambda n, frame: seen.append(n))
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_asks_and_the_second_acts(handlers, number, code):
    with signals.catch_stop() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert (request.signal, request.exit_code, handlers) == (number, code, [])
        os.kill(os.getpid(), number)
        assert handlers == [number]
    os.kill(os.getpid(), number)
    assert handlers == [number, number]


def test_a_signal_that_is_ignored_stays_ignored(handlers):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.catch_stop() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.signal is None
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


# --- folder


def test_folders_of_the_same_second_differ(tmp_path):
    found = {folder.create_dated(tmp_path / "runs") for _ in range(3)}
    assert len(found) == 3
    assert all(path.is_dir() for path in found)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="cannot be written"):
        folder.create_dated(tmp_path / "file")


def test_what_a_kill_leaves_in_its_first_moments_does_not_count(tmp_path):
    (tmp_path / ".config.json.writing").touch()
    assert folder.create(tmp_path) == tmp_path
    (tmp_path / "config.json").touch()
    with pytest.raises(ValueError, match="holds files already; choose a new folder, or go on with --resume"):
        folder.create(tmp_path)


def hold(path, ready, done):
    with folder.lock(path):
        ready.set()
        done.wait(60)


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(ValueError, match="another process is training into this folder"), folder.lock(tmp_path):
        pass
    other.kill()
    other.join()
    with folder.lock(tmp_path):  # a killed process holds nothing
        pass


def test_every_optimizer_has_a_folder_of_its_own():
    found = [
        loading.optimizer_folder(name) for name in ("m:a_b", "m_a:b", "m:a/b", "m.a:b", "jaxdl.adam", "optax.adam+1ulp")
    ]
    assert len({*found}) == len(found)
    assert not any(set(name) & {"/", ":"} for name in found)
    assert "jaxdl.adam" in found


# --- choices


def rates(name, steps=100, warmup=0, epoch_steps=10):
    chosen = choices.schedule(name, 0.5, steps=steps, warmup=warmup, epoch_steps=epoch_steps)
    return [float(chosen(i)) if callable(chosen) else chosen for i in range(steps)]


def test_schedules_are_what_the_help_says():
    assert rates("constant") == [0.5] * 100
    t = np.arange(100)
    np.testing.assert_allclose(rates("constant", warmup=10)[:11], [*(0.05 * t[:10]), 0.5], rtol=1e-6)
    np.testing.assert_allclose(rates("cosine"), 0.25 * (1 + np.cos(np.pi * t / 100)), rtol=1e-5, atol=1e-7)
    late = 0.25 * (1 + np.cos(np.pi * np.arange(80) / 80))
    np.testing.assert_allclose(rates("cosine", warmup=20)[20:], late, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(rates("step"), [0.5] * 50 + [0.05] * 25 + [0.005] * 25, rtol=1e-6)
    np.testing.assert_allclose(rates("inverse_sqrt"), 0.5 / np.sqrt(1 + t / 10), rtol=1e-6)
    np.testing.assert_allclose(rates("inverse_sqrt", warmup=20)[20:], 0.5 / np.sqrt(1 + t[:80] / 20), rtol=1e-6)
    one_cycle = rates("one_cycle")
    np.testing.assert_allclose([one_cycle[0], max(one_cycle)], [0.5 / 25, 0.5], rtol=1e-5)
    assert abs(int(np.argmax(one_cycle)) - 30) <= 1
    assert abs(int(np.argmax(rates("one_cycle", warmup=10))) - 10) <= 1
    assert one_cycle[-1] < 0.5 / 100


PARAMS = {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([3.0])}


def shrunk(name, weight_decay):
    """Change of the parameters where the loss has no gradient, and the penalty's gradient."""
    optimizer, penalty = choices.optimizer(name, 0.1, weight_decay, PARAMS)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS)
    return updates, None if penalty is None else jax.grad(penalty)(PARAMS)


@pytest.mark.parametrize("name", ["jaxdl.adamw", "optax.adamw"])
def test_weight_decay_is_decoupled_where_the_optimizer_has_it(name):
    updates, penalty = shrunk(name, 0.5)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * PARAMS["kernel"], rtol=1e-6)
    assert (float(updates["bias"][0]), penalty) == (0.0, None)
    updates, penalty = shrunk(name, 0.0)
    assert not np.any(updates["kernel"]), "0 is 0, not the default of the optimizer"
    assert penalty is None


@pytest.mark.parametrize("name", ["jaxdl.sgd", "jaxdl.adam", "optax.adam"])
def test_weight_decay_is_a_penalty_where_the_optimizer_has_none(name):
    updates, penalty = shrunk(name, 0.5)
    assert not np.any(updates["kernel"])
    assert penalty is not None
    np.testing.assert_allclose(penalty["kernel"], 0.5 * PARAMS["kernel"], rtol=1e-6)  # of 1/2 * 0.5 * sum of squares
    assert float(penalty["bias"][0]) == 0.0
    assert shrunk(name, None)[1] is None


def test_every_optimizer_with_a_weight_decay_takes_one_here():
    taking = [n for n, f in names.optimizer_names().items() if "weight_decay" in inspect.signature(f).parameters]
    for name in taking:
        optimizer, penalty = choices.optimizer(name, 0.1, 0.5, PARAMS)
        assert (penalty is None) == (name != "jaxdl.adam"), name
        assert optimizer is not None


def test_without_weight_decay_an_optimizer_keeps_its_own_default():
    updates, _ = shrunk("optax.adamw", None)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 1e-4 * PARAMS["kernel"], rtol=1e-6)


def test_augmentations_change_images_within_their_range():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 17, (8, 8, 1)).astype(np.uint8))
    assert choices.augment(("none",), 16.0) is None
    for name in ("flip", "shift", "rotate", "cutout", "noise"):
        change = choices.augment((name,), 16.0)
        assert change is not None
        several = jax.vmap(change, (0, None))(jax.random.split(jax.random.key(0), 16), image)
        assert several.shape == (16, 8, 8, 1)
        assert len({np.asarray(one).tobytes() for one in several}) > 1, name
        assert not np.array_equal(several.mean(0), image / 16), name
    flipped = choices.augment(("flip",), 16.0)
    assert flipped is not None
    both = {np.asarray(flipped(jax.random.key(i), image)).tobytes() for i in range(16)}
    unit = np.asarray(image, np.float32) / np.float32(16)
    assert both == {unit.tobytes(), unit[:, ::-1].tobytes()}


# --- a member


def make_member(path, losses=None, *, patience=None, average=None, optimizer=None, steps=3, **options):
    """Softmax regression on noise: three batches an epoch; ``losses`` stand for those of the development set."""
    rng = np.random.default_rng(0)
    examples = data.Examples(rng.random((steps * 8, 2, 2, 1)).astype(np.float32), np.arange(steps * 8) % 3)
    layer = nn.serial(flatten=nn.flatten, fc=nn.Dense(3))
    optimizer = optimizer or optax.adam(0.1)
    params, state = layer.init(jax.random.key(0), (2, 2, 1))
    given, judged = iter(losses or []), []

    def measure(params, state):
        judged.append(jax.tree.map(lambda leaf: np.array(leaf, copy=True), params))
        return {"loss": next(given, 1.0), "accuracy": 0.0}

    table = records.Table(path / "metrics.csv", Measurement)
    request = options.pop("request", runs.StopRequest())
    member = Member(
        "m",
        path / "checkpoints",
        parallel=training.data_parallel(
            training.train_step(layer, optimizer, average_decay=average),
            devices=1,
            examples=examples if "steps_per_call" in options else None,
        ),
        state=training.start(params, state, optimizer, average=average is not None),
        key=jax.random.key(1),
        batches=(
            (lambda epoch, first: data.batch_rows(len(examples.labels), 8, seed=0, epoch=epoch, start=first))
            if "steps_per_call" in options
            else (lambda epoch, first: data.batches(examples, 8, seed=0, epoch=epoch, start=first))
        ),
        measure=measure,
        learning_rate=lambda step: 0.1,
        peak_learning_rate=0.1,
        metrics=table,
        request=request,
        patience=patience,
        log_every=options.pop("log_every", 2),
        **options,
    )
    return member, table, judged


def measured(path):
    return records.read_table(path / "metrics.csv", Measurement)


def train(member, epochs):
    for epoch in range(epochs):
        member.train_epoch(epoch)


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_early_stopping_judges_the_weights_of_the_best_epoch(tmp_path):
    member, _, judged = make_member(tmp_path, [3.0, 1.0, 2.0, 1.5, 0.5], patience=2)
    train(member, 5)
    assert (member.finished, member.epoch, member.step) == (True, 4, 12), "two epochs without a lower loss"
    chosen = member.chosen()
    assert chosen["which"] == "best on dev, epoch 2"
    assert same(chosen["params"], judged[1])
    assert not same(chosen["params"], judged[3])
    resumed, _, _ = make_member(tmp_path, patience=2)
    assert resumed.resume()
    assert resumed.finished
    assert same(resumed.chosen()["params"], judged[1])


def test_the_average_is_what_is_measured_and_judged(tmp_path):
    member, _, judged = make_member(tmp_path, [1.0, 2.0], patience=5, average=0.5)
    train(member, 2)
    assert member.chosen()["which"] == "average, best on dev, epoch 1"
    assert same(member.chosen()["params"], judged[0])
    assert same(member.state.average["params"], judged[1])
    assert not same(member.state.params, judged[1])


def test_without_early_stopping_the_last_weights_are_judged(tmp_path):
    member, _, judged = make_member(tmp_path, [1.0, 2.0])
    train(member, 2)
    assert member.chosen()["which"] == "last"
    assert same(member.chosen()["params"], judged[1])


def test_train_rows_are_means_over_the_steps_since_the_last_one(tmp_path):
    member, _, _ = make_member(tmp_path, optimizer=optax.sgd(0.0))
    train(member, 1)
    found = measured(tmp_path)
    assert [(r.step, r.split) for r in found] == [(2, "train"), (3, "train"), (3, "dev")]
    rng = np.random.default_rng(0)
    images, labels = rng.random((24, 2, 2, 1)).astype(np.float32), np.arange(24) % 3
    layer = nn.serial(flatten=nn.flatten, fc=nn.Dense(3))
    params, state = layer.init(jax.random.key(0), (2, 2, 1))
    logits, _ = layer.apply(params, state, jnp.asarray(images))
    every = np.asarray(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels)))
    np.testing.assert_allclose((2 * found[0].loss + found[1].loss) / 3, every.mean(), rtol=1e-6)


def test_a_dev_loss_that_is_not_finite_stops_the_run(tmp_path):
    member, _, _ = make_member(tmp_path, [1.0, math.nan])
    with pytest.raises(runs.Diverged, match=r"m: the dev loss is nan after step 6; the last finite loss .* at step 6"):
        train(member, 2)
    assert training.checkpoints.steps(tmp_path / "checkpoints") == [0, 3]


def nan_parameters():
    """Makes a parameter infinite in the third step, which no loss has seen yet when the epoch ends."""
    return optax.chain(
        optax.sgd(0.1),
        optax.GradientTransformation(
            lambda params: jnp.zeros((), jnp.int32),
            lambda g, s, p=None: (jax.tree.map(lambda u: jnp.where(s == 2, jnp.inf, u), g), s + 1),
        ),
    )


def test_a_checkpoint_with_parameters_that_are_not_finite_is_never_written(tmp_path):
    member, _, _ = make_member(tmp_path, [1.0], optimizer=nan_parameters())
    with pytest.raises(runs.Diverged, match=r"params.*(kernel|bias).* is not finite after step 3"):
        train(member, 1)
    assert training.checkpoints.steps(tmp_path / "checkpoints") == [0]


def corrupt(checkpoint):
    (checkpoint / "meta.json").write_text("{}")


def test_corrupt_checkpoints_are_passed_over_and_do_not_push_out_whole_ones(tmp_path):
    whole, _, judged = make_member(tmp_path, patience=9, checkpoint_every=1)
    train(whole, 2)
    steps = training.checkpoints.steps(tmp_path / "checkpoints")
    assert steps == [4, 5, 6]
    for step in steps[1:]:
        corrupt(tmp_path / "checkpoints" / f"{step:08d}")
    again, _, judged_again = make_member(tmp_path, patience=9, checkpoint_every=1)
    said = []
    assert again.resume(report=said.append)
    assert (again.step, again.epoch, again.batch) == (4, 1, 1)
    assert [f"step {step} is corrupt" in line for step, line in zip((6, 5), said, strict=True)] == [True, True]
    assert training.checkpoints.steps(tmp_path / "checkpoints") == [4]
    train(again, 2)
    assert same(judged_again[-1], judged[-1])


def test_without_a_whole_checkpoint_a_run_cannot_be_resumed(tmp_path):
    member, _, _ = make_member(tmp_path)
    assert not member.resume(), "a run that was killed before its first checkpoint begins again"
    train(member, 1)
    for step in training.checkpoints.steps(tmp_path / "checkpoints"):
        corrupt(tmp_path / "checkpoints" / f"{step:08d}")
    with pytest.raises(ValueError, match=r"checkpoints: all checkpoints are corrupt, those of the steps \[0, 3\]"):
        member.resume(report=lambda line: None)


class StopAt(runs.StopRequest):
    """A signal that comes during a step of a member."""

    def __init__(self, step):
        self.step, self.member = step, None

    @property
    def signal(self):
        return signal.SIGTERM if self.member is not None and self.member.step >= self.step else None


def nan_loss(at):
    """Makes the parameters NaN in step `at`, which the loss of the next one sees."""
    return optax.chain(
        optax.sgd(0.1),
        optax.GradientTransformation(
            lambda params: jnp.zeros((), jnp.int32),
            lambda g, s, p=None: (jax.tree.map(lambda u: jnp.where(s == at - 1, jnp.nan, u), g), s + 1),
        ),
    )


@pytest.mark.parametrize("log_every", [2, 5, 100])
def test_several_steps_per_call_write_the_same_rows_and_weights(tmp_path, log_every):
    found = []
    for steps in (1, 4):
        path = tmp_path / str(steps)
        path.mkdir()
        member, _, judged = make_member(path, steps=7, steps_per_call=steps, log_every=log_every, checkpoint_every=3)
        train(member, 2)
        rows = [row._replace(seconds=0) for row in measured(path)]
        found.append((rows, judged, training.checkpoints.steps(path / "checkpoints"), member.clock.to_dict()["steps"]))
    (rows, judged, steps, counted), (rows_of_calls, judged_of_calls, steps_of_calls, counted_of_calls) = found
    assert [row.step for row in rows] == [row.step for row in rows_of_calls]
    for row, other in zip(rows, rows_of_calls, strict=True):
        assert other.loss == pytest.approx(row.loss, rel=1e-5)
        assert other.accuracy == row.accuracy
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), judged, judged_of_calls)
    assert steps == steps_of_calls
    first_call = min(4, log_every, 3)
    assert (counted, counted_of_calls) == (14 - 1, 14 - first_call), "the first call compiles, and is set aside"


def test_a_stop_within_calls_of_several_steps_is_gone_on_with_to_the_bit(tmp_path):
    ended = []
    for stop_at in (None, 1, 6, 9):
        path = tmp_path / str(stop_at)
        path.mkdir()
        request = StopAt(stop_at or 1000)
        member, _, judged = make_member(path, steps=7, steps_per_call=4, log_every=5, request=request)
        request.member = member
        train(member, 2)
        if stop_at:
            assert stop_at <= member.step < stop_at + 4, "the call that was under way is the last"
            member, table, judged = make_member(path, steps=7, steps_per_call=4, log_every=5)
            assert member.resume()
            train_cnn.keep_until(table, {"m": member.step})
            train(member, 2)
        rows = [row._replace(seconds=0) for row in measured(path)]
        ended.append((rows, judged[-1]))
    for rows, weights in ended[1:]:
        assert rows == ended[0][0]
        assert same(weights, ended[0][1])


def test_a_loss_that_is_not_finite_within_a_call_is_named_by_its_step(tmp_path):
    member, _, _ = make_member(tmp_path, steps=7, steps_per_call=4, log_every=100, optimizer=nan_loss(2))
    with pytest.raises(runs.Diverged, match=r"m: the loss is nan at step 3; the last finite loss was .* at step 2"):
        train(member, 1)


@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_stop_at_any_batch_is_saved_and_gone_on_with(tmp_path, stop_at):
    (tmp_path / "whole").mkdir()
    whole, _, judged = make_member(tmp_path / "whole")
    train(whole, 2)
    request = StopAt(stop_at)
    stopped, _, _ = make_member(tmp_path, request=request)
    request.member = stopped
    train(stopped, 2)
    assert stopped.step == stop_at
    again, table, judged_again = make_member(tmp_path)
    assert again.resume()
    train_cnn.keep_until(table, {"m": again.step})
    train(again, 2)
    assert same(judged_again[-1], judged[-1])
    tables = [measured(path) for path in (tmp_path / "whole", tmp_path)]
    timeless = [[r._replace(seconds=0) for r in found] for found in tables]
    assert timeless[0] == timeless[1]
    assert [(r.step, r.split) for r in tables[0]][:3] == [(2, "train"), (3, "train"), (3, "dev")]
