"""A table on disk that grows by rows: a process killed at any moment leaves all of them but the one being written."""

import csv
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Path = pathlib.Path


class Table:
    """A CSV file with given columns. None is an empty cell; numbers are written so that reading gives the same bits.

    Opening it mends what a killed process left: a last line without an end is dropped.

    Raises:
        ValueError: naming the file, if it has other columns, and the line that cannot be read.
    """

    def __init__(self, path: str | os.PathLike, columns: Sequence[str]) -> None:
        self.path, self.columns = Path(path), tuple(columns)
        text = self.path.read_text() if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if not whole:
            self._write(_text([self.columns]))
        elif whole != text:
            self._write(whole)
        self._rows = self._read()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows at the end, in one write, and see that they are on disk."""
        added = [{c: "" if row[c] is None else str(row[c]) for c in self.columns} for row in rows]
        text = _text([row.values() for row in added])
        with self.path.open("a", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._rows += added

    def rows(self) -> list[dict[str, str]]:
        """All rows, as text."""
        return self._rows

    def _read(self) -> list[dict[str, str]]:
        lines = list(csv.reader(io.StringIO(self.path.read_text(), newline="")))
        if tuple(lines[0]) != self.columns:
            raise ValueError(f"{self.path}: has the columns {lines[0]}, not {list(self.columns)}")
        for number, line in enumerate(lines[1:], 2):
            if len(line) != len(self.columns):
                raise ValueError(f"{self.path}, line {number}: has {len(line)} fields, not {len(self.columns)}")
        return [dict(zip(self.columns, line, strict=True)) for line in lines[1:]]

    def keep(self, wanted: Callable[[dict[str, str]], bool]) -> None:
        """Drop the rows that are not wanted; where all are, the file is not touched."""
        kept = [row for row in self._rows if wanted(row)]
        if len(kept) < len(self._rows):
            self._write(_text([self.columns, *(row.values() for row in kept)]))
            self._rows = kept

    def _write(self, text: str) -> None:
        temporary = self.path.with_name(f".{self.path.name}.writing")
        with temporary.open("w", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def _text(lines: Iterable[Iterable[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue()
