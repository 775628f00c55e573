"""Checkpoints that are complete or absent, and verified before they are used.

A checkpoint is a folder named by its step: the arrays (written by orbax), ``meta.json``, and ``manifest.json`` with the
SHA-256 of every file. It is written under another name and renamed when complete, so that a killed process leaves
the earlier ones as they were. orbax by itself restores a flipped bit without a word; the manifest does not.
"""

import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np

Path = pathlib.Path
MANIFEST = "manifest.json"


class Checkpoint(NamedTuple):
    """What `restore` gives back."""

    tree: Any  # arrays, in the structure of ``like``
    meta: dict[str, Any]  # what was saved beside them


class CorruptCheckpointError(ValueError):
    """A checkpoint whose files are not what was written."""


def save(folder: str | os.PathLike, step: int, tree: Any, meta: dict[str, Any], *, keep: int = 3) -> Path:
    """Write the checkpoint of ``step`` into ``folder`` and delete all but the newest ``keep``.

    Args:
        folder: holds the checkpoints of one run; made if absent.
        step: names the checkpoint; one of the same step is replaced.
        tree: any pytree of arrays.
        meta: values that JSON keeps exactly, such as ints, floats and strings.
        keep: how many to keep, at least 1.
    """
    if keep < 1:
        raise ValueError(f"keep={keep} is less than 1")
    folder = Path(folder).absolute()
    temporary, final = folder / f".writing-{step:08d}", folder / f"{step:08d}"
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover)
    temporary.mkdir(parents=True)
    _save_arrays(temporary / "arrays", _by_path(tree))
    _write_json(temporary / "meta.json", {**meta, "arrays": _describe(tree)})
    _write_json(temporary / MANIFEST, {name: _digest(temporary / name) for name in _files(temporary)})
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    for old in steps(folder)[:-keep]:
        shutil.rmtree(folder / f"{old:08d}")
    return final


def steps(folder: str | os.PathLike) -> list[int]:
    """The steps of the checkpoints in ``folder``, oldest first; empty where there is none."""
    folder = Path(folder)
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()) if folder.exists() else []


def verify(checkpoint: str | os.PathLike) -> None:
    """Compare every file of one checkpoint with its manifest.

    Raises:
        CorruptCheckpointError: naming the first file that is missing, changed or foreign.
    """
    checkpoint = Path(checkpoint)
    try:
        wanted = json.loads((checkpoint / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise CorruptCheckpointError(f"{checkpoint / MANIFEST}: cannot be read ({error})") from error
    there = _files(checkpoint)
    for name in sorted(set(wanted) ^ set(there)):
        raise CorruptCheckpointError(f"{checkpoint / name}: {'missing' if name in wanted else 'not in the manifest'}")
    for name, digest in wanted.items():
        if _digest(checkpoint / name) != digest:
            raise CorruptCheckpointError(f"{checkpoint / name}: its SHA-256 is not that of what was written")


def restore(checkpoint: str | os.PathLike, like: Any) -> Checkpoint:
    """Verify one checkpoint and read it.

    Args:
        checkpoint: the folder of one step.
        like: a pytree of arrays or `jax.ShapeDtypeStruct` of the structure that was saved.

    Raises:
        CorruptCheckpointError: see `verify`.
        ValueError: where the saved arrays are not those of ``like``, naming the paths, shapes and dtypes.
    """
    import orbax.checkpoint as ocp

    checkpoint = Path(checkpoint).absolute()
    verify(checkpoint)
    meta = json.loads((checkpoint / "meta.json").read_text())
    wanted = _by_path(like)
    found = {name: (tuple(shape), dtype) for name, (shape, dtype) in meta.pop("arrays").items()}
    asked = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in wanted.items()}
    if found != asked:
        differ = [
            f"{n}: saved {found.get(n, 'no')}, asked {asked.get(n, 'no')}"
            for n in sorted({*found, *asked})
            if found.get(n) != asked.get(n)
        ]
        raise ValueError(f"{checkpoint}: holds other arrays than asked for: {'; '.join(differ[:5])}")
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = {n: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for n, leaf in wanted.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore(checkpoint / "arrays", abstract)
    return Checkpoint(jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted]), meta)


def restore_newest(folder: str | os.PathLike, like: Any, *, report=print) -> Checkpoint | None:
    """Restore the newest checkpoint that is whole; None where there is none.

    Args:
        folder: holds the checkpoints of one run.
        like: see `restore`.
        report: called with one line for every corrupt checkpoint that is passed over.
    """
    for step in reversed(steps(folder)):
        try:
            return restore(Path(folder) / f"{step:08d}", like)
        except CorruptCheckpointError as error:
            report(f"checkpoint of step {step} is corrupt and is passed over for the one before: {error}")
    return None


def _save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:  # leaving the block waits until all is written
        checkpointer.save(path, arrays)


def _by_path(tree: Any) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _describe(tree: Any) -> dict[str, tuple[list[int], str]]:
    return {name: (list(np.shape(leaf)), str(leaf.dtype)) for name, leaf in _by_path(tree).items()}


def _files(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return [name for name in files if name != MANIFEST]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: Any) -> None:
    with path.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
