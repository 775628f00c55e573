"""Writes that fail: one line names the file and the reason, nothing saved is lost, and the next try writes it all.

The writers are collected from the sources. Each one is called on a disk that fails from the n-th call on, for every n,
and a whole run both on such disks and in a process that dies before the n-th call.
"""

import ast
import asyncio
import contextlib
import dataclasses
import errno
import gc
import itertools
import logging
import os
import pathlib
import re
import resource
import sys
import threading
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from matplotlib.figure import Figure

import jaxdl
from experiments import predict
from experiments.cifar10_speedrun import command as speedrun
from experiments.train_cnn import command, config, report, setup
from experiments.train_cnn import records as train_records
from jaxdl import analysis, data, disk, plots, runs
from jaxdl.data.reading import decoded
from jaxdl.data.streaming import surveying
from jaxdl.interop import files
from jaxdl.runs import commandline, pages, records
from jaxdl.training import arrayfiles, checkpoints
from tests import faults
from tests.faults import CODES, Killed, breaking, contents

ROOT = pathlib.Path(jaxdl.__file__).parents[1]
Row = train_records.Measurement
RANDOM = np.random.default_rng(0)


@pytest.fixture
def quick(monkeypatch):
    """Write and read arrays without orbax, which writes from threads of C++."""

    def write(path, tree):
        path.mkdir()
        for number, leaf in enumerate(arrayfiles._by_path(tree).values()):
            array = np.asarray(leaf if not arrayfiles._is_key(leaf) else leaf.key_data())
            with (path / f"{number}.npy").open("wb") as file:
                np.save(file, array)

    def read(path, like, name_of=str):
        arrays = [jnp.asarray(np.load(path / f"{number}.npy")) for number in range(len(jax.tree.leaves(like)))]
        return jax.tree.unflatten(jax.tree.structure(like), arrays)

    monkeypatch.setattr(arrayfiles, "write", write)
    monkeypatch.setattr(arrayfiles, "read", read)


# ---------------------------------------------------------------- the writers

METHODS = {"write_text", "write_bytes", "savefig", "to_csv", "touch", "symlink_to", "hardlink_to", "truncate"}
FUNCTIONS = {"np.save", "np.savez", "np.savez_compressed", "shutil.copy", "shutil.copyfile", "shutil.copytree"}
FUNCTIONS |= {"shutil.move", "os.mkdir", "os.makedirs", "os.open", "h5py.File", "tempfile.mkstemp"}
OPENERS = {
    # file -> the members of WRITERS that test what it opens for writing
    "jaxdl/disk.py": {"a record"},
    "jaxdl/runs/records.py": {"a row", "arrays"},
    "jaxdl/runs/folder.py": {"a new folder", "a lock"},
    "jaxdl/runs/commandline.py": {"standard output"},
    "jaxdl/training/checkpoints.py": {"a checkpoint"},
    "jaxdl/data/reading/decoded.py": {"decoded images"},
    "jaxdl/data/streaming/surveying.py": {"findings about images"},
    "experiments/predict.py": {"predictions as CSV", "predictions as JSON"},
    "jaxdl/interop/files.py": {"weights for Keras"},
    "jaxdl/interop/hdf5child.py": set(),  # reads alone
    "jaxdl/plots/drawing.py": set(),  # writes into memory
    "jaxdl/runs/progress.py": set(),  # opens the null device
}


def writing_calls(tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        arguments = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
        modes = [a for a in arguments if isinstance(a, str) and re.fullmatch(r"[rwaxbt+]{1,3}", a)]
        if last in METHODS or name in FUNCTIONS or (last == "open" and any({*mode} & {*"wax+"} for mode in modes)):
            yield name


def test_whatever_opens_a_file_for_writing_is_tested_here():
    found = {}
    for folder in ("jaxdl", "experiments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if calls := {*writing_calls(ast.parse(path.read_text()))}:
                found[str(path.relative_to(ROOT))] = calls
    assert {*found} == {*OPENERS}, found
    apart = {"standard output", *CACHES}  # tested below
    assert set().union(*OPENERS.values()) <= {*WRITERS} | apart


def row(step):
    return Row("jaxdl.adam", step, 0, "train", 0.5, 0.25, 0.1, 1.0)


def table(change):
    def write(folder):
        change(records.Table(folder / "metrics.csv", Row))

    return write


def save(step, factor):
    tree = {"x": jnp.arange(6.0) * factor, "n": jnp.asarray(step)}
    return lambda folder: checkpoints.save(folder / "adam", step, tree, {"saved": factor}, keep=2)


def preprocessing(scale):
    return lambda folder: runs.write_preprocessing(folder, data.no_normalization(1, scale), (8, 8, 1), ("a", "b"))


@dataclasses.dataclass(frozen=True)
class Config:
    """Options."""

    seed: int


def measured(seconds):
    return lambda folder: speedrun.report(
        speedrun.Config(out=folder / "out"), [speedrun.SpeedrunResult(0.5, seconds)] * 2
    )


def predicted(writing, share):
    def write(folder):
        with writing(folder / "predictions", 1, "classes") as add:
            add(predict.Prediction("a.png", [("cat", share)]))

    return write


def download(content):
    def write(folder):
        with disk.replacing(folder / "train.gz", shared=True) as part, open(part, "wb") as file:
            file.write(content)

    return write


WEIGHTS = {"fc/kernel": np.ones((2, 3), np.float32)}
WRITERS = {
    # what -> (the first version, the second one, which fails)
    "a record": (
        lambda f: records.write_json(f / "summary.json", {"a": 1}),
        lambda f: records.write_json(f / "summary.json", {"a": 2}),
    ),
    "arrays": (
        lambda f: records.write_arrays(f / "predictions.npz", {"x": np.zeros(3)}),
        lambda f: records.write_arrays(f / "predictions.npz", {"x": np.ones(3)}),
    ),
    "a new table": (lambda f: None, table(lambda t: None)),
    "a row": (table(lambda t: t.append([row(1)])), table(lambda t: (t.append([row(2), row(3)]), t.sync()))),
    "fewer rows": (table(lambda t: t.append([row(1), row(2)])), table(lambda t: t.keep(lambda r: r.step == 2))),
    "sorted rows": (table(lambda t: t.append([row(2), row(1)])), table(lambda t: t.sort(lambda r: r.step))),
    "the options": (
        lambda f: commandline.save_config(f, Config(1)),
        lambda f: commandline.save_config(f, Config(2)),
    ),
    "the preprocessing": (preprocessing(1.0), preprocessing(255.0)),
    "a checkpoint": (lambda f: (save(1, 1)(f), save(2, 2)(f)), save(3, 3)),
    "a checkpoint again": (lambda f: (save(1, 1)(f), save(2, 2)(f)), save(2, 3)),
    "the final weights": (
        lambda f: runs.save_final(f, "jaxdl.adam", 1, {"x": jnp.zeros(3)}, {}),
        lambda f: runs.save_final(f, "jaxdl.adam", 2, {"x": jnp.ones(3)}, {}),
    ),
    "a report": (lambda f: pages.write(f, ["# a"]), lambda f: pages.write(f, ["# b"])),
    "a report's figure": (
        lambda f: pages.figure(f, "x", Figure((1, 1)), "one"),
        lambda f: pages.figure(f, "x", Figure((2, 1)), "two"),
    ),
    "a drawing": (
        lambda f: plots.save(Figure((1, 1)), f / "x.png"),
        lambda f: plots.save(Figure((2, 1)), f / "x.png"),
    ),
    "weights": (
        lambda f: files.write_safetensors(f / "x.safetensors", {"x": np.zeros(3)}),
        lambda f: files.write_safetensors(f / "x.safetensors", {"x": np.ones(3)}),
    ),
    "weights for Keras": (
        lambda f: files.write_keras(f / "x.h5", {"fc/kernel": np.zeros((2, 3), np.float32)}),
        lambda f: files.write_keras(f / "x.h5", WEIGHTS),
    ),
    "predictions as CSV": (predicted(predict.writing_csv, 0.5), predicted(predict.writing_csv, 0.75)),
    "predictions as JSON": (predicted(predict.writing_json, 0.5), predicted(predict.writing_json, 0.75)),
    "a download": (download(b"old" * 9), download(b"new" * 9)),
    "the speedrun's rows": (measured(1.0), measured(2.0)),
    "a new folder": (lambda f: None, lambda f: runs.create(f / "a" / "b")),
    "a lock": (lambda f: None, lambda f: contextlib.ExitStack().enter_context(runs.lock(f))),
}
IN_TWO = {"a report", "a row"}  # two files, or two calls: the first of them may be there
VARYING = {"a row", "a checkpoint", "a checkpoint again", "the final weights"}  # added twice, or other bytes each time


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", WRITERS)
def test_a_write_that_fails_names_the_file_and_loses_nothing(what, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "png", lambda figure, **options: repr(figure.get_size_inches()).encode())
    monkeypatch.setattr("jaxdl.plots.drawing.png", plots.png)
    first, second = WRITERS[what]
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    first(wanted)
    old = contents(wanted)
    second(wanted)
    for allowed in range(100):
        folder = tmp_path / f"fails after {allowed}"
        folder.mkdir()
        first(folder)
        code = CODES[allowed % len(CODES)]
        with breaking(monkeypatch, folder, allowed=allowed, error=code) as broken:
            try:
                second(folder)
            except (OSError, ValueError) as error:
                said = str(error)
            else:
                break
        assert os.strerror(code) in said, said
        assert str(folder) in said, said
        assert ".writing" not in said, "the name of a temporary file tells the user nothing"
        left = contents(folder)
        if what not in IN_TWO:
            lost = {name for name in old if left.get(name) != old[name]}
            assert not lost or what.startswith("a checkpoint"), (broken.calls[-1], lost)
        if (folder / "adam").exists():
            for known in checkpoints.steps(folder / "adam"):
                checkpoints.verify(folder / "adam" / f"{known:08d}")
            assert len(checkpoints.steps(folder / "adam")) >= 2 or "again" in what
        second(folder)  # the disk has space again
        assert {*contents(folder)} == {*contents(wanted)}
        if what not in VARYING:
            assert contents(folder) == contents(wanted)
    assert allowed >= 1, "it writes nothing that is watched"


def test_rows_that_could_not_be_written_whole_are_taken_back(tmp_path, monkeypatch):
    found = records.Table(tmp_path / "metrics.csv", Row)
    found.append([row(1)])
    before = (tmp_path / "metrics.csv").read_bytes()
    real = faults.io.FileIO.write

    class Half(faults.io.FileIO):
        def write(self, content):
            if len(content) > 9:
                return real(self, content[:9])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "open", lambda path, mode, **options: Half(path, mode.replace("b", "")))
        patch.setattr(disk, "write_all", lambda file, content: [file.write(content), file.write(b"")])
        with pytest.raises(OSError, match=r"No space left on device: .*metrics\.csv"):
            found.append([row(2)])
    assert (tmp_path / "metrics.csv").read_bytes() == before
    found.append([row(3)])
    assert [r.step for r in records.read_table(tmp_path / "metrics.csv", Row)] == [1, 3]
    assert [r.step for r in found.rows] == [1, 3]


IMAGES = data.from_arrays(np.zeros((2, 4, 4, 3), np.uint8), [0, 1])
FINDINGS = surveying.Findings(
    np.zeros((2, 2, 3), np.int64), np.ones((2, 2), np.int32), np.zeros(2, bool), np.zeros(2, bool), {}, "digest"
)
CACHES = {
    "decoded images": (lambda *at: decoded.store(*at, IMAGES), decoded.restore),
    "findings about images": (lambda *at: surveying.store(*at, FINDINGS), lambda *at: surveying.restore(*at, 2)),
}


@pytest.mark.parametrize("what", CACHES)
def test_a_cache_that_cannot_be_written_is_no_error_and_keeps_what_it_had(what, tmp_path, monkeypatch):
    store, restore = CACHES[what]
    path = tmp_path / "x.npz"
    store(path, "old")
    for allowed in itertools.count():
        code = CODES[allowed % len(CODES)]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with breaking(monkeypatch, tmp_path, allowed=allowed, error=code):
                store(path, "new")
        if not said:
            break
        assert [one.category for one in said] == [RuntimeWarning]
        assert re.search(rf"{tmp_path}/x\.npz .*{os.strerror(code)}", str(said[0].message))
        assert restore(path, "old") is not None
        assert os.listdir(tmp_path) == ["x.npz"]
    assert restore(path, "new") is not None
    assert restore(path, "old") is None
    assert allowed > 3


# ---------------------------------------------------------------- a whole run

OPTIONS = """--model softmax_regression --optimizer jaxdl.adam --batch-size 512 --epochs 1 --augment none
    --checkpoint-every 1 --log-every 1""".split()  # noqa: SIM905


@pytest.fixture
def train(monkeypatch, quick):
    """Return a function that trains into a folder, or resumes there. What does not touch the folder is done once."""
    options = config.resolve(commandline.parse(config.Config, OPTIONS))
    shared = setup.prepare(options)
    starts = setup.make_starts(shared)
    rows, count = analysis.layer_rows(shared.layer, shared.in_shape), analysis.count_parameters(shared.layer, (8, 8, 1))
    monkeypatch.setattr(setup, "prepare", lambda options: shared)
    copied = lambda start: start._replace(state=jax.tree.map(jnp.copy, start.state))  # the step is given the buffers
    monkeypatch.setattr(setup, "make_starts", lambda shared: [*map(copied, starts)])
    monkeypatch.setattr(analysis, "layer_rows", lambda *layer: rows)
    monkeypatch.setattr(analysis, "count_parameters", lambda *layer: count)
    monkeypatch.setattr(report, "write", lambda folder: pages.write(folder, ["# A run"]))

    def call(folder):
        resume = (folder / "config.json").exists()
        return command.run(options, folder if resume else runs.create(folder), [], resume=resume)

    return call


def bits(folder):
    """Return the rows without their seconds, the predictions, and the arrays of the last weights and checkpoints."""
    found = {"rows": [row._replace(seconds=0) for row in records.read_table(folder / "metrics.csv", Row)]}
    with np.load(folder / "predictions.npz") as arrays:
        found |= {name: array.tobytes() for name, array in arrays.items()}
    last = [*folder.glob("final/*/00000002"), *folder.glob("checkpoints/*/00000002")]
    assert len(last) == 2
    return found | {str(p.relative_to(folder)): p.read_bytes() for place in last for p in place.rglob("*.npy")}


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_that_a_full_disk_or_a_kill_ends_at_any_write_resumes_to_the_same_bits(
    tmp_path, monkeypatch, train, capsys
):
    whole = tmp_path / "whole"
    with breaking(monkeypatch, whole) as disk:
        train(whole)
    wanted = bits(whole)
    kinds = {}
    for number, call in enumerate(disk.calls):
        kinds.setdefault(re.sub("[0-9]+", "#", call), number)
    capsys.readouterr()
    for turn, allowed in enumerate(kinds.values()):
        folder = tmp_path / f"stops at {allowed}"
        error = Killed if turn % 2 else CODES[turn // 2 % len(CODES)]
        with breaking(monkeypatch, folder, allowed=allowed, error=error) as broken:
            if error is Killed:
                with contextlib.suppress(Killed):
                    train(folder)
            else:
                with pytest.raises(SystemExit) as end:
                    commandline.run_main(lambda folder=folder: train(folder))
                said = capsys.readouterr().err
                assert end.value.code == 2
                assert re.fullmatch(r"error: [^\n]+\n\(JAXDL_TRACEBACK=1 shows where\)\n", said), said
                assert os.strerror(error) in said, said
                assert str(folder) in said, said
            assert len(broken.calls) > allowed
        train(folder)
        assert bits(folder) == wanted, disk.calls[allowed]
        hidden = {path.name for path in folder.rglob("*") if path.name.startswith(".")}
        assert hidden == {".lock"}, "what was begun is finished or gone"
    assert len(kinds) > 20


# ---------------------------------------------------------------- orbax, and output


@pytest.mark.slow
@pytest.mark.parametrize("most", [100, 400, 2_000, 30_000])
def test_orbax_on_a_full_disk_prints_nothing_and_leaves_nothing(most, tmp_path, capfd):
    """Every file ends at a size: that of orbax's first records, its indices, or within the arrays."""
    noise = {f"x{i}": jnp.asarray(RANDOM.normal(size=(50, 40)), jnp.float32) for i in range(12)}
    checkpoints.save(tmp_path, 1, noise, {"saved": 1})
    before, policy = contents(tmp_path), asyncio.get_event_loop_policy()
    levels = [logging.getLogger(name).level for name in ("absl", "asyncio")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}/00000002'"):
            checkpoints.save(tmp_path, 2, noise, {"saved": 2})
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capfd.readouterr() == ("", "")
    assert contents(tmp_path) == before
    assert asyncio.get_event_loop_policy() is policy
    assert [logging.getLogger(name).level for name in ("absl", "asyncio")] == levels
    assert checkpoints.restore_newest(tmp_path, noise, report=pytest.fail).meta == {"saved": 1}
    checkpoints.save(tmp_path, 2, noise, {"saved": 2})
    assert checkpoints.restore_newest(tmp_path, noise, report=pytest.fail).meta == {"saved": 2}


def fails_early(log):
    """Do as orbax does: raise the first error while a thread, a task and a late result are still to come."""

    async def slow():
        await asyncio.sleep(0.05)
        log.append("task")

    async def broken():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def thread():
        time.sleep(0.1)
        logging.getLogger("absl").error("the error again")
        loop.call_soon_threadsafe(print)
        log.append("thread")

    async def both():
        held = asyncio.ensure_future(broken())  # nobody asks for its exception
        await asyncio.sleep(0)
        assert held.done()
        await asyncio.gather(slow(), broken())

    threading.Thread(target=thread).start()
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(both())
    finally:
        loop.close()


@pytest.mark.slow
def test_what_goes_on_after_an_error_is_waited_for_and_quiet(caplog, capfd):
    log = []
    with pytest.raises(OSError, match="No space left") as caught, arrayfiles._contained():
        fails_early(log)
    assert log == ["task", "thread"]
    del caught
    gc.collect()
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_an_error_that_is_being_handled_is_none_of_a_save_s(monkeypatch):
    monkeypatch.setattr(arrayfiles, "_wait_for_others_than", lambda before: pytest.fail("nothing failed here"))
    try:
        raise ValueError
    except ValueError:
        with arrayfiles._contained():
            pass


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EPIPE])
@pytest.mark.parametrize("made", [None, runs.StudyProgress, lambda: runs.RunProgress(1)])
def test_output_that_cannot_be_written_is_named(code, made, monkeypatch, capsys):
    def fail(text):
        raise OSError(code, os.strerror(code))

    def printing():
        print("a line") if made is None else made().line("a line")
        return 0

    nowhere = []
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "write", fail)
        patch.setattr(os, "dup2", lambda *descriptors: nowhere.append(descriptors))
        with pytest.raises(SystemExit) as end:
            commandline.run_main(printing)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said == f"error: [Errno {code}] {os.strerror(code)}: 'standard output'\n(JAXDL_TRACEBACK=1 shows where)\n"


# ---------------------------------------------------------------- kills


def test_the_committed_kills_all_resumed_to_the_same_bits():
    lines = (ROOT / "benchmarks" / "kills.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if re.match(r"\| (\d|after)", line)]
    assert len(rows) == 40
    assert {row[-1] for row in rows} == {"yes"}
    assert len({row[1] for row in rows}) > 10, "at many places of the run"


# ---------------------------------------------------------------- compiled programs


@pytest.fixture
def programs(tmp_path):
    """Keep compiled programs in a folder of the test's own."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    compilation_cache.reset_cache()
    for name, value in zip(names, (str(tmp_path), 0), strict=True):
        jax.config.update(name, value)
    yield tmp_path
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:99], lambda content: b""])
def test_a_damaged_program_of_the_compilation_cache_is_said_and_compiled_again(programs, damage):
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    f = lambda x: jnp.tanh(x @ x - 3.0)
    wanted = jax.jit(f)(x)
    stored = [path for path in programs.iterdir() if path.name.endswith("-cache")]
    assert stored
    for path in stored:
        path.write_bytes(damage(path.read_bytes()))
    jax.clear_caches()
    with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
        found = jax.jit(f)(x)
    np.testing.assert_array_equal(found, wanted)
