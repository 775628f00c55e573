"""Checkpoints restore to the bit, damaged ones are skipped, and an interrupted save loses none."""

import errno
import hashlib
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl import nn, training
from jaxdl.training import arrayfiles, checkpoints

RANDOM = np.random.default_rng(0)
TREE = {
    "params": {
        "kernel": jnp.asarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "bias": jnp.asarray(np.ones(3, np.float32)),
    },
    "step": jnp.asarray(4),
}


class Pair(NamedTuple):
    first: Any
    second: Any


def bits(leaf):
    leaf = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return np.asarray(leaf).tobytes()


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape, bits(a)) == (b.dtype, b.shape, bits(b))


def scaled(factor):
    return jax.tree.map(lambda leaf: leaf * factor, TREE)


DTYPES = "bool int8 int16 int32 uint8 uint16 uint32 float16 bfloat16 float32 complex64 float8_e4m3fn float8_e5m2 int4"
NAMES = ("a/b", "../c", "a.b", "", "'", '"][', " ", "é", "x" * 300)
ODD = {
    **{dtype: jnp.asarray(RANDOM.integers(0, 7, (3, 2)).astype(jnp.dtype(dtype))) for dtype in DTYPES.split()},
    "scalars": [jnp.asarray(1.5), jnp.asarray(True), np.float32(2.5), np.ones((), np.int32)],
    "special": jnp.array([np.nan, -0.0, np.inf, -np.inf, 1e-45, 3.4e38]),
    "a NaN's own bits": np.array([0x7FC01234, 0xFFC00001], np.uint32).view(np.float32),
    "nothing": {"none": None, "dict": {}, "tuple": (), "state": optax.EmptyState()},
    "empty": [jnp.zeros((0, 3), jnp.bfloat16), jnp.zeros(0, bool)],
    "containers": Pair((jnp.ones(2), [jnp.zeros(1)]), Pair(None, {"x": jnp.ones(1)})),
    "keys": {"key": jax.random.key(7), "several": jax.random.split(jax.random.key(1, impl="rbg"), 3)},
    "no keys": jax.random.split(jax.random.key(1), 3)[:0],
    "fortran": np.asfortranarray(RANDOM.normal(size=(3, 4)).astype(np.float32)),
    "strided": RANDOM.normal(size=(6, 4)).astype(np.float32)[::2, ::-1],
    # keys that look like paths, separators or quotes
    "names": {name: jnp.asarray(np.full(2, i)) for i, name in enumerate(NAMES)},
    "numbers": {1: jnp.ones(1), 2: {1: jnp.zeros(1)}},
    "1": jnp.ones(3),
}


def test_every_array_comes_back_to_the_bit(tmp_path):
    meta = {"step": 3, "loss": 0.1, "worst": float("inf"), "arrays": "mine", "none": None, "list": [1, "two", {}]}
    path = checkpoints.save(tmp_path, 3, ODD, meta)
    assert path == tmp_path / "00000003"
    found = checkpoints.restore(path, ODD)
    assert_same(found.tree, ODD)
    assert found.meta == meta
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found.tree))
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), ODD)
    assert_same(checkpoints.restore(path, abstract).tree, ODD)


def test_empty_trees_and_single_leaves(tmp_path):
    for step, tree in enumerate([{}, None, {"a": jnp.zeros(0)}, jnp.ones(2), (jnp.ones(1),)]):
        path = checkpoints.save(tmp_path / str(step), step, tree, {})
        assert_same(checkpoints.restore(path, tree).tree, tree)


def test_train_states_of_several_optimizers_from_one_or_more_devices(tmp_path):
    layer = nn.serial(norm=nn.BatchNorm(), logits=nn.Dense(2))
    optimizers = [
        optax.sgd(0.1),
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 9))),
        optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
        optax.masked(optax.sgd(0.1, momentum=0.9), {"norm": True, "logits": False}),
    ]
    place = training.data_parallel(lambda state, batch, key, *, axis_name: (state, {}), devices=8).place
    for i, optimizer in enumerate(optimizers):
        state = training.create(jax.random.key(i), layer, optimizer, (3,), average=i % 2 == 0)
        path = checkpoints.save(tmp_path / str(i), 1, place(state), {})
        assert_same(checkpoints.restore(path, state).tree, state)


class FirstTrainState(NamedTuple):
    """The TrainState of format 1."""

    step: Any
    params: Any
    state: Any
    opt_state: Any
    average: Any


def test_a_train_state_of_the_first_format_is_restored_and_a_newer_format_is_refused(tmp_path, monkeypatch):
    layer = nn.serial(norm=nn.BatchNorm(), flat=nn.flatten, out=nn.Dense(2))
    state = training.create(jax.random.key(0), layer, optax.adam(1e-3), (2, 2, 1), average=True)
    monkeypatch.setattr(checkpoints, "FORMAT", 1)
    old = checkpoints.save(tmp_path, 1, {"state": FirstTrainState(*state), "best": {"x.layer_state": jnp.ones(2)}}, {})
    monkeypatch.undo()
    assert_same(checkpoints.restore(old, {"state": state, "best": {"x.layer_state": jnp.ones(2)}}).tree["state"], state)
    monkeypatch.setattr(checkpoints, "FORMAT", 3)
    new = checkpoints.save(tmp_path, 2, TREE, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has format 3; this version reads 1 to 2"):
        checkpoints.restore(new, TREE)


METAS = {
    "of a later format": (
        lambda meta: {"format": 9, "tensors": []},
        ValueError,
        "has format 9; this version reads 1 to 2",
    ),
    "of another step": (
        lambda meta: meta | {"step": 100},
        checkpoints.CorruptCheckpointError,
        "checkpoint of step 100",
    ),
    "without arrays": (
        lambda meta: {"format": 2, "meta": {}},
        checkpoints.CorruptCheckpointError,
        "no object 'arrays'",
    ),
    "a list": (lambda meta: [meta], checkpoints.CorruptCheckpointError, "holds a list; expected an object"),
}


@pytest.mark.parametrize("case", METAS)
def test_what_describes_a_checkpoint_is_checked_before_it_is_used(case, tmp_path):
    change, error, said = METAS[case]
    folder = checkpoints.save(tmp_path, 999, {"x": jnp.ones(2)}, {})
    meta = folder / "meta.json"
    meta.write_text(json.dumps(change(json.loads(meta.read_text()))))
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in checkpoints._files(folder)}
    (folder / checkpoints.MANIFEST).write_text(json.dumps(digests))
    with pytest.raises(error, match=said) as caught:
        checkpoints.restore(folder, {"x": jnp.ones(2)})
    assert str(folder) in str(caught.value)
    assert type(caught.value) is error


def test_two_leaves_of_one_path_are_named_by_their_argument(tmp_path):
    class Alike(str):
        __slots__ = ()
        __eq__ = object.__eq__
        __hash__ = object.__hash__

        def __lt__(self, other):
            return id(self) < id(other)

    folder = checkpoints.save(tmp_path, 1, {"a": jnp.ones(1)}, {})
    twice = {Alike("a"): jnp.ones(1), Alike("a"): jnp.zeros(1)}
    with pytest.raises(ValueError, match=r"^like: two leaves have the path"):
        checkpoints.restore(folder, twice)
    with pytest.raises(ValueError, match=r"^tree: two leaves have the path"):
        checkpoints.save(tmp_path, 2, twice, {})


def test_an_array_that_is_spread_over_devices_is_saved_whole(tmp_path):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = {"x": jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("d")))}
    found = checkpoints.restore(checkpoints.save(tmp_path, 0, spread, {}), spread).tree
    np.testing.assert_array_equal(found["x"], np.arange(16.0))
    assert len(found["x"].devices()) == 1


def test_unrestorable_trees_are_an_error_before_anything_is_written(tmp_path):
    mistakes = [
        ({"tree": {"a": [1.5]}}, r"tree\['a'\]\[0\] is a float; allowed are arrays"),
        ({"tree": {"a": "text"}}, r"tree\['a'\] is a str; allowed are arrays"),
        ({"tree": {"a": np.ones(2)}}, r"tree\['a'\] is float64, which JAX narrows"),
        ({"tree": {"a": np.arange(2)}}, r"tree\['a'\] is int64, which JAX narrows"),
        ({"tree": {"a": np.array(["x"])}}, r"tree\['a'\] is <U1"),
        ({"tree": {"a": np.array([None])}}, r"tree\['a'\] is object"),
        ({"meta": {"a": np.float32(1)}}, "meta: JSON cannot hold it .*float32"),
        ({"meta": {"a": {1, 2}}}, "meta: JSON cannot hold it"),
        ({"keep": 0}, "keep=0 is less than 1"),
        ({"step": -1}, "step=-1 is less than 0"),
    ]
    for wrong, text in mistakes:
        with pytest.raises(ValueError, match=text):
            checkpoints.save(**{"folder": tmp_path / "new", "step": 1, "tree": TREE, "meta": {}, **wrong})
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=r"tree: orbax cannot write it .*uint4"):
        checkpoints.save(tmp_path / "new", 1, {"a": jnp.ones(2, "uint4")}, {})
    assert os.listdir(tmp_path / "new") == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> pathlib.Path:
    """One small checkpoint; copy it before changing it."""
    return checkpoints.save(tmp_path_factory.mktemp("saved"), 7, TREE, {"loss": 0.25})


def test_asking_for_other_arrays_names_them(saved):
    kernel, bias = TREE["params"]["kernel"], TREE["params"]["bias"]
    other = {
        "shape": ({"kernel": kernel.T, "bias": bias}, r"\['kernel'\]: saved float32\[2, 3\], asked float32\[3, 2\]"),
        "dtype": (
            {"kernel": kernel.astype(jnp.bfloat16), "bias": bias},
            r"saved float32\[2, 3\], asked bfloat16\[2, 3\]",
        ),
        "more": (
            {"kernel": kernel, "bias": bias, "scale": bias},
            r"\['scale'\]: saved nothing, asked float32\[3\]",
        ),
        "fewer": ({"kernel": kernel}, r"\['bias'\]: saved float32\[3\], asked nothing"),
        "many": ({str(i): bias for i in range(9)}, "; and 6 more"),
    }
    for params, text in other.values():
        with pytest.raises(ValueError, match=text) as caught:
            checkpoints.restore(saved, {**TREE, "params": params})
        assert str(saved) in str(caught.value)
        assert not isinstance(caught.value, checkpoints.CorruptCheckpointError)
    with pytest.raises(ValueError, match=r"like\['step'\] is a int; allowed are arrays"):
        checkpoints.restore(saved, {**TREE, "step": 4})
    with pytest.raises(ValueError, match=r"like\['step'\] is int64, which JAX narrows"):
        checkpoints.restore(saved, {**TREE, "step": np.int64(4)})


def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_flipped_bits_are_detected(saved, tmp_path):
    """Flip each 19th bit of the manifest, which nothing else guards, and each 97th of every other file."""
    copy = shutil.copytree(saved, tmp_path / saved.name)
    checkpoints.verify(copy)
    for path in files_of(copy):
        whole = path.read_bytes()
        for at in range(0, 8 * len(whole), 19 if path.name == checkpoints.MANIFEST else 97):
            flipped = bytearray(whole)
            flipped[at // 8] ^= 1 << at % 8
            path.write_bytes(flipped)
            with pytest.raises(checkpoints.CorruptCheckpointError, match=re.escape(str(copy))):
                checkpoints.verify(copy)
        path.write_bytes(whole)
    assert_same(checkpoints.restore(copy, TREE).tree, TREE)


def test_missing_truncated_emptied_and_foreign_files_are_named(saved, tmp_path):
    copy = shutil.copytree(saved, tmp_path / saved.name)
    for path in files_of(copy):
        whole = path.read_bytes()
        for content in (None, b"", whole[:-1], whole + b"\n"):
            path.unlink() if content is None else path.write_bytes(content)
            # a trailing blank line does not change the manifest's meaning
            if not (path.name == checkpoints.MANIFEST and content == whole + b"\n"):
                with pytest.raises(checkpoints.CorruptCheckpointError, match=re.escape(str(path))):
                    checkpoints.restore(copy, TREE)
            path.write_bytes(whole)
    for name in ("foreign", "arrays/d/foreign"):
        (copy / name).write_text("?")
        with pytest.raises(checkpoints.CorruptCheckpointError, match=f"{name}: not in the manifest"):
            checkpoints.restore(copy, TREE)
        (copy / name).unlink()
    for text in ("null", "[]", "{}", '"arrays"'):
        (copy / checkpoints.MANIFEST).write_text(text)
        with pytest.raises(checkpoints.CorruptCheckpointError):
            checkpoints.restore(copy, TREE)


def test_a_file_that_cannot_be_read_counts_as_corrupt(saved, monkeypatch):
    def unreadable(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(checkpoints, "_digest", unreadable)
    with pytest.raises(checkpoints.CorruptCheckpointError, match=r"cannot be read .*Input/output error"):
        checkpoints.restore(saved, TREE)


def test_an_older_checkpoint_replaces_a_corrupt_one_with_a_report(tmp_path):
    steps = (1, 2, 10, 11)
    for step in steps:
        checkpoints.save(tmp_path / "saved", step, TREE, {"loss": 0.25}, keep=4)
    for step in steps[:3]:
        shutil.copytree(tmp_path / "saved" / f"{step:08d}", tmp_path / f"{step:08d}")
    lines = []

    def newest():
        lines.clear()
        return checkpoints.restore_newest(tmp_path, TREE, report=lines.append)

    assert_same(newest().tree, TREE)
    assert lines == []
    (tmp_path / "00000010" / "meta.json").unlink()
    (tmp_path / "00000002" / "arrays" / "manifest.ocdbt").write_bytes(b"")
    found = newest()
    assert found.meta == {"loss": 0.25}
    assert len(lines) == 2
    assert lines[0].startswith("checkpoint of step 10 is corrupt and is passed over")
    assert "meta.json: missing" in lines[0]
    assert lines[1].startswith("checkpoint of step 2 is corrupt")
    (tmp_path / "00000001" / checkpoints.MANIFEST).unlink()
    with pytest.raises(checkpoints.CorruptCheckpointError, match=r"all checkpoints are corrupt.*\[1, 2, 10\]"):
        newest()
    assert len(lines) == 3
    # an intact checkpoint of another tree is an error, never skipped
    shutil.copytree(tmp_path / "saved" / "00000011", tmp_path / "00000011")
    with pytest.raises(ValueError, match="holds other arrays"):
        checkpoints.restore_newest(tmp_path, {"other": jnp.ones(2)}, report=lines.append)


def test_steps_of_a_folder(tmp_path):
    assert checkpoints.steps(tmp_path / "absent") == []
    assert checkpoints.restore_newest(tmp_path / "absent", TREE) is None
    for name in ("00000002", "00000010", "123456789", "7", "best", ".writing-00000011", "00000003.old", "0123456789"):
        (tmp_path / name).mkdir()
    (tmp_path / "00000004").write_text("no folder")
    assert checkpoints.steps(tmp_path) == [2, 10, 123456789]


@pytest.fixture
def quick(monkeypatch):
    """Write and read arrays without orbax, for tests of the folders alone."""

    def write(path, tree):
        path.mkdir()
        for name, leaf in arrayfiles._by_path(tree).items():
            np.save(path / f"{name}.npy", np.asarray(leaf))

    def read(path, like, name_of=str):
        leaves = [jnp.asarray(np.load(path / f"{name}.npy")) for name in arrayfiles._by_path(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    monkeypatch.setattr(arrayfiles, "write", write)
    monkeypatch.setattr(arrayfiles, "read", read)


@pytest.mark.usefixtures("quick")
def test_keep_counts_the_one_just_saved(tmp_path):
    for step in range(5):
        checkpoints.save(tmp_path, step, TREE, {}, keep=3)
    assert checkpoints.steps(tmp_path) == [2, 3, 4]
    # after a restart from an older step, later steps still exist; the new save must stay all the same
    assert checkpoints.save(tmp_path, 1, TREE, {}, keep=2).exists()
    assert checkpoints.steps(tmp_path) == [1, 4]
    checkpoints.save(tmp_path, 3, TREE, {}, keep=1)
    assert checkpoints.steps(tmp_path) == [3]
    assert sorted(os.listdir(tmp_path)) == ["00000003"]


@pytest.mark.usefixtures("quick")
def test_saving_a_step_again_replaces_it(tmp_path):
    for factor in (1, 2, 3):
        checkpoints.save(tmp_path, 5, scaled(factor), {"factor": factor})
    found = checkpoints.restore_newest(tmp_path, TREE)
    assert_same(found.tree, scaled(3))
    assert found.meta == {"factor": 3}
    assert sorted(os.listdir(tmp_path)) == ["00000005"]


class Killed(BaseException):
    """An exception that no handler of errors catches."""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("step", [2, 3], ids=["same step", "next step"])
def test_a_process_that_dies_between_any_two_file_operations_loses_nothing(tmp_path, monkeypatch, step):
    before = tmp_path / "before"
    for earlier in (1, 2):
        checkpoints.save(before, earlier, scaled(earlier), {"saved": earlier}, keep=2)
    names = ("mkdir", "rename", "unlink", "rmdir", "fsync", "open")
    real = {name: getattr(os, name) for name in names}
    left, outcomes = 0, []

    def limited(name):
        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real[name](*args, **kwargs)

        return call

    for allowed in range(200):
        folder = shutil.copytree(before, tmp_path / f"dies after {allowed}")
        died = False
        with monkeypatch.context() as patch:
            left = allowed
            for name in names:
                patch.setattr(os, name, limited(name))
            try:
                checkpoints.save(folder, step, scaled(9), {"saved": 9}, keep=2)
            except Killed:
                died = True
        found = checkpoints.restore_newest(folder, TREE, report=pytest.fail)
        outcomes.append(found.meta["saved"])
        assert_same(found.tree, scaled(found.meta["saved"]))
        for known in checkpoints.steps(folder):  # no checkpoint is half written
            checkpoints.verify(folder / f"{known:08d}")
        if not died:
            break
        # the next save cleans up
        checkpoints.save(folder, 4, scaled(4), {"saved": 4}, keep=2)
        assert sorted(os.listdir(folder)) == [f"{known:08d}" for known in checkpoints.steps(folder)]
        assert len(checkpoints.steps(folder)) == 2
        assert checkpoints.restore_newest(folder, TREE, report=pytest.fail).meta == {"saved": 4}
    assert 12 < len(outcomes) < 200  # it died at many places, and the last try finished
    assert outcomes == sorted(outcomes)  # the old one before some operation, the new one after it
    assert set(outcomes) == {2, 9}


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_set_aside_outlives_a_save_that_fails(tmp_path, monkeypatch):
    path = checkpoints.save(tmp_path, 2, TREE, {"saved": 2})
    path.rename(tmp_path / f"{checkpoints.REPLACED}{path.name}")  # killed between the two renames
    assert checkpoints.steps(tmp_path) == [2]
    assert checkpoints.restore(path, TREE).meta == {"saved": 2}

    def full(path, tree):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(arrayfiles, "write", full)
    for step in (2, 3):
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(tmp_path, step, TREE, {})
        assert checkpoints.restore_newest(tmp_path, TREE, report=pytest.fail).meta == {"saved": 2}


SAVE_IN_A_LOOP = """
    import sys
    import jax.numpy as jnp
    from jaxdl.training import checkpoints
    folder, step = sys.argv[1], int(sys.argv[2])
    while True:
        for again in range(2):
            tree = {"x": jnp.full(2000, step), "step": jnp.asarray(step)}
            checkpoints.save(folder, step, tree, {"step": step, "again": again}, keep=2)
            print(step, again, flush=True)
        step += 1
"""


@pytest.mark.process
@pytest.mark.slow
def test_sigkill_at_random_moments_leaves_a_whole_newest_checkpoint(tmp_path):
    chance, step = random.Random(1), 0
    like = {"x": jnp.zeros(2000, jnp.int32), "step": jnp.asarray(0)}
    for _ in range(3):
        program = [sys.executable, "-c", textwrap.dedent(SAVE_IN_A_LOOP), str(tmp_path), str(step)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = [child.stdout.readline() for _ in range(4)]
            time.sleep(chance.uniform(0, 0.6))
            child.send_signal(signal.SIGKILL)
            said += [line for line in child.stdout if line.endswith("\n")]
        last = tuple(map(int, said[-1].split()))
        found = checkpoints.restore_newest(tmp_path, like, report=pytest.fail)
        assert (found.meta["step"], found.meta["again"]) >= last
        assert found.tree["step"] == found.meta["step"]
        assert (np.asarray(found.tree["x"]) == found.meta["step"]).all()
        step = found.meta["step"]


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_of(folder)}


@pytest.fixture
def full_disk():
    """Limit every file to 100 kB, as if the disk had no more space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("step", [7, 8], ids=["same step", "next step"])
def test_a_full_disk_while_orbax_writes(saved, tmp_path, caplog, step):
    shutil.copytree(saved, tmp_path / saved.name)
    before = contents(tmp_path)
    noise = {"x": jnp.asarray(RANDOM.normal(size=100_000), jnp.float32)}  # noise does not compress
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught:
        checkpoints.save(tmp_path, step, noise, {})
    assert caught.value.errno == errno.EFBIG
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == [saved.name]
    assert caplog.records == []  # the error is reported once


@pytest.mark.usefixtures("quick")
def test_a_full_disk_while_the_manifest_is_written(saved, tmp_path, monkeypatch):
    shutil.copytree(saved, tmp_path / saved.name)
    before = contents(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device.*" + re.escape(str(tmp_path))) as caught:
        checkpoints.save(tmp_path, 7, TREE, {})
    assert caught.value.errno == errno.ENOSPC
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(NotADirectoryError, match=re.escape(str(tmp_path / "file"))):
        checkpoints.save(tmp_path / "file" / "checkpoints", 1, TREE, {})
    if os.geteuid():  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(PermissionError, match=re.escape(str(tmp_path / "closed"))):
            checkpoints.save(tmp_path / "closed", 1, TREE, {})


@pytest.mark.usefixtures("quick")
def test_a_checkpoint_under_another_step_s_name_is_passed_over(tmp_path):
    for step in (99, 100):
        checkpoints.save(tmp_path, step, scaled(step), {"saved": step})
    (tmp_path / f"{100:08d}").rename(tmp_path / f"{999:08d}")
    said = []
    assert checkpoints.restore_newest(tmp_path, TREE, report=said.append).meta == {"saved": 99}
    assert "holds the checkpoint of step 100" in said[0]
