"""Search of hyperparameters: grid, random, successive halving and Optuna's TPE, in one dimension and in four.

    python -m experiments.hyperparameters

The lectures choose hyperparameters by trials on development data. Random trials are said to beat a grid of as many,
and the best of n random ones lies in the best twentieth of the space with probability 1 − .95ⁿ. An MLP learns digits by
momentum at candidates of the rate alone, or of the rate, the momentum, the L2 penalty and the size of the initial
weights. Many candidates are trained once, and searches are repeated by drawing from them, as if they trained. Halving
starts 64 candidates at 1/64 of a training each. Optuna's TPE trains what it proposes; without Optuna it is left out.

(Lecture row G12.)
"""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, demonstrations, losses, optimizers, regularizers
from jaxdl.applications import search
from jaxdl.demonstrations import claims
from jaxdl.layers import dense

ONE, FOUR = CASES = ("one dimension", "four dimensions")
RATE = {"rate": search.log_uniform(1e-3, 10.0)}
SPACES = {ONE: RATE, FOUR: {**RATE, "momentum": search.uniform(0.0, 0.99), "l2": search.log_uniform(1e-6, 1.0),
                            "gain": search.log_uniform(0.1, 10.0)}}  # fmt: skip
FIXED = {"momentum": 0.5, "l2": 1e-4, "gain": 1.0}  # in one dimension
GRIDS = {ONE: (2, 4, 8, 16), FOUR: (1, 2)}  # values along each dimension
BUDGET, START, FACTOR = 16, 64, 4  # trainings of a search; candidates of halving, and what remains of them
TRAIN, BATCH, REPEATS, STUDIES = 400, 32, 200, 5  # the last is the number of repetitions of TPE


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "hyperparameters"

    pool: int = 128
    """Random candidates that are trained; at least 64."""
    hidden: int = 16
    """Hidden units."""
    steps: int = 256
    """Steps of a training, a multiple of 64."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, pool=START, hidden=1, steps=START)
    if config.steps % START:
        raise ValueError(f"steps={config.steps} is not allowed: it must be a multiple of {START}")


@jax.jit
def trained(candidates: Any, params: Any, x: Any, y: Any, rows: Any) -> jax.Array:
    """Return the errors of candidates on development and test examples, (n, looks, 2); rows: (looks, steps, batch)."""
    logits = lambda p, x: dense(activations.tanh(dense(x, **p["fc1"])), **p["fc2"])

    def train(candidate: Any) -> jax.Array:
        optimizer = optimizers.momentum(candidate["rate"], candidate["momentum"])
        start = jax.tree.map(lambda w: candidate["gain"] * w, params)

        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            penalty = lambda p: regularizers.l2(p, candidate["l2"], count=1)
            loss = lambda p: losses.softmax_cross_entropy(logits(p, x[rows]), y[rows]).mean() + penalty(p)
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optimizers.apply_updates(params, updates), state), None

        def look(carry: Any, rows: Any) -> Any:
            carry, _ = jax.lax.scan(step, carry, rows)
            wrong = 100.0 * (jnp.argmax(logits(carry[0], x[TRAIN:]), -1) != y[TRAIN:])
            return carry, jnp.stack([wrong[:TRAIN].mean(), wrong[TRAIN:].mean()])

        return jax.lax.scan(look, (start, optimizer.init(start)), rows)[1]

    return jax.vmap(train)(candidates)


def run(config: Config, dataset: data.Dataset, case: str, seed: int) -> Mapping[str, Any]:
    """Train the candidates of a space, and repeat the searches on their errors."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(dataset.images))
    x, y = dataset.images.reshape(-1, 64)[order].astype(np.float32) / dataset.scale, dataset.labels[order]
    make = lambda n, m: {"kernel": np.float32(random.normal(scale=n**-0.5, size=(n, m))), "bias": np.zeros(m, "f4")}
    params = {"fc1": make(64, config.hidden), "fc2": make(config.hidden, 10)}
    rows = random.integers(TRAIN, size=(START, config.steps // START, BATCH))
    grids = [search.grid(SPACES[case], n) for n in GRIDS[case]]
    pool = search.random(SPACES[case], config.pool, seed=seed)
    every = [{**FIXED, **one} for one in [*pool, *(one for grid in grids for one in grid)]]
    stacked = {name: np.array([one[name] for one in every], np.float32) for name in every[0]}
    errors = np.asarray(trained(stacked, params, x, y, rows), np.float64)
    ends = errors[:, -1]
    best, cuts = lambda rows: ends[min(rows, key=lambda row: ends[row, 0])], np.cumsum([config.pool, *map(len, grids)])
    found = {f"grid of {len(grid)}": best(range(a, b)) for grid, a, b in zip(grids, cuts, cuts[1:], strict=False)}
    repeated = [random.permutation(config.pool) for _ in range(REPEATS)]
    cost, rank = START // FACTOR**2, np.argsort(np.argsort(ends[: config.pool, 0], kind="stable"))
    sized = {n: np.mean([best(drawn[:n]) for drawn in repeated], 0) for n in (1, 2, cost, 8, BUDGET, START)}
    found |= {f"random of {n}": value for n, value in sized.items()}
    found["halving"] = np.mean([_halved(errors, drawn[:START]) for drawn in repeated], 0)
    found |= _by_tpe(case, seed, lambda one: np.asarray(trained(one, params, x, y, rows))[0, -1])
    top = [rank[random.integers(config.pool, size=BUDGET)].min() < 0.05 * config.pool for _ in range(10 * REPEATS)]
    numbers = {f"{name}, {part}": float(v) for name, value in found.items()
               for part, v in zip(("dev", "test"), value, strict=True)}  # fmt: skip
    numbers["in the best twentieth"] = float(np.mean(top))
    return numbers | {"share": float(np.ceil(0.05 * config.pool) / config.pool)}


def _halved(errors: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the errors of what successive halving leaves of the drawn candidates after a whole training."""
    looks = lambda row, resource: errors[row, resource - 1, 0]
    trials = search.successive_halving(looks, [int(row) for row in drawn], resource=1, factor=FACTOR)
    return errors[trials[-1].candidate, trials[-1].resource - 1]


def _by_tpe(case: str, seed: int, train: Callable[[Any], np.ndarray]) -> dict[str, np.ndarray]:
    """Return the mean errors of the best of TPE's trials, where Optuna is installed."""
    if importlib.util.find_spec("optuna") is None:
        print(f"{case}: Optuna is not installed, so that TPE is left out; pip install 'jaxdl[search]' brings it")
        return {}
    ends: dict[int, list[Any]] = {BUDGET: [], START: []}
    for study in range(STUDIES):
        errors: list[np.ndarray] = []

        def loss(one: Any, errors: list[np.ndarray] = errors) -> float:
            errors.append(train({name: np.array([value], np.float32) for name, value in {**FIXED, **one}.items()}))
            return float(errors[-1][0])

        search.tree_parzen(loss, SPACES[case], trials=START, seed=STUDIES * seed + study)
        for n, best in ends.items():
            best.append(min(errors[:n], key=lambda error: error[0]))
    return {f"TPE of {n}": np.mean(best, 0) for n, best in ends.items()}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the errors."""
    del config
    of = lambda case, name, part="dev": (name, outcomes.numbers(case, f"{name}, {part}"))
    wrong, cost, grid, some = "% wrong", START // FACTOR**2, f"grid of {BUDGET}", f"random of {BUDGET}"
    inside, share = (outcomes.numbers(FOUR, what) for what in ("in the best twentieth", "share"))
    tpe, less = f"TPE of {START}, dev" in outcomes.quantities(FOUR), lambda case, a, b: of(case, a)[1] - of(case, b)[1]
    flat, lost = less(ONE, some, grid), less(FOUR, "halving", f"random of {START}")  # lost ≥ 0: halving keeps one of 64
    return [
        claims.compare(f"in four dimensions {BUDGET} random trials beat a grid of {BUDGET}", "G12", of(FOUR, some),
                       of(FOUR, grid), claimed="less", unit=wrong),
        claims.within("in one dimension they are as good, within half a point", "G12", ("random − grid", flat),
                      low=-0.5, high=0.5, unit="percentage points"),
        claims.within(f"the best of {BUDGET} random trials lies in the best twentieth with probability 1 − .95ⁿ", "G12",
                      ("share − probability", inside - 1 + (1 - share) ** BUDGET), low=-0.03, high=0.03, unit="1"),
        *(claims.compare(f"halving beats {cost} random trials, which cost as much ({case})", "G12", of(case, "halving"),
                         of(case, f"random of {cost}"), claimed="less", unit=wrong) for case in CASES),
        claims.within(f"halving is as good as its {START} trials in full, within half a point, at a sixteenth of the "
                      "cost", "G12", ("halving − random", lost), high=0.5, unit="percentage points"),
        *(claims.compare(f"Optuna's TPE beats as many random trials ({n}, {case})", "G12", of(case, f"TPE of {n}"),
                         of(case, f"random of {n}"), claimed="less", unit=wrong)
          for case in CASES for n in (BUDGET, START) if tpe),
        claims.compare("the development error of the best trial flatters it", "G12", of(FOUR, f"random of {START}"),
                       ("its test error", of(FOUR, f"random of {START}", "test")[1]), claimed="less", unit=wrong),
        claims.compare("three more dimensions find something better", "G12", of(FOUR, f"random of {START}", "test"),
                       of(ONE, f"random of {START}", "test"), claimed="less", unit=wrong),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the development error of the best trial against the cost."""
    del config
    from matplotlib.figure import Figure

    from jaxdl import plots

    figure, cost, tpe = Figure(figsize=(8.4, 3.4), layout="constrained"), START // FACTOR**2, False
    for axes, case in zip(figure.subplots(1, 2, sharey=True), CASES, strict=True):
        mean = lambda name, case=case: outcomes.numbers(case, f"{name}, dev").mean()
        sizes = (1, 2, cost, 8, BUDGET, START)
        axes.plot(sizes, [mean(f"random of {n}") for n in sizes], "o-", color=plots.COLORS[0], label="random")
        counts = [n if case == ONE else n**4 for n in GRIDS[case]]
        axes.plot(counts, [mean(f"grid of {n}") for n in counts], "s", color=plots.COLORS[1], label="grid")
        axes.plot([cost], [mean("halving")], "D", color=plots.COLORS[2], label="successive halving")
        if tpe := f"TPE of {START}, dev" in outcomes.quantities(case):
            ends = [mean(f"TPE of {n}") for n in (BUDGET, START)]
            axes.plot((BUDGET, START), ends, "^-", color=plots.COLORS[3], label="TPE")
        axes.set(xscale="log", yscale="log", xlabel="cost in trainings", title=case)
    figure.axes[0].set_ylabel("development error of the best (%)")
    figure.axes[0].legend(frameon=False)
    about = f"Development error of the best trial, digits, {len(outcomes.seeds)} seeds."
    return [demonstrations.Drawing("cost", figure, about if tpe else f"{about} Without TPE: Optuna is not installed.")]


DEMONSTRATION = demonstrations.Demonstration(
    Config, lambda config: (digits := data.load("digits"), digits), lambda config: CASES, run, judge, draw, check
)
main, write = demonstrations.commands(DEMONSTRATION, __doc__)

if __name__ == "__main__":
    demonstrations.run_main(main)
