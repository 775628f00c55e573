"""benchmarks/on_gpu.md and the README's line, made from the parts' files."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.on_gpu import record
from benchmarks.on_gpu.parts import PARTS

PAGE = Path(__file__).parent.with_suffix(".md")
README = PAGE.parents[1] / "README.md"
UNMEASURED = "not measured on a GPU yet"
LINE = "On an accelerator, from `python -m benchmarks.on_gpu` ([page](benchmarks/on_gpu.md)): {}."
COMMANDS = """    python -m benchmarks.on_gpu --pack DIR [--present FILE]   # at home: wheels, data and run.sh
    sh DIR/run.sh OUT --minutes 8                             # there, in the repository's root
    python -m benchmarks.on_gpu --page OUT                    # at home: this page"""

Rows = Sequence[dict[str, Any]]


class Target(NamedTuple):
    """A bound on a number of a part."""

    what: str
    part: str
    value: Callable[[Rows], float | None]  # None if the part did not get to it
    bound: float
    unit: str = ""
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Return whether the number is within the bound."""
        return value <= self.bound if self.at_most else value >= self.bound


def of_row(name: str, **values: Any) -> Callable[[Rows], float | None]:
    """Read a number of the first row with these values."""
    chosen = lambda rows: (row[name] for row in rows if all(row.get(n) == v for n, v in values.items()))
    return lambda rows: next(chosen(rows), None)


def percent(read: Callable[[Rows], float | None]) -> Callable[[Rows], float | None]:
    return lambda rows: None if (share := read(rows)) is None else 100 * share


def failures(rows: Rows) -> float | None:
    """Return the number of failed tests, if the time sufficed for all."""
    return len(rows[0]["failed"]) if rows and not rows[0]["time_was_up"] else None


SIX = ("20-50-500-10", "lenet5", "32-64-1024-10", "2c2d", "3c3d", "resnet20")
TARGETS = (
    Target("laws and tests that fail", "laws", failures, 0, at_most=True),
    *(
        Target(f"{net}, {dtype}: × flax.linen's steps per second", part, of_row("ratio", net=net, dtype=dtype), 1.0)
        for part, names in (("steps", SIX), ("resnet50", ("resnet50",)))
        for net in names
        for dtype in ("float32", "bfloat16")
    ),
    Target("sweep of 256 members: × sequential", "sweep", of_row("ratio"), 20),
    *(
        one
        for form in ("nesterov", "muon")
        for one in (
            Target(f"speedrun, {form}: accuracy", "speedrun", percent(of_row("accuracy", form=form)), 94.0, " %"),
            Target(f"speedrun, {form}: seconds", "speedrun", of_row("mean_seconds", form=form), 3.0, " s", True),
            Target(f"speedrun, {form}: seconds, next", "speedrun", of_row("mean_seconds", form=form), 2.0, " s", True),
        )
    ),
    Target("train_cnn, Fashion-MNIST: accuracy", "fashion", percent(of_row("test_accuracy")), 92.5, " %"),
)


def publish(folder: Path) -> int:
    """Write the page, and the README's line to match; returns 0.

    Raises:
        ValueError: if there is nothing measured in the folder, or what is there is of a dry run.
    """
    records = load(folder)
    if not records:
        raise ValueError(f"{folder}: holds no part's file")
    if dry := [one.part for one in records.values() if one.dry_run]:
        raise ValueError(f"{folder}: {', '.join(dry)} come from a dry run, which measures nothing")
    PAGE.write_text(text(records), encoding="utf-8")
    before = README.read_text(encoding="utf-8")
    pattern = re.escape(LINE).replace(re.escape("{}"), ".*")
    README.write_text(re.sub(pattern, lambda _: LINE.format(summary(records)), before), encoding="utf-8")
    print(f"wrote {PAGE} and the line in {README}: {summary(records)}")
    return 0


def load(folder: Path) -> dict[str, record.Record]:
    """Return the records that exist, in the order of the parts."""
    found = {name: record.read(folder / f"{name}.json") for name in PARTS}
    return {name: one for name, one in found.items() if one is not None}


def summary(records: dict[str, record.Record]) -> str:
    """Return a clause: the device and the number of targets met, or that nothing was measured."""
    judged = [(target, value) for target, value in values(records) if value is not None]
    devices = {device.split(" ", 1)[1] for one in records.values() for device in one.about.get("devices", ())}
    if not judged or not devices or any(one.dry_run for one in records.values()):
        return UNMEASURED
    met = sum(target.met(value) for target, value in judged)
    return f"measured on {', '.join(sorted(devices))}, {met} of {len(TARGETS)} targets met"


def values(records: dict[str, record.Record]) -> list[tuple[Target, float | None]]:
    """Return each target with its measured value."""
    rows = lambda part: records[part].rows if part in records and not records[part].dry_run else []
    return [(target, target.value(rows(target.part))) for target in TARGETS]


def text(records: dict[str, record.Record]) -> str:
    """Return the whole page."""
    said = summary(records)
    blocks = ["# On an accelerator", f"{said[0].upper()}{said[1:]}.", COMMANDS, "## Targets", targets(values(records))]
    for name, part in PARTS.items():
        blocks += [f"## {part.what}", *section(name, records.get(name))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def targets(found: Iterable[tuple[Target, float | None]]) -> str:
    """Return the table of targets."""
    lines = []
    for target, value in found:
        sign = "≤" if target.at_most else "≥"
        measured = "" if value is None else f"{value:.4g}{target.unit}"
        verdict = "not measured" if value is None else "met" if target.met(value) else "**not met**"
        lines.append((target.what, measured, f"{sign} {target.bound:g}{target.unit}", verdict))
    return table(("target", "measured", "bound", ""), lines)


def section(name: str, one: record.Record | None) -> list[str]:
    """Return a part's conditions and its table."""
    if one is None:
        return [UNMEASURED[0].upper() + UNMEASURED[1:] + "."]
    about = one.about
    versions = ", ".join(f"{package} {version}" for package, version in about.get("versions", {}).items())
    where = f"`{about['command']}` on {', '.join(about['devices'])}; {about['machine']}; {versions}." if about else ""
    flags = f", XLA_FLAGS={about['xla_flags']}" if about.get("xla_flags") else ""
    how = f"Matrix precision: {about['precision']}{flags}." if about else ""
    dry = "**A dry run with tiny sizes: no measurement.**" if one.dry_run else ""
    ended = "" if one.status == record.DONE else f"This part is not complete: {one.status} {one.error}".rstrip() + "."
    return [" ".join(filter(None, (dry, where, how, ended))), TABLES[name](one.rows) if one.rows else ""]


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '∣') for cell in row)} |" for row in rows)


def number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.4g}{unit}"


def devices_table(rows: Rows) -> str:
    there = [row for row in rows if row["kind"] == "device"]
    lines = [
        (row["name"], row["platform"], number(row["memory_bytes"] and row["memory_bytes"] / 2**30)) for row in there
    ]
    products = [
        (r["size"], r["dtype"], r["precision"], number(r["tflops"]), f"{r['error']:.1e}")
        for r in rows
        if r not in there
    ]
    header = ("n of an n³ product", "dtype", "precision", "TFLOP/s", "relative error")
    return table(("device", "platform", "memory (GiB)"), lines) + "\n\n" + table(header, products)


def laws_table(rows: Rows) -> str:
    (row,) = rows
    counts = (
        row["collected"],
        row["passed"],
        len(row["failed"]),
        row["skipped"],
        "yes" if row["time_was_up"] else "no",
    )
    found = table(("tests", "passed", "failed", "skipped", "time was up"), [counts])
    if row["failed"]:
        found += "\n\n" + table(("failed", "said"), [(one["test"], one["said"]) for one in row["failed"]])
    return found


def steps_table(rows: Rows) -> str:
    header = ("net", "dtype", "batch", "library", "ms per step (quartiles)", "steps/s", "compiling (s)")
    header += ("temporaries (MB)", "× flax.linen's speed")
    lines = []
    for row in rows:
        if row.get("error"):
            lines.append((row["net"], row["dtype"], row["batch"], row["error"], *[""] * 5))
        for who, one in row.get("peers", {}).items():
            time = f"{one['milliseconds']:.4g} ({one['low']:.4g} to {one['high']:.4g})"
            numbers = (1e3 / one["milliseconds"], one.get("compile_seconds"), one.get("temporary_mb"))
            numbers += (row["ratio"] if who == "jaxdl" else None,)
            lines.append((row["net"], row["dtype"], row["batch"], who, time, *map(number, numbers)))
    peak = max((row.get("peak_bytes") or 0 for row in rows), default=0)
    said = f"\n\nPeak memory of the process, both libraries' steps in it: {peak / 2**30:.3g} GiB." if peak else ""
    return table(header, lines) + said


def sweep_table(rows: Rows) -> str:
    (row,) = rows
    lines = [(f"{row['members']} members in one program", 1e3 * row["together"]["seconds"], row["together"])]
    lines += [(f"one after another, {how}", 1e3 * one["seconds"], one) for how, one in row["apart"].items()]
    shown = [(how, number(milliseconds), number(one["compile_seconds"])) for how, milliseconds, one in lines]
    said = f"{row['steps']} steps of Adam each; one after another by {row['timed_alone']} of the members."
    return table(("way", "ms per member", "compiling (s)"), shown) + "\n\n" + said


def speedrun_table(rows: Rows) -> str:
    header = ("form", "data", "steps", "runs", "accuracy", "seconds", "first run, with compilation (s)")
    lines = []
    for row in rows:
        accuracy = f"{100 * row['accuracy']:.2f} % ± {100 * row['accuracy_std']:.2f}"
        seconds = f"{row['mean_seconds']:.3f} ± {row['seconds_std']:.3f}"
        first = number(row["first_seconds"])
        lines.append((row["form"], row["dataset"], row["steps"], len(row["seconds"]), accuracy, seconds, first))
    notes = "\n\n".join(sorted({row["note"] for row in rows if row["note"]}))
    return table(header, lines) + (f"\n\n{notes}." if notes else "")


def calls_table(rows: Rows) -> str:
    header = ("net", "batch", "way", "ms per step", "first epoch, with compilation (s)")
    return table(
        header,
        [
            (row["net"], row["batch"], way, number(milliseconds), number(row["first_seconds"][way]))
            for row in rows
            for way, milliseconds in row["milliseconds"].items()
        ],
    )


def fashion_table(rows: Rows) -> str:
    (row,) = rows
    header = ("data", "test accuracy", "epochs", "training (s)", "steps/s", "compiling (s)", "all, with report (s)")
    numbers = (row["seconds"], row["steps_per_second"], row["compile_seconds"], row["whole_seconds"])
    line = (row["dataset"], f"{100 * row['test_accuracy']:.2f} %", row["epochs"], *map(number, numbers))
    return table(header, [line]) + f"\n\n`python -m experiments.train_cnn {row['options']}`"


TABLES: dict[str, Callable[[Rows], str]] = {
    "devices": devices_table,
    "laws": laws_table,
    "steps": steps_table,
    "resnet50": steps_table,
    "sweep": sweep_table,
    "speedrun": speedrun_table,
    "calls": calls_table,
    "fashion": fashion_table,
}
