"""What each layer of a network gives and costs, without allocating its parameters."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from jaxdl import nn


class LayerRow(NamedTuple):
    """One leaf of a network."""

    layer: str  # path
    op: str  # kind
    output: tuple[int, ...]  # shape of one output
    parameters: int  # number of trained values


def count_parameters(layer: nn.Layer, in_shape: Sequence[int]) -> int:
    """Number of trained values of a network on inputs of ``in_shape`` (no batch axis)."""
    return _count(_abstract_params(layer, in_shape))


def layer_rows(layer: nn.Layer, in_shape: Sequence[int]) -> list[LayerRow]:
    """One row per leaf, in order of application; a network that is a leaf itself is one row with the path "".

    Args:
        layer: the network.
        in_shape: shape of one input, such as ``(28, 28, 1)``.

    Reference: the table of VGG-16 in the lectures (Lecture row I).
    """
    params = _abstract_params(layer, in_shape)
    if not layer.children:
        return [LayerRow("", layer.op.kind, layer.out_shape(tuple(in_shape)), _count(params))]
    leaves = [path for path in nn.paths(layer) if not nn.at(layer, path).children]
    shapes = nn.tap(layer, leaves).out_shape(tuple(in_shape))[1]
    return [LayerRow(path, nn.at(layer, path).op.kind, shapes[path], _count(_below(params, path))) for path in leaves]


def _abstract_params(layer: nn.Layer, in_shape: Sequence[int]) -> Any:
    return jax.eval_shape(lambda key: layer.init(key, tuple(in_shape))[0], jax.random.key(0))


def _below(params: Any, path: str) -> Any:
    for name in path.split("/"):
        params = params.get(name, {})
    return params


def _count(params: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
