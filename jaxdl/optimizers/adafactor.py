"""Adafactor: second moments of matrices kept as one average per row and one per column."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from optax import GradientTransformation, GradientTransformationExtraArgs

from jaxdl.optimizers import stages, trees
from jaxdl.optimizers.averaging import ema
from jaxdl.optimizers.checks import check
from jaxdl.optimizers.clipping import clip_by_block_rms
from jaxdl.optimizers.contracts import stateless
from jaxdl.optimizers.conventions import resolve
from jaxdl.optimizers.factored import scale_by_factored_rms
from jaxdl.optimizers.grouping import Mask
from jaxdl.schedules import ScalarOrSchedule
from jaxdl.words import own_words


@own_words
def adafactor(
    learning_rate: ScalarOrSchedule | None = None,
    min_dim_size_to_factor: ArrayLike | None = None,
    decay_rate: ArrayLike = 0.8,
    decay_offset: ArrayLike = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: ArrayLike | None = 1.0,
    momentum: ArrayLike | None = None,
    dtype_momentum: DTypeLike = jnp.float32,
    weight_decay_rate: ScalarOrSchedule | None = None,
    eps: ArrayLike = 1e-30,
    factored: bool = True,
    weight_decay_mask: Mask = None,
    *,
    convention: str = "optax",
    relative_step: bool | None = None,
    state_dtype: DTypeLike | None = None,
) -> GradientTransformationExtraArgs:
    """Adafactor: w ← w − α·max(rms(w), 1e-3)·clip(g/√V), where V = r·cᵀ/mean(r) has the averages r, c of rows, columns.

    r and c average g² + eps with the decay 1 − t^(−decay_rate), and clip(u) = u/max(1, rms(u)/threshold).

    Args:
        learning_rate: α, a number of at least 0 or a schedule; None takes the convention's (optax none, which is α = 1;
            the paper 0.01).
        min_dim_size_to_factor: arrays of at least two axes of this length have V in factors, for their two longest
            axes; all others have V entry by entry. None takes the convention's (optax 128, the paper 1).
        decay_rate: see above, at least 0.
        decay_offset: subtracted from t, for a second phase of training.
        multiply_by_parameter_scale: multiply by rms(w), at least 1e-3; without it the steps are absolute.
        clipping_threshold: bound on the root mean square of each array's step, above 0; None does not clip.
        momentum: decay of an average of the steps, in [0, 1); None averages none.
        dtype_momentum: dtype in which that average is stored.
        weight_decay_rate: λ, at least 0, or a schedule: w ← w − λw beside the step, not multiplied by α.
        eps: added to g², above 0.
        factored: False keeps V entry by entry.
        weight_decay_mask: which parameters decay; None selects all.
        convention: whose algorithm and defaults, a name in ``CONVENTIONS``.
        relative_step: lower the rate to min(α, 1/√t); None takes the convention's (the paper does).
        state_dtype: dtype of the averages; None keeps float32 for half-precision leaves and the leaf's own for others.

    Raises:
        ValueError: a number is out of range, ``relative_step`` meets a schedule, the convention does not define this
            optimizer, or, at update, ``params`` is missing.

    Reference: Shazeer and Stern, Adafactor: Adaptive Learning Rates with Sublinear Memory Cost, 2018,
    https://arxiv.org/abs/1804.04235.

    Examples:
        >>> params, grads = jnp.array([1.0, 2.0]), jnp.array([0.5, -0.1])
        >>> optimizer = optimizers.adafactor(0.1)
        >>> optimizer.update(grads, optimizer.init(params), params)[0]
        Array([-0.15811388,  0.15811388], dtype=float32)
    """
    given = {"learning_rate": learning_rate, "min_dim_size_to_factor": min_dim_size_to_factor}
    options = resolve("adafactor", convention, relative_step=relative_step, **given)
    rate = options["learning_rate"]
    check(non_negative={"learning_rate": rate})
    if options["relative_step"]:
        rate = _relative(rate)
    parts: list[Any] = [
        scale_by_factored_rms(factored, decay_rate, decay_offset, options["min_dim_size_to_factor"], eps)
    ]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    if rate is not None:
        parts.append(stages.scale_by_learning_rate(rate, sign=1))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_rms())
    if momentum is not None:
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(stages.add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return stages.chain(*parts, stages.scale_by_learning_rate(1.0), state_dtype=state_dtype)


def _relative(rate):
    if rate is None or callable(rate):
        raise ValueError(f"learning_rate is {rate}: with relative_step it must be a number, the highest rate")
    highest = trees.hyper(rate)
    return lambda count: jnp.minimum(highest, trees.as_float(count + 1) ** -0.5)


def scale_by_param_rms(least: float = 1e-3) -> GradientTransformation:
    """Multiply each array by the root mean square of its parameters, at least ``least``."""

    def scale(u, w):
        rms = trees.norm([w]) / max(w.size, 1) ** 0.5
        return trees.times(jnp.maximum(rms, least), u)

    def update(updates, params):
        stages.require_params(params, "adafactor")
        return trees.map_updates(scale, updates, params)

    return stateless("a parameter scale", update)
