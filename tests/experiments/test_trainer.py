"""Training with one optimizer: schedules, weight decay, early stopping, checkpoints, and stops at any step."""

import inspect
import math
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.train_cnn import choices
from experiments.train_cnn import records as train_cnn
from experiments.train_cnn.config import Config
from experiments.train_cnn.records import Measurement
from experiments.train_cnn.setup import Setup, Start
from experiments.train_cnn.trainer import Trainer
from jaxdl import data, nn, optimizers, runs, training
from jaxdl.runs import loading, names, records

# --- choices


def rates(name, steps=100, warmup=0, epoch_steps=10):
    chosen = choices.schedule(name, 0.5, steps=steps, warmup=warmup, epoch_steps=epoch_steps)
    return [float(chosen(i)) if callable(chosen) else chosen for i in range(steps)]


def test_schedules_match_the_help():
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
    """Return the update for a zero gradient of the loss, and the gradient of the penalty."""
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
def test_weight_decay_becomes_a_penalty_of_optimizers_without_one(name):
    updates, penalty = shrunk(name, 0.5)
    assert not np.any(updates["kernel"])
    assert penalty is not None
    np.testing.assert_allclose(penalty["kernel"], 0.5 * PARAMS["kernel"], rtol=1e-6)  # of 1/2 * 0.5 * sum of squares
    assert float(penalty["bias"][0]) == 0.0
    assert shrunk(name, None)[1] is None


PENALISED = {  # optimizers whose weight_decay follows PyTorch's convention and is added to the gradient
    f"jaxdl.{name}"
    for name in "sgd gd momentum nesterov adagrad adadelta rmsprop adam adamax nadam amsgrad radam".split()  # noqa: SIM905
}


def test_every_optimizer_with_a_weight_decay_takes_one_here():
    taking = [n for n, f in names.optimizer_names().items() if "weight_decay" in inspect.signature(f).parameters]
    for name in taking:
        optimizer, penalty = choices.optimizer(name, 0.1, 0.5, PARAMS)
        assert (penalty is None) == (name not in PENALISED), name
        assert optimizer is not None


def test_without_weight_decay_an_optimizer_keeps_its_own_default():
    updates, _ = shrunk("optax.adamw", None)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 1e-4 * PARAMS["kernel"], rtol=1e-6)


@pytest.mark.slow
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


# --- a trainer


def make_trainer(
    path, losses=None, *, optimizer=None, penalty=None, steps=3, steps_per_call=None, request=None, **options
):
    """Build a trainer of softmax regression on noise, three batches an epoch; ``losses`` replace the dev losses."""
    rng = np.random.default_rng(0)
    examples = data.Examples(rng.random((steps * 8, 2, 2, 1)).astype(np.float32), np.arange(steps * 8) % 3)
    layer = nn.serial(flatten=nn.flatten, fc=nn.Dense(3))
    optimizer = optimizer or optax.adam(0.1)
    params, state = layer.init(jax.random.key(0), (2, 2, 1))
    given, judged = iter(losses or []), []

    def evaluate(params, state, examples):
        judged.append(jax.tree.map(lambda leaf: np.array(leaf, copy=True), params))
        return {"loss": next(given, 1.0), "accuracy": 0.0}, None

    # checkpoints that are asked for come at the end of every epoch, too; others depend on the time that they take
    config = Config(**{"batch_size": 8, "log_every": 2, "epochs": 99, "checkpoint_every": 1000, **options})
    shared = Setup(
        config=config,
        dataset=data.from_arrays(examples.images, examples.labels),
        splits=data.Splits(examples, examples, examples),
        preprocessing=data.no_normalization(1, 1.0),
        layer=layer,
        evaluate=evaluate,
        resident=examples if steps_per_call else None,
        steps_per_call=steps_per_call or 1,
    )
    step = training.train_step(layer, optimizer, average_decay=config.average, penalty=penalty)
    parallel = training.data_parallel(step, devices=1, examples=shared.resident)
    begun = training.start(params, state, optimizer, average=config.average is not None)
    start = Start("m", 0.1, lambda step: 0.1, parallel, begun)
    table = records.Table(path / "metrics.csv", Measurement)
    return Trainer(shared, start, path, table, request or runs.StopRequest()), table, judged


def measured(path):
    return records.read_table(path / "metrics.csv", Measurement)


def train(trainer, epochs):
    for epoch in range(epochs):
        trainer.train_epoch(epoch)


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.trains
def test_early_stopping_judges_the_weights_of_the_best_epoch(tmp_path):
    trainer, _, judged = make_trainer(tmp_path, [3.0, 1.0, 2.0, 1.5, 0.5], early_stop=2)
    train(trainer, 5)
    assert (trainer.finished, trainer.epoch, trainer.step) == (True, 4, 12), "two epochs without a lower loss"
    chosen = trainer.chosen()
    assert chosen["which"] == "best on dev, epoch 2"
    assert same(chosen["params"], judged[1])
    assert not same(chosen["params"], judged[3])
    resumed, _, _ = make_trainer(tmp_path, early_stop=2)
    assert resumed.resume()
    assert resumed.finished
    assert same(resumed.chosen()["params"], judged[1])


@pytest.mark.trains
def test_the_average_is_measured_and_judged(tmp_path):
    trainer, _, judged = make_trainer(tmp_path, [1.0, 2.0], early_stop=5, average=0.5)
    train(trainer, 2)
    assert trainer.chosen()["which"] == "average, best on dev, epoch 1"
    assert same(trainer.chosen()["params"], judged[0])
    assert same(trainer.state.average["params"], judged[1])
    assert not same(trainer.state.params, judged[1])


@pytest.mark.trains
def test_without_early_stopping_the_last_weights_are_judged(tmp_path):
    trainer, _, judged = make_trainer(tmp_path, [1.0, 2.0])
    train(trainer, 2)
    assert trainer.chosen()["which"] == "last"
    assert same(trainer.chosen()["params"], judged[1])


@pytest.mark.trains
def test_train_rows_are_without_the_penalty_as_dev_rows_are(tmp_path):
    rows = []
    for name, penalty in (("without", None), ("with", lambda params: 7.0 + 0.0 * params["fc"]["kernel"].sum())):
        (folder := tmp_path / name).mkdir()
        trainer, *_ = make_trainer(folder, optimizer=optax.sgd(0.1), penalty=penalty)
        train(trainer, 1)
        rows.append([(row.split, row.loss) for row in measured(folder)])
    assert rows[0] == rows[1]


@pytest.mark.trains
def test_train_rows_are_means_over_the_steps_since_the_last_one(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, optimizer=optax.sgd(0.0))
    train(trainer, 1)
    found = measured(tmp_path)
    assert [(r.step, r.split) for r in found] == [(2, "train"), (3, "train"), (3, "dev")]
    rng = np.random.default_rng(0)
    images, labels = rng.random((24, 2, 2, 1)).astype(np.float32), np.arange(24) % 3
    layer = nn.serial(flatten=nn.flatten, fc=nn.Dense(3))
    params, state = layer.init(jax.random.key(0), (2, 2, 1))
    logits, _ = layer.apply(params, state, jnp.asarray(images))
    every = np.asarray(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels)))
    np.testing.assert_allclose((2 * found[0].loss + found[1].loss) / 3, every.mean(), rtol=1e-6)


@pytest.mark.trains
def test_a_dev_loss_that_is_not_finite_stops_the_run(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, [1.0, math.nan])
    with pytest.raises(runs.Diverged, match=r"m: the dev loss is nan after step 6; the last finite loss .* at step 6"):
        train(trainer, 2)
    assert training.checkpoints.steps(tmp_path / "checkpoints" / "m") == [0, 3]


def nan_parameters():
    """Make a parameter infinite in the third step; the epoch ends before any loss shows it."""
    return optax.chain(
        optax.sgd(0.1),
        optax.GradientTransformation(
            lambda params: jnp.zeros((), jnp.int32),
            lambda g, s, p=None: (jax.tree.map(lambda u: jnp.where(s == 2, jnp.inf, u), g), s + 1),
        ),
    )


@pytest.mark.trains
def test_a_checkpoint_with_parameters_that_are_not_finite_is_never_written(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, [1.0], optimizer=nan_parameters())
    with pytest.raises(runs.Diverged, match=r"params.*(kernel|bias).* is not finite after step 3"):
        train(trainer, 1)
    assert training.checkpoints.steps(tmp_path / "checkpoints" / "m") == [0]


def corrupt(checkpoint):
    (checkpoint / "meta.json").write_text("{}")


@pytest.mark.trains
def test_corrupt_checkpoints_are_passed_over_and_do_not_push_out_whole_ones(tmp_path):
    whole, _, judged = make_trainer(tmp_path, early_stop=9, checkpoint_every=1)
    train(whole, 2)
    steps = training.checkpoints.steps(tmp_path / "checkpoints" / "m")
    assert steps == [4, 5, 6]
    for step in steps[1:]:
        corrupt(tmp_path / "checkpoints" / "m" / f"{step:08d}")
    again, _, judged_again = make_trainer(tmp_path, early_stop=9, checkpoint_every=1)
    said = []
    assert again.resume(report=said.append)
    assert (again.step, again.epoch, again.batch) == (4, 1, 1)
    assert [f"step {step} is corrupt" in line for step, line in zip((6, 5), said, strict=True)] == [True, True]
    assert training.checkpoints.steps(tmp_path / "checkpoints" / "m") == [4]
    train(again, 2)
    assert same(judged_again[-1], judged[-1])


@pytest.mark.trains
def test_without_a_whole_checkpoint_a_run_cannot_be_resumed(tmp_path):
    trainer, _, _ = make_trainer(tmp_path)
    assert not trainer.resume(), "a run that was killed before its first checkpoint begins again"
    train(trainer, 1)
    for step in training.checkpoints.steps(tmp_path / "checkpoints" / "m"):
        corrupt(tmp_path / "checkpoints" / "m" / f"{step:08d}")
    with pytest.raises(ValueError, match=r"checkpoints/m: all checkpoints are corrupt, those of the steps \[0, 3\]"):
        trainer.resume(report=lambda line: None)


class StopAt(runs.StopRequest):
    """A stop request as if a signal arrived during a step of the trainer."""

    def __init__(self, step):
        self.step, self.trainer = step, None

    @property
    def signal(self):
        return signal.SIGTERM if self.trainer is not None and self.trainer.step >= self.step else None


def nan_loss(at):
    """Make the parameters NaN in step `at`; the loss of the next step shows it."""
    return optax.chain(
        optax.sgd(0.1),
        optax.GradientTransformation(
            lambda params: jnp.zeros((), jnp.int32),
            lambda g, s, p=None: (jax.tree.map(lambda u: jnp.where(s == at - 1, jnp.nan, u), g), s + 1),
        ),
    )


@pytest.mark.trains
@pytest.mark.parametrize("log_every", [2, 5, 100])
def test_several_steps_per_call_write_the_same_rows_and_weights(tmp_path, log_every):
    found = []
    for steps in (1, 4):
        path = tmp_path / str(steps)
        path.mkdir()
        trainer, _, judged = make_trainer(path, steps=7, steps_per_call=steps, log_every=log_every, checkpoint_every=3)
        train(trainer, 2)
        rows = [row._replace(seconds=0) for row in measured(path)]
        found.append(
            (rows, judged, training.checkpoints.steps(path / "checkpoints" / "m"), trainer.clock.to_dict()["steps"])
        )
    (rows, judged, steps, counted), (rows_of_calls, judged_of_calls, steps_of_calls, counted_of_calls) = found
    assert [row.step for row in rows] == [row.step for row in rows_of_calls]
    for row, other in zip(rows, rows_of_calls, strict=True):
        assert other.loss == pytest.approx(row.loss, rel=1e-5)
        assert other.accuracy == row.accuracy
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), judged, judged_of_calls)
    assert steps == steps_of_calls
    first_call = min(4, log_every, 3)
    assert (counted, counted_of_calls) == (14 - 1, 14 - first_call), "the first call compiles, and is set aside"


@pytest.mark.trains
def test_a_run_stopped_within_calls_of_several_steps_resumes_to_the_bit(tmp_path):
    ended = []
    for stop_at in (None, 1, 6, 9):
        path = tmp_path / str(stop_at)
        path.mkdir()
        request = StopAt(stop_at or 1000)
        trainer, _, judged = make_trainer(path, steps=7, steps_per_call=4, log_every=5, request=request)
        request.trainer = trainer
        train(trainer, 2)
        if stop_at:
            assert stop_at <= trainer.step < stop_at + 4, "the call under way is the last"
            trainer, table, judged = make_trainer(path, steps=7, steps_per_call=4, log_every=5)
            assert trainer.resume()
            train_cnn.keep_first(table, {"m": trainer.rows})
            train(trainer, 2)
        rows = [row._replace(seconds=0) for row in measured(path)]
        ended.append((rows, judged[-1]))
    for rows, weights in ended[1:]:
        assert rows == ended[0][0]
        assert same(weights, ended[0][1])


@pytest.mark.trains
def test_a_loss_that_is_not_finite_within_a_call_is_named_by_its_step(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, steps=7, steps_per_call=4, log_every=100, optimizer=nan_loss(2))
    with pytest.raises(runs.Diverged, match=r"m: the loss is nan at step 3; the last finite loss was .* at step 2"):
        train(trainer, 1)


@pytest.mark.trains
@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_run_stopped_at_any_batch_resumes(tmp_path, stop_at):
    (tmp_path / "whole").mkdir()
    whole, _, judged = make_trainer(tmp_path / "whole")
    train(whole, 2)
    request = StopAt(stop_at)
    stopped, _, _ = make_trainer(tmp_path, request=request)
    request.trainer = stopped
    train(stopped, 2)
    assert stopped.step == stop_at
    again, table, judged_again = make_trainer(tmp_path)
    assert again.resume()
    train_cnn.keep_first(table, {"m": again.rows})
    train(again, 2)
    assert same(judged_again[-1], judged[-1])
    tables = [measured(path) for path in (tmp_path / "whole", tmp_path)]
    timeless = [[r._replace(seconds=0) for r in found] for found in tables]
    assert timeless[0] == timeless[1]
    assert [(r.step, r.split) for r in tables[0]][:3] == [(2, "train"), (3, "train"), (3, "dev")]


class Killed(BaseException):
    """What no handler of errors stops."""


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("checkpoint_every", [2, 3, 4])
def test_a_run_killed_at_any_row_or_checkpoint_ends_with_the_same_rows_and_weights(
    tmp_path, monkeypatch, checkpoint_every
):
    """Among the moments: the last step of an epoch is saved before its rows are written, and again behind them."""
    options = {"steps": 4, "log_every": 3, "checkpoint_every": checkpoint_every}
    whole, _, judged = make_trainer(tmp_path, **options)
    train(whole, 2)
    expected, weights = [row._replace(seconds=0) for row in measured(tmp_path)], judged[-1]
    left = 0

    def limited(real):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*args, **kwargs)

        return call

    for allowed in range(100):
        path = tmp_path / f"dies after {allowed}"
        path.mkdir()
        trainer, _, _ = make_trainer(path, **options)
        with monkeypatch.context() as patch:
            left = allowed
            patch.setattr(records.Table, "append", limited(records.Table.append))
            patch.setattr(training.checkpoints, "save", limited(training.checkpoints.save))
            patch.setattr(training.checkpoints, "_replace", limited(training.checkpoints._replace))
            try:
                train(trainer, 2)
            except Killed:
                pass
            else:
                break
        again, table, judged = make_trainer(path, **options)
        again.resume(report=pytest.fail)
        train_cnn.keep_first(table, {"m": again.rows})
        train(again, 2)
        assert [row._replace(seconds=0) for row in measured(path)] == expected, allowed
        assert same(judged[-1], weights), allowed
    assert allowed > 12


@pytest.mark.trains
@pytest.mark.parametrize(
    ("optimizer", "options", "which"),
    [
        (optax.adam(0.1), {}, "last"),
        (optax.adam(0.1), {"average": 0.5}, "average"),
        (optax.adam(0.1), {"early_stop": 2}, "best on dev"),
        (optax.contrib.schedule_free_sgd(0.1), {}, "last"),
        (optimizers.lookahead(optax.sgd(0.1), sync_period=2, slow_step_size=0.5), {}, "last"),
    ],
)
def test_the_weights_of_an_unfinished_run_are_those_that_were_judged(tmp_path, optimizer, options, which):
    trainer, _, judged = make_trainer(tmp_path, [1.0, 2.0], optimizer=optimizer, **options)
    train(trainer, 2)
    layer = nn.serial(flatten=nn.flatten, fc=nn.Dense(3))
    like = dict(zip(("params", "state"), layer.init(jax.random.key(0), (2, 2, 1)), strict=True))
    variables, said = loading.unfinished(tmp_path, "m", jax.eval_shape(lambda: like))
    assert said == f"{which}, of the checkpoint after step 6"
    assert same(variables["params"], judged[0 if which.startswith("best") else 1])
    assert judged[0]["fc"]["kernel"].tolist() != judged[1]["fc"]["kernel"].tolist()
