"""The report of a study: which optimizer is better on which problem, how certain that is, and the cost.

`write` is a pure function of the files that `experiments.compare_optimizers.records` describes, so calling it again
gives the same bytes. This module imports matplotlib: import it where a report is written, not at the top of a command.
"""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.compare_optimizers import conclusions, judging, records
from experiments.compare_optimizers import numbers as num
from experiments.compare_optimizers.records import StudyContents
from jaxdl import plots
from jaxdl.runs import pages
from jaxdl.studies import statistics
from jaxdl.studies.landscapes import LANDSCAPES

CurveOf = Callable[
    [StudyContents, str, str], plots.Curve | None
]  # (study, problem, optimizer) -> its curve, if it has one
FACTORS = np.geomspace(1, 16, 200)  # of performance profiles
LIMIT = 4.0  # upper end of the score's integral, as in AlgoPerf


def write(folder: str | Path) -> Path:
    """Write ``figures/*.png``, ``report.md`` and ``report.html`` into the folder of a study.

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
        conclusions.pairs,
        _values,
        _targets,
        _rates,
        _best_of,
        _profiles,
        conclusions.tally,
        _landscapes,
        _costs,
        _diverged,
        _failed,
    )
    parts = [part for section in sections for part in section(study, folder)]
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
    if study.merged:
        parts.append(
            f"Put together from {len(study.merged)} studies; seconds are comparable within each of them alone: "
            + "; ".join(map(pages.plain, study.merged))
        )
    if study.failures:
        failed = num.counted({one.optimizer for one in study.failures}, "optimizer")
        parts.append(f"{failed} failed with an error, see the end of the report.")
    for name, pairs in (("twin", study.twins), ("planted", study.planted)):
        found = judging.of_pairs(study, pairs)
        apart = sum(one.decided for one in found)
        if found:
            parts.append(
                f"**{name.capitalize()} pairs**: {apart} of {len(found)} comparisons are told apart after Holm's "
                f"correction; {sum(one.test.interval.contains(0) for one in found)} intervals contain 0."
            )
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
    parts = ["## Final and best values"]
    header = ["optimizer", "tuned rate", "final value", "best value", "accuracy (%)", "final value at the default rate",
              "default rate", "remarks"]  # fmt: skip
    for problem in study.problems:
        rows, drawn = [], {}
        for optimizer in study.optimizers:
            final, default = (study.select(problem, optimizer, stage) for stage in ("final", "default"))
            if not final:
                continue
            ended, best, at_default = (
                num.mean(v) for v in (num.ended(final), [num.best(r) for r in final], num.ended(default))
            )
            accuracy = np.mean([run.accuracy for run in final])
            drawn[num.short(optimizer)] = ended
            rows.append([
                num.short(optimizer), num.rate(final), num.both(ended), num.both(best),
                f"{100 * accuracy:.2f}" if math.isfinite(accuracy) else "–", num.both(at_default), num.rate(default),
                num.remarks(final, default, study.select(problem, optimizer, "tuning")),
            ])  # fmt: skip
        if not rows:
            continue
        order = dict(sorted(drawn.items(), key=lambda item: item[1].estimate))
        figure = plots.intervals(order, xlabel="final value (lower is better)", title=problem, log=True)
        alt = f"Final values on {problem} with intervals, best first"
        shown = [
            pages.figure(folder, f"final_{problem}", figure, alt, chart=True),
            _panels(study, folder, problem, "curves", _curve, xlabel="step", ylabel="value", logy=True),
        ]
        parts += [f"### {pages.plain(problem)}", *shown, pages.table(header, rows)]
    return parts


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
    parts = [
        "## Sensitivity to the learning rate",
        "Mean final values over the learning rates of tuning; gaps are rates with a run that diverged, the dotted line "
        "is the target. The table counts the rates that end at the target or below, and the decades that they span.",
    ]
    for problem in study.problems:
        options = {"xlabel": "learning rate", "ylabel": "final value", "logx": True, "logy": True}
        parts.append(_panels(study, folder, problem, "rates", _over_rates, line=targets.get(problem), **options))
        for optimizer in study.optimizers:
            runs = study.select(problem, optimizer, "tuning")
            if runs and problem in targets:
                rates, values = num.by_rate(runs)
                count, decades = statistics.usable_rates(rates, values, targets[problem])
                rows.append([problem, num.short(optimizer), f"{count} of {len(rates)}", num.number(decades)])
    table = pages.table(["problem", "optimizer", "usable rates", "decades"], rows, left=2)
    return [*parts, table] if rows else parts


def _best_of(study: StudyContents, folder: Path) -> list[str]:
    if not study.select(stage="tuning"):
        return []
    said = (
        "The best final value to expect of k learning rates drawn at random from those that were tried (Dodge et al. "
        "2019). A rate that diverged or did harm counts as not having trained."
    )
    options = {"xlabel": "learning rates tried", "ylabel": "expected best final value", "logy": True}
    drawn = [_panels(study, folder, problem, "best_of", _over_tries, **options) for problem in study.problems]
    return ["## What tuning buys", said, *drawn]


def _profiles(study: StudyContents, folder: Path) -> list[str]:
    names, problems = study.optimizers, [p for p, _ in num.with_target(study)]
    whole = [p for p in problems if all(study.select(p, name, "final") for name in names)]
    if not whole:
        return []
    times = {
        unit: np.array([[num.median(num.to_target(study.select(p, n, "final"), unit)) for n in names] for p in whole])
        for unit in ("steps", "seconds")
    }
    profile = statistics.performance_profile(times["steps"], FACTORS)
    drawn = [{num.short(n): (FACTORS, profile[names.index(n)]) for n in group} for group in _groups(study)]
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
        f"The share of {num.counted(whole, 'problem')} on which an optimizer reaches the target within a factor of the "
        f"fastest one's median steps (Dolan & Moré 2002). The score is the area under it up to the factor {LIMIT:g}, "
        "as AlgoPerf's: 1 is the fastest everywhere."
    )
    alt = "Performance profiles: share of problems solved against the factor of the fastest optimizer's steps"
    parts = ["## Performance profiles", said, pages.figure(folder, "profiles", figure, alt, chart=True)]
    return [*parts, pages.table(["optimizer", "score in steps", "score in seconds"], rows)]


def _landscapes(study: StudyContents, folder: Path) -> list[str]:
    parts = []
    for landscape in LANDSCAPES:
        paths = {o: points for (p, o), points in study.paths.items() if p == landscape.name}
        groups = [{num.short(n): tuple(paths[n].T) for n in group if n in paths} for group in _groups(study)]
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


# ---------------------------------------------------------------- curves over the groups of optimizers


def _groups(study: StudyContents) -> list[tuple[str, ...]]:
    """Return the groups of optimizers that share a panel: twins, planted pairs, and every other one alone."""
    pairs = [*study.twins, *study.planted]
    paired = {name for pair in pairs for name in pair}
    return [*pairs, *((name,) for name in study.optimizers if name not in paired)]


def _panels(
    study: StudyContents,
    folder: Path,
    problem: str,
    kind: str,
    curve: Callable[[StudyContents, str, str], plots.Curve | None],
    **options,
) -> str:
    """Draw a figure with a panel per group, and return the Markdown that shows it."""
    found = {name: one for name in study.optimizers if (one := curve(study, problem, name)) is not None}
    groups = [{num.short(name): found[name] for name in group if name in found} for group in _groups(study)]
    figure = plots.panels([group for group in groups if group], title=problem, **options)
    alt = f"{problem}: {options['ylabel']} against {options['xlabel']}, a panel per algorithm, all others in grey"
    return pages.figure(folder, f"{kind}_{problem}", figure, alt, chart=True)


def _curve(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    """Return the median over seeds at the tuned rate; a run counts as infinite after an early end."""
    curves = [study.curves[run.key] for run in study.select(problem, optimizer, "final")]
    if not curves:
        return None
    steps = max((curve["step"] for curve in curves), key=len)
    values = np.full((len(curves), len(steps)), np.inf)
    for row, curve in zip(values, curves, strict=True):
        row[: len(curve["value"])] = curve["value"]
    with np.errstate(invalid="ignore"):
        return steps, np.median(values, axis=0)


def _over_rates(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    runs = study.select(problem, optimizer, "tuning")
    return num.by_rate(runs) if runs else None


def _over_tries(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    runs = study.select(problem, optimizer, "tuning")
    if not runs:
        return None
    untrained = float(np.median([study.curves[run.key]["value"][0] for run in study.select(problem)]))
    best = statistics.expected_best(num.by_rate(runs)[1], worst=untrained)
    return np.arange(1, len(best) + 1), best
