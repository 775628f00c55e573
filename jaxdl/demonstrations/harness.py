"""The harness of experiments that measure claims: options, seeds, pairing, budget, resume, rows, figures, report.

A `Demonstration` is a few functions: load the data, run one case with one seed, judge the claims, draw. Every case runs
with every seed, so that cases are paired. The folder of a run holds

* ``measurements.csv``: a row per case, seed and number, appended as each run ends, and ``arrays/``: what figures need;
* ``results.csv``: a row per claim; ``figures.csv``: the captions of ``figures/``; ``report.md`` and ``report.html``.
  `write` makes them from the former.

    DEMONSTRATION = demonstrations.Demonstration(Config, load, cases, run, judge, draw)
    main, write = demonstrations.commands(DEMONSTRATION, __doc__)
"""

import dataclasses
import functools
import math
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from jaxdl import data
from jaxdl.demonstrations import claims
from jaxdl.demonstrations.claims import Claim
from jaxdl.demonstrations.outcomes import (
    ARRAYS,
    FIGURES,
    MEASUREMENTS,
    RESULTS,
    SECONDS,
    Caption,
    CaseNumber,
    ClaimRow,
    Outcomes,
    arrays_file,
)
from jaxdl.runs import commandline, records
from jaxdl.runs import folder as folders
from jaxdl.runs.progress import seconds_of
from jaxdl.runs.signals import StopRequest, catch_stop
from jaxdl.studies import statistics
from jaxdl.texts import quoted


@dataclasses.dataclass(frozen=True)
class DemonstrationOptions:
    """The options that all demonstrations share; a Config adds its own, and may give these other defaults."""

    PASSING: ClassVar[tuple[str, ...]] = ("budget",)  # a resumed run may have another
    EXPERIMENT: ClassVar[str] = ""

    seeds: int = 5
    """Number of seeds. Every case runs with each of them, and comparisons are paired on the seed."""
    budget: str = "10m"
    """Time after which no further seed begins, such as 90s, 10m or 1h30m. The row says how many seeds were finished,
    and --resume runs the others."""
    full: bool = False
    """Run at the size of the paper or lecture, which may take hours; the row's command says so and has the sizes."""
    data_dir: Path | None = None
    """Folder of the data sets' files; by default the variable JAXDL_DATA_DIR, else a per-user cache."""
    out: Path | None = None
    """Folder of this run; by default runs/NAME/TIME."""
    resume: Path | None = None
    """Resume the run in this folder; finished cases are not run again."""
    trust_run: bool = False
    """With --resume: import and call functions that the run's config names as package.module:function. They can be any
    code, so use this only for folders that you trust, such as your own."""


class Drawing(NamedTuple):
    """A figure of the report and the gallery."""

    name: str  # of its file
    drawn: Any  # a matplotlib Figure, or the bytes of a GIF
    caption: str  # tells the claim and the source of the data


class Demonstration(NamedTuple):
    """An experiment that measures claims, as pure functions of its config."""

    config: type[DemonstrationOptions]  # a frozen dataclass with EXPERIMENT, the module's name
    load: Callable[[Any], tuple[data.Dataset | str, Any]]  # config -> (data set or its name, whatever runs need)
    cases: Callable[[Any], Sequence[str]]  # config -> names of the cases, each run with each seed
    run: Callable[[Any, Any, str, int], Mapping[str, Any]]  # (config, loaded, case, seed) -> numbers and arrays
    judge: Callable[[Any, Outcomes], Sequence[Claim]]  # (config, outcomes) -> claims
    draw: Callable[[Any, Outcomes], Sequence[Drawing]]  # (config, outcomes) -> figures
    check: Callable[[Any], None] = lambda config: None  # raises ValueError for an option out of range
    full: Mapping[str, Any] = {}  # option -> its value with --full, unless the command line sets another


class OutOfBudget(ValueError):
    """The time budget ended before one seed was finished."""


def commands(
    demonstration: Demonstration, description: str | None
) -> tuple[Callable[..., int], Callable[[Path], Path]]:
    """Return the ``main`` and ``write`` of an experiment's module."""
    run, report = (functools.partial(one, demonstration, description) for one in (main, write))
    return run, report  # pyright: ignore[reportReturnType]


def main(demonstration: Demonstration, description: str | None, argv: Sequence[str] | None = None) -> int:
    """Parse the command line, run, write the report, and return the exit code."""
    name = _name(demonstration.config)
    prog = f"python -m experiments.{name}"
    config = commandline.parse(demonstration.config, argv, description=description, prog=prog)
    commandline.use_compilation_cache()
    config = checked(demonstration, config)
    loaded = demonstration.load(config)
    if config.resume is not None:
        folder = folders.open_folder(config.resume)
    else:
        folder = folders.create_dated(Path("runs") / name) if config.out is None else folders.create(config.out)
    with catch_stop() as request:
        code = measure(demonstration, config, loaded, folder, argv=argv, request=request)
    if code:
        return code
    page = write(demonstration, description, folder)
    for row in records.read_table(folder / RESULTS, ClaimRow):
        print(f"{row.verdict}: {row.claim} ({row.measured})")
    print(f"report: {page}")
    return 0


def checked(demonstration: Demonstration, config: Any) -> Any:
    """Return the config with the sizes of ``--full``, after checking it.

    Raises:
        ValueError: for an option out of range; the message names it, its value and the allowed ones.
    """
    if config.full:
        if not demonstration.full:
            raise ValueError(f"full=True is not allowed: {_name(config)} has no larger size than its default")
        default = demonstration.config()
        left = {k: v for k, v in demonstration.full.items() if getattr(config, k) == getattr(default, k)}
        config = dataclasses.replace(config, **left)
    check_at_least(config, seeds=1)
    if not seconds_of(config.budget):
        raise ValueError(
            f"budget={config.budget!r} is not allowed: it must be a time above 0, such as 90s, 10m or 1h30m"
        )
    demonstration.check(config)
    return config


def check_at_least(config: Any, **least: float | int) -> None:
    """Raise ValueError for an option below its least value; NaN is refused, too.

    Examples:
        >>> config = demonstrations.DemonstrationOptions(seeds=0)
        >>> try:
        ...     demonstrations.check_at_least(config, seeds=1)
        ... except ValueError as error:
        ...     print(error)
        seeds=0 is not allowed: it must be at least 1
    """
    for name, bound in least.items():
        if not getattr(config, name) >= bound:
            raise ValueError(f"{name}={getattr(config, name)} is not allowed: it must be at least {bound}")


def measure(
    demonstration: Demonstration,
    config: Any,
    loaded: tuple[data.Dataset | str, Any],
    folder: Path,
    *,
    argv: Sequence[str] | None = None,
    request: StopRequest | None = None,
) -> int:
    """Run the cases and seeds that a folder lacks, within the budget, and return an exit code.

    A new folder in which no seed was finished within the budget, or no case before an error, is removed again.

    Args:
        demonstration: the experiment.
        config: its options, as `checked` returns them.
        loaded: the result of its ``load``.
        folder: a new and empty folder, or that of a run of this config.
        argv: the command line, for the manifest.
        request: ends the run after the present case, if a signal came.

    Raises:
        OutOfBudget: if the budget ended before one seed was finished.
        ValueError: if the data are not those that the run began with, or the cases cannot run.
    """
    new = not (folder / folders.CONFIG).exists()
    dataset, context = loaded
    source = folders.DataSource(dataset, "", {}) if isinstance(dataset, str) else folders.data_source(dataset)
    with folders.lock(folder, new=new):  # outside of try: a folder that another process holds is not ours to discard
        try:
            if new:
                commandline.save_config(folder, config)
            folders.write_manifest(folder, seed=0, devices=jax.devices()[:1], source=source, argv=argv)
            return _run_all(demonstration, config, context, folder, request or StopRequest())
        except (ValueError, OSError, ImportError) as error:
            if new and (isinstance(error, OutOfBudget) or not _has_numbers(folder)):
                _discard(folder)
            raise


def _run_all(demonstration: Demonstration, config: Any, context: Any, folder: Path, request: StopRequest) -> int:
    table, cases = records.Table(folder / MEASUREMENTS, CaseNumber), list(demonstration.cases(config))
    done = {(row.case, row.seed) for row in table.rows if row.quantity == SECONDS}
    table.keep(lambda row: (row.case, row.seed) in done)  # a kill may leave some numbers of a run
    began, limit, longest, finished = time.monotonic(), seconds_of(config.budget) or 0.0, 0.0, False
    for seed in range(config.seeds):
        left = [case for case in cases if (case, seed) not in done]
        if left and finished and time.monotonic() - began + longest > limit:
            print(f"the budget ends after {seed} of {config.seeds} seeds; more with --resume {quoted(folder)}")
            return 0
        start = time.monotonic()
        for place, case in enumerate(left):
            _run_one(demonstration, config, context, folder, table, case, seed)
            if request.signal:
                print(f"{request.signal.name}: resume with {commandline.resuming(folder, config)}")
                return request.exit_code
            if not finished and time.monotonic() - began > limit and place + 1 < len(left):
                raise OutOfBudget(
                    f"budget={config.budget} is too small for one seed of {_name(config)}: it ended after "
                    f"{place + 1} of {len(left)} cases"
                )
        longest, finished = max(longest, time.monotonic() - start), True
    return 0


def _run_one(
    demonstration: Demonstration, config: Any, context: Any, folder: Path, table: records.Table, case: str, seed: int
) -> None:
    begun = time.process_time()
    found = demonstration.run(config, context, case, seed)
    arrays = {name: np.asarray(value) for name, value in found.items() if np.ndim(value)}
    numbers = {name: float(value) for name, value in found.items() if not np.ndim(value)}
    if arrays:
        (folder / ARRAYS).mkdir(exist_ok=True)
        records.write_arrays(arrays_file(folder, demonstration.cases(config), case, seed), arrays)
    numbers[SECONDS] = round(time.process_time() - begun, 2)
    table.append([CaseNumber(case, seed, name, value) for name, value in numbers.items()])
    table.sync()
    print(f"seed {seed}, {case}: {', '.join(f'{name} {value:.4g}' for name, value in numbers.items())}")


def is_complete(demonstration: Demonstration, folder: Path) -> bool:
    """Return whether a run folder has all cases of all seeds."""
    if not (folder / folders.CONFIG).exists() or not (folder / MEASUREMENTS).exists():
        return False
    config = commandline.load_config(demonstration.config, folder)
    return len(Outcomes(folder, demonstration.cases(config)).seeds) == config.seeds


def write(demonstration: Demonstration, description: str | None, folder: Path) -> Path:
    """Write results.csv, the figures, report.md and report.html from a run's numbers, and return the last one's path.

    Raises:
        ValueError: if a file is missing or damaged, or no seed is finished yet; the message names the folder.
    """
    from jaxdl.runs import pages  # matplotlib takes a second to import, which --help need not wait for

    config = commandline.load_config(demonstration.config, folder)
    manifest = records.read_record(folder / folders.MANIFEST, folders.Manifest)
    outcomes = Outcomes(folder, demonstration.cases(config))
    if not outcomes.seeds:
        raise ValueError(f"{folder}: no seed is finished yet; resume with --resume {quoted(folder)}")
    judged = list(demonstration.judge(config, outcomes))
    _write_rows(folder, config, manifest, outcomes, judged)
    shown = list(demonstration.draw(config, outcomes))
    _write_captions(folder, shown)
    figures = [part for one in shown for part in (pages.figure(folder, one.name, one.drawn, one.caption), one.caption)]
    title, *about = (description or _name(config)).strip().split("\n\n")
    rows = [[c.text, c.lecture, c.measured, claims.described(c.interval, c.unit), c.verdict] for c in judged]
    header = ["claim", "row", "measured", "estimate [95 % interval]", "verdict"]
    return pages.write(folder, [
        f"# {pages.plain(title).rstrip('.')}",
        *(pages.plain(part) for part in (*about, *other_options(config)) if not part.startswith(" ")),
        "## Claims",
        pages.table(header, rows, left=5),
        pages.plain(f"{len(outcomes.seeds)} seeds, {outcomes.cpu_seconds:.0f} CPU seconds.{too_few(outcomes.seeds)}"),
        "## Figures",
        *(part if part.startswith("![") else pages.plain(part) for part in figures),
        "## Means over the seeds",
        pages.table(["case", "quantity", "mean", "least", "largest"], _means(outcomes), left=2),
        *pages.made(manifest, records.read_json(folder / folders.CONFIG)),
    ])  # fmt: skip


def too_few(seeds: Sequence[int]) -> str:
    """Return what the report adds where there are too few seeds for intervals."""
    least = statistics.MIN_SEEDS
    return "" if len(seeds) >= least else f" Fewer than {least} have no interval, so that most claims are not shown."


def other_options(config: Any) -> list[str]:
    """Return what the report adds to the description, which is of the default options, for a run with others."""
    given = command_of(dataclasses.replace(config, seeds=type(config)().seeds))
    options = given.partition(f"experiments.{_name(config)}")[2].strip()
    return [f"The text above describes the default options. This run has others: {options}."] if options else []


def _write_rows(
    folder: Path, config: Any, manifest: folders.Manifest, outcomes: Outcomes, judged: Sequence[Claim]
) -> None:
    name = manifest.data.name if manifest.data is not None else "none"
    shared = (len(outcomes.seeds), name, round(outcomes.cpu_seconds, 1), command_of(config))
    rows = [
        ClaimRow(_name(config), c.text, c.lecture, c.measured, *c.interval, c.unit, c.verdict, *shared) for c in judged
    ]
    records.write_table(folder / RESULTS, ClaimRow, rows)


def _write_captions(folder: Path, shown: Sequence[Drawing]) -> None:
    name = lambda one: one.name + (".gif" if isinstance(one.drawn, bytes) else ".png")
    records.write_table(folder / FIGURES, Caption, [Caption(name(one), one.caption) for one in shown])


def command_of(config: Any) -> str:
    """Return the command that makes a run again: the options that differ from their defaults, without its folders."""
    default, words = type(config)(), ["python", "-m", f"experiments.{_name(config)}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in (*commandline.FREE, *config.PASSING) or value == getattr(default, field.name):
            continue
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{field.name.replace('_', '-')}")
        else:
            words += [option, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _means(outcomes: Outcomes) -> list[list[str]]:
    rows = []
    for case in outcomes.cases:
        for quantity in outcomes.quantities(case):
            values = outcomes.numbers(case, quantity)
            finite = values[~np.isnan(values)]
            shown = (finite.mean(), finite.min(), finite.max()) if finite.size else (math.nan,) * 3
            rows.append([case, quantity, *(claims.number(float(v)) for v in shown)])
    return rows


def _has_numbers(folder: Path) -> bool:
    path = folder / MEASUREMENTS
    return path.exists() and bool(records.read_table(path, CaseNumber, unfinished=True))


def _discard(folder: Path) -> None:
    """Remove the files of a run, and the folder unless something else is in it."""
    for name in (folders.CONFIG, folders.MANIFEST, MEASUREMENTS, folders.LOCK):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ARRAYS, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _name(config: Any) -> str:
    """Return the name of an experiment from its config or the config's type."""
    return config.EXPERIMENT
