"""oneDNN's products as XLA calls: the handler that XLA runs, its registration, and the function that traces a call."""

import atexit
import contextlib
import ctypes as c
import dis
import functools
import math
import os
import sys
import threading
import time
import types
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact

from jaxdl.kernels.native import descriptors, loader, products, structures
from jaxdl.kernels.windows import Axis

TARGET = "jaxdl_onednn_convolution"  # of the custom call; its one attribute is a Descriptor's numbers
_CHOSEN = ("float32",)  # bfloat16 runs, and is not faster on every CPU
_QUIET = 0.2  # seconds
_raise_in = c.pythonapi.PyThreadState_SetAsyncExc


class _State:
    """What the handler has to know of the process."""

    mismatch: str | None = None  # set at registration
    forked = False
    leaving = False
    running: ClassVar[set[int]] = set()  # threads that are in the handler
    last_call = -math.inf  # when the handler last ended, in seconds


def status() -> str:
    """Say in a sentence whether convolutions run on oneDNN in this process, and why not where they do not.

    Example:
        >>> from jaxdl.kernels import native
        >>> native.status()  # doctest: +SKIP
        'convolutions on CPU use oneDNN 3.2.0 (.venv/lib/libdnnl.so.3)'
    """
    problem = _problem()
    return f"convolutions on CPU use {loader.find().reason}" if problem is None else f"not in use: {problem}"


def available() -> bool:
    """Whether the calls below can run in this process."""
    return _problem() is None


@functools.cache
def _problem() -> str | None:
    found = loader.find()
    if found.library is None:
        return found.reason
    _register()
    return _State.mismatch


def serves(dtype: DTypeLike) -> bool:
    """Whether arrays of this type are multiplied by oneDNN unless another method is asked for."""
    return str(jnp.dtype(dtype)) in _CHOSEN and available()


def compute(product: str, a: Inexact[Array, "..."], b: Inexact[Array, "..."], axes: tuple[Axis, ...], groups: int):
    """Compute one product of a convolution on oneDNN; see `kernels.compute` for the arguments.

    Raises:
        ValueError: where oneDNN cannot run, for other dtypes than float32 and bfloat16, and more than two spatial axes.
    """
    if (problem := _problem()) is not None:
        raise ValueError(f'method="native": {problem}')
    if product == "kernel_gradient" and descriptors.overruns(a.shape[-1], axes):
        a, axes = _met(a, axes)
    if product == "kernel_gradient" and descriptors.sums_garbage(str(a.dtype), axes):
        return compute(product, a.astype("float32"), b.astype("float32"), axes, groups).astype(a.dtype)
    descriptor = descriptors.describe(product, a.shape, b.shape, str(a.dtype), axes, groups)
    if not (a.size and b.size):  # oneDNN would leave the result as it is
        return jnp.zeros(descriptor.result_shape, a.dtype)
    run = jax.ffi.ffi_call(TARGET, jax.ShapeDtypeStruct(descriptor.result_shape, a.dtype), vmap_method="sequential")
    return run(a, b, descriptor=np.asarray(descriptor.numbers(), np.int64))


def _met(x: Inexact[Array, "..."], axes: tuple[Axis, ...]) -> tuple[Inexact[Array, "..."], tuple[Axis, ...]]:
    """Return the inputs that 1×1 windows without padding read, and the windows that read them one after the other."""
    for number, axis in enumerate(axes, start=1):
        x = lax.slice_in_dim(x, 0, axis.reach, axis.stride, number)
    return x, tuple(Axis(axis.outputs, 1, 1, 1, 0, 0) for axis in axes)


def _register() -> None:
    new_capsule = c.pythonapi.PyCapsule_New
    new_capsule.restype, new_capsule.argtypes = c.py_object, [c.c_void_p, c.c_char_p, c.c_void_p]
    capsule = new_capsule(c.cast(_handler, c.c_void_p), None, None)
    jax.ffi.register_ffi_target(TARGET, capsule, platform="cpu", api_version=1)
    os.register_at_fork(after_in_child=lambda: setattr(_State, "forked", True))
    atexit.register(_finish)


def _finish() -> None:
    """Let steps in flight end: XLA's threads cannot enter Python, which the handler is, once the interpreter is gone.

    What a program still holds is computed. Of a step whose results nobody holds, the remaining products answer with an
    error, which ends it; it is over once no product has been asked for during `_QUIET` seconds.
    """
    for array in jax.live_arrays():
        if not array.is_deleted():
            with contextlib.suppress(RuntimeError, ValueError):  # of a step that failed, which has ended
                array.block_until_ready()
    _State.leaving = True
    while _State.running or time.monotonic() - _State.last_call < _QUIET:
        time.sleep(_QUIET / 10)


def _entered_without_signals(f: types.FunctionType) -> types.FunctionType:
    """Make Python run the handlers of pending signals inside `f` instead of at its entry, where nothing can be caught.

    Python looks for signals at the instruction RESUME of a function's entry, and not where its argument says that it
    resumes after a "yield from".
    """
    offset = next((one.offset for one in dis.get_instructions(f) if (one.opname, one.arg) == ("RESUME", 0)), None)
    if offset is not None:
        code = bytearray(f.__code__.co_code)
        code[offset + 1] = 2
        f.__code__ = f.__code__.replace(co_code=bytes(code))
    return f


@structures.Handler
@_entered_without_signals
def _handler(pointer):
    """Answer XLA. No exception may leave: ctypes would drop it, and XLA take any value for the answer."""
    interrupted = answered = False
    while not answered:
        again = False
        try:
            answer = _answer(pointer.contents)
            answered = True
        except KeyboardInterrupt:  # XLA may run the call on the main thread; the product is computed anew
            interrupted = again = True
        finally:
            if not (answered or again):  # by the handler of another signal, which may raise any class
                error = sys.exc_info()[1]
                answer = _error(pointer.contents, structures.INTERNAL, f"{type(error).__name__}: {error}")
                break  # noqa: B012  drops the exception, which XLA has as its error now
    if interrupted:  # for the caller of XLA; Python looks for it after a call, and so not after a map
        _ = [*map(_raise_in, (c.c_ulong(threading.get_ident()),), (c.py_object(KeyboardInterrupt),))]
    return answer


def _answer(frame: structures.CallFrame) -> int | None:
    thread = threading.get_ident()
    _State.running.add(thread)
    try:
        if frame.extension:
            return _describe(frame)
        if frame.stage == structures.EXECUTE:
            _execute(frame)
    except (RuntimeError, ValueError, MemoryError) as error:
        return _error(frame, structures.INTERNAL, str(error))
    finally:
        _State.last_call = time.monotonic()
        _State.running.discard(thread)
    return None


def _describe(frame: structures.CallFrame) -> int | None:
    """Answer XLA's question, asked at registration, for which version the handler was written."""
    extension = c.cast(frame.extension, c.POINTER(structures.MetadataExtension)).contents
    if extension.base.type != structures.METADATA_EXTENSION:
        raise ValueError(f"XLA asks with the unknown extension {extension.base.type}")
    _State.mismatch = structures.mismatch(frame)
    version = extension.metadata.contents.version
    version.major, version.minor = structures.API_MAJOR, structures.API_MINOR
    extension.metadata.contents.traits = 0
    return None


def _execute(frame: structures.CallFrame) -> None:
    if _State.leaving:
        raise RuntimeError("the interpreter is leaving")
    if _State.forked:
        raise RuntimeError("a forked process cannot use oneDNN's threads; start processes with the method 'spawn'")
    attribute = frame.attributes.items[0].contents
    key = c.string_at(attribute.data, 8 * attribute.size)
    product = products.prepared(key, lambda: descriptors.from_numbers(attribute.data[: attribute.size]))
    operands, results = frame.arguments.items, frame.results.items
    product.run((operands[0].contents.data, operands[1].contents.data, results[0].contents.data))


def _error(frame: structures.CallFrame, code: int, message: str) -> int | None:
    arguments = structures.ErrorArguments(c.sizeof(structures.ErrorArguments), None, message.encode(), code)
    return frame.api.contents.create_error(c.byref(arguments))
