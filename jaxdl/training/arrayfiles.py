"""Write and read a pytree's arrays through orbax, and what orbax cannot store: empty arrays and trees, random keys."""

import asyncio
import contextlib
import gc
import logging
import os
import pathlib
import re
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.extras import needed

Path = pathlib.Path
_KEY_WORDS = {"key<fry>": 2, "key<rbg>": 4, "key<urbg>": 4}  # of 32 bits, by the dtype of a random key
MOST_SECONDS = 60.0  # to wait for threads that write on after an error
ONE_AT_A_TIME = threading.RLock()  # loggers and the policy of event loops belong to the whole process
IDLE = "metadata_store"  # threads of this name wait for work for ever


class CorruptCheckpointError(ValueError):
    """The files of a checkpoint differ from what was written."""


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
    arrays = {name: _whole(leaf) for name, leaf in _stored(tree).items()}
    if not arrays:
        return
    with needed("a checkpoint", "experiments"):
        import orbax.checkpoint as ocp

    try:
        with _contained(), _checkpointer(ocp) as checkpointer:  # leaving the block waits for the write
            checkpointer.save(path, arrays)
    except ValueError as error:  # orbax turns a full disk into a ValueError, too
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise ValueError(f"tree: orbax cannot write it ({error})") from error
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def read(path: Path, like: Any, name_of: Callable[[str], str] = str) -> Any:
    """Read what `write` wrote, into the structure of ``like`` and onto the first device.

    ``name_of`` maps a leaf's path to its path in the file.

    Raises:
        CorruptCheckpointError: naming the folder, if the files are not what `write` writes.
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


def _whole(leaf: Any) -> Any:
    """Return an array of several processes, which is replicated, as this process has it."""
    return leaf if getattr(leaf, "is_fully_addressable", True) else np.asarray(leaf)


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
    with needed("a checkpoint", "experiments"):
        import orbax.checkpoint as ocp

    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in abstract.items()}
    with _Unreadable(path), _contained(), _checkpointer(ocp) as checkpointer:
        return checkpointer.restore(path, wanted)


def _checkpointer(ocp: Any) -> Any:
    """Return orbax's checkpointer for this process alone: by default those of all processes wait for each other."""
    if jax.process_count() == 1:
        return ocp.StandardCheckpointer()
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process{own}"
    )
    return ocp.StandardCheckpointer(multiprocessing_options=options)


class _Unreadable:
    """Turn the errors of orbax, as it reads, into a CorruptCheckpointError; some of them are of the class Exception."""

    FAMILIES = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError)

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and (kind is Exception or issubclass(kind, self.FAMILIES)):
            reason = textwrap.shorten(str(error), 300)
            raise CorruptCheckpointError(f"{self.path}: cannot be read ({reason})") from error


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Let an error end the block only once nothing of orbax runs or logs any more.

    orbax raises the first error while other writes go on, in threads and event loops of their own. They would write
    into a folder that is being deleted, and log a stack trace each for the error that is raised anyway.
    """
    ended = False
    with ONE_AT_A_TIME, _quiet(), _drained():
        before = {*threading.enumerate()}
        try:
            yield
            ended = True
        finally:
            if not ended:
                _wait_for_others_than(before)
                _forget_frames(sys.exception())
                gc.collect()  # asyncio logs an exception that nobody asked for when its future is collected


def _wait_for_others_than(before: set[threading.Thread]) -> None:
    """Wait until the threads that have begun since have ended; one that is still starting cannot be joined."""
    until = time.monotonic() + MOST_SECONDS
    while time.monotonic() < until:
        if all(thread.name.startswith(IDLE) for thread in {*threading.enumerate()} - before):
            return
        time.sleep(0.01)


def _forget_frames(error: BaseException | None) -> None:
    """Release the futures in the frames of an error and of those behind it."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep orbax and asyncio from logging."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _drained() -> Iterator[None]:
    """Make event loops finish all their tasks before they close; orbax closes them at the first error.

    A write that ends later finds its loop closed, which prints a stack trace.
    """

    class Loop(asyncio.SelectorEventLoop):
        def __init__(self) -> None:
            super().__init__()
            self.begun: list[asyncio.Task[Any]] = []

        def create_task(self, *arguments: Any, **options: Any) -> asyncio.Task[Any]:
            self.begun.append(super().create_task(*arguments, **options))
            return self.begun[-1]

        def call_soon_threadsafe(self, *arguments: Any, **options: Any) -> Any:
            try:
                return super().call_soon_threadsafe(*arguments, **options)
            except RuntimeError:
                if not self.is_closed():  # a late result of a task that was cancelled is awaited by nobody
                    raise

        def close(self) -> None:
            while pending := [task for task in self.begun if not task.done()]:
                self.run_until_complete(asyncio.wait(pending))
            super().close()

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # policies, from Python 3.14 on

        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                return Loop()

        before = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(Policy())
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            asyncio.set_event_loop_policy(before)
