"""The report of a study: which optimizer is better on which problem, how certain that is, and the cost.

`write` is a pure function of the files that `experiments.compare_optimizers.records` describes, so calling it again
gives the same bytes. This module imports matplotlib: import it where a report is written, not at the top of a command.
"""

import math
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.compare_optimizers import conclusions, exports, figures, judging, records
from experiments.compare_optimizers import numbers as num
from experiments.compare_optimizers.records import StudyContents
from jaxdl import plots
from jaxdl.runs import pages
from jaxdl.studies import statistics
from jaxdl.studies.landscapes import LANDSCAPES

FACTORS = np.geomspace(1, 16, 200)  # of performance profiles
LIMIT = 4.0  # upper end of the score's integral, as in AlgoPerf


def write(folder: str | Path) -> Path:
    """Write ``figures/*.png``, ``tables/*``, ``report.md`` and ``report.html`` into the folder of a study.

    Args:
        folder: a folder of `experiments.compare_optimizers`; the study may be unfinished.

    Returns:
        The path of report.html.

    Raises:
        ValueError: a file is missing or malformed; the message names the file and what is wrong.
    """
    folder = Path(folder)
    study = records.read(folder)
    sections = (
        _summary,
        conclusions.concluded,
        _best_of,
        conclusions.pairs,
        _values,
        _targets,
        _rates,
        _profiles,
        conclusions.tally,
        _landscapes,
        figures.diagnosed,
        _costs,
        _diverged,
        _failed,
    )
    parts = [part for section in sections for part in section(study, folder)]
    exports.write(study, folder)
    if study.manifest is not None:
        parts += pages.made(study.manifest, study.config)
    return pages.write(folder, parts)


# ---------------------------------------------------------------- sections


def _summary(study: StudyContents, folder: Path) -> list[str]:
    del folder
    seeds = max(len(study.select(p, o, "final")) for p in study.problems for o in study.optimizers)
    stages = Counter(run.stage for run in study.runs)
    counted = ", ".join(f"{stages[stage]:,} {stage}" for stage in ("default", "tuning", "final") if stages[stage])
    diverged = sum(run.status == "diverged" for run in study.runs)
    parts = [
        f"# {num.counted(study.optimizers, 'optimizer')} on {num.counted(study.problems, 'problem')}",
        f"{len(study.runs):,} runs ({counted}), of which {diverged:,} diverged; up to {seeds} seeds. Lower values are "
        "better. All optimizers start from the same parameters, see the same batches for a seed, and try the same "
        f"learning rates {_tuned_with(study)} (tuning); the best of them runs with all seeds (final), and so does each "
        "optimizer's own rate where it has one (default).",
        "Intervals are Student's, of the mean over seeds, at 95 %. "
        f"{judging.coverage(seeds)}. Differences are paired: seed by seed. A run that diverged is worse than any that "
        "did not; a mean that contains one is infinite, and its interval has ends only if all diverged.",
    ]
    if any(run.status == "stopped" for run in study.runs):
        parts.append("The budget ended the runs of some problems before their full number of steps.")
    parts += _warnings(study)
    for name, pairs in (("twin", study.twins), ("planted", study.planted)):
        found = judging.of_pairs(study, pairs)
        apart = sum(one.decided for one in found)
        if found:
            parts.append(
                f"**{name.capitalize()} pairs**: {apart} of {len(found)} comparisons are told apart after Holm's "
                f"correction; {sum(one.test.interval.contains(0) for one in found)} intervals contain 0."
            )
    return parts


def _warnings(study: StudyContents) -> list[str]:
    """Say what speaks against the study's numbers: rates at an end, failures, several machines."""
    parts = []
    flags = [row.flags for p in study.problems for o in study.optimizers if (row := exports.row(study, p, o))]
    edges, losing = (sum(flag in found for found in flags) for flag in ("†", "‡"))
    if edges or losing:
        parts.append(
            f"Of {len(flags)} tuned optimizers, {edges} have a rate at the end of the range (†), which another range "
            f"may improve, and {losing} do worse than at their own default (‡)."
        )
    if study.merged:
        parts.append(
            f"Put together from {len(study.merged)} studies; seconds are comparable within each of them alone: "
            + "; ".join(map(pages.plain, study.merged))
        )
    if study.failures:
        failed = num.counted({one.optimizer for one in study.failures}, "optimizer")
        parts.append(f"{failed} failed with an error, see the end of the report.")
    return parts


def _tuned_with(study: StudyContents) -> str:
    """Say with which seeds, and on which numbers, the rates were chosen."""
    seeds = {run.seed for run in study.select(stage="tuning")}
    if not seeds or seeds & {run.seed for run in study.select(stage="final")}:
        return "with the first seed"
    said = f"and their own with {num.counted(seeds, 'seed')} that no other stage has"
    if study.validated:
        return f"{said}, judged on a validation part of {', '.join(map(pages.plain, study.validated))}"
    return said


def _values(study: StudyContents, folder: Path) -> list[str]:
    said = (
        "Means over seeds ± half of the interval. † The tuned rate is at the end of the range, so a better one may lie "
        "beyond it. ‡ The tuned rate does worse than the optimizer's own default. The files tables/final.csv and "
        "tables/final.tex have the same numbers. Curves are means at the tuned rate, shaded by their intervals."
    )
    targets, parts = dict(num.with_target(study)), ["## Final and best values", said]
    for problem in study.problems:
        found = {o: row for o in study.optimizers if (row := exports.row(study, problem, o)) is not None}
        if not found:
            continue
        ended = {num.short(name): row.final for name, row in found.items()}
        order = dict(sorted(ended.items(), key=lambda item: item[1].estimate))
        figure = plots.intervals(order, xlabel="final value (lower is better)", title=problem, log=True)
        alt = f"Final values on {problem} with intervals, best first"
        options = {"xlabel": "step", "ylabel": "value", "logy": True, "line": targets.get(problem)}
        parts += [
            f"### {pages.plain(problem)}",
            pages.figure(folder, f"final_{problem}", figure, alt, chart=True),
            figures.overlay(study, folder, problem, "curves", figures.over_steps, **options),
            figures.panels(study, folder, problem, "curves", figures.over_steps, **options),
            pages.table(*exports.shown([*found.values()])),
        ]
    return parts if len(parts) > 2 else parts[:1]


def _targets(study: StudyContents, folder: Path) -> list[str]:
    del folder
    header = ["problem", "optimizer", "reached", "steps", "examples", "seconds", "compile seconds"]
    rows = []
    for problem, target in num.with_target(study):
        rows += [
            [f"{problem} ≤ {target:.5g}", num.short(o), num.reached(runs),
             *(num.number(num.median(num.to_target(runs, unit))) for unit in ("steps", "examples", "seconds")),
             num.number(sum(run.compile_seconds for run in study.select(problem, o)))]
            for o in study.optimizers if (runs := study.select(problem, o, "final"))
        ]  # fmt: skip
    said = (
        "Medians over seeds with the tuned rate; a run that does not reach the target takes forever. Seconds are the "
        "run's share of what the runs of its program took together, without compiling; what compiling took in all "
        "stages stands apart."
    )
    return ["## Time to target", said, pages.table(header, rows, left=2)] if rows else []


def _rates(study: StudyContents, folder: Path) -> list[str]:
    if not study.select(stage="tuning"):
        return []
    targets, rows = dict(num.with_target(study)), []
    joint = " The other settings differ from point to point." if any(run.settings for run in study.runs) else ""
    parts = [
        "## Sensitivity to the learning rate",
        "Mean final values over the learning rates of tuning. A dot is a rate that was tried, the ring is the "
        "optimizer's own default, triangles at the upper edge are rates with a run that diverged, and the dotted line "
        "is the target. The table counts the rates that end at the target or below, and the decades that they span."
        + joint,
    ]
    for problem in study.problems:
        own = {num.short(run.optimizer): run.rate for run in study.select(problem, None, "default")}
        options = {"xlabel": "learning rate", "ylabel": "final value", "logx": True, "logy": True, "markers": own}
        options |= {"line": targets.get(problem)}
        if study.select(problem, None, "tuning"):
            parts.append(figures.panels(study, folder, problem, "rates", figures.over_rates, **options))
        for optimizer in study.optimizers:
            runs = study.select(problem, optimizer, "tuning")
            if runs and problem in targets:
                rates, values = num.by_rate(runs)
                count, decades = statistics.usable_rates(rates, values, targets[problem])
                rows.append([problem, num.short(optimizer), f"{count} of {len(rates)}", num.number(decades)])
    table = pages.table(["problem", "optimizer", "usable rates", "decades"], rows, left=2)
    return [*parts, table] if rows else parts


def _best_of(study: StudyContents, folder: Path) -> list[str]:
    problems = [problem for problem in study.problems if study.select(problem, None, "tuning")]
    if not problems:
        return []
    tried = "settings" if any(run.settings for run in study.runs) else "learning rates"
    said = (
        f"The best tuning value to expect of k {tried} drawn at random from those that were tried, none of them twice "
        "(Dodge et al. 2019, without replacement). At the left stand optimizers that need little tuning, at the right "
        f"those that gain from it. A point that diverged or did harm counts as not having trained. The first figure of "
        f"a problem has the {figures.MOST} with the lowest final values."
    )
    options = {"xlabel": f"{tried} tried", "ylabel": "expected best tuning value", "logy": True}
    drawn = [
        draw(study, folder, problem, "best_of", figures.over_tries, **options)
        for problem in problems for draw in (figures.overlay, figures.panels)
    ]  # fmt: skip
    return ["## Expected best value against the tuning budget", said, *drawn]


def _profiles(study: StudyContents, folder: Path) -> list[str]:
    names, problems = study.optimizers, [p for p, _ in num.with_target(study)]
    failed = {(one.problem, one.optimizer) for one in study.failures}
    whole = [p for p in problems if all(study.select(p, name, "final") or (p, name) in failed for name in names)]
    if not whole:
        return []
    times = {
        unit: np.array([[_median_time(study, p, name, unit) for name in names] for p in whole])
        for unit in ("steps", "seconds")
    }
    profile = statistics.performance_profile(times["steps"], FACTORS)
    drawn = [{num.short(n): (FACTORS, profile[names.index(n)]) for n in group} for group in figures.groups(study)]
    figure = plots.panels(
        drawn,
        xlabel="times as many steps as the fastest",
        ylabel="share of problems solved",
        logx=True,
        steps=True,
        ylim=(0.0, 1.0),
    )
    scores = [statistics.profile_score(times[unit], LIMIT) for unit in ("steps", "seconds")]
    order = np.argsort(-scores[0], kind="stable")
    rows = [[num.short(names[i]), f"{scores[0][i]:.3f}", f"{scores[1][i]:.3f}"] for i in order]
    said = (
        f"The share of {num.counted(whole, 'problem')} ({', '.join(map(pages.plain, whole))}) on which an optimizer "
        "reaches the target within a factor of the fastest one's median steps (Dolan & Moré 2002). The score is the "
        f"area under it up to the factor {LIMIT:g}, "
        "as AlgoPerf's: 1 is the fastest everywhere."
    )
    alt = "Performance profiles: share of problems solved against the factor of the fastest optimizer's steps"
    parts = ["## Performance profiles", said, pages.figure(folder, "profiles", figure, alt, chart=True)]
    return [*parts, pages.table(["optimizer", "score in steps", "score in seconds"], rows)]


def _median_time(study: StudyContents, problem: str, optimizer: str, unit: str) -> float:
    """Return an optimizer's median time to the target; infinity if it failed."""
    runs = study.select(problem, optimizer, "final")
    return num.median(num.to_target(runs, unit)) if runs else math.inf


def _landscapes(study: StudyContents, folder: Path) -> list[str]:
    parts = []
    for landscape in LANDSCAPES:
        paths = {o: points for (p, o), points in study.paths.items() if p == landscape.name}
        groups = [{num.short(n): tuple(paths[n].T) for n in group if n in paths} for group in figures.groups(study)]
        if groups := [group for group in groups if group]:
            x, y = (np.linspace(*ends, 160) for ends in landscape.bounds)
            grid = jnp.stack(jnp.meshgrid(jnp.asarray(x), jnp.asarray(y)), -1)
            heights = np.asarray(landscape.value(grid))
            figure = plots.contours(x, y, heights, groups, minima=landscape.minima, title=landscape.name)
            alt = f"Paths of the optimizers on the contour lines of {landscape.name}"
            parts.append(pages.figure(folder, f"paths_{landscape.name}", figure, alt, chart=True))
    said = "With the tuned rate, from the start of the first seed. Square: start; dot: end; star: minimum."
    return ["## Paths on landscapes", said, *parts] if parts else []


def _costs(study: StudyContents, folder: Path) -> list[str]:
    del folder
    header = ["problem", "optimizer", "update (µs)", "state (bytes)", "tuning runs", "tuning steps", "tuning seconds",
              "all runs", "all seconds", "compile seconds"]  # fmt: skip
    rows = []
    for problem in study.problems:
        for optimizer in study.optimizers:
            if not (runs := study.select(problem, optimizer)):
                continue
            tuning = [run for run in runs if run.stage == "tuning"]
            rows.append([
                problem, num.short(optimizer), num.number(num.median([r.update_microseconds for r in runs])),
                f"{runs[0].state_bytes:,.0f}", str(len(tuning)), f"{sum(r.steps for r in tuning):,}",
                f"{sum(r.seconds for r in tuning):.3g}", str(len(runs)), f"{sum(r.seconds for r in runs):.3g}",
                f"{sum(r.compile_seconds for r in runs):.3g}",
            ])  # fmt: skip
    said = "An update is the optimizer's alone, without gradients; the bytes are those of its state."
    return ["## Costs", said, pages.table(header, rows, left=2)]


def _diverged(study: StudyContents, folder: Path) -> list[str]:
    del folder
    rows = []
    for problem in study.problems:
        for optimizer in study.optimizers:
            gone = [run for run in study.select(problem, optimizer) if run.status == "diverged"]
            counts = [
                f"{sum(r.stage == s for r in gone)} of {len(study.select(problem, optimizer, s))}"
                for s in records.STAGES
            ]
            if gone:
                least = min(run.rate for run in gone)
                rows.append([problem, num.short(optimizer), *counts, f"{least:.4g}"])
    header = ["problem", "optimizer", "default", "tuning", "final", "smallest rate that diverged"]
    return ["## Runs that diverged", pages.table(header, rows, left=2) if rows else "None."]


def _failed(study: StudyContents, folder: Path) -> list[str]:
    del folder
    if not study.failures:
        return []
    rows = [[one.problem, num.short(one.optimizer), one.stage, one.error] for one in study.failures]
    said = "Their code raised an error. They have no further runs on the problem, and all others have theirs."
    return ["## Optimizers that failed", said, pages.table(["problem", "optimizer", "stage", "error"], rows, left=4)]
