"""The experiments, a module or a package each: `python -m experiments.NAME --help`. Importing one has no side effect.

The commands that train begin with `restart_with_huge_pages`, before anything slow is imported, which is why their
packages import their parts lazily and their ``__main__`` calls it first.
"""

import os
import pathlib
import platform
import sys
from collections.abc import Mapping

ASKING = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # is read when a process starts, and has no other way in
POLICY = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def wants_huge_pages(environment: Mapping[str, str]) -> bool:
    """Whether asking for huge pages changes something, and the user has not decided about malloc."""
    decided = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in environment)
    return not decided and platform.libc_ver()[0] == "glibc" and POLICY.exists() and "[madvise]" in POLICY.read_text()


def restart_with_huge_pages() -> None:
    """Start this process once more, with glibc asking for huge pages, where Linux gives them to those who ask.

    XLA on CPU allocates the temporaries of a step anew each time, and the system clears every page when it is touched,
    which is faster by huge pages: `python -m benchmarks.huge_pages` shows what that wins. Nothing happens where
    transparent_hugepage/enabled is not "madvise", and in an environment that tunes glibc's malloc already or names
    GLIBC_TUNABLES at all, empty too: that is how a restarted process knows, and how a user declines.

    The process stays the same one, so signals and job control reach it. Call this from a ``__main__`` alone.
    """
    if wants_huge_pages(os.environ):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **ASKING})
