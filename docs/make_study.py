"""Write the tables of `docs/optimizer_study.md`, and copy its figures, from a study: python -m docs.make_study DIR.

Without DIR, the tables are made again from the copies in `docs/results/optimizer_study`.
"""

import csv
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxdl.runs import pages

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "optimizer_study.md"
KEPT = ROOT / "docs" / "results" / "optimizer_study"
BEGIN, END = "<!-- made by python -m docs.make_study -->", "<!-- end of the tables -->"
TABLES = ("final.csv", "comparisons.csv")
FIGURES = ("profiles.png", "tally.png")
TITLES = {  # narrower than the names
    "fashion_mnist_lenet5": "LeNet-5",
    "char_lstm": "LSTM",
    "matrix_factorization": "factors",
    "quadratic_deep": "quadratic",
    "mnist_mlp": "MLP",
    "char_transformer": "Transformer",
}
DECIDED = "is better"  # the end of the verdict of a pair that the study decides


class Study(NamedTuple):
    """The two tables of a study's report."""

    final: list[dict[str, str]]
    comparisons: list[dict[str, str]]

    @property
    def problems(self) -> list[str]:
        """Return the names of the problems, in the study's order."""
        return list(dict.fromkeys(row["problem"] for row in self.final))

    @property
    def optimizers(self) -> list[str]:
        """Return the names of the optimizers, in the study's order."""
        return list(dict.fromkeys(row["optimizer"] for row in self.final))


def read(folder: Path) -> Study:
    """Read ``final.csv`` and ``comparisons.csv``."""
    return Study(*(list(csv.DictReader((folder / name).read_text().splitlines())) for name in TABLES))


def best(study: Study, problem: str) -> list[str]:
    """Return the optimizer with the lowest final value on a problem, and those that are not told apart from it."""
    rows = [row for row in study.final if row["problem"] == problem]
    first = min(rows, key=lambda row: float(row["final"] or "inf"))["optimizer"]
    mine = [row for row in study.comparisons if row["problem"] == problem and first in (row["first"], row["second"])]
    tied = [_other(row, first) for row in mine if not row["verdict"].endswith(DECIDED)]
    return [first, *tied]


def tally(study: Study, optimizer: str) -> tuple[int, int, int]:
    """Return the numbers of comparisons that an optimizer wins, ties and loses."""
    mine = [row for row in study.comparisons if optimizer in (row["first"], row["second"])]
    tied = sum(not row["verdict"].endswith(DECIDED) for row in mine)
    won = sum(row["verdict"] == f"{'first' if row['first'] == optimizer else 'second'} {DECIDED}" for row in mine)
    return won, tied, len(mine) - won - tied


def tables(study: Study) -> str:
    """Return the tables as Markdown."""
    problems, names = study.problems, study.optimizers
    at = {(row["problem"], row["optimizer"]): row for row in study.final}
    leading = {problem: best(study, problem) for problem in problems}
    header = ["optimizer", *(TITLES.get(problem, problem) for problem in problems)]
    tuned = [
        [_short(name), *(_cell(at.get((p, name)), "final", name in leading[p]) for p in problems)] for name in names
    ]
    own = [[_short(name), *(_cell(at.get((p, name)), "at_default", bold=False) for p in problems)] for name in names]
    counts = sorted(([_short(name), *map(str, tally(study, name))] for name in names),
                    key=lambda row: int(row[3]) - int(row[1]))  # fmt: skip
    decided = sum(row["verdict"].endswith(DECIDED) for row in study.comparisons)
    return "\n\n".join([
        BEGIN,
        "Tuned: mean final value over seeds ± half of Student's 95 % interval; lower is better. **Bold** is the lowest "
        "of a problem, with all that are not told apart from it after Holm's correction.",
        _table(header, tuned),
        "At each optimizer's own default settings, untuned:",
        _table(header, own),
        f"Comparisons of two tuned optimizers on a problem: {decided} of {len(study.comparisons)} are decided.",
        _table(["optimizer", "won", "tied", "lost"], counts),
        END,
    ])  # fmt: skip


def page(text: str, study: Study) -> str:
    """Return the page with its tables made again.

    Raises:
        ValueError: if it lacks their marks.
    """
    parts = re.split(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, flags=re.S)
    if len(parts) != 2:
        raise ValueError(f"{PAGE.name} must contain {BEGIN} and {END} once")
    return parts[0] + tables(study) + parts[1]


def keep(folder: Path, figures: Iterable[str]) -> None:
    """Copy the tables and figures of a study's report."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for name in (*(f"tables/{one}" for one in TABLES), *(f"figures/{one}" for one in figures)):
        shutil.copy(folder / name, KEPT)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that may be bold, which `pages.table` would escape."""
    lines = [[pages.plain(cell) for cell in header], ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: dict[str, str] | None, column: str, bold: bool) -> str:
    if row is None:
        return "–"  # of a pair that the study has not made
    if not row[column]:
        return "as above"  # of a method that is not tuned
    value, low, high = (float(row[name] or "nan") for name in (column, f"{column}_low", f"{column}_high"))
    if value == float("inf"):
        return "diverged"
    said = f"{value:.4g} ± {(high - low) / 2:.2g}"
    return f"**{said}**" if bold else said


def _other(row: dict[str, str], name: str) -> str:
    return row["second"] if row["first"] == name else row["first"]


def _short(name: str) -> str:
    return pages.plain(name.removeprefix("jaxdl."))


def main(arguments: Sequence[str]) -> None:
    """Copy from the given study, if any, and write the page."""
    if arguments:
        figures = sorted(path.name for path in Path(arguments[0], "figures").glob("best_of_overlay_*.png"))
        keep(Path(arguments[0]), (*FIGURES, *figures))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), read(KEPT)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
