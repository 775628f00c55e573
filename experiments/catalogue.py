"""The experiments that exist, found by their files: `python -m experiments` lists them."""

import ast
import importlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# commands, but no experiments
TOOLS = ("__init__", "__main__", "all", "cards", "catalogue", "export", "predict", "report", "same", "summary")


def names() -> list[str]:
    """Return the names of all experiments, in alphabetical order."""
    files = [path.stem for path in HERE.glob("*.py") if path.stem not in TOOLS]
    return sorted([*files, *(path.parent.name for path in HERE.glob("*/__main__.py"))])


def first_line(name: str) -> str:
    """Return the first line of an experiment's docstring, without importing it."""
    return (ast.get_docstring(_tree(name)) or "").partition("\n")[0]


def demonstrations() -> list[str]:
    """Return the names of the experiments that measure claims with `jaxdl.demonstrations`."""
    return [name for name in names() if "DEMONSTRATION" in _assigned(name)]


def with_a_report() -> list[str]:
    """Return the names of the experiments whose reports can be made again: those that have a ``write``."""
    return [name for name in names() if (HERE / name / "report.py").exists() or "write" in _assigned(name)]


def load(name: str, module: str = "") -> Any:
    """Import an experiment, or a module of its package.

    Raises:
        ValueError: if there is no such experiment.
    """
    if name not in names():
        raise ValueError(f"experiment {name!r} does not exist; there are {', '.join(names())}")
    return importlib.import_module(f"experiments.{name}{module}")


def _tree(name: str) -> ast.Module:
    file, folder = HERE / f"{name}.py", HERE / name
    text = (file if file.exists() else folder / "__init__.py").read_text(encoding="utf-8")
    return ast.parse(text)


def _assigned(name: str) -> set[str]:
    """Return the names that an experiment's module defines at its top level."""
    found: set[str] = set()
    for node in _tree(name).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found
