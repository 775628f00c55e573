"""Write `docs/lectures.md` from `docs/lectures_rows.py`: python -m docs.make_lectures."""

import ast
import csv
import functools
import importlib
import re
from pathlib import Path

from docs.lectures_rows import ERRATA, LECTURES, ROWS, Row
from experiments.all import FULL

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "lectures.md"
EXPERIMENT = "an experiment"
LATER = f"{EXPERIMENT}; not part of this release"
HEAD = ("row", "topic", "formula", "functions", "measured by", "oracle", "tests")
INTRODUCTION = """# The lectures, row by row

jaxdl follows five courses on deep learning. Docstrings cite the rows below, as "Lecture row C2", and the courses by
letter:

{lectures}

Each row names the formula, the functions that compute it, the oracle of the expected values (never jaxdl itself) and
the tests that compare the two; `tests/test_laws.py` checks the properties that hold for every function. Some rows are
experiments, which are runs with figures rather than formulas, and say so. The column "measured by" names the
experiments that measure a row's claims; [their results](results.md) have intervals and verdicts. Rows K1 to K8 are what
a second reading found, whose claims stand in those experiments under the rows above.

Made by `python -m docs.make_lectures`.
"""


def page() -> str:
    """Return the page as Markdown; raise ValueError if it names a function or test that does not exist."""
    lectures = "\n".join(f"- {letter}: {title}" for letter, title in LECTURES.items())
    table = [_line(HEAD), _line(["---"] * len(HEAD)), *(_line(cells(row)) for row in ROWS)]
    errata = [_line(("row", "erratum")), _line(("---", "---")), *map(_line, ERRATA)]
    explained = "Where the lectures print a formula wrongly, jaxdl computes the intended one."
    parts = [INTRODUCTION.format(lectures=lectures), *table, "", "## Errata", "", explained, "", *errata]
    return "\n".join(parts) + "\n"


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row; those of an experiment say that it is one."""
    measured = ", ".join(f"[`{name}`](../experiments/{_file(name)})" for name in _experiments(row)) or "—"
    if not row.functions:
        return (row.id, row.title, "—", LATER if measured == "—" else EXPERIMENT, measured, "—", "—")
    functions = ", ".join(_function_link(path) for path in row.functions.split())
    tests = ", ".join(_test_link(test) for test in row.tests.split())
    return (row.id, row.title, row.formula, functions, measured, row.oracle, tests)


def _line(row):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _function_link(path):
    """Link to the file that defines a function, wherever it is exported."""
    module, name = f"jaxdl.{path}".rsplit(".", 1)
    found = getattr(importlib.import_module(module), name, None)
    if not callable(found):
        raise ValueError(f"{path}: there is no such function in jaxdl")
    while isinstance(found, functools.partial):
        found = found.func
    file = found.__module__.replace(".", "/") + ".py"
    return f"[`{path}`](../{file})"


def _test_link(test):
    module, name = test.split("::")
    if name not in _tests_of(module):
        raise ValueError(f"{test}: there is no such test in tests/{module}.py")
    return f"[`{test}`](../tests/{module}.py)"


@functools.cache
def _measured() -> dict[str, set[str]]:
    """Return the rows that each experiment's committed claims cite."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "docs" / "results").glob("*/results.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            cited = {row for line in csv.DictReader(file) for row in re.split(", *", line["lecture"])}
        found.setdefault(path.parent.name.removesuffix(FULL), set()).update(cited)
    return found


def _file(experiment: str) -> str:
    """Return the file with an experiment's claims, relative to its folder of experiments."""
    folder = ROOT / "experiments" / experiment
    return f"{experiment}/command.py" if folder.is_dir() else f"{experiment}.py"


def _experiments(row: Row) -> list[str]:
    return [name for name, rows in _measured().items() if row.id in rows] + row.experiments.split()


@functools.cache
def _tests_of(module):
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
