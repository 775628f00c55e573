"""train_cnn on images from disk: the choice between memory and stream, and the same numbers from both."""

import builtins
import collections
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.train_cnn import streams
from experiments.train_cnn.command import main
from experiments.train_cnn.config import Config, resolve
from jaxdl import models
from jaxdl.data import streaming
from jaxdl.data.reading import pixels

pytest.importorskip("grain")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pets(tmp_path):
    return images(tmp_path / "pets", ((8, 8),))


def images(path, sizes):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (path / label).mkdir(parents=True)
        for i in range(30):
            shape = sizes[i % len(sizes)]
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(path / label / f"{i}.png")
    return path


def opened(path, **options):
    return streams.open_data(resolve(Config(dataset=str(path), **{"model": "tiny_cnn", **options})))


def test_small_sets_stay_in_memory_and_others_are_streamed(pets, tmp_path, monkeypatch):
    assert opened("digits").stream is None
    assert isinstance(opened(pets).dataset.images, np.ndarray)
    assert opened(pets, stream="always").stream is not None
    monkeypatch.setattr(streams, "RESIDENT", 1000)
    found = opened(pets)
    assert isinstance(found.splits.train.images, streaming.StreamedImages)
    assert opened(pets, stream="never").stream is None
    with pytest.raises(ValueError, match="stream='always' is not allowed: it must be left out: only a folder or tar"):
        opened("digits", stream="always")
    with pytest.raises(ValueError, match="image_size=32 is not allowed"):
        opened("digits", image_size=32)


def test_images_of_several_sizes_get_the_size_of_the_network(tmp_path):
    mixed = images(tmp_path / "mixed", ((8, 12), (40, 30)))
    found = opened(mixed, model="lecture_keras")
    assert found.stream is None
    assert found.splits.train.images.shape[1:] == (32, 32, 1)
    assert opened(mixed, model="jaxdl.models:small_cnn(hidden=8)").splits.test.images.shape == (12, 32, 32, 1)
    assert opened(mixed, image_size=10).splits.test.images.shape == (12, 10, 10, 1)
    with pytest.raises(
        ValueError,
        match=r"image_size=None .* given, as --image-size N: the images have several sizes \(12 x 8, 30 x 40",
    ):
        opened(mixed)


def test_every_network_for_images_has_a_size():
    of_any_size = {"char_transformer", "gpt2", "mlp", "softmax_regression", "tiny_cnn"}
    assert set(models.__all__) - set(streams.MADE_FOR) == of_any_size
    assert set(streams.MADE_FOR) <= set(models.__all__)


def test_workers_cut_the_random_windows():
    config = resolve(Config(augment=("resized_crop", "flip")))
    assert streams.augment_on_device(config, None) == ("resized_crop", "flip")
    loader = object.__new__(streaming.Loader)
    assert streams.augment_on_device(config, loader) == ("flip",)
    assert streams.augment_on_device(resolve(Config(augment=("resized_crop",))), loader) == ("none",)
    assert streams.augment_on_device(resolve(Config(augment=("flip", "resized_crop"))), loader)[1] == "resized_crop"


@pytest.mark.slow
@pytest.mark.trains
def test_a_stream_trains_to_the_same_numbers(pets, tmp_path, capsys):
    common = ["--dataset", str(pets), "--model", "tiny_cnn", "--epochs", "2", "--batch-size", "8"]
    common += ["--optimizer", "jaxdl.sgd", "jaxdl.adam", "--steps-per-call", "1", "--dev-fraction", "0.2"]
    rows = []
    for stream in ("always", "never"):
        out = tmp_path / stream
        assert main([*common, "--stream", stream, "--out", str(out)]) == 0
        said = capsys.readouterr().out
        assert ("streamed from disk at 8 x 8 pixels by threads" in said) == (stream == "always")
        rows.append([line.rsplit(",", 1)[0] for line in (out / "metrics.csv").read_text().splitlines()])
    assert main(["--resume", str(tmp_path / "always"), "--workers", "2"]) == 0, "another machine has other CPUs"
    capsys.readouterr()
    assert rows[0] == rows[1]
    assert len(rows[0]) > 8


@pytest.fixture
def seen(monkeypatch):
    """How often each image file was opened, and how many images were decoded."""
    opened, decoded = collections.Counter(), collections.Counter()
    real_open, real_decode = builtins.open, pixels.decode

    def counting_open(path, *args, **options):
        if str(path).endswith(".png"):
            opened["/".join(Path(path).parts[-2:])] += 1
        return real_open(path, *args, **options)

    def counting_decode(contents, where, mode=None):
        decoded[where] += 1
        return real_decode(contents, where, mode)

    monkeypatch.setattr(builtins, "open", counting_open)
    monkeypatch.setattr(pixels, "decode", counting_decode)
    return opened, decoded


def central(path, size):
    """One image as Pillow makes its largest central square."""
    with Image.open(path) as image:
        (w, h), side = image.size, min(image.size)
        left, top = (w - side) / 2, (h - side) / 2
        box = (left, top, left + side, top + side)
        return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def test_images_kept_in_memory_are_read_and_decoded_once(pets, tmp_path, seen):
    """But for the first file, whose size decides, and those before the first one of another size."""
    opened_files, decoded = seen
    assert opened(pets).stream is None
    assert {name: count for name, count in opened_files.items() if count != 1} == {"cat/0.png": 2}
    assert [*decoded.values()] == [1] * 60
    opened_files.clear(), decoded.clear()
    resized = opened(pets, image_size=5)
    assert resized.stream is None
    assert [*opened_files.values()] == [*decoded.values()] == [1] * 60
    mixed = images(tmp_path / "mixed", ((8, 12), (40, 30)))
    opened_files.clear(), decoded.clear()
    opened(mixed, model="lecture_keras")
    assert {name: count for name, count in opened_files.items() if count != 1} == {"cat/0.png": 3, "cat/1.png": 2}
    assert sum(decoded.values()) == 61


def test_images_that_the_first_pass_kept_are_those_of_their_files(tmp_path, seen):
    mixed = images(tmp_path / "mixed", ((8, 12), (9, 7, 3), (11, 11)))
    config = {"image_size": 6, "dev_fraction": 0.3}
    first = opened(mixed, **config)
    again = opened(mixed, **config)  # its findings come from the cache, so the images are read for their pixels alone
    assert max(seen[1].values()) == 2
    streamed = opened(mixed, **config, stream="always")
    for part, other, files in zip(first.splits, again.splits, streamed.splits, strict=True):
        assert isinstance(part.images, np.ndarray)
        np.testing.assert_array_equal(part.images, other.images)
        np.testing.assert_array_equal(part.images, files.images[:])
        np.testing.assert_array_equal(part.labels, files.labels)
    paths = sorted((mixed / "cat").iterdir(), key=lambda path: path.name)
    expected = [central(path, 6) for path in paths]
    wide = [image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1) for image in expected]
    ours = np.concatenate([part.images[part.labels == 0] for part in first.splits])
    assert sorted(image.tobytes() for image in ours) == sorted(image.tobytes() for image in wide)


def test_images_of_several_sizes_that_no_sample_shows(tmp_path):
    """One image of another size among many is resized like all others; an archive that must be unpacked is refused."""
    pets = images(tmp_path / "pets", ((8, 8),))
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(pets / "dog" / "7.png")
    assert opened(pets, model="lenet5").splits.train.images.shape[1:] == (28, 28, 1)
    with pytest.raises(ValueError, match=r"the images have several sizes \(8 x 8, 8 x 9, ...\)"):
        opened(pets)
    with pytest.raises(ValueError, match=r"dog/7.png is 8 x 9 pixels, but cat/0.png is 8 x 8; all images must have"):
        opened(pets, model="lenet5", stream="never")
    for suffix, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        with tarfile.open(tmp_path / f"pets.{suffix}", mode) as archive:
            archive.add(pets, "")
    assert opened(tmp_path / "pets.tar", model="lenet5").splits.train.images.shape[1:] == (28, 28, 1)
    with pytest.raises(ValueError, match=r"is 8 x 9 pixels, but .* is 8 x 8; all images must have one size"):
        opened(tmp_path / "pets.tar.gz", model="lenet5")


def test_damaged_files_are_named_and_skipped_alike_in_memory_and_streamed(tmp_path):
    pets = images(tmp_path / "pets", ((8, 12), (40, 30)))
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(file, "PNG")
    (pets / "cat" / "3.png").write_bytes(file.getvalue()[:900])
    (pets / "dog" / "0.png").write_bytes(b"no image")
    shapes = []
    for stream in ("always", "auto"):
        with pytest.raises(ValueError, match=r"cat/3.png cannot be read .*; 1 more of 60 .*--skip-unreadable"):
            opened(pets, image_size=6, stream=stream)
        with pytest.warns(RuntimeWarning, match="2 of 60 image files were skipped; the first: .*cat/3.png"):
            found = opened(pets, image_size=6, stream=stream, skip_unreadable=True)
        shapes.append([part.images[:] for part in found.splits])
    for one, other in zip(*shapes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_archives_beside_images_do_not_count_and_shards_may_be_in_capitals(pets, tmp_path):
    shard = tmp_path / "shards" / "PETS.TAR"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        archive.add(pets, "")
    kept = opened(pets)
    (pets / "cat").joinpath("notes.tar").write_bytes(b"no archive")
    with pytest.warns(RuntimeWarning, match=r"1 files beside the images were skipped \(1 .tar\)"):
        beside = opened(pets)
    with pytest.warns(RuntimeWarning, match=r"1 other files were skipped \(1 .tar\), the first is cat/notes.tar"):
        streamed = opened(pets, stream="always")
    for found in (beside, streamed, opened(shard.parent)):
        for part, expected in zip(found.splits, kept.splits, strict=True):
            np.testing.assert_array_equal(part.images[:], expected.images)
            np.testing.assert_array_equal(part.labels, expected.labels)


def test_sizes_and_workers_beyond_all_limits_are_refused(pets):
    with pytest.raises(ValueError, match=r"image_size=100000 is not allowed: it must be at most 9,459"):
        opened(pets, image_size=100_000)
    with pytest.raises(ValueError, match=r"workers is 100000; allowed are 0 to 256"):
        opened(pets, stream="always", workers=100_000)
