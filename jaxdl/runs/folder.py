"""The run folder: how it is made and locked, and manifest.json, the provenance of its numbers.

The lock is `fcntl.flock` on the hidden file .lock, which is made once and never replaced or removed, so all processes
lock the same file; the system releases it with the process. filelock does the same on POSIX and is one more dependency.
"""

import contextlib
import datetime
import fcntl
import importlib.metadata
import os
import pathlib
import platform
import shlex
import stat
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import jaxdl
from jaxdl import data
from jaxdl.runs import records
from jaxdl.texts import quoted

Path = pathlib.Path
CONFIG, MANIFEST, LOCK = "config.json", "manifest.json", ".lock"
LOCKS = Path("/proc/locks")


class Held(ValueError):
    """Another process holds the lock of a run folder."""


class DataSource(NamedTuple):
    """The data set of a run, as its manifest records it."""

    name: str
    note: str
    sha256: dict[str, str]  # file or array name -> digest


class Manifest(NamedTuple):
    """manifest.json: the provenance of a run's numbers. A field that was not recorded is None."""

    command: str
    started: str | None = None  # ISO 8601
    seed: int | None = None
    versions: dict[str, str] | None = None
    devices: tuple[str, ...] | None = None
    machine: str | None = None
    data: DataSource | None = None
    then: tuple[str, ...] | None = None  # commands by which it went on with other options, such as more epochs


def create(out: str | os.PathLike) -> Path:
    """Make a folder for a new run.

    Raises:
        ValueError: if the folder has files in it (a run is never overwritten) or cannot be written. Hidden files do not
            count: a process killed in its first moments may leave some.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = runs.create(f"{parent}/first")
        ...     with runs.lock(folder, new=True):
        ...         runs.write_json(folder / "notes.json", {"why": "a try"})
        ...     runs.read_json(folder / "notes.json"), runs.create_dated(parent).is_dir()
        ({'why': 'a try'}, True)
    """
    folder = Path(out)
    _check_encoding(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_empty(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"out={folder}: cannot be written ({error.strerror})") from error
    return folder


def create_dated(parent: str | os.PathLike) -> Path:
    """Make a folder for a new run, named by the time; runs that start in the same second get different folders.

    Raises:
        ValueError: see `create`.
    """
    name = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = Path(parent) / name, 1
    _check_encoding(folder)
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:  # another process made it first
        return create_dated(parent)
    except OSError as error:
        raise ValueError(f"out={folder}: cannot be written ({error.strerror}); choose another with --out") from error
    return folder


def _check_encoding(folder: Path) -> None:
    """Raise ValueError for a path that orbax cannot write to, before anything is trained."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{folder}: is no path in UTF-8, as checkpoints need it; rename it") from error


def is_empty(folder: Path) -> bool:
    """Return whether a folder has no files except hidden ones."""
    return all(path.name.startswith(".") for path in folder.iterdir())


def open_folder(folder: str | os.PathLike) -> Path:
    """Return the folder of an existing run as a path.

    Raises:
        ValueError: if it is not a run folder; the message names the missing file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     try:
        ...         runs.open_folder(folder)
        ...     except ValueError as error:
        ...         print(str(error).replace(folder, "FOLDER"))
        FOLDER: is not a run folder, it has no config.json
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder}: is not a run folder, it has no {CONFIG}")
    return folder


@contextlib.contextmanager
def lock(folder: Path, *, new: bool = False) -> Iterator[None]:
    """Keep other processes from training into the folder. The system releases the lock of a killed process.

    Args:
        folder: the run folder.
        new: whether it is that of a new run, which must still be empty once the lock is held: take the lock before
            anything is written.

    Raises:
        ValueError: if another process holds the lock, or has begun a run in the folder of a new one, or the folder
            cannot be written.

    Where the file system has no locks, a warning says so, and nothing keeps two processes apart.
    """
    _check_encoding(folder)
    with _opened(folder / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Held(f"{folder}: another process is training into this folder{_holder(file)}") from error
        except OSError as error:
            warnings.warn(
                f"{folder}: the file system has no locks ({error.strerror}); let one process write", stacklevel=3
            )
        if new:
            _check_empty(folder)
        yield


def _holder(file: IO[bytes]) -> str:
    """Return the number of the process that holds the lock, in brackets; "" if it is elsewhere, or not on Linux."""
    state = os.fstat(file.fileno())
    place = f"{os.major(state.st_dev):02x}:{os.minor(state.st_dev):02x}:{state.st_ino}"
    try:
        lines = [line.split() for line in LOCKS.read_text().splitlines()]
    except OSError:
        return ""
    found = [line[4] for line in lines if "FLOCK" in line[:2] and line[5:6] == [place] and line[4].isdecimal()]
    return f" (process {found[0]})" if found else ""


def _opened(path: Path) -> IO[bytes]:
    """Open the file to lock, or make it; not a pipe, which would wait for ever, and not where a link leads to."""
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), "rb")
    except OSError as error:
        if path.is_symlink():
            raise ValueError(f"{path}: is a link; expected a file") from error
        raise ValueError(f"{path.parent}: cannot be written ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path}: is no file, but a pipe or a device; expected a file")
    return file


def _check_empty(folder: Path) -> None:
    if not is_empty(folder):
        raise ValueError(f"out={folder}: is not empty; choose a new folder, or resume with --resume {quoted(folder)}")


def write_manifest(
    folder: Path, *, seed: int, devices: Sequence[Any], source: DataSource, argv: Sequence[str] | None = None
) -> None:
    """Write the manifest of a new run; for a resumed one, check that its data are unchanged.

    Args:
        folder: the run folder.
        seed: seed of everything random.
        devices: the devices it runs on.
        source: the data set it trains on.
        argv: arguments of the command line; those of this process by default.

    Raises:
        ValueError: see `check_same_data`.
    """
    if (folder / MANIFEST).exists():
        return check_same_data(folder, source.sha256)
    manifest = provenance(seed=seed, devices=devices, argv=argv)._replace(data=source)
    return records.write_json(folder / MANIFEST, manifest)


def note_command(folder: Path, argv: Sequence[str] | None = None) -> None:
    """Add a command line, by default this process's, to the manifest of a run that goes on with other options."""
    path = folder / MANIFEST
    if path.exists():
        manifest = records.read_record(path, Manifest)
        records.write_json(path, manifest._replace(then=(*(manifest.then or ()), _command(argv))))


def _command(argv: Sequence[str] | None) -> str:
    return shlex.join(["python", "-m", _module_name(), *(sys.argv[1:] if argv is None else argv)])


def data_source(dataset: data.Dataset) -> DataSource:
    """Return a data set's entry in the manifest."""
    return DataSource(dataset.name, dataset.note, dict(dataset.checksums))


def provenance(*, seed: int, devices: Sequence[Any], argv: Sequence[str] | None = None) -> Manifest:
    """Return a run's manifest without its data; see `write_manifest` for the arguments."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return Manifest(
        command=_command(argv),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seed=seed,
        versions={
            "python": platform.python_version(),
            "jaxdl": jaxdl.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        devices=tuple(f"{device.platform}:{device.id} {device.device_kind}" for device in devices),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    )


def check_same_data(folder: Path, checksums: Mapping[str, str]) -> None:
    """Raise ValueError, naming the file, if the data are not those that the run began with."""
    path = folder / MANIFEST
    source = records.read_record(path, Manifest).data
    if source is None:
        raise ValueError(f"{path}: does not say which data the run began with")
    before = source.sha256
    for name in sorted({*before, *checksums}):
        if before.get(name) != checksums.get(name):
            raise ValueError(
                f"{name}: its SHA-256 is {checksums.get(name)}, but {folder} began with {before.get(name)}; a resumed "
                "run needs the same data"
            )


def _module_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
