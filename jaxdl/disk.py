"""Files on disk: replaced whole or not at all, and read only if they are regular files of a stated size.

A folder may hold a pipe, a link to a device or a link to nothing. Opening a pipe waits for ever, so every reader of
files from elsewhere goes through `read_regular`, which looks before it opens.
"""

import contextlib
import os
import pathlib
import stat
import uuid
from collections.abc import Iterator
from typing import Final

__all__ = ["MOST_BYTES", "check_regular", "naming", "read_regular", "replacing", "write_whole"]

Path = pathlib.Path
MOST_BYTES: Final = 1 << 30  # of one file, or of one member of an archive, that is read into memory


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
