"""Run the notebooks of docs/notebooks and write each as a page with what its cells print.

    python -m docs.make_notebooks [NAME ...]

A notebook is a Python file in jupytext's percent format: ``# %%`` begins a cell of code, ``# %% [markdown]`` one of
text. `jupytext --to ipynb docs/notebooks/NAME.py` makes it a Jupyter notebook. A cell that ends with a figure shows
it, as in Jupyter; the page has it as docs/notebooks/NAME-NUMBER.png.
"""

import ast
import contextlib
import io
import pathlib
import re
import sys
from typing import Any

from matplotlib.figure import Figure

from jaxdl import plots

FOLDER = pathlib.Path(__file__).parent / "notebooks"
MADE = (
    "Made by `python -m docs.make_notebooks` from `docs/notebooks/{0}.py`. In the clone's virtual environment,\n"
    "`pip install jupytext notebook` and `jupytext --to ipynb docs/notebooks/{0}.py` make it a notebook of Jupyter."
)


def cells(name: str) -> list[tuple[bool, str]]:
    """Return the cells of a notebook: whether it is code, and its text."""
    parts = re.split(r"^# %%(.*)\n", (FOLDER / f"{name}.py").read_text(encoding="utf-8"), flags=re.M)[1:]
    found = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        code = kind.strip() != "[markdown]"
        found.append((code, body.strip() if code else re.sub(r"^# ?", "", body, flags=re.M).strip()))
    return found


def run(code: str, where: str, names: dict[str, Any]) -> Any:
    """Run the code of a cell, and return the value of its last line if that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    return eval(compile(ast.Expression(last.value), where, "eval"), names) if isinstance(last, ast.Expr) else None


def page(name: str, folder: pathlib.Path = FOLDER) -> str:
    """Run a notebook from top to bottom, draw its figures into the folder, and return its page."""
    names: dict[str, Any] = {}
    parts = []
    for number, (code, text) in enumerate(cells(name)):
        if not code:
            parts.append(text)
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            value = run(text, f"cell {number} of {name}.py", names)
        parts.append(f"```python\n{text}\n```")
        if printed.getvalue().strip():
            parts.append(f"```text\n{printed.getvalue().rstrip()}\n```")
        if isinstance(value, Figure):
            plots.save(value, folder / f"{name}-{number}.png", limit=100_000)
            parts.append(f"![{title(value)}]({name}-{number}.png)")
    return "\n\n".join([*parts, MADE.format(name)]) + "\n"


def title(figure: Figure) -> str:
    """Return the heading of a figure."""
    return figure.get_suptitle() or figure.axes[0].get_title()


def main() -> None:
    """Write the pages of the named notebooks, or of all."""
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.py")):
        (FOLDER / f"{name}.md").write_text(page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
