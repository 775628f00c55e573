"""Factors on the channels: learned ones, and ones that a small network computes from the image."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import numerics
from jaxdl.layers.linear import dense
from jaxdl.layers.pooling import global_avg_pool2d
from jaxdl.words import own_words

__all__ = ["layer_scale", "squeeze_excitation"]


@own_words
def layer_scale(x: Float[ArrayLike, "*b c"], scale: Float[ArrayLike, " c"]) -> Float[Array, "*b c"]:
    """Multiply each channel by its own factor: y = γ x.

    On the branch of a residual block, with γ near 0 at the start, each block begins close to the identity.

    Args:
        x: activations, channels last.
        scale: γ.

    Raises:
        ValueError: another number of factors than of channels.

    Reference: Touvron et al., Going deeper with image transformers, 2021. https://arxiv.org/abs/2103.17239.

    Examples:
        >>> layers.layer_scale(jnp.array([1.0, 2.0]), jnp.array([0.5, 10.0]))
        Array([ 0.5, 20. ], dtype=float32)
    """
    numerics.refuse_complex(x=x, scale=scale)
    x, scale = jnp.asarray(x), jnp.asarray(scale)
    if x.ndim < 1 or scale.shape != x.shape[-1:]:
        raise ValueError(f"scale: got shape {scale.shape}, allowed is one for each channel of x, {x.shape[-1:]}")
    wide = numerics.widen(x)  # γ's gradient is a sum over all places
    factor = numerics.widen(scale).reshape((1,) * (x.ndim - 1) + scale.shape)
    return (wide * factor).astype(numerics.result_dtype(x, scale))


@own_words
def squeeze_excitation(
    x: Float[ArrayLike, "*b h w c"],
    reduce_kernel: Float[ArrayLike, "c r"],
    reduce_bias: Float[ArrayLike, " r"] | None,
    expand_kernel: Float[ArrayLike, "r c"],
    expand_bias: Float[ArrayLike, " c"] | None,
    *,
    activation: Callable[[Array], Array] = jax.nn.relu,
    gate: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Float[Array, "*b h w c"]:
    """Weigh the channels of each image by what is in it: y = x · gate(W₂ g(W₁ m + b₁) + b₂), m the channels' means.

    Args:
        x: images.
        reduce_kernel, reduce_bias: W₁, b₁, from c channels to r < c features.
        expand_kernel, expand_bias: W₂, b₂, back to one factor per channel.
        activation: g.
        gate: the outer non-linearity; MobileNetV3 takes the hard sigmoid.

    Raises:
        ValueError: x is no image, or shapes that do not fit one another.

    Reference: Hu, Shen and Sun, Squeeze-and-excitation networks, 2018. https://arxiv.org/abs/1709.01507.

    Examples:
        Without weights the gate is open by half:

        >>> layers.squeeze_excitation(jnp.ones((1, 1, 2)), jnp.zeros((2, 1)), None, jnp.zeros((1, 2)), None).ravel()
        Array([0.5, 0.5], dtype=float32)
    """
    numerics.refuse_complex(x=x, reduce_kernel=reduce_kernel, reduce_bias=reduce_bias)
    numerics.refuse_complex(expand_kernel=expand_kernel, expand_bias=expand_bias)
    x = jnp.asarray(x)
    if jnp.shape(expand_kernel)[-1:] != x.shape[-1:]:
        raise ValueError(f"expand_kernel: got shape {jnp.shape(expand_kernel)}, allowed are (r, {x.shape[-1]})")
    hidden = activation(dense(global_avg_pool2d(x), reduce_kernel, reduce_bias))
    factors = gate(dense(hidden, expand_kernel, expand_bias))
    return x * jnp.expand_dims(factors, (-3, -2))
