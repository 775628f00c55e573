"""docs/lectures.md: the committed page is the generated one, it is complete, and every cited row exists."""

import re
import string
from pathlib import Path

import pytest

from docs import lectures_rows, make_lectures

ROOT = Path(__file__).parents[1]
HEAD = make_lectures.HEAD
IDS = [row.id for row in lectures_rows.ROWS]
COUNTS = {"A": 8, "B": 0, "C": 7, "D": 5, "E": 13, "F": 0, "G": 12, "H": 8, "I": 0, "J": 0, "K": 8}
# "Lecture row C6", "Lecture rows C6, E7, G1", "Lecture rows C1-C5", "Lecture rows D2 and D4"
CITATION = re.compile(r"[Ll]ecture\s+rows?\s+([A-Z]\d*(?:(?:\s*[,-]\s*|\s+and\s+)[A-Z]\d+)*)")


def cited(text):
    """Return the ids that a text cites, with ranges expanded."""
    ids = set()
    for match in CITATION.finditer(text):
        for part in re.split(r"\s*,\s*|\s+and\s+", match[1]):
            first, _, last = part.partition("-")
            numbers = range(int(first[1:]), int(last.strip()[1:]) + 1) if last else None
            ids |= {f"{first[0]}{n}" for n in numbers} if numbers else {first}
    return ids


def test_the_page_is_what_the_command_makes():
    made = make_lectures.page()
    assert make_lectures.PAGE.read_text(encoding="utf-8") == made, "run: python -m docs.make_lectures"


def test_all_rows_are_there_once_and_in_order():
    expected = [
        f"{letter}{n}" if n else letter for letter in COUNTS for n in range(min(COUNTS[letter], 1), COUNTS[letter] + 1)
    ]
    assert expected == IDS
    assert {row_id for row_id, _ in lectures_rows.ERRATA} <= set(IDS)


@pytest.mark.parametrize("row", lectures_rows.ROWS, ids=IDS)
def test_no_cell_is_empty(row):
    contents = [row.formula, row.functions, row.oracle, row.tests]
    assert row.title
    assert all(contents) or not any(contents)
    assert all(cell.strip() for cell in make_lectures.cells(row))
    said = make_lectures.cells(row)[HEAD.index("functions")]
    assert said.startswith(make_lectures.EXPERIMENT) == (not row.functions)
    if not row.functions:
        assert (said == make_lectures.LATER) == (make_lectures.cells(row)[HEAD.index("measured by")] == "—")


def test_every_table_row_has_as_many_cells_as_the_head():
    for line in make_lectures.page().splitlines():
        if line.startswith("| ") and len(re.findall(r"(?<!\\)\|", line)) != 3:
            assert len(re.findall(r"(?<!\\)\|", line)) == len(make_lectures.HEAD) + 1, line


def test_every_cited_row_exists():
    sources = [
        *(ROOT / "jaxdl").rglob("*.py"),
        *(ROOT / "experiments").rglob("*.py"),
        *(ROOT / "tests").glob("test_*.py"),
    ]
    unknown, seen = {}, set()
    for path in sources:
        if path == Path(__file__):
            continue
        ids = cited(path.read_text(encoding="utf-8"))
        seen |= ids
        if ids - set(IDS):
            unknown[path.name] = sorted(ids - set(IDS))
    assert not unknown
    assert len(seen) > 30


def test_citations_are_read_in_all_their_forms():
    text = (
        "Lecture row A2. (Lecture rows C1-C3). Lecture rows E10,\n  G11. Lecture row B, where E prints, lecture row H1"
    )
    assert cited("Lecture rows D2 and D4") == {"D2", "D4"}
    assert cited(text) == {"A2", "C1", "C2", "C3", "E10", "G11", "B", "H1"}
    assert cited("Lecture row Q9") == {"Q9"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            lectures_rows.Row("X", "x", "x", "losses.nothing", "x", "test_losses::test_c1_worked_numbers"),
            "no such function",
        ),
        (lectures_rows.Row("X", "x", "x", "losses.nll", "x", "test_losses::test_nothing"), "no such test"),
    ],
)
def test_what_does_not_exist_is_noticed(row, message):
    with pytest.raises(ValueError, match=message):
        make_lectures.cells(row)


def test_links_lead_to_files():
    for target in re.findall(r"\]\((\S+?)\)", make_lectures.page()):
        assert (make_lectures.PAGE.parent / target).is_file(), target
    assert set(lectures_rows.LECTURES) < set(string.ascii_uppercase)
