"""A network's weights in one call: from any file that `read` reads, and into safetensors."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxdl import nn
from jaxdl.interop import files, layouts


def load(
    path: str | os.PathLike, layer: nn.Layer, in_shape: Sequence[int], names: layouts.Names | None = None
) -> tuple[Any, Any]:
    """Params and state of a network from a file of weights.

    Args:
        path: see `files.read`.
        layer: the network.
        in_shape: shape of one input that the weights are for.
        names: which name there belongs to which leaf here, such as `torchvision.resnet` or, for Keras' files,
            `keras.resnet`; None for a file that `save` wrote.

    Returns:
        ``(params, state)`` of float32 arrays; of a file of `save` in the types that it holds.

    Raises:
        ValueError: for a file that cannot be read, and `Mismatch` for weights of another architecture; both name it.
    """
    tensors = files.read(path)
    try:
        if names is None:
            return _own(tensors, layer, in_shape)
        of_keras = Path(path).suffix in (".h5", ".hdf5", ".keras")
        return (layouts.from_keras if of_keras else layouts.from_torch)(tensors, layer, in_shape, names)
    except layouts.Mismatch as error:
        error.args = (f"{path}: {error.args[0]}",)
        raise


def save(path: str | os.PathLike, params: Any, state: Any) -> None:
    """Write params and state into a safetensors file, named by their paths: ``params/conv1/kernel``."""
    tree = {"params": jax.device_get(params), "state": jax.device_get(state)}
    files.write_safetensors(path, _flat(tree), metadata={"format": "jaxdl"})


def _own(tensors: files.Tensors, layer: nn.Layer, in_shape: Sequence[int]) -> tuple[Any, Any]:
    params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), tuple(in_shape)))
    like = _flat({"params": params, "state": state})
    layouts.check_match(*({name: array.shape for name, array in each.items()} for each in (tensors, like)))
    tree = traverse_util.unflatten_dict({name: jnp.asarray(tensors[name]) for name in like}, sep="/")
    return tree.get("params", {}), tree.get("state", {})


def _flat(tree: Any) -> dict[str, Any]:
    return {name: leaf for name, leaf in traverse_util.flatten_dict(tree, sep="/").items() if hasattr(leaf, "shape")}
