"""The noise of gradients, and what it says about the batch size. [Lecture row E1]"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics


class GradientNoise(NamedTuple):
    """Unbiased estimates of the noise and the size of a gradient, and their quotient."""

    variance: Float[Array, ""]  # tr Σ, of the gradients of single examples
    norm_squared: Float[Array, ""]  # |G|², of the expected gradient; below 0 where noise hides it
    scale: Float[Array, ""]  # tr Σ / |G|², in examples; infinity where |G|² is not above 0, 0 without noise


def gradient_noise(gradients: Any, *, batch_size: int = 1) -> GradientNoise:
    """Return the simple noise scale tr Σ / |G|² from the gradients of several batches.

    Of m batches of B examples with gradients G_i and mean Ḡ, tr Σ = B Σ|G_i − Ḡ|² / (m − 1), and
    |G|² = |Ḡ|² − tr Σ / (mB). Batches much smaller than the scale waste little of an example, and much larger ones
    waste little of a step; see `batch_efficiency`.

    Args:
        gradients: an array or a tree with a leading axis of m ≥ 2 batches, drawn independently. From batches without
            replacement among N examples, tr Σ comes out lower by the factor 1 − B/N.
        batch_size: B; 1 for gradients of single examples.

    Raises:
        ValueError: there are fewer than two gradients, or no or unequally many; one is complex; or the batch size is
            below 1.

    Reference: S. McCandlish et al., An Empirical Model of Large-Batch Training, 2018,
    https://arxiv.org/abs/1812.06162, section 2.2 and appendix A.1.

    Examples:
        The gradients 1 and 3 have the variance 2, and 2² − 2/2 = 3 is the square of their mean without its noise:

        >>> analysis.gradient_noise(jnp.array([1.0, 3.0])).scale
        Array(0.6666667, dtype=float32)

    [Lecture row E1]
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be at least 1")
    for leaf in jax.tree.leaves(gradients):
        numerics.refuse_complex(gradients=leaf)
    leaves = [numerics.widen(leaf) for leaf in jax.tree.leaves(gradients)]
    counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    if len(counts) != 1 or (count := counts.pop()) < 2:
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(f"gradients: got shapes {shapes}, needed is one leading axis of at least 2 batches")
    means = [leaf.mean(0) for leaf in leaves]
    apart = sum(jnp.sum((leaf - mean[None]) ** 2) for leaf, mean in zip(leaves, means, strict=True))
    variance = batch_size * jnp.asarray(apart) / (count - 1)
    size = sum(jnp.sum(mean**2) for mean in means) - variance / (count * batch_size)
    scale = jnp.where(size > 0, variance / jnp.where(size > 0, size, 1), jnp.where(variance > 0, jnp.inf, 0.0))
    return GradientNoise(variance, size, scale)


def batch_efficiency(noise_scale: ArrayLike, batch_size: ArrayLike) -> Float[Array, "..."]:
    """Return 1 / (1 + 𝓑/B), a step's progress with batches of B examples as a share of that with all examples.

    It is also the best rate of plain descent as a share of that for whole batches. The steps that a loss takes grow
    with smaller batches as 1 + 𝓑/B, and the examples with larger ones as 1 + B/𝓑: B = 𝓑 takes twice the least of both.

    Args:
        noise_scale: 𝓑 in examples; see `gradient_noise`.
        batch_size: B.

    Reference: S. McCandlish et al., 2018, https://arxiv.org/abs/1812.06162, section 2.2.

    Examples:
        >>> analysis.batch_efficiency(64.0, jnp.array([1, 64, 6400]))
        Array([0.01538462, 0.5       , 0.990099  ], dtype=float32)

    [Lecture row E1]
    """
    scale, size = numerics.floats(noise_scale), numerics.floats(batch_size)
    return 1 / (1 + scale / size)
