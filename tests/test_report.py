"""Reports of real runs of scikit-learn's logistic regression on digits and on patches of a photo."""

import base64
import csv
import json
import re
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from sklearn.model_selection import train_test_split

from experiments import report as command
from experiments.train_cnn import records, report

ITERATIONS = (1, 2, 4, 8, 16, 32)
PHASES = {"compile_seconds": 1.0, "seconds": 4.0, "evaluation_seconds": 3.0, "checkpoint_seconds": 2.0,
          "images_per_second": 1234.5}  # fmt: skip


def fit(x, y, solver, iterations):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stopping early is intended: it makes the learning curve
        return LogisticRegression(solver=solver, max_iter=iterations).fit(x.reshape(len(x), -1), y)


def build(folder, images, labels, classes, solvers=("lbfgs", "newton-cg"), *, filters=True, iterations=ITERATIONS):
    """Train with scikit-learn and write the five files of a run folder."""
    x, test_x, y, test_y = train_test_split(images, labels, test_size=0.3, stratify=labels, random_state=0)
    x, dev_x, y, dev_y = train_test_split(x, y, test_size=0.2, stratify=y, random_state=0)
    parts = {"train": (x, y), "dev": (dev_x, dev_y), "test": (test_x, test_y)}
    metrics, rows, arrays = [], [], {"labels": test_y, "classes": np.array(classes)}
    for i, solver in enumerate(solvers):
        for step in iterations:
            model = fit(x, y, solver, step)
            for split, (images_, labels_) in parts.items():
                p = model.predict_proba(images_.reshape(len(images_), -1))
                loss, accuracy = log_loss(labels_, p), accuracy_score(labels_, p.argmax(1))
                metrics.append([solver, step, step, split, loss, accuracy, model.C, ""])
        wrong = np.flatnonzero(p.argmax(1) != test_y)
        wrong = wrong[np.argsort(-p.max(1)[wrong])]
        arrays[f"probabilities_{i}"] = p.astype(np.float32)
        arrays[f"mistake_index_{i}"] = wrong
        arrays[f"mistake_images_{i}"] = test_x[wrong].astype(np.float32)
        if filters:
            arrays[f"filters_{i}"] = model.coef_.T.reshape(*images.shape[1:], -1).astype(np.float32)
        rows.append({"optimizer": solver, "test_accuracy": accuracy, "test_loss": loss, "steps": step,
                     "epochs": step, "steps_per_second": 1.0, "learning_rate": model.C, **PHASES})  # fmt: skip
    weights = model.coef_.size + model.intercept_.size
    pair = None
    if len(solvers) == 2:
        a, b = arrays["probabilities_0"], arrays["probabilities_1"]
        difference = float(np.abs(a - b).max())
        pair = {"a": solvers[0], "b": solvers[1], "max_relative_difference": difference / float(a.max()),
                "max_ulps": difference / float(np.spacing(a.max())), "noise_floor_relative": None,
                "noise_floor_ulps": None}  # fmt: skip
    table = [{"layer": "dense", "op": "dense", "output": [len(classes)], "parameters": weights}]
    summary = {"dataset": "digits", "model": "softmax", "parameters": weights, "rows": rows, "pair": pair,
               "examples": {k: len(v[1]) for k, v in parts.items()}, "parameter_table": table}  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"solver": solvers, "max_iter": iterations[-1], "seed": 0}))
    (folder / "manifest.json").write_text(
        json.dumps({"command": "python -m tests.report --solver `lbfgs`", "versions": {"numpy": np.__version__}})
    )
    (folder / "summary.json").write_text(json.dumps(summary))
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([records.Measurement._fields, *metrics])
    np.savez(folder / "predictions.npz", **arrays)
    return folder


def digits():
    data = load_digits()
    return (data.images / 16)[..., None], data.target, [str(name) for name in data.target_names]


def patches(cells, size=8, count=12):
    """Return RGB patches of a photograph; the class of a patch is its cell in a cells × cells grid."""
    image = load_sample_images().images[0] / 255
    height, width = image.shape[0] // cells, image.shape[1] // cells
    rng, images, labels = np.random.default_rng(0), [], []
    for label in np.repeat(np.arange(cells**2), count):
        top = label // cells * height + rng.integers(height - size)
        left = label % cells * width + rng.integers(width - size)
        images.append(image[top : top + size, left : left + size])
        labels.append(label)
    return (
        np.array(images),
        np.array(labels),
        [f"row {c // cells} column {c % cells}" for c in range(cells**2)],
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = build(tmp_path_factory.mktemp("pair") / "run", *digits())
    assert report.write(folder) == folder / "report.html"
    return folder


@pytest.fixture
def copy(pair, tmp_path):
    return Path(shutil.copytree(pair, tmp_path / "run"))


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


class Page(HTMLParser):
    """Collect the tags with their attributes, the text and the cells of tables."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.cells, self.text, self._row = [], [], "", None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self._row = self.cells[-1]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._row = None

    def handle_data(self, data):
        self.text += data
        if self._row is not None:
            self._row[-1] += data

    def images(self):
        return [attrs for tag, attrs in self.tags if tag == "img"]


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(pair):
    page, source = Page(pair / "report.html"), (pair / "report.html").read_text()
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href", "srcset", "data")]
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not any(loader in source for loader in ("url(", "@import", "<script"))
    assert "default-src 'none'" in source


def test_every_figure_is_a_small_png_shown_with_alternative_text_in_both_files(pair):
    figures = sorted((pair / "figures").iterdir())
    both = ("mistakes", "confusion_matrix", "filters")
    wanted = ["learning_curves", "learning_rate", "reliability", *(f"{name}_{i}" for name in both for i in (0, 1))]
    assert [f.name for f in figures] == sorted(f"{name}.png" for name in wanted)
    linked = re.findall(r"!\[([^]]+)\]\((figures/[^)#]+)(?:#chart)?\)", (pair / "report.md").read_text())
    assert sorted(path for _, path in linked) == [f"figures/{f.name}" for f in figures]
    shown = Page(pair / "report.html").images()
    inline = {base64.b64decode(image["src"].partition(",")[2]) for image in shown}
    assert inline == {f.read_bytes() for f in figures}
    assert all(f.read_bytes().startswith(b"\x89PNG") and 2_000 < f.stat().st_size < 200_000 for f in figures)
    assert all(len(image["alt"]) > 20 for image in shown)


def test_charts_follow_a_dark_theme_and_images_keep_their_colours(pair):
    shown = {image["alt"].partition(" ")[0]: image.get("class") for image in Page(pair / "report.html").images()}
    assert shown == {"Learning": "chart", "Accuracy": "chart", "The": None, "Confusion": "chart"}
    style = (pair / "report.html").read_text()
    assert "@media screen and (prefers-color-scheme: dark) {\n  img {" in style
    assert "img.chart { filter: invert(" in style


def test_the_table_holds_the_summarys_numbers(pair):
    summary, cells = json.loads((pair / "summary.json").read_text()), Page(pair / "report.html").cells
    header = cells[0]
    for row, line in zip(summary["rows"], cells[1:3], strict=True):
        shown = dict(zip(header, line, strict=True))
        assert shown["optimizer"] == row["optimizer"]
        assert float(shown["test accuracy (%)"]) == pytest.approx(100 * row["test_accuracy"], abs=0.005)
        assert float(shown["test loss (nats)"]) == pytest.approx(row["test_loss"], abs=5e-5)
        assert (int(shown["steps"]), float(shown["learning rate"])) == (row["steps"], row["learning_rate"])
    assert ["total", "", "", "650"] in cells  # 64 · 10 weights and 10 offsets
    assert "python -m tests.report --solver `lbfgs`" in Page(pair / "report.html").text
    assert ["versions", f"numpy: {np.__version__}"] in cells


def test_the_time_of_each_phase_has_its_share(pair):
    summary = json.loads((pair / "summary.json").read_text())
    first, page = summary["rows"][0], Page(pair / "report.html")
    header = next(row for row in page.cells if "checkpoints (s)" in row)
    shown = dict(zip(header, cells(page, "checkpoints (s)"), strict=True))
    assert shown["optimizer"] == first["optimizer"]
    assert shown["evaluation (s)"] == "3 (30 %)"
    seconds = [shown[f"{name} (s)"] for name in ("compilation", "steps", "checkpoints")]
    assert seconds == ["1 (10 %)", "4 (40 %)", "2 (20 %)"]
    assert shown["images per second"] == "1,234.5"


def cells(page, column):
    """Return the first row of the table that has this column."""
    header = next(i for i, row in enumerate(page.cells) if column in row)
    return page.cells[header + 1]


def test_the_classes_are_scikit_learns_and_the_calibration_a_loops(pair):
    page = Page(pair / "report.html")
    with np.load(pair / "predictions.npz") as archive:
        p, labels = archive["probabilities_0"], archive["labels"]
    predicted, confidence = p.argmax(1), p.max(1)
    header = next(i for i, row in enumerate(page.cells) if "precision (%)" in row)
    expected = zip(*precision_recall_fscore_support(labels, predicted, zero_division=0), strict=True)
    for digit, (row, (precision, recall, f1, support)) in enumerate(
        zip(page.cells[header + 1 :], expected, strict=False)
    ):
        assert row[1:3] == [str(digit), str(support)]
        np.testing.assert_allclose([float(v) for v in row[3:]], np.multiply(100, [precision, recall, f1]), atol=0.0051)
    error = 0.0
    for low in np.arange(10) / 10:
        there = (confidence > low) & (confidence <= low + 0.1)
        if there.any():
            error += there.mean() * abs((predicted == labels)[there].mean() - confidence[there].mean())
    row = cells(page, "calibration error (%)")
    np.testing.assert_allclose([float(v) for v in row[2:]], [100 * confidence.mean(), 100 * error], atol=0.0051)


def test_the_interval_is_wilsons():
    # R. G. Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I
    assert report.interval(81 / 263, 263) == "25.53 to 36.62"
    assert report.interval(1 / 29, 29) == "0.61 to 17.18"
    assert report.interval(0.5, 0) == "–"


def test_the_confusions_are_scikit_learns(pair):
    arrays = np.load(pair / "predictions.npz")
    counts = confusion_matrix(arrays["labels"], arrays["probabilities_0"].argmax(1))
    np.fill_diagonal(counts, 0)
    lines = [c for c in Page(pair / "report.html").cells if len(c) == 5 and c[0] == "lbfgs"]
    assert [int(line[3]) for line in lines] == sorted(counts[counts > 0], reverse=True)[:5]
    assert all(counts[int(true), int(predicted)] == int(n) for _, true, predicted, n, _ in lines)
    wrong = f"lbfgs: {counts.sum()} of {len(arrays['labels'])} test examples are wrong."
    assert wrong in Page(pair / "report.html").text


@pytest.mark.parametrize(("floor", "verdict"), [(None, "No noise floor"), (1e9, "not above"), (0.5, "above")])
def test_the_pair_is_judged_by_its_noise_floor(copy, floor, verdict):
    edit(
        copy / "summary.json",
        lambda s: s["pair"].update(noise_floor_ulps=floor, max_ulps=3.0),
    )
    _, said, _ = report._pair(records.read(copy), copy)
    found = re.search(r"(No noise floor|not above|above)", said)
    assert found
    assert found[0] == verdict


def test_writing_again_gives_the_same_bytes(copy):
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    report.write(copy)
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


EVIL = ["<script>alert(1)</script>", "a|b", "![x](http://example.org/x.png)", "$\\frac{1$", "_hidden_",
        "*猫*", "`code`", "&lt;", "</title><b>", "line\nbreak"]  # fmt: skip


def test_names_are_shown_and_never_run(copy):
    arrays = dict(np.load(copy / "predictions.npz")) | {"classes": np.array(EVIL)}
    np.savez(copy / "predictions.npz", **arrays)
    name = "</title><img src=x>_|$x"
    edit(copy / "summary.json", lambda s: (s["rows"][0].update(optimizer=name), s.update(dataset=EVIL[0])))
    edit(copy / "manifest.json", lambda m: m.update(command="```\n<script>alert(2)</script>", machine=EVIL[2]))
    text = (copy / "metrics.csv").read_text().replace("lbfgs", name)
    (copy / "metrics.csv").write_text(text)
    page = Page(report.write(copy))
    allowed = {"src", "alt", "class"}  # the class marks the library's own charts
    assert {t for t, _ in page.tags}.isdisjoint({"script", "b", "em", "strong", "a"})
    assert all({"src", "alt"} <= set(image) <= allowed and image["src"].startswith("data:") for image in page.images())
    assert page.text.count("<script>alert(1)</script> with") + page.text.count("softmax on <script>") >= 1
    assert ["machine", EVIL[2]] in page.cells
    assert "```\n<script>alert(2)</script>" in page.text
    assert name in [c[0] for c in page.cells]
    confused = {cell for c in page.cells if len(c) == 5 for cell in c[1:3]}
    assert confused & {"<script>alert(1)</script>", "a|b", "_hidden_", "*猫*", "&lt;", "</title><b>"}


def test_one_optimizer_without_convolution_or_mistakes(tmp_path):
    images, labels, _ = digits()
    two = labels < 2  # logistic regression tells 0 and 1 apart without a mistake
    folder = build(tmp_path / "run", images[two], labels[two], ["0", "1"], ("lbfgs",), filters=False)
    page = Page(report.write(folder))
    assert "lbfgs: No test example is wrong." in page.text
    assert not any(part in page.text for part in ("First-layer", "same algorithm"))
    assert len(page.images()) == 4


@pytest.mark.slow
def test_a_hundred_classes_of_rgb_images(tmp_path):
    folder = build(tmp_path / "run", *patches(10), ("lbfgs",), iterations=(1, 4))
    page = Page(report.write(folder))
    assert len(page.images()) == 6
    with np.load(folder / "predictions.npz") as archive:
        p, labels = archive["probabilities_0"], archive["labels"]
    assert f"{100 * top_k_accuracy_score(labels, p, k=5, labels=range(100)):.2f}" in cells(
        page, "calibration error (%)"
    )
    assert "The table has the 20 of 100 with the lowest F1." in page.text
    assert all((f.stat().st_size < 200_000) for f in (folder / "figures").iterdir())


def broken(change):
    """Return a function that changes one array of predictions.npz."""

    def apply(folder):
        arrays = dict(np.load(folder / "predictions.npz"))
        change(arrays)
        np.savez(folder / "predictions.npz", **arrays)

    return apply


def summary(change):
    return lambda folder: edit(folder / "summary.json", change)


def text(name, change):
    return lambda folder: (folder / name).write_text(change((folder / name).read_text()))


FAULTS = {
    "config.json: is missing": lambda f: (f / "config.json").unlink(),
    "metrics.csv: is missing": lambda f: (f / "metrics.csv").unlink(),
    "predictions.npz: there is no such file": lambda f: (f / "predictions.npz").unlink(),
    "manifest.json: is not valid JSON": text("manifest.json", lambda t: t[:-3]),
    "config.json: must hold an object": text("config.json", lambda t: "[1]"),
    "manifest.json: command is missing": text("manifest.json", lambda t: "{}"),
    "summary.json: rows[1].test_loss is missing": summary(lambda s: s["rows"][1].pop("test_loss")),
    "summary.json: parameters must be a whole number, got 'many'": summary(lambda s: s.update(parameters="many")),
    "summary.json: examples.dev is missing": summary(lambda s: s["examples"].pop("dev")),
    "summary.json: rows must name": summary(lambda s: s.update(rows=s["rows"][:1] * 2)),
    "summary.json: pair.b is missing": summary(lambda s: s["pair"].pop("b")),
    "summary.json: parameter_table[0] must be an object": summary(lambda s: s.update(parameter_table=[3])),
    "metrics.csv: the first line lacks the columns optimizer": text("metrics.csv", lambda t: ""),
    "metrics.csv, line 37: has 4 fields": text("metrics.csv", lambda t: ",".join(t.strip().split(",")[:-4]) + "\n"),
    "metrics.csv, line 37: is cut off": text("metrics.csv", lambda t: t[:-4]),
    "metrics.csv, line 2: split must be train or dev or test, got 'x'": text(
        "metrics.csv", lambda t: t.replace(",train,", ",x,", 1)
    ),
    "metrics.csv, line 2: step must be a whole number, got 'x'": text(
        "metrics.csv", lambda t: t.replace("lbfgs,1,", "lbfgs,x,", 1)
    ),
    "metrics.csv: no rows of 'lbfgs'": text("metrics.csv", lambda t: t.replace("lbfgs", "other")),
    "predictions.npz: is no whole archive of arrays (File is not a zip file": lambda f: (
        f / "predictions.npz"
    ).write_bytes(b"PK\x03\x04"),
    "predictions.npz: is no whole archive of arrays (labels.npy claims object": broken(
        lambda a: a.update(labels=a["labels"].astype(object))
    ),
    "predictions.npz: the array probabilities_1 is missing": broken(lambda a: a.pop("probabilities_1")),
    "predictions.npz: probabilities_0 must be floating-point numbers of shape (540, 10)": broken(
        lambda a: a.update(probabilities_0=a["probabilities_0"][:-1])
    ),
    "predictions.npz: labels must hold": broken(lambda a: a.update(labels=a["labels"] + 1)),
    "predictions.npz: mistake_index_0 must lie from 0": broken(
        lambda a: a.update(mistake_index_0=a["mistake_index_0"] + 540)
    ),
    "predictions.npz: mistake_images_1 must be floating": broken(
        lambda a: a.update(mistake_images_1=a["mistake_images_1"][..., 0])
    ),
    "predictions.npz: classes must be text": broken(lambda a: a.update(classes=np.arange(10))),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_named_and_nothing_is_written(copy, message):
    before = (copy / "report.html").read_bytes()
    FAULTS[message](copy)
    with pytest.raises(ValueError, match=re.escape(message)):
        report.write(copy)
    assert (copy / "report.html").read_bytes() == before


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="absent is no folder"):
        report.write(tmp_path / "absent")


def test_the_command_prints_the_path_or_the_fault(copy, capsys):
    (copy / "report.html").unlink()
    command.main([str(copy)])
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    assert (copy / "report.html").exists()
    (copy / "summary.json").unlink()
    command.main([str(copy)])  # of an unfinished run
    (copy / "metrics.csv").unlink()
    with pytest.raises(SystemExit, match=r"error: .*metrics\.csv: is missing"):
        command.main([str(copy)])


@pytest.mark.process
def test_jaxdl_needs_no_plotting_and_plots_needs_no_pyplot():
    code = (
        "import sys, jaxdl, experiments.train_cnn.records; assert 'matplotlib' not in sys.modules\n"
        "import jaxdl.plots; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
