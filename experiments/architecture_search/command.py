"""The experiment: its options, its searches and its claims."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from experiments.architecture_search import nets
from jaxdl import data, demonstrations, runs
from jaxdl.applications import search
from jaxdl.demonstrations import claims

RANDOM, EVOLUTION = METHODS = ("random", "evolution")
BUDGETS, SHOWN = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96), (24, 32, 64, 96)  # trainings; those of the claims
DEV, TEST, REPEATS = 1000, 2000, 400
CASE = "table"


@dataclasses.dataclass(frozen=True)
class Config(demonstrations.DemonstrationOptions):
    """The options of a run."""

    EXPERIMENT: ClassVar[str] = "architecture_search"

    seeds: int = 3
    """Number of seeds, each of which draws the examples and the initial weights of a table."""
    dataset: str = "mnist"
    """mnist, fashion_mnist, a folder or archive of images, or package.module:function; grey, a multiple of 14×14."""
    first: tuple[int, ...] = (4, 8)
    """Numbers of filters of the first convolution, increasing."""
    filters: tuple[int, ...] = (32, 64, 128, 256, 512, 1024)
    """Numbers of filters of the second convolution, increasing."""
    examples: int = 500
    """Training examples, drawn with the seed."""
    steps: int = 120
    """Steps of Adam, on 50 examples each."""
    population: int = 16
    """Population of evolution, of which a quarter is a sample."""


def check(config: Config) -> None:
    """Raise ValueError for an option out of range."""
    demonstrations.check_at_least(config, examples=nets.BATCH, steps=1, population=4)
    for name, many in (("first", 1), ("filters", 2)):
        values = getattr(config, name)
        if len(values) < many or values[0] < 1 or list(values) != sorted({*values}):
            raise ValueError(f"{name}={values} is not allowed: it must be {many} or more increasing numbers above 0")


def load(config: Config) -> tuple[data.Dataset, Any]:
    """Load the images at 14×14 pixels.

    Raises:
        ValueError: if images have another shape, or there are too few.
    """
    dataset = runs.dataset(config.dataset, data_dir=config.data_dir)
    sides = dataset.images.shape[1:3]
    if sides[0] % nets.SIDE or sides[0] != sides[-1] or dataset.images[0].size != sides[0] ** 2:
        raise ValueError(f"dataset={config.dataset!r} has images of shape {dataset.images.shape[1:]}; needed are grey "
                         f"square ones, whose side is a multiple of {nets.SIDE}")  # fmt: skip
    splits, window = data.split(dataset, seed=0, dev_fraction=0.1), sides[0] // nets.SIDE
    if config.examples > len(splits.train.labels):
        raise ValueError(f"examples={config.examples} is not allowed: {dataset.name} has {len(splits.train.labels)}")
    small = lambda x: x.reshape(-1, nets.SIDE, window, nets.SIDE, window).mean((2, 4)) / dataset.scale
    parts = [(np.asarray(small(part.images)[..., None], np.float32), part.labels) for part in splits]
    return dataset, (parts, len(dataset.classes))


def run(config: Config, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train all nets of the space, and repeat the searches on their errors."""
    del case
    (parts, classes), random = loaded, np.random.default_rng(seed)
    chosen = [random.permutation(len(y))[:n] for (_, y), n in zip(parts, (config.examples, DEV, TEST), strict=True)]
    pieces = [(x[rows], y[rows]) for (x, y), rows in zip(parts, chosen, strict=True)]
    (train, dev), ends = (
        [nets.TableExamples(x, y, random.integers(len(y), size=(config.steps, nets.BATCH))) for x, y in pieces[:2]],
        np.cumsum([len(y) for _, y in pieces])[:-1],
    )
    images, labels = (np.concatenate(both) for both in zip(*pieces, strict=True))
    drawn = nets.start(random, config.first[-1], config.filters[-1], classes)
    seen = nets.table(drawn, config.first, config.filters, train, images, labels)
    measured = np.stack([part.mean(-1) for part in np.split(seen, ends, axis=-1)], -1)  # (..., rate, 2, part)
    best = measured[..., 0, 1].argmin(4)[..., None, None, None]
    errors, loss = np.moveaxis(np.take_along_axis(measured, best, 4)[..., 0, :, :].astype(np.float64), -2, 0)
    errors *= 100
    alphas = nets.relaxed(drawn, config.first, config.filters, train, dev)
    place = tuple(int(alphas[name].argmax()) for name in space(config))
    cost = relative_cost(config)
    found, curves = searched(config, errors, cost, seed)
    found |= {"relaxed, regret": errors[*place, 1] - errors[..., 1].min(), "relaxed, test": errors[*place, 2]}
    found |= {"cost of the relaxed search": cost, "share at the larger rate": float(best.mean())}
    over = (0, 1, 2)
    return found | curves | {
        "errors by filters": errors.mean(over), "losses by filters": loss.mean(over), "dev errors": errors[..., 1],
        "errors by kernel": errors.mean((0, 1, 3)),
    }  # fmt: skip


def space(config: Config) -> search.Space:
    """Return the space of places in the table."""
    sizes = {"kernel 1": nets.KERNELS, "filters 1": config.first, "kernel 2": nets.KERNELS, "filters 2": config.filters}
    return {name: search.choice(range(len(values))) for name, values in sizes.items()}


def relative_cost(config: Config) -> float:
    """Return the cost of the relaxed search: two gradients a step of the mixture against one of a mean net."""
    every = [nets.multiplications(a, n, b, m) for a in nets.KERNELS for n in config.first for b in nets.KERNELS
             for m in config.filters]  # fmt: skip
    return 2 * nets.mixture_multiplications(config.first[-1], config.filters[-1]) / float(np.mean(every))


def searched(config: Config, errors: np.ndarray, cost: float, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Return means over the repetitions of both searches: numbers of the claims, and curves over the budgets."""
    dev, test, choices, most = errors[..., 1], errors[..., 2], space(config), BUDGETS[-1]
    loss = lambda one: float(dev[tuple(one.values())])
    budgets, found = (*BUDGETS, max(1, round(cost))), {name: [] for name in METHODS}
    for repetition in range(REPEATS):
        number = REPEATS * seed + repetition
        drawn = search.random(choices, max(budgets), seed=number)
        evolved = search.evolution(loss, choices, trials=most, population=config.population,
                                   sample=config.population // 4, seed=number)  # fmt: skip
        for name, trials in ((RANDOM, [search.Trial(one, loss(one)) for one in drawn]), (EVOLUTION, evolved)):
            winners = [tuple(search.best(trials[:n]).candidate.values()) for n in budgets]
            found[name].append([(dev[place] - dev.min(), test[place]) for place in winners])
    means = {name: np.mean(values, 0) for name, values in found.items()}  # (budgets, 2)
    numbers = {f"{name} of {n}, {what}": float(means[name][i, j]) for name in METHODS for i, n in enumerate(BUDGETS)
               for j, what in enumerate(("regret", "test"))}  # fmt: skip
    numbers |= {
        f"random at that cost, {what}": float(means[RANDOM][-1, j]) for j, what in enumerate(("regret", "test"))
    }
    return numbers, {f"{name} curve": means[name][:-1] for name in METHODS}


def judge(config: Config, outcomes: demonstrations.Outcomes) -> list[claims.Claim]:
    """Hold the lectures' sentences to the searches and to the table."""
    of = lambda what, said="": (said or what, outcomes.numbers(CASE, what))
    wrong, cost = "% wrong", outcomes.numbers(CASE, "cost of the relaxed search")[0]
    by_filters, by_kernel = (outcomes.arrays(CASE, f"errors by {what}") for what in ("filters", "kernel"))
    few, many = config.filters[0], config.filters[-1]
    gap = lambda place: by_filters[:, place, 2] - by_filters[:, place, 0]
    seconds = [
        claims.compare(f"evolution finds better nets than random search, regret after {n} trainings", "G12",
                       of(f"{EVOLUTION} of {n}, regret", EVOLUTION), of(f"{RANDOM} of {n}, regret", RANDOM),
                       claimed="less", unit=wrong) for n in SHOWN
    ]  # fmt: skip
    return [
        *seconds,
        claims.compare(f"and so it does by test error, after {SHOWN[-1]}", "G12",
                       of(f"{EVOLUTION} of {SHOWN[-1]}, test", EVOLUTION), of(f"{RANDOM} of {SHOWN[-1]}, test", RANDOM),
                       claimed="less", unit=wrong),
        claims.compare("differentiable search chooses better than one random draw, regret", "G12",
                       of("relaxed, regret", "differentiable"), of(f"{RANDOM} of 1, regret", RANDOM), claimed="less",
                       unit=wrong),
        claims.compare(f"and better than random search at its cost of {cost:.0f} trainings, regret", "G12",
                       of("relaxed, regret", "differentiable"), of("random at that cost, regret", RANDOM),
                       claimed="less", unit=wrong),
        claims.compare(f"many filters overfit: test less training error at {many} and {few}", "G12",
                       (f"gap at {many}", gap(-1)), (f"gap at {few}", gap(0)), claimed="more", unit=wrong),
        claims.compare(f"which costs test accuracy: test error at {many} and {few}", "G12",
                       (f"with {many}", by_filters[:, -1, 2]), (f"with {few}", by_filters[:, 0, 2]), claimed="more",
                       unit=wrong),
        claims.compare("3×3 is the best kernel of the second convolution, against 7×7, test error", "G12",
                       ("3×3", by_kernel[:, 0, 2]), ("7×7", by_kernel[:, -1, 2]), claimed="less", unit=wrong),
    ]  # fmt: skip


def draw(config: Config, outcomes: demonstrations.Outcomes) -> Sequence[demonstrations.Drawing]:
    """Draw the regret of the searches, and the errors against the number of filters."""
    from experiments.architecture_search import figures  # matplotlib is slow to import, and --help need not wait

    return figures.draw(config, outcomes)


WIDE = (32, 64, 128, 256, 512, 1024)
DEMONSTRATION = demonstrations.Demonstration(
    Config, load, lambda config: (CASE,), run, judge, draw, check,
    {"first": WIDE, "examples": 5000, "steps": 2000, "population": 32},
)  # fmt: skip
