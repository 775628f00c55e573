"""Files on disk: replaced whole or not at all, and read only if they are regular files of a stated size.

A folder may hold a pipe, a link to a device or a link to nothing. Opening a pipe waits for ever, so every reader of
files from elsewhere goes through `read_regular`, which looks before it opens.
"""

import contextlib
import io
import math
import os
import pathlib
import stat
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np

__all__ = [
    "MOST_BYTES",
    "check_regular",
    "naming",
    "read_arrays",
    "read_regular",
    "replacing",
    "write_all",
    "write_whole",
]

Path = pathlib.Path
MOST_BYTES: Final = 1 << 30  # of one file, or of one member of an archive, that is read into memory
_PIECE = 1 << 24  # bytes
_DAMAGE = (OSError, EOFError, ValueError, LookupError, RuntimeError, NotImplementedError, MemoryError)
_DAMAGE += (SyntaxError, TypeError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)


@contextlib.contextmanager
def naming(path: str | os.PathLike, temporary: str | os.PathLike | None = None) -> Iterator[None]:
    """Name a file in an OSError that names none, as writing raises it on a full disk.

    Args:
        path: the file to name.
        temporary: the file or folder that is written in its place, whose name would tell the user nothing.

    Raises:
        OSError: the block's, with the same number and reason.
    """
    try:
        yield
    except OSError as error:
        there = error.filename
        hidden = there is None or (temporary is not None and str(there).startswith(str(temporary)))
        if error.errno is None or not hidden:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike, *, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside a file, which replaces the file if the block succeeds and is deleted otherwise.

    The temporary file is flushed to disk before it is renamed, so a reader sees the old file or the new one, and so
    does the next process after a kill at any moment.

    Args:
        path: the file; its folder must exist.
        shared: whether several processes may write this file at once; their temporary files then have names of their
            own. A process that is alone finds the one that an earlier process left, and overwrites it.

    Raises:
        OSError: naming the file, if writing fails, such as on a full disk; the file is then unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part" if shared else f".{path.name}.writing")
    try:
        with naming(path, temporary):
            # a stranger's folder may have a pipe of this name, which would wait for ever, or a link to another file
            temporary.unlink(missing_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike, content: str | bytes, *, shared: bool = False) -> None:
    """Write a file, or replace it, whole or not at all. See `replacing`.

    Text is encoded as UTF-8; bytes of file names that are not UTF-8 are escaped, as in ``\\udce9``.

    Raises:
        OSError: naming the file, if writing fails, such as on a full disk; the file is then unchanged.
    """
    with replacing(path, shared=shared) as temporary:
        temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def check_regular(path: str | os.PathLike) -> int:
    """Return the size of a regular file in bytes, or of the one that a link leads to, without opening it.

    Raises:
        ValueError: naming the path, if there is nothing, a link to nothing, a folder, a pipe, a socket or a device.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        what = "is a link to nothing" if os.path.islink(path) else what
        raise ValueError(f"{os.fspath(path)}: {what}") from error
    except ValueError as error:  # a null character in the name
        raise ValueError(f"{os.fspath(path)!r} is not the name of a file ({error})") from error
    if not stat.S_ISREG(state.st_mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        kind = kinds.get(stat.S_IFMT(state.st_mode), "device")
        raise ValueError(f"{os.fspath(path)}: is a {kind}; expected a file")
    return state.st_size


def read_regular(path: str | os.PathLike, *, most: int | None = None) -> bytes:
    """Return the contents of a regular file.

    Args:
        path: the file, or a link to it.
        most: the largest size to read, in bytes; None stands for `MOST_BYTES`.

    Raises:
        ValueError: naming the path, if it is not a regular file (see `check_regular`), is larger than that or cannot be
            read.
    """
    size, most = check_regular(path), MOST_BYTES if most is None else most
    if size > most:
        raise ValueError(f"{os.fspath(path)}: has {size:,} bytes; at most {most:,} are read")
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise ValueError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from error


def read_arrays(path: str | os.PathLike, *, most: int = MOST_BYTES) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` archive by name.

    numpy.load allocates whatever an array's header claims, and returns a member without a header as bytes.

    Args:
        path: the file, or a link to it.
        most: the largest number of bytes of all arrays.

    Raises:
        ValueError: naming the path, if it is not a regular file or no whole archive, or if a member is not a plain
            array of the size that it claims.
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(info.file_size for info in archive.infolist())
            if claimed > most:
                raise ValueError(f"its members claim {claimed:,} bytes; at most {most:,} are read")
            return {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
    except _DAMAGE as error:
        why = " ".join(f"{error}".split())[:200] or type(error).__name__
        raise ValueError(f"{os.fspath(path)}: is no whole archive of arrays ({why})") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return an array in numpy's format, whose header is read before anything is allocated."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in read_header:
            raise ValueError(f"{info.filename} has version {version} of numpy's format; 1 and 2 are read")
        shape, in_columns, dtype = read_header[version](file)
        there = info.file_size - file.tell()
        if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != there:
            raise ValueError(f"{info.filename} claims {dtype} {shape}, and has {there:,} bytes")
        content = np.empty(there, np.uint8)
        for start in range(0, there, _PIECE):
            piece = file.read(min(_PIECE, there - start))
            content[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        if file.read(1):  # also compares the checksum, which is done at the end
            raise ValueError(f"{info.filename} has more than {there:,} bytes")
    return content.view(dtype).reshape(shape, order="F" if in_columns else "C")


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write bytes without a buffer, whose rest Python would write again when the file is closed."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
