"""The page "Bring your own ..." runs from top to bottom: its module, its commands and its loop."""

import csv
import pathlib
import re
import shlex
import sys
import types

import pytest

from experiments.train_cnn import command
from experiments.train_cnn.config import Config
from jaxdl import plots

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "bring_your_own.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m experiments.train_cnn (.*)$", PAGE, re.M)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return a folder with the page's mine.py, which can be imported."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text("\n\n".join(re.findall(r"```python mine.py\n(.*?)```", PAGE, re.S)))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("mine", None)


@pytest.fixture
def wandb(monkeypatch):
    """Return the values that a stand-in for wandb was given, by run."""
    runs = {}

    def init(*, project, group, name, reinit):
        assert (project, reinit) == ("jaxdl", "create_new")
        return types.SimpleNamespace(log=lambda values, step: runs.setdefault((group, name), []).append((step, values)))

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    return runs


def test_the_other_loggers_give_each_service_what_it_takes(here, monkeypatch):
    """Trackio 0.43 and mlflow 3.17 took these calls; both are stand-ins here."""
    import mine

    calls = []
    note = lambda name: lambda *args, **kwargs: calls.append((name, args, kwargs))
    active = lambda: next((1 for name, *_ in calls if name == "start_run"), None)
    mlflow = {name: note(name) for name in ("set_experiment", "start_run", "log_metrics")}
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(active_run=active, **mlflow))
    run = types.SimpleNamespace(log=note("log"))
    init = lambda **kwargs: note("init")(**kwargs) or run
    monkeypatch.setitem(sys.modules, "trackio", types.SimpleNamespace(init=init))
    for step in (1, 2):
        row = {"optimizer": "sgd(momentum=0.9)", "split": "dev", "step": step, "loss": 0.5, "accuracy": 0.25}
        mine.to_trackio(row, here)
        mine.to_mlflow(row, here)
    first = ["init", "log", "set_experiment", "start_run", "log_metrics"]
    assert [name for name, *_ in calls] == [*first, "log", "log_metrics"]
    assert calls[1][1:] == (({"dev/loss": 0.5, "dev/accuracy": 0.25},), {"step": 1})
    (metrics,), at = calls[-1][1:]
    assert (metrics, at) == ({"sgd_momentum_0.9_/dev/loss": 0.5, "sgd_momentum_0.9_/dev/accuracy": 0.25}, {"step": 2})
    assert all(re.fullmatch(r"[\w/. -]+", name) for name in metrics)  # mlflow's rule


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.trains
def test_the_commands_run_with_every_part(here, wandb, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setattr(plots, "png", lambda figure, **options: b"")  # drawn by other tests
    assert len(COMMANDS) == 2
    for given in COMMANDS:
        assert command.main(shlex.split(given)) == 0
    mine, flax = rows(here / "my_run"), rows(here / "flax_run")
    logged = [line.split() for line in (here / "my_run" / "losses.txt").read_text().splitlines()]
    assert [(r["optimizer"], r["split"], r["step"], r["loss"]) for r in mine] == [tuple(line) for line in logged]
    (of_flax,) = wandb.items()
    assert of_flax[0] == ("flax_run", "mine:my_optimizer(momentum=0.5)")
    assert [step for step, _ in of_flax[1]] == [int(r["step"]) for r in flax]
    assert {"test/loss", "test/accuracy"} == {*of_flax[1][-1][1]}
    by = {r["optimizer"]: float(r["accuracy"]) for r in (*mine, *flax) if r["split"] == "test"}
    assert len(by) == 3
    assert min(by.values()) > 0.8, by


@pytest.mark.slow
@pytest.mark.trains
def test_the_loop_runs(here):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names = {}
    exec(compile(block, "the loop of bring_your_own.md", "exec"), names)
    assert names["found"]["accuracy"] > 0.8
    assert names["logits"].shape == (360, 10)


def test_the_table_names_options_and_sections():
    found = re.findall(r"^\| \[[^]]+\]\(#(\w+)\) \|.*?\| `--(\w+) mine:(\w+)`", PAGE, re.M)
    assert [name for name, _, _ in found] == ["data", "net", "loss", "optimizer", "logger"]
    for section, option, function in found:
        assert f"\n## {section.capitalize()}\n" in PAGE
        assert option in Config.__dataclass_fields__
        assert f"def {function}(" in PAGE
        assert any(f"--{option} " in given and f"mine:{function}" in given for given in COMMANDS)
