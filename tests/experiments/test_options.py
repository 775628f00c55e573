"""Options that decide about a whole command: --config, --dry-run, --find-lr, --seeds, --log, and more --epochs."""

import csv
import dataclasses
import itertools
import json
import math
import re
import shutil
import sys
import types

import jax
import numpy as np
import pytest
import scipy.stats

import experiments
from experiments import report as remake
from experiments.train_cnn import ahead, report, seeds, setup
from experiments.train_cnn import command as train_cnn
from experiments.train_cnn.config import Config, resolve
from experiments.train_cnn.records import OptimizerResult
from jaxdl import analysis, data, interop, models, runs
from jaxdl.runs import commandline

SMALL = ["--dataset", "mine:dataset", "--model", "mine:net", "--batch-size", 16]  # 86 examples: 5 steps an epoch


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


# --- --config


@pytest.fixture
def stored(tmp_path):
    config = Config(
        model="tiny_cnn", optimizer=("jaxdl.adam", "optax.adam"), epochs=3, mixup=0.2, weight_decay=0.5, out=tmp_path
    )
    commandline.save_config(tmp_path, resolve(config))
    return tmp_path


@pytest.mark.parametrize("name", ["config.json", ""])
def test_a_config_gives_the_options_that_are_not_given(stored, name):
    config = commandline.parse(Config, ["--config", str(stored / name), "--epochs", "4", "--mixup", "None"])
    assert (config.epochs, config.mixup, config.weight_decay, config.model) == (4, None, 0.5, "tiny_cnn")
    assert (config.out, config.resume) == (None, None), "a new run in a folder of its own"
    assert (config.learning_rate, config.noise_floor) == ((3e-3, 3e-3), True)


def test_defaults_that_follow_the_optimizer_follow_another_one(stored):
    config = commandline.parse(Config, ["--config", str(stored), "--optimizer", "jaxdl.sgd"])
    assert (config.learning_rate, config.noise_floor) == ((), None)
    assert resolve(config).learning_rate == (0.1,)
    config = commandline.parse(Config, ["--config", str(stored), "--optimizer", "jaxdl.sgd", "--learning-rate", "0.5"])
    assert config.learning_rate == (0.5,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--config nowhere.json", "nowhere.json: is missing"),
        ("--config . --resume .", "--config . is not allowed beside --resume .: a resumed run keeps its own config"),
        ("--dry-run --find-lr", "dry_run=True is not allowed: it must be left out with --find-lr"),
        ("--seeds 0", "seeds=0 is not allowed"),
        ("--seeds 2 --seed 4294967295", "seeds=2 is not allowed: it must be such that the last one, 4294967296"),
        ("--log mine:nothing", "log='mine:nothing'"),
        ("--log tensorbord", "log='tensorbord' is unknown; the nearest is 'tensorboard'"),
    ],
)
def test_mistakes_get_one_line(run, here, monkeypatch, tmp_path, options, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(train_cnn.main, *options.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {said}")
    assert [*tmp_path.iterdir()] == []


def test_a_config_names_code_of_others_only_where_it_is_trusted(stored):
    path = stored / "config.json"
    path.write_text(path.read_text().replace('"tiny_cnn"', '"stranger:net"'))
    with pytest.raises(ValueError, match=r"config.json: names code .*model='stranger:net'; .* add --trust-run"):
        commandline.parse(Config, ["--config", str(stored)])
    assert commandline.parse(Config, ["--config", str(stored), "--model", "tiny_cnn"]).model == "tiny_cnn"
    assert commandline.parse(Config, ["--config", str(stored), "--trust-run"]).model == "stranger:net"


def test_options_stand_in_groups_and_common_ones_come_first(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(train_cnn.main, "--help")
    lines = out.splitlines()
    titles = [i for i, line in enumerate(lines) if re.search(r"\b(data|optimization|computation) options\b", line)]
    assert len(titles) == 3
    options = [next(i for i, line in enumerate(lines) if f"--{name} " in line) for name in
               ("dataset", "epochs", "out", "mixup", "clip-norm", "devices")]  # fmt: skip
    assert options == sorted(options)
    assert options[2] < titles[0] < options[3] < titles[1] < options[4] < titles[2] < options[5]
    assert max(len(line) for line in lines[titles[0] :]) <= 80


# --- --dry-run and --find-lr


@pytest.mark.trains
def test_a_dry_run_says_what_a_run_takes_and_leaves_nothing(run, here, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ahead, "TIMED", 0.0)
    options = ["--model", "softmax_regression", "--optimizer", "jaxdl.adam", "--epochs", 3, "--seeds", 2]
    code, out, err = run(train_cnn.main, *options, "--dry-run")
    assert (code, err) == (0, "")
    assert "\nepochs = 3\n" in out
    parameters = analysis.count_parameters(models.softmax_regression(10), (8, 8, 1))
    assert f"{parameters:,} parameters; 1,294 train, 144 dev, 359 test examples; 120 steps, 40 an epoch" in out
    found = re.search(r"jaxdl.adam: ([\d.,]+) MiB for a step beside ([\d.,]+) MiB of state and data; .* steps/s", out)
    assert found
    data = 1294 * 64 / 2**20  # digits are kept on the device as bytes
    assert data < float(found[2]) < 2 * data + 1
    assert " in all × 2 seeds, without compiling" in out
    assert [*tmp_path.iterdir()] == []


def test_times_are_written_in_the_largest_unit():
    shown = {0.25: "0.2 s", 59.0: "59.0 s", 90.0: "1.5 min", 5400.0: "1.5 h"}
    assert {seconds: ahead.duration(seconds) for seconds in shown} == shown


@pytest.mark.trains
def test_a_rate_is_suggested_for_each_optimizer(run, here, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["--model", "softmax_regression", "--optimizer", "jaxdl.sgd", "jaxdl.adam", "--augment", "none"]
    code, out, err = run(train_cnn.main, *options, "--find-lr")
    assert (code, err) == (0, "")
    last = re.fullmatch(r"--learning-rate (\S+) (\S+)", out.splitlines()[-1])
    assert last
    sgd, adam = map(float, last.groups())
    assert 1e-4 < adam < 1
    assert 1e-3 < sgd < 10
    assert [*tmp_path.iterdir()] == []


# --- --seeds


@pytest.fixture(scope="module")
def repeated(here):
    folder = here / "repeated"
    options = [*SMALL, "--optimizer", "jaxdl.sgd", "jaxdl.adam", "--epochs", "1", "--seeds", "2", "--seed", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write", lambda folder: folder)  # that of each seed
        assert train_cnn.main([*map(str, options), "--out", str(folder)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.trains
def test_every_seed_has_a_run_and_the_report_has_their_means(repeated):
    own = [json.loads((repeated / f"seed-{seed}" / "summary.json").read_text()) for seed in (3, 4)]
    configs = [json.loads((repeated / f"seed-{seed}" / "config.json").read_text()) for seed in (3, 4)]
    assert [(one["seed"], one["seeds"]) for one in configs] == [(3, 1), (4, 1)]
    text = (repeated / "report.md").read_text().replace("\\", "")
    for i, name in enumerate(("jaxdl.sgd", "jaxdl.adam")):
        accuracy = np.mean([100 * one["rows"][i]["test_accuracy"] for one in own])
        assert f"| {name} | {accuracy:.2f} |" in text
    difference = np.mean([100 * (one["rows"][0]["test_accuracy"] - one["rows"][1]["test_accuracy"]) for one in own])
    assert f"| jaxdl.sgd | jaxdl.adam | 2 | {difference:+.2f} |" in text
    with pytest.raises(ValueError, match=r"holds a run for each of 2 seeds, such as .*/seed-3"):
        runs.load(repeated)


@pytest.mark.parametrize("by", [seeds.ACCURACY, seeds.LOSS])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_intervals_of_few_seeds_are_student_s_and_the_verdicts_holm_s(count, by):
    """A bootstrap of three seeds is their smallest to their largest, which holds the mean in 71 % of all runs."""
    shares = {"a": [0.85, 0.81, 0.82, 0.84], "b": [0.84, 0.79, 0.805, 0.826], "c": [0.80, 0.71, 0.83, 0.75]}
    results = {
        name: [
            OptimizerResult(name, share if by is seeds.ACCURACY else math.nan, share, 10, 1.0, 1.0, 0.1)
            for share in values[:count]
        ]
        for name, values in shares.items()
    }
    low, high = scipy.stats.t.interval(
        0.95, count - 1, np.mean(shares["a"][:count]), scipy.stats.sem(shares["a"][:count])
    )
    ends = seeds._row("a", results["a"], by)[2]
    written = f"{100 * low:.2f} to {100 * high:.2f}" if by is seeds.ACCURACY else f"{low:.4f} to {high:.4f}"
    assert ends == ("–" if count == 2 else written)
    found = {seed: types.SimpleNamespace(rows=[row[seed] for row in results.values()]) for seed in range(count)}
    _, _, table = seeds._differences(found, [*shares], by)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    if count == 2:
        assert [line[-2:] for line in lines] == [["–", "too few seeds"]] * 3
        return
    pairs = list(itertools.combinations(shares, 2))
    p = [scipy.stats.ttest_rel(shares[x][:count], shares[y][:count]).pvalue for x, y in pairs]
    order = np.argsort(p)
    adjusted = np.minimum(np.maximum.accumulate(np.array(p)[order] * [3, 2, 1]), 1)[np.argsort(order)]
    assert [line[-2] for line in lines] == [f"{one:.2g}" for one in adjusted]
    better = [f"{pair[by is seeds.LOSS]} is better" for pair in pairs]  # of losses the second, which is lower
    said = [one if probability < 0.05 else "not told apart" for one, probability in zip(better, adjusted, strict=True)]
    assert [line[-1] for line in lines] == said
    assert (better[0] in said) == (count == 4)


@pytest.mark.trains
def test_seeds_are_resumed_and_reported_again(repeated, here, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(repeated, folder)
    text = (folder / "report.md").read_text()
    before = rows(folder / "seed-4")
    shutil.rmtree(folder / "seed-4")
    (folder / "report.md").unlink()
    remake.main([str(folder)])
    assert "1 seeds" in (folder / "report.md").read_text()
    monkeypatch.setattr(report, "write", lambda folder: folder)
    assert train_cnn.main(["--resume", str(folder), "--trust-run"]) == 0
    assert rows(folder / "seed-4") == before
    seconds = re.compile(r"\| [\d.e-]+ \|$", re.M)
    assert seconds.sub("", (folder / "report.md").read_text()) == seconds.sub("", text)


# --- --log


@pytest.mark.trains
def test_every_row_goes_to_every_log(run, here, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, "mylog", types.SimpleNamespace(log=lambda row, folder: seen.append((row, folder))))
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((self.folder, name, value, step))

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    monkeypatch.setattr(report, "write", lambda folder: folder)
    folder = tmp_path / "run"
    code, _, err = run(
        train_cnn.main,
        *SMALL,
        "--optimizer",
        "jaxdl.sgd",
        "--epochs",
        1,
        "--log",
        "mylog:log",
        "tensorboard",
        "--out",
        folder,
    )
    assert (code, err) == (0, "")
    assert [{k: str(v) for k, v in row.items() if k != "seconds"} for row, _ in seen] == rows(folder)
    assert {path for _, path in seen} == {folder}
    assert [name for _, name, _, _ in written] == [
        f"{split}/{name}" for split in ("train", "dev", "test") for name in ("loss", "accuracy", "learning_rate")
    ]
    assert {path for path, *_ in written} == {str(folder / "tensorboard" / "jaxdl.sgd")}
    assert all(math.isfinite(value) for _, _, value, _ in written)


def test_a_log_without_its_package_is_named_before_the_data_are_read(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # an import of it fails as if it were not installed
    code, out, err = run(train_cnn.main, *SMALL, "--log", "tensorboard", "--out", tmp_path / "run")
    assert code == 2
    assert "pip install 'jaxdl[tensorboard]'" in err
    assert "epoch" not in out
    assert not (tmp_path / "run").exists()


def test_the_first_line_comes_before_anything_slow(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--epochs", "1"])
    experiments.announce("train_cnn")
    assert capsys.readouterr().out == "train_cnn: importing\n"
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    experiments.announce("train_cnn")
    assert capsys.readouterr().out == ""


# --- more epochs


@pytest.mark.slow
@pytest.mark.trains
def test_a_finished_run_is_extended_to_the_rows_of_a_longer_one(run, here, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "write", lambda folder: folder)
    common = [*SMALL, "--optimizer", "jaxdl.adam", "--schedule", "inverse_sqrt", "--log-every", 2]
    for name, epochs in (("short", 1), ("long", 2)):
        assert run(train_cnn.main, *common, "--epochs", epochs, "--out", tmp_path / name)[0] == 0
    shutil.copytree(tmp_path / "short", tmp_path / "moved")
    code, out, err = run(train_cnn.main, "--resume", tmp_path / "short", "--epochs", 2, "--trust-run")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'short'} has finished; 2 epochs extend its 1\n")
    assert rows(tmp_path / "short") == rows(tmp_path / "long")
    assert json.loads((tmp_path / "short" / "config.json").read_text())["epochs"] == 2
    (then,) = json.loads((tmp_path / "short" / "manifest.json").read_text())["then"]
    assert then.endswith(f"--resume {tmp_path / 'short'} --epochs 2 --trust-run")
    assert json.loads((tmp_path / "long" / "manifest.json").read_text())["then"] is None
    code, _, err = run(train_cnn.main, "--resume", tmp_path / "short", "--epochs", 1, "--trust-run")
    assert code == 2
    assert "epochs=1 is not allowed: it must be at least the run's 2" in err
    goes_on_elsewhere(run, tmp_path / "moved", rows(tmp_path / "long"))


def goes_on_elsewhere(run, folder, wanted):
    """Resume a run of one device on two, and compare the rows up to rounding."""
    args = ["--resume", folder, "--epochs", 2, "--devices", 2, "--strategy", "pmap", "--trust-run"]
    code, out, err = run(train_cnn.main, *args)
    assert (code, err) == (0, "")
    assert "on other devices (1 by jit before, 2 by pmap now): the same numbers up to the rounding of sums" in out
    stored = json.loads((folder / "config.json").read_text())
    assert (stored["devices"], stored["strategy"]) == (2, "pmap")
    found = rows(folder)
    assert [(r["split"], r["step"], r["epoch"]) for r in found] == [(r["split"], r["step"], r["epoch"]) for r in wanted]
    for column in ("loss", "accuracy", "learning_rate"):
        pairs = np.array([[float(r[column]) for r in both] for both in (found, wanted)])
        np.testing.assert_allclose(*pairs, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "step"])
def test_a_schedule_that_depends_on_the_end_is_not_extended(stored, schedule):
    path = stored / "config.json"
    path.write_text(path.read_text().replace('"one_cycle"', f'"{schedule}"'))
    with pytest.raises(
        ValueError, match=rf"--resume .*epochs=9 is not allowed: it must be the run's 3, .*'{schedule}'"
    ):
        commandline.parse(Config, ["--resume", str(stored), "--epochs", "9"])


# --- --start-from


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_run_starts_from_weights_and_keeps_a_new_head(kind, tmp_path):
    old, new = models.tiny_cnn(10), models.tiny_cnn(3)
    given = jax.tree.map(lambda leaf: leaf + 0.5, old.init(jax.random.key(1), (8, 8, 1)))
    if kind == "file":
        interop.save(tmp_path / "weights.safetensors", *given)
        path = tmp_path / "weights.safetensors"
    else:
        path = tmp_path
        (path / "config.json").write_text(json.dumps({"model": "tiny_cnn", "optimizer": ["jaxdl.sgd"]}))
        runs.write_preprocessing(path, data.no_normalization(1, 1.0), (8, 8, 1), [str(i) for i in range(10)])
        runs.save_final(path, "jaxdl.sgd", 1, *given)
    fresh = old.init(jax.random.key(0), (8, 8, 1))
    same = setup.variables_from(str(path), fresh, old, model="small_cnn", trust_run=False)
    jax.tree.map(np.testing.assert_array_equal, same, given)
    fresh = new.init(jax.random.key(0), (8, 8, 1))
    params, _ = setup.variables_from(str(path), fresh, new, model="small_cnn", trust_run=False)
    head = setup._head(new, fresh[0])
    for name in fresh[0]:
        jax.tree.map(np.testing.assert_array_equal, params[name], (fresh if name == head else given)[0][name])
    other = models.small_cnn(10)
    fresh = other.init(jax.random.key(0), (8, 8, 1))
    with pytest.raises(ValueError, match=r"^start_from='.*' does not fit the network: params/"):
        setup.variables_from(str(path), fresh, other, model="small_cnn", trust_run=False)


def test_a_start_calls_a_network_of_one_s_own_that_the_command_names_too(tmp_path, monkeypatch):
    (tmp_path / "starting_mine.py").write_text("from jaxdl.models import tiny_cnn as net\nown = lambda n: net(n)\n")
    monkeypatch.syspath_prepend(tmp_path)
    layer = models.tiny_cnn(10)
    fresh, given = (layer.init(jax.random.key(seed), (8, 8, 1)) for seed in (0, 1))
    (tmp_path / "config.json").write_text(json.dumps({"model": "starting_mine:own", "optimizer": ["jaxdl.sgd"]}))
    runs.write_preprocessing(tmp_path, data.no_normalization(1, 1.0), (8, 8, 1), [str(i) for i in range(10)])
    runs.save_final(tmp_path, "jaxdl.sgd", 1, *given)
    with pytest.raises(ValueError, match="names code from outside of jaxdl"):
        setup.variables_from(str(tmp_path), fresh, layer, model="tiny_cnn", trust_run=False)
    assert "starting_mine" not in sys.modules
    taken = setup.variables_from(str(tmp_path), fresh, layer, model="starting_mine:own", trust_run=False)
    jax.tree.map(np.testing.assert_array_equal, taken, given)
    del sys.modules["starting_mine"]


def test_the_option_reaches_every_optimizer(tmp_path):
    config = resolve(Config(model="tiny_cnn", optimizer=("jaxdl.sgd", "jaxdl.adam"), epochs=1))
    shared = setup.prepare(config)
    given = jax.tree.map(lambda leaf: leaf + 0.5, shared.layer.init(jax.random.key(1), (8, 8, 1)))
    interop.save(tmp_path / "weights.safetensors", *given)
    path = str(tmp_path / "weights.safetensors")
    for start in setup.make_starts(shared._replace(config=dataclasses.replace(config, start_from=path))):
        jax.tree.map(np.testing.assert_array_equal, start.state.params, given[0])
