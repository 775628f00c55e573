"""A disk that is full, over quota, read-only or closed from the n-th write on, and a process that dies before it.

Everything in this process that changes files below one folder is counted: opening for writing, each write to an open
file, flushing to disk, making, renaming and replacing. Threads of C++ are not; see `test_faults` for real full disks.
"""

import builtins
import contextlib
import errno
import io
import os
import pathlib

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """An exception that no handler of errors catches."""


class Disk:
    """The calls that changed files so far, and the number of those that still succeed."""

    def __init__(self, root, allowed, error):
        self.root, self.allowed, self.error = pathlib.Path(root), allowed, error
        self.calls = []  # "what path", relative to the root
        self.dead = False  # then nothing is cleaned up, either

    def covers(self, path):
        return isinstance(path, str | os.PathLike) and pathlib.Path(path).absolute().is_relative_to(self.root)

    def touch(self, what, path, *, named=True):
        self.calls.append(f"{what} {pathlib.Path(path).absolute().relative_to(self.root)}")
        if len(self.calls) > self.allowed:
            if self.error is Killed:
                self.dead = True
                raise Killed
            raise OSError(self.error, os.strerror(self.error), *([str(path)] if named else []))


@contextlib.contextmanager
def breaking(patch, root, *, allowed=10**9, error=errno.ENOSPC):
    """Yield a `Disk` whose calls fail from the one after ``allowed`` on; ``error`` is an errno or `Killed`."""
    disk = Disk(root, allowed, error)

    class File(io.FileIO):
        def write(self, content):
            disk.touch("write", self.name, named=False)  # Python names no file here
            return super().write(content)

    real_open, real_os_open, real_fsync = io.open, os.open, os.fsync

    def opened(path, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *args, **options):
        if not ({*mode} & {*"wax+"}) or not disk.covers(path) or "opener" in options:  # os.open is watched, too
            return real_open(path, mode, buffering, encoding, errors, newline, *args, **options)
        disk.touch("open", path)
        raw = File(os.fspath(path), mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    def os_opened(path, flags, *args, **kwargs):
        if flags & WRITING and disk.covers(path):
            disk.touch("open", path)
        return real_os_open(path, flags, *args, **kwargs)

    def fsync(descriptor):
        path = pathlib.Path(f"/proc/self/fd/{descriptor if isinstance(descriptor, int) else descriptor.fileno()}")
        if path.exists() and disk.covers(real := os.readlink(path)):
            disk.touch("fsync", real, named=False)
        return real_fsync(descriptor)

    def changing(name):
        real = getattr(os, name)

        def call(path, *args, **kwargs):
            if disk.covers(path):
                disk.touch(name, path)
            return real(path, *args, **kwargs)

        return call

    def deleting(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            if disk.dead:
                raise Killed
            return real(*args, **kwargs)

        return call

    with patch.context() as here:
        here.setattr(io, "open", opened)
        here.setattr(builtins, "open", opened)
        here.setattr(os, "open", os_opened)
        here.setattr(os, "fsync", fsync)
        for name in ("mkdir", "rename", "replace"):
            here.setattr(os, name, changing(name))
        for name in ("unlink", "remove", "rmdir"):
            here.setattr(os, name, deleting(name))
        yield disk


def contents(folder):
    """Return the files of a folder and their bytes, without locks."""
    files = (path for path in pathlib.Path(folder).rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
