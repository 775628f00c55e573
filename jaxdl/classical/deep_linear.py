"""Deep linear networks, which equal a single linear layer. [Lecture row A5]"""

import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import layers

__all__ = ["collapse_linear", "deep_linear"]


def deep_linear(params: Sequence[Mapping[str, ArrayLike]], x: Float[ArrayLike, "*b d_in"]) -> Float[Array, "*b d_out"]:
    """Apply dense layers without activations in turn: z₁ = x W₁ + b₁, z₂ = z₁ W₂ + b₂, and so on.

    Args:
        params: one `{"kernel": (d_in, d_out), "bias": (d_out,)}` per layer, the bias optional.
        x: inputs with any leading dimensions.

    Raises:
        ValueError: no layers, or shapes that `layers.dense` refuses.

    Examples:
        >>> params = [{"kernel": np.array([[2.0]])}, {"kernel": np.array([[1.0]]), "bias": np.array([-1.0])}]
        >>> classical.deep_linear(params, np.array([[3.0]]))  # 2 * 3 - 1
        Array([[5.]], dtype=float32)

    [Lecture row A5]
    """
    _check_layers(params)
    return functools.reduce(
        lambda z, layer: layers.dense(z, layer["kernel"], layer.get("bias")), params, jnp.asarray(x)
    )


def collapse_linear(params: Sequence[Mapping[str, ArrayLike]]) -> dict[str, Array]:
    """Return the single layer that equals a deep linear network: W = W₁W₂…W_L, b = (b₁W₂ + b₂)W₃ + … .

    Args:
        params: as for `deep_linear`.

    Returns:
        `{"kernel": (d_in, d_out), "bias": (d_out,)}`, equal up to rounding.

    Raises:
        ValueError: no layers, or shapes that do not match.

    Examples:
        Adding a layer that doubles and one that subtracts 1 is y = 2x − 1:

        >>> params = [{"kernel": np.array([[2.0]])}, {"kernel": np.array([[1.0]]), "bias": np.array([-1.0])}]
        >>> classical.collapse_linear(params)
        {'kernel': Array([[2.]], dtype=float32), 'bias': Array([-1.], dtype=float32)}

    [Lecture row A5]
    """
    _check_layers(params)
    kernel = functools.reduce(jnp.dot, [jnp.asarray(layer["kernel"]) for layer in params])
    # the network maps 0 to the bias
    return {"kernel": kernel, "bias": deep_linear(params, jnp.zeros(kernel.shape[:1], kernel.dtype))}


def _check_layers(params):
    if not params:
        raise ValueError(f"params: got {params!r}, allowed is a sequence of at least one layer")
