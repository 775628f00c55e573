"""Write and read a pytree's arrays through orbax, and what orbax cannot store: empty arrays and trees, random keys."""

import contextlib
import logging
import os
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

Path = pathlib.Path
_KEY_WORDS = {"key<fry>": 2, "key<rbg>": 4, "key<urbg>": 4}  # of 32 bits, by the dtype of a random key


def describe(argument: str, tree: Any) -> dict[str, list[Any]]:
    """Return ``{path: [shape, dtype]}``, ready for JSON.

    Args:
        argument: name of the tree in messages.
        tree: a pytree of arrays, or of `jax.ShapeDtypeStruct`.

    Raises:
        ValueError: if a leaf is not an array, or would come back in a narrower dtype.
    """
    described = {}
    for name, leaf in _by_path(tree, argument).items():
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise ValueError(f"{argument}{name} is a {type(leaf).__name__}; allowed are arrays")
        if not _is_key(leaf) and leaf.dtype.kind in "OSUMm":
            raise ValueError(f"{argument}{name} is {leaf.dtype}; allowed are numbers, bools and random keys")
        if not _is_key(leaf) and jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
            raise ValueError(f"{argument}{name} is {leaf.dtype}, which JAX narrows unless jax_enable_x64 is set")
        described[name] = [list(leaf.shape), str(leaf.dtype)]
    return described


def write(path: Path, tree: Any) -> None:
    """Write all arrays of ``tree`` into a new folder.

    Raises:
        ValueError: for a dtype that orbax does not support.
        OSError: if writing fails, such as on a full disk.
    """
    arrays = _stored(tree)
    if not arrays:
        return
    import orbax.checkpoint as ocp

    try:
        with _quiet(), ocp.StandardCheckpointer() as checkpointer:  # leaving the block waits for the write
            checkpointer.save(path, arrays)
    except ValueError as error:  # orbax turns a full disk into a ValueError, too
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise ValueError(f"tree: orbax cannot write it ({error})") from error
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def read(path: Path, like: Any, name_of: Callable[[str], str] = str) -> Any:
    """Read what `write` wrote, into the structure of ``like`` and onto the first device.

    ``name_of`` maps a leaf's path to its path in the file.
    """
    abstract = jax.eval_shape(_stored, like)
    arrays = _read(path, {name_of(name): leaf for name, leaf in abstract.items()})
    leaves = [_unstored(arrays.get(name_of(name)), leaf) for name, leaf in _by_path(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def read_all(path: Path, described: dict[str, list[Any]]) -> dict[str, Any]:
    """Read the arrays of `write` by their paths, without the structure of the tree; random keys come as their bits.

    Args:
        path: the folder.
        described: see `describe`.
    """
    stored = {}
    for name, (shape, dtype) in described.items():
        words = _KEY_WORDS.get(dtype)
        shape, dtype = (tuple(shape), dtype) if words is None else ((*shape, words), "uint32")
        if 0 not in shape:
            stored[name] = jax.ShapeDtypeStruct(shape, dtype)
    return _read(path, stored)


def _by_path(tree: Any, argument: str = "tree") -> dict[str, Any]:
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path)
        if name in named:  # keys of two types may look alike
            raise ValueError(f"{argument}: two leaves have the path {name}; rename one of the keys")
        named[name] = leaf
    return named


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _stored(tree: Any) -> dict[str, Any]:
    """Return the arrays that orbax stores: random keys as their bits, and no empty arrays."""
    arrays = {name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in _by_path(tree).items()}
    return {name: leaf for name, leaf in arrays.items() if leaf.size}


def _unstored(array: Any, like: Any) -> Any:
    bits = jax.eval_shape(jax.random.key_data, like) if _is_key(like) else like
    array = jnp.zeros(bits.shape, bits.dtype) if array is None else array
    return jax.random.wrap_key_data(array, impl=_key_impl(like)) if _is_key(like) else array


def _key_impl(like: Any) -> Any:
    found = []  # traced, because `jax.random.key_impl` takes no ShapeDtypeStruct
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return found[0]


def _read(path: Path, abstract: dict[str, Any]) -> dict[str, Any]:
    if not abstract:
        return {}
    import orbax.checkpoint as ocp

    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in abstract.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, wanted)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax's threads from logging a stack trace each for an error that is raised anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
