"""Signals through a network: norms of the gradients that reach each part. [Lecture row D5]"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdl import nn


class GradientNorms(NamedTuple):
    """Euclidean norms of gradients by the path of the part."""

    outputs: dict[str, Float[Array, ""]]  # ‖∂L/∂z‖ of the part's output z, over batch and features
    params: dict[str, Float[Array, ""]]  # ‖∂L/∂W‖ of all parameters of the part; parts without any are absent


def gradient_norms(
    layer: nn.Layer,
    loss: Callable[[Any], Array],
    params: Any,
    state: Any,
    x: Any,
    paths: Sequence[str],
    *,
    train: bool = False,
    key: Array | None = None,
) -> GradientNorms:
    """Return how much of a loss's gradient reaches the output and the parameters of each part.

    The two can differ: with Glorot's rule a deep ReLU net's ∂L/∂z vanishes towards the input, and the activations,
    which multiply it in ∂L/∂W, vanish towards the output, so that ∂L/∂W is about equal in all layers.

    Args:
        layer: the network.
        loss: outputs → scalar, closed over the labels.
        params, state: of the network.
        x: a batch of inputs.
        paths: paths of the parts, as in `nn.at`; at least one, and none of them empty.
        train: whether to run as in training.
        key: random key for layers that draw in training.

    Raises:
        ValueError: for an unknown path, or a loss that is not a scalar.

    Reference: X. Glorot, Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010,
    https://proceedings.mlr.press/v9/glorot10a.html, figures 7 and 8.

    Examples:
        Of y = w x the loss y² / 2 has the gradient y, and x y for w:

        >>> from jaxdl import nn
        >>> net = nn.serial(fc=nn.Dense(1, bias=False))
        >>> params = {"fc": {"kernel": jnp.array([[3.0]])}}
        >>> norms = analysis.gradient_norms(net, lambda y: (y**2).sum() / 2, params, {}, jnp.array([[2.0]]), ["fc"])
        >>> norms.outputs["fc"], norms.params["fc"]
        (Array(6., dtype=float32), Array(12., dtype=float32))

    [Lecture row D5]
    """
    options = {"train": train, "key": key}
    seen = jax.eval_shape(lambda: nn.tap(layer, paths).apply(params, state, x, **options)[0][1])
    nothing = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), seen)

    def total(params: Any, shifts: dict[str, Any]) -> Array:
        shifted = layer
        for path in sorted(shifts, key=lambda path: -path.count("/")):  # children before the parents that hold them
            shifted = nn.replace(shifted, path, _shifted(nn.at(shifted, path), shifts[path]))
        found = loss(shifted.apply(params, state, x, **options)[0])
        if jnp.shape(found) != ():
            raise ValueError(f"loss: returns shape {jnp.shape(found)}, allowed is a scalar")
        return found

    by_params, by_outputs = jax.grad(total, argnums=(0, 1))(params, nothing)
    weights = {path: _below(by_params, path) for path in paths}
    return GradientNorms(
        {path: _norm(by_outputs[path]) for path in paths},
        {path: _norm(tree) for path, tree in weights.items() if jax.tree.leaves(tree)},
    )


def _shifted(part: nn.Layer, shift: Any) -> nn.Layer:
    def apply(params, state, x, **options):
        y, new_state = part.apply(params, state, x, **options)
        return jax.tree.map(jnp.add, y, shift), new_state

    return part._replace(apply=apply)


def _below(params: Any, path: str) -> Any:
    for name in path.split("/"):
        params = params.get(name, {})
    return params


def _norm(tree: Any) -> Array:
    """Return √Σ|g|² in float32 or wider, scaled by the largest entry, because squares below 1e-38 are 0."""
    leaves = [
        jnp.abs(leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))).ravel() for leaf in jax.tree.leaves(tree)
    ]
    flat = jnp.concatenate([*leaves, jnp.zeros(1)])
    largest = jnp.max(flat)
    scale = jnp.where(largest > 0, largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(flat / scale)))
