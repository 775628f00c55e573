"""Saturation of activations. [Lecture row B]"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


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

    Sigmoid and tanh saturate at both ends, ReLU at one. [Lecture row B]
    """
    if not eps > 0:
        raise ValueError(f"eps={eps} is not above 0")
    z = jnp.asarray(z)
    _, slope = jax.jvp(activation, (z,), (jnp.ones_like(z),))
    return jnp.mean((jnp.abs(slope) < eps).astype(jnp.float32))
