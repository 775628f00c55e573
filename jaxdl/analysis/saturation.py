"""Saturation of activations, and units that are dead. [Lecture row B]"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float


def saturation(
    activation: Callable[[Array], Array], z: Float[ArrayLike, "..."], *, eps: float = 1e-2
) -> Float[Array, ""]:
    """Return the share of saturated units, the mean of [|g'(z)| < eps].

    Args:
        activation: g, an elementwise function.
        z: inputs of the units before the activation, any shape, such as those of a batch from `nn.tap`.
        eps: derivatives below this count as 0; above 0. The sigmoid's derivative is below .01 from |z| = 4.6 on.

    Returns:
        A number in [0, 1]; NaN for no units.

    Raises:
        ValueError: if ``eps`` is not above 0.

    Sigmoid and tanh saturate at both ends, ReLU at one.

    Examples:
        The sigmoid's derivative at 0, 5 and −5 is 0.25, 0.0066 and 0.0066:

        >>> analysis.saturation(jax.nn.sigmoid, jnp.array([0.0, 5.0, -5.0]))
        Array(0.6666667, dtype=float32)

    [Lecture row B]
    """
    if not eps > 0:
        raise ValueError(f"eps={eps} is not above 0")
    z = jnp.asarray(z)
    return jnp.mean((jnp.abs(_slope(activation, z)) < eps).astype(jnp.float32))


def dead_units(
    activation: Callable[[Array], Array], z: Float[ArrayLike, "*b examples units"], *, eps: float = 0.0
) -> Bool[Array, "*b units"]:
    """Return which units pass no gradient for any example: all |g'(z)| ≤ eps. Their mean is the share of dead units.

    A ReLU is dead where its input is negative for every example; no step of descent on them changes it any more.

    Args:
        activation: g, an elementwise function.
        z: inputs of the units before the activation, such as those of `nn.tap`; a unit with a NaN is not dead.
        eps: derivatives up to this count as 0; at least 0. Saturated sigmoids are found by `saturation`'s .01.

    Raises:
        ValueError: if ``eps`` is negative, or ``z`` has no axis of examples or no example.

    Examples:
        The second unit is negative for both examples:

        >>> analysis.dead_units(jax.nn.relu, jnp.array([[1.0, -1.0], [-2.0, -3.0]]))
        Array([False,  True], dtype=bool)

    [Lecture row B]
    """
    if not eps >= 0:
        raise ValueError(f"eps={eps} is not at least 0")
    z = jnp.asarray(z)
    if z.ndim < 2 or not z.shape[-2]:
        raise ValueError(f"z: got shape {z.shape}, needed is (..., examples, units) with at least one example")
    return jnp.all((jnp.abs(_slope(activation, z)) <= eps) & ~jnp.isnan(z), axis=-2)


def _slope(activation: Callable[[Array], Array], z: Array) -> Array:
    return jax.jvp(activation, (z,), (jnp.ones_like(z),))[1]
