"""Finding oneDNN's library, loading it beside whatever the process has loaded already, and saying why there is none."""

import ctypes as c
import functools
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import NamedTuple

VARIABLE = "JAXDL_ONEDNN"  # names a file, or is "off"
PACKAGES = ("onednn-cpu-gomp", "onednn")  # wheels that hold the library
NAME = "libdnnl.so.3"
OLDEST = (3, 1)
# The threads of an OpenMP that spins between two products take the cores from XLA's own.
_WAITING = {"OMP_WAIT_POLICY": "passive"}


class OneDNNVersion(c.Structure):
    """The head of dnnl_version_t."""

    _fields_ = (("major", c.c_int), ("minor", c.c_int), ("patch", c.c_int))


class Library(NamedTuple):
    """oneDNN, loaded."""

    calls: c.CDLL  # functions that release Python's lock while they run
    quick: c.PyDLL  # the same functions, called without releasing it
    path: str
    version: tuple[int, int, int]


class Found(NamedTuple):
    """The library, or the reason why there is none, in a sentence."""

    library: Library | None
    reason: str


@functools.cache
def find() -> Found:
    """Return oneDNN, looked for once a process: what `JAXDL_ONEDNN` names, installed wheels, the system's library."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "off":
        return Found(None, f"{VARIABLE}=off turns oneDNN off")
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return Found(None, f"oneDNN is supported on Linux x86-64; this is {sys.platform} {platform.machine()}")
    if wanted:
        return _load(wanted)
    refused = []
    for candidate in (*_in_packages(), NAME):
        found = _load(candidate)
        if found.library is not None:
            return found
        refused.append(found.reason)
    return Found(None, f"{'; '.join(refused)}; pip install 'jaxdl[native]' brings oneDNN")


def _in_packages() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        places = [Path(str(file.locate())).resolve() for file in files if file.name.startswith(NAME)]
        found += [str(place) for place in places[:1] if place.is_file()]
    return found


def _load(path: str) -> Found:
    kept = {name: os.environ.get(name) for name in _WAITING}
    os.environ.update({name: value for name, value in _WAITING.items() if kept[name] is None})
    try:
        # DEEPBIND: PyTorch may have made another oneDNN's symbols global
        calls = c.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    except OSError as error:
        return Found(None, f"{path} cannot be loaded ({error})")
    finally:  # OpenMP reads its variables when it is loaded; other libraries' threads keep their own ways
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
    try:
        calls.dnnl_version.restype = c.POINTER(OneDNNVersion)
        about = calls.dnnl_version().contents
    except AttributeError:
        return Found(None, f"{path} is no oneDNN: it has no dnnl_version")
    version = about.major, about.minor, about.patch
    shown = ".".join(map(str, version))
    if not OLDEST <= version[:2] < (OLDEST[0] + 1, 0):
        oldest = ".".join(map(str, OLDEST))
        return Found(None, f"{path} is oneDNN {shown}; needed is {oldest} or a later {OLDEST[0]}.x")
    return Found(Library(calls, c.PyDLL(None, handle=calls._handle), path, version), f"oneDNN {shown} ({path})")
