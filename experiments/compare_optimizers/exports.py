"""A study's results as tables of its report, and as CSV and LaTeX (booktabs) for papers."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.compare_optimizers import judging
from experiments.compare_optimizers import numbers as num
from experiments.compare_optimizers.records import StudyContents
from jaxdl.runs import records
from jaxdl.studies.statistics import Interval

TABLES = "tables"


class Row(NamedTuple):
    """The results of an optimizer on a problem."""

    problem: str
    optimizer: str
    rate: float  # tuned
    settings: str  # tuned with it, if any
    seeds: int
    final: Interval
    default_rate: float  # NaN if there is none
    at_default: Interval
    best: Interval
    accuracy: float  # mean; NaN if there is none
    flags: str
    remarks: str


def row(study: StudyContents, problem: str, optimizer: str) -> Row | None:
    """Return the results of an optimizer on a problem; None if it has no final run."""
    final, default, tuning = (study.select(problem, optimizer, stage) for stage in ("final", "default", "tuning"))
    if not final:
        return None
    return Row(
        problem,
        optimizer,
        final[0].rate,
        final[0].settings,
        len(final),
        num.mean(num.ended(final)),
        default[0].rate if default else math.nan,
        num.mean(num.ended(default)),
        num.mean([num.best(run) for run in final]),
        float(np.mean([run.accuracy for run in final])),
        num.flags(final, default, tuning),
        num.remarks(final, default, tuning),
    )


def shown(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the results on one problem, with columns that no row has left out."""
    header = ["optimizer", "tuned rate", "final value", "default rate", "at the default rate", "accuracy (%)",
              "best value", "remarks", "tuned settings"]  # fmt: skip
    cells = [
        [num.short(one.optimizer), f"{one.rate:.4g}{one.flags}", num.half(one.final), _rate(one.default_rate),
         num.half(one.at_default), f"{100 * one.accuracy:.2f}" if math.isfinite(one.accuracy) else "–",
         num.half(one.best), one.remarks, one.settings]
        for one in rows
    ]  # fmt: skip
    kept = [i for i, name in enumerate(header)
            if not (name == "accuracy (%)" and all(math.isnan(one.accuracy) for one in rows))
            and not (name == "tuned settings" and not any(one.settings for one in rows))]  # fmt: skip
    return [header[i] for i in kept], [[line[i] for i in kept] for line in cells]


def write(study: StudyContents, folder: Path) -> None:
    """Write ``tables/final.csv``, ``tables/final.tex``, ``tables/comparisons.csv`` and ``tables/comparisons.tex``."""
    rows = [one for p in study.problems for o in study.optimizers if (one := row(study, p, o)) is not None]
    (folder / TABLES).mkdir(exist_ok=True)
    if rows:
        header = ["problem", "optimizer", "tuned_rate", "tuned_settings", "seeds", "final", "final_low", "final_high",
                  "default_rate", "at_default", "at_default_low", "at_default_high", "best", "best_low", "best_high",
                  "accuracy", "remarks"]  # fmt: skip
        lines = [
            [one.problem, one.optimizer, one.rate, one.settings, one.seeds, *one.final, one.default_rate,
             *one.at_default, *one.best, one.accuracy, one.remarks]
            for one in rows
        ]  # fmt: skip
        _write(folder, "final.csv", as_csv(header, lines))
        _write(folder, "final.tex", _final(study, rows))
    found = judging.judged(study)
    if found:
        names = ["problem", "first", "second", "seeds", "difference", "low", "high", "effect", "p", "p_after_holm",
                 "verdict"]  # fmt: skip
        cells = [
            [one.problem, one.first, one.second, one.test.seeds, *one.test.interval, one.test.effect, one.test.p_value,
             one.adjusted, one.verdict()]
            for one in found
        ]  # fmt: skip
        _write(folder, "comparisons.csv", as_csv(names, cells))
        _write(folder, "comparisons.tex", _comparisons([one for one in found if one.decided]))


def _final(study: StudyContents, rows: Sequence[Row]) -> str:
    parts = [
        "% needs \\usepackage{booktabs}; means over seeds with half of Student's 95 % interval",
        "% dagger: the tuned rate is at the end of the range; double dagger: worse than at the default rate",
    ]
    for problem in study.problems:
        header, cells = shown([one for one in rows if one.problem == problem])
        wanted = [i for i, name in enumerate(header) if name != "remarks"]
        table = [[header[i] for i in wanted], *([line[i] for i in wanted] for line in cells)]
        parts.append(f"% {_comment(problem)}\n{latex(table[0], table[1:])}")
    return "\n".join(parts)


def _comparisons(decided: Sequence[judging.Judged]) -> str:
    if not decided:
        return "% no comparison is decided after Holm's correction; comparisons.csv has all\n"
    cells = []
    for one in decided:
        better, worse, interval = one.ordered()
        cells.append([one.problem, num.short(better), num.short(worse), num.half(interval),
                      num.number(-abs(one.test.effect)), f"{one.adjusted:.2g}"])  # fmt: skip
    header = ["problem", "better", "worse", "difference", "effect (SD)", "p after Holm"]
    return "% needs \\usepackage{booktabs}; comparisons that are decided after Holm's correction\n" + latex(
        header, cells, left=3
    )


def latex(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a LaTeX table in the style of booktabs: ``left`` columns aligned left, the others right."""
    lines = [" & ".join(map(escaped, line)) + r" \\" for line in (header, *rows)]
    columns = "l" * left + "r" * (len(header) - left)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:],
                      r"\bottomrule", r"\end{tabular}", ""])  # fmt: skip


def escaped(text: str) -> str:
    """Escape a text for LaTeX, so that it cannot introduce commands."""
    special = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$",
        "∞": r"$\infty$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "–": "--", "<": r"\textless{}",
        ">": r"\textgreater{}", "|": r"\textbar{}", **{c: f"\\{c}" for c in "&%$#_{}"},
    }  # fmt: skip
    minus = re.sub(r"(^|(?<=\s))-(?=[\d∞])", "−", " ".join(text.split()))
    return "".join(special.get(c, c) for c in minus)


def as_csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a CSV file with all digits; an undefined number is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if cell != cell else cell for cell in line] for line in rows])
    return buffer.getvalue()


def _rate(rate: float) -> str:
    return "–" if math.isnan(rate) else f"{rate:.4g}"


def _comment(text: str) -> str:
    return "".join(c for c in text if c.isprintable())


def _write(folder: Path, name: str, text: str) -> None:
    records.write_whole(folder / TABLES / name, text)
