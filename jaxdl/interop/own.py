"""Load a network's weights from any file that `read` understands, and save them as safetensors."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import nn, paths
from jaxdl.data.dataset import channels_last_hint
from jaxdl.interop import files, layouts
from jaxdl.nn.layer import is_shape


def load(
    path: str | os.PathLike, layer: nn.Layer, in_shape: Any, names: layouts.Names | None = None
) -> tuple[Any, Any]:
    """Load the params and state of a network from a file of weights.

    Args:
        path: the file; see `files.read`.
        layer: the network.
        in_shape: shape of the one input that the weights are for.
        names: maps paths of leaves to names in the file: a dict, or a function of the layer such as
            `torchvision.resnet` or, for Keras' files, `keras.resnet`; None for a file that `save` wrote.

    Returns:
        ``(params, state)`` of float32 arrays; from a file of `save`, arrays keep their dtypes.

    Raises:
        ValueError: for a file that cannot be read, and its subclass `Mismatch` for weights of another architecture;
            both name the file.

    Examples:
        >>> import tempfile
        >>> from jaxdl import nn
        >>> net = nn.Dense(2)
        >>> params, state = net.init(jax.random.key(0), (3,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     interop.save(f"{folder}/weights.safetensors", params, state)
        ...     again, _ = interop.load(f"{folder}/weights.safetensors", net, (3,))
        >>> bool((again["kernel"] == params["kernel"]).all())
        True
    """
    tensors = files.read(path)
    try:
        if names is None:
            return _own(path, tensors, layer, in_shape)
        convert = layouts.from_keras if files.is_keras(path) else layouts.from_torch
        return convert(tensors, layer, in_shape, names)
    except layouts.Mismatch as error:
        error.args = (f"{path}: {error.args[0]}{_advice(in_shape)}",)
        raise
    except ValueError as error:
        if not (advice := _advice(in_shape)):
            raise
        raise ValueError(f"{error}{advice}") from error


def save(path: str | os.PathLike, params: Any, state: Any) -> None:
    """Write params and state into a safetensors file, named by their paths: ``params/conv1/kernel``.

    Shapes, dtypes and bits are kept.

    Args:
        path: the file; its folder must exist.
        params: pytree of arrays.
        state: pytree of arrays.

    Raises:
        ValueError: for a leaf that is not an array, two leaves with one path (``{"a/b": ...}`` beside
            ``{"a": {"b": ...}}``), and dtypes that safetensors does not support, such as complex128 and int4.
    """
    tree = {"params": params, "state": state}
    named = _named(tree)
    for name, leaf in named.items():
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise ValueError(f"{name} is a {type(leaf).__name__}; allowed are arrays")
    files.write_safetensors(path, named, metadata={"format": "jaxdl"})


def _advice(in_shape: Any) -> str:
    hint = channels_last_hint(in_shape) if is_shape(in_shape) else ""  # several inputs have none
    return f"; in_shape={in_shape}: {hint}" if hint else ""


def _own(path: str | os.PathLike, tensors: files.Tensors, layer: nn.Layer, in_shape: Any) -> tuple[Any, Any]:
    params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))
    tree = {"params": params, "state": state}
    like = _named(tree)
    layouts.check_match(*({name: array.shape for name, array in each.items()} for each in (tensors, like)))
    for name, array in tensors.items():
        if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
            raise ValueError(f"{path}: {name} is {array.dtype}, which JAX narrows unless jax_enable_x64 is set")
    filled = jax.tree.unflatten(jax.tree.structure(tree), [jnp.asarray(tensors[name]) for name in like])
    return filled["params"], filled["state"]


def _named(tree: Any) -> dict[str, Any]:
    """Return path → leaf, in the tree's order.

    Raises:
        ValueError: if two leaves have one path.
    """
    named: dict[str, Any] = {}
    for path, leaf in paths.of_leaves(tree):
        name = "/".join(jax.tree_util.keystr((key,), simple=True) for key in path)
        if name in named:
            raise ValueError(f"two leaves have the path {name}; rename one, or drop '/' from names")
        named[name] = leaf
    return named
