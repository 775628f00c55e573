"""The experiments, a module or a package each: `python -m experiments.NAME --help`.

Where Linux gives huge pages to those who ask (transparent_hugepage/enabled is "madvise"), `python -m experiments.NAME`
restarts itself once, before anything is imported, with glibc asking for them. XLA on CPU allocates the temporaries of a
step anew each time, and the system clears every page when it is touched, which is faster by huge pages:
`python -m benchmarks.huge_pages` shows what that wins. An environment that tunes glibc's malloc already, or names
GLIBC_TUNABLES at all (empty, too), is left alone.
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


# so sys.argv begins while the interpreter looks for the module that -m names, and in no import after that
if sys.argv[0] == "-m" and wants_huge_pages(os.environ):
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **ASKING})
