"""`python -m experiments.train_cnn` and `experiments.predict`: real runs, the files they leave, and resuming."""

import csv
import dataclasses
import json
import os
import pty
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

from experiments import predict
from experiments.train_cnn import command as train_cnn
from experiments.train_cnn import report, setup
from jaxdl import data, runs
from jaxdl.runs import commandline

pytestmark = pytest.mark.trains

# --- one real run

OPTIONS = [
    "--model",
    "mine:net",
    "--optimizer",
    "jaxdl.sgd",
    "optax.sgd",
    "--learning-rate",
    "0.3",
    "--epochs",
    "3",
    "--batch-size",
    "64",
    "--seed",
    "5",
    "--early-stop",
    "3",
    "--average",
    "0.8",
    "--augment",
    "shift",
    "cutout",
    "--schedule",
    "inverse_sqrt",
    "--warmup",
    "4",
    "--label-smoothing",
    "0.05",
]


@pytest.fixture(scope="module")
def finished(here):
    """Return the folder of a run that finished in this process."""
    folder = here / "finished"
    assert train_cnn.main([*OPTIONS, "--out", str(folder)]) == 0
    return folder


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_folder_of_a_run_holds_the_files_of_the_readme(finished):
    there = {p.name for p in finished.iterdir()}
    files = {
        "config.json",
        "manifest.json",
        "metrics.csv",
        "summary.json",
        "predictions.npz",
        "preprocessing.json",
        ".lock",
    }
    assert there == files | {"report.md", "report.html", "figures", "checkpoints", "final"}


def test_the_config_is_resolved_and_complete(finished):
    config = json.loads((finished / "config.json").read_text())
    assert config["learning_rate"] == [0.3, 0.3]
    assert config["noise_floor"] is True, "sgd and sgd at one rate are twins"
    assert (config["strategy"], config["weight_decay"], config["seed"]) == ("jit", None, 5)
    assert (config["experiment"], config["format"]) == ("train_cnn", 1)
    passing = {*commandline.WHERE, *train_cnn.Config.PASSING}
    fields = {field.name for field in dataclasses.fields(train_cnn.Config)} - passing
    assert set(config) == fields | {"experiment", "format"}


def test_the_manifest_says_where_the_numbers_come_from(finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["command"].endswith(" ".join([*OPTIONS, "--out", str(finished)]))
    assert manifest["seed"] == 5
    assert manifest["versions"]["jax"] == jax.__version__
    assert manifest["versions"]["optax"] == optax.__version__
    assert manifest["versions"]["python"] == sys.version.split()[0]
    assert manifest["devices"] == ["cpu:0 cpu"]
    (digest,) = manifest["data"]["sha256"].values()
    assert re.fullmatch("[0-9a-f]{64}", digest)


def test_the_metrics_have_every_row_once(finished):
    found = [(r["optimizer"], int(r["step"]), int(r["epoch"]), r["split"]) for r in rows(finished)]
    names = ["jaxdl.sgd", "optax.sgd", "optax.sgd+1ulp"]
    # 1,294 training examples make 20 steps an epoch; a train row comes every 50 steps and at the end of an epoch
    train = {0: [20], 1: [40], 2: [50, 60]}
    wanted = []
    for epoch, steps in train.items():
        for name in names:
            wanted += [(name, step, epoch, "train") for step in steps] + [(name, steps[-1], epoch, "dev")]
    assert found == wanted + [(name, 60, 2, "test") for name in names]
    # inverse_sqrt after 4 steps of warm-up: peak / sqrt(1 + t/T) with t = 50 - 1 - 4 and T = 4
    at_50 = [float(r["learning_rate"]) for r in rows(finished) if int(r["step"]) == 50]
    np.testing.assert_allclose(at_50, 0.3 / np.sqrt(1 + 45 / 4), rtol=1e-6)
    seconds = [float(r["seconds"]) for r in rows(finished) if r["optimizer"] == "jaxdl.sgd"]
    assert seconds == sorted(seconds)


def test_the_summary_agrees_with_scikit_learn_on_the_predictions(finished):
    summary = json.loads((finished / "summary.json").read_text())
    with np.load(finished / "predictions.npz") as archive:
        arrays = dict(archive)
    assert [row["optimizer"] for row in summary["rows"]] == ["jaxdl.sgd", "optax.sgd"]
    for i, row in enumerate(summary["rows"]):
        probabilities = arrays[f"probabilities_{i}"]
        assert row["test_accuracy"] == accuracy_score(arrays["labels"], probabilities.argmax(1))
        loss = -np.log(probabilities[np.arange(len(probabilities)), arrays["labels"]].astype(np.float64)).mean()
        np.testing.assert_allclose(row["test_loss"], loss, rtol=1e-4)
        assert (row["steps"], row["epochs"], row["learning_rate"]) == (60, 3, 0.3)
        assert row["steps_per_second"] == pytest.approx((60 - 10) / row["seconds"])  # the first 10 compile
        assert row["weights"].startswith("average, best on dev, epoch ")
        wrong = arrays[f"mistake_index_{i}"]
        assert (probabilities[wrong].argmax(1) != arrays["labels"][wrong]).all()
        assert (np.diff(probabilities[wrong].max(1)) <= 0).all(), "most confident first"
    assert summary["examples"] == {"train": 1294, "dev": 144, "test": 359}
    pair = summary["pair"]
    assert (pair["a"], pair["b"]) == ("jaxdl.sgd", "optax.sgd")
    assert 0 <= pair["max_relative_difference"] < 0.1
    assert 0 < pair["noise_floor_relative"] < 0.1
    assert pair["noise_floor_ulps"] >= 1


def test_the_best_epoch_is_the_one_of_the_lowest_dev_loss(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for row in summary["rows"]:
        dev = [float(r["loss"]) for r in rows(finished) if r["optimizer"] == row["optimizer"] and r["split"] == "dev"]
        assert row["weights"].endswith(f"epoch {1 + int(np.argmin(dev))}")


@pytest.mark.parametrize("optimizer", [None, "optax.sgd"])
def test_load_gives_back_the_network_that_was_judged(finished, optimizer):
    summary = json.loads((finished / "summary.json").read_text())
    row = next(r for r in summary["rows"] if r["optimizer"] == (optimizer or "jaxdl.sgd"))
    loaded = runs.load(finished, optimizer=optimizer, trust_run=True)
    test = data.split(data.load("digits"), seed=5, dev_fraction=0.1).test
    x = data.normalize(test.images, loaded.preprocessing)
    logits, _ = loaded.layer.apply(loaded.params, loaded.state, x)
    assert float(np.mean(np.asarray(logits).argmax(1) == test.labels)) == row["test_accuracy"]
    assert (loaded.in_shape, loaded.classes) == ((8, 8, 1), tuple("0123456789"))
    assert (loaded.optimizer, loaded.config["seed"]) == (row["optimizer"], 5)


def test_an_unfinished_run_is_loaded_and_reported_from_its_newest_checkpoint(run, finished, tmp_path):
    with pytest.raises(ValueError, match=r"optimizer='adam' is not in this run; it has jaxdl.sgd, optax.sgd"):
        runs.load(finished, optimizer="adam", trust_run=True)
    with pytest.raises(ValueError, match=r"is not a run folder, it has no config.json"):
        runs.load(tmp_path)
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("final"))
    whole, loaded = (runs.load(path, trust_run=True) for path in (finished, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, (loaded.params, loaded.state), (whole.params, whole.state))
    assert (whole.unfinished, loaded.unfinished) == ("", "best on dev, of the checkpoint after step 60")
    digit = write_digit(tmp_path / "digit.png", load_digits().images[0])
    code, out, _ = run(predict.main, tmp_path / "run", digit, "--trust-run")
    assert code == 0
    assert out.splitlines()[0].endswith("run is unfinished; weights: best on dev, of the checkpoint after step 60")
    (tmp_path / "run" / "summary.json").unlink()
    page = report.write(tmp_path / "run")
    assert "unfinished" in page.read_text()
    assert "jaxdl.sgd | dev | 3 | 60 |" in (tmp_path / "run" / "report.md").read_text()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ValueError, match=r"this run has no checkpoint yet; resume it with --resume"):
        runs.load(tmp_path / "run", trust_run=True)


def test_load_refuses_a_flipped_bit(finished, tmp_path):
    shutil.copytree(finished / "final", tmp_path / "final")
    for name in ("config.json", "preprocessing.json"):
        shutil.copy(finished / name, tmp_path)
    files = (tmp_path / "final" / "jaxdl.sgd").glob("*/arrays/**/*")  # the manifest may be larger than the arrays
    file = max((p for p in files if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256"):
        runs.load(tmp_path, trust_run=True)


@pytest.mark.slow
def test_resume_of_a_finished_run_makes_its_report_again_without_training(capsys, finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "report.html").unlink()
    monkeypatch.setattr("jaxdl.training.fit", None)  # training would fail
    assert train_cnn.main(["--resume", str(folder), "--trust-run"]) == 0
    assert (folder / "report.html").exists()
    for name in ("metrics.csv", "summary.json", "manifest.json", "preprocessing.json", "predictions.npz"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    said = capsys.readouterr().out
    assert said.startswith(f"{folder} has finished; its report is made again\n")
    assert f"resuming {folder}" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--learning-rate 0.2", ("learning_rate is (0.3, 0.3) in the run, (0.2,) here",)),
        ("--batch-size 32 --seed 6", ("batch_size is 64 in the run, 32 here", "seed is 5 in the run, 6 here")),
        ("--epochs 2", ("epochs=2 is not allowed: it must be at least the run's 3",)),
        ("--optimizer jaxdl.sgd", ("optimizer is ('jaxdl.sgd', 'optax.sgd') in the run, ('jaxdl.sgd',) here",)),
        ("--dataset mnist", ("dataset is 'digits' in the run, 'mnist' here",)),
        ("--out elsewhere", ("stays in its folder, but --out is elsewhere",)),
    ],
)
def test_resume_with_another_config_lists_the_differences(run, finished, options, said):
    code, out, err = run(train_cnn.main, "--resume", finished, "--trust-run", *options.split())
    assert (code, out) == (2, "")
    for part in said:
        assert part in err


def test_resume_beside_the_command_that_began_the_run_is_allowed(finished):
    args = [*OPTIONS, "--out", str(finished), f"--resume={finished}"]
    config = commandline.parse(train_cnn.Config, args)
    assert train_cnn.resolve(config).learning_rate == (0.3, 0.3)
    assert config.resume == finished


@pytest.mark.slow
def test_resume_with_other_data_names_the_file(run, here, tmp_path, monkeypatch, write_idx):
    monkeypatch.setattr(report, "write", lambda folder: folder)
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    labels = (np.arange(60) % 3).astype(np.uint8)
    write_idx(tmp_path / "idx", images, labels)
    options = ["--model", "mine:net", "--optimizer", "mine:sgd", "--epochs", "1", "--batch-size", "8"]
    folder = tmp_path / "run"
    assert train_cnn.main([*options, "--dataset", str(tmp_path / "idx"), "--out", str(folder)]) == 0
    write_idx(tmp_path / "idx", images[::-1], labels)
    code, _, err = run(train_cnn.main, "--resume", folder, "--trust-run")
    assert code == 2
    assert "train-images-idx3-ubyte: its SHA-256 is " in err
    assert "a resumed run needs the same data" in err


@pytest.mark.parametrize(
    ("options", "resident", "expected"),
    [
        ("--model tiny_cnn", True, 10),
        ("--model tiny_cnn --steps-per-call 3", True, 3),
        ("--model tiny_cnn", False, 1),
        ("--model tiny_cnn --batch-size 300", True, 1),  # .7 MFLOP each
        ("--model net_3c3d", True, 1),
    ],
)
def test_short_steps_go_together(options, resident, expected):
    config = train_cnn.resolve(commandline.parse(train_cnn.Config, options.split()))
    size = 32 if "3c3d" in options else 8
    part = data.Examples(np.zeros((600, size, size, 3 if size == 32 else 1), np.uint8), np.zeros(600, np.int32))
    layer = runs.model(config.model, 10)
    assert setup.choose_steps_per_call(config, layer, data.Splits(part, part, part), resident) == expected


def test_several_steps_per_call_are_for_data_on_the_device():
    config = train_cnn.resolve(train_cnn.Config(model="tiny_cnn", steps_per_call=2))
    part = data.Examples(np.zeros((600, 8, 8, 1), np.uint8), np.zeros(600, np.int32))
    with pytest.raises(ValueError, match="steps_per_call=2 is not allowed: it must be 1: the data do not fit"):
        setup.choose_steps_per_call(config, runs.model("tiny_cnn", 10), data.Splits(part, part, part), False)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle", "step", "inverse_sqrt"])
def test_a_users_own_data_net_and_optimizer_run_under_every_schedule(here, tmp_path, monkeypatch, schedule):
    monkeypatch.setattr(report, "write", lambda folder: folder)
    args = ["--dataset", "mine:dataset", "--model", "mine:net", "--optimizer", "mine:sgd", "--schedule", schedule]
    more = ["--learning-rate", "0.1", "--epochs", "2", "--batch-size", "8", "--out", str(tmp_path / "run")]
    assert train_cnn.main([*args, *more]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["rows"][0]["optimizer"] == "mine:sgd"
    assert summary["dataset"] == "blobs"
    assert summary["pair"] is None
    assert summary["rows"][0]["test_accuracy"] > 0.6, "dark, grey and light are easy to tell apart"
    assert runs.load(tmp_path / "run", trust_run=True).classes == ("dark", "grey", "light")
    rate = [float(r["learning_rate"]) for r in rows(tmp_path / "run") if r["split"] == "dev"]
    if schedule == "constant":
        assert rate == [0.1, 0.1]
    elif schedule == "step":  # 86 training examples: 10 steps an epoch, so 20 in all, a tenth at 10 and at 15
        np.testing.assert_allclose(rate, [0.1, 0.001], rtol=1e-6)
    else:
        assert rate[1] < rate[0] < 0.1 + 1e-9


@pytest.mark.slow
def test_another_loss_trains_and_judges(here, tmp_path, monkeypatch):
    """Cross entropy of logits is the negative log likelihood of their log-softmax, at every step."""
    monkeypatch.setattr(report, "write", lambda folder: folder)
    common = ["--dataset", "mine:dataset", "--optimizer", "jaxdl.sgd", "--epochs", "2", "--batch-size", "8"]
    common += ["--log-every", "1"]
    assert train_cnn.main([*common, "--model", "mine:net", "--out", str(tmp_path / "a")]) == 0
    assert train_cnn.main([*common, "--model", "mine:log_net", "--loss", "nll", "--out", str(tmp_path / "b")]) == 0
    found = [[(float(r["loss"]), float(r["accuracy"])) for r in rows(tmp_path / name)] for name in "ab"]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-6)
    np.testing.assert_allclose(*found, rtol=1e-3)


@pytest.mark.slow
def test_capsules_with_their_loss_on_plain_pixels(run, capsys, here, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "write", lambda folder: folder)
    folder = tmp_path / "run"
    options = ["--dataset", "mine:bars", "--model", "mine:capsules", "--optimizer", "jaxdl.adam", "--epochs", "2"]
    more = ["--loss", "jaxdl.models.capsnet:capsule_loss", "--normalization", "none", "--batch-size", "8"]
    assert train_cnn.main([*options, *more, "--out", str(folder)]) == 0
    normalization = json.loads((folder / "preprocessing.json").read_text())["normalization"]
    assert normalization == {"mean": [0.0], "std": [1.0], "scale": 1.0}
    loaded = runs.load(folder, trust_run=True)
    first, _ = loaded.layer.init(setup.keys(train_cnn.Config())[0], (20, 20, 1))
    moved = np.abs(loaded.params["decoder"]["fc3"]["bias"] - first["decoder"]["fc3"]["bias"]).max()
    assert moved > 1e-3, "the reconstruction is part of the training loss"
    # in evaluation the loss is the paper's margin loss of the lengths alone
    dataset = data.from_arrays(*sys.modules["mine"].bars())
    test = data.split(dataset, seed=0, dev_fraction=0.1).test
    lengths = np.asarray(loaded.layer.apply(loaded.params, loaded.state, test.images)[0], np.float64)
    present = np.arange(2) == test.labels[:, None]
    per_class = np.where(present, np.maximum(0, 0.9 - lengths) ** 2, 0.5 * np.maximum(0, lengths - 0.1) ** 2)
    row = rows(folder)[-1]
    assert row["split"] == "test"
    np.testing.assert_allclose(float(row["loss"]), per_class.sum(1).mean(), rtol=1e-5)
    Image.fromarray(np.uint8(255 * test.images[0, ..., 0])).save(tmp_path / "bar.png")
    capsys.readouterr()
    code, out, _ = run(predict.main, folder, tmp_path / "bar.png", "--top", 2, "--trust-run")
    e = np.exp(lengths[0] - lengths[0].max())
    assert code == 0
    assert [float(p) for p in re.findall(r"([\d.]+)%", out)] == pytest.approx(
        np.sort(100 * e / e.sum())[::-1], abs=0.06
    )


@pytest.mark.slow
def test_a_loss_that_becomes_nan_stops_the_run_and_keeps_the_last_finite_checkpoint(run, here, tmp_path):
    folder = tmp_path / "run"
    args = ["--dataset", "mine:blobs", "--model", "mine:net", "--optimizer", "mine:nan_at_7", "--schedule", "constant"]
    more = ["--batch-size", 16, "--epochs", 3, "--log-every", 1, "--checkpoint-every", 1000, "--out", folder]
    code, _, err = run(train_cnn.main, *args, *more)
    # the seventh update is NaN, which the eighth loss shows
    assert code == 1
    assert "mine:nan_at_7: the loss is nan at step 8; the last finite loss was" in err
    assert "at step 7; the first value that is not finite is params['conv']['kernel'] (layer conv) after step 7;" in err
    assert "; the checkpoint of step 5 is kept" in err
    last = [float(r["loss"]) for r in rows(folder) if r["split"] == "train"][-1]
    assert f"{last:.6g} at step 7" in err
    assert sorted(int(path.name) for path in folder.glob("checkpoints/*/[0-9]*")) == [0, 5]
    again = run(train_cnn.main, "--resume", folder, "--trust-run")
    assert again[0] == 1
    assert again[2] == err, "a run that diverged stays so"
    report = (folder / "report.md").read_text()
    assert "diverged at step 8" in report
    assert "the loss is nan at step 8; the last finite loss was" in report
    with pytest.raises(ValueError, match="optimizer='mine:nan_at_7' diverged, so it has no weights: the loss is nan"):
        runs.load(folder, trust_run=True)


@pytest.mark.slow
def test_an_optimizer_that_diverges_leaves_the_others_as_they_are(run, here, tmp_path, monkeypatch):
    """The others train as without it, the report says when it ended, and a resumed run keeps to that."""
    common = ["--dataset", "mine:blobs", "--model", "mine:net", "--schedule", "constant", "--batch-size", 16]
    common += ["--epochs", 3, "--learning-rate", 0.1]
    folder, alone = tmp_path / "run", tmp_path / "alone"
    code, out, _ = run(
        train_cnn.main, *common, "--optimizer", "mine:nan_at_7", "jaxdl.sgd", "optax.adam", "--out", folder
    )
    assert code == 0
    assert "diverged: mine:nan_at_7: the loss is nan at step 8; the last finite loss was" in out
    assert "mine:nan_at_7 diverged at step 8." in out
    monkeypatch.setattr(report, "write", lambda folder: folder)
    assert run(train_cnn.main, *common, "--optimizer", "jaxdl.sgd", "optax.adam", "--out", alone)[0] == 0
    monkeypatch.undo()
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows(path) if row["optimizer"] != "mine:nan_at_7"]
        for path in (folder, alone)
    ]
    assert timeless[0] == timeless[1]
    first, *others = json.loads((folder / "summary.json").read_text())["rows"]
    assert (first["diverged_at"], first["steps"], first["test_accuracy"], first["epochs"]) == (8, 8, None, 8 / 5)
    assert [row["diverged_at"] for row in others] == [None, None]
    with np.load(folder / "predictions.npz") as archive:
        assert {"probabilities_1", "probabilities_2"} <= set(archive)
        assert "probabilities_0" not in archive
    text = (folder / "report.md").read_text()
    assert text.count("diverged") >= 2
    assert "## Is it the same algorithm?" not in text
    assert "## Which is better?" in text
    # killed before its end, and resumed
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "final")
    code, out, _ = run(train_cnn.main, "--resume", folder, "--trust-run")
    assert code == 0
    assert "mine:nan_at_7 diverged at step 8." in out
    assert (folder / "report.md").read_text() == text
    assert runs.load(folder, optimizer="jaxdl.sgd", trust_run=True).optimizer == "jaxdl.sgd"


def test_a_learning_rate_that_explodes_stops_the_run(run, here, tmp_path):
    args = ["--model", "softmax_regression", "--optimizer", "jaxdl.sgd", "--learning-rate", "1e38"]
    code, _, err = run(train_cnn.main, *args, "--epochs", 2, "--augment", "none", "--out", tmp_path / "run")
    assert code == 1
    assert re.search(r"stopped: jaxdl.sgd: the loss is (inf|nan) at step \d+; the last finite loss was", err)
    kept = [np.isfinite(float(r["loss"])) for r in rows(tmp_path / "run")]
    assert all(kept)


# --- predict


def write_digit(path, image):
    Image.fromarray(np.round(image.astype(float) * 255 / 16).astype(np.uint8)).save(path)
    return path


def test_predict_prints_the_three_most_probable_classes(run, finished, tmp_path):
    test = data.split(data.load("digits"), seed=5, dev_fraction=0.1).test
    chosen = [int(np.flatnonzero(test.labels == digit)[0]) for digit in range(10)]
    paths = [write_digit(tmp_path / f"{i}.png", test.images[i, ..., 0]) for i in chosen]
    code, out, err = run(predict.main, finished, *paths, "--optimizer", "optax.sgd", "--trust-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 10
    with np.load(finished / "predictions.npz") as archive:
        probabilities = archive["probabilities_1"][chosen]
    for line, path, p in zip(lines, paths, probabilities, strict=True):
        found = re.fullmatch(rf"{re.escape(str(path))}: (\d) ([\d.]+)%, (\d) ([\d.]+)%, (\d) ([\d.]+)%", line)
        assert found, line
        assert [int(found[1]), int(found[3]), int(found[5])] == list(np.argsort(-p)[:3])
        # the pixels went through 256 levels instead of 17
        np.testing.assert_allclose([float(found[i]) / 100 for i in (2, 4, 6)], -np.sort(-p)[:3], atol=0.02)


def test_predict_takes_colours_and_other_sizes(run, finished, tmp_path):
    image = load_digits().images[0]
    write_digit(tmp_path / "grey.png", image)
    big = Image.open(tmp_path / "grey.png").convert("RGBA").resize((16, 16), Image.Resampling.NEAREST)
    big.save(tmp_path / "big.png")
    code, out, _ = run(predict.main, finished, tmp_path / "big.png", "--top", 1, "--trust-run")
    assert code == 0
    assert f"{tmp_path / 'big.png'}: resized from 16x16 to 8x8" in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "deep", "folder", "top", "none", "run", "optimizer"])
def test_predict_names_unusable_arguments(run, finished, tmp_path, kind):
    good = write_digit(tmp_path / "good.png", load_digits().images[0])
    path, args = tmp_path / "bad.png", []
    if kind == "text":
        path.write_text("no image")
    elif kind == "cut":
        path.write_bytes(good.read_bytes()[:-30])
    elif kind == "deep":
        path = path.with_suffix(".tif")
        Image.fromarray(np.full((8, 8), 40000, np.int32)).save(path)
    elif kind == "folder":
        path.mkdir()
    args = {
        "top": [finished, good, "--top", "11"],
        "none": [finished],
        "run": [tmp_path, good],
        "optimizer": [finished, good, "--optimizer", "adam"],
    }.get(kind, [finished, good, path])
    said = {
        "top": "top=11 is not in 1 to 10",
        "none": "image",
        "run": "is not a run folder",
        "optimizer": "optimizer='adam'",
    }
    code, out, err = run(predict.main, *args, "--trust-run")
    assert code == 2
    assert said.get(kind, str(path)) in err + (out if kind == "none" else "")
    assert "%" not in out
    assert "Traceback" not in err


# --- real processes


@pytest.mark.process
@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one(process, here):
    """pmap synchronises batch norm's statistics and keys augmentation per example; stderr stays empty."""
    options = [
        "--model",
        "mine:net",
        "--optimizer",
        "jaxdl.adam",
        "--epochs",
        "2",
        "--batch-size",
        "64",
        "--augment",
        "shift",
        "--early-stop",
        "2",
    ]
    for devices in (1, 8):
        args = ["-m", "experiments.train_cnn", *options, "--devices", devices, "--out", f"devices-{devices}"]
        ended = subprocess.run(**process(*args, JAX_NUM_CPU_DEVICES="8"), capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    one, eight = rows(here / "devices-1"), rows(here / "devices-8")
    assert [r["step"] for r in one] == [r["step"] for r in eight]
    losses = [[float(r["loss"]) for r in found] for found in (one, eight)]
    np.testing.assert_allclose(*losses, rtol=2e-5)
    manifest = json.loads((here / "devices-8" / "manifest.json").read_text())
    assert len(manifest["devices"]) == 8
    assert manifest["command"].startswith("python -m experiments.train_cnn --model mine:net")
    assert json.loads((here / "devices-8" / "config.json").read_text())["strategy"] == "pmap"
    first, said, compiling, *lines = ended.stdout.splitlines()
    assert first == "train_cnn: importing"
    masks = "each device draws its own dropout masks, other ones than with another number of devices"
    assert said == f"data set on the device, 10 steps per call, 8 devices by pmap; {masks}"
    assert compiling == "jaxdl.adam: compiling"
    assert re.match(r"jaxdl.adam +epoch +1  step +20  dev loss [\d.]+ accuracy [\d.]+%  [\d.]+ steps/s$", lines[0])
    assert "\x1b" not in ended.stdout, "colours and bars are for terminals"
    assert lines[-1].startswith("report: ")


@pytest.mark.slow
def test_data_on_the_device_and_on_the_host_give_the_same_batches(tmp_path, monkeypatch):
    """This holds in every epoch, each of which has its own order."""
    monkeypatch.setattr(report, "write", lambda folder: folder)
    found = []
    for fits in (True, False):
        monkeypatch.setattr(setup.training, "fits_in_memory", lambda *_, fits=fits: fits)
        config = train_cnn.Config(model="tiny_cnn", optimizer=("jaxdl.sgd",), epochs=3, batch_size=256, log_every=1)
        folder = tmp_path / str(fits)
        folder.mkdir()
        assert train_cnn.run(train_cnn.resolve(config), folder) == 0
        found.append([float(row["loss"]) for row in rows(folder)])
    assert len(found[0]) > 15
    np.testing.assert_allclose(*found, rtol=1e-5)


@pytest.mark.process
@pytest.mark.slow
def test_a_terminal_sees_bars_and_the_table(process, here, finished):
    folder = here / "terminal"
    shutil.copytree(finished, folder)
    for name in ("jaxdl.sgd", "optax.sgd"):  # the last epoch again
        newest = max((folder / "checkpoints" / name).glob("[0-9]*"))
        shutil.rmtree(newest)
    master, slave = pty.openpty()
    args = process(
        "-m", "experiments.train_cnn", "--resume", folder, "--trust-run", TERM="xterm", COLUMNS="120", LINES="40"
    )
    child = subprocess.Popen(**args, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    seen = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # a terminal raises this once the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert child.wait(60) == 0, text
    assert re.search(r"optax.sgd +━+.* 60/60", text)
    assert "test accuracy" in text
    assert "Traceback" not in text
    assert "Warning" not in text
