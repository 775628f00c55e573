"""Checked downloads, and the folders that hold data."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jaxdl import disk
from jaxdl.extras import need

VARIABLE = "JAXDL_DATA_DIR"


def cache_folder() -> Path:
    """Return the user's cache folder for jaxdl: `$XDG_CACHE_HOME/jaxdl`, else `~/.cache/jaxdl`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jaxdl"


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder to find and download data sets in: the argument, else `$JAXDL_DATA_DIR`, else the cache."""
    chosen = data_dir if data_dir is not None else os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_folder()


def fetch(
    urls: Sequence[str],
    path: Path,
    *,
    check: Callable[[Path], object],
    files: Sequence[str] = (),
    timeout: float = 10.0,
    most_bytes: int = 64 << 20,
    most_seconds: float = 3600.0,
) -> Path:
    """Download one file from the first address that provides the right bytes.

    The bytes go to a temporary file beside the target, are checked there and only then renamed, so that a broken
    download never looks complete. A download that breaks off, stalls or has wrong bytes is repeated once from the
    start. If an address does not answer, answers with an error, or exceeds a limit, the next one is tried.

    Args:
        urls: addresses of the same file, tried in this order.
        path: the target.
        check: called with the temporary file; raises ValueError if the bytes are wrong.
        files: names of all missing files, for the message; () stands for this one.
        timeout: seconds to wait for a connection, and between two pieces of data.
        most_bytes: the largest size to download, whatever the server announces.
        most_seconds: the longest time for one download.

    Raises:
        ConnectionError: if no address provides the file; the message lists why, and where to put the file by hand.
    """
    pooch = need("pooch", purpose=f"downloading {path.name}")
    problems = []
    _make(path.parent)
    for url in urls:
        for _ in range(2):
            pooch.get_logger().info("Downloading %s to %s", url, path)
            hooks = {"response": partial(_bound, url, most_bytes, time.monotonic() + most_seconds)}
            downloader = pooch.HTTPDownloader(chunk_size=1 << 16, timeout=timeout, hooks=hooks)
            problem, again = _attempt(downloader, url, path, check)
            if problem is None:
                return path
            problems.append(f"{url}: {problem}")
            if not again:
                break
    tried = "\n  ".join(problems)
    raise ConnectionError(
        f"{path.name} could not be downloaded:\n  {tried}\nIf there is no network here, put "
        f"{', '.join(files or [path.name])} into {path.parent} by hand"
    )


def _attempt(
    downloader: Callable[..., object], url: str, path: Path, check: Callable[[Path], object]
) -> tuple[str | None, bool]:
    """Try one download; return (None, False) if the file is in place, else (the problem, whether to try again)."""
    from requests import exceptions

    part = path  # named in messages of the check, until there is a temporary file
    try:
        with disk.replacing(path, shared=True) as part:
            downloader(url, str(part), None)
            check(part)
        return None, False
    except _BrokenOff as error:
        return str(error), True
    except (_BeyondLimit, exceptions.RequestException) as error:
        return str(error), False
    except ValueError as error:
        return str(error).replace(str(part), "the download"), True


class _BrokenOff(Exception):
    """A download ended, or stalled, before its end."""


class _BeyondLimit(Exception):
    """A download has more bytes, takes longer or leads elsewhere than allowed."""


class _Bounded:
    """The body of a response that breaks off beyond a size and a time.

    requests reads it in place of urllib3's, whose own reading waits for whole pieces, and so for ever if the server
    sends a byte now and then.
    """

    def __init__(self, body: Any, most_bytes: int, deadline: float) -> None:
        self.body, self.most_bytes, self.deadline, self.count = body, most_bytes, deadline, 0
        self.close, self.release_conn = body.close, body.release_conn

    def read(self, amount: int | None = None, decode_content: bool = True) -> bytes:
        from urllib3.exceptions import HTTPError

        try:
            piece = self.body.read1(amount, decode_content=decode_content) or b""
        except (HTTPError, OSError) as error:
            raise _BrokenOff(f"broken off after {self.count} bytes ({error})") from error
        self.count += len(piece)
        if self.count > self.most_bytes or (piece and time.monotonic() > self.deadline):
            self.close()
            limit = f"{self.most_bytes:,} bytes" if self.count > self.most_bytes else "the time for one download"
            raise _BeyondLimit(f"stopped after {self.count} bytes, beyond {limit}")
        return piece


def _bound(url: str, most_bytes: int, deadline: float, response: Any, **options: Any) -> None:
    """Let a response's body break off beyond the limits; requests calls this before it reads the body."""
    del options
    response.raw = _Bounded(response.raw, most_bytes, deadline)
    announced = str(response.headers.get("content-length", ""))
    problem = ""
    if url.startswith("https:") and not response.url.startswith("https:"):
        problem = f"it leads to {response.url}, which is not encrypted"
    elif announced.isdecimal() and int(announced) > most_bytes:
        problem = f"it has {int(announced):,} bytes; at most {most_bytes:,} are downloaded"
    if problem:
        response.close()
        raise _BeyondLimit(problem)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the data folder {folder} cannot be created ({error}); set --data-dir or {VARIABLE}") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"the data folder {folder} cannot be written; set --data-dir or {VARIABLE}")
