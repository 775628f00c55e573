"""`train_cnn --targets`: several labels per image, and numbers, from a table beside a folder of images."""

import csv
import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as theirs

from experiments import export, predict
from experiments.train_cnn import command, config, records, report, streams, target_scores, targets
from jaxdl import data, plots, runs

COUNT = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return a folder of grey images whose brightness of the left and of the right half is their target."""
    folder, rng = tmp_path_factory.mktemp("targets") / "pictures", np.random.default_rng(0)
    halves = rng.uniform(0.1, 0.9, (COUNT, 2))
    rows = [["image", "left", "right"]]
    for i, (left, right) in enumerate(halves):
        path = folder / f"{'ab'[i % 2]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.concatenate([np.full((8, 4), 255 * left), np.full((8, 4), 255 * right)], 1)
        Image.fromarray(image.astype(np.uint8)).save(path)
        rows.append([str(path.relative_to(folder)), f"{left:.4f}", f"{right:.4f}"])
    labels = [rows[0], *([row[0], *(str(int(float(cell) > 0.5)) for cell in row[1:])] for row in rows[1:])]
    for name, lines in (("numbers", rows), ("labels", labels)):
        with (folder.parent / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    return folder


@pytest.mark.trains
@pytest.mark.parametrize(("kind", "loss"), [("numbers", "squared_error"), ("labels", "sigmoid_binary_cross_entropy")])
def test_a_run_learns_the_targets_and_its_files_say_them(pictures, tmp_path, kind, loss, monkeypatch, capsys):
    monkeypatch.setattr(plots, "png", lambda figure, **options: b"")
    folder, table = tmp_path / "run", pictures.parent / f"{kind}.csv"
    given = (
        f"--dataset {pictures} --targets {table} --loss {loss} --model softmax_regression --augment none --epochs 40"
    )
    more = f"--batch-size 16 --optimizer jaxdl.adam --learning-rate 0.05 --log-every 12 --out {folder}"
    assert command.main([*given.split(), *more.split()]) == 0
    assert ("accuracy" in capsys.readouterr().out.partition("┏")[0]) == (kind == "labels")
    run = records.read(folder)
    assert run.summary.task == kind
    found = run.predictions
    assert found["names"].tolist() == ["left", "right"]
    assert found["outputs_0"].shape == found["targets"].shape == (12, 2)
    error = np.abs(found["outputs_0"] - found["targets"])
    assert error.mean() < 0.1 if kind == "numbers" else (error < 0.5).mean() > 0.9
    text = (folder / "report.md").read_text()
    assert "## Targets" in text
    assert (": loss on training and" in text) == (kind == "numbers")  # nothing says that accuracy is drawn
    assert (": loss (nats) and accuracy (%) on training and" in text) == (kind == "labels")
    assert not any(f"## {title}" in text for title in ("Classes", "Confidence", "Confusion matrix"))
    assert report.write(folder).name == "report.html"
    found, listing = folder.parent / "found.csv", folder.parent / "found.json"
    given = [str(folder), str(pictures / "a" / "0.png"), "--csv", str(found), "--json", str(listing)]
    assert predict.main(given) == 0
    head, row = (line.split(",") for line in found.read_text().splitlines())
    name, value, several = ("class", "probability", "classes") if kind == "labels" else ("target", "number", "targets")
    assert head == ["image", f"{name}_1", f"{value}_1", f"{name}_2", f"{value}_2"]
    assert row[1::2] == ["left", "right"]
    (one,) = json.loads(listing.read_text())
    assert [list(pair.items()) for pair in one[several]] == [
        [(name, row[i]), (value, float(row[i + 1]))] for i in (1, 3)
    ]
    said = capsys.readouterr().out
    assert "left" in said.splitlines()[-1]
    assert ("%" in said) == (kind == "labels")
    assert export.main([str(folder)]) == 0
    assert runs.load(folder).classes == ("left", "right")
    assert json.loads((folder / "config.json").read_text())["targets"] == str(table)


def test_the_figures_of_labels_and_numbers_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, p = (rng.random((40, 2)) > 0.6).astype(np.float32), rng.random((40, 2)).astype(np.float32)
    for i, row in enumerate(target_scores._of_labels(p, truth, np.array(["a", "b"]))):
        y, guess = truth[:, i], p[:, i] > 0.5
        precision, recall, f1, _ = theirs.precision_recall_fscore_support(y, guess, average="binary")
        wanted = [100 * theirs.accuracy_score(y, guess), 100 * precision, 100 * recall, 100 * f1]
        np.testing.assert_allclose([float(cell) for cell in row[2:6]], wanted, atol=0.006)
        assert float(row[6]) == pytest.approx(theirs.roc_auc_score(y, p[:, i]), abs=6e-5)
        assert row[:2] == ["ab"[i], str(int(y.sum()))]
    y, guess = rng.normal(50, 2, (40, 2)).astype(np.float32), rng.normal(50, 2, (40, 2)).astype(np.float32)
    for i, row in enumerate(target_scores._of_numbers(guess, y, np.array(["a", "b"]))):
        wanted = [
            y[:, i].mean(),
            y[:, i].std(),
            theirs.mean_absolute_error(y[:, i], guess[:, i]),
            theirs.root_mean_squared_error(y[:, i], guess[:, i]),
            theirs.r2_score(y[:, i], guess[:, i]),
        ]
        np.testing.assert_allclose([float(cell) for cell in row[1:]], wanted, rtol=6e-4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("image\na.png\n", "its first line must name the columns image, and one name or more"),
        ("image;x\na.png;1\n", "it is image;x; commas separate columns"),
        ("file,x\na.png,1\n", "its first line must name the columns image"),
        ("image,x,x\na.png,1,2\n", "each only once"),
        ("image,x\n", "has no line below its first one"),
        ("image,x\na.png,1,2\n", "line 2 has 3 cells; the first line has 2"),
        ("image,x\n\na.png,one\n", "line 3: 'one' is no finite number"),
        (
            "image,x\na.png,black cat\n",
            "'black cat' is no finite number; by names of classes docs/data.md sorts",
        ),
        ("image,x\na.png,nan\n", "line 2: 'nan' is no finite number"),
        ("image,x\na.png,1e39\n", "line 2: '1e39' is no finite number"),
        ("image,x\n../a.png,1\n", "line 2: '../a.png' is no path inside the folder of --dataset"),
        ("image,x\n/etc/passwd,1\n", "is no path inside the folder"),
        ("image,x\na.png,1\na.png,2\n", "the image a.png occurs twice"),
        ("image,x\n\x00\xff", "targets="),
    ],
)
def test_a_wrong_table_is_refused_by_line(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"^targets=") as error:
        targets.read_table(path)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"age": [1.0, 3.0], "height": [1.5, 1.9]}, None),  # deviations 1 and 0.2
        ({"age": [10.0, 30.0], "height": [1.5, 1.9]}, r"from 0.2 \(height\) to 10 \(age\), whose error decides"),
        ({"price": [3e5, 4e5]}, r"the target price has values of about 3.5e\+05, and outputs begin near 0"),
        ({"same": [2.0, 2.0], "x": [0.0, 1.0]}, None),  # a constant has no deviation to compare
        ({"same": [2.0, 2.0]}, None),
    ],
)
def test_targets_of_other_sizes_are_warned_of(columns, said):
    values = np.array([*columns.values()], np.float32).T
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        targets.warn_of_scales([*columns], values)
    assert len(caught) == (said is not None)
    assert said is None or re.search(said, str(caught[0].message))


@pytest.mark.parametrize(("loss", "warned"), [("huber", True), ("sigmoid_binary_cross_entropy", False)])
def test_numbers_are_compared_in_size_and_labels_are_not(pictures, tmp_path, loss, warned):
    rows = [line.split(",")[0] for line in (pictures.parent / "labels.csv").read_text().splitlines()[1:]]
    table = tmp_path / "t.csv"  # numbers of deviations 1/2 and 50; labels of which one is rare
    large = 100 if warned else 1
    lines = [f"{row},{i % 2},{large * (i % 2 if warned else i == 0)}" for i, row in enumerate(rows)]
    table.write_text("\n".join(["image,small,large", *lines]))
    options = config.resolve(config.Config(dataset=str(pictures), targets=str(table), loss=loss, test_fraction=0.2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        streams.open_data(options)
    assert [bool(re.search("large", str(one.message))) for one in caught] == [True] * warned


def test_folders_of_parts_are_kept_apart_if_all_images_are_in_one(tmp_path):
    names = ["train/0.png", "Val/0.png", "test/0.png", "train/1.png"]
    for i, name in enumerate([*names, "else.png"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / name)
    table = tmp_path / "labels.csv"

    def load(*chosen):
        table.write_text("image,a\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(chosen)))
        return targets.load(tmp_path, table, None)[0]

    found = load(*names)
    assert found.test_images is not None
    assert found.dev_images is not None
    assert found.dev_labels is not None
    assert found.test_labels is not None
    assert [one[:, 0, 0, 0].tolist() for one in (found.images, found.dev_images, found.test_images)] == [
        [0, 3],
        [1],
        [2],
    ]
    assert [one.tolist() for one in (found.labels, found.dev_labels, found.test_labels)] == [[[0], [1]], [[1]], [[0]]]
    splits = data.split(found, seed=0, dev_fraction=0.5)
    assert [len(part.labels) for part in splits] == [2, 1, 1]
    with pytest.warns(
        RuntimeWarning, match=r"test, train, val are not kept apart, because else\.png is in none of them"
    ):
        assert load(*names, "else.png").test_images is None
    with pytest.raises(ValueError, match="the table has images in test, val, and none in train"):
        load("Val/0.png", "test/0.png")


def test_images_are_checked(pictures, tmp_path):
    Image.new("RGB", (9, 8)).save(pictures / "wide.png")
    table = tmp_path / "t.csv"
    table.write_text("image,x\na/0.png,1\nwide.png,2\n")
    with pytest.raises(ValueError, match=r"wide.png is 9 x 8 pixels, but a/0.png is 8 x 8; --image-size N resizes"):
        targets.load(pictures, table, None)
    dataset, names = targets.load(pictures, table, 6)
    assert (dataset.images.shape, names, dataset.classes) == ((2, 6, 6, 3), ("x",), ())
    assert dataset.note == "largest central squares resized to 6 x 6"
    dataset, _ = targets.load(pictures, table, None, made_for=28)
    assert dataset.images.shape == (2, 28, 28, 3)
    table.write_text("image,x\na/0.png,1\na/2.png,2\n")
    assert targets.load(pictures, table, None, made_for=28)[0].images.shape == (2, 8, 8, 1)  # they have one size
    table.write_text("image,x\na/0.png,1\nnone.png,2\n")
    with pytest.raises((ValueError, OSError), match=r"none\.png"):
        targets.load(pictures, table, None)
    with pytest.raises(ValueError, match="is no folder; with --targets"):
        targets.load(table, table, None)


@pytest.mark.parametrize(("model", "size"), [("small_cnn", 32), ("jaxdl.models:lenet5", 28), ("mlp", 0)])
def test_images_of_several_sizes_get_the_size_that_the_network_was_made_for(tmp_path, model, size):
    for i in range(12):
        Image.fromarray(np.full((9, 10 + i % 2), i, np.uint8)).save(tmp_path / f"{i}.png")
    (table := tmp_path / "t.csv").write_text("image,x\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(12)))
    given = config.Config(dataset=str(tmp_path), targets=str(table), model=model)
    if not size:
        with pytest.raises(ValueError, match=r"1.png is 11 x 9 pixels, but 0.png is 10 x 9; --image-size N resizes"):
            streams.open_data(given)
    else:
        assert streams.open_data(given).splits.train.images.shape[1:] == (size, size, 1)


def test_images_that_cannot_be_read_are_refused_or_left_out_with_their_targets(tmp_path):
    for i, folder in enumerate(("train", "test", "train", "train")):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / folder / f"{i}.png")
    frames = [Image.fromarray(np.full((4, 4), grey, np.uint8)) for grey in (50, 60)]
    frames[0].save(tmp_path / "train" / "4.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "train" / "0.png").write_bytes(b"")
    whole = (tmp_path / "train" / "2.png").read_bytes()
    (tmp_path / "train" / "2.png").write_bytes(whole[:-20])  # with its header, so that decoding alone notices
    table = tmp_path / "t.csv"
    table.write_text("image,x\ntrain/0.png,0\ntest/1.png,1\ntrain/2.png,2\ntrain/3.png,3\ntrain/4.gif,4\n")
    with pytest.raises(ValueError, match=r"train/0\.png cannot be read .*; --skip-unreadable leaves such files out"):
        targets.load(tmp_path, table, None)
    with pytest.warns(RuntimeWarning) as warned:
        found = targets.load(tmp_path, table, None, skip_unreadable=True)[0]
    assert found.labels.tolist() == [[3], [4]]
    assert found.test_labels is not None
    assert found.test_labels.tolist() == [[1]]
    assert found.images[0, 0, 0].tolist() == [3] * found.images.shape[-1]
    assert abs(int(found.images[1, 0, 0, 0]) - 50) <= 1
    assert found.note == "without 2 files that cannot be read"
    said = [str(one.message) for one in warned]
    assert "2 of 5 image files were skipped; the first: " in said[0]
    assert said[1].endswith("1 files have several frames, of which the first counts: train/4.gif")
    table.write_text("image,x\ntrain/0.png,0\ntrain/2.png,2\n")
    with pytest.raises(ValueError, match=r"cannot be read"):
        targets.load(tmp_path, table, None, skip_unreadable=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "loss='softmax_cross_entropy' is not allowed: it must be one for --targets: sigmoid_binary_cross_entropy"),
        ("--loss squared_error --stream always", "stream='always' is not allowed: it must be left out with --targets"),
        ("--loss squared_error --class-weights balanced", "class_weights"),
        ("--loss squared_error --mixup 0.2", "mixup"),
    ],
)
def test_options_that_do_not_fit_get_one_line(run, tmp_path, options, said):
    code, _, err = run(command.main, "--dataset", tmp_path, "--targets", "t.csv", *options.split())
    assert code == 2
    assert said in err
