"""Put studies that several machines made together into one folder, with its report.

    python -m experiments.compare_optimizers.merge runs/all runs/machine_1 runs/machine_2

The studies may differ in their optimizers, problems and numbers of seeds. Everything else that decides what a run means
must be equal: the options, the steps of each problem, and the SHA-256 of its arrays. Runs that two studies have must
agree up to a relative --tolerance, apart from their times; the first study's row is kept. No code that a folder names
is imported. The result is a study like any other: `--resume` makes the runs that it lacks.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from experiments.compare_optimizers import records, rows
from experiments.compare_optimizers.command import PLANTED, Config
from experiments.compare_optimizers.spaces import alike
from jaxdl import disk, runs
from jaxdl.runs import commandline, names
from jaxdl.runs import folder as folders
from jaxdl.runs.records import read_record, read_table, record_line, write_json, write_table, write_whole

MACHINE = ("devices", "method")  # options that do not change what a run means


class Part(NamedTuple):
    """The contents of one of the folders."""

    folder: Path
    config: Config
    plan: records.Plan
    manifest: folders.Manifest
    runs: list[records.Result]
    curves: list[Any]
    paths: list[records.PathPoint]
    diagnostics: list[records.Diagnostic]
    failures: list[records.Failure]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, merge, and return the exit code."""
    options = tyro.cli(_options, args=argv, prog="python -m experiments.compare_optimizers.merge", description=__doc__)
    parts, tolerance = [read(folder) for folder in options["folders"]], options["tolerance"]
    if len(parts) < 2 or not tolerance >= 0:
        raise ValueError(f"folders={len(parts)}, tolerance={tolerance}: allowed are at least 2 folders, and at least 0")
    check(parts)
    merged = runs_of(parts, tolerance)
    folder = runs.create(options["out"])
    with runs.lock(folder, new=True):
        write(folder, parts, merged, argv)
    from experiments.compare_optimizers import report  # matplotlib takes a second to import

    print(f"results: {folder / records.RESULTS}")
    print(f"report: {report.write(folder)}")
    return 0


def read(folder: Path) -> Part:
    """Read and check one study.

    Raises:
        ValueError: if a file is missing or damaged; the message names it.
    """
    records.read(runs.open_folder(folder))

    def table(name: str, kind: Any) -> list[Any]:
        return read_table(folder / name, kind) if (folder / name).exists() else []

    return Part(
        folder,
        commandline.load_config(Config, folder),
        read_record(folder / records.PLAN, records.Plan),
        read_record(folder / folders.MANIFEST, folders.Manifest),
        table(records.RESULTS, records.Result),
        table(records.CURVES, records.Evaluation),
        table(records.PATHS, records.PathPoint),
        table(records.DIAGNOSTICS, records.Diagnostic),
        table(records.FAILURES, records.Failure),
    )


def check(parts: Sequence[Part]) -> None:
    """Raise ValueError, naming the two folders, if studies differ in what decides about the meaning of a run."""
    first = parts[0]
    free = {*Config.GROWS, *Config.PASSING, *MACHINE, *commandline.FREE}
    for part in parts[1:]:
        pairs = [(field.name, *(getattr(p.config, field.name) for p in (first, part)))
                 for field in dataclasses.fields(Config) if field.name not in free]  # fmt: skip
        _agree(first, part, [*pairs, ("tuning_seeds of the plan", first.plan.tuning_seeds, part.plan.tuning_seeds)])
    for one, other in itertools.combinations(parts, 2):
        for name, pair in (
            ("steps", (one.plan.steps, other.plan.steps)),
            ("full_steps", (one.plan.full_steps, other.plan.full_steps)),
            ("the SHA-256 of the arrays", (_sums(one), _sums(other))),
        ):
            before, after = (found or {} for found in pair)
            shared = [problem for problem in before if problem in after]
            _agree(one, other, [(f"{name} of {p}", before[p], after[p]) for p in shared])


def _agree(one: Part, other: Part, found: Iterable[tuple[str, Any, Any]]) -> None:
    for name, before, after in found:
        if before != after:
            raise ValueError(
                f"{other.folder}: {name} is {before!r} in {one.folder}, {after!r} here; studies of different settings "
                "or data cannot be merged"
            )


def _sums(part: Part) -> dict[str, str]:
    if part.manifest.data is None:
        raise ValueError(f"{part.folder / folders.MANIFEST}: does not say which data the study had")
    return part.manifest.data.sha256


def runs_of(parts: Sequence[Part], tolerance: float) -> dict[records.Key, records.Result]:
    """Return each run once.

    Raises:
        ValueError: if two studies differ in a run, or in the point that tuning found best.
    """
    found: dict[records.Key, tuple[records.Result, Part]] = {}
    points: dict[Any, tuple[records.Key, Part]] = {}
    for part in parts:
        for run in part.runs:
            before, origin = found.setdefault(run.key, (run, part))
            for name in run._fields:
                values = getattr(before, name), getattr(run, name)
                if name not in records.TIMES and not _equal(*values, tolerance):
                    raise ValueError(
                        f"{part.folder / records.RESULTS}: {name} of the run {_words(run.key)} is {values[1]!r}, but "
                        f"{values[0]!r} in {origin.folder}; a run of two studies must agree up to {tolerance:g}"
                    )
            if run.stage == "final":
                point, _ = points.setdefault(run.key[:2], ((run.rate, run.settings), part))
                if point != (run.rate, run.settings):
                    raise ValueError(
                        f"{part.folder / records.RESULTS}: the run {_words(run.key)} has another tuned point than "
                        f"{points[run.key[:2]][1].folder}, {_words(point)}"
                    )
    return {key: run for key, (run, _) in found.items()}


def _equal(before: Any, after: Any, tolerance: float) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        both_unknown = math.isnan(before) and math.isnan(after)
        return both_unknown or before == after or math.isclose(before, after, rel_tol=tolerance)
    return before == after


def _words(key: Iterable[Any]) -> str:
    return ", ".join(str(one) for one in key if one != "")


def write(
    folder: Path, parts: Sequence[Part], merged: dict[records.Key, records.Result], argv: Sequence[str] | None
) -> None:
    """Write the files of the merged study."""
    config = parts[0].config
    problems = _union(name for part in parts for name in (part.plan.steps or {}))
    chosen = {names.optimizer_label(text): text for part in reversed(parts) for text in reversed(part.config.optimizer)}
    labels = _union(names.optimizer_label(text) for part in parts for text in part.config.optimizer)
    config = dataclasses.replace(
        config,
        problems=_union(name for part in parts for name in part.config.problems),
        optimizer=tuple(chosen[label] for label in labels),
        seeds=max(part.config.seeds for part in parts),
    )
    commandline.save_config(folder, config)
    rank = _rank(problems, labels, merged.values())
    _join(folder / records.RESULTS, parts, [part.runs for part in parts], lambda row: row.key, rank)
    _join(folder / records.CURVES, parts, [part.curves for part in parts], lambda row: row.key, rank)
    places = [{name: i for i, name in enumerate(known)} for known in (problems, labels)]
    for name, found in ((records.PATHS, [part.paths for part in parts]),
                        (records.DIAGNOSTICS, [part.diagnostics for part in parts])):  # fmt: skip
        if any(found):
            _join(folder / name, parts, found, lambda row: row[:2],
                  lambda row: [places[i].get(row[i], len(places[i])) for i in (0, 1)])  # fmt: skip
    ended = {run.key[:2] for run in merged.values() if run.stage == "final"}  # by another study
    if failures := [row for row in _union(row for part in parts for row in part.failures) if row[:2] not in ended]:
        write_table(folder / records.FAILURES, records.Failure, failures)
    write_json(folder / records.PLAN, _plan(parts, problems))
    sums = {name: digest for part in reversed(parts) for name, digest in _sums(part).items()}
    source = folders.DataSource(
        ", ".join(problems), "of the arrays and the first epoch's batches", {name: sums[name] for name in problems}
    )
    made = folders.provenance(seed=0, devices=(), argv=argv)
    versions = made.versions if all(part.manifest.versions == made.versions for part in parts) else None
    write_json(folder / folders.MANIFEST, made._replace(data=source, devices=None, machine=None, versions=versions))


def _join(path: Path, parts: Sequence[Part], found: Sequence[Sequence[Any]], key: Any, rank: Any) -> None:
    """Write each row of the first study that has its key, in order; lines of one format do not change by a byte."""
    owner = {key(row): i for i, found_rows in reversed([*enumerate(found)]) for row in found_rows}
    lines, kept = [], []
    for i, (part, found_rows) in enumerate(zip(parts, found, strict=True)):
        if not found_rows:
            continue
        header, *texts = disk.read_regular(part.folder / path.name).decode().removesuffix("\n").split("\n")
        lines = lines or [header]
        if header != lines[0]:  # of an older format
            texts = [record_line(row, lines[0].split(",")) for row in found_rows]
        mine = [(row, text) for row, text in zip(found_rows, texts, strict=True) if owner[key(row)] == i]
        kept += mine
    lines += [text for _, text in sorted(kept, key=lambda pair: rank(pair[0]))]
    write_whole(path, "".join(f"{line}\n" for line in lines))


def _plan(parts: Sequence[Part], problems: Sequence[str]) -> records.Plan:
    def union(field: str) -> dict[str, Any]:
        found = {k: v for part in reversed(parts) for k, v in (getattr(part.plan, field) or {}).items()}
        return {name: found[name] for name in problems if name in found}

    labels = _union(names.optimizer_label(text) for part in parts for text in part.config.optimizer)
    validated = {name for part in parts for name in part.plan.validated}
    return parts[0].plan._replace(
        steps=union("steps"),
        full_steps=union("full_steps"),
        methods=union("methods"),
        twins=tuple(pair for pair in names.twins(labels) if parts[0].config.space == "rate" or alike(pair)),
        planted=_union(pair for pair in PLANTED if {*pair} <= {*labels}),
        validated=tuple(name for name in problems if name in validated),
        merged=tuple(line for part in parts for line in part.plan.merged or (_said(part),)),
    )


def _said(part: Part) -> str:
    """Return one line about where a study was made."""
    made = part.manifest
    installed = made.versions or {}
    versions = ", ".join(f"{name} {installed[name]}" for name in ("jaxdl", "jax") if name in installed)
    facts = (made.started, made.machine, ", ".join(made.devices or ()), versions, f"{len(part.runs):,} runs")
    return f"{part.folder.resolve().name}: {'; '.join(fact for fact in facts if fact)}"


def _rank(problems: Sequence[str], labels: Sequence[str], found: Iterable[records.Result]) -> Any:
    tried: dict[str, list[tuple[float, str]]] = {}
    for run in found:
        if run.stage == "tuning":
            tried.setdefault(run.optimizer, []).append((run.rate, run.settings))
    return rows.in_order(problems, labels, {label: _union(points) for label, points in tried.items()})


def _union(found: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(found))


def _options(out: tyro.conf.Positional[Path], folders: tyro.conf.Positional[tuple[Path, ...]], tolerance: float = 1e-5):
    """Merge studies.

    Args:
        out: new folder of the merged study.
        folders: folders of the studies.
        tolerance: largest relative difference between two results of one run.
    """
    return {"out": out, "folders": folders, "tolerance": tolerance}


if __name__ == "__main__":
    commandline.run_main(main)
