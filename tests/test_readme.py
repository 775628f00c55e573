"""The README's example, commands, links and table hold."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Return a folder with the README's mine.py."""
    folder = tmp_path_factory.mktemp("mine")
    (code,) = re.findall(r"Save this as `mine.py`:\n\n```python\n(.*?)```", README, re.S)
    (folder / "mine.py").write_text(code)
    return folder


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.process
def test_the_example_runs_and_learns(mine):
    assert ast.literal_eval(run(mine, "mine.py"))["accuracy"] > 0.85


@pytest.mark.process
def test_its_parts_go_into_the_experiment(mine):
    (command,) = re.findall(r"python (-m experiments.train_cnn --dataset mine:my_data .*)", README)
    text = run(mine, *command.split(), "--epochs", "2", "--out", "run")
    assert "mine:sign_descent" in text
    assert (mine / "run" / "report.html").stat().st_size > 10_000


def test_it_is_as_short_as_it_claims(mine):
    assert len((mine / "mine.py").read_text().splitlines()) <= 45


def test_links_and_figures_exist():
    here = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if not target.startswith("http")]
    assert len(here) > 3
    assert [target for target in here if not (ROOT / target).exists()] == []


def test_the_set_up_commands_are_targets_of_the_makefile():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    commands = re.findall(r"^make (\w+)", README, re.M)
    assert "test" in commands
    assert set(commands) <= set(targets)


def test_the_accuracy_table_is_the_measured_one():
    table = (ROOT / "benchmarks" / "accuracy.md").read_text(encoding="utf-8")
    assert table in README
