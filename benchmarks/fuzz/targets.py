"""The readers that are fuzzed: seeds, what one input is given to, and the modules whose branches count."""

import functools
import gzip
import hashlib
import io
import json
import pathlib
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from unittest import mock

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.train_cnn import records as train_cnn_records
from jaxdl import data, interop
from jaxdl.data import dataset
from jaxdl.data.reading import archives, decoded, idx, layout, pixels
from jaxdl.interop import files, hdf5child, hdf5files, kerasfiles
from jaxdl.runs import folder, loading, names, records
from jaxdl.training import checkpoints

Path = pathlib.Path


class Target(NamedTuple):
    """One reader."""

    seeds: Callable[[Path], list[bytes]]  # makes whole files, in an empty folder
    name: str  # of the file that is written
    read: Callable[[Path], object]
    modules: tuple[str, ...]


PIXELS: Final = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
NORMALIZATION: Final = {"mean": [0.5], "std": [0.25], "scale": 16.0}
SHAPES: Final = {"a": jax.ShapeDtypeStruct((2, 3), jnp.float32), "b": jax.ShapeDtypeStruct((), jnp.int32)}


def _images(here: Path) -> list[bytes]:
    def stored(kind: str, **options: Any) -> bytes:
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, kind, **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[0x0112] = 6
    return [*map(stored, pixels.FORMATS), stored("JPEG", exif=exif), stored("PNG", exif=exif)]


def _idx(here: Path) -> list[bytes]:
    plain = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 3) + bytes(range(12))
    return [plain, gzip.compress(plain)]


def _tars(here: Path) -> list[bytes]:
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
            for name in ("a/0.png", f"b/{'x' * 90}/{'y' * 40}.png", "b/caf\N{LATIN SMALL LETTER E WITH ACUTE}.png"):
                tar.addfile(info := tarfile.TarInfo(name), io.BytesIO(b"content"))
                info.size = 7
                tar.addfile(info, io.BytesIO(b"content"))
        found.append(file.getvalue())
    return [*found, *map(gzip.compress, found)]


def _survey(path: Path) -> None:
    for _ in archives.survey(path, (".png",)):
        pass


def _folders(here: Path) -> list[bytes]:
    return [
        b"a/0.png\nb/1.png",
        b"train/a/0.png\ntrain/b/0.png\nval/a/0.png\nval/b/1.png",
        b"x/y/a/0.png\nx/y/b/0.png",
    ]


def _sort(path: Path) -> None:
    lines = path.read_bytes().decode("latin-1").split("\n")
    images, others = [line for line in lines if line.endswith(".png")], [line for line in lines if line[-4:] != ".png"]
    if images:
        layout.sort_entries(str(path), images, others, [])


def _decoded(here: Path) -> list[bytes]:
    images, labels = np.zeros((2, 4, 6, 3), np.uint8), np.array([0, 1], np.int32)
    decoded.store(
        here / "x", "abc", dataset.Dataset("x", images, labels, images, labels, ("a", "b"), 255.0, {}), ["one"]
    )
    return [(here / "x").read_bytes()]


def _safetensors(here: Path) -> list[bytes]:
    found = []
    for dtype in (np.float32, jnp.bfloat16, np.int8):
        interop.write_safetensors(
            here / "x", {"a": np.ones((2, 3), dtype), "b": np.array(1, dtype)}, metadata={"k": "v"}
        )
        found.append((here / "x").read_bytes())
    return found


def _hdf5(here: Path) -> list[bytes]:
    """Return small files of both of Keras' forms, also with chunks and compression."""
    with h5py.File(here / "numbered", "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((3, 2), np.float32), chunks=(2, 2), compression="gzip")
        file["layers/dense/vars/1"] = np.ones(2, np.float32)
    interop.write_keras(
        here / "listed.h5", {"d/kernel": np.ones((3, 2)), "d/bias": np.ones(2), "e/f/gamma": np.ones(1)}
    )
    return [(here / "numbered").read_bytes(), (here / "listed.h5").read_bytes()]


def _keras(here: Path) -> list[bytes]:
    found = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(here / "x.keras", "w", compression) as archive:
            archive.writestr("model.weights.h5", _hdf5(here)[0])
            archive.writestr(
                "config.json", json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": []}})
            )
        found.append((here / "x.keras").read_bytes())
    return found


def _here(path: Path, content: bytes | None) -> kerasfiles.StoredGroup:
    """Read HDF5 in this process, which the fuzzer bounds as `hdf5files` bounds its own."""
    arrays: list[Any] = []
    try:
        with h5py.File(path if content is None else io.BytesIO(content), "r") as file:
            tree = hdf5child.tree_of(file, path.stat().st_size, arrays)
            values = b"".join(np.ascontiguousarray(array[()]).tobytes() for array in arrays)
    except (hdf5child.RefusedFile, *hdf5child.DAMAGE) as error:
        raise ValueError(f"{path}: {' '.join(f'{error}'.split())}") from error
    return hdf5files.group_of(json.loads(json.dumps(tree)), memoryview(values))


def _read_keras(path: Path) -> None:
    with mock.patch.object(hdf5files, "_read_apart", _here):
        interop.read(path)


def _torch(here: Path) -> list[bytes]:
    import torch  # pyright: ignore[reportMissingImports]

    found = []
    for tensors in ({"a": torch.ones(2, 3), "b.c": torch.ones(1).half()}, {"model": {"a": torch.ones(2)}, "epoch": 3}):
        torch.save(tensors, file := io.BytesIO())
        found.append(file.getvalue())
    return found


def _json(here: Path) -> list[bytes]:
    text = '{"format": 1, "optimizer": ["adam(eps=1e-3)"], "rate": null, "big": 1e400, "x": "\\u00e9"}'
    return [text.encode()]


def _written(write: Callable[[Path], object], name: str, here: Path) -> list[bytes]:
    write(here)
    return [(here / name).read_bytes()]


def _manifest(here: Path) -> None:
    device = jax.devices("cpu")[:1]
    records.write_json(here / "manifest.json", folder.provenance(seed=0, devices=device, argv=["x"]))


def _preprocessing(here: Path) -> None:
    loading.write_preprocessing(here, data.Normalization.from_dict(NORMALIZATION), (8, 8, 1), ("a", "b"))


def _metrics(here: Path) -> list[bytes]:
    fields = ",".join(train_cnn_records.Measurement._fields)
    return [f"{fields}\r\n".encode(), f"{fields}\r\nadam,8,0,train,0.5,0.25,0.001,1.5\r\n".encode()]


def _npz(here: Path) -> list[bytes]:
    np.savez(
        here / "x.npz",
        labels=np.array([0, 1]),
        classes=np.array(["a", "b"]),
        probabilities_0=np.full((2, 2), 0.5),
        mistake_index_0=np.array([0]),
        mistake_images_0=np.zeros((1, 2, 2, 1), np.float32),
    )
    return [(here / "x.npz").read_bytes()]


def _members(make: Callable[[Path], list[bytes]], here: Path) -> list[bytes]:
    """Return every member of an archive, after a byte with its place."""
    with zipfile.ZipFile(io.BytesIO(make(here)[0])) as archive:
        return [bytes([i]) + archive.read(name) for i, name in enumerate(archive.namelist())]


def _as_member(make: Callable[[Path], list[bytes]], read: Callable[[Path], object], path: Path) -> None:
    """Read an archive with one member replaced, whose checksum is right."""
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(_whole(make))) as archive, zipfile.ZipFile(path, "w") as changed:
        for i, name in enumerate(archive.namelist()):
            chosen = content and content[0] % len(archive.namelist()) == i
            changed.writestr(name, content[1:] if chosen else archive.read(name))
    read(path)


@functools.cache
def _whole(make: Callable[[Path], list[bytes]]) -> bytes:
    with tempfile.TemporaryDirectory() as here:
        return make(Path(here))[0]


def _checkpoint_meta(here: Path) -> list[bytes]:
    checkpoints.save(here, 3, {"a": jnp.ones((2, 3)), "b": jnp.array(1, jnp.int32)}, {"epoch": 1})
    return [(here / "00000003" / "meta.json").read_bytes()]


def _restore(path: Path) -> None:
    """Put a file of metadata into a whole checkpoint, whose list of checksums agrees."""
    home = path.parent / "checkpoint"
    if not home.exists():
        _checkpoint_meta(home)
    there = home / "00000003"
    (there / "meta.json").write_bytes(path.read_bytes())
    held = [file for file in there.rglob("*") if file.is_file() and file.name != checkpoints.MANIFEST]
    sums = {file.relative_to(there).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in held}
    (there / checkpoints.MANIFEST).write_text(json.dumps(sums))
    try:
        checkpoints.restore(there, SHAPES)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error if str(there) in str(error) else AssertionError(str(error))


def _names(here: Path) -> list[bytes]:
    return [b"jaxdl.adam(eps=1e-3)", b"optax.contrib.prodigy", b"mine:opt(scale=(1, 'a', None), x=-2.5)", b"adam"]


def _parse(path: Path) -> None:
    try:
        names.parse("--optimizer", path.read_bytes().decode("latin-1"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error if "--optimizer" in str(error) else AssertionError(str(error))


def _decode(path: Path) -> None:
    content = path.read_bytes()
    try:
        pixels.read_header(content, str(path))
        pixels.decode(content, str(path))
    except pixels.UnreadableImage as error:
        raise ValueError(f"{path}: {error}") from error if str(path) in str(error) else AssertionError(str(error))


TARGETS: Final[Mapping[str, Target]] = {
    "image": Target(_images, "x.png", _decode, ("jaxdl.data.reading.pixels",)),
    "idx": Target(_idx, "x.gz", functools.partial(idx.read_idx, ndim=3), ("jaxdl.data.reading.idx",)),
    "tar": Target(_tars, "x.tar", _survey, ("jaxdl.data.reading.archives",)),
    "folder": Target(_folders, "names", _sort, ("jaxdl.data.reading.layout",)),
    "decoded": Target(
        _decoded, "x.npz", lambda path: decoded.restore(path, "abc"), ("jaxdl.data.reading.decoded", "jaxdl.disk")
    ),
    "safetensors": Target(_safetensors, "x.safetensors", files.read, ("jaxdl.interop.files",)),
    "keras": Target(_keras, "x.keras", _read_keras, ("jaxdl.interop.hdf5files", "jaxdl.interop.kerasfiles")),
    "hdf5": Target(_hdf5, "x.h5", _read_keras, ("jaxdl.interop.hdf5child", "jaxdl.interop.kerasfiles")),
    "torch": Target(_torch, "x.pth", files.read, ("jaxdl.interop.torchfiles",)),
    "json": Target(_json, "config.json", records.read_json, ("jaxdl.runs.records",)),
    "manifest": Target(
        functools.partial(_written, _manifest, "manifest.json"),
        "manifest.json",
        lambda path: records.read_record(path, folder.Manifest),
        ("jaxdl.runs.records",),
    ),
    "preprocessing": Target(
        functools.partial(_written, _preprocessing, "preprocessing.json"),
        "preprocessing.json",
        loading.read_preprocessing,
        ("jaxdl.runs.loading",),
    ),
    "metrics": Target(
        _metrics,
        "metrics.csv",
        lambda path: records.read_table(path, train_cnn_records.Measurement),
        ("jaxdl.runs.records",),
    ),
    "predictions": Target(
        _npz,
        "predictions.npz",
        lambda path: train_cnn_records.read_predictions(path, [0]),
        ("experiments.train_cnn.records", "jaxdl.disk"),
    ),
    "members of decoded": Target(
        functools.partial(_members, _decoded),
        "x.npz",
        functools.partial(_as_member, _decoded, lambda path: decoded.restore(path, "abc")),
        ("jaxdl.data.reading.decoded", "jaxdl.disk"),
    ),
    "members of predictions": Target(
        functools.partial(_members, _npz),
        "predictions.npz",
        functools.partial(_as_member, _npz, lambda path: train_cnn_records.read_predictions(path, [0])),
        ("experiments.train_cnn.records", "jaxdl.disk"),
    ),
    "checkpoint": Target(_checkpoint_meta, "meta.json", _restore, ("jaxdl.training.checkpoints",)),
    "names": Target(_names, "name.txt", _parse, ("jaxdl.runs.calling",)),
}


def one_input(target: Target, path: Path, content: bytes) -> None:
    """Give one input to a reader. Raise AssertionError for an error that does not name the file in one line."""
    path.write_bytes(content)
    try:
        target.read(path)
    except ValueError as error:
        text = str(error)
        assert str(path) in text or path.name in text, f"does not name the file: {text!r}"
        assert "\n" not in text, f"is of several lines: {text!r}"


def modules_of(chosen: Sequence[str]) -> list[str]:
    """Return the modules that targets read with, each once."""
    return sorted({module for name in chosen for module in TARGETS[name].modules})
