"""Records are read as they were written, files are whole, and a kill at any byte leaves a table readable."""

import io
import json
import math
import pathlib
import shutil
import zipfile
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest

from experiments.compare_optimizers import command as compare
from experiments.report import main as remake_report
from experiments.train_cnn import command as train_command
from experiments.train_cnn import records as train_cnn
from experiments.train_cnn.records import Measurement
from experiments.transfer import command as transfer
from jaxdl import data, disk, runs
from jaxdl.runs import commandline, records


class Cell(NamedTuple):
    """A row with every kind of field."""

    name: str
    kind: Literal["a", "b"]
    count: int
    value: float


class Inner(NamedTuple):
    """A part of an object."""

    shape: tuple[int, int]
    names: tuple[str, ...] = ()


class Outer(NamedTuple):
    """An object with every kind of field."""

    text: str
    number: float
    flag: bool
    inner: Inner
    several: list[Inner]
    by_name: dict[str, float]
    anything: Any = None
    maybe: int | None = None


CELL = Cell("x, y", "a", 3, 1e-30)
OUTER = Outer("ü", 1 / 3, True, Inner((1, 2), ("a",)), [Inner((3, 4))], {"b": 0.1}, [1, "c"], 5)


# ---------------------------------------------------------------- objects


def test_an_object_comes_back_bit_for_bit(tmp_path):
    records.write_json(tmp_path / "a.json", OUTER)
    assert records.read_record(tmp_path / "a.json", Outer) == OUTER
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["format"] == records.FORMAT
    records.write_json(tmp_path / "a.json", OUTER._replace(number=math.nan, maybe=None))
    assert "NaN" not in (tmp_path / "a.json").read_text(), "JSON has no NaN"
    again = records.read_record(tmp_path / "a.json", Outer)
    assert math.isnan(again.number)
    assert again.maybe is None


def test_json_is_written_whole_or_not_at_all(tmp_path):
    records.write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        records.write_json(tmp_path / "a.json", {"a": [1] * 100, "b": object()})
    assert runs.read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(ValueError, match=r"a.json: is not valid JSON"):
        records.read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"b.json: is missing"):
        records.read_json(tmp_path / "b.json")
    (tmp_path / "a.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match=r"a.json: has format 2; this version reads 1"):
        records.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("where", ["encode", "fsync", "rename"])
def test_a_kill_while_a_file_is_written_leaves_the_old_one(where, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args, **options):
        raise Killed

    path = tmp_path / "a.json"
    records.write_json(path, {"a": 1})
    if where == "encode":
        monkeypatch.setattr(records.json, "dumps", kill)
    elif where == "fsync":
        monkeypatch.setattr(records.os, "fsync", kill)
    else:
        monkeypatch.setattr(records.Path, "replace", kill)
    with pytest.raises(Killed):
        records.write_json(path, {"a": 2})
    monkeypatch.undo()
    assert records.read_json(path) == {"a": 1}


WRONG = {
    "text must be text, got 3": {"text": 3},
    "number must be a number, got '1'": {"number": "1"},
    "number must be a number, got True": {"number": True},
    "flag must be true or false, got 1": {"flag": 1},
    "inner must be an object, got [1]": {"inner": [1]},
    "inner.shape is missing": {"inner": {}},
    "inner.shape must be a list of 2, got [1]": {"inner": {"shape": [1]}},
    "several[0].shape[1] must be a whole number, got 1.5": {"several": [{"shape": [1, 1.5]}]},
    "by_name.b must be a number, got 'x'": {"by_name": {"b": "x"}},
    "maybe must be a whole number, got 'x'": {"maybe": "x"},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_field_of_another_type_than_declared_is_named(message, tmp_path):
    records.write_json(tmp_path / "a.json", OUTER)
    value = json.loads((tmp_path / "a.json").read_text()) | WRONG[message]
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(ValueError) as caught:
        records.read_record(tmp_path / "a.json", Outer)
    assert str(caught.value) == f"{tmp_path / 'a.json'}: {message}"


def test_arrays_are_written_with_the_same_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        records.write_arrays(tmp_path / name, {"x": np.arange(5), "y": np.array(["ü"])})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["y"][0] == "ü"


# ---------------------------------------------------------------- tables


def test_rows_come_back_bit_for_bit(tmp_path):
    values = [0.1, 1 / 3, float(np.float32(0.1)), 1e-45, 1.7976931348623157e308, math.pi, math.inf]
    table = records.Table(tmp_path / "t.csv", Cell)
    rows = [CELL._replace(value=value) for value in values]
    table.append(rows)
    table.append([CELL._replace(name='say "ü"', value=math.nan)])
    table.sync()
    for found in (records.Table(tmp_path / "t.csv", Cell).rows, records.read_table(tmp_path / "t.csv", Cell)):
        assert [*found[:-1]] == rows
        assert found[-1].name == 'say "ü"'
        assert math.isnan(found[-1].value)
    assert (tmp_path / "t.csv").read_text().splitlines()[-1] == '"say ""ü""",a,3,'
    with pytest.raises(ValueError, match="must be one line, got 'two"):
        table.append([CELL._replace(name="two\nlines")])


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_table_cut_anywhere_keeps_its_whole_rows(cut, tmp_path):
    path = tmp_path / "t.csv"
    rows = [CELL, CELL._replace(name="ü"), CELL._replace(name="last")]
    one = records.Table(path, Cell)
    one.append(rows[:2])
    one.append(rows[2:])
    whole = path.read_bytes()
    left = whole[: len(whole) - cut]
    path.write_bytes(left)
    kept = rows[: max(left.count(b"\n") - 1, 0)]
    if left.count(b"\n"):
        assert records.read_table(path, Cell, unfinished=True) == kept
    if not left.endswith(b"\n"):
        number = left.count(b"\n") + 1
        with pytest.raises(ValueError, match=rf"t\.csv, line {number}: is cut off"):
            records.read_table(path, Cell)
    assert path.read_bytes() == left, "reading changes nothing"
    again = records.Table(path, Cell)
    assert again.rows == kept
    again.append([CELL._replace(name="new")])
    assert records.Table(path, Cell).rows == [*kept, CELL._replace(name="new")]


def test_a_table_of_other_columns_or_damaged_lines(tmp_path):
    path = tmp_path / "t.csv"
    records.Table(path, Cell).append([CELL])
    with pytest.raises(ValueError, match=r"t\.csv: has the columns \['name', 'kind', 'count', 'value'\], not \['opt"):
        records.Table(path, Measurement)
    header = "name,kind,count,value\n"
    for line, said in {
        "x,a,1": "line 2: has 3 fields, the header has 4",
        "x,c,1,2": "line 2: kind must be a or b, got 'c'",
        "x,a,one,2": "line 2: count must be a whole number, got 'one'",
        "x,a,,2": "line 2: count must be a whole number, got ''",
        "x,a,1,two": "line 2: value must be a number or empty, got 'two'",
        ",a,1,2": "line 2: name must be a name, got ''",
        '"x,a,1,2': "line 2: is not what was written",
    }.items():
        path.write_text(header + line + "\n")
        for read in (records.Table, records.read_table):
            with pytest.raises(ValueError, match=rf"t\.csv, {said}"):
                read(path, Cell)


def test_a_reader_takes_other_orders_and_more_columns(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"value,more,count,kind,name\r\n1,z,2,b,n\r\n")
    assert records.read_table(tmp_path / "t.csv", Cell) == [Cell("n", "b", 2, 1.0)]
    (tmp_path / "t.csv").write_text("name,kind\n")
    with pytest.raises(ValueError, match="the first line lacks the columns count, value; got"):
        records.read_table(tmp_path / "t.csv", Cell)


class Noted(NamedTuple):
    """A record that was given a field since its first files were written."""

    name: str
    value: float
    note: str = ""


def test_a_table_may_lack_a_field_with_a_default_or_have_it_elsewhere(tmp_path):
    path, rows = tmp_path / "t.csv", [Noted("x", 1.0), Noted("y", math.nan, "new")]
    records.Table(path, Noted).append(rows)
    assert path.read_text() == "name,value,note\nx,1.0,\ny,,new\n"
    assert [str(row) for row in records.read_table(path, Noted)] == [str(row) for row in rows]
    path.write_text("note,name,value\nold,x,1\n,y,2\n")
    table = records.Table(path, Noted)
    table.append([Noted("z", 3.0, "new")])
    assert path.read_text() == "note,name,value\nold,x,1\n,y,2\nnew,z,3.0\n"
    assert records.read_table(path, Noted) == table.rows == [
        Noted("x", 1.0, "old"), Noted("y", 2.0), Noted("z", 3.0, "new")
    ]  # fmt: skip
    path.write_text("name,value\nx,1\n")
    table = records.Table(path, Noted)
    table.append([Noted("y", 2.0)])
    assert records.read_table(path, Noted) == [Noted("x", 1.0), Noted("y", 2.0)]
    with pytest.raises(ValueError, match="the table has no column for note, and cannot hold"):
        table.append([Noted("z", 3.0, "lost")])
    assert path.read_text() == "name,value\nx,1\ny,2.0\n"
    path.write_text("name,note\n")
    for read in (records.Table, records.read_table):
        with pytest.raises(ValueError, match=r"has the columns|lacks the columns value"):
            read(path, Noted)


# ---------------------------------------------------------------- metrics.csv of a resumed run


def row(optimizer, step, epoch, split="train", **more):
    return Measurement(optimizer, step, epoch, split, 0.1, 0.5, 0.01, 0.5)._replace(**more)


def test_rows_past_a_checkpoint_are_dropped_and_the_rest_stays_to_the_byte(tmp_path):
    path = tmp_path / "metrics.csv"
    table = records.Table(path, Measurement)
    for name, step in (("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1)):
        table.append([row(name, step, 0, loss=step / 3)])
    table.append([row("a", 1, 0, "test")])
    lines = path.read_text().replace("0.5\n", "0.500\n").splitlines(keepends=True)  # older folders have this form
    path.write_text("".join(lines) + "a,3,0,train,0.")  # cut off by a kill
    table = records.Table(path, Measurement)
    assert train_cnn.rows_until(table, "a", 2) == 2
    train_cnn.keep_first(table, {"a": 2, "b": 1})
    table.append([row("a", 3, 0)])
    assert path.read_text().startswith("".join(lines[:4]))
    found = records.read_table(path, Measurement)
    assert [(r.optimizer, r.step) for r in found] == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]


@pytest.mark.parametrize("content", ["", "optimizer,st", ",".join(Measurement._fields)])
def test_a_file_killed_in_its_first_line_is_begun_again(tmp_path, content):
    (tmp_path / "metrics.csv").write_text(content)
    table = records.Table(tmp_path / "metrics.csv", Measurement)
    train_cnn.keep_first(table, {})
    table.append([row("a", 1, 0)])
    assert len(records.read_table(tmp_path / "metrics.csv", Measurement)) == 1


def test_rows_are_arranged_as_an_uninterrupted_run_writes_them(tmp_path):
    epochs = [(0, 2), (1, 4)]  # (epoch, its last step)
    wanted = [row(n, last, e, split) for e, last in epochs for n in "ba" for split in ("train", "dev")]
    wanted += [row("b", 6, 2), row("b", 6, 2, "test"), row("a", 4, 1, "test")]  # a has stopped early
    mixed = [wanted[i] for i in (0, 1, 2, 3, 6, 7, 8, 4, 5, 9, 10)]  # b fell back to its first epoch
    for name, rows in (("mixed", mixed), ("wanted", wanted)):
        records.Table(tmp_path / name, Measurement).append(rows)
    train_cnn.arrange(records.Table(tmp_path / "mixed", Measurement), ["b", "a"])
    assert (tmp_path / "mixed").read_text() == (tmp_path / "wanted").read_text()


# ---------------------------------------------------------------- older folders

OLD = pathlib.Path(__file__).parent / "old_runs"  # written by commit 59cbe2f, before files had a format number


@pytest.mark.slow
def test_older_run_folders_load_and_get_reports(tmp_path):
    for name, command in (("train_cnn", train_command), ("compare_optimizers", compare), ("transfer", transfer)):
        folder = pathlib.Path(shutil.copytree(OLD / name, tmp_path / name))
        remake_report([str(folder)])
        assert (folder / "report.html").exists()
        assert commandline.load_config(command.Config, folder).data_dir is None
    run = runs.load(tmp_path / "train_cnn")
    assert (run.optimizer, run.in_shape, run.classes) == ("jaxdl.sgd", (8, 8, 1), tuple("0123456789"))
    summary = train_cnn.read_summary(tmp_path / "train_cnn")
    test = data.split(data.load("digits"), seed=0, dev_fraction=0.1).test
    logits = run.layer.apply(run.params, run.state, data.normalize(test.images, run.preprocessing))[0]
    assert np.mean(np.argmax(logits, -1) == test.labels) == pytest.approx(summary.rows[0].test_accuracy)
    table = records.Table(tmp_path / "train_cnn" / "metrics.csv", Measurement)
    lines = (OLD / "train_cnn" / "metrics.csv").read_text()
    table.append([row("jaxdl.sgd", 9, 1)])
    assert table.path.read_text().startswith(lines)


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def stored(array, **changes):
    """Return an array in numpy's format, with parts of its header replaced."""
    np.save(file := io.BytesIO(), array)
    content = file.getvalue()
    for old, new in changes.values():
        assert old in content
        content = content.replace(old, new)
    return content


ARCHIVES = {
    "no header": ({"a.npy": b"abc"}, "magic"),
    "a huge array": ({"a.npy": stored(np.zeros(3), size=(b"(3,), }       ", b"(3000000000,)}"))}, "3000000000"),
    "a negative size": ({"a.npy": stored(np.zeros(3), size=(b"(3,), ", b"(-3,),"))}, r"-3"),
    "objects": ({"a.npy": stored(np.array([None]))}, "claims object"),
    "code": ({"a.npy": stored(np.zeros(3), size=(b"(3,), }    ", b"(exit(),) }"))}, "malformed"),
    "more than it says": ({"a.npy": stored(np.zeros(3)) + b"x"}, "claims float64"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_are_not_what_they_claim_are_named(case, tmp_path):
    members, said = ARCHIVES[case]
    path = archive(tmp_path / "a.npz", members)
    with pytest.raises(ValueError, match=rf"a\.npz: is no whole archive of arrays \(.*{said}") as caught:
        disk.read_arrays(path)
    assert "\n" not in str(caught.value)


def test_arrays_are_read_as_numpy_reads_them_up_to_a_limit(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.asfortranarray(np.ones((2, 3), ">f4")), "c": np.array("text")}
    arrays |= {"d": np.zeros((0, 3)), "e": np.array([("x", 1)], [("name", "U2"), ("count", int)])}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with np.load(tmp_path / "a.npz") as expected:
        found = disk.read_arrays(tmp_path / "a.npz")
        assert found.keys() == {*expected.files}
        for name in found:
            np.testing.assert_array_equal(found[name], expected[name], strict=True)
    bomb = archive(tmp_path / "b.npz", {"a.npy": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"b\.npz: .*its members claim 1,048,576 bytes; at most 1,000 are read"):
        disk.read_arrays(bomb, most=1000)
