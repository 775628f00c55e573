"""The experiments, a module or a package each: `python -m experiments.NAME --help`. Imports have no side effects.

The commands that train call `restart_with_huge_pages` before they import anything slow. That is why ``__main__`` calls
it first, and why their packages import their commands lazily.
"""

import os
import pathlib
import platform
import sys
from collections.abc import Mapping

# Each of malloc's arenas keeps what its threads have freed, and glibc makes up to eight of them per CPU: two epochs of
# digits on two CPUs had their peak at 961 MB without this limit, and at 772 MB with it.
ARENAS = max(2, os.cpu_count() or 1)
# glibc reads it when a process starts, and nowhere else
ASKING = {"GLIBC_TUNABLES": f"glibc.malloc.hugetlb=1:glibc.malloc.arena_max={ARENAS}"}
POLICY = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def wants_huge_pages(environment: Mapping[str, str]) -> bool:
    """Return whether asking for huge pages has an effect, and the environment does not tune malloc already."""
    decided = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in environment)
    return not decided and platform.libc_ver()[0] == "glibc" and POLICY.exists() and "[madvise]" in POLICY.read_text()


def announce(name: str) -> None:
    """Print a first line before anything slow is imported, so that a command shows a sign of life at once."""
    if not {"-h", "--help"} & {*sys.argv[1:]}:
        print(f"{name}: importing", flush=True)


def restart_with_huge_pages() -> None:
    """Restart this process with few arenas and with glibc asking for huge pages, if Linux grants them on request only.

    XLA on CPU allocates the temporaries of every step anew, and the system clears each page when it is first touched,
    which huge pages make faster; `python -m benchmarks.huge_pages` measures the gain. They also make each of malloc's
    arenas larger, so there are only as many as CPUs. The restart is skipped unless
    transparent_hugepage/enabled is "madvise", and if the environment tunes glibc's malloc already or sets
    GLIBC_TUNABLES, even to nothing: so a process restarts once at most, and a user can decline.

    The process keeps its id, so signals and job control still reach it. Call this from a ``__main__`` only.
    """
    if wants_huge_pages(os.environ):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **ASKING})
