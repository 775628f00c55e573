"""Transfer: parts that move, parts that stay, the rate of each parameter, and the experiment on bundled data."""

import csv
import os
import signal
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_sample_images

from experiments.report import main as remake_report
from experiments.transfer import command as experiment
from experiments.transfer.patches import photo_patches
from experiments.transfer.records import TransferResult
from jaxdl import data, models, nn, optimizers, training
from jaxdl.applications import transfer

IN_SHAPE = (8, 8, 1)


def trained():
    layer = models.small_cnn(5, widths=(4, 6), hidden=8)
    params, state = layer.init(jax.random.key(0), IN_SHAPE)
    return layer, jax.tree.map(lambda leaf: leaf + 0.25, params), jax.tree.map(lambda leaf: leaf + 0.5, state)


def test_the_trunk_computes_a_tap_s_values():
    layer, params, state = trained()
    x = jnp.asarray(np.random.RandomState(0).rand(2, *IN_SHAPE), jnp.float32)
    for after in ("stage1/norm", "stage2", "relu", "fc2"):
        seen = nn.tap(layer, [after]).apply(params, state, x)[0][1][after]
        np.testing.assert_array_equal(transfer.trunk(layer, after).apply(params, state, x)[0], seen)
    assert list(transfer.trunk(layer, "stage2/conv").children) == ["stage1", "stage2"]
    assert list(transfer.trunk(layer, "stage2/conv").children["stage2"].children) == ["conv"]


def test_a_trunk_ends_within_serial_alone():
    with pytest.raises(ValueError, match=r"path: got 'stage9', which does not exist .* nearest: "):
        transfer.trunk(models.small_cnn(), "stage9")
    with pytest.raises(ValueError, match=r"after: got 'body', which is inside a 'parallel'"):
        transfer.trunk(models.resnet20(), "conv2/block1/residual/body")
    with pytest.raises(ValueError, match="name: got 'relu', which the trunk has already; it has stage1, stage2"):
        transfer.with_head(trained()[0], "relu", nn.Dense(2), name="relu")


def test_carried_and_new_parameters():
    layer, params, state = trained()
    moved = transfer.with_head(layer, "relu", nn.Dense(3))
    new_params, new_state = transfer.start(jax.random.key(7), moved, IN_SHAPE, params, state)
    fresh, _ = moved.init(jax.random.key(7), IN_SHAPE)
    assert set(new_params) == {"stage1", "stage2", "fc1", "head"}
    for name in ("stage1", "stage2", "fc1"):
        jax.tree.map(np.testing.assert_array_equal, new_params[name], params[name])
    jax.tree.map(np.testing.assert_array_equal, new_params["head"], fresh["head"])
    jax.tree.map(np.testing.assert_array_equal, new_state, state)
    with pytest.raises(ValueError, match="lack or have in another shape fc1/kernel; new parts stand in"):
        transfer.start(jax.random.key(0), moved, (16, 16, 1), params, state)
    with pytest.raises(ValueError, match="lack or have in another shape top/kernel, top/bias"):
        transfer.start(
            jax.random.key(0), transfer.with_head(layer, "relu", nn.Dense(3), name="top"), IN_SHAPE, params, state
        )


def step_of(layer, optimizer, params, state):
    examples = data.load("digits")
    batch = data.Batch(examples.images[:16] / 16, examples.labels[:16] % 5, np.ones(16, np.float32), np.arange(16))
    begun = training.start(params, state, optimizer)
    return jax.jit(training.train_step(layer, optimizer))(begun, batch, jax.random.key(0))[0]


@pytest.mark.slow
def test_each_parameter_moves_by_its_own_rate_and_frozen_parts_not_at_all():
    layer, params, state = trained()
    factors = {"fc2/.*": 1.0, "fc1/.*": 0.1, ".*": 0.0}
    optimizer = transfer.by_path(lambda rate: optimizers.sgd(rate), 0.5, factors)
    held = transfer.hold(layer, "stage1", "stage2", "dropout")
    after = step_of(held, optimizer, params, state)
    plain = step_of(held, optax.sgd(0.5), params, state)  # optax is the oracle of a plain step
    change = lambda new: jax.tree.map(lambda a, b: a - b, new.params, params)
    jax.tree.map(np.testing.assert_array_equal, (after.params["stage1"], after.layer_state), (params["stage1"], state))
    jax.tree.map(np.testing.assert_array_equal, after.params["stage2"], params["stage2"])
    for name, factor in (("fc1", 0.1), ("fc2", 1.0)):
        jax.tree.map(
            lambda a, b, factor=factor: np.testing.assert_allclose(a, factor * b, rtol=1e-4, atol=1e-6),
            change(after)[name], change(plain)[name],
        )  # fmt: skip
    assert np.abs(change(plain)["stage1"]["conv"]["kernel"]).max() > 0
    moving = step_of(layer, optimizer, params, state)  # frozen parts that are not held update their statistics
    assert np.abs(moving.layer_state["stage1"]["norm"]["mean"] - state["stage1"]["norm"]["mean"]).max() > 0


def test_rates_may_follow_a_schedule_and_every_parameter_needs_one():
    params = {"a": jnp.ones(2), "b": {"c": jnp.ones(2)}}
    optimizer = transfer.by_path(optax.sgd, lambda step: 1.0 / (1 + step), {"a": 1.0, "b/.*": 0.1})
    state = optimizer.init(params)
    grads = jax.tree.map(jnp.ones_like, params)
    for expected in (1.0, 0.5):
        updates, state = optimizer.update(grads, state, params)
        np.testing.assert_allclose(updates["a"], [-expected] * 2, rtol=1e-6)
        np.testing.assert_allclose(updates["b"]["c"], [-0.1 * expected] * 2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"factors: none of \['a'\] matches the parameter b/c"):
        transfer.by_path(optax.sgd, 1.0, {"a": 1.0}).init(params)
    with pytest.raises(ValueError, match=r"factors: got -1.0 for 'a', allowed are numbers from 0 on"):
        transfer.by_path(optax.sgd, 1.0, {"a": -1.0})


def test_held_parts_can_be_tapped_and_replaced():
    layer, params, state = trained()
    held = transfer.hold(layer, "stage1")
    x = jnp.ones((2, *IN_SHAPE))
    (_, seen), _ = nn.tap(held, ["stage1/conv"]).apply(params, state, x, train=True, key=jax.random.key(0))
    assert seen["stage1/conv"].shape == (2, 8, 8, 4)


def upside_down():
    """Return a second data set: the digits upside down and inverted."""
    digits = data.load("digits")
    return data.from_arrays(16 - digits.images[:, ::-1, ::-1], digits.labels, scale=16.0, name="upside down")


PATCHES = "experiments.transfer.patches:photo_patches"


def test_the_example_of_the_help_names_two_data_sets():
    """Every patch is a part of its photograph, in the band of its class; none of them is a digit."""
    commands = experiment.__doc__.replace("\\\n", "").split("python -m experiments.transfer")
    assert f"--source digits --different {PATCHES} " in commands[2]
    dataset, photos = photo_patches(), [photo.mean(2) for photo in load_sample_images().images]
    assert (dataset.images.shape, dataset.classes[7]) == ((8000, 8, 8, 1), "flower 3")
    assert (np.bincount(dataset.labels) == 800).all()
    for number in (0, 81, 3999, 4000, 7345):
        photo, place = divmod(number, 50 * 80)
        top, left = (8 * part for part in divmod(place, 80))
        np.testing.assert_array_equal(
            dataset.images[number, ..., 0], photos[photo][top : top + 8, left : left + 8].round()
        )
        assert dataset.labels[number] == 5 * photo + top // 80


OPTIONS = ["--source", "digits", "--different", "other:upside_down", "--examples", "3", "20", "--steps", "30"]


@pytest.mark.trains
@pytest.mark.slow
def test_the_experiment_fills_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "other", types.SimpleNamespace(upside_down=upside_down))
    options = [*OPTIONS, "--source-epochs", "4", "--width", "8", "--seeds", "1", "--out", str(tmp_path / "run")]
    assert experiment.main(options) == 0
    rows = list(csv.DictReader((tmp_path / "run" / "results.csv").read_text().splitlines()))
    assert len(rows) == 1 + 5 * 2 * 2
    found = {(r["task"], r["way"], int(r["examples_per_class"])): float(r["test_accuracy"]) for r in rows}
    assert next(iter(found.values())) > 0.9
    assert found["similar", "from scratch", 20] > 0.6
    assert found["different", "linear on an earlier layer", 20] > 0.6
    text = (tmp_path / "run" / "report.md").read_text()
    assert "## The four cells" in text
    assert text.count("fine-tune many") >= 3
    assert (tmp_path / "run" / "figures" / "accuracy.png").exists()
    assert "report: " in capsys.readouterr().out
    # after a kill while a row was written, finished rows are kept and the rest comes out the same
    whole = (tmp_path / "run" / "results.csv").read_bytes()
    cut = whole.rindex(b"from scratch") + 5
    (tmp_path / "run" / "results.csv").write_bytes(whole[:cut])
    remake_report([str(tmp_path / "run")])
    assert "–" in (tmp_path / "run" / "report.md").read_text().split("## How this was made")[0]
    trained = []
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda *args, **options: trained.append(1) or fit(*args, **options))
    assert experiment.main([*options, "--resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "results.csv").read_bytes() == whole
    assert len(trained) == 1
    assert (tmp_path / "run" / "report.md").read_text() == text
    (tmp_path / "run" / "report.md").unlink()
    remake_report([str(tmp_path / "run")])
    assert (tmp_path / "run" / "report.md").read_text() == text
    with pytest.raises(ValueError, match="steps is 30 in the run, 31 here"):
        experiment.main(["--steps", "31", "--resume", str(tmp_path / "run")])


def test_a_stop_request_ends_after_the_network_under_way(tmp_path, monkeypatch, capsys):
    """On Ctrl-C during the second network, its row is written and the third network never starts."""
    seen = []

    def few(config, tasks, folder, done):
        for seed in range(3):
            seen.append(seed)
            if seed == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield TransferResult("similar", "linear on top", 3, seed, 0.5)

    monkeypatch.setattr(experiment, "results", few)
    options = ["--source", "digits", "--different", PATCHES, "--examples", "3", "--out", str(tmp_path / "run")]
    assert experiment.main(options) == 130
    assert seen == [0, 1]
    assert len((tmp_path / "run" / "results.csv").read_text().splitlines()) == 3
    assert f"SIGINT: resume with --resume {tmp_path / 'run'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps=0 is not allowed"),
        (["--examples", "100000"], r"examples=\(100000,\) is not allowed: the smallest class has"),
        (["--learning-rate", "nan"], "learning_rate=nan is not allowed"),
        (
            ["--different", "digits"],
            r"different='digits' is not allowed: it must be another data set than source='digits'",
        ),
        (["--different", "other:small"], r"different='other:small' has 2 classes of images \(4, 4, 1\)"),
    ],
    ids=["steps", "examples", "rate", "same", "different"],
)
def test_mistakes_are_named_and_leave_nothing(options, message, tmp_path, monkeypatch):
    small = lambda: (np.zeros((40, 4, 4, 1), np.float32), np.arange(40) % 2)
    monkeypatch.setitem(sys.modules, "other", types.SimpleNamespace(small=small))
    with pytest.raises(ValueError, match=message):
        experiment.main(["--source", "digits", "--different", PATCHES, *options, "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
