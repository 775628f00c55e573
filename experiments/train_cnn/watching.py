"""`--profile`: a trace of some steps. Layers are watched by `jaxdl.analysis.watched`."""

import contextlib
from pathlib import Path
from typing import Any

import jax


class Profiler:
    """Traces some steps after the first call, which compiles, with JAX's profiler.

    Args:
        folder: the trace goes here; TensorBoard and xprof read it.
        steps: the number of steps, at least; a trace ends with a call, and with the epoch.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self._folder, self._left = folder, steps
        self._trace: contextlib.ExitStack | None = None

    def count(self, steps: int, result: Any) -> None:
        """Count a call of ``steps`` steps that returned ``result``."""
        if self._left <= 0:
            return
        if self._trace is None:
            jax.block_until_ready(result)
            self._trace = contextlib.ExitStack()
            self._trace.enter_context(jax.profiler.trace(str(self._folder)))
            return
        self._left -= steps
        if self._left <= 0:
            jax.block_until_ready(result)
            self.stop()

    def stop(self) -> None:
        """End the trace if it runs."""
        if self._trace is not None:
            self._trace.close()
            self._trace, self._left = None, 0
