"""Run every experiment that measures claims of the lectures, and make docs/results.md and docs/gallery.md.

    python -m experiments.all --budget 3h
    python -m experiments.all --only signals,adversarial

Each experiment runs with its own defaults in a folder of its own, runs/all/COMMIT/NAME. One that is finished there is
not run again, and one that was interrupted is resumed, so that the pages can grow over several days on one commit. Its
rows, figures and captions are copied into docs/results/NAME, from which both pages are made; experiments that did not
run keep the results that they have there. Results of `--full` stand in NAME_full, copied
there by hand with `keep`. An experiment that fails is named at the end, and the exit code is then 1.
"""

import dataclasses
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jaxdl
from experiments import catalogue
from jaxdl import demonstrations, disk, runs
from jaxdl.demonstrations import claims, harness, outcomes
from jaxdl.runs import commandline, records
from jaxdl.runs.folder import CONFIG
from jaxdl.runs.progress import seconds_of

ROOT = Path(__file__).parents[1]
FULL = "_full"  # ends the name of a folder that holds the results of --full
HEADER = ["claim", "row", "measured", "estimate [95 % interval]", "verdict"]


@dataclasses.dataclass(frozen=True)
class Config:
    """The experiments and their time."""

    budget: str = "3h"
    """Time for all experiments together, such as 20m or 3h; no experiment begins or continues after it."""
    only: str = ""
    """Names of the experiments to run, separated by commas; by default all that measure claims."""
    runs: Path | None = None
    """Folder of the runs; by default runs/all/COMMIT."""
    docs: Path = ROOT / "docs"
    """Folder in which to make results.md, gallery.md and results/."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""


class CommittedResult(NamedTuple):
    """The committed result of an experiment."""

    name: str
    rows: list[outcomes.ClaimRow]
    captions: list[outcomes.Caption]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run, make the pages, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.all")
    commandline.use_compilation_cache()
    seconds = seconds_of(config.budget)
    if not seconds:
        raise ValueError(f"budget={config.budget!r} is not allowed: it must be a time above 0, such as 20m or 3h")
    names = chosen(config.only)
    parent = config.runs or Path("runs") / "all" / commit()
    for option, folder in (("runs", parent), ("docs", config.docs)):
        check_folder(option, folder)
    began, failed, left = time.monotonic(), {}, []
    with runs.catch_stop() as request:
        for name in names:
            rest = seconds - (time.monotonic() - began)
            try:
                code = run_one(name, parent / name, rest, config.data_dir, request) if rest >= 1 else None
            except harness.OutOfBudget:
                code = None
            except (ValueError, OSError, ImportError) as error:
                failed[name] = error
                continue
            if code:
                return code
            if code is None:
                left.append(name)
            if (parent / name / outcomes.RESULTS).exists():
                keep(parent / name, config.docs / "results" / name)
                write_pages(config.docs)
    if any((parent / name / outcomes.RESULTS).exists() for name in names):
        print(f"pages: {config.docs / 'results.md'}, {config.docs / 'gallery.md'}")
    for name in left:
        print(f"left: {name}, for which the budget of {config.budget} was too short; the same command continues")
    for name, error in failed.items():
        print(f"failed: {name}: {error}")
    return 1 if failed else 0


def check_folder(option: str, folder: Path) -> None:
    """Raise ValueError, before hours are spent, if a folder is a file, lies in one or cannot be written."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "cannot be written" if there.is_dir() else "is no folder"
        raise ValueError(f"{option}={folder} is not allowed: {there} {why}; give a folder that can be made")


def chosen(only: str) -> list[str]:
    """Return the experiments to run.

    Raises:
        ValueError: for a name that is no experiment with claims.
    """
    known = catalogue.demonstrations()
    names = [name.strip() for name in only.split(",")] if only else known
    for name in names:
        if name not in known:
            raise ValueError(f"only={only!r}: {name!r} measures no claims; there are {', '.join(known)}")
    return names


def commit() -> str:
    """Return the short name of the present commit, or the version of an installation without one."""
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return jaxdl.__version__
    return found.stdout.strip() or jaxdl.__version__


def run_one(name: str, folder: Path, rest: float, data_dir: Path | None, request: runs.StopRequest) -> int | None:
    """Run an experiment, or what is left of it, and return an exit code; None if seeds are left to run."""
    module = catalogue.load(name)
    demonstration = module.DEMONSTRATION
    default = demonstration.config(data_dir=data_dir)
    if (folder / CONFIG).exists():
        check_defaults(folder, commandline.load_config(demonstration.config, folder), default)
    if not harness.is_complete(demonstration, folder):
        print(f"{name}: {catalogue.first_line(name)}")
        budget = f"{int(min(rest, seconds_of(default.budget) or rest))}s"
        config = harness.checked(demonstration, dataclasses.replace(default, budget=budget))
        loaded = demonstration.load(config)
        folder.mkdir(parents=True, exist_ok=True)
        code = harness.measure(demonstration, config, loaded, folder, argv=[], request=request)
        if code:
            return code
    module.write(folder)
    return 0 if harness.is_complete(demonstration, folder) else None


def check_defaults(folder: Path, stored: demonstrations.DemonstrationOptions, default: Any) -> None:
    """Raise ValueError if a folder holds a run with other options, whose numbers would stand on the pages."""
    if (was := harness.command_of(stored)) != (wanted := harness.command_of(default)):
        raise ValueError(f"{folder} holds a run of {was}, not of {wanted}; remove it, or give other --runs")


def keep(folder: Path, place: Path) -> None:
    """Copy the rows, figures and captions of a run, and remove figures that it no longer draws."""
    place.mkdir(parents=True, exist_ok=True)
    captions = records.read_table(folder / outcomes.FIGURES, outcomes.Caption)
    drawn = [f"figures/{caption.file}" for caption in captions]
    for name in [*drawn, outcomes.FIGURES, outcomes.RESULTS]:  # the rows last: they cite the others
        disk.write_whole(place / Path(name).name, (folder / name).read_bytes())
    wanted = {outcomes.FIGURES, outcomes.RESULTS, *(caption.file for caption in captions)}
    for file in place.iterdir():
        if file.name not in wanted:
            file.unlink()


def results(docs: Path) -> list[CommittedResult]:
    """Read the results in docs/results, in alphabetical order."""
    found = []
    for place in sorted(path.parent for path in (docs / "results").glob(f"*/{outcomes.RESULTS}")):
        rows = records.read_table(place / outcomes.RESULTS, outcomes.ClaimRow)
        captions = records.read_table(place / outcomes.FIGURES, outcomes.Caption)
        found.append(CommittedResult(place.name, rows, captions))
    return found


def write_pages(docs: Path) -> None:
    """Make results.md and gallery.md from docs/results."""
    found = results(docs)
    records.write_whole(docs / "results.md", results_page(found))
    records.write_whole(docs / "gallery.md", gallery_page(found))


def results_page(found: Sequence[CommittedResult]) -> str:
    """Return the page of all claims as Markdown."""
    from jaxdl.runs import pages  # matplotlib takes a second to import, which --help need not wait for

    verdicts = [row.verdict for one in found for row in one.rows]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in claims.VERDICTS)
    many = len({one.name.removesuffix(FULL) for one in found})
    parts = [
        "# The lectures' claims, measured",
        f"{len(verdicts)} claims by {many} experiments: {counts}. A claim holds if the paired 95 % interval lies "
        'beyond the limit on the claimed side, "does not hold" if it lies beyond it on the other, and is "not shown '
        'here" otherwise; it "depends" if two named conditions give opposite verdicts. A number that a '
        "lecture prints holds if it lies in the interval of one more draw, which asks less. About one interval in "
        "twenty misses its true value, so a few of so many verdicts are chance. Rows are those of "
        "[the lectures](lectures.md), figures stand in [the gallery](gallery.md). Made by `python -m experiments.all`.",
    ]
    for one in found:
        first = one.rows[0]
        rows = [[r.claim, r.lecture, r.measured, claims.described(r.interval, r.unit), r.verdict] for r in one.rows]
        name = one.name.removesuffix(FULL)
        title = catalogue.first_line(name) if name in catalogue.names() else name
        parts += [
            f"## {one.name}",
            f"{pages.plain(title)} `{first.command}`: {first.seeds} seeds, {pages.plain(first.data)}, "
            f"{first.cpu_seconds:.0f} CPU seconds.",
            pages.table(HEADER, rows, left=len(HEADER)),
        ]
    return "\n\n".join(parts) + "\n"


def gallery_page(found: Sequence[CommittedResult]) -> str:
    """Return the page of all figures as Markdown."""
    from jaxdl.runs import pages  # see results_page

    parts = ["# Gallery", "The figures of [the lectures' claims, measured](results.md). Made by the same command."]
    for one in found:
        parts.append(f"## {one.name}")
        for caption in one.captions:
            text = pages.plain(caption.caption)
            parts += [f"![{text}](results/{one.name}/{caption.file})", text]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    commandline.run_main(main)
