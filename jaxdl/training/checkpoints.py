"""Checkpoints that are complete or absent, and verified before they are used.

A checkpoint is a folder named after its step. It holds the arrays (written by orbax), ``meta.json``, and
``manifest.json`` with the SHA-256 of every file. It is written under a temporary name and renamed when complete; a
checkpoint is renamed before it is replaced or deleted. A process killed at any moment therefore leaves only complete
checkpoints. orbax itself restores a flipped bit silently; the manifest catches it.

Only one process may write into a folder at a time.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxdl import disk
from jaxdl.training import arrayfiles
from jaxdl.training.arrayfiles import CorruptCheckpointError

Path = pathlib.Path
MANIFEST = "manifest.json"
FORMAT = 2  # of meta.json; format 1 carries no number and calls TrainState's ".layer_state" ".state"
WRITING, REPLACED, REMOVING = ".writing-", ".replaced-", ".removing-"  # prefixes of unfinished work


class Checkpoint(NamedTuple):
    """A restored checkpoint."""

    tree: Any  # arrays, in the structure of ``like``
    meta: dict[str, Any]  # the metadata saved with them


def save(folder: str | os.PathLike, step: int, tree: Any, meta: dict[str, Any], *, keep: int = 3) -> Path:
    """Write the checkpoint of ``step`` into ``folder``, and delete all others but the newest ``keep - 1``.

    Args:
        folder: folder of one run's checkpoints, created if absent.
        step: number of the checkpoint, at least 0; an existing one of this step is replaced.
        tree: any pytree of arrays, typed random keys included.
        meta: values that JSON keeps exactly, such as ints, floats and strings.
        keep: number of checkpoints to keep, at least 1.

    Raises:
        ValueError: if a leaf is not an array or would come back in a narrower dtype, or JSON cannot hold ``meta``.
        OSError: naming the checkpoint, if writing fails, such as on a full disk; earlier checkpoints survive.

    Examples:
        >>> import tempfile
        >>> tree = {"w": jnp.array([1.0, 2.0])}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for step in (1, 2, 3):
        ...         path = checkpoints.save(folder, step, tree, {"epoch": step}, keep=2)
        ...     checkpoints.verify(path)
        ...     checkpoints.steps(folder)
        ...     found = checkpoints.restore_newest(folder, tree)
        [2, 3]
        >>> found.tree["w"], found.meta["epoch"]
        (Array([1., 2.], dtype=float32), 3)
    """
    if keep < 1:
        raise ValueError(f"keep={keep} is less than 1")
    if step < 0:
        raise ValueError(f"step={step} is less than 0")
    described, encoded = {"format": FORMAT, "step": step, "arrays": arrayfiles.describe("tree", tree), "meta": meta}, ""
    try:
        encoded = json.dumps(described)
    except TypeError as error:
        raise ValueError(f"meta: JSON cannot hold it ({error})") from error
    folder = Path(folder).absolute()
    temporary, final = folder / f"{WRITING}{step:08d}", folder / f"{step:08d}"
    with disk.naming(final, temporary):
        tidy(folder)
        temporary.mkdir(parents=True)
        try:
            arrayfiles.write(temporary / "arrays", tree)
            _write(temporary / "meta.json", encoded)
            _write(temporary / MANIFEST, json.dumps({name: _digest(temporary / name) for name in _files(temporary)}))
            _replace(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # what an error has left of it
        others = [other for other in steps(folder) if other != step]
        for old in others[: max(0, len(others) - keep + 1)]:
            _remove(folder / f"{old:08d}")
    return final


def steps(folder: str | os.PathLike) -> list[int]:
    """Return the steps of the checkpoints in ``folder``, oldest first; an empty list if there are none."""
    names = {path.name.removeprefix(REPLACED) for path in Path(folder).glob("*") if path.is_dir()}
    return sorted(int(name) for name in names if re.fullmatch(r"[0-9]{8}|[1-9][0-9]{8,}", name))


def verify(checkpoint: str | os.PathLike) -> None:
    """Compare every file of one checkpoint with its manifest.

    Raises:
        CorruptCheckpointError: naming the first file that is missing, changed, foreign or unreadable.
    """
    checkpoint = _present(Path(checkpoint))
    try:
        wanted = json.loads(disk.read_regular(checkpoint / MANIFEST))
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{checkpoint / MANIFEST}: cannot be read ({error})") from error
    if not isinstance(wanted, dict):
        raise CorruptCheckpointError(f"{checkpoint / MANIFEST}: is not a manifest")
    there = _files(checkpoint)
    for name in sorted(set(wanted) ^ set(there)):
        raise CorruptCheckpointError(f"{checkpoint / name}: {'missing' if name in wanted else 'not in the manifest'}")
    for name, digest in wanted.items():
        try:
            found = _digest(checkpoint / name)
        except OSError as error:
            raise CorruptCheckpointError(f"{checkpoint / name}: cannot be read ({error})") from error
        if found != digest:
            raise CorruptCheckpointError(f"{checkpoint / name}: its SHA-256 differs from the one in the manifest")


def restore(checkpoint: str | os.PathLike, like: Any) -> Checkpoint:
    """Verify one checkpoint and read it.

    Args:
        checkpoint: the folder of one step.
        like: a pytree of arrays or `jax.ShapeDtypeStruct` in the structure that was saved.

    Returns:
        The arrays, on the first device, and the metadata saved with them.

    Raises:
        CorruptCheckpointError: see `verify`.
        ValueError: if the saved arrays differ from ``like``, naming their paths, shapes and dtypes, or the checkpoint
            has a newer format.
    """
    checkpoint = _present(Path(checkpoint).absolute())
    verify(checkpoint)
    found, meta, name_of = _read_meta(checkpoint / "meta.json")
    asked = {name_of(name): leaf for name, leaf in arrayfiles.describe("like", like).items()}
    if found != asked:
        differ = [
            f"{name}: saved {_about(found.get(name))}, asked {_about(asked.get(name))}"
            for name in sorted({*found, *asked})
            if found.get(name) != asked.get(name)
        ]
        more = f"; and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise ValueError(f"{checkpoint}: holds other arrays than asked for: {'; '.join(differ[:5])}{more}")
    return Checkpoint(arrayfiles.read(checkpoint / "arrays", like, name_of), meta)


def read_newest(folder: str | os.PathLike, *, report: Callable[[str], None] = print) -> Checkpoint | None:
    """Read the newest intact checkpoint without knowing its structure; return None if the folder has none.

    Its ``tree`` is a dict of the arrays by their paths, as `jax.tree_util.keystr` writes them, on the first device.

    Args:
        folder: folder of one run's checkpoints.
        report: see `restore_newest`.

    Raises:
        CorruptCheckpointError: see `restore_newest`.
        ValueError: if the checkpoint has a newer format.
    """

    def read(checkpoint: Path) -> Checkpoint:
        verify(checkpoint)
        described, meta, _ = _read_meta(checkpoint / "meta.json")
        return Checkpoint(arrayfiles.read_all(checkpoint / "arrays", described), meta)

    return _newest(folder, lambda checkpoint: read(_present(checkpoint.absolute())), report)


def restore_newest(folder: str | os.PathLike, like: Any, *, report=print) -> Checkpoint | None:
    """Restore the newest intact checkpoint; return None if the folder has no checkpoints.

    Args:
        folder: folder of one run's checkpoints.
        like: see `restore`.
        report: called with one line for every corrupt checkpoint that is passed over.

    Raises:
        CorruptCheckpointError: if there are checkpoints and all are corrupt.
        ValueError: see `restore`.
    """
    return _newest(folder, lambda checkpoint: restore(checkpoint, like), report)


def _newest(
    folder: str | os.PathLike, read: Callable[[Path], Checkpoint], report: Callable[[str], None]
) -> Checkpoint | None:
    there = steps(folder)
    for step in reversed(there):
        try:
            return read(Path(folder) / f"{step:08d}")
        except CorruptCheckpointError as error:
            report(f"checkpoint of step {step} is corrupt and is passed over for the one before: {error}")
    if there:
        raise CorruptCheckpointError(f"{folder}: all checkpoints are corrupt, those of the steps {there}")
    return None


def _read_meta(path: Path) -> tuple[dict[str, Any], dict[str, Any], Callable[[str], str]]:
    """Return the saved arrays' descriptions, the metadata, and a function from a leaf's path to its path in the file.

    Raises:
        ValueError: if the checkpoint has a newer format, whose other keys are then unknown.
        CorruptCheckpointError: if the file is not what `save` writes.
    """
    try:
        saved = json.loads(disk.read_regular(path))
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path}: is not JSON ({error})") from error
    if not isinstance(saved, dict):
        raise CorruptCheckpointError(f"{path}: holds a {type(saved).__name__}; expected an object")
    number = saved.get("format", 1)
    if number not in (1, FORMAT):
        raise ValueError(f"{path.parent}: has format {number!r}; this version reads 1 to {FORMAT}")
    name = path.parent.name.removeprefix(REPLACED)
    if name.isdecimal() and (step := saved.get("step", int(name))) != int(name):  # older ones do not say it
        raise CorruptCheckpointError(f"{path.parent}: holds the checkpoint of step {step!r}")
    for key in ("arrays", "meta"):
        if not isinstance(saved.get(key), dict):
            raise CorruptCheckpointError(f"{path}: has no object {key!r}")
    found = saved["arrays"]
    for array, described in found.items():
        shape = described[0] if isinstance(described, list) and len(described) == 2 else None
        if not isinstance(shape, list) or not all(isinstance(one, int) for one in shape):
            raise CorruptCheckpointError(f"{path}: {array} must have a shape and a dtype")
    if number == FORMAT:
        return found, saved["meta"], str
    return found, saved["meta"], lambda name: name if name in found else name.replace(".layer_state", ".state")


def _about(described: list[Any] | None) -> str:
    return "nothing" if described is None else textwrap.shorten(f"{described[1]}{described[0]}", 100)


def _present(checkpoint: Path) -> Path:
    """Return the checkpoint's folder: its own, or the one set aside by a save that was killed between two renames."""
    aside = checkpoint.with_name(REPLACED + checkpoint.name)
    return aside if aside.exists() and not checkpoint.exists() else checkpoint


def _replace(temporary: Path, final: Path) -> None:
    aside = final.with_name(REPLACED + final.name)
    if final.exists():
        final.rename(aside)  # rename cannot overwrite a folder that is not empty
    temporary.rename(final)
    if aside.exists():
        _remove(aside)


def _remove(checkpoint: Path) -> None:
    checkpoint = _present(checkpoint)
    doomed = checkpoint.with_name(REMOVING + checkpoint.name)
    checkpoint.rename(doomed)  # so that it is never seen with half of its files
    shutil.rmtree(doomed)


def tidy(folder: str | os.PathLike) -> None:
    """Finish or undo what a killed process left unfinished; `save` does so first.

    Args:
        folder: folder of one run's checkpoints, which may be absent. No other process may write into it.
    """
    folder = Path(folder)
    for leftover in [*folder.glob(f"{WRITING}*"), *folder.glob(f"{REMOVING}*")]:
        shutil.rmtree(leftover)
    for aside in folder.glob(f"{REPLACED}*"):
        final = aside.with_name(aside.name.removeprefix(REPLACED))
        shutil.rmtree(aside) if final.exists() else aside.rename(final)


def _files(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in files if name != MANIFEST]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
