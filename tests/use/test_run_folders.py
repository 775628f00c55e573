"""Run folders from strangers: whatever their files hold, the reader gets one line that names the file, or a page on
which names are text. The folders are those of real runs in `tests/old_runs`, changed."""

import base64
import csv
import functools
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import types
import unicodedata
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments import predict, report
from experiments.compare_optimizers import command as compare_optimizers
from experiments.train_cnn import config as train_config
from experiments.transfer import command as transfer
from jaxdl import data, plots, runs, texts
from jaxdl.runs import commandline, pages
from jaxdl.training import checkpoints
from tests.experiments.test_trainer import make_trainer, train

OLD = pathlib.Path(__file__).parents[1] / "old_runs"
CHECKS = {
    "train_cnn": (train_config.Config, train_config.resolve),
    "compare_optimizers": (compare_optimizers.Config, compare_optimizers.resolve),
    "transfer": (transfer.Config, transfer.check),
}


@pytest.fixture(scope="module")
def blank():
    """Draw no figure: the pages' text is what counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "png", lambda figure, **options: b"png")
        yield


def test_every_experiment_with_a_report_is_here():
    reports = {path.parent.name for path in pathlib.Path(report.__file__).parent.glob("*/report.py")}
    assert reports == {path.name for path in OLD.iterdir()} == {*CHECKS}


# ---------------------------------------------------------------- names on pages


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and its style sheet."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.style = [], "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: None if name == "alt" else value for name, value in attrs}))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "style" and not self.style:
            self.style = data
        else:
            self.text += data


HOSTILE = [
    "<script>alert(1)</script>",
    "</title></td><img src=x onerror=alert(1)>",
    "\"'><b onclick=x>",
    "&lt;b&gt;&#60;i&#62;",
    "x[/b]y[link=http://x]z",
    "[a](javascript:x) ![b](http://x/y.png) <http://x.org>",
    "| a | b |",
    "- one",
    "1. two",
    "+ three",
    "# four",
    "```",
    "\u202etxt.exe\u2066\x1b[31m\x07\x00",
    "\u05d0\u05d1 \u0627\u0628",
    "../../up",
    "$\\frac{1$ \\\\",
    "a" * 300,
    ":smile: ~~x~~ **y** __z__",
    "=====",
    "> quote",
]


def renamed(value, rename):
    """Replace every text of a JSON value, and the keys that are names."""
    if isinstance(value, str):
        return rename(value)
    if isinstance(value, list):
        return [renamed(one, rename) for one in value]
    if isinstance(value, dict):
        return {key: renamed(one, rename) for key, one in value.items()}
    return value


SCHEMA = {"default", "tuning", "final", "train", "dev", "test", "finished", "stopped", "diverged", "source", "similar"}
SCHEMA |= {"different"}  # words that a column may hold and no other


def rename_all(folder, rename):
    """Replace the names in all files of a folder that a report shows; equal ones stay equal."""
    for path in folder.glob("*.json"):
        value = json.loads(path.read_text())
        kept = {key: value[key] for key in ("experiment", "format") if key in value}
        value = renamed(value, rename) | kept
        for key in ("versions", "steps", "full_steps", "methods"):
            if isinstance(value.get(key), dict):
                value[key] = {rename(name): one for name, one in value[key].items()}
        if path.name == "config.json":
            value |= {rename(f"option {i}"): rename("a value") for i in range(3)}
        path.write_text(json.dumps(value))
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            header, *rows = csv.reader(file)
        for row in rows:
            row[:] = [
                cell if cell in SCHEMA or re.fullmatch(r"[-+.e0-9]*|nan|inf", cell) else rename(cell) for cell in row
            ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        path.write_text(text.getvalue(), newline="")
    for path in folder.glob("*.npz"):
        arrays = dict(np.load(path))
        arrays["classes"] = np.array([rename(str(name)) for name in arrays["classes"]])
        np.savez(path, **arrays)


def page_with(kind, folder, names):
    shutil.copytree(OLD / kind, folder)
    known = {}

    def rename(text):
        number = known.setdefault(text, len(known))
        return f"{names[number % len(names)]}{number}"

    rename_all(folder, rename)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Page(report.writer(folder)(folder))


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize("kind", CHECKS)
def test_no_element_or_attribute_of_a_page_comes_from_a_name(kind, tmp_path):
    plain = page_with(kind, tmp_path / "plain", ["name"])
    for turn in range(2):  # another hostile name in each place
        names = [*HOSTILE[7 * turn :], *HOSTILE[: 7 * turn]]
        found = page_with(kind, tmp_path / f"hostile{turn}", names)
        assert found.tags == plain.tags
        hidden = {c for c in found.text if unicodedata.category(c) in texts.HIDDEN} - {"\n"}
        assert not hidden
        assert "<script>alert(1)</script>" in found.text
    assert {path.parent for path in tmp_path.rglob("*.png")} == {
        tmp_path / name / "figures" for name in ("plain", "hostile0", "hostile1")
    } or kind == "transfer"


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize("kind", CHECKS)
def test_the_policy_of_a_page_allows_its_own_style_sheet_alone(kind, tmp_path):
    page = page_with(kind, tmp_path / "run", ["name"])
    metas = [attrs for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs]
    assert [meta["http-equiv"] for meta in metas] == ["Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert metas[0]["content"].split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    names = {name for _, attrs in page.tags for name in attrs}
    assert names <= {"lang", "charset", "name", "content", "http-equiv", "class", "tabindex", "src", "alt"}
    assert {attrs["class"] for tag, attrs in page.tags if tag in ("td", "th") and "class" in attrs} == {"right"}


def test_a_paragraph_that_begins_with_a_name_is_a_paragraph(tmp_path):
    for name in ("- a", "+ a", "1. a", "23) a", "= a", "---", "* a", "# a", "    a", "\ta", "| a |", "> a"):
        page = Page(pages.write(tmp_path, ["text", pages.plain(name), f"# {pages.plain(name)}"]))
        assert [tag for tag, _ in page.tags][-4:] == ["body", "p", "p", "h1"], name


# ---------------------------------------------------------------- names on a terminal

NAME = "x[/b]y :smile: \x1b[31m\u202e"
SHOWN = r"x[/b]y :smile: \x1b[31m\u202e"


@pytest.mark.parametrize("terminal", ["", "1"])
def test_names_are_literal_on_a_terminal(terminal, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    clock = types.SimpleNamespace(steps_per_second=1.0)
    row = types.SimpleNamespace(split="dev", loss=1.0, accuracy=0.5, step=1, epoch=0)
    result = types.SimpleNamespace(
        optimizer=NAME, test_accuracy=0.5, test_loss=1.0, steps_per_second=1.0, steps=1, diverged_at=1
    )
    with runs.RunProgress(3) as progress:
        progress.row(types.SimpleNamespace(name=NAME, clock=clock), row)
        progress.line(NAME)
        summary = types.SimpleNamespace(model=NAME, dataset=NAME, parameters=1, rows=[result], pair=None)
        progress.table(summary)
    with runs.StudyProgress() as progress:
        progress.begin(1)
        progress.line(NAME)
    said = capsys.readouterr().out
    assert said.count(SHOWN) >= 6
    assert "\x1b[31m\u202e" not in said
    assert "\u202e" not in said


def test_errors_and_warnings_are_literal_too(capsys):
    def fail():
        warnings.simplefilter("always")
        warnings.warn(NAME, RuntimeWarning, stacklevel=1)
        raise ValueError(f"{NAME}\nsecond line")

    with pytest.raises(SystemExit):
        commandline.run_main(fail)
    assert (
        capsys.readouterr().err == f"warning: {SHOWN}\nerror: {SHOWN}\nsecond line\n(JAXDL_TRACEBACK=1 shows where)\n"
    )


def test_letters_of_all_scripts_are_printable():
    for text in ("\u05d0\u0628\u732b\u00e9 \U0001f469\u200d\U0001f52c \u0645\u06cc\u200c\u0631", "a\u00a0b\u3000c", ""):
        assert texts.printable(text) == text
    assert texts.printable("a\nb\tc", keep="\n") == "a\nb\\tc"


# ---------------------------------------------------------------- any content

VALUES = [None, True, -1, 0, 3, 1.5, 10**400, 10**30, 2**31, 1e308, float("nan"), float("inf"), "", "x" * 200_000]
VALUES += ["\ud800", "../../x", "x[/b]y", "os:_exit", "jaxdl.adam(", "(" * 5000, "\0", "x\ny", [], {}, [[]], {"": {}}]
VALUES += [[None], [1, "a"]]
CELLS = ["", "x" * 200_000, "nan", "inf", "-1", "9" * 5000, '"', "\0", "x,y", "../../e", "1e400", "0", "a\rb", "\ud800"]
WHOLE = [b"", b"[" * 100_000, b"\xff" * 9, bytes(100), b"{" * 9, b"null", b'"x"']


def places(value, path=()):
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in pairs:
        yield from places(one, (*path, key))


def change_json(path, chance):
    value = json.loads(path.read_bytes())
    place = chance.choice([*places(value)])
    if not place:
        value = chance.choice(VALUES)
    else:
        inner = value
        for key in place[:-1]:
            inner = inner[key]
        if chance.random() < 0.15:
            del inner[place[-1]]
        else:
            inner[place[-1]] = chance.choice(VALUES)
    path.write_text(json.dumps(value))


def change_table(path, chance):
    lines = path.read_text().split("\n")
    number = chance.randrange(len(lines) - 1)
    cells = lines[number].split(",")
    cells[chance.randrange(len(cells))] = chance.choice(CELLS)
    lines[number] = ",".join(cells)
    path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))


def change_bytes(path, chance):
    content = bytearray(path.read_bytes())
    place = chance.randrange(max(1, len(content)))
    match chance.randrange(5):
        case 0:
            del content[place:]
        case 1 if content:
            content[place] ^= 1 << chance.randrange(8)
        case 2:
            content[place:place] = chance.randbytes(4)
        case 3:
            content[place : place + chance.randrange(99)] = b""
        case _:
            content = chance.choice(WHOLE)
    path.write_bytes(bytes(content))


def change(path, chance):
    kind = {".json": change_json, ".csv": change_table}.get(path.suffix, change_bytes)
    (kind if chance.random() < 0.75 else change_bytes)(path, chance)


def fresh(tmp_path_factory, kind):
    folder = tmp_path_factory.getbasetemp() / "hostile"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(OLD / kind, folder)
    return folder


def resume(kind, folder):
    config_type, check = CHECKS[kind]
    config = commandline.parse(config_type, ["--resume", str(folder)])
    with commandline.naming_config(config):
        check(config)


def refused(folder, call):
    """Return the message that a call ends with, or None if it takes the folder."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call()
    except ValueError as error:
        said = str(error)
    except SystemExit as end:
        said = "" if end.code is None else str(end.code).removeprefix("error: ")
        if not said:
            return None
    else:
        return None
    assert str(folder) in said, said[:500]
    assert len(said) < 3000
    return said


@pytest.mark.slow
@pytest.mark.usefixtures("blank")
@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1 << 32))
@example(26648947)  # a network that is not known
@example(573470163)  # a transfer with no row but its source's
def test_any_change_of_a_run_folder_is_taken_or_refused_by_name(tmp_path_factory, seed):
    chance = random.Random(seed)
    kind = chance.choice([*CHECKS])
    folder = fresh(tmp_path_factory, kind)
    path = chance.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    change(path, chance)
    if path.name == "config.json":
        refused(folder, lambda: resume(kind, folder))
    refused(folder, lambda: report.main([str(folder)]))
    if kind == "train_cnn":
        refused(folder, lambda: runs.load(folder))


@pytest.mark.slow
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 1 << 32))
def test_arrays_that_fit_a_forged_manifest_are_taken_or_refused_by_name(tmp_path_factory, seed):
    chance = random.Random(seed)
    folder = fresh(tmp_path_factory, "train_cnn")
    checkpoint = next(folder.glob("final/*/0*"))
    path = chance.choice(sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != checkpoints.MANIFEST))
    change(path, chance)
    sums = {
        name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in checkpoints._files(checkpoint)
    }
    (checkpoint / checkpoints.MANIFEST).write_text(json.dumps(sums))
    refused(folder, lambda: runs.load(folder))


@pytest.mark.parametrize("described", [3, [], [[1]], [3, "float32"], [["x"], "float32"], {"": {}}, None])
def test_the_descriptions_of_arrays_are_checked(described, tmp_path):
    tree = {"x": np.zeros(3, np.float32)}
    path = checkpoints.save(tmp_path, 1, tree, {})
    saved = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps(saved | {"arrays": {"['x']": described}}))
    sums = json.loads((path / checkpoints.MANIFEST).read_text())
    sums["meta.json"] = hashlib.sha256((path / "meta.json").read_bytes()).hexdigest()
    (path / checkpoints.MANIFEST).write_text(json.dumps(sums))
    with pytest.raises(checkpoints.CorruptCheckpointError, match=r"meta\.json: \['x'\] must have a shape and a dtype"):
        checkpoints.restore(path, tree)


FILES = {kind: sorted(path.name for path in (OLD / kind).iterdir() if path.is_file()) for kind in CHECKS}


OPTIONAL = {"plan.json", "paths.csv", "manifest.json", "config.json"}  # a study's report can do without


def placed(path, what):
    path.unlink()
    {"pipe": os.mkfifo, "folder": os.mkdir, "link to nothing": lambda p: p.symlink_to("nowhere")}[what](path)


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize("what", ["pipe", "folder", "link to nothing"])
@pytest.mark.parametrize("kind", CHECKS)
def test_what_is_no_file_is_named_and_waited_for_by_nobody(kind, what, tmp_path_factory):
    for name in FILES[kind]:
        folder = fresh(tmp_path_factory, kind)
        placed(folder / name, what)
        readers = [lambda folder: report.main([str(folder)])]
        readers += [functools.partial(resume, kind)] * (name == "config.json")
        readers += [runs.load] * (kind == "train_cnn")
        said = [refused(folder, functools.partial(reader, folder)) for reader in readers]
        if (kind, what) != ("compare_optimizers", "link to nothing") or name not in OPTIONAL:
            assert any(said), name


@pytest.mark.usefixtures("blank")
def test_a_transfer_that_has_its_source_alone_has_a_report(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLD / "transfer", folder)
    lines = (folder / "results.csv").read_text().splitlines(keepends=True)
    (folder / "results.csv").write_text("".join(lines[:2]))
    page = Page(report.writer(folder)(folder))
    assert "is not measured yet" in page.text
    assert "img" not in {tag for tag, _ in page.tags}


NUMBERS = {
    "steps beyond 64 bits": ("summary.json", '"steps": 5', f'"steps": {10**30}', "steps must be a whole number"),
    "an accuracy of 500 %": ("summary.json", '"test_accuracy": 0.8', '"test_accuracy": 5.8', "test_accuracy must lie"),
    "fewer than no examples": ("summary.json", '"test": 359', '"test": -1', "examples must be numbers of at least 0"),
    "a rate beyond all floats": ("summary.json", '"learning_rate": 0.1', f'"learning_rate": {10**400}', "a number"),
    "a row of 10**30 steps": ("metrics.csv", "jaxdl.sgd,5,", f"jaxdl.sgd,{10**30},", "step must be a whole number"),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_numbers_that_no_run_has_are_refused(what, tmp_path):
    name, old, new, said = NUMBERS[what]
    folder = tmp_path / "run"
    shutil.copytree(OLD / "train_cnn", folder)
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    assert said in (refused(folder, lambda: report.main([str(folder)])) or "")


def test_predict_names_what_is_wrong(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLD / "train_cnn", folder)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "digit.png")
    about = json.loads((folder / "preprocessing.json").read_text())
    about["classes"][3] = NAME
    (folder / "preprocessing.json").write_text(json.dumps(about))
    assert predict.main([str(folder), str(tmp_path / "digit.png"), "--top", "10"]) == 0
    for value in ({"classes": ["a"]}, {"in_shape": [1 << 40, 8, 1]}, {"in_shape": [8, 8, 0]}):
        (folder / "preprocessing.json").write_text(json.dumps(about | value))
        assert refused(folder, lambda: predict.main([str(folder), str(tmp_path / "digit.png")]))
    config = json.loads((folder / "config.json").read_text())
    for value in ({"model": "softmax"}, {"model": "vgg16"}, {"model": "jaxdl.nn:Dense"}, {"optimizer": ["adam("]}):
        (folder / "preprocessing.json").write_text(json.dumps(about))
        (folder / "config.json").write_text(json.dumps(config | value))
        said = refused(folder, lambda: predict.main([str(folder), str(tmp_path / "digit.png")]))
        assert said is not None
        assert said.startswith(str(folder))


# ---------------------------------------------------------------- what a resumed run reads

METAS = [{}, {"step": None}, {"step": "x"}, {"step": -1}, {"clock": {}}, {"clock": 3}, {"window": {"loss": "x"}}]
METAS += [{"last_finite": [1]}, {"stopping": [1, 2]}, {"rows": 1.5}, {"epoch": True}, {"batch": 10**400, "step": -1}]


@pytest.mark.trains
def test_the_metadata_of_a_checkpoint_is_checked(tmp_path):
    trainer, _, _ = make_trainer(tmp_path, early_stop=2)
    train(trainer, 1)
    path = next((tmp_path / "checkpoints" / "m").glob("*3"))
    saved = json.loads((path / "meta.json").read_text())
    for meta in METAS:
        (path / "meta.json").write_text(json.dumps(saved | {"meta": saved["meta"] | meta if meta else {}}))
        sums = json.loads((path / checkpoints.MANIFEST).read_text())
        sums["meta.json"] = hashlib.sha256((path / "meta.json").read_bytes()).hexdigest()
        (path / checkpoints.MANIFEST).write_text(json.dumps(sums))
        again, _, _ = make_trainer(tmp_path, early_stop=2)
        with pytest.raises(ValueError, match=r"checkpoints/m: "):
            again.resume(report=pytest.fail)


@pytest.mark.trains
@pytest.mark.parametrize("steps", [{}, {"other": 3}, {"elongated_bowl": 0}])
def test_a_plan_of_other_problems_is_refused(steps, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLD / "compare_optimizers", folder)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | {"steps": steps}))
    with pytest.raises(
        ValueError, match=r"plan\.json: steps must be a positive number for each of \['elongated_bowl'\]"
    ):
        compare_optimizers.main(["--resume", str(folder)])


# ---------------------------------------------------------------- arrays and damaged pixels


def test_arrays_may_bring_their_own_development_part():
    images, labels = np.zeros((6, 4, 4, 1), np.uint8), np.array([0, 1] * 3)
    dev = np.full((3, 4, 4, 1), 9, np.uint8)
    dataset = data.from_arrays(images, labels, dev_images=dev, dev_labels=[0, 1, 2], name="mine")
    assert dataset.classes == ("0", "1", "2"), "a class of the development part counts"
    assert dataset.checksums["dev_images"] == hashlib.sha256(dev.tobytes()).hexdigest()
    named = data.from_arrays(
        images, labels, dev_images=dev, dev_labels=[0, 1, 1], test_images=dev[:2], test_labels=[0, 1]
    )
    parts = data.split(named, seed=0, dev_fraction=0.5)
    np.testing.assert_array_equal(parts.dev.images, dev)
    assert (len(parts.train.labels), len(parts.test.labels)) == (6, 2)
    with pytest.raises(ValueError, match="dev_images and dev_labels must be given together"):
        data.from_arrays(images, labels, dev_images=dev)
    with pytest.raises(ValueError, match=r"mine: train images are .* dev images are \(2, 2, 1\)"):
        data.from_arrays(images, labels, dev_images=dev[:, :2, :2], dev_labels=[0, 1, 1], name="mine")
    with pytest.raises(ValueError, match="dev_images"):
        data.from_arrays(images, labels, dev_images=dev.astype(np.complex64), dev_labels=[0, 1, 1])


def test_damaged_headers_and_damaged_pixels_are_counted_together(tmp_path):
    random_pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(random_pixels).save(file, "PNG")
    whole = file.getvalue()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    contents = {"0": whole, "1": whole[:-30], "2": b"", "3": whole[:12], "4": whole, "5": bytes(flipped)}
    for label in "ab":
        (tmp_path / "pets" / label).mkdir(parents=True)
        for name, content in contents.items():
            (tmp_path / "pets" / label / f"{name}.png").write_bytes(content)
    with pytest.warns(RuntimeWarning, match="8 of 12 image files were skipped"):
        dataset = data.load(tmp_path / "pets", skip_unreadable=True)
    assert dataset.note == "without 8 files that cannot be read"
    np.testing.assert_array_equal(dataset.images, np.stack([random_pixels] * 4))
    assert dataset.labels.tolist() == [0, 0, 1, 1]
