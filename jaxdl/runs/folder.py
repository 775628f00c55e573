"""The run folder: config.json, manifest.json, and files that are written whole or not at all."""

import contextlib
import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jaxdl
from jaxdl import data

Path = pathlib.Path
CONFIG, MANIFEST = "config.json", "manifest.json"


def create(out: str | os.PathLike) -> Path:
    """Make the folder of a new run.

    Raises:
        ValueError: if the folder holds files already (a run is never overwritten) or cannot be written. Hidden files
            do not count: a process killed in its first moments may leave some.
    """
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_empty(folder):
            raise ValueError(f"out={folder}: holds files already; choose a new folder, or go on with --resume {folder}")
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"out={folder}: cannot be written ({error.strerror})") from error
    return folder


def create_dated(parent: str | os.PathLike) -> Path:
    """Make a folder of a new run that is called by the time; two that start in the same second get two folders.

    Raises:
        ValueError: see `create`.
    """
    name = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = Path(parent) / name, 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}-{number}")
    try:
        folder.mkdir(parents=True)
    except FileExistsError:  # another process was faster
        return create_dated(parent)
    except OSError as error:
        raise ValueError(f"out={folder}: cannot be written ({error.strerror}); choose another with --out") from error
    return folder


def is_empty(folder: Path) -> bool:
    """Whether a folder holds no files but hidden ones."""
    return all(path.name.startswith(".") for path in folder.iterdir())


def open_folder(folder: str | os.PathLike) -> Path:
    """The folder of an existing run.

    Raises:
        ValueError: if it is none, naming the file that is missing.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder}: is no run folder, it has no {CONFIG}")
    return folder


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder; a killed process holds it no longer.

    Raises:
        ValueError: if another process holds it.
    """
    with (folder / CONFIG).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder}: another process is training into this folder") from error
        except OSError:  # a file system without locks
            pass
        yield


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write JSON under another name, then rename: a reader sees the old file or the new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.writing")
    with temporary.open("w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file of a run.

    Raises:
        ValueError: naming the file, if it is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"{path}: is not valid JSON ({error})") from error


def write_manifest(
    folder: Path, *, seed: int, devices: list[Any], dataset: data.Dataset, argv: Sequence[str] | None = None
) -> None:
    """Write where the numbers come from: versions, devices, seed, data checksums, the command and the time.

    Args:
        folder: the run's.
        seed: of everything random.
        devices: that it runs on.
        dataset: what it trains on.
        argv: the command line's arguments; None is those of this process.
    """
    about = {"name": dataset.name, "note": dataset.note, "sha256": dataset.checksums}
    write_json(folder / MANIFEST, {**provenance(seed=seed, devices=devices, argv=argv), "data": about})


def provenance(*, seed: int, devices: list[Any], argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Where a run's numbers come from, but for its data: versions, devices, seed, the command and the time.

    See `write_manifest` for the arguments.
    """
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "command": shlex.join(["python", "-m", _module_name(), *(sys.argv[1:] if argv is None else argv)]),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            "jaxdl": jaxdl.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in devices],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
    }


def check_same_data(folder: Path, checksums: Mapping[str, str]) -> None:
    """Raise ValueError, naming a file, unless the data are those that the run began with."""
    path = folder / MANIFEST
    try:
        before = dict(read_json(path)["data"]["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: does not say which data the run began with ({error!r})") from error
    for name in sorted({*before, *checksums}):
        if before.get(name) != checksums.get(name):
            raise ValueError(
                f"{name}: its SHA-256 is {checksums.get(name)}, but {folder} began with {before.get(name)}; a resumed "
                "run needs the same data"
            )


def _module_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
