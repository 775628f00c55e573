"""CIFAR-10 from its binary files and from images, in every usual place of a data folder."""

import io
import shutil
import tarfile

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.reading import cifar
from jaxdl.data.reading.archives import file_digest

COUNT = 40  # records per file here; 10,000 in the real ones
RNG = np.random.default_rng(0)
NAMES = [*cifar.TRAIN_FILES, cifar.TEST_FILE]
PLANES = RNG.integers(0, 256, (len(NAMES), COUNT, 3, 32, 32), dtype=np.uint8)
LABELS = RNG.integers(0, 10, (len(NAMES), COUNT), dtype=np.uint8)
RECORDS = {
    name: b"".join(bytes([label]) + plane.tobytes() for label, plane in zip(LABELS[i], PLANES[i], strict=True))
    for i, name in enumerate(NAMES)
}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(cifar, "PER_FILE", COUNT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def archive(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, contents in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    return path


def binary_archive(path, **changes):
    return archive(
        path, {f"cifar-10-batches-bin/{name}": changes.get(name[:-4], RECORDS[name]) for name in NAMES[::-1]}
    )


def check(dataset):
    # by index, one pixel at a time: record i of file k, channel c, row y, column x
    for k, i, c, y, x in RNG.integers(0, [5, COUNT, 3, 32, 32], (200, 5)):
        assert dataset.images[k * COUNT + i, y, x, c] == PLANES[k, i, c, y, x]
        assert dataset.labels[k * COUNT + i] == LABELS[k, i]
        assert dataset.test_images[i, y, x, c] == PLANES[5, i, c, y, x]
        assert dataset.test_labels[i] == LABELS[5, i]
    assert (dataset.name, dataset.note, dataset.scale) == ("cifar10", "", 255.0)
    assert dataset.classes[0] == "airplane"


def test_the_binary_archive_and_its_folder_are_read_wherever_they_lie(tmp_path, monkeypatch):
    path = binary_archive(tmp_path / "anywhere" / "cifar-10-binary.tar.gz")
    check(data.load(path))
    monkeypatch.setattr(cifar, "CIFAR10_SHA256", file_digest(path))
    dataset = data.load("cifar10", data_dir=path.parent)
    check(dataset)
    assert dataset.checksums == {path.name: file_digest(path)}
    inside = tmp_path / "inside" / "cifar_10" / path.name
    inside.parent.mkdir(parents=True)
    shutil.copy(path, inside)
    check(data.load("CIFAR-10", data_dir=tmp_path / "inside", download=False))
    with tarfile.open(path) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):  # extractall(filter=) came with Python 3.11.4
            file = tmp_path / "unpacked" / member.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(tar.extractfile(member).read())
    check(data.load("cifar10", data_dir=tmp_path / "unpacked", download=False))
    check(data.load(tmp_path / "unpacked" / "cifar-10-batches-bin"))


def test_an_archive_with_other_bytes_is_refused(tmp_path):
    binary_archive(tmp_path / "cifar-10-binary.tar.gz")
    with pytest.raises(ValueError, match=r"cifar-10-binary.tar.gz: not the official archive \(SHA-256 is"):
        data.load("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_batch_2": RECORDS["data_batch_2.bin"][:-1]}, "data_batch_2.bin is truncated: 122919 bytes"),
        ({"test_batch": RECORDS["test_batch.bin"] + b"x"}, "test_batch.bin is too long"),
        ({"data_batch_1": b"\x0a" + RECORDS["data_batch_1.bin"][1:]}, "label 10 of record 0 is out of range"),
    ],
)
def test_bad_binary_files_are_named(tmp_path, changes, message):
    path = binary_archive(tmp_path / "c.tar.gz", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_binary_file_is_named(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(RECORDS["data_batch_1.bin"])
    with pytest.raises(ValueError, match=r"data_batch_2.bin, .*test_batch.bin missing"):
        data.load(tmp_path)


def pictures(kind):
    image = pytest.importorskip("PIL.Image", reason="reading images needs Pillow")

    def encoded(i):
        file = io.BytesIO()
        image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(file, kind)
        return file.getvalue()

    suffix = "jpg" if kind == "jpeg" else kind
    classes = enumerate(cifar.CIFAR10_CLASSES)
    return {f"{part}/{label}/0.{suffix}": encoded(i) for i, label in classes for part in ("train", "test")}


def test_lossy_images_are_used_under_a_name_that_says_so(tmp_path):
    archive(tmp_path / "cifar10-jpeg.tar.gz", pictures("jpeg"))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"pickles are not read")
    (tmp_path / "cifar100").mkdir()
    dataset = data.load("cifar10", data_dir=tmp_path)
    assert dataset.name == "cifar10-jpeg"
    assert dataset.note.startswith("CIFAR-10 (JPEG)")
    np.testing.assert_array_equal(dataset.labels, range(10))
    np.testing.assert_allclose(dataset.images.mean(axis=(1, 2, 3)), 20 * np.arange(10), atol=1)


def test_lossless_images_are_cifar10(tmp_path):
    archive(tmp_path / "cifar-10-png.tar.gz", pictures("png"))
    dataset = data.load("cifar10", data_dir=tmp_path)
    assert (dataset.name, dataset.note) == ("cifar10", "")


def test_images_of_other_classes_are_refused(tmp_path):
    files = {name.replace("truck", "lorry"): value for name, value in pictures("png").items()}
    archive(tmp_path / "cifar10.tar.gz", files)
    with pytest.raises(ValueError, match=r"its classes are .*lorry.*, not CIFAR-10's"):
        data.load("cifar10", data_dir=tmp_path)


def test_missing_files_are_named(tmp_path):
    (tmp_path / "cifar100.tar.gz").write_bytes(b"another data set")
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary.tar.gz not found in .*; put it there by hand"):
        data.load("cifar10", data_dir=tmp_path, download=False)
