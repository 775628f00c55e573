"""Spaces of settings that are tuned jointly: learning rate, weight decay, momentum, warm-up and schedule.

A space is a plain dict from a keyword to its `Log`, `FromOne` or tuple of choices. `SPACES` has those of jaxdl's and
optax's optimizers by their short names. Any other optimizer tunes the keywords that it has and whose defaults are
numbers. Every space has the learning rate, the share of steps of warm-up, and the schedule. Keywords that the
optimizer's name sets are not tuned.

All optimizers try equally many points of Sobol's sequence, in which a setting has the same coordinate for all of them:
the i-th points of two optimizers have the same rate, warm-up and schedule. A setting is a traced number, and so is the
number of steps, so all points share one program.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import jax.numpy as jnp

from experiments.compare_optimizers.contenders import Contender, contender
from jaxdl.optimizers.conventions import TABLE
from jaxdl.runs import names
from jaxdl.studies.sweep import Build


class Log(NamedTuple):
    """A range in which the logarithm is uniform."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1]."""
        return self.low * (self.high / self.low) ** place


class FromOne(NamedTuple):
    """A range in which the logarithm of the distance from 1 is uniform, as for a momentum."""

    low: float
    high: float

    def at(self, place: float) -> float:
        """Return the value at a place in [0, 1]."""
        return 1 - (1 - self.low) * ((1 - self.high) / (1 - self.low)) ** place


Range = Log | FromOne | tuple[float, ...] | tuple[str, ...]

SCHEDULES: Final = ("constant", "linear", "cosine")
WARMUPS: Final = (0.0, 0.05, 0.1, 0.2)  # shares of all steps
DECAYS: Final = Log(1e-5, 1e-1)
MOMENTA: Final = FromOne(0.5, 0.99)

SPACES: Final[dict[str, dict[str, Range]]] = {
    **{key: {"momentum": MOMENTA} for key in ("sgd", "momentum", "nesterov")},
    **{key: {"b1": MOMENTA} for key in ("adam", "amsgrad", "nadam", "adamax", "radam", "adopt")},
    **{key: {} for key in ("adagrad", "rmsprop", "adadelta")},
    **{key: {"weight_decay": DECAYS, "b1": MOMENTA} for key in ("adamw", "lion", "lamb", "ademamix")},
    "lars": {"weight_decay": DECAYS, "momentum": MOMENTA},
    "muon": {"weight_decay": DECAYS, "beta": MOMENTA},
    "schedule_free_sgd": {"b1": MOMENTA},
    "schedule_free_adamw": {"weight_decay": DECAYS, "b1": MOMENTA},
}
KNOWN: Final[dict[str, Range]] = {"weight_decay": DECAYS, "momentum": MOMENTA, "b1": MOMENTA}
AXES: Final = {"learning_rate": 0, "weight_decay": 1, "momentum": 2, "b1": 2, "beta": 2, "warmup": 3, "schedule": 4}
"""The coordinate of each setting in Sobol's sequence."""


class Candidate(NamedTuple):
    """Settings to try. If the rate alone is tuned, there is nothing else."""

    rate: float
    settings: str = ""  # all but the rate, in results.csv
    values: tuple[float, ...] = ()  # as `Space.build` takes them, without the number of steps


class Space(NamedTuple):
    """What one optimizer tries in a joint study."""

    points: tuple[Candidate, ...]  # empty for a method that is not tuned
    own: Candidate | None  # its defaults, None if it has no default rate
    build: Build  # from a traced vector: the values of a point and the number of steps


def space(one: Contender, rates: tuple[float, float], count: int) -> Space:
    """Return an optimizer's joint space: ``count`` quasi-random points and its own defaults, if it has a default rate.

    A method that is not tuned runs with its own defaults alone.
    """
    if not one.tuned:
        assert one.default_rate is not None  # see `contenders.contender`
        return Space((), Candidate(one.default_rate, "defaults"), one.build)
    declared: dict[str, Range] = {"learning_rate": Log(*rates), **declared_space(one.label)}
    declared |= {"warmup": WARMUPS, "schedule": SCHEDULES}
    tried = [_point(declared, {name: _at(declared[name], row[AXES[name]]) for name in declared})
             for row in _sobol(count)]  # fmt: skip
    own = None
    if one.default_rate is not None:
        defaults = {name: _default(one.label, name) for name in declared_space(one.label)}
        own = _point(declared, {"learning_rate": one.default_rate, **defaults, "warmup": 0.0, "schedule": SCHEDULES[0]})
        tried.append(own)
    return Space(tuple(dict.fromkeys(tried)), own, _builder(one.build, [*declared]))


def declared_space(label: str) -> dict[str, Range]:
    """Return the keywords that an optimizer tunes beside its rate, with their ranges."""
    named = names.parse_optimizer(label)
    if ":" not in named.name and named.short in SPACES:
        found: Mapping[str, Range] = SPACES[named.short]
    else:
        parameters = inspect.signature(names.optimizer(label)).parameters
        found = {k: v for k, v in KNOWN.items() if k in parameters and isinstance(parameters[k].default, int | float)}
    return {keyword: values for keyword, values in found.items() if keyword not in named.keywords}


def alike(pair: tuple[str, str]) -> bool:
    """Return whether two optimizers tune the same settings; where one's name sets a keyword, the other may tune it."""
    first, second = (declared_space(label) if contender(label).tuned else None for label in pair)
    return first == second


def scheduled(count: Any, rate: Any, warmup: Any, kind: Any, steps: Any) -> Any:
    """Return the learning rate of a step: a linear rise over a share of all steps, then one of `SCHEDULES`.

    With W = round(warmup · steps), the rise is rate · (t + 1)/(W + 1) for t < W. After it, with
    p = (t − W)/(steps − W), the rate is multiplied by 1, 1 − p or (1 + cos πp)/2.

    Args:
        count: the step t, from 0.
        rate: the highest learning rate.
        warmup: share of the steps in which it is reached.
        kind: the schedule's place in `SCHEDULES`.
        steps: number of steps of the run.
    """
    count = jnp.asarray(count, jnp.float32)
    rise = jnp.round(warmup * steps)
    done = jnp.clip((count - rise) / jnp.maximum(steps - rise, 1), 0, 1)
    shape = jnp.stack([jnp.ones_like(done), 1 - done, 0.5 * (1 + jnp.cos(math.pi * done))])
    falling = jnp.take(shape, jnp.asarray(kind, jnp.int32), axis=0)
    return rate * jnp.minimum(1, (count + 1) / (rise + 1)) * falling


def _builder(build: Callable[..., Any], keywords: list[str]) -> Build:
    def built(vector):
        values = dict(zip([*keywords, "steps"], vector, strict=True))
        rate, steps, warmup, kind = (values.pop(name) for name in ("learning_rate", "steps", "warmup", "schedule"))
        return build(lambda count: scheduled(count, rate, warmup, kind, steps), **values)

    return built


def _point(declared: Mapping[str, Range], values: Mapping[str, Any]) -> Candidate:
    """Round the values to the four digits that results.csv has, so that a resumed study runs the same ones."""
    texts = {name: value if isinstance(value, str) else f"{value:.4g}" for name, value in values.items()}
    rate = float(texts.pop("learning_rate"))
    numbers = [float(SCHEDULES.index(texts[name]) if name == "schedule" else texts[name]) for name in texts]
    assert [*texts] == [*declared][1:]
    return Candidate(rate, " ".join(f"{name}={text}" for name, text in texts.items()), (rate, *numbers))


def _at(values: Range, place: float) -> Any:
    if isinstance(values, Log | FromOne):
        return values.at(place)
    return values[int(place * len(values))]


def _default(label: str, keyword: str) -> float:
    """Return the default of a keyword; None, which means that an optimizer goes without, is 0."""
    named = names.parse_optimizer(label)
    default = inspect.signature(names.optimizer(label)).parameters[keyword].default
    if isinstance(default, int | float):
        return float(default)
    conventional = TABLE.get(named.short, {}).get(named.keywords.get("convention", "optax"), {}).get(keyword)
    return float(conventional) if isinstance(conventional, int | float) else 0.0


def _sobol(count: int) -> list[list[float]]:
    """Return the first points of Sobol's sequence without the origin; any first few are spread evenly."""
    from scipy.stats import qmc  # takes a second to import

    engine = qmc.Sobol(1 + max(AXES.values()), scramble=False)
    engine.fast_forward(1)
    return engine.random(count).tolist()
