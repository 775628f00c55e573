"""A part's file: its rows so far, their conditions, and how it ended. It does not import JAX: the GPU stays free."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


@dataclasses.dataclass
class Record:
    """A part's rows and their conditions; each change replaces the file by a rename."""

    path: Path
    part: str
    deadline: float = float("inf")  # of time.monotonic()
    dry_run: bool = False
    status: str = RUNNING
    error: str = ""
    seconds: float = 0.0  # over all tries of the part
    about: dict[str, Any] = dataclasses.field(default_factory=dict)  # versions, devices, command, precision
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    log: str = ""  # the end of what the part printed

    def add(self, **row: Any) -> None:
        """Append a row and write the file."""
        self.rows.append(row)
        self.write()

    def put(self, **row: Any) -> None:
        """Make this the only row and write the file."""
        self.rows = [row]
        self.write()

    def has(self, **values: Any) -> bool:
        """Return whether a row with these values exists, from this try or an earlier one."""
        return any(all(row.get(name) == value for name, value in values.items()) for row in self.rows)

    def left(self) -> float:
        """Return the seconds until the part is stopped."""
        return self.deadline - time.monotonic()

    def write(self) -> None:
        """Replace the file."""
        kept = {name: value for name, value in vars(self).items() if name not in ("path", "deadline")}
        temporary = self.path.with_name(f".{self.path.name}.writing")
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.path)


def read(path: Path) -> Record | None:
    """Return the record in a file, or None if there is no file.

    Raises:
        ValueError: if the file holds something else; the message names it.
    """
    if not path.exists():
        return None
    try:
        return Record(path, **json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: is no file of a part ({error})") from error
