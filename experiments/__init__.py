"""The experiments, one module each: `python -m experiments.NAME --help`.

Importing this package lets glibc keep what is freed for the next allocation, unless the environment tunes it. XLA on
CPU allocates the temporaries of a step anew each time; by default glibc gives large ones back to the system, which
clears every page again when it is touched; `python -m benchmarks.kept_memory` shows what that costs. It holds for the
whole process, whose memory then stays at its peak, and it comes before jax and numpy, since threads that have their own
arena by then would go on as before.
"""

import ctypes
import os
import platform

MMAP_MAX, TRIM_THRESHOLD, ARENA_MAX = -4, -1, -8  # of malloc.h; other arenas than the first are given back too

if platform.libc_ver()[0] == "glibc" and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
    for parameter, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (ARENA_MAX, 1)):
        ctypes.CDLL(None).mallopt(parameter, value)
