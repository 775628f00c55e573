"""Early ends of a run: Ctrl-C or SIGTERM asks it to save and stop, a second one stops it at once; or it diverges."""

import contextlib
import signal
from collections.abc import Iterator
from signal import Signals


class Diverged(ValueError):
    """Training produced a loss or a parameter that is not finite.

    Args:
        optimizer: the optimizer that trained.
        step: the step whose loss is not finite, or after which a parameter is not.
        why: the rest of the message.
    """

    def __init__(self, optimizer: str, step: int, why: str) -> None:
        super().__init__(f"{optimizer}: {why}")
        self.step, self.why = step, why


class StopRequest:
    """The signal that asked the process to stop; None if there was none."""

    signal: Signals | None = None

    @property
    def exit_code(self) -> int:
        """Return 128 plus the signal's number, as shells do."""
        return 128 + int(self.signal or 0)


@contextlib.contextmanager
def catch_stop() -> Iterator[StopRequest]:
    """Make the first SIGINT or SIGTERM set `StopRequest.signal` only; the second one has its usual effect.

    Examples:
        >>> import os, signal
        >>> with runs.catch_stop() as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)  # a loop ends its step and saves
        >>> stop.signal == signal.SIGTERM
        True
    """
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # a shell's background jobs are started with signals ignored, and keep ignoring them
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        del frame
        request.signal = Signals(number)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
