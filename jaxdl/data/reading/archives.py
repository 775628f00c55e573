"""Read the files of a folder or tar archive as one stream of (name, bytes), without unpacking to disk.

An archive is read member by member in memory, so no member can be written anywhere. Links, devices and names that lead
out of the archive are refused nevertheless, because no honest data set contains them.
"""

import gzip
import hashlib
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
DEPTH = 4  # deeper folders are ignored: the deepest layout is ROOT/train/CLASS/IMAGE


def is_archive(path: Path) -> bool:
    """Return whether the name is that of a readable tar archive."""
    return path.name.lower().endswith(ARCHIVES)


def files(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes | None]]:
    """Yield (name relative to the top, contents) of every file with these suffixes, and (name, None) of every folder.

    Hidden files, and those that macOS adds, are left out. A folder is read in sorted order, an archive in its own.

    Args:
        path: the folder or archive.
        suffixes: suffixes of the files to read, in lower case.

    Raises:
        ValueError: if an archive is damaged or has a member that leads out of it.
    """
    if path.is_file():
        yield from _members(path, suffixes)
        return
    for name, file in _walk(path):
        if file is None or name.lower().endswith(suffixes):
            yield name, None if file is None else file.read_bytes()


def listing(folder: Path) -> str:
    """Return a fingerprint of a folder from its files' names, sizes and modification times, without reading them."""
    digest = hashlib.sha256()
    for name, file in _walk(folder):
        state = file.stat() if file is not None else None
        digest.update(f"{name}\0{(state.st_size, state.st_mtime_ns) if state else ''}\0".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _visible(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def _walk(root: Path) -> Iterator[tuple[str, Path | None]]:
    for folder, below, names in os.walk(root, followlinks=True):
        place = Path(folder).relative_to(root)
        below[:] = sorted(name for name in below if _visible(name))
        for name in below:
            yield (place / name).as_posix(), None
        if len(place.parts) >= DEPTH - 1:
            below.clear()
        for name in filter(_visible, sorted(names)):
            yield (place / name).as_posix(), Path(folder, name)


def _members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes | None]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = _safe_name(path, member)
                if member.isdir() and name != ".":
                    yield name, None
                elif member.isfile() and _visible(name) and name.lower().endswith(suffixes):
                    yield name, _read(path, archive, member)
            _check_end(path, archive)
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: the file is truncated, damaged or not an archive ({error})") from error


def _read(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    contents = file.read() if file is not None else b""
    if len(contents) != member.size:
        raise ValueError(f"{path}: truncated in its member {member.name}")
    return contents


def _check_end(path: Path, archive: tarfile.TarFile) -> None:
    """Refuse an archive cut off between two members, which tarfile takes for its end."""
    file = archive.fileobj
    if file is not None:
        file.seek(archive.offset)
        if len(file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise ValueError(f"{path}: the archive is truncated (the blocks that end an archive are missing)")


def _safe_name(path: Path, member: tarfile.TarInfo) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"{path}: refused, because its member {member.name!r} leads out of the archive")
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"{path}: refused, because its member {member.name!r} is a link or a device, not a file")
    return name.as_posix()
