"""Several processes that make one run: process 0 writes it, and all of them decide alike.

`jax.distributed` connects them (`training.join`), and JAX's collectives sum their gradients. Whatever depends on a
clock or a signal is agreed upon (`ProcessGroup.agree`), since a process that saves, stops or goes on alone would leave
the others waiting in a collective for ever. `watch.Watch` ends them all once one of them is gone.
"""

import atexit
import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxdl import compat, training
from jaxdl.runs.signals import Diverged
from jaxdl.runs.watch import BACKSTOP, Watch

AUTO = "auto"  # instead of HOST:PORT: the environment of a launcher tells the coordinator
MOST_TEXT = 4096  # bytes of a text that process 0 tells the others
STATUSES = ("ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN")  # of a failed collective
USERS = (ValueError, OSError, ImportError, MemoryError)  # errors with which `commandline.run_main` exits with code 2


class ProcessGroup:
    """The processes of a run. A process alone leads, and agrees with itself at no cost.

    Args:
        watch: of several processes that are connected; None for a process alone.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch
        self.count, self.index = (1, 0) if watch is None else (watch.count, watch.index)
        self.alone, self.leads = watch is None, self.index == 0

    def agree(self, *values: int) -> tuple[int, ...]:
        """Return the largest value of all processes, for each of the values."""
        if self._watch is None:
            return values
        self._watch.rest()
        return tuple(int(one) for one in compat.gather(np.array(values, np.int32)).max(axis=0))

    def check_same(self, what: str, value: Any) -> None:
        """Raise ValueError in all processes if one of them has another value, as its ``repr`` tells, than process 0."""
        if self._watch is None:
            return
        digests = compat.gather(np.frombuffer(hashlib.sha256(repr(value).encode()).digest(), np.uint32))
        others = [i for i, digest in enumerate(digests) if not np.array_equal(digest, digests[0])]
        if others:
            raise ValueError(f"process {others[0]} has other {what} than process 0; all must start with the same")

    def told(self, text: Callable[[], str]) -> str:
        """Return the text of process 0, which alone calls the function."""
        if self._watch is None:
            return text()
        content = text().encode() if self.leads else b""
        if len(content) > MOST_TEXT:
            raise ValueError(f"text: got {len(content):,} bytes, must be at most {MOST_TEXT:,}")
        return compat.gather(np.frombuffer(content.ljust(MOST_TEXT), np.uint8))[0].tobytes().decode().rstrip()

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """Let process 0 finish the block before the others enter it."""
        if not self.leads:
            self.agree(0)
        yield
        if self.leads:
            self.agree(0)

    def marking(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches, and tell the others that this process goes on: one that does not is named by `Watch`."""
        return iter(batches) if self._watch is None else _marked(batches, self._watch)

    def rest(self) -> None:
        """Tell the others that something slower than a step begins, such as a checkpoint or an evaluation."""
        if self._watch is not None:
            self._watch.rest()


def _marked(batches: Iterable[Any], watch: Watch) -> Iterator[Any]:
    for number, batch in enumerate(batches):
        if number:  # the first call may compile
            watch.step()
        else:
            watch.rest()
        yield batch


@contextlib.contextmanager
def grouped(
    coordinator: str | None, processes: int | None, process: int | None, *, heartbeat_seconds: int = 100
) -> Iterator[ProcessGroup]:
    """Connect this process with others for the time of the block, if the arguments say so, and yield all as a group.

    Standard output of all but process 0 is dropped. An error in one process ends the others with its message.

    Args:
        coordinator: "HOST:PORT" of process 0, "auto" for what JAX finds in the environment of Slurm, Open MPI,
            Kubernetes or a Cloud TPU, or None for a process alone.
        processes: how many there are.
        process: the number of this one, from 0.
        heartbeat_seconds: a process that is silent for half as long is named as gone. JAX itself would end the others
            after `watch.BACKSTOP` times as long, see `training.join`.

    Raises:
        ValueError: see `training.join`; also if ``processes`` or ``process`` is given beside "auto".
        RuntimeError: see `training.join`.
    """
    given = (coordinator, processes, process)
    if given == (None, None, None):
        yield ProcessGroup()
        return
    if coordinator == AUTO and given != (AUTO, None, None):
        raise ValueError(f"coordinator={AUTO!r} is not allowed beside --processes or --process: it finds them itself")
    jax.config.update("jax_enable_preemption_service", False)  # it would catch SIGTERM, which `catch_stop` does
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # steps in flight would share few threads that wait
    place = (None, None, None) if coordinator == AUTO else given
    training.join(*place, heartbeat_seconds=BACKSTOP * heartbeat_seconds)
    watch = Watch(compat.coordination(), jax.process_count(), jax.process_index(), heartbeat_seconds)
    group = ProcessGroup(watch)
    watch.start()
    try:
        with contextlib.nullcontext() if group.leads else contextlib.redirect_stdout(io.StringIO()):
            yield group
    finally:
        error = sys.exception()
        if error is None or isinstance(error, Diverged):  # of the latter all processes know
            group.agree(0)  # process 0 writes the report while the others wait here
        else:
            watch.tell(error, lost=_of_runtime(error))
            # JAX would wait for the others at the end of this process, and they may wait for it
            atexit.register(_leave, 2 if isinstance(error, USERS) else 1)
        watch.stop()


def _of_runtime(error: BaseException | None) -> bool:
    """Return whether JAX's runtime raised the error for another cause than memory, as when a process is gone.

    A compiled call raises what fails in a collective as a plain ValueError, which begins with the name of a status.
    """
    text = str(error)
    if isinstance(error, jax.errors.JaxRuntimeError):
        return "RESOURCE_EXHAUSTED" not in text
    return isinstance(error, ValueError) and text.partition(": ")[0] in STATUSES


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
