"""The code of the guides runs, from top to bottom of each page."""

import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "guides"
PAGES = ("import_a_function", "compare_optimizers")  # run_and_fork's program is run by tests/test_readme.py


def test_each_guide_with_code_is_here():
    with_code = {path.stem for path in FOLDER.glob("*.md") if "```python" in path.read_text(encoding="utf-8")}
    assert with_code == {*PAGES, "run_and_fork"}


@pytest.mark.parametrize("name", PAGES)
def test_its_code_runs(name):
    names = {}
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", (FOLDER / f"{name}.md").read_text(encoding="utf-8"), re.S)
    ):
        exec(compile(block, f"block {number} of {name}.md", "exec"), names)
