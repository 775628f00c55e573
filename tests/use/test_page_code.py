"""The code of the guides and of the pages on other libraries and on topics runs, from top to bottom of each page."""

import pathlib
import re
import sys
import types

import pytest

from docs import make_notebooks

DOCS = pathlib.Path(__file__).parents[2] / "docs"
# run by tests of their own; the blocks of adding.md name their file, so they are no plain blocks
ELSEWHERE = {"bring_your_own", "guides/run_and_fork", "coming_from", "mistakes"}
TRAINING = {"works_with/tensorboard"}
TRAINING |= {f"notebooks/{name}" for name in ("first_network", "fooling_and_painting", "what_a_cnn_sees")}
SMALL = {"STEPS": "80", "TRAINED_ON": "4000"}  # settings of the notebooks
BLOCK = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
PAGES = sorted(
    path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md") if BLOCK.search(path.read_text())
)


class Writer:
    """tensorboardX's writer, where its package is not installed."""

    def __init__(self, folder):
        self.written = []

    def add_scalar(self, name, value, step):
        self.written.append((name, value, step))

    def flush(self):
        assert [step for _, _, step in self.written] == [2, 4, 6, 8]


def cases():
    for page in PAGES:
        if page not in ELSEWHERE:
            yield pytest.param(page, marks=[pytest.mark.trains] if page in TRAINING else [])


def test_every_page_with_code_is_run():
    assert set(PAGES) >= ELSEWHERE | TRAINING
    others = {path.stem for path in (DOCS / "works_with").glob("*.md")} - {"index"}
    assert {f"works_with/{name}" for name in others} <= set(PAGES)


def test_the_pages_of_notebooks_hold_the_cells_of_their_sources():
    names = sorted(path.stem for path in make_notebooks.FOLDER.glob("*.py"))
    assert names == sorted(path.stem for path in make_notebooks.FOLDER.glob("*.md"))
    for name in names:
        text = (make_notebooks.FOLDER / f"{name}.md").read_text(encoding="utf-8")
        for code, cell in make_notebooks.cells(name):
            assert (f"```python\n{cell}\n```" if code else cell) in text, f"{name}: make the page again"


@pytest.mark.slow
@pytest.mark.parametrize("page", list(cases()))
def test_its_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for setting, value in SMALL.items():
        monkeypatch.setenv(setting, value)
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    names = {}
    for number, block in enumerate(BLOCK.findall((DOCS / f"{page}.md").read_text(encoding="utf-8"))):
        exec(compile(block, f"block {number} of {page}.md", "exec"), names)
