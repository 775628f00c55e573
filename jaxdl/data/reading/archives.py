"""Read the files of a folder or tar archive as one stream of names and contents, without unpacking to disk.

An archive is read member by member in memory, so no member can be written anywhere. Links, devices and names that lead
out of the archive are refused nevertheless, because no honest data set contains them. Sizes that an archive claims are
compared with the limits below before anything is allocated.
"""

import bz2
import contextlib
import gzip
import hashlib
import itertools
import lzma
import os
import tarfile
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NamedTuple

from jaxdl import disk

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
DEPTH = 4  # deeper folders are ignored: the deepest layout is ROOT/train/CLASS/IMAGE
MOST_RATIO = 200  # unpacked bytes per byte of a compressed archive, once they exceed `disk.MOST_BYTES`
MOST_PADDING: Final = 16 << 20  # bytes behind the end of an archive that are looked at
_PIECE = 1 << 20
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}  # by the first bytes
_ADDED = ("__MACOSX", "Thumbs.db", "desktop.ini")  # by macOS and Windows
# the errors with which tarfile and the decompressors answer to mutated files
_DAMAGE = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, RecursionError, ValueError, LookupError, TypeError)
_DAMAGE += (AttributeError, ArithmeticError, MemoryError)


class TarMember(NamedTuple):
    """A file or folder in a tar archive, whose contents have not been read."""

    name: str  # relative to the top, with slashes
    is_folder: bool
    start: int  # of the contents, in bytes of the unpacked archive
    size: int  # bytes


class ArchiveEntry(NamedTuple):
    """One entry of a folder or archive."""

    name: str  # relative to the top, with slashes
    kind: Literal["folder", "file", "other", "unreadable"]  # other: a file with another suffix, which is not read
    contents: bytes = b""  # of a file
    problem: str = ""  # why an entry is unreadable


def is_archive(path: Path) -> bool:
    """Return whether the name is that of a readable tar archive."""
    return path.name.lower().endswith(ARCHIVES)


def survey(path: Path, suffixes: tuple[str, ...]) -> Iterator[ArchiveEntry]:
    """Yield everything in a folder or archive, with the contents of the files that have one of these suffixes.

    Hidden files and folders, and those that macOS and Windows add, are left out. A folder is read in sorted order, an
    archive in its own. A wanted file that is a link to nothing, a pipe or a device, or that cannot be read, is yielded
    as unreadable and never opened.

    Args:
        path: the folder or archive.
        suffixes: suffixes of the files to read, in lower case.

    Raises:
        ValueError: if an archive is damaged, has a member that leads out of it, or claims sizes beyond the limits.
        OSError: if a folder cannot be listed.
    """
    if not path.is_dir():
        yield from _members(path, suffixes)
        return
    for name, file in walk(path):
        if file is None:
            yield ArchiveEntry(name, "folder")
        elif not name.lower().endswith(suffixes):
            yield ArchiveEntry(name, "other")
        else:
            try:
                yield ArchiveEntry(name, "file", disk.read_regular(file))
            except ValueError as error:
                yield ArchiveEntry(name, "unreadable", problem=str(error).removeprefix(f"{file}: "))


def files(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, contents) of every file with these suffixes; see `survey`.

    Raises:
        ValueError: see `survey`, and naming the first file that cannot be read.
    """
    for found in survey(path, suffixes):
        if found.kind == "unreadable":
            raise ValueError(f"{path}: {found.name} {found.problem}")
        if found.kind == "file":
            yield found.name, found.contents


def listing(folder: Path) -> str:
    """Return a fingerprint of a folder from its files' names, sizes and modification times, without reading them."""
    digest = hashlib.sha256()
    for name, file in walk(folder):
        state = file.stat() if file is not None and file.exists() else None
        digest.update(f"{name}\0{(state.st_size, state.st_mtime_ns) if state else ''}\0".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces.

    Raises:
        ValueError: if it is not a regular file.
    """
    disk.check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable(path: str) -> str:
    """Return a path in the file system's bytes as text: each name in UTF-8, or else in Latin-1, which has all bytes."""
    return "/".join(map(_decoded, path.encode("utf-8", "surrogateescape").split(b"/")))


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def composed(name: str) -> str:
    """Return a name with accents as parts of their letters (NFC), since macOS stores them apart and Linux either."""
    return unicodedata.normalize("NFC", name)


def _visible(name: str) -> bool:
    return not any(part.startswith(".") or part in _ADDED for part in PurePosixPath(name).parts)


def walk(root: Path) -> Iterator[tuple[str, Path | None]]:
    """Yield (name, file) of all that is visible in a folder, sorted by name within each; the file is None for a folder.

    Raises:
        OSError: if a folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error  # os.walk would pass over a folder that it cannot list

    for folder, below, names in os.walk(root, followlinks=True, onerror=fail):
        place = Path(folder).relative_to(root)
        below[:] = sorted(name for name in below if _visible(name))
        for name in below:
            yield readable((place / name).as_posix()), None
        if len(place.parts) >= DEPTH - 1:
            below.clear()
        for name in filter(_visible, sorted(names)):
            yield readable((place / name).as_posix()), Path(folder, name)


# ---------------------------------------------------------------- archives


class _Unpacked:
    """The bytes of an archive as tarfile reads them, unpacked up to a limit and never further than they go.

    A header may claim any size. tarfile would allocate it at once; this file allocates what is there.
    """

    def __init__(self, path: Path) -> None:
        size = disk.check_regular(path)
        with open(path, "rb") as file:
            start = file.read(6)
        opener: Any = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
        self._file = opener(path, "rb")
        self.is_packed = opener is not open
        self.limit = max(disk.MOST_BYTES, MOST_RATIO * size) if self.is_packed else size
        self._reads_at_end = 0

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        if not 0 <= position <= self.limit:
            raise ValueError(self._refusal(position))
        return self._file.seek(position)

    def read(self, count: int) -> bytes:
        self._check(count)
        pieces, missing = [], count
        while missing and (piece := self._file.read(min(missing, _PIECE))):
            pieces.append(piece)
            missing -= len(piece)
        self._reads_at_end += count > 0 and not pieces
        if self._reads_at_end > 100:  # tarfile reads on for ever in some damaged headers
            raise EOFError("it ends within a header")
        return b"".join(pieces)

    def _check(self, count: int) -> None:
        if count < 0 or count > disk.MOST_BYTES:
            raise ValueError(f"a header claims {count:,} bytes; at most {disk.MOST_BYTES:,} are read at once")
        # a header may be read beyond the end of a truncated archive, which finds nothing
        if count > tarfile.RECORDSIZE and self.tell() + count > self.limit:
            raise ValueError(self._refusal(self.tell() + count))

    def _refusal(self, position: int) -> str:
        if self.is_packed:
            return f"it unpacks to {position:,} bytes or more; at most {self.limit:,} are unpacked from its size"
        return f"truncated: a header claims bytes up to {position:,}, but it has {self.limit:,}"

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn the errors of tarfile and the decompressors into a ValueError that names the archive."""
    try:
        yield
    except (OSError, *_DAMAGE) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the contents
            raise
        why = f"{error}" or type(error).__name__
        raise ValueError(f"{path}: the file is truncated, damaged or not an archive ({why})") from error


def members(path: Path) -> Iterator[TarMember]:
    """Yield the visible members of a tar archive without reading their contents, checked as `survey` checks them.

    Raises:
        ValueError: if the archive is damaged, has a member that leads out of it, or claims sizes beyond the limits.
    """
    with contextlib.closing(_Unpacked(path)) as unpacked:
        yield from _listed(path, unpacked)


def is_packed(path: Path) -> bool:
    """Return whether the file is compressed, by its first bytes, so that it can only be read from its start.

    Raises:
        ValueError: if it is not a regular file.
    """
    with contextlib.closing(_Unpacked(path)) as unpacked:
        return unpacked.is_packed


def _listed(path: Path, unpacked: _Unpacked) -> Iterator[TarMember]:
    with _naming(path):
        archive = tarfile.TarFile(fileobj=unpacked, mode="r")  # pyright: ignore[reportArgumentType]
    while True:
        with _naming(path):
            member = archive.next()
        if member is None:
            break
        archive.members.clear()  # tarfile keeps them all  # pyright: ignore[reportAttributeAccessIssue]
        name = _safe_name(path, member)
        if not _visible(name):
            continue
        _check_kind(path, member, name)
        if not member.isdir():
            yield TarMember(name, False, member.offset_data, member.size)
        elif name != ".":
            yield TarMember(name, True, member.offset_data, 0)
    _check_end(path, unpacked, archive)


def _members(path: Path, suffixes: tuple[str, ...]) -> Iterator[ArchiveEntry]:
    with contextlib.closing(_Unpacked(path)) as unpacked:
        for member in _listed(path, unpacked):
            if member.is_folder:
                yield ArchiveEntry(member.name, "folder")
            elif not member.name.lower().endswith(suffixes):
                yield ArchiveEntry(member.name, "other")
            else:
                yield ArchiveEntry(member.name, "file", _read(path, unpacked, member))


def _read(path: Path, unpacked: _Unpacked, member: TarMember) -> bytes:
    if member.size > disk.MOST_BYTES:
        claim = f"its member {member.name} claims {member.size:,} bytes"
        raise ValueError(f"{path}: {claim}; at most {disk.MOST_BYTES:,} are read")
    with _naming(path):
        unpacked.seek(member.start)
        contents = unpacked.read(member.size)
    if len(contents) != member.size:
        raise ValueError(f"{path}: truncated in its member {member.name}")
    return contents


def _check_end(path: Path, unpacked: _Unpacked, archive: tarfile.TarFile) -> None:
    """Refuse an archive cut off between two members or with a damaged header, which tarfile takes for its end.

    Also one with more behind its end, as `cat` joins two archives, of which tarfile reads the first.
    """
    with _naming(path):
        unpacked.seek(archive.offset)
        end = unpacked.read(tarfile.BLOCKSIZE)
        pieces = (unpacked.read(tarfile.RECORDSIZE) for _ in range(MOST_PADDING // tarfile.RECORDSIZE))
        more = any(piece.strip(b"\0") for piece in itertools.takewhile(bool, pieces))
    if len(end) < tarfile.BLOCKSIZE:
        raise ValueError(f"{path}: the archive is truncated (the blocks that end an archive are missing)")
    if end.strip(b"\0"):
        raise ValueError(f"{path}: the archive is damaged (at byte {archive.offset:,} is neither a header nor its end)")
    if more:
        raise ValueError(
            f"{path}: there is more behind the end of the archive at byte {archive.offset:,}; join folders"
        )


def _safe_name(path: Path, member: tarfile.TarInfo) -> str:
    name = PurePosixPath(readable(member.name))
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{path}: refused, because its member {str(name)!r} leads out of the archive")
    return name.as_posix()


def _check_kind(path: Path, member: tarfile.TarInfo, name: str) -> None:
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"{path}: refused, because its member {name!r} is a link or a device, not a file")
    if member.issparse():
        raise ValueError(f"{path}: refused, because its member {name!r} is a sparse file")
