"""metrics.csv: one row per measurement, exact enough that an interrupted run ends with the same file."""

import csv
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Path = pathlib.Path
COLUMNS: tuple[str, ...] = ("optimizer", "step", "epoch", "split", "loss", "accuracy", "learning_rate", "seconds")
_TYPES = {
    "step": int,
    "epoch": int,
    "loss": float,
    "accuracy": float,
    "learning_rate": float,
    "seconds": float,
}


class MetricsFile:
    """Appends rows to metrics.csv. Floats are written so that reading gives the same bits.

    step: updates done; epoch: number from 0; split: train (mean over the steps since the last such row), dev or test;
    seconds: training time of this optimizer so far, without compilation, evaluation and saving.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._open()
        if self.path.stat().st_size == 0:
            self._writer.writeheader()
            self.flush()

    def _open(self) -> None:
        self._file = self.path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row with exactly the columns of the file."""
        self._writer.writerow({**row, "seconds": f"{row['seconds']:.3f}"})

    def flush(self) -> None:
        """See that all rows are on disk; done before every checkpoint, so that no checkpoint is ahead of its rows."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def keep_until(self, steps: Mapping[str, int]) -> None:
        """Drop what an interrupted run wrote after its checkpoints: rows past each optimizer's step, and test rows.

        Lines are kept or dropped as they are, so that what is kept stays the same to the byte.
        """
        rows = [row for row in self._rows() if row.split != "test" and row.step <= steps.get(row.optimizer, -1)]
        self._rewrite(rows)

    def arrange(self, optimizers: Sequence[str]) -> None:
        """Order the rows as an uninterrupted run writes them.

        They are out of order where a corrupt checkpoint threw one optimizer further back than another.
        """
        place = {name: i for i, name in enumerate(optimizers)}

        def key(row: _Row) -> tuple[bool, int, int]:
            test = row.split == "test"
            return test, 0 if test else row.epoch, place[row.optimizer]

        self._rewrite(sorted(self._rows(), key=key))

    def _rows(self) -> list["_Row"]:
        self.flush()
        lines = self.path.read_text().split("\n")
        return [_row(self.path, i, line) for i, line in enumerate(lines[:-1], 1) if i > 1]  # a kill cuts the last one

    def _rewrite(self, rows: Sequence["_Row"]) -> None:
        self.close()
        temporary = self.path.with_name(f".{self.path.name}.writing")
        with temporary.open("w") as file:
            file.write("".join(f"{line}\n" for line in [",".join(COLUMNS), *(row.line for row in rows)]))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._open()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """All rows of a metrics.csv with numbers as numbers.

    Raises:
        ValueError: naming the file and line of what cannot be read.
    """
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: has the columns {reader.fieldnames}, not {list(COLUMNS)}")
        return [_typed(path, reader.line_num, row) for row in reader]


class _Row(NamedTuple):
    """One line of the file and what says where it belongs."""

    line: str
    optimizer: str
    step: int
    epoch: int
    split: str


def _row(path: Path, number: int, line: str) -> _Row:
    try:
        fields = dict(zip(COLUMNS, next(csv.reader([line])), strict=True))
        return _Row(line, fields["optimizer"], int(fields["step"]), int(fields["epoch"]), fields["split"])
    except (StopIteration, ValueError) as error:
        raise ValueError(f"{path}, line {number}: is not what was written: {line!r}") from error


def _typed(path: str | os.PathLike, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {name: _TYPES.get(name, str)(row[name]) for name in COLUMNS}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}, line {line}: {error}") from error
