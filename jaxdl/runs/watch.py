"""A watch over the processes of a run, so that none of them waits for one that is killed, stopped or hangs.

Each process tells the others, once a second and in JAX's key-value store, that it is there and how far it has come.
Process 0 judges: one that is silent is gone; one that is behind and does not go on hangs. It says so in the store, from
which all of them read it, and then each ends itself with one line and the exit code `GONE`. JAX's own heartbeat knows
nothing of a process that hangs and aborts without a line of ours, so it gets `BACKSTOP` times the time: with less, a
busy machine would let it come first.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import jax

GONE: Final = 75  # exit code for "try again" (EX_TEMPFAIL of sysexits.h)
EVERY: Final = 1.0  # seconds between two beats
BACKSTOP: Final = 3  # of the watch's heartbeat, that JAX's own lasts
LEAST: Final = 3.0  # seconds of silence that are no sign of anything
RESTING: Final = 1800.0  # seconds that a process may take for what is no step: compiling, saving, evaluating
STEPS: Final = 10  # of the slowest length so far, that a step may take beyond the limit
BEATS, VERDICT = "jaxdl/beat/", "jaxdl/verdict/"  # keys of the store


class Beat(NamedTuple):
    """A process's message to the others."""

    number: int  # of the beat
    marks: int  # places of the program passed, which all processes pass in the same order
    patience: float  # seconds that it may stay where it is

    def __str__(self) -> str:
        return f"{self.number} {self.marks} {self.patience:.1f}"

    @staticmethod
    def parse(text: str) -> "Beat":
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
        self._count, self._limit = count, limit
        self._beats = dict.fromkeys(range(count), Beat(-1, 0, RESTING))
        self._heard, self._moved = dict.fromkeys(range(count), now), dict.fromkeys(range(count), now)

    def verdict(self, beats: Mapping[int, Beat], now: float | int) -> str:
        """Return a sentence that names the process, or "" if all is well."""
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
        self._client, self._end = client, _end if end is None else end
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
        while not self._stopped.wait(EVERY):
            silent = time.monotonic() - self._answered
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


def _end(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    os._exit(GONE)
