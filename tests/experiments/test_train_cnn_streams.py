"""train_cnn on images from disk: the choice between memory and stream, and the same numbers from both."""

import numpy as np
import pytest
from PIL import Image

from experiments.train_cnn import streams
from experiments.train_cnn.command import main
from experiments.train_cnn.config import Config, resolve
from jaxdl import models
from jaxdl.data import streaming

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
    assert opened(mixed, image_size=10).splits.test.images.shape == (12, 10, 10, 1)
    with pytest.raises(ValueError, match=r"image_size=None .* given: the images have several sizes \(12 x 8, 30 x 40"):
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
    assert rows[0] == rows[1]
    assert len(rows[0]) > 8
