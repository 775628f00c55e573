"""Write `docs/conventions.md` from the optimizers' one table: python -m docs.make_conventions."""

from pathlib import Path

from jaxdl.optimizers import conventions

PAGE = Path(__file__).with_name("conventions.md")
INTRODUCTION = """# Optimizer conventions

Frameworks, papers and lectures print different algorithms under one name. `jaxdl.optimizers.NAME(..., convention=...)`
selects one of them. This page lists the update equations, the defaults side by side, and which conventions are one
algorithm under a map of hyperparameters; `tests/test_conventions.py` checks every statement.

Rows such as `form["moment_form"]` are entries of the argument `form=`, which sets the order of operations in one
formula: `adam(1e-3, form={"moment_form": "mixed"})`. Under `convention="torch"`, the other optimizers that have a
`weight_decay` in PyTorch take one too: the L2 penalty, which adds `weight_decay w` to the gradient first.

Made by `python -m docs.make_conventions`.

"""


def page() -> str:
    """Render the page as Markdown."""
    return INTRODUCTION + conventions.page()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
