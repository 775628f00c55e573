"""Files of a run folder: records as JSON objects or as rows of CSV tables, declared once for writing and reading.

A record is a NamedTuple. Its fields are the keys of an object or the columns of a table, and its annotations decide how
they are written, read and checked: ``str``, ``int``, ``float``, ``bool``, ``Any``, ``Literal``, ``dict``, ``list[T]``,
``tuple[T, ...]``, ``T | None`` and other records. An undefined number is NaN in memory, null in an object and an empty
cell in a table. All other numbers keep all of their digits, so that reading restores the same bits. A field may be
absent, or its cell empty, if it has a default.

A whole file is written under another name, flushed to disk and renamed, so a reader sees the old file or the new one,
and so does the next process after a kill at any moment. A table grows by whole lines. A kill leaves at most one line
without a newline, which the next process drops.

Every object carries the number `FORMAT`. The one in config.json, which is written first, also covers the tables and
arrays of the folder, since CSV has no place for it. Objects without a number, from older versions, have format 1.
"""

import collections
import csv
import io
import json
import math
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, Literal, TypeVar

import numpy as np

from jaxdl import disk
from jaxdl.disk import write_whole
from jaxdl.runs.decoding import decode, defaults_of, fields_of
from jaxdl.texts import shortened

Path = pathlib.Path
FORMAT: Final = 1
Record = TypeVar("Record", bound=tuple)


# ---------------------------------------------------------------- whole files


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Write an ``.npz`` archive, or replace it; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def write_json(path: str | os.PathLike, value: Mapping[str, Any] | tuple) -> None:
    """Write a record or a mapping as a JSON file, or replace it, with the format number.

    Raises:
        TypeError: for values that JSON cannot hold; the file is then unchanged.
    """
    write_whole(path, json.dumps({"format": FORMAT, **_plain(value)}, indent=2) + "\n")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read the object in a JSON file, without its format number.

    Raises:
        ValueError: if the file is missing, not a regular file, not JSON, not an object or has another format; the
            message names it.
    """
    content = _content(path)
    try:
        value = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must hold an object of names and values, got a {type(value).__name__}")
    if (found := value.pop("format", 1)) != FORMAT:
        raise ValueError(f"{path}: has format {found!r}; this version reads {FORMAT}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; of a name that occurs twice, nobody knows which value was meant."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, count in collections.Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {shortened(twice)} occurs twice")
    return value


def read_record(path: str | os.PathLike, kind: type[Record]) -> Record:
    """Read a record from a JSON file; unknown keys are ignored.

    Raises:
        ValueError: see `read_json`; also if a field is missing or has another type; the message names it.

    Examples:
        >>> import tempfile
        >>> from jaxdl import sizes
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     runs.write_json(f"{folder}/window.json", sizes.Window(3, stride=2))
        ...     runs.read_record(f"{folder}/window.json", sizes.Window)
        Window(size=3, stride=2, dilation=1)
    """
    return decode(read_json(path), kind, path, "")


def _content(path: str | os.PathLike) -> bytes:
    if not os.path.lexists(path):
        raise ValueError(f"{path}: is missing")
    return disk.read_regular(path)


# ---------------------------------------------------------------- tables


class Table(Generic[Record]):
    """A CSV file to which records are appended. It is created, or loses an unfinished last line, when it is opened.

    Args:
        path: the file.
        kind: the record type, whose fields are the columns. A file that is there may have them in another order, and
            lack those with a default; it then stays so.

    Raises:
        ValueError: if the file has other columns or a damaged line; the message names the file and the line.
    """

    def __init__(self, path: str | os.PathLike, kind: type[Record]) -> None:
        self.path, self.kind = Path(path), kind
        content = _content(self.path) if os.path.lexists(self.path) else b""
        lines, rest = _whole_lines(self.path, content)
        first = _line(fields_of(kind))
        if not lines and not first.encode().startswith(rest):  # the rest of a kill is dropped, but no table is
            raise ValueError(f"{self.path}: has no line that ends in a newline; the first one is {first!r}")
        self._lines = lines or [first]
        if (whole := _text(self._lines).encode()) != content:
            write_whole(self.path, whole)
        self._header = _cells(self.path, 1, self._lines[0])
        known, there = {*fields_of(kind)}, {*self._header}
        if not known >= there >= known - {*defaults_of(kind)} or len(there) < len(self._header):
            raise ValueError(f"{self.path}: has the columns {shortened(self._header)}, not {[*fields_of(kind)]}")
        self._rows = _rows(self.path, self._lines, kind)

    @property
    def rows(self) -> Sequence[Record]:
        """Return all records in the order of the file."""
        return self._rows

    def append(self, rows: Iterable[Record]) -> None:
        """Append records in one write. They survive a kill of the process, and a power cut once `sync` has returned.

        Raises:
            OSError: naming the file, if writing fails, such as on a full disk; the file is then unchanged.
        """
        added = list(rows)
        lines = [record_line(row, self._header) for row in added]
        with disk.naming(self.path), self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                disk.write_all(file, "".join(f"{line}\n" for line in lines).encode())
            except OSError:
                file.truncate(before)
                raise
        self._lines += lines
        self._rows += added

    def sync(self) -> None:
        """Wait until all records are on disk."""
        with disk.naming(self.path), self.path.open("rb") as file:
            os.fsync(file.fileno())

    def replace(self, rows: Iterable[Record]) -> None:
        """Replace all records at once.

        Raises:
            OSError: see `disk.write_whole`.
        """
        added = list(rows)
        lines = [self._lines[0], *(record_line(row, self._header) for row in added)]
        self._change(lines, added)

    def keep(self, wanted: Callable[[Record], bool]) -> None:
        """Keep the wanted records only; their lines do not change by a byte."""
        self._choose([i for i, row in enumerate(self._rows) if wanted(row)])

    def sort(self, key: Callable[[Record], Any]) -> None:
        """Sort the records by a key, stably; their lines do not change by a byte."""
        self._choose(sorted(range(len(self._rows)), key=lambda i: key(self._rows[i])))

    def _choose(self, places: list[int]) -> None:
        if places != [*range(len(self._rows))]:
            lines = [self._lines[0], *(self._lines[i + 1] for i in places)]
            self._change(lines, [self._rows[i] for i in places])

    def _change(self, lines: list[str], rows: list[Record]) -> None:
        write_whole(self.path, _text(lines))
        self._lines, self._rows = lines, rows


class UnwrittenTable(Table[Record]):
    """A table without a file, of a process that takes part in a run which another one writes."""

    def __init__(self, kind: type[Record]) -> None:
        self.path, self.kind, self._lines, self._rows = Path(os.devnull), kind, [_line(fields_of(kind))], []
        self._header = [*fields_of(kind)]

    def append(self, rows: Iterable[Record]) -> None:
        """Append records, in memory."""
        added = list(rows)
        self._lines += [_line(map(_cell, row)) for row in added]
        self._rows += added

    def sync(self) -> None:
        """Do nothing."""

    def _change(self, lines: list[str], rows: list[Record]) -> None:
        self._lines, self._rows = lines, rows


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def record_line(row: Any, header: Sequence[str]) -> str:
    """Return a record as a line of a table with these columns.

    Raises:
        ValueError: if a column is absent and the record does not have the default there.
    """
    defaults = defaults_of(type(row))
    if lost := [name for name in row._fields if name not in header and getattr(row, name) != defaults.get(name)]:
        raise ValueError(f"the table has no column for {', '.join(lost)}, and cannot hold {shortened(row)}")
    return _line(_cell(getattr(row, name)) for name in header)


def write_table(path: str | os.PathLike, kind: type[Record], rows: Iterable[Record]) -> None:
    """Write a whole CSV file, or replace it, whatever columns it had before; see `Table` for one that grows."""
    write_whole(path, _text([_line(fields_of(kind)), *(_line(map(_cell, row)) for row in rows)]))


def read_table(path: str | os.PathLike, kind: type[Record], *, unfinished: bool = False) -> list[Record]:
    """Read the records of a CSV file. It may have additional columns, columns in any order, and lack those of defaults.

    Args:
        path: the file, which is not modified.
        kind: the record type.
        unfinished: ignore a last line without a newline, as in a table that is being written, instead of raising.

    Raises:
        ValueError: if the file or a line is damaged; the message names both.

    Examples:
        >>> import tempfile
        >>> from jaxdl import sizes
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = runs.Table(f"{folder}/windows.csv", sizes.Window)
        ...     table.append([sizes.Window(3, 2), sizes.Window(5)])
        ...     runs.read_table(f"{folder}/windows.csv", sizes.Window)
        [Window(size=3, stride=2, dilation=1), Window(size=5, stride=1, dilation=1)]
    """
    lines, rest = _whole_lines(path, _content(path).replace(b"\r\n", b"\n"))
    if rest and not unfinished:
        raise ValueError(f"{path}, line {len(lines) + 1}: is cut off, it has no newline")
    return _rows(Path(path), lines or [""], kind)


def _whole_lines(path: str | os.PathLike, content: bytes) -> tuple[list[str], bytes]:
    """Return the complete lines, and the bytes after the last newline, which may end within a character."""
    whole, _, rest = content.rpartition(b"\n")
    try:
        return (whole.decode().split("\n") if whole else []), rest
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no table of text ({error})") from error


def _rows(path: Path, lines: list[str], kind: type[Record]) -> list[Record]:
    header = _cells(path, 1, lines[0])
    defaults = defaults_of(kind)
    if absent := [name for name in fields_of(kind) if name not in header and name not in defaults]:
        raise ValueError(f"{path}: the first line lacks the columns {', '.join(absent)}; got {shortened(header)}")
    places = [(header.index(name), name, hint) for name, hint in fields_of(kind).items() if name in header]
    found = []
    for number, line in enumerate(lines[1:], 2):
        cells = _cells(path, number, line)
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {number}: has {len(cells)} fields, the header has {len(header)}")
        found.append(kind(**{
            name: _read_cell(path, number, name, hint, cells[place])
            for place, name, hint in places if cells[place] or name not in defaults
        }))  # fmt: skip
    return found


def _cells(path: Path, number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{path}, line {number}: is not what was written ({error}): {shortened(line)}") from error


def _read_cell(path: Path, number: int, name: str, kind: Any, text: str) -> Any:
    allowed = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    try:
        if kind is float:
            return float(text or "nan")
        if kind is int and abs(number_read := int(text)) < 1 << 63:
            return number_read
        if text and kind is not int and (not allowed or text in allowed):
            return text
    except ValueError:
        pass  # the error below says what is allowed
    wanted = {int: "a whole number", float: "a number or empty"}.get(kind, " or ".join(allowed) or "a name")
    raise ValueError(f"{path}, line {number}: {name} must be {wanted}, got {shortened(text)}")


def _cell(value: Any) -> str:
    text = "" if _undefined(value) else str(value)
    if "\n" in text or "\r" in text:
        raise ValueError(f"a cell of a table must be one line, got {shortened(text)}")
    return text


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


def _undefined(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    """Turn records into dicts, tuples into lists and NaN into None."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if _undefined(value) else value
