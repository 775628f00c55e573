"""Percentiles of units' inputs over the steps of training. [Lecture row G5]"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics


def percentiles(z: Float[ArrayLike, "*z"], ranks: Sequence[float | int] = (15, 50, 85)) -> Float[Array, "*p"]:
    """Return percentiles over examples of each unit's input, the bands by which batch norm's paper shows its drift.

    Args:
        z: inputs of d units before the activation for n examples, at each of the leading axes, such as the recorded
            steps: `(steps, n, d)` for a whole training, `(n, d)` for one step.
        ranks: the percentiles, 0 to 100; by default the median and, for a normal distribution, about one standard
            deviation around it. Between two examples the percentile is interpolated linearly.

    Returns:
        The percentiles in the unit of z, `(..., ranks, d)`, in the order of ``ranks`` and in float32 or wider. NaN in
        an input of a unit makes the unit's percentiles NaN.

    Raises:
        ValueError: there are no ranks, one lies outside 0 to 100, or there is no example.

    Reference: S. Ioffe, C. Szegedy, Batch normalization, 2015, figure 1. https://arxiv.org/abs/1502.03167

    Examples:
        >>> analysis.percentiles(jnp.arange(101.0)[:, None])
        Array([[15.],
               [50.],
               [85.]], dtype=float32)

    [Lecture row G5]
    """
    if not ranks or not all(0 <= rank <= 100 for rank in ranks):
        raise ValueError(f"ranks={ranks}: must be numbers from 0 to 100, at least one")
    z = numerics.widen(numerics.floats(z))
    if z.ndim < 2 or not z.shape[-2]:
        raise ValueError(f"z: got shape {z.shape}, needed is (..., examples, units) with at least one example")
    found = jnp.percentile(z, jnp.asarray(ranks, z.dtype), axis=-2)
    return jnp.moveaxis(found, 0, -2)
