"""Every reader of files from elsewhere reads its whole files, and reads or names mutated ones.

`python -m benchmarks.fuzz` goes on for longer, guided by the branches that it reaches.
"""

import importlib.util
import io
import json
import pathlib
import struct
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz import targets
from jaxdl import disk
from jaxdl.data.reading import idx
from jaxdl.interop import files

PLACES = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))


def changed(content, edits, end):
    content = bytearray(content)
    for place, value in edits:
        content[int(place * len(content))] = value
    return bytes(content[: int(end * len(content))])


@pytest.fixture(params=targets.TARGETS)
def target(request):
    if request.param == "torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("reading .pth needs PyTorch")
    return targets.TARGETS[request.param]


@pytest.mark.filterwarnings("ignore")
def test_a_reader_reads_its_whole_files(target, tmp_path):
    (tmp_path / "seeds").mkdir()
    for content in target.seeds(tmp_path / "seeds"):
        (tmp_path / target.name).write_bytes(content)
        target.read(tmp_path / target.name)


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_named_in_one_line(target, tmp_path_factory):
    here = tmp_path_factory.mktemp("fuzz")
    (here / "seeds").mkdir()
    seeds = target.seeds(here / "seeds")

    @settings(max_examples=20, derandomize=True, database=None, deadline=None)
    @given(st.sampled_from(seeds), st.lists(PLACES, min_size=1, max_size=4), st.sampled_from((1.0, 1.0, 0.7)))
    def reads(content, edits, end):
        targets.one_input(target, here / target.name, changed(content, edits, end))

    reads()


def without_elements(here, shape):
    """Write an array of no elements in every format that tells its shape; return (file, reader) for each."""
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (here / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    member = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(member, about)
    with zipfile.ZipFile(here / "x.npz", "w") as archive:
        archive.writestr("a.npy", member.getvalue())
    with h5py.File(here / "x.h5", "w") as file:
        file.create_dataset("d/d/kernel", shape=shape, dtype="f4")
        file.attrs["layer_names"], file["d"].attrs["weight_names"] = [b"d"], [b"d/kernel"]
    sizes = [min(size, 2**32 - 1) for size in shape]
    (here / "x.idx").write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", *sizes))
    return {
        "x.safetensors": files.read,
        "x.npz": disk.read_arrays,
        "x.h5": files.read,
        "x.idx": lambda path: {"a": idx.read_idx(path, ndim=3)[0]},
    }


@pytest.mark.process
@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.h5", "x.idx"])
@pytest.mark.parametrize("shape", [[0, 2, 3], [0, 2**40, 2**40], [2**40, 2**40, 0]])
def test_an_array_of_no_elements_is_read_or_named_if_no_array_can_have_its_shape(tmp_path, name, shape):
    read = without_elements(tmp_path, shape)[name]
    if max(shape) < 2**40:
        assert [array.shape for array in read(tmp_path / name).values()] == [tuple(shape)]
        return
    with pytest.raises(ValueError, match=r"^[^\n]*x\.\w+: ") as error:
        read(tmp_path / name)
    assert "array" in str(error.value)


def with_a_name(here, name):
    """Write weights whose reader quotes a name of theirs, in every format that has names; return the files."""
    header = json.dumps({name: {"dtype": "F99", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (here / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with h5py.File(here / "x.h5", "w") as file:
        file.create_dataset(name, data=np.ones(2, np.float32))
    with zipfile.ZipFile(here / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(1 << 26))
        archive.writestr("model.weights.h5", b"")


@pytest.mark.process
@pytest.mark.parametrize("file", ["x.safetensors", "x.h5", "x.keras"])
@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u2028b", "a" * 60_000])
def test_a_name_in_a_file_of_weights_neither_breaks_nor_floods_a_message(tmp_path, file, name):
    with_a_name(tmp_path, name)
    with pytest.raises(ValueError, match="x") as error:
        files.read(tmp_path / file)
    said = str(error.value)
    assert str(tmp_path / file) in said
    assert said.isprintable()
    assert len(said) <= 2000


def test_a_reader_that_does_not_name_the_file_is_found(tmp_path):
    def read(path):
        raise ValueError(f"{path.read_bytes()[:1]!r} is wrong")

    with pytest.raises(AssertionError, match="does not name the file"):
        targets.one_input(targets.Target(lambda here: [], "x", read, ()), tmp_path / "x", b"a")
    with pytest.raises(KeyError):
        targets.one_input(targets.Target(lambda here: [], "x", lambda path: {}[0], ()), tmp_path / "x", b"a")


def test_every_format_of_weights_has_a_target():
    names = {pathlib.Path(target.name).suffix for target in targets.TARGETS.values()}
    named = {files.READERS[suffix] for suffix in names if suffix in files.READERS}
    assert named == {*files.READERS.values()}
    assert ".safetensors" in names
