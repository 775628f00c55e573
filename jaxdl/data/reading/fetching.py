"""Checked downloads, and the folders that hold data."""

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from uuid import uuid4

VARIABLE = "JAXDL_DATA_DIR"


def cache_folder() -> Path:
    """Return the user's cache folder for jaxdl: `$XDG_CACHE_HOME/jaxdl`, else `~/.cache/jaxdl`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jaxdl"


def data_folder(data_dir: str | Path | None = None) -> Path:
    """Return the folder to find and download data sets in: the argument, else `$JAXDL_DATA_DIR`, else the cache."""
    chosen = data_dir if data_dir is not None else os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_folder()


def need(module: str, *, purpose: str) -> ModuleType:
    """Import an optional library.

    Raises:
        ImportError: if it is not installed; the message names the extra that provides it.
    """
    top = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or top).split(".")[0] != top:
            raise
        package = {"PIL": "pillow", "sklearn": "scikit-learn"}.get(top, top)
        raise ImportError(f"{purpose} needs {package}: install it with `pip install 'jaxdl[experiments]'`") from error


def partial_path(path: Path) -> Path:
    """Return a hidden, unique name beside a file, for writing it until it is complete."""
    return path.with_name(f".{path.name}.{uuid4().hex}.part")


def fetch(
    urls: Sequence[str],
    path: Path,
    *,
    check: Callable[[Path], object],
    files: Sequence[str] = (),
    timeout: float = 10.0,
) -> Path:
    """Download one file from the first address that provides the right bytes.

    The bytes go to a temporary file beside the target, are checked there and only then renamed, so that a broken
    download never looks complete. A download that breaks off or has wrong bytes is repeated once from the start. If an
    address does not answer, or answers with an error, the next one is tried.

    Args:
        urls: addresses of the same file, tried in this order.
        path: the target.
        check: called with the temporary file; raises ValueError if the bytes are wrong.
        files: names of all missing files, for the message; () stands for this one.
        timeout: seconds to wait for a connection, and between two pieces of data.

    Raises:
        ConnectionError: if no address provides the file; the message lists why, and where to put the file by hand.
    """
    pooch = need("pooch", purpose=f"downloading {path.name}")
    problems = []
    _make(path.parent)
    for url in urls:
        for _ in range(2):
            pooch.get_logger().info("Downloading %s to %s", url, path)
            problem, again = _attempt(pooch.HTTPDownloader(timeout=timeout), url, path, check)
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

    part = partial_path(path)
    try:
        downloader(url, str(part), None)
        check(part)
        os.replace(part, path)
        return None, False
    except exceptions.ChunkedEncodingError as error:
        return f"broken off after {part.stat().st_size} bytes ({error})", True
    except exceptions.RequestException as error:
        return str(error), False
    except ValueError as error:
        return str(error).replace(str(part), "the download"), True
    finally:
        part.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the data folder {folder} cannot be created ({error}); set --data-dir or {VARIABLE}") from error
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"the data folder {folder} cannot be written; set --data-dir or {VARIABLE}")
