"""`experiments.predict` on folders, with a table and a JSON list, beside the network on one image at a time."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import predict
from jaxdl import activations, data, models, runs

CLASSES = [f"class, {i}" for i in range(10)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a run folder of random weights and the layer with its variables."""
    folder, layer = tmp_path_factory.mktemp("predict") / "run", models.tiny_cnn(10)
    folder.mkdir()
    params, state = layer.init(jax.random.key(1), (8, 8, 1))
    (folder / "config.json").write_text(json.dumps({"model": "tiny_cnn", "optimizer": ["jaxdl.sgd"]}))
    runs.write_preprocessing(folder, data.no_normalization(1, 255.0), (8, 8, 1), CLASSES)
    runs.save_final(folder, "jaxdl.sgd", 1, params, state)
    return folder, lambda x: np.asarray(activations.softmax(layer.apply(params, state, x)[0]))


@pytest.fixture
def pictures(tmp_path):
    folder, images = tmp_path / "pictures", {}
    for i, name in enumerate(("b/2.png", "a/1.PNG", "a/é.bmp", "z.png", "a/deep/er/0.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        images[name] = np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(images[name]).save(folder / name)
    Image.fromarray(images["z.png"]).save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no image")
    return folder, dict(sorted(images.items()))


@pytest.mark.trains
@pytest.mark.parametrize("batch", [2, 64])
def test_a_folder_gives_a_row_per_image_in_batches_of_any_size(run, trained, pictures, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(predict, "BATCH", batch)
    (folder, apply), (root, images) = trained, pictures
    table, listing = tmp_path / "found.csv", tmp_path / "found.json"
    code, out, err = run(predict.main, folder, root, "--top", 2, "--csv", table, "--json", listing)
    assert (code, err) == (0, "")
    with table.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    objects = json.loads(listing.read_text(encoding="utf-8"))
    assert header == ["image", "class_1", "probability_1", "class_2", "probability_2"]
    assert len(rows) == len(objects) == len(out.splitlines()) == len(images)
    for (name, image), row, one, line in zip(images.items(), rows, objects, out.splitlines(), strict=True):
        expected = apply(image.reshape(1, 8, 8, 1).astype(np.float32) / 255)[0]
        best = np.argsort(-expected)[:2]
        assert row[0] == one["image"] == str(root / name)
        assert line.startswith(f"{root / name}: {CLASSES[best[0]]} ")
        assert row[1::2] == [found["class"] for found in one["classes"]] == [CLASSES[i] for i in best]
        np.testing.assert_allclose([float(cell) for cell in row[2::2]], expected[best], rtol=1e-4)
        assert [float(cell) for cell in row[2::2]] == [found["probability"] for found in one["classes"]]


def test_a_file_that_cannot_be_read_leaves_no_half_table(run, trained, pictures, tmp_path):
    (folder, _), (root, _) = trained, pictures
    (root / "zz.png").write_bytes(b"no image")
    code, _, err = run(predict.main, folder, root, "--csv", tmp_path / "found.csv", "--json", tmp_path / "found.json")
    assert code == 2
    assert "zz.png" in err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_a_file_that_cannot_be_read_may_be_skipped(run, trained, pictures, tmp_path):
    (folder, _), (root, images) = trained, pictures
    (root / "a" / "0.png").write_bytes(b"no image")
    table = tmp_path / "found.csv"
    assert run(predict.main, folder, root)[2].count("--skip-unreadable leaves such files out") == 1
    code, _, err = run(predict.main, folder, root, "--csv", table, "--skip-unreadable")
    assert (code, err.count("warning: skipped")) == (0, 1)
    assert [row.split(",")[0] for row in table.read_text("utf-8").splitlines()[1:]] == [str(root / x) for x in images]


def test_an_image_of_another_shape_is_cut_as_in_training(tmp_path, capsys):
    from jaxdl.data import streaming

    wide = np.random.default_rng(0).integers(0, 256, (12, 30), np.uint8)
    for name in ("a/0.png", "b/0.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(wide).save(tmp_path / name)
    trained_on = streaming.open_images(tmp_path, size=8).dataset().images[np.array([0])][0]
    np.testing.assert_array_equal(predict.read_image(tmp_path / "a/0.png", (8, 8, 1), 255.0), trained_on)
    assert "0.png: resized from 30x12 to 8x8, the largest central part" in capsys.readouterr().out


def test_a_folder_without_images_is_named(run, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run(predict.main, trained[0], tmp_path / "empty")
    assert code == 2
    assert "empty: holds no image files (.png " in err
