"""The C structures of XLA's foreign function interface and of oneDNN, and the check that the running jaxlib has them.

XLA's stand in ``xla/ffi/api/c_api.h``, which jaxlib ships below `jax.ffi.include_dir`; oneDNN's in ``dnnl_types.h`` of
version 3. Minor versions of XLA's interface append fields, so a structure may be longer than it is here, never shorter.
"""

import ctypes as c

API_MAJOR, API_MINOR = 0, 3  # of the interface that the structures below describe
METADATA_EXTENSION = 1
ARRAY_ATTRIBUTE = 1
EXECUTE = 3  # the stage in which buffers hold values
FLOAT32, BFLOAT16, INT64 = 11, 16, 5  # XLA_FFI_DataType
INVALID_ARGUMENT, INTERNAL, FAILED_PRECONDITION = 3, 13, 9  # XLA_FFI_Error_Code

Pointer = c.c_void_p
_HEAD = [("struct_size", c.c_size_t), ("extension", Pointer)]


class Extension(c.Structure):
    """XLA_FFI_Extension_Base."""

    _fields_ = (("struct_size", c.c_size_t), ("type", c.c_int), ("next", Pointer))


class ApiVersion(c.Structure):
    """XLA_FFI_Api_Version."""

    _fields_ = (*_HEAD, ("major", c.c_int), ("minor", c.c_int))


class Metadata(c.Structure):
    """XLA_FFI_Metadata."""

    _fields_ = (("struct_size", c.c_size_t), ("version", ApiVersion), ("traits", c.c_uint32), ("state_type", c.c_int64))


class MetadataExtension(c.Structure):
    """XLA_FFI_Metadata_Extension."""

    _fields_ = (("base", Extension), ("metadata", c.POINTER(Metadata)))


class Buffer(c.Structure):
    """XLA_FFI_Buffer."""

    _fields_ = (*_HEAD, ("dtype", c.c_int), ("data", Pointer), ("rank", c.c_int64), ("dims", c.POINTER(c.c_int64)))


class Buffers(c.Structure):
    """XLA_FFI_Args and XLA_FFI_Rets, which are laid out alike."""

    _fields_ = (*_HEAD, ("size", c.c_int64), ("types", c.POINTER(c.c_int)), ("items", c.POINTER(c.POINTER(Buffer))))


class Array(c.Structure):
    """XLA_FFI_Array, a dense attribute."""

    _fields_ = (("dtype", c.c_int), ("size", c.c_size_t), ("data", c.POINTER(c.c_int64)))


class Attributes(c.Structure):
    """XLA_FFI_Attrs, sorted by name."""

    _fields_ = (
        *_HEAD,
        ("size", c.c_int64),
        ("types", c.POINTER(c.c_int)),
        ("names", Pointer),
        ("items", c.POINTER(c.POINTER(Array))),
    )


class ErrorArguments(c.Structure):
    """XLA_FFI_Error_Create_Args."""

    _fields_ = (*_HEAD, ("message", c.c_char_p), ("code", c.c_int))


CreateError = c.CFUNCTYPE(Pointer, c.POINTER(ErrorArguments))


class Api(c.Structure):
    """The head of XLA_FFI_Api, up to the one function that a handler calls."""

    _fields_ = (*_HEAD, ("version", ApiVersion), ("internal", Pointer), ("create_error", CreateError))


class CallFrame(c.Structure):
    """XLA_FFI_CallFrame up to its attributes."""

    _fields_ = (
        *_HEAD,
        ("api", c.POINTER(Api)),
        ("context", Pointer),
        ("stage", c.c_int),
        ("arguments", Buffers),
        ("results", Buffers),
        ("attributes", Attributes),
    )


class ExecutionArgument(c.Structure):
    """dnnl_exec_arg_t."""

    _fields_ = (("index", c.c_int), ("memory", Pointer))


Dims = c.c_int64 * 12  # dnnl_dims_t
Handler = c.CFUNCTYPE(Pointer, c.POINTER(CallFrame))


def mismatch(frame: CallFrame) -> str | None:
    """Say how the interface that calls differs from the one described here; None where it does not.

    Only what every version has at the same place is read: the size that each structure states first.
    """
    if frame.struct_size < c.sizeof(CallFrame):
        return f"XLA's call frame has {frame.struct_size} bytes, {c.sizeof(CallFrame)} are known"
    version = frame.api.contents.version
    if version.major != API_MAJOR or version.minor < API_MINOR:
        return (
            f"XLA's foreign function interface has version {version.major}.{version.minor}; known are "
            f"{API_MAJOR}.{API_MINOR} and later ones of {API_MAJOR}.x"
        )
    for name, part in (("arguments", frame.arguments), ("results", frame.results), ("attributes", frame.attributes)):
        if part.struct_size != c.sizeof(part):  # they lie inside the frame, so a longer one moves what follows
            return f"XLA's {name} have {part.struct_size} bytes, {c.sizeof(part)} are known"
    return None
