"""Averages of gradients and of parameters: exponential, Polyak and over the tail. Lecture rows E9, E12."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int
from optax import GradientTransformation

from jaxdl.optimizers import stages
from jaxdl.optimizers.states import AverageState, EmaState


def exponential_average(
    values: Float[ArrayLike, "time ..."] | Int[ArrayLike, "time ..."],
    decay: ArrayLike,
    bias_correction: bool = True,
) -> Float[Array, "time ..."]:
    """Return the exponentially weighted average of a series up to each time.

    v ← βv + (1−β)x from v = 0; with bias correction v/(1 − βᵗ). It looks back over about 1/(1−β) values.

    Args:
        values: the series, time first.
        decay: β in [0, 1).
        bias_correction: divide by the weights' sum; without it the first averages are too small.

    Raises:
        ValueError: ``decay`` is out of range.

    Lecture row E9.
    """
    stages.check(decay_rates={"decay": decay})
    series = stages.widen(jnp.asarray(values, float))

    def advance(average, x):
        average = decay * average + (1 - decay) * x
        return average, average

    _, averages = jax.lax.scan(advance, jnp.zeros_like(series[0]), series)
    time = jnp.arange(1, len(series) + 1).reshape((-1,) + (1,) * (series.ndim - 1))
    return averages / (1 - decay**time) if bias_correction else averages


def ema(decay: ArrayLike, debias: bool = True, accumulator_dtype: DTypeLike | None = None) -> GradientTransformation:
    """Replace the updates by their exponential average. See ``optax.ema`` and ``exponential_average``.

    Args:
        decay: β in [0, 1).
        debias: divide by 1 − βᵗ.
        accumulator_dtype: dtype in which the average is kept; None means the parameters'.

    Raises:
        ValueError: ``decay`` is out of range.

    Lecture row E9.
    """
    stages.check(decay_rates={"decay": decay})

    def init(params):
        return EmaState(count=jnp.zeros([], jnp.int32), ema=stages.zeros_like(params, accumulator_dtype))

    def update(updates, state, params=None):
        del params
        average = stages.update_moment(updates, state.ema, decay, 1)
        count = stages.increment(state.count)
        updates = stages.correct_bias(average, decay, count) if debias else average
        return updates, EmaState(count=count, ema=stages.cast_like(average, state.ema))

    return GradientTransformation(init, update)


def polyak_average(decay: ArrayLike = 0.995) -> GradientTransformation:
    """Keep an exponential average of the parameters in the state; the updates pass through.

    a ← βa + (1−β)w, from a = w at the start. The last stage of a chain, so that it sees the final updates;
    ``averaged_params`` reads the average for evaluation.

    Args:
        decay: β in [0, 1).

    Raises:
        ValueError: ``decay`` is out of range; at update, ``params`` is missing.

    Reference: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992,
    https://doi.org/10.1137/0330046. Lecture row E12 (CS182: x_test = .995 x_test + .005 x).
    """
    stages.check(decay_rates={"decay": decay})
    return _track(lambda average, w, count: decay * average + (1 - decay) * w)


def tail_average(start: int = 0) -> GradientTransformation:
    """Keep the plain mean of the parameters after step ``start`` in the state; the updates pass through.

    a = mean of w over the steps after ``start``, and w itself until then. See ``polyak_average``. Batch
    statistics of the averaged network have to be estimated again: ``training.reestimate_batch_norm``.

    Args:
        start: number of steps to leave out, at least 0.

    Raises:
        ValueError: ``start`` is negative; at update, ``params`` is missing.

    Reference: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018,
    https://arxiv.org/abs/1803.05407. Lecture row E12.
    """
    stages.check(non_negative={"start": start})

    def advance(average, w, count):
        members = jnp.maximum(count - start, 1).astype(w.dtype)
        return average + (w - average) / members

    return _track(advance)


def averaged_params(state: Any, params: Any) -> Any:
    """Return the averaged parameters out of an optimizer's state, in the parameters' dtypes.

    Args:
        state: a state that holds the state of one ``polyak_average`` or ``tail_average``.
        params: the current parameters.

    Raises:
        ValueError: the state holds no average, or several.

    Lecture row E12.
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, AverageState))
    found = [s for s in nodes if isinstance(s, AverageState)]
    if len(found) != 1:
        raise ValueError(f"state holds {len(found)} averages: averaged_params needs exactly one")
    return stages.cast_like(found[0].average, params)


def _track(advance):
    def init(params):
        # a copy, so that donating the parameters does not donate the average with them
        copies = jax.tree.map(lambda p: jnp.array(stages.widen(p), copy=True), params)
        return AverageState(count=jnp.zeros([], jnp.int32), average=copies)

    def update(updates, state, params=None):
        stages.require_params(params, "an average of the parameters")
        count = stages.increment(state.count)
        average = jax.tree.map(
            lambda a, p, u: advance(a, stages.widen(p) + u, count).astype(a.dtype),
            state.average,
            params,
            updates,
        )
        return updates, AverageState(count=count, average=average)

    return GradientTransformation(init, update)
