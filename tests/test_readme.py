"""The README's samples, commands, links and numbers hold, and so does the example of its guide."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guides" / "run_and_fork.md").read_text(encoding="utf-8")
MEASURED = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Return a folder with the guide's mine.py."""
    folder = tmp_path_factory.mktemp("mine")
    (code,) = re.findall(r"Save this as `mine.py`:\n\n```python\n(.*?)```", GUIDE, re.S)
    (folder / "mine.py").write_text(code)
    return folder


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / "docs").rglob("*.md"),
]  # the changelog names what is gone
RECIPES = {"jaxdl/data/reading/wine.py"}  # files that a page tells to write


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_folders_that_a_page_names_exist(page):
    paths = re.findall(r"`((?:benchmarks|docs|experiments|jaxdl|tests)/[\w/.]*)`", page.read_text(encoding="utf-8"))
    assert [path for path in paths if not (ROOT / path).exists() and path not in RECIPES] == []


@pytest.mark.process
def test_a_fork_as_the_guide_makes_it_runs_its_own_code(tmp_path):
    (code,) = re.findall(r"```sh\n(cp -r experiments.*?)```", GUIDE, re.S)
    copy, rename, _ = code.splitlines()
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["sh", "-ec", f"{copy}\n{rename}"], cwd=tmp_path, check=True)
    source = "import sys, experiments.my_cnn.command as c; print(c.Config.EXPERIMENT, *sys.modules)"
    name, *modules = run(tmp_path, "-c", source).split()
    assert name == "my_cnn"
    assert "experiments.my_cnn.trainer" in modules
    assert not [module for module in modules if "train_cnn" in module]


@pytest.mark.process
def test_a_fork_outside_of_the_clone_needs_nothing_of_the_experiments(tmp_path):
    (code,) = re.findall(r"```sh\n(cp -r CLONE.*?)```", GUIDE, re.S)
    copy, rename, command = code.splitlines()
    copy = copy.replace("CLONE", str(ROOT)) + " && rm -rf my_cnn/__pycache__"
    subprocess.run(["sh", "-ec", f"{copy}\n{rename}"], cwd=tmp_path, check=True)
    assert command == "python -m my_cnn --epochs 1"
    (tmp_path / "experiments.py").write_text("raise ImportError('not installed here')")  # hides the clone's
    assert "python -m my_cnn" in run(tmp_path, "-m", "my_cnn", "--help")
    assert "about" in run(tmp_path, "-m", "my_cnn", "--dry-run", "--optimizer", "jaxdl.sgd")


@pytest.mark.slow
@pytest.mark.process
def test_the_example_runs_and_learns(mine):
    assert ast.literal_eval(run(mine, "mine.py"))["accuracy"] > 0.85


@pytest.mark.slow
@pytest.mark.process
def test_its_parts_go_into_the_experiment(mine):
    (command,) = re.findall(r"python (-m experiments.train_cnn --dataset mine:my_data .*)", GUIDE)
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
    assert table in MEASURED


def test_its_numbers_are_those_of_the_measured_page():
    rows = re.findall(r"^\| .+ \| (.+) \| `python -m (\S+).*` \|$", README, re.M)
    assert len(rows) == 6
    flat = " ".join(MEASURED.split())
    for value, module in rows:
        for part in value.removesuffix(" ulps").split(" contains "):
            assert part in flat, value
        assert f"python -m {module}" in flat, module


def test_its_samples_run(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(compile(block, "README.md", "exec"), names)
    (said,) = re.findall(r"print\(record.*# (.+)$", README, re.M)
    assert capsys.readouterr().out.strip() == said
    assert names["each"].shape == (2,)


def test_it_is_read_in_minutes_and_names_every_extra_of_users():
    words = re.sub(r"```.*?```|^\|.*$", "", README, flags=re.S | re.M).split()
    assert len(words) < 500, "move the rest to docs/"
    extras = re.findall(
        r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().split("optional-dependencies]")[1].split("[tool")[0], re.M
    )
    named = re.findall(r"^\| `(\w+)` \|", README, re.M)
    assert set(extras) - set(named) == {"docs", "bench", "fuzz", "dev"}  # for work on jaxdl itself
