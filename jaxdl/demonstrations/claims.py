"""Claims and their verdicts: a statement, the numbers that decide it, and the verdict that they give.

One rule decides every claim by an interval at 95 %. The claim holds if the interval lies beyond the limit on the
claimed side, does not hold if it lies beyond the limit on the other side, and is "not shown here" otherwise. It depends
on a condition if two named conditions give opposite verdicts. Values are one per seed; infinity is a diverged run.
Intervals are Student's, and fewer than `statistics.MIN_SEEDS` seeds show nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxdl.studies import statistics
from jaxdl.studies.statistics import Interval

HOLDS: Final = "holds"
FAILS: Final = "does not hold"
OPEN: Final = "not shown here"
DEPENDS: Final = "depends"
VERDICTS: Final = (HOLDS, FAILS, DEPENDS, OPEN)
UNDEFINED: Final = Interval(math.nan, math.nan, math.nan)  # of a claim that several intervals decide

Values = tuple[str, ArrayLike]  # the name of a side and its values, one per seed


class Claim(NamedTuple):
    """A statement of the lectures, measured."""

    text: str  # the statement in words
    lecture: str  # its rows, such as "E2, E13"
    measured: str  # the numbers in words
    interval: Interval  # of the number that decides; see `described`
    unit: str  # of the interval; "1", which is not shown, if there is none
    verdict: str  # one of `VERDICTS`


def compare(text: str, lecture: str, a: Values, b: Values, *, claimed: str, unit: str) -> Claim:
    """Judge the claim that ``a`` is less, or more, than ``b`` by the paired difference a − b.

    Args:
        text: the statement in words.
        lecture: its rows.
        a: name and values of one side, one value per seed; NaN where there is no run.
        b: name and values of the other side for the same seeds.
        claimed: "less" or "more", the side on which the statement sees a.
        unit: of the values; "1" if they have none.

    Raises:
        ValueError: an unknown side, or values that do not pair; see `statistics.paired_difference`.
    """
    if claimed not in ("less", "more"):
        raise ValueError(f"claimed={claimed!r}: allowed are 'less' and 'more'")
    interval = statistics.paired_difference(a[1], b[1])
    measured = f"{_said(a)}, {_said(b)}{_after(unit)}"
    return Claim(text, lecture, measured, interval, unit, _side(interval, 1 if claimed == "more" else -1))


def within(
    text: str, lecture: str, values: Values, *, low: float | int = -math.inf, high: float | int = math.inf, unit: str
) -> Claim:
    """Judge the claim that the mean lies in [low, high] by its interval, which holds if it lies wholly inside.

    The claim does not hold if the interval lies wholly outside. See `compare` for the other arguments.

    Raises:
        ValueError: if ``low`` is not below ``high``, or the values are empty or NaN.
    """
    if not low < high:
        raise ValueError(f"low={low} must be below high={high}")
    interval = statistics.student(values[1])
    inside = low <= interval.low and interval.high <= high
    outside = interval.high < low or interval.low > high
    ends = f"at least {number(low)}" if high == math.inf else f"{number(low)} to {number(high)}"
    ends = f"at most {number(high)}" if low == -math.inf else ends
    measured = f"{values[0]} {_mean(values[1])}{_after(unit)} (claimed: {ends})"
    return Claim(text, lecture, measured, interval, unit, HOLDS if inside else FAILS if outside else OPEN)


def consistent(text: str, lecture: str, values: Values, *, printed: float | int, unit: str) -> Claim:
    """Judge whether a number that a lecture prints may be one more draw of the values.

    The claim holds if the number lies in the prediction interval mean ± t s √(1 + 1/n) of a next draw at 95 %. It
    asks less than `within`: a single printed draw says little about a mean. See `compare` for the other arguments.

    Raises:
        ValueError: if there are fewer than two finite values.
    """
    from scipy import special  # slow to import, and --help need not wait for it

    drawn = np.asarray(values[1], np.float64)
    if drawn.size < 2 or not np.isfinite(drawn).all():
        raise ValueError(f"values must be at least two finite numbers, got {drawn}")
    mean, n = float(drawn.mean()), drawn.size
    half = float(special.stdtrit(n - 1, 0.975) * drawn.std(ddof=1) * math.sqrt(1 + 1 / n))
    interval = Interval(mean, mean - half, mean + half)
    measured = f"{values[0]} {_mean(drawn)}{_after(unit)} (printed: {number(printed)}; interval of one more draw)"
    return Claim(text, lecture, measured, interval, unit, HOLDS if interval.contains(printed) else FAILS)


def depends(text: str, lecture: str, conditions: Mapping[str, Claim]) -> Claim:
    """Combine the same claim under several named conditions.

    Its verdict is "depends" if it holds under one condition and does not hold under another, the common verdict if all
    agree, and "not shown here" otherwise. Its interval is undefined; each condition's stands in its text.

    Raises:
        ValueError: if there are fewer than two conditions.
    """
    if len(conditions) < 2:
        raise ValueError(f"conditions must be at least two, got {list(conditions)}")
    verdicts = {claim.verdict for claim in conditions.values()}
    verdict = DEPENDS if {HOLDS, FAILS} <= verdicts else verdicts.pop() if len(verdicts) == 1 else OPEN
    parts = (
        f"{name}: {one.measured}, {described(one.interval, one.unit)}, {one.verdict}"
        for name, one in conditions.items()
    )
    unit = next(iter(conditions.values())).unit
    return Claim(text, lecture, "; ".join(parts), UNDEFINED, unit, verdict)


def described(interval: Interval, unit: str) -> str:
    """Return an interval in words: "−12.3 [−14.1, −10.2] steps"; "–" if it is undefined."""
    estimate, low, high = interval
    return "–" if math.isnan(estimate) else f"{number(estimate)} [{number(low)}, {number(high)}]{_after(unit)}"


def number(value: float | int) -> str:
    """Format a number with four digits, as a reader wants it."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.4g}".replace("-", "−")


def _after(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"


def _said(side: Values) -> str:
    """Return a name and the mean of its values, apart even where the name ends in a number, as in "degree 9: 1.2"."""
    name, values = side
    return f"{name}{':' if name[-1:].isdigit() else ''} {_mean(values)}"


def _mean(values: ArrayLike) -> str:
    values = np.asarray(values, np.float64)
    return number(float(np.nanmean(values)))


def _side(interval: Interval, sign: int) -> str:
    low, high = (interval.low, interval.high) if sign > 0 else (-interval.high, -interval.low)
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN
