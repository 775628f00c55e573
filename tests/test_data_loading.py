"""`load` by name: digits, the real MNIST family if a copy is there, and unknown names."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxdl import data, extras
from jaxdl.data.reading import named

DATA_DIR = os.environ.get("JAXDL_DATA_DIR", "")


def need_real(*names):
    """Return the data folder, or skip with the name of the missing file."""
    if not DATA_DIR or not any((Path(DATA_DIR) / name).exists() for name in names):
        pytest.skip(f"JAXDL_DATA_DIR={DATA_DIR!r} has no {names[0]}")
    return Path(DATA_DIR)


# (training examples, test examples or None, shape of one, classes or 0 for real targets), as published
KNOWN = {
    "digits": (1797, None, (8, 8, 1), 10),
    "mnist": (60000, 10000, (28, 28, 1), 10),
    "fashion_mnist": (60000, 10000, (28, 28, 1), 10),
    "cifar10": (50000, 10000, (32, 32, 3), 10),
}


def test_every_named_data_set_stands_in_the_table_of_published_sizes():
    assert sorted(KNOWN) == sorted(data.NAMES)


@pytest.mark.parametrize("name", sorted(set(data.NAMES) - {"cifar10"}))
def test_a_named_data_set_has_its_published_size(name):
    if name in ("mnist", "fashion_mnist"):  # CIFAR-10 takes long to decode; test_data_cifar has it
        need_real(name.replace("_", "-"))
    dataset = data.load(name, data_dir=DATA_DIR or None, download=False)
    test = None if dataset.test_labels is None else len(dataset.test_labels)
    assert (len(dataset.labels), test, dataset.images.shape[1:], len(dataset.classes)) == KNOWN[name]


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets", reason="digits come with scikit-learn")
    expected = datasets.load_digits()
    dataset = data.load("digits")
    np.testing.assert_array_equal(dataset.images[..., 0], expected.images)
    np.testing.assert_array_equal(dataset.labels, expected.target)
    assert dataset.images.dtype == np.uint8
    assert (dataset.scale, dataset.test_images, len(dataset.classes)) == (16.0, None, 10)


def test_digits_come_through_scikit_learn_itself_where_its_file_is_elsewhere(monkeypatch):
    pytest.importorskip("sklearn", reason="digits come with scikit-learn")
    direct = data.load("digits")
    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: None)
    again = data.load("digits")
    np.testing.assert_array_equal(again.images, direct.images)
    np.testing.assert_array_equal(again.labels, direct.labels)
    assert again.checksums == direct.checksums


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name="sklearn")

    monkeypatch.setattr(named.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"digits needs scikit-learn: .*jaxdl\[experiments\]"):
        data.load("digits")


# the usual means and deviations of these sets, to their printed digits
@pytest.mark.parametrize(
    ("name", "folder", "mean", "std", "first"),
    [
        ("mnist", "mnist", 0.1307, 0.3081, [5, 0, 4, 1, 9]),
        ("Fashion-MNIST", "fashion-mnist", 0.2860, 0.3530, [9, 0, 0, 3, 0]),
    ],
)
def test_the_real_idx_sets(name, folder, mean, std, first):
    dataset = data.load(name, data_dir=need_real(folder), download=False)
    assert dataset.images.shape == (60000, 28, 28, 1)
    assert dataset.test_images is not None
    assert dataset.test_images.shape == (10000, 28, 28, 1)
    assert dataset.labels[:5].tolist() == first
    stats = data.fit_normalization(dataset.images, dataset.scale)
    assert abs(stats.mean[0] - mean) < 5.1e-5
    assert abs(stats.std[0] - std) < 5.1e-5
    assert len(dataset.classes) == 10
    if folder == "fashion-mnist":
        assert np.bincount(dataset.labels).tolist() == [6000] * 10


def test_a_flipped_bit_in_a_real_file_is_found(tmp_path):
    source = need_real("mnist") / "mnist"
    for path in source.iterdir():
        (tmp_path / path.name).symlink_to(path)
    labels = next(path for path in tmp_path.iterdir() if path.name.startswith("t10k-labels"))
    contents = bytearray(labels.read_bytes())
    contents = bytearray(gzip.decompress(contents)) if contents[:2] == b"\x1f\x8b" else contents
    contents[100] ^= 1
    labels.unlink()
    labels.write_bytes(contents)
    (tmp_path / "mnist").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError, match=r"t10k-labels.*: its contents are not the official ones"):
        data.load("mnist", data_dir=tmp_path)
    assert len(data.load(tmp_path).labels) == 60000


@pytest.mark.slow
def test_the_real_cifar10_as_images(tmp_path, monkeypatch):
    folder = need_real("cifar10-jpeg.tar.xz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = data.load("cifar10", data_dir=folder, download=False)
    assert dataset.name == "cifar10-jpeg"
    assert dataset.images.shape == (50000, 32, 32, 3)
    assert np.bincount(dataset.labels).tolist() == [5000] * 10
    # published means of CIFAR-10's channels; re-encoding moves them by less than a thousandth
    stats = data.fit_normalization(dataset.images, dataset.scale)
    np.testing.assert_allclose(stats.mean, [0.4914, 0.4822, 0.4465], atol=1e-3)
    again = data.load("cifar10", data_dir=folder, download=False)
    np.testing.assert_array_equal(again.images, dataset.images)


def test_names_are_spelled_freely(tmp_path):
    for name in ("fashion_mnist", "fashion-mnist", "FashionMNIST", "Fashion MNIST"):
        with pytest.raises(FileNotFoundError, match=r"fashion_mnist: train-images-idx3-ubyte.gz, "):
            data.load(name, data_dir=tmp_path, download=False)


@pytest.mark.parametrize(("name", "nearest"), [("mnst", "mnist"), ("digit", "digits"), ("cifar", "cifar10")])
def test_an_unknown_name_lists_what_there_is(name, nearest):
    with pytest.raises(ValueError, match=f"digits, mnist, fashion_mnist, cifar10, .*Nearest: {nearest}$") as caught:
        data.load(name)
    assert f"unknown data set {name!r}" in str(caught.value)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_that_does_not_exist_is_named(tmp_path, kind):
    with pytest.raises(FileNotFoundError, match="there is no such folder or archive"):
        data.load(kind(tmp_path / "pets"))
    with pytest.raises(FileNotFoundError, match=r"pets.tar: there is no such"):
        data.load("pets.tar")


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "pets.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"pets.zip is neither a folder nor an archive; archives end in .tar"):
        data.load(tmp_path / "pets.zip")
    (tmp_path / "pets.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"pets.npz is neither .*; arrays and tables come from a function"):
        data.load(tmp_path / "pets.npz")


def functions_of_the_page():
    """Return what the blocks of docs/data.md that define a function define."""
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    names = {"data": data}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.S | re.M):
        if "def " in block:
            exec(block, names)
    return names


@pytest.mark.parametrize("label", ["../out", "..", ".", "", "cat/small", "/cat"])
def test_the_page_s_table_names_no_folder_but_a_class(tmp_path, label):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "0.png").write_bytes(b"0")
    (tmp_path / "t.csv").write_text(f"image,label\n0.png,{label}\n")
    with pytest.raises(ValueError, match=f"the label '{re.escape(label)}' is no name of a folder"):
        functions_of_the_page()["sort_into_classes"](tmp_path / "flat", tmp_path / "t.csv", tmp_path / "sorted")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()].count("0.png") == 1


def test_the_page_s_table_may_name_files_of_one_name_in_two_folders(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_text(folder)
    (tmp_path / "t.csv").write_text("image,label\na/0.png,cat\nb/0.png,cat\n")
    functions_of_the_page()["sort_into_classes"](tmp_path, tmp_path / "t.csv", tmp_path / "sorted")
    assert sorted(path.read_text() for path in (tmp_path / "sorted" / "cat").iterdir()) == ["a", "b"]


def test_the_page_s_functions_read_a_table_of_classes_and_an_npz_file(tmp_path, monkeypatch):
    names = functions_of_the_page()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat").mkdir()
    for i in range(4):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / "flat" / f"{i}.png")
    (tmp_path / "t.csv").write_text('\ufeffimage,label\n0.png,a dog\n1.png,"cat, black"\n2.png,a dog\n3.png,a dog\n')
    names["sort_into_classes"]("flat", "t.csv", "sorted")
    found = data.load(tmp_path / "sorted")
    assert found.classes == ("a dog", "cat, black")
    assert found.images[:, 0, 0, 0].tolist() == [0, 2, 3, 1]
    assert found.labels.tolist() == [0, 0, 0, 1]
    np.savez(tmp_path / "pictures.npz", images=np.arange(32, dtype=np.uint8).reshape(2, 4, 4), labels=[1, 0])
    stored = names["my_arrays"]()
    assert (stored.images.shape, stored.labels.tolist(), stored.classes) == ((2, 4, 4, 1), [1, 0], ("cat", "dog"))
