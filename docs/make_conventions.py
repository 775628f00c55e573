"""Write `docs/conventions.md` from the optimizers' one table: python -m docs.make_conventions."""

from pathlib import Path

from jaxdl.optimizers import conventions

PAGE = Path(__file__).with_name("conventions.md")
INTRODUCTION = """# Optimizer conventions

Frameworks, papers and lectures print different algorithms under one name. `jaxdl.optimizers.NAME(..., convention=...)`
says which one runs. Here are the update equations, the defaults side by side, and which conventions are one algorithm
under a map of hyperparameters; `tests/test_conventions.py` runs every statement.

Made by `python -m docs.make_conventions`.

"""


def page() -> str:
    """Return the page as Markdown."""
    return INTRODUCTION + conventions.page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
