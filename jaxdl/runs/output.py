"""Standard output as commands need it: it takes any text, may be closed, and is named in its errors."""

import os
import sys
from typing import Any

from jaxdl import disk


def show_any_text() -> None:
    """Let standard output and errors take all text: what their encoding lacks is escaped, and both may be closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the command was started with it closed
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


class NamedOutput:
    """Standard output whose errors name it, such as that of a full disk or of a reader who has gone."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with disk.naming("standard output"):
            return self._file.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with disk.naming("standard output"):
            self._file.flush()
