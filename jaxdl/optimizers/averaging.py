"""Exponential, Polyak and tail averages of gradients and parameters. [Lecture rows E9, E12]"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Inexact, Int
from optax import GradientTransformation

from jaxdl import paths
from jaxdl.optimizers import moments, stages, trees
from jaxdl.optimizers.checks import check, check_whole
from jaxdl.optimizers.contracts import transformation
from jaxdl.optimizers.states import AverageState, EmaState


def exponential_average(
    values: Inexact[ArrayLike, "time ..."] | Int[ArrayLike, "time ..."],
    decay: ArrayLike,
    bias_correction: bool = True,
) -> Inexact[Array, "time ..."]:
    """Return the exponentially weighted average of a series up to each time.

    v ← βv + (1−β)x from v = 0, and v/(1 − βᵗ) with bias correction. The window is about 1/(1−β) values long.

    Args:
        values: the series, time first, real or complex.
        decay: β in [0, 1).
        bias_correction: divide by the sum of the weights; the first averages are too small without it.

    Raises:
        ValueError: ``decay`` is out of range.

    [Lecture row E9]
    """
    check(decay_rates={"decay": decay})
    values, beta = jnp.asarray(values), trees.hyper(decay)
    series = trees.widen(values if trees.is_inexact(values) else values.astype(float))
    real = trees.real(series).dtype

    def advance(average, x):
        average = trees.as_dtype_of(trees.times(beta, average) + trees.times(1 - beta, x), x)
        return average, average

    _, averages = jax.lax.scan(advance, jnp.zeros_like(series[0]), series)
    time = jnp.arange(1, len(series) + 1).reshape((-1,) + (1,) * (series.ndim - 1))
    return averages / moments.bias_weight(beta, time).astype(real) if bias_correction else averages


def ema(decay: ArrayLike, debias: bool = True, accumulator_dtype: DTypeLike | None = None) -> GradientTransformation:
    """Replace the updates by their exponential average. See ``optax.ema`` and ``exponential_average``.

    The arithmetic is in float32 or wider. Integer leaves pass through.

    Args:
        decay: β in [0, 1).
        debias: divide by 1 − βᵗ.
        accumulator_dtype: dtype in which the average is stored; None is the parameters' dtype, as in optax. In half
            precision an average over more than about 1/(1 − β) = 100 values stops moving, so use float32 there.

    Raises:
        ValueError: ``decay`` is out of range.

    [Lecture row E9]
    """
    check(decay_rates={"decay": decay})
    beta = trees.hyper(decay)

    def advance(g, average):
        if not trees.is_inexact(g):
            return average
        return trees.plus(trees.times(1 - beta, trees.widen(g)), trees.times(beta, trees.widen(average)))

    def pick(g, average):
        return trees.as_dtype_of(average, g) if trees.is_inexact(g) else g

    def init(params):
        return EmaState(count=jnp.zeros([], jnp.int32), ema=trees.zeros_like(params, accumulator_dtype))

    def update(updates, state, params):
        del params
        average = trees.map_state(advance, updates, state.ema)
        count = trees.increment(state.count)
        shown = moments.correct_bias(average, beta, count) if debias else average
        updates = trees.map_updates(pick, updates, shown)
        return updates, EmaState(count=count, ema=trees.cast_like(average, state.ema))

    return transformation("ema", EmaState, init, update)


def polyak_average(decay: ArrayLike = 0.995) -> GradientTransformation:
    """Track an exponential average of the parameters in the state; the updates pass through.

    a ← βa + (1−β)w, starting from a = w. Put it last in a chain, where it sees the final updates;
    ``averaged_params`` reads the average for evaluation. The average of an integer leaf is the leaf itself.

    Args:
        decay: β in [0, 1).

    Raises:
        ValueError: ``decay`` is out of range; at update, ``params`` is missing.

    Reference: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992,
    https://doi.org/10.1137/0330046. [Lecture row E12 (CS182: x_test = .995 x_test + .005 x)]
    """
    check(decay_rates={"decay": decay})
    beta = trees.hyper(decay)
    return _track(lambda average, w, count: trees.times(beta, average) + trees.times(1 - beta, w))


def tail_average(start: ArrayLike = 0) -> GradientTransformation:
    """Track the plain mean of the parameters after step ``start`` in the state; the updates pass through.

    a is the mean of w over the steps after ``start``, and w itself before. See ``polyak_average``. The averaged network
    needs new batch statistics: ``training.reestimate_batch_norm``.

    Args:
        start: number of steps to skip, a whole number of at least 0.

    Raises:
        ValueError: ``start`` is negative or not a whole number; at update, ``params`` is missing.

    Reference: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018,
    https://arxiv.org/abs/1803.05407. [Lecture row E12]
    """
    check_whole(start=(start, 0))

    def advance(average, w, count):
        members = jnp.maximum(count - start, 1).astype(trees.real(w).dtype)
        return average + (w - average) / members

    return _track(advance)


@paths.through_variables
def averaged_params(state: Any, params: Any) -> Any:
    """Extract the averaged parameters from an optimizer's state, in the parameters' dtypes.

    Args:
        state: a state that contains the state of exactly one ``polyak_average`` or ``tail_average``.
        params: the current parameters; both may hold the variables of `flax.nnx`.

    Raises:
        ValueError: the state contains no average, or several.

    [Lecture row E12]
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, AverageState))
    found = [s for s in nodes if isinstance(s, AverageState)]
    if len(found) != 1:
        raise ValueError(f"state holds {len(found)} averages: averaged_params needs exactly one")
    return trees.cast_like(found[0].average, params)


def _track(advance):
    def init(params):
        # copied, because donating the parameters would donate an average that shares their buffers
        copies = jax.tree.map(lambda p: trees.copied(trees.accumulator(p)), params)
        return AverageState(count=jnp.zeros([], jnp.int32), average=copies)

    def update(updates, state, params):
        stages.require_params(params, "an average of the parameters")
        count = trees.increment(state.count)

        def follow(u, average, p):
            w = trees.plus(trees.widen(p), trees.widen(u))
            return trees.as_dtype_of(advance(average, w, count) if trees.is_inexact(average) else w, average)

        average = trees.map_state(follow, updates, state.average, params)
        return updates, AverageState(count=count, average=average)

    return transformation("an average of the parameters", AverageState, init, update)
