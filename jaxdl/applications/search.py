"""Search of hyperparameters and architectures: grid, random, successive halving, evolution. [Lecture row G12]

    space = {"learning_rate": search.log_uniform(1e-4, 1.0), "width": search.choice((32, 64, 128))}
    trials = [search.Trial(one, train(**one)) for one in search.random(space, 20, seed=0)]
    print(search.best(trials))

For choices that are trained together with the weights, see `applications.relaxation`.

A dimension of a space is a quantile function: it takes a number in [0, 1) to a value, so any function of a uniform
number is one. Losses are minimised; NaN counts as the worst loss, as a diverged run has it.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdl.extras import need

__all__ = [
    "Trial",
    "best",
    "choice",
    "evolution",
    "grid",
    "log_uniform",
    "random",
    "successive_halving",
    "tree_parzen",
    "uniform",
]

Quantile = Callable[[float], Any]  # a number in [0, 1) -> a value
Space = Mapping[str, Quantile]
Candidate = dict[str, Any]
MOST_DRAWS = 10_000  # of a mutation, before the space is taken to hold one candidate only


class Trial(NamedTuple):
    """A candidate that was tried."""

    candidate: Any
    loss: float  # on development data; the lower the better
    resource: int = 1  # what the trial took, such as steps of training


def uniform(low: float | int, high: float | int) -> Quantile:
    """Return the quantile function of the uniform distribution on [low, high): u → low + (high − low) u.

    Raises:
        ValueError: unless ``low`` < ``high``, both finite.
    """
    _check_ends(low, high)
    return lambda u: low + (high - low) * u


def log_uniform(low: float | int, high: float | int) -> Quantile:
    """Return the quantile function of a number whose logarithm is uniform: u → low (high / low)ᵘ.

    It suits learning rates and penalties, whose order of magnitude is unknown.

    Raises:
        ValueError: unless 0 < ``low`` < ``high``, both finite.
    """
    _check_ends(low, high)
    if low <= 0:
        raise ValueError(f"low={low} is not allowed: it must be above 0")
    return lambda u: low * (high / low) ** u


def choice(values: Sequence[Any]) -> Quantile:
    """Return the quantile function of a uniform choice from a sequence: u → values[⌊u n⌋].

    Raises:
        ValueError: if there are no values.
    """
    values = tuple(values)
    if not values:
        raise ValueError("values: got none, needed is at least one")
    return lambda u: values[int(u * len(values))]


def grid(space: Space, counts: int | Mapping[str, int]) -> list[Candidate]:
    """Return the grid of all combinations of evenly spaced quantiles (i + ½) / n, the last dimension fastest.

    Args:
        space: quantile function by name.
        counts: values n along each dimension, or along all.

    Raises:
        ValueError: for a count below 1, a dimension without a count, a count without a dimension, and a dimension that
            is no function.

    Examples:
        >>> space = {"rate": search.log_uniform(1.0, 100.0), "units": search.choice([8, 16])}
        >>> search.grid(space, {"rate": 1, "units": 2})
        [{'rate': 10.0, 'units': 8}, {'rate': 10.0, 'units': 16}]
    """
    _check_space(space)
    counts = dict.fromkeys(space, counts) if isinstance(counts, int) else dict(counts)
    if set(counts) != set(space):
        raise ValueError(f"counts has {sorted(counts)}, the space has {sorted(space)}; they must be the same names")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"counts[{name!r}]={count} is not allowed: it must be at least 1")
    axes = [[quantile((i + 0.5) / counts[name]) for i in range(counts[name])] for name, quantile in space.items()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def random(space: Space, n: int, *, seed: int) -> list[Candidate]:
    """Return n independent draws from a space.

    The best of n draws lies among the best 5 % of the space with probability 1 − .95ⁿ, whatever the number of
    dimensions: 60 draws suffice for 95 %.

    Args:
        space: quantile function by name.
        n: number of candidates, at least 0. The first ones do not depend on it.
        seed: determines the draws, a non-negative integer.

    Raises:
        ValueError: if ``n`` or ``seed`` is negative, or a dimension is no function.

    Reference: J. Bergstra, Y. Bengio, Random Search for Hyper-Parameter Optimization, 2012,
    https://jmlr.org/papers/v13/bergstra12a.html.

    Examples:
        >>> space = {"rate": search.uniform(0.0, 1.0)}
        >>> draws = search.random(space, 3, seed=0)
        >>> all(0 <= draw["rate"] < 1 for draw in draws), draws[:2] == search.random(space, 2, seed=0)
        (True, True)

    [Lecture row G12]
    """
    _check_space(space)
    if n < 0 or seed < 0:
        raise ValueError(f"n={n}, seed={seed}: both must be at least 0")
    drawn = np.random.default_rng(seed).uniform(size=(n, len(space))).tolist()
    return [{name: quantile(u) for (name, quantile), u in zip(space.items(), row, strict=True)} for row in drawn]


def successive_halving(
    evaluate: Callable[[Any, int], float], candidates: Sequence[Any], *, resource: int, factor: int = 2
) -> list[Trial]:
    """Evaluate all candidates briefly, keep the best 1/factor with factor times the resource, until one is left.

    Every round costs about as much as the first, n · resource, so that n candidates cost n · resource · log n instead
    of n² · resource. A candidate that is slow at first and best in the end is lost.

    Args:
        evaluate: (candidate, resource) → loss. Whether it continues a candidate's training or repeats it is up to it.
        candidates: at least one.
        resource: of each candidate in the first round, at least 1.
        factor: at least 2.

    Returns:
        All trials, in the order in which they were made; the last one is the candidate that is left.

    Raises:
        ValueError: if there are no candidates, or ``resource`` or ``factor`` is too small.

    Reference: K. Jamieson, A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016,
    https://proceedings.mlr.press/v51/jamieson16.html.

    Examples:
        The loss is |candidate − 3| whatever the resource, so the nearest candidate is left:

        >>> trials = search.successive_halving(lambda x, resource: abs(x - 3), [0, 2, 3, 9], resource=1)
        >>> trials[-1].candidate, [trial.resource for trial in trials]
        (3, [1, 1, 1, 1, 2, 2, 4])

    [Lecture row G12]
    """
    if not len(candidates):
        raise ValueError("candidates: got none, needed is at least one")
    if resource < 1 or factor < 2:
        raise ValueError(f"resource={resource}, factor={factor}: allowed are resources from 1 and factors from 2 on")
    trials, left = [], list(candidates)
    while True:
        tried = [Trial(one, float(evaluate(one, resource)), resource) for one in left]
        trials += tried
        if len(left) == 1:
            return trials
        kept = sorted(tried, key=_order)[: max(1, len(left) // factor)]
        left, resource = [one.candidate for one in kept], resource * factor


def evolution(
    evaluate: Callable[[Candidate], float],
    space: Space,
    *,
    trials: int,
    population: int = 16,
    sample: int = 4,
    seed: int,
) -> list[Trial]:
    """Mutate the best of a few candidates again and again, and forget the oldest: regularised (aging) evolution.

    The first candidates are those of `random`. From then on, a sample is drawn with replacement from the population;
    the best of it is the parent, its mutation joins the population, and the oldest member leaves, however good it is. A
    mutation draws one dimension anew, until the value differs. Candidates that return are evaluated again.

    Args:
        evaluate: candidate → loss.
        space: quantile function by name.
        trials: number of evaluations, at least 0.
        population: number of candidates that may become parents, at least 1; as many trials are random search.
        sample: number of draws of which the best becomes the parent, at least 1. Large ones are greedy.
        seed: determines the draws, a non-negative integer.

    Returns:
        All trials, in the order in which they were made.

    Raises:
        ValueError: if a number is too small, or a candidate has no mutation because every draw gives the same values.

    Reference: E. Real, A. Aggarwal, Y. Huang, Q. Le, Regularized Evolution for Image Classifier Architecture Search,
    2019, algorithm 1, https://arxiv.org/abs/1802.01548.

    Examples:
        >>> trials = search.evolution(lambda one: one["x"] ** 2, {"x": search.uniform(-1, 1)}, trials=50, seed=0)
        >>> len(trials), search.best(trials).loss < 0.01
        (50, True)

    [Lecture row G12]
    """
    for name, value, least in (("trials", trials, 0), ("population", population, 1), ("sample", sample, 1)):
        if value < least:
            raise ValueError(f"{name}={value} is not allowed: it must be at least {least}")
    made = [Trial(one, float(evaluate(one))) for one in random(space, min(trials, population), seed=seed)]
    alive, draws = collections.deque(made, maxlen=population), np.random.default_rng([seed, 1])
    while len(made) < trials:
        rows = draws.integers(len(alive), size=sample).tolist()
        child = _mutated(space, best([alive[row] for row in rows]).candidate, draws)
        made.append(Trial(child, float(evaluate(child))))
        alive.append(made[-1])  # the oldest leaves at the other end
    return made


def _mutated(space: Space, parent: Candidate, draws: np.random.Generator) -> Candidate:
    names = list(space)
    for _ in range(MOST_DRAWS):
        name = names[int(draws.integers(len(names)))]
        if (value := space[name](float(draws.uniform()))) != parent[name]:
            return {**parent, name: value}
    raise ValueError(f"space: got {names}, of which every draw gives {parent}; evolution needs two candidates or more")


def tree_parzen(
    evaluate: Callable[[Candidate], float], space: Space, *, trials: int, seed: int, startup: int = 10
) -> list[Trial]:
    """Let Optuna's tree-structured Parzen estimator (TPE) propose one candidate after the other.

    It models where good and where bad candidates lie, by densities ℓ and g over the quantiles of each dimension, and
    proposes what maximises ℓ / g. Quantiles are numbers in [0, 1), so that neighbours in a `choice` should be alike.

    Args:
        evaluate: candidate → loss. NaN, as of a diverged run, counts as infinity.
        space: quantile function by name.
        trials: number of evaluations, at least 0.
        seed: determines the proposals, from 0 to 2³² − 1.
        startup: number of random trials before the first proposal, at least 1.

    Returns:
        All trials, in the order in which they were made.

    Raises:
        ImportError: if Optuna is not installed.
        ValueError: if a number is out of range.

    References: J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, Algorithms for Hyper-Parameter Optimization, 2011;
    T. Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, 2019,
    https://arxiv.org/abs/1907.10902. [Lecture row G12]
    """
    _check_space(space)
    if trials < 0 or startup < 1 or not 0 <= seed < 2**32:
        raise ValueError(
            f"trials={trials}, startup={startup}, seed={seed}: allowed are trials from 0, startup from 1 and seeds "
            "from 0 to 2³² − 1"
        )
    optuna = need("optuna", purpose="search.tree_parzen", extra="search")
    study = optuna.study.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup))
    made = []
    for _ in range(trials):
        asked = study.ask()
        below = math.nextafter(1.0, 0.0)
        one = {name: quantile(asked.suggest_float(name, 0.0, below)) for name, quantile in space.items()}
        made.append(Trial(one, float(evaluate(one))))
        study.tell(asked, _order(made[-1]))
    return made


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the least loss, the first of equal ones; NaN is worse than any number.

    Trials of unlike resources are compared like any others: pass those of the last round of `successive_halving` alone
    if their losses are not comparable with earlier ones.

    Raises:
        ValueError: if there are no trials.

    Examples:
        >>> search.best([search.Trial("a", 0.5), search.Trial("b", 0.2), search.Trial("c", float("nan"))]).candidate
        'b'
    """
    if not len(trials):
        raise ValueError("trials: got none, needed is at least one")
    return min(trials, key=_order)


def _order(trial: Trial) -> float:
    return math.inf if math.isnan(trial.loss) else trial.loss


def _check_space(space: Space) -> None:
    for name, quantile in space.items():
        if not callable(quantile):
            values = quantile if isinstance(quantile, list | tuple) else [quantile]
            such = f"functions of a number in [0, 1), as search.choice({values!r})"
            raise ValueError(f"space[{name!r}]: got {quantile!r}, allowed are {such}")


def _check_ends(low: float | int, high: float | int) -> None:
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"low={low}, high={high}: low must be below high, both finite")
