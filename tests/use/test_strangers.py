"""Folders and files from strangers, part two: what is hidden, what is sparse, what takes for ever, what is said twice.

`test_files`, `test_run_folders` and `tests.test_fuzz` hold the first parts. Each law runs over the members of a kind.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import pathlib
import shlex
import shutil
import socket
import struct
import sys
import tarfile
import types
import zipfile
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import predict, report
from experiments.train_cnn import records as run_records
from experiments.train_cnn import targets
from jaxdl import data, disk, plots, runs, texts
from jaxdl.data import streaming
from jaxdl.data.reading import pixels
from jaxdl.data.streaming import surveying
from jaxdl.interop import files, pickles
from jaxdl.runs import commandline, folder, records
from jaxdl.training import checkpoints

OLD = pathlib.Path(__file__).parents[1] / "old_runs"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "png", lambda figure, **options: b"png")
    shutil.copytree(OLD / "train_cnn", tmp_path / "run")
    return tmp_path / "run"


def refused(call, said):
    with pytest.raises(ValueError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value


def place_socket(path):
    here = pathlib.Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


PLACED = {
    "a pipe": os.mkfifo,
    "a socket": place_socket,
    "a link": lambda path: path.symlink_to(path.with_name("victim")),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a file": lambda path: path.write_text("left over"),
}

# ---------------------------------------------------------------- what is written in a stranger's folder

WRITERS = {
    "text": lambda path: disk.write_whole(path, "new"),
    "shared": lambda path: disk.write_whole(path, "new", shared=True),
    "json": lambda path: records.write_json(path, {"a": 1}),
    "arrays": lambda path: records.write_arrays(path, {"a": np.zeros(2)}),
    "table": lambda path: records.write_table(path, run_records.LayerMeasurement, []),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("what", PLACED)
def test_writing_waits_for_no_pipe_and_follows_no_link(what, hidden, writer, tmp_path):
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "report.md"
    PLACED[what](path.with_name(f".{path.name}.writing") if hidden else path)
    WRITERS[writer](path)
    assert (tmp_path / "victim").read_text() == "precious"
    assert path.is_file()
    assert not path.is_symlink()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("what", [*PLACED, "a folder"])
def test_the_lock_is_a_file_of_the_folder(what, tmp_path):
    lock = tmp_path / folder.LOCK
    {**PLACED, "a folder": os.mkdir}[what](lock)
    if what == "a file":
        with runs.lock(tmp_path):
            assert lock.read_text() == "left over"
        return
    with pytest.raises(ValueError, match=r"\.lock: is |cannot be written"), runs.lock(tmp_path):
        pass
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("what", PLACED)
def test_a_new_run_makes_no_file_elsewhere(what, tmp_path):
    (tmp_path / "run").mkdir()
    PLACED[what](tmp_path / "run" / ".probe")
    runs.create(tmp_path / "run")
    assert not (tmp_path / "run" / "nowhere").exists()


def test_a_path_that_no_checkpoint_can_have_is_refused_before_training(tmp_path):
    odd = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/run-\xe9"))
    for call in (lambda: runs.create(odd), lambda: folder.create_dated(odd)):
        refused(call, "is no path in UTF-8")
    assert not odd.exists()
    odd.mkdir()
    with pytest.raises(ValueError, match="is no path in UTF-8"), runs.lock(odd):
        pass


# ---------------------------------------------------------------- checkpoints


def forge(checkpoint, **meta):
    about = json.loads((checkpoint / "meta.json").read_text())
    (checkpoint / "meta.json").write_text(json.dumps(about | meta))
    sums = {
        name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in checkpoints._files(checkpoint)
    }
    (checkpoint / "manifest.json").write_text(json.dumps(sums))


def test_no_pipe_in_a_checkpoint_is_waited_for(tmp_path):
    like = {"x": np.arange(300, dtype=np.float32)}
    whole = checkpoints.save(tmp_path / "a", 1, like, {})
    names = [*checkpoints._files(whole), "more"]
    assert len(names) > 5
    for name in names:
        path = shutil.copytree(whole, tmp_path / "b" / "00000001")
        (path / name).unlink(missing_ok=True)
        if name != "meta.json":
            os.mkfifo(path / name)
            forge(path)
        else:
            forge(shutil.copytree(whole, path, dirs_exist_ok=True))
            (path / name).unlink()
            os.mkfifo(path / name)
        with pytest.raises(checkpoints.CorruptCheckpointError, match=r"is a pipe|missing"):
            checkpoints.restore(path, like)
        shutil.rmtree(tmp_path / "b")


def test_the_files_of_a_checkpoint_and_its_arrays_are_of_one_size(tmp_path):
    like = {"x": np.arange(300, dtype=np.float32)}
    path = checkpoints.save(tmp_path, 1, like, {})
    assert checkpoints.restore(path, like).tree["x"][-1] == 299
    for shape in ([1 << 40], [1 << 70], [-1], [3] * 100, [True, 2.0]):
        forge(path, arrays={"['x']": [shape, "float32"]})
        said = []
        with pytest.raises(checkpoints.CorruptCheckpointError, match="all checkpoints are corrupt"):
            checkpoints.read_newest(tmp_path, report=said.append)
        assert "arrays take" in said[0] or "must have a shape" in said[0]
    path = checkpoints.save(tmp_path, 2, like, {})
    sums = json.loads((path / "manifest.json").read_text())
    with open(path / "arrays" / "more", "wb") as file:
        file.truncate(1 << 40)
    (path / "manifest.json").write_text(json.dumps(sums | {"arrays/more": "0"}))
    with pytest.raises(
        checkpoints.CorruptCheckpointError, match=r"has 1,099,5\d\d,\d\d\d,\d\d\d bytes, but its arrays"
    ):
        checkpoints.restore(path, like)


@pytest.mark.parametrize("prefix", [checkpoints.WRITING, checkpoints.REMOVING])
@pytest.mark.parametrize("what", ["a link", "a file", "a pipe", "a folder"])
def test_what_is_left_of_a_checkpoint_is_deleted_and_no_more(what, prefix, tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "x").touch()
    {**PLACED, "a folder": os.mkdir}[what](tmp_path / f"{prefix}00000001")
    checkpoints.tidy(tmp_path)
    assert os.listdir(tmp_path) == ["victim"]
    assert (tmp_path / "victim" / "x").exists()


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("start", [b"", struct.pack("<Q", 1 << 62), struct.pack("<Q", 2) + b"{}", b"\xff" * 9])
def test_a_safetensors_file_is_read_into_memory_once_its_header_is_right(start, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(1 << 40)
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda path: pytest.fail("a terabyte"))
    refused(lambda: files.read(path), r"x\.safetensors: is not a complete")


def doubled(depth):
    """A dict whose key is a tuple of two equal tuples of two ..., in a few bytes."""
    text = b"\x80\x02}K\x01K\x01\x86q\x00"
    return text + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(depth)) + b"0h%cK\x01s." % depth


BOMBS = {
    "bytes of a number": b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "bytes of a number, in Python 3's name": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "doubled tuples": doubled(60),
    "doubled tuples by marks": b"\x80\x02}(K\x01tq\x00" + b"(h\x00h\x00tq\x00" * 60 + b"K\x01s.",
    "doubled tuples by copies": b"\x80\x02}K\x01\x85" + b"2\x86" * 60 + b"K\x01s.",
    "a mark that is not there": b"\x80\x02K\x01u.",
    "no end": b"\x80\x02}q\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("what", BOMBS)
def test_pickles_that_take_all_memory_or_time_are_refused_before_they_are_loaded(what, tmp_path):
    with pytest.raises(ValueError, match=r"a call of bytearray|a tuple of more than 100,000|a damaged pickle"):
        pickles.check(io.BytesIO(BOMBS[what]))
    pytest.importorskip("torch")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("archive/data.pkl", BOMBS[what])
        archive.writestr("archive/version", "3\n")
    (tmp_path / "old.pth").write_bytes(b"\x80\x02K\x01." * 3 + BOMBS[what] + b"\x80\x02].")
    for name in ("zip.pth", "old.pth"):
        refused(lambda name=name: files.read(tmp_path / name), rf"{name}: is not a complete PyTorch file")


def test_an_honest_pickle_is_looked_through(monkeypatch):
    import pickle

    shared = (1, (2, 3))
    value = {"a": shared, "b": [shared, {"c": (shared, "x" * 300)}], 3: frozenset()}
    for protocol in range(5):
        pickles.check(io.BytesIO(pickle.dumps(value, protocol)))
    monkeypatch.setattr(pickles, "MOST_STEPS", 1000)
    pickles.check(io.BytesIO(b"\x80\x02" + b"N0" * 498 + b"N."))
    with pytest.raises(ValueError, match=r"a pickle of more than .* 1,000 steps"):
        pickles.check(io.BytesIO(b"\x80\x02" + b"N0" * 500 + b"N."))


def test_members_of_a_pytorch_file_claim_no_more_than_it_can_have(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.arange(3.0)}, tmp_path / "good.pth")
    assert files.read(tmp_path / "good.pth")["a"].tolist() == [0, 1, 2]
    with zipfile.ZipFile(tmp_path / "good.pth", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(65 << 20))
    refused(lambda: files.read(tmp_path / "good.pth"), r"good\.pth: .*its members claim 68,\d\d\d,\d\d\d bytes")


# ---------------------------------------------------------------- pictures


def with_scans(count):
    """A grey JPEG whose scans have hardly any data, each of which is a pass over all pixels."""
    tables = b"".join(b"\xff\xc4\0\x14" + bytes([kind, 1]) + bytes(15) + b"\0" for kind in (0, 0x10))
    start = b"\xff\xd8\xff\xdb\0\x43\0" + b"\1" * 64 + b"\xff\xc2\0\x0b\x08\0\x40\0\x40\1\1\x11\0" + tables
    first = b"\xff\xda\0\x08\1\1\0\0\0\1\0"
    return (
        start
        + first
        + b"".join(b"\xff\xda\0\x08\1\1\0%c%c\1\0" % (i % 63 + 1, i % 63 + 1) for i in range(count))
        + b"\xff\xd9"
    )


def test_a_jpeg_of_endless_scans_is_refused():
    assert pixels.decode(with_scans(100), "x.jpg").shape == (64, 64)
    for call in (pixels.decode, pixels.read_header):
        refused(lambda call=call: call(with_scans(600), "x.jpg"), r"^x\.jpg has 601 scans; at most 500")


# ---------------------------------------------------------------- archives


def a_tar(path, names, packed):
    dot = io.BytesIO()
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(dot, "PNG")
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(dot.getvalue())
            archive.addfile(member, io.BytesIO(dot.getvalue()))
    path.write_bytes(packed(path.read_bytes()))
    return path


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress, bz2.compress], ids=["tar", "gz", "xz", "bz2"])
def test_what_is_behind_the_end_of_an_archive_is_not_passed_over(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = a_tar(tmp_path / "x.tar", ["a/0.png", "b/0.png"], packed)
    content = first.read_bytes()
    first.write_bytes(content + packed(bytes(1 << 16)))  # padding
    assert data.load(first).classes == ("a", "b")
    for more in (a_tar(tmp_path / "y.tar", ["c/0.png"], packed).read_bytes(), packed(bytes(600) + b"junk")):
        first.write_bytes(content + more)
        refused(lambda: data.load(first), r"x\.tar: there is more behind the end of the archive at byte \d")


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_an_image_in_the_wrong_place_is_named_in_a_stream_too(kind, tmp_path):
    pytest.importorskip("grain")
    path = a_tar(tmp_path / "x.tar", ["a/0.png", "b/0.png", "b/too/deep.png"], bytes)
    if kind == "folder":
        shutil.unpack_archive(path, tmp_path / "folder", filter="data")
        path = tmp_path / "folder"
    refused(lambda: streaming.open_images(path), r": b/too/deep\.png is not at CLASS/IMAGE")


# ---------------------------------------------------------------- tables and caches

BAD_TABLES = {
    "an empty first line": "\nimage,x\na.png,1\n",
    "empty lines": "\n\n\n",
    "an underscore": "image,x\na.png,1_000\n",
    "digits of another script": "image,x\na.png,\u0663\n",
    "a long number": f"image,x\na.png,{'9' * 6000}\n",
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_odd_tables_of_targets_are_refused_in_a_short_line(what, tmp_path):
    (tmp_path / "t.csv").write_text(BAD_TABLES[what])
    assert len(str(refused(lambda: targets.read_table(tmp_path / "t.csv"), r"t\.csv': "))) < 500


def test_an_image_that_occurs_twice_is_found_at_once(tmp_path, monkeypatch):
    rows = [*(f"{i}.png,1" for i in range(50_000)), "49999.png,1"]
    (tmp_path / "t.csv").write_text("\n".join(["image,x", *rows]))
    asked = []
    monkeypatch.setattr(targets, "_row", lambda where, line, columns: (Counted(line[0], asked), [1.0]))
    refused(lambda: targets.read_table(tmp_path / "t.csv"), r"the image 49999\.png occurs twice")
    assert len(asked) < 1_000_000


class Counted(str):
    """A name that counts its comparisons."""

    asked: list[int]

    def __new__(cls, text, asked):
        made = super().__new__(cls, text)
        made.asked = asked
        return made

    def __eq__(self, other):
        self.asked.append(1)
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("row", [float("inf"), 1e30, -1, 2, "x", None, [], 10**400])
def test_a_cache_of_findings_that_cannot_be_is_made_anew(row, tmp_path):
    found = surveying.Findings(
        np.zeros((2, 2, 3), np.int64), np.zeros((2, 2), np.int32), np.zeros(2, bool), np.zeros(2, bool), {1: "why"}, "d"
    )
    surveying.store(tmp_path / "x.npz", "f", found)
    assert surveying.restore(tmp_path / "x.npz", "f", 2) is not None
    odd: Any = types.SimpleNamespace(items=lambda: [(row, "why")])
    surveying.store(tmp_path / "x.npz", "f", found._replace(problems=odd))
    assert surveying.restore(tmp_path / "x.npz", "f", 2) is None


@pytest.mark.parametrize(
    "content", [b"a,b\r1,2\r", b"optimizer,step,epoch\rx,1,1\r", b"\xef\xbb\xbfx", b"optimizer;step"]
)
def test_a_table_without_newlines_is_not_emptied(content, tmp_path):
    (tmp_path / "m.csv").write_bytes(content)
    refused(
        lambda: runs.Table(tmp_path / "m.csv", run_records.Measurement), r"m\.csv: has no line that ends in a newline"
    )
    assert (tmp_path / "m.csv").read_bytes() == content
    for rest in (b"", b"opti", ",".join(run_records.Measurement._fields).encode()):  # a kill within the first line
        (tmp_path / "m.csv").write_bytes(rest)
        assert not runs.Table(tmp_path / "m.csv", run_records.Measurement).rows


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"b": {"a": 1, "a": 1}}', '{"b": [{"a": {}, "c": 1, "a": {}}]}'])
def test_a_name_that_occurs_twice_in_a_json_file_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    refused(lambda: records.read_json(tmp_path / "config.json"), r"config\.json: .*the name 'a' occurs twice")


# ---------------------------------------------------------------- reports


@pytest.mark.parametrize("seeds", ["x", [2], None, 2.5, {}, True, 10**9, -3])
@pytest.mark.parametrize("seed", [0, "x", None])
def test_a_report_of_seeds_that_cannot_be_is_refused(seeds, seed, run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"seeds": seeds, "seed": seed}))
    if seeds == -3 and seed == 0:
        assert report.writer(run)(run).name == "report.html"
        return
    refused(lambda: report.writer(run)(run), r"config\.json: seeds? must be|no seed has finished")


@pytest.mark.parametrize("rows", [["other"], [], ["jaxdl.sgd", "other"]])
def test_seeds_of_other_optimizers_make_no_report(rows, run):
    for seed in (3, 4):
        shutil.copytree(OLD / "train_cnn", run / f"seed-{seed}")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(
        json.dumps({key: value for key, value in config.items() if key != "seed"} | {"seeds": 5})
    )
    assert report.writer(run)(run).name == "report.html"
    path = run / "seed-4" / "summary.json"
    summary = json.loads(path.read_text())
    summary["rows"] = [summary["rows"][0] | {"optimizer": name} for name in rows]
    path.write_text(json.dumps(summary))
    refused(lambda: report.writer(run)(run), r"seed-4/summary\.json: ")


def changed_predictions(run, **arrays):
    stored = dict(np.load(run / "predictions.npz")) | arrays
    np.savez_compressed(run / "predictions.npz", **stored)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("name", ["filters_0", "mistake_images_0"])
def test_figures_of_nothing_are_refused(name, place, run):
    count = len(np.load(run / "predictions.npz")["mistake_index_0"])
    shape = [count if name.startswith("mistake") else 3, 3, 3, 3]
    shape[place] = 0
    changed_predictions(run, **{name: np.zeros(shape, np.float32)})
    refused(lambda: report.writer(run)(run), rf"predictions\.npz: {name}")


def test_a_report_of_many_classes_takes_the_memory_of_those_that_occur(run):
    k = 60_000  # squared, 27 GB
    probabilities = np.full((3, k), 1 / k, np.float32)
    probabilities[0, 7], probabilities[1, 59_999], probabilities[2, 7] = 0.5, 0.5, 0.5
    nothing = {"mistake_index_0": np.zeros(0, np.int64), "mistake_images_0": np.zeros((0, 8, 8, 1), np.float32)}
    classes = np.array([f"name {i}" for i in range(k)])
    changed_predictions(run, labels=np.array([7, 7, 7]), classes=classes, probabilities_0=probabilities, **nothing)
    page = report.writer(run)(run).with_suffix(".md").read_text()
    assert "name 59999 | 1 | 33.3" in page
    counts, there = run_records.confusion_counts(np.array([7, 7, 7]), np.array([7, 59_999, 7]), k)
    assert (counts.tolist(), there.tolist()) == ([[2, 1], [0, 0]], [7, 59_999])


# ---------------------------------------------------------------- predict


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "real").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "real" / "1.png")
    return tmp_path / "real" / "1.png"


def test_links_to_folders_of_pictures_are_followed_once(pictures, tmp_path):
    top = tmp_path / "all"
    (top / "below").mkdir(parents=True)
    (top / "link").symlink_to(pictures.parent)
    (top / "below" / "loop").symlink_to(top)
    (top / ".hidden").symlink_to(pictures.parent)
    (pictures.parent / "self").symlink_to(".")
    assert predict.image_files([top]) == [top / "link" / "1.png"]


def test_no_table_replaces_an_image_the_run_or_another_table(run, pictures, tmp_path, capsys):
    before = {path: path.read_bytes() for path in (pictures, run / "config.json")}
    for options in (
        ["--csv", pictures],
        ["--json", run / "config.json"],
        ["--csv", tmp_path / "x", "--json", tmp_path / "x"],
    ):
        refused(
            lambda options=options: predict.main([str(run), str(pictures), *map(str, options)]),
            r"(csv|json)=.* would replace",
        )
    assert {path: path.read_bytes() for path in before} == before
    assert predict.main([str(run), str(pictures), "--csv", str(tmp_path / "x"), "--json", str(tmp_path / "y")]) == 0
    assert json.loads((tmp_path / "y").read_text())


def test_names_that_are_no_unicode_are_written(run, pictures, tmp_path, capsys):
    about = json.loads((run / "preprocessing.json").read_text())
    (run / "preprocessing.json").write_text(json.dumps(about | {"classes": ["\ud800"] * len(about["classes"])}))
    predict.main([str(run), str(pictures), "--csv", str(tmp_path / "x"), "--json", str(tmp_path / "y")])
    assert r"\ud800" in (tmp_path / "x").read_text()
    assert json.loads((tmp_path / "y").read_text())[0]["classes"][0]["class"] == "\ud800"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_no_prediction(value, run, pictures, tmp_path, capsys):
    trained = runs.load(run)
    params = jax.tree.map(lambda x: np.full_like(x, value), trained.params)
    runs.save_final(run, trained.optimizer, 9, params, trained.state)
    refused(lambda: predict.main([str(run), str(pictures), "--json", str(tmp_path / "y")]), r"1\.png: .* not finite")
    assert not (tmp_path / "y").exists()


# ---------------------------------------------------------------- terminals


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_any_name_can_be_printed_in_any_encoding(encoding, monkeypatch):
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding, write_through=True))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding))

    def main():
        print("\N{CAT FACE} \udce9")
        return 0

    with pytest.raises(SystemExit) as end:
        commandline.run_main(main)
    assert end.value.code == 0
    assert b"\\udce9" in said.getvalue()


def test_a_command_runs_with_closed_output(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    for code in (0, 2):
        with pytest.raises(SystemExit) as end:
            commandline.run_main(lambda code=code: 0 if code == 0 else len(records.read_json("nowhere")))
        assert end.value.code == code
    sys.stdout.close()
    sys.stderr.close()


def test_a_current_folder_that_is_gone_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "getcwd", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "No such file or directory")))
    with pytest.raises(SystemExit):
        commandline.run_main(lambda: 0)
    assert "error: the current folder cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["my run", "a;b", "$x", "it's"])
def test_a_command_to_copy_is_quoted(name, tmp_path):
    (tmp_path / name / "x").mkdir(parents=True)
    quoted = texts.quoted(tmp_path / name)
    assert quoted != str(tmp_path / name)
    assert commandline.resuming(tmp_path / name, types.SimpleNamespace()) == f"--resume {quoted}"
    with pytest.raises(ValueError, match="resume with") as error:
        runs.create(tmp_path / name)
    assert str(error.value).endswith(f"--resume {quoted}")
    assert texts.quoted(f"-{name}") == shlex.quote(f"./-{name}"), "not the name of an option"
