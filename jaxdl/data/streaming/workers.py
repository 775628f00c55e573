"""Grain's workers: threads of this process, or processes of their own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import connection
from typing import Any

from jaxdl.data.splits import check_whole
from jaxdl.extras import need

MOST_THREADS = 16  # beyond it, Python's lock is the limit
MOST_PROCESSES = 256


class Reader:
    """Reads the elements of a source ahead, in order, from any position on.

    Args:
        source: the elements: an object with `__len__` and `__getitem__`, picklable for processes.
        workers: number of processes, at most `MOST_PROCESSES`; 0 reads in threads of this process.
        ahead: about the number of elements that are kept ready.

    Raises:
        ValueError: for another number of workers.
        ImportError: if Grain is not installed; the message names the extra.
    """

    def __init__(self, source: Any, *, workers: int, ahead: int) -> None:
        check_whole("workers", workers)
        if workers > MOST_PROCESSES:
            raise ValueError(f"workers is {workers}; allowed are 0 to {MOST_PROCESSES}")
        self._grain = need("grain", purpose="streaming images", extra="streaming")
        flags = need("absl.flags", purpose="Grain", extra="streaming").FLAGS
        if not flags.is_parsed():  # Grain reads flags of its own, which a program without absl never parses
            flags.mark_as_parsed()
        self._source, self._workers, self._ahead = source, workers, ahead
        self._iterator: Any = None
        self.position = 0  # of the next element

    def read(self, position: int) -> Any:
        """Return the element at a position. Only the one after the last one has been read ahead."""
        if self._iterator is None or position != self.position:
            self.close()
            self._iterator = self._start(position)
        element = next(self._iterator)
        self.position = position + 1
        return element

    def _start(self, position: int) -> Any:
        threads = 0 if self._workers else min(_cpus(), MOST_THREADS)
        options = self._grain.ReadOptions(threads, max(self._ahead, threads) if threads else 0)
        elements = self._grain.MapDataset.source(self._source)[position:].to_iter_dataset(options)
        if self._workers:
            split = self._grain.MultiprocessingOptions(self._workers, max(1, -(-self._ahead // self._workers)))
            elements = elements.mp_prefetch(split, worker_init_fn=_end_with_the_parent)
        return iter(elements)

    def read_all(self, count: int) -> Iterator[Any]:
        """Yield the first elements in order, and close the reader."""
        try:
            for position in range(count):
                yield self.read(position)
        finally:
            self.close()

    def close(self) -> None:
        """Stop the workers. Reading starts them again."""
        if self._iterator is not None:
            self._iterator.close()
        self._iterator = None


def _cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_the_parent(number: int, count: int) -> None:
    """Let a worker process end when its parent is killed; Grain's would otherwise wait for a reader for ever."""
    del number, count
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
