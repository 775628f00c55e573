"""The curves of a study's report: values over steps, learning rates and the tuning budget."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare_optimizers import diagnosing
from experiments.compare_optimizers import numbers as num
from experiments.compare_optimizers.records import StudyContents
from jaxdl import analysis, plots
from jaxdl.runs import pages
from jaxdl.studies import statistics

CurveOf = Callable[[StudyContents, str, str], plots.Curve | plots.Band | None]
"""(study, problem, optimizer) -> its curve, if it has one."""
MOST = 8
"""Number of curves in one panel."""


def groups(study: StudyContents) -> list[tuple[str, ...]]:
    """Return the groups of optimizers that share a panel: twins, planted pairs, and every other one alone."""
    pairs = [*study.twins, *study.planted]
    paired = {name for pair in pairs for name in pair}
    return [*pairs, *((name,) for name in study.optimizers if name not in paired)]


def panels(study: StudyContents, folder: Path, problem: str, kind: str, curve: CurveOf, **options: Any) -> str:
    """Draw a figure with a panel per group, and return the Markdown that shows it."""
    found = {name: one for name in study.optimizers if (one := curve(study, problem, name)) is not None}
    drawn = [{num.short(name): found[name] for name in group if name in found} for group in groups(study)]
    figure = plots.panels([group for group in drawn if group], title=problem, **options)
    alt = f"{problem}: {options['ylabel']} against {options['xlabel']}, a panel per algorithm, all others in grey"
    return pages.figure(folder, f"{kind}_{problem}", figure, alt, chart=True)


def overlay(study: StudyContents, folder: Path, problem: str, kind: str, curve: CurveOf, **options: Any) -> str:
    """Draw the curves of the best optimizers in one panel with their names, and return the Markdown that shows it."""
    found = {name: one for name in study.optimizers if (one := curve(study, problem, name)) is not None}
    chosen = leading(study, problem, found)
    figure = plots.overlay({num.short(name): found[name] for name in chosen}, title=problem, **options)
    alt = f"{problem}: {options['ylabel']} against {options['xlabel']} of {', '.join(map(num.short, chosen))}"
    return pages.figure(folder, f"{kind}_overlay_{problem}", figure, alt, chart=True)


def leading(study: StudyContents, problem: str, among: Iterable[str]) -> list[str]:
    """Return those optimizers with the lowest mean final values, at most `MOST`, then without second ones of twins."""
    ended = {}
    for name in among:
        mean = num.mean(num.ended(study.select(problem, name, "final"))).estimate
        ended[name] = np.inf if np.isnan(mean) else mean
    if len(ended) > MOST:
        second = {other for first, other in study.twins if first in ended}
        ended = {name: mean for name, mean in ended.items() if name not in second}
    return sorted(ended, key=lambda name: ended[name])[:MOST]


def over_steps(study: StudyContents, problem: str, optimizer: str) -> plots.Band | None:
    """Return the mean over seeds at the tuned point, with its interval; a run is infinite after an early end."""
    curves = [study.curves[run.key] for run in study.select(problem, optimizer, "final")]
    if not curves:
        return None
    steps = max((curve["step"] for curve in curves), key=len)
    values = np.full((len(curves), len(steps)), np.inf)
    for row, curve in zip(values, curves, strict=True):
        row[: len(curve["value"])] = curve["value"]
    means, low, high = np.array([num.mean(column.tolist()) for column in values.T]).T
    return steps, means, low, high


def over_rates(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    """Return the mean tuning value of each rate; infinity where a run diverged."""
    runs = study.select(problem, optimizer, "tuning")
    return num.by_rate(runs) if runs else None


def over_tries(study: StudyContents, problem: str, optimizer: str) -> plots.Curve | None:
    """Return the expected best tuning value of k points drawn from those that were tried, none of them twice."""
    runs = study.select(problem, optimizer, "tuning")
    if not runs:
        return None
    untrained = float(np.median([study.curves[run.key]["value"][0] for run in study.select(problem)]))
    best = statistics.expected_best(num.by_point(runs), worst=untrained, replacement=False)
    return np.arange(1, len(best) + 1), best


def diagnosed(study: StudyContents, folder: Path) -> list[str]:
    """Return the section on curvature and noise along training, if the study was diagnosed."""
    series: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for row in study.diagnostics:
        series.setdefault((row.problem, row.optimizer, row.quantity), []).append((row.step, row.value))
    curves = {key: (np.array(found).T[0], np.array(found).T[1]) for key, found in series.items()}
    parts, cells = [], []
    for problem in dict.fromkeys(row.problem for row in study.diagnostics):
        names = [name for name in study.optimizers if (problem, name, "largest_eigenvalue") in curves]
        drawn = []
        for group in filter(None, ([name for name in group if name in names] for group in groups(study))):
            drawn.append({num.short(name): curves[problem, name, "largest_eigenvalue"] for name in group})
            for name in group[:1]:
                if limit := series.get((problem, name, "stable_eigenvalue")):
                    steps = curves[problem, name, "largest_eigenvalue"][0]
                    drawn[-1][f"largest stable of {num.short(name)}"] = steps, np.full(len(steps), limit[0][1])
        options = {"xlabel": "step", "title": problem, "logy": True}
        figure = plots.panels(
            [group for group in drawn if group], ylabel="largest eigenvalue of the Hessian", **options
        )
        alt = f"{problem}: largest eigenvalue of the Hessian against the step, dashed the largest stable one"
        parts.append(pages.figure(folder, f"eigenvalue_{problem}", figure, alt, chart=True))
        noise = {name: curve for name in names if np.any((curve := curves[problem, name, "noise_scale"])[1] > 1e-6)}
        if noise:
            shown = {num.short(name): noise[name] for name in leading(study, problem, noise)}
            figure = plots.overlay(shown, ylabel="noise scale (examples)", **options)
            alt = f"{problem}: noise scale of the gradient against the step"
            parts.append(pages.figure(folder, f"noise_{problem}", figure, alt, chart=True))
        cells += [_diagnosed(study, problem, name, curves) for name in names]
    header = ["problem", "optimizer", "step", "largest eigenvalue", "largest stable", "sharpness", "noise scale",
              "progress per step", "update over weights"]  # fmt: skip
    said = (
        "Along the final run of the first seed, at the tuned point, on the same few batches. The table has the last "
        "step. Plain descent at the rate η is stable on a quadratic function whose largest eigenvalue is below 2/η, "
        "and momentum below its own line (Cohen et al. 2021); adaptive methods have none. Sharpness is the rise of "
        "the loss at the distance 0.05 along the gradient. The noise scale tr Σ/|G|² (McCandlish et al. 2018) is the "
        "number of examples beyond which larger batches pay little: a step makes the share B/(B + scale) of a whole "
        "batch's progress. It is infinite where noise hides the gradient. The last column has the smallest and the "
        "largest ratio of a layer; diagnostics.csv has all numbers."
    )
    return ["## Curvature and noise along training", said, *parts, pages.table(header, cells, left=2)] if cells else []


def _diagnosed(study: StudyContents, problem: str, name: str, curves: dict[tuple[str, str, str], Any]) -> list[str]:
    """Return the last numbers of an optimizer's run."""
    last = {key[2]: curve[1][-1] for key, curve in curves.items() if key[:2] == (problem, name)}
    runs = study.select(problem, name, "final")
    size = runs[0].examples / max(runs[0].steps, 1)
    ratios = [value for quantity, value in last.items() if quantity.startswith(diagnosing.RATIO)]
    texts = [num.number(last.get(key, np.nan)) for key in ("largest_eigenvalue", "stable_eigenvalue", "sharpness",
                                                           "noise_scale")]  # fmt: skip
    step = int(curves[problem, name, "largest_eigenvalue"][0][-1])
    progress = float(analysis.batch_efficiency(last["noise_scale"], size)) if size else np.nan
    spread = f"{min(ratios):.2g} to {max(ratios):.2g}" if ratios else "–"
    return [problem, num.short(name), f"{step:,}", *texts, num.number(round(progress, 4)), spread]
