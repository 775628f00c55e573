"""The measured rows, as CSV."""

import csv
import pathlib
import statistics
from collections.abc import Sequence

CSV = pathlib.Path(__file__).parent.with_suffix(".csv")
FIELDS = ("row", "peer", "milliseconds", "low", "high", "gflop", "compile_seconds", "temporary_mb", "note")


def read(path: pathlib.Path = CSV) -> list[dict[str, str]]:
    """Return the rows measured so far."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(rows: Sequence[dict], path: pathlib.Path = CSV) -> None:
    """Replace the file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def entry(peer: str, seconds: Sequence[float] = (), *, note: str = "", **more: float) -> dict[str, str]:
    """Return a line: median and quartiles of some times, and other numbers."""
    found = {"peer": peer, "milliseconds": "", "note": note}
    if seconds:
        quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
        low, middle, high = quartiles
        found |= {"milliseconds": f"{1e3 * middle:.4g}", "low": f"{1e3 * low:.4g}", "high": f"{1e3 * high:.4g}"}
    return found | {name: f"{value:.4g}" for name, value in more.items() if value == value}
