"""The recipes of docs/adding.md work, and a test names a forgotten step."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
FOLDERS = ("jaxdl", "experiments", "benchmarks", "tests", "docs")
FILES = ("README.md", "pyproject.toml", "Makefile", "CHANGELOG.md", "CONTRIBUTING.md")
MOST_FILES = {"An optimizer": 7, "A layer": 4, "A network": 6, "An experiment": 4, "A data set": 4}

pytestmark = [pytest.mark.slow, pytest.mark.process]


class Step(NamedTuple):
    """One block of a recipe: a new file, or a patch."""

    kind: str  # "python" or "diff"
    path: str
    text: str


class Recipe(NamedTuple):
    """One section of the page."""

    steps: list[Step]
    commands: list[str]
    names: str | None  # the test that fails without the last step


def recipes():
    """Return each section of the page with its blocks."""
    found = {}
    for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        title, _, body = section.partition("\n")
        blocks = re.findall(r"^```(python|diff) (\S+)\n(.*?)^```$", body, re.M | re.S)
        commands = re.findall(r"^python -m (.*)$", "".join(re.findall(r"^```sh\n(.*?)^```$", body, re.M | re.S)), re.M)
        names = re.search(r"^Without the last step: `(\w+)`", body, re.M)
        found[title] = Recipe([Step(*block) for block in blocks], commands, names[1] if names else None)
    return found


RECIPES = recipes()


def test_every_kind_has_a_recipe_within_its_number_of_files():
    assert set(RECIPES) == set(MOST_FILES)
    for title, recipe in RECIPES.items():
        assert 2 <= len({step.path for step in recipe.steps}) <= MOST_FILES[title], title
        assert recipe.commands, title


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return a copy of the repository."""
    copy = tmp_path_factory.mktemp("adding") / "jaxdl"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    return copy


def patched(text, patch, path):
    """Apply hunks that begin with @@; context and removed lines must stand in the file exactly once, in a row."""
    for hunk in re.split(r"^@@.*\n", patch, flags=re.M)[1:]:
        lines = hunk.splitlines()
        before = "".join(line[1:] + "\n" for line in lines if line[:1] in (" ", "-"))
        after = "".join(line[1:] + "\n" for line in lines if line[:1] in (" ", "+"))
        assert ("\n" + text).count("\n" + before) == 1, f"{path}: a patch of docs/adding.md no longer fits:\n{hunk}"
        text = ("\n" + text).replace("\n" + before, "\n" + after)[1:]
    return text


def follow(tree, steps):
    """Write the files, apply the patches, and return the old contents by path."""
    before = {}
    for step in steps:
        path = tree / step.path
        before.setdefault(path, path.read_text() if path.exists() else None)
        assert step.kind == "diff" or not path.exists(), f"{step.path} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(patched(path.read_text(), step.text, step.path) if step.kind == "diff" else step.text)
    return before


def check(tree, commands):
    """Run the recipe's tests in the copy; return the exit code and the output."""
    # the programs of this run, which nothing here interrupts while it writes one
    cache = {"JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir or tree.parent / "programs")}
    cache |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0"}
    environment = {**os.environ, **cache, "PYTHONPATH": str(tree)}
    for command in commands:
        module, *arguments = shlex.split(command)
        quiet = ["-q", "-p", "no:cacheprovider"] if module == "pytest" else []
        program = [sys.executable, "-m", module, *quiet, *arguments]
        done = subprocess.run(program, cwd=tree, env=environment, capture_output=True, text=True)
        if done.returncode:
            return done.returncode, done.stdout + done.stderr
    return 0, ""


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works_and_a_forgotten_step_is_named(tree, title):
    recipe = RECIPES[title]
    for steps, forgotten in ((recipe.steps, False), (recipe.steps[:-1], True)):
        if forgotten and recipe.names is None:
            continue
        before = follow(tree, steps)
        try:
            code, printed = check(tree, recipe.commands)
        finally:
            for path, text in before.items():
                path.unlink() if text is None else path.write_text(text)
        if forgotten:
            assert code == 1, "the tests pass without the last step"
            assert recipe.names in printed
        else:
            assert code == 0, printed
