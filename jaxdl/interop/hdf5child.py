"""Read an HDF5 file of weights in a process of its own: libhdf5 may not return from a damaged file, or may crash.

``python -P hdf5child.py PATH`` writes one line of JSON and then the bytes of all arrays to standard output; ``-`` reads
the file from standard input. The JSON is a tree of ``{"name", "attrs", "items"}`` for a group and ``{"name", "dtype",
"shape"}`` for an array, whose bytes follow in the tree's order. For a file that is not read, the exit code is `REFUSED`
or `DAMAGED`, and standard error has the reason. The program imports numpy and h5py alone, so that it starts in a
fraction of a second.
"""

import io
import json
import os
import struct
import sys
import zlib
from typing import Any, Final

import h5py
import numpy as np

MOST_RATIO: Final = 200  # bytes of the arrays per byte of the file, beyond `FREE`
FREE: Final = 64 << 20
ATTRIBUTES: Final = ("name", "layer_names", "weight_names", "model_config")
OPTIMIZER: Final = ("optimizer", "optimizer_weights")  # groups beside the layers' that hold no weights
REFUSED: Final = 3
DAMAGED: Final = 4
MEMORY: Final = 2 << 30  # bytes of addresses for the libraries, beside those of the arrays
# the errors with which h5py answers to mutated files
DAMAGE = (OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
DAMAGE += (AssertionError, MemoryError, struct.error, zlib.error)


class RefusedFile(ValueError):
    """A file that is whole and still not read; its message says why."""


def tree_of(source: Any, size: int, arrays: list[Any]) -> dict[str, Any]:
    """Return the tree of an open HDF5 file, and append its data sets to a list in the tree's order.

    Raises:
        RefusedFile: if it has links, or claims more bytes than a file of this size can hold.
    """
    claimed = _claimed(source, {_address(source)})
    if claimed > max(FREE, MOST_RATIO * size):
        raise RefusedFile(f"its arrays claim {claimed:,} bytes, far more than the file has")
    return _group(source, arrays, () if "layer_names" in source.attrs else OPTIMIZER)


def _group(group: Any, arrays: list[Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for name in group:
        item = group[name]
        if name in without:
            continue
        if isinstance(item, h5py.Group):
            items[name] = _group(item, arrays)
        else:
            if item.dtype.kind not in "fiub":
                raise RefusedFile(f"{item.name} is {item.dtype}; expected numbers")
            items[name] = {"name": item.name, "dtype": item.dtype.str, "shape": item.shape}
            arrays.append(item)
    attributes = {name: _words(group.attrs[name]) for name in ATTRIBUTES if name in group.attrs}
    return {"name": group.name, "attrs": attributes, "items": items}


def _words(value: Any) -> Any:
    """Return an attribute as JSON takes it: a string, a number or a list of strings."""
    if isinstance(value, bytes | str):
        return value.decode() if isinstance(value, bytes) else value
    if np.ndim(value) == 0:
        return np.asarray(value).item()
    return [word.decode() if isinstance(word, bytes) else str(word) for word in value.tolist()]


def _claimed(group: Any, seen: set[int]) -> int:
    """Return the bytes of all arrays below a group. Raise for links and for groups that are reached twice."""
    total = 0
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise RefusedFile(f"{group.name}/{name} is a link, which is not followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            if (address := _address(item)) in seen:
                raise RefusedFile(f"{item.name} is another name of a group, which is not followed")
            seen.add(address)
            total += _claimed(item, seen)
        elif not isinstance(item, h5py.Dataset):
            raise RefusedFile(f"{item.name} is a {type(item).__name__}, neither a group nor an array")
        elif item.external or item.is_virtual:
            raise RefusedFile(f"{item.name} keeps its values in another file, which is not read")
        else:
            total += item.nbytes
    return total


def _address(group: Any) -> int:
    return h5py.h5o.get_info(group.id).addr  # pyright: ignore[reportAttributeAccessIssue]


def main(path: str) -> None:
    """Write the tree and the arrays of a file to standard output, or exit with the reason why not."""
    try:
        content = None if path != "-" else io.BytesIO(sys.stdin.buffer.read())
        size = os.path.getsize(path) if content is None else len(content.getbuffer())
        if sys.platform == "linux":
            import resource

            most = MEMORY + max(FREE, MOST_RATIO * size)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        arrays: list[Any] = []
        with h5py.File(path if content is None else content, "r") as file:
            tree = tree_of(file, size, arrays)
            sys.stdout.buffer.write(json.dumps(tree).encode() + b"\n")
            for array in arrays:
                sys.stdout.buffer.write(np.ascontiguousarray(array[()]).tobytes())
            sys.stdout.buffer.flush()
    except RefusedFile as error:
        _exit(REFUSED, f"{error}")
    except DAMAGE as error:
        _exit(DAMAGED, f"{error}" or type(error).__name__)


def _exit(code: int, why: str) -> None:
    sys.stderr.buffer.write(" ".join(why.split()).encode(errors="backslashreplace"))
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
