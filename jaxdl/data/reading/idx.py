"""IDX, the format of MNIST's files: big-endian magic number, sizes, then bytes.

A file is `00 00 08 d` (08 = unsigned bytes, d = number of dimensions), d sizes of 4 bytes, then the values in
row-major order; usually gzipped. Reference: Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten
digits, http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl import disk
from jaxdl.data.dataset import sha256

_TYPES = {0x08: "uint8", 0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def read_idx(path: str | Path, *, ndim: int, digest: str | None = None) -> tuple[np.ndarray, str]:
    """Read one IDX file of unsigned bytes, gzipped or not, as its first bytes tell.

    Args:
        path: the file.
        ndim: number of dimensions that it must have: 3 for images, 1 for labels.
        digest: SHA-256 that the unpacked bytes must have, so that a re-compressed copy is accepted; None accepts any.

    Returns:
        The array (read-only) and the SHA-256 of the unpacked bytes.

    Raises:
        ValueError: if the file is damaged, truncated, too long, of another format or not the one expected; the message
            names the file and the fault.
    """
    data = unpacked(path, ndim=ndim)
    values = parse_idx(data, ndim=ndim, name=str(path))
    found = sha256(data)
    if digest is not None and found != digest:
        raise ValueError(
            f"{path}: its contents are not the official ones (SHA-256 of the unpacked bytes is {found}, "
            f"expected {digest}); the file was changed, or is another one under this name"
        )
    return values, found


def unpacked(path: str | Path, *, ndim: int) -> bytes:
    """Return the bytes of an IDX file, unzipped if it starts like a gzip file, and at most one more than it claims.

    A header that claims more than `disk.MOST_BYTES` is refused before anything else is read.

    Raises:
        ValueError: if it is not a regular file or not an IDX file, or the gzip stream is truncated or damaged.
    """
    disk.check_regular(path)
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: Any = gzip.GzipFile(fileobj=raw) if zipped else raw
        try:
            header = file.read(4 + 4 * ndim)
            expected = _claimed(header, ndim=ndim, name=str(path))
            return _with_rest(header, file, expected + 1 - len(header))
        except EOFError as error:
            raise ValueError(f"{path}: the gzip file is truncated ({os.path.getsize(path)} bytes)") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged ({error})") from error


def _with_rest(header: bytes, file: Any, count: int) -> bytes:
    """Return the header and up to that many more bytes, read in pieces, so that a false claim allocates nothing."""
    pieces = [header]
    while count > 0 and (piece := file.read(min(count, 1 << 20))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _claimed(data: bytes, *, ndim: int, name: str) -> int:
    """Return the size in bytes that an IDX file's header claims."""
    start = 4 + 4 * ndim
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise ValueError(f"{name}: not an IDX file (it starts with {data[:4].hex(' ') or 'nothing'})")
    if data[2] != 0x08:
        raise ValueError(f"{name}: an IDX file of {_TYPES[data[2]]}; expected unsigned bytes")
    if data[3] != ndim:
        raise ValueError(f"{name}: an IDX file with {data[3]} dimensions; expected {ndim}")
    if len(data) < start:
        raise ValueError(f"{name}: truncated in its header ({len(data)} of {start} bytes)")
    shape = struct.unpack_from(f">{ndim}I", data, 4)
    expected = start + math.prod(shape)
    if expected > disk.MOST_BYTES:
        raise ValueError(f"{name}: sizes {shape} need {expected:,} bytes; at most {disk.MOST_BYTES:,} are read")
    return expected


def parse_idx(data: bytes, *, ndim: int, name: str) -> np.ndarray:
    """Return the array in the bytes of an IDX file, without copying it.

    Args:
        data: the unpacked file.
        ndim: number of dimensions that it must have.
        name: the file's name in messages.

    Raises:
        ValueError: see `read_idx`.
    """
    expected, start = _claimed(data, ndim=ndim, name=name), 4 + 4 * ndim
    shape = struct.unpack_from(f">{ndim}I", data, 4)
    if len(data) != expected:
        what = "truncated" if len(data) < expected else "too long"
        raise ValueError(f"{name}: {what}: {len(data)} bytes, but sizes {shape} need {expected}")
    try:
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # one size is 0, and the others together exceed an address
        raise ValueError(f"{name}: sizes {shape} make no array ({error})") from error
