"""The sections of a study's report that say which optimizer is better: conclusions, pairs, wins and losses."""

import math
from pathlib import Path
from typing import Final

import numpy as np

from experiments.compare_optimizers import judging
from experiments.compare_optimizers import numbers as num
from experiments.compare_optimizers.records import StudyContents
from jaxdl import plots
from jaxdl.runs import pages
from jaxdl.studies import statistics

MOST: Final = 20
"""Number of rows of the table of conclusions."""


def concluded(study: StudyContents, folder: Path) -> list[str]:
    """Return the section that says which pairs the study decides, and that it says nothing of the others."""
    del folder
    if len(study.optimizers) < 2:
        return []
    made = [one for one in judging.judged(study) if not math.isnan(one.adjusted)]
    title = "## What can be concluded"
    if not made:
        few = f"Nothing about which optimizer is better: no pair shares {statistics.MIN_SEEDS} seeds on a problem."
        return [title, few]
    decided = sorted((one for one in made if one.decided), key=lambda one: (one.adjusted, -abs(one.test.effect)))
    rows = []
    for one in decided[:MOST]:
        better, worse, interval = one.ordered()
        rows.append([one.problem, num.short(better), num.short(worse), num.number(interval.estimate),
                     num.ends(interval), num.number(-abs(one.test.effect)), *_p_values(one)])  # fmt: skip
    header = ["problem", "better", "worse", "difference", "interval", "effect (SD)", "p", "p after Holm"]
    shown = f" The table shows the {MOST} with the smallest p." if len(decided) > MOST else ""
    table = [pages.table(header, rows, left=3)] if rows else []
    return [title, _said(made, len(decided), len(judging.families(study))) + shown, *table]


def _said(made: list[judging.Judged], decided: int, families: int) -> str:
    alone = sum(not one.test.interval.contains(0) for one in made)
    by_chance = num.number(round(judging.LEVEL * len(made), 1))
    halves = (
        "Pairs that were named before the runs are one family and all others another, each with half of 5 %, which "
        "doubles their p after Holm. "
        if families > 1
        else ""
    )
    return (
        f"The study makes {num.counted(made, 'comparison')} of two optimizers on a problem. Taken one by one, {alone} "
        f"of their intervals exclude 0; if all optimizers were equal, about {by_chance} would. After Holm's "
        f"correction, **{decided} of {len(made)} are decided**; if all optimizers were equal, at most one study in "
        f"twenty would decide any. {halves}About the other {len(made) - decided} nothing can be concluded: optimizers "
        "that are not told apart need not be equal, and more seeds may tell them apart. Each conclusion is about its "
        "problem, at this number of steps and at the tuned rates, over the choice of the seed."
    )


def _p_values(one: judging.Judged) -> list[str]:
    """Write the p-value of a comparison, alone and after Holm's correction."""
    return ["–" if math.isnan(p) else f"{p:.2g}" for p in (one.test.p_value, one.adjusted)]


def pairs(study: StudyContents, folder: Path) -> list[str]:
    """Return the sections on twins and on planted pairs."""
    parts = []
    explained = {
        "twin": "One algorithm in two libraries. Whatever is told apart here is chance or a defect.",
        "planted": "Optimizers that differ by what users mistake for a detail: a study that deserves trust tells them "
        "apart where it matters.",
    }
    header = ["problem", "first", "second", "first less second", "interval", "effect (SD)", "p", "p after Holm",
              "verdict"]  # fmt: skip
    for name, named in (("twin", study.twins), ("planted", study.planted)):
        found = judging.of_pairs(study, named)
        if not found:
            continue
        rows = [
            [one.problem, num.short(one.first), num.short(one.second), num.number(one.test.interval.estimate),
             num.ends(one.test.interval), num.number(one.test.effect), *_p_values(one), one.verdict()]
            for one in found
        ]  # fmt: skip
        scales = {p: np.median([abs(r.value) for r in study.select(p, None, "final")]) for p in study.problems}
        drawn = {
            f"{num.short(one.first)} – {num.short(one.second)}, {one.problem}": num.percent(
                one.test.interval, scales[one.problem]
            )
            for one in found
        }
        figure = plots.intervals(drawn, xlabel="paired difference (% of the problem's median final value)", line=0)
        alt = f"Paired differences of the {name} pairs with their intervals; those that do not contain 0 are orange"
        parts += [
            f"## {name.capitalize()} pairs",
            explained[name],
            pages.figure(folder, f"{name}_pairs", figure, alt, chart=True),
            pages.table(header, rows, left=3),
        ]
    return parts


def tally(study: StudyContents, folder: Path) -> list[str]:
    """Return the section that counts the problems each optimizer wins, ties and loses."""
    names = study.optimizers
    if len(names) < 2:
        return []
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for one in judging.judged(study):
        if math.isnan(one.adjusted):
            continue
        i, j = names.index(one.first), names.index(one.second)
        better, worse = (i, j) if one.test.interval.estimate < 0 else (j, i)
        wins[better, worse] += one.decided
        ties[[i, j], [j, i]] += not one.decided
    short = [num.short(name) for name in names]
    figure = plots.tally(wins, ties, short, title="problems won - tied - lost")
    rows = [[n, *(f"{kind.sum(1)[i]:.0f}" for kind in (wins, ties, wins.T))] for i, n in enumerate(short)]
    rows.sort(key=lambda row: int(row[3]) - int(row[1]))
    said = "A problem is won where the paired difference is decided after Holm's correction, and tied otherwise."
    alt = "Wins less losses of each optimizer against each other"
    return [
        "## Wins, ties and losses",
        said,
        pages.figure(folder, "tally", figure, alt, chart=True),
        pages.table(["optimizer", "won", "tied", "lost"], rows),
    ]
