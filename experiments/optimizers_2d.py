"""Optimizers on functions of two variables: momentum's rates, damping, escape from saddles and false minima.

    python -m experiments.optimizers_2d

The lectures say that momentum damps oscillations, allows larger rates and almost never hurts, and that descent is slow
at saddles and gets stuck in false minima. Each seed draws starting points. Steps to a target are those of the best of
60 rates for every form, so that no form wins by its rate. From the false well, each form runs at rate .1 and at its
best rate of one grid, at which even plain descent jumps the barrier. Half a minute on one core; the figures show paths,
and an animation the escape from the false minimum.

(Lecture rows E2-E8, E13; the measuring functions are those of benchmarks.claims.)
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import claims as measuring
from jaxdl import demonstrations, optimizers, studies
from jaxdl.demonstrations import claims
from jaxdl.studies import landscapes

HURTS = {"κ = 25": 25.0, "κ = 1000": 1000.0}
CASES = ("stability", "oscillation", *HURTS, "saddle", "false minimum")
RATES = tuple(1.6 * 2.0**-k for k in range(10))
ESCAPERS = {"plain": optimizers.sgd, "momentum": optimizers.momentum, "adam": optimizers.adam}


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "optimizers_2d"

    seeds: int = 10
    """Number of seeds, each of which draws all starting points."""
    starts: int = 64
    """Starting points around the false minimum per seed."""
    steps: int = 5000
    """Steps within which a form has to reach the target on a bowl."""


def load(config: Config) -> tuple[str, Any]:
    """Return the name of the functions, and the stable rates, which no seed changes."""
    del config
    return "functions in closed form", functools.cache(measuring.stability)


def run(config: Config, stability: Any, case: str, seed: int) -> Mapping[str, float]:
    """Measure one kind of claim from the seed's starting points."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0.1, math.pi / 2 - 0.1)
    if case == "stability":
        return {f"{form} error": abs(found / limit - 1) for form, _, limit, found in stability()}
    if case == "oscillation":
        rows = measuring.oscillation(start=(-10 * math.cos(angle), 10 * math.sin(angle)))
        return {f"{form} {what}": row[i] for form, *row in rows for i, what in enumerate(("crossings", "motion"))}
    if case in HURTS:
        start = (-10 * math.cos(angle), 10 * math.sin(angle) / HURTS[case] ** 0.5)
        rows = measuring.fewest_steps(HURTS[case], steps=config.steps, start=start)
        return {form: steps if steps <= config.steps else math.inf for form, _, steps in rows}
    if case == "saddle":
        rows = measuring.saddle_escape(beside=10 ** random.uniform(-4, -2))
        beside = {form: math.inf if steps is None else steps for form, steps, _ in rows}
        return beside | {"farthest from the ridge": max(distance for *_, distance in rows)}
    return {name: share for form in ESCAPERS for name, share in escaped(form, config.starts, seed).items()}


def escaped(form: str, count: int, seed: int) -> dict[str, float]:
    """Return the shares of starts near the false minimum that end in the lowest one: at rate .1, at the best rate."""
    _, barrier, false = landscapes.two_wells_stationary()
    random = np.random.default_rng(seed)
    starts = np.stack([random.uniform(barrier + 0.05, 2 * false - barrier, count), random.normal(size=count)], 1)
    shares = np.asarray(_escape(form)(np.array(RATES, np.float32), starts.astype(np.float32)))
    return {f"{form}, rate .1": float(shares[RATES.index(0.1)]), f"{form}, best rate": float(shares.max())}


@functools.cache
def _escape(form: str) -> Any:
    """Return (rates, starts) -> shares of starts that end within .1 of the lowest minimum, compiled once."""
    lowest, value = landscapes.two_wells_stationary()[0], landscapes.two_wells_value

    def ends(rate, start):
        last = studies.descent_path(value, ESCAPERS[form](rate), start, 500)[-1]
        return jnp.hypot(last[0] - lowest, last[1]) < 0.1

    over_starts = jax.vmap(ends, (None, 0))
    return jax.jit(lambda rates, starts: jax.vmap(over_starts, (0, None))(rates, starts).mean(1))


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the numbers."""
    del config
    of = outcomes.numbers
    stable = np.max([of("stability", q) for q in outcomes.quantities("stability") if q.endswith("error")], axis=0)
    steps = lambda form, case: (form, of(case, form))
    hurts = {
        case: claims.compare("", "", steps("momentum, heavy ball", case), steps("plain", case), claimed="less",
                             unit="steps") for case in HURTS
    }  # fmt: skip
    side = lambda case, what: (what, of(case, what))
    escapes = lambda form, rate: 100 * of("false minimum", f"{form}, {rate}")
    return [
        claims.within("largest stable rates are 2, 3.8, 38 and 1.357 over the curvature: plain, heavy ball, average, "
                      "Nesterov, β = .9", "E13", ("largest relative error", 100 * stable), high=0.3, unit="%"),
        claims.compare("momentum damps oscillations across the valley", "E13",
                       side("oscillation", "momentum, average crossings"), side("oscillation", "plain crossings"),
                       claimed="less", unit="crossings"),
        claims.depends("momentum almost never hurts: fewer steps to a millionth of the value, best of 60 rates each",
                       "E2, E13", hurts),
        claims.compare("Nesterov's form needs fewer steps than heavy ball (κ = 25)", "E3",
                       steps("Nesterov", "κ = 25"), steps("momentum, heavy ball", "κ = 25"), claimed="less",
                       unit="steps"),
        claims.compare("momentum leaves a saddle sooner than plain descent (rate .05)", "E8",
                       side("saddle", "momentum"), side("saddle", "sgd"), claimed="less", unit="steps"),
        claims.within("on the ridge of a saddle no first-order optimizer leaves it", "E8",
                      ("largest distance", of("saddle", "farthest from the ridge")), high=0.0, unit="from the ridge"),
        claims.depends("plain descent gets stuck in a false minimum", "E8", {
            rate: claims.within("", "", ("share that escapes", escapes("plain", rate)), high=5, unit="%")
            for rate in ("rate .1", "best rate")
        }),
        claims.depends("momentum escapes a false minimum more often", "E8", {
            rate: claims.compare("", "", ("momentum", escapes("momentum", rate)), ("plain", escapes("plain", rate)),
                                 claimed="more", unit="% of starts")
            for rate in ("rate .1", "best rate")
        }),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the paths of five optimizers, and the escape from the false minimum as an animation."""
    del config, outcomes
    from jaxdl import plots

    def contours(one, paths):
        x, y = (np.linspace(low, high, 121) for low, high in one.bounds)
        grid = np.asarray(one.value(np.stack(np.meshgrid(x, y), -1)))
        return plots.contours(x, y, grid, paths, minima=one.minima, title=one.name.replace("_", " "))

    def paths(one, rates, steps):
        walks = {n: landscapes.path(one, getattr(optimizers, n), r, steps=steps).T for n, r in rates.items()}
        return {f"{name}, rate {rates[name]:g}": (x, y) for name, (x, y) in walks.items()}

    bowl = paths(landscapes.elongated_bowl, {"sgd": 0.076, "momentum": 0.01, "nesterov": 0.01}, 60)
    wells = paths(landscapes.two_wells, {"sgd": 0.1, "momentum": 0.1, "adam": 0.1}, 90)
    frames = [contours(landscapes.two_wells, [{n: (x[: t + 1], y[: t + 1]) for n, (x, y) in wells.items()}])
              for t in (*range(0, 30, 2), *range(30, 91, 5))]  # fmt: skip
    return [
        demonstrations.Drawing(
            "bowl", contours(landscapes.elongated_bowl, [{n: c} for n, c in bowl.items()]),
            "Sixty steps on ½(x² + 25y²): plain descent near its limit crosses the valley at every step, momentum "
            "swings along it, Nesterov's form damps the swing across at the same rate."),
        demonstrations.Drawing(
            "false_minimum", plots.animation(frames),
            "Descent from (1.8, 1) on ¼(x² − 1)² + x/10 + ½y²: plain descent and Adam stop in the false minimum, "
            "momentum rolls over the barrier into the lowest (star)."),
    ]  # fmt: skip


check = functools.partial(demonstrations.check_at_least, starts=1, steps=1)
DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: CASES, run, judge, draw, check, {"starts": 1024}
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
