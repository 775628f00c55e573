"""Write the part of README.md with the most telling claims, from `docs/results`: python -m docs.make_claims."""

import re
from pathlib import Path

from experiments import all as every
from jaxdl.demonstrations import claims
from jaxdl.demonstrations.outcomes import ClaimRow
from jaxdl.runs import pages

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- made by python -m docs.make_claims -->", "<!-- end of the claims -->"
TELLING = (  # experiment, and the beginning of the claim
    ("listings", "S's net after one epoch"),
    ("signals", "100 tanh layers"),
    ("batch_norm", "a wider range of rates learns (reaches"),
    ("batch_norm", "it belongs before the non-linearity"),
    ("optimizers_2d", "momentum almost never hurts"),
    ("adversarial", "the protection is one of this attack alone"),
    ("filters", "max pooling suppresses noise"),
    ("regularization", "L1 makes weights exactly zero"),
)
FIGURES = {
    "adversarial/fooled.png": "Digits, the signs of the gradient, and their sums, with labels and confidences",
    "batch_norm/speed.png": "Batch norm learns sooner, at more rates, and not with batches of two",
}


def block() -> str:
    """Return the table of the claims and the figures as Markdown."""
    found = {one.name: one for one in every.results(ROOT / "docs")}
    rows = [_cells(name, _claim(found[name].rows, begins)) for name, begins in TELLING]
    figures = [f"![{text}](docs/results/{file})" for file, text in FIGURES.items()]
    table = pages.table(["the lectures say", "measured", "verdict", "experiment"], rows, left=4)
    return "\n\n".join([BEGIN, table, *figures, END])


def _claim(rows: list[ClaimRow], begins: str) -> ClaimRow:
    """Return the one claim that begins with these words.

    Raises:
        ValueError: if there is none, or several.
    """
    found = [row for row in rows if row.claim.startswith(begins)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} claims begin with {begins!r}; there are {[row.claim for row in rows]}")
    return found[0]


def _cells(name: str, row: ClaimRow) -> list[str]:
    interval = claims.described(row.interval, row.unit)
    measured = row.measured if interval == "–" else f"{row.measured}: {interval}"
    return [row.claim, measured, row.verdict, name]


def page(text: str) -> str:
    """Return the README with this part made again.

    Raises:
        ValueError: if it lacks the marks of this part.
    """
    parts = re.split(f"{re.escape(BEGIN)}.*?{re.escape(END)}", text, flags=re.S)
    if len(parts) != 2:
        raise ValueError(f"README.md must contain {BEGIN} and {END} once")
    return parts[0] + block() + parts[1]


if __name__ == "__main__":
    README.write_text(page(README.read_text(encoding="utf-8")), encoding="utf-8")
