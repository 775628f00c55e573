"""How a run ends early: Ctrl-C and SIGTERM ask it to save and stop (a second one stops it at once), or it diverges."""

import contextlib
import signal
from collections.abc import Iterator
from signal import Signals


class Diverged(ValueError):
    """Training met a loss or a parameter that is not finite."""


class StopRequest:
    """Whether, and by which signal, the process was asked to stop."""

    signal: Signals | None = None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it."""
        return 128 + int(self.signal or 0)


@contextlib.contextmanager
def catch_stop() -> Iterator[StopRequest]:
    """Within this block SIGINT and SIGTERM only set `StopRequest.signal`; the second one acts as it usually does."""
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # a process that was started to ignore a signal, as a shell's background jobs are, goes on ignoring it
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
