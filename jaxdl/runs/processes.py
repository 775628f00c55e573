"""Several processes that make one run: process 0 writes it, all decide alike, and none waits for one that is gone.

`jax.distributed` connects them (`training.join`), and JAX's collectives sum their gradients. Whatever depends on a
clock or a signal is agreed upon (`ProcessGroup.agree`), since a process that saves, stops or goes on alone would leave
the others waiting in a collective for ever.

A `Watch` ends them all once one of them is killed, stopped or hangs. Each process tells the others, once a second and
in JAX's key-value store, that it is there and how far it has come. Process 0 judges: one that is silent is gone; one
that is behind and does not go on hangs. It says so in the store, from which all of them read it, and then each ends
itself with one line and the exit code `GONE`. JAX's own heartbeat knows nothing of a process that hangs and aborts
without a line of ours, so it gets `BACKSTOP` times the time: with less, a busy machine would let it come first.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from jaxdl import compat, training
from jaxdl.runs.signals import Diverged

GONE: Final = 75  # exit code for "try again" (EX_TEMPFAIL of sysexits.h)
EVERY: Final = 1.0  # seconds between two beats
BACKSTOP: Final = 3  # of the watch's heartbeat, that JAX's own lasts
LEAST: Final = 3.0  # seconds of silence that are no sign of anything
RESTING: Final = 1800.0  # seconds that a process may take for what is no step: compiling, saving, evaluating
STEPS: Final = 10  # of the slowest length so far, that a step may take beyond the limit
BEATS, VERDICT = "jaxdl/beat/", "jaxdl/verdict/"  # keys of the store
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
            after `BACKSTOP` times as long, see `training.join`.

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
    print(f"coordinator {coordinator}: waiting for all processes, at most five minutes", flush=True)
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


# ---------------------------------------------------------------- the watch


class Beat(NamedTuple):
    """A process's message to the others."""

    number: int  # of the beat
    marks: int  # places of the program passed, which all processes pass in the same order
    patience: float  # seconds that it may stay where it is

    def __str__(self) -> str:
        return f"{self.number} {self.marks} {self.patience:.1f}"

    @staticmethod
    def parse(text: str) -> Beat:
        """Read the text of a beat."""
        number, marks, patience = text.split()
        return Beat(int(number), int(marks), float(patience))


class Judge:
    """Names the process that is gone or hangs, from beats.

    Args:
        count: number of processes.
        limit: seconds of silence after which a process counts as gone.
        now: the time at the start, in seconds.
    """

    def __init__(self, count: int, limit: float | int, now: float | int) -> None:
        self._count, self._limit, self._looked = count, limit, now
        self._beats = dict.fromkeys(range(count), Beat(-1, 0, RESTING))
        self._heard, self._moved = dict.fromkeys(range(count), now), dict.fromkeys(range(count), now)

    def verdict(self, beats: Mapping[int, Beat], now: float | int) -> str:
        """Return a sentence that names the process, or "" if all is well.

        Time in which nobody looked, as on a machine that is too busy or was asleep, is nobody's silence.
        """
        blind, self._looked = max(0.0, now - self._looked - 2 * EVERY), now
        for since in (self._heard, self._moved):
            since |= {process: then + blind for process, then in since.items()}
        for process, beat in beats.items():
            before = self._beats[process]
            self._heard[process] = now if beat.number != before.number else self._heard[process]
            self._moved[process] = now if beat.marks != before.marks else self._moved[process]
            self._beats[process] = beat
        for process, heard in self._heard.items():
            if now - heard > self._limit:
                silent = f"it was killed, stopped or cut off, and has been silent for {now - heard:.0f} s"
                return f"process {process} of {self._count} is gone: {silent}"
        most = max(beat.marks for beat in self._beats.values())
        for process, beat in self._beats.items():
            if beat.marks < most and now - self._moved[process] > beat.patience:
                stands = f"it has not gone on for {now - self._moved[process]:.0f} s while others wait for it"
                return f"process {process} of {self._count} hangs: {stands}"
        return ""


class Watch:
    """Ends this process once another one is gone or hangs.

    Args:
        client: of JAX's coordination service.
        count: number of processes.
        index: the number of this one.
        heartbeat_seconds: twice the silence after which a process counts as gone.
        end: called with the line to print, and ends the process.
    """

    def __init__(
        self,
        client: Any,
        count: int,
        index: int,
        heartbeat_seconds: float | int,
        end: Callable[[str], None] | None = None,
    ) -> None:
        self.count, self.index = count, index
        self._client, self._end = client, _exit_gone if end is None else end
        self._limit = max(LEAST, heartbeat_seconds / 2)
        self._marks, self._slowest, self._stepping = 0, 0.0, False
        self._last = self._answered = time.monotonic()
        self._judge = Judge(count, self._limit, self._last)
        self._stopped, self._ended = threading.Event(), threading.Lock()

    def start(self) -> None:
        """Start to watch: a thread asks the others, and another one notices if the first gets no answer."""
        for target in (self._ask, self._wait):
            threading.Thread(target=target, name="jaxdl-watch", daemon=True).start()

    def stop(self) -> None:
        """Stop to watch, since the others end now as well."""
        self._stopped.set()

    def step(self) -> None:
        """Note that the next step begins."""
        now = time.monotonic()
        if self._stepping:
            self._slowest = max(self._slowest, now - self._last)
        self._marks, self._last, self._stepping = self._marks + 1, now, True

    def rest(self) -> None:
        """Note that something slower than a step begins."""
        self._marks, self._stepping = self._marks + 1, False

    def tell(self, error: BaseException, *, lost: bool) -> None:
        """Tell the others that this process ends.

        Args:
            error: its end.
            lost: whether the error may be that another process is gone; if so, wait until `Watch` names it, which ends
                this process.
        """
        if lost and self._stopped.wait(2 * self._limit):
            time.sleep(4 * EVERY)  # the thread that knows its name ends this process
        with self._ended:
            self._stopped.set()  # what follows is this process's own verdict
        what = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        self._say(f"process {self.index} of {self.count} ended with {what}")
        if self.index == 0:
            time.sleep(3 * EVERY)  # the store ends with this process, so let the others read it

    def _patience(self) -> float:
        return self._limit + STEPS * self._slowest if self._stepping else RESTING

    def _ask(self) -> None:
        number = 0
        while not self._stopped.wait(EVERY):
            number += 1
            beat = Beat(number, self._marks, self._patience())
            try:
                self._client.key_value_set(f"{BEATS}{self.index}", str(beat), allow_overwrite=True)
                if self.index == 0:
                    texts = {int(key.rpartition("/")[2]): text for key, text in self._client.key_value_dir_get(BEATS)}
                    found = {process: Beat.parse(text) for process, text in texts.items()}
                    self._say(self._judge.verdict(found, time.monotonic()))
                said = self._client.key_value_dir_get(VERDICT)
            except jax.errors.JaxRuntimeError:  # no answer, which the other thread notices
                continue
            self._answered = time.monotonic()
            if said:
                self._leave(said[0][1], wait=self.index == 0)

    def _wait(self) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(EVERY):
            now = time.monotonic()
            self._answered += max(0.0, now - looked - 2 * EVERY)  # this process itself could not go on
            looked, silent = now, now - self._answered
            if silent > self._limit:
                self._leave(f"process 0 of {self.count} is gone: it has not answered for {silent:.0f} s", wait=False)

    def _say(self, verdict: str) -> None:
        """Tell all processes; the first verdict stands."""
        try:
            if verdict and not self._client.key_value_dir_get(VERDICT):
                self._client.key_value_set(f"{VERDICT}first", verdict, allow_overwrite=True)
        except jax.errors.JaxRuntimeError:  # process 0 is gone, which the others notice themselves
            return

    def _leave(self, said: str, *, wait: bool) -> None:
        with self._ended:  # of two threads, the first one speaks
            if self._stopped.is_set():
                return
            self._stopped.set()
        if wait:
            time.sleep(3 * EVERY)  # the store ends with this process, so let the others read it
        self._end(f"error: {said}; what was saved is whole: start all processes again with --resume")


def _exit_gone(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    os._exit(GONE)
