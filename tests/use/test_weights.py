"""Files of weights as training scripts leave them, and hostile ones: PyTorch's checkpoints, Keras' files, writing.

Each law runs over all members of a kind: wrappers, prefixes, kinds of tensors, writers, false claims.
"""

import errno
import json
import os
import pathlib
import struct
import types
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, disk, interop, models, nn
from jaxdl.data.reading import decoded
from jaxdl.interop import files, hdf5files, torchfiles
from jaxdl.runs import records

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
LAYER = nn.serial(flat=nn.flatten, a=nn.Dense(3), b=nn.Dense(2))
NAMES = {"a": "first", "b": "second"}
SHAPES = {"first.weight": (3, 4), "first.bias": (3,), "second.weight": (2, 3), "second.bias": (2,)}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="reading .pth needs PyTorch")


def tensors(torch, prefix=""):
    """A state dict of LAYER."""
    sizes = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}
    return {prefix + n: torch.arange(sizes[n], dtype=torch.float32).reshape(SHAPES[n]) for n in SHAPES}


def load(path):
    return interop.load(path, LAYER, (2, 2, 1), lambda _: NAMES)


# ---------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".PTH", ".pth.tar", ".ckpt", ".bin", ".safetensors"])
def test_checkpoints_of_wrapped_networks_load(prefix, suffix, tmp_path, torch):
    path, stored = tmp_path / f"x{suffix}", tensors(torch, prefix)
    if suffix == ".safetensors":
        interop.write_safetensors(path, {name: value.numpy() for name, value in stored.items()})
    else:
        torch.save(stored, path)
    assert {*interop.read(path)} == {*stored}
    params, _ = load(path)
    np.testing.assert_array_equal(params["b"]["kernel"], np.arange(6.0).reshape(2, 3).T)


def test_every_suffix_has_a_reader_and_a_test():
    tested = {".pth", ".pt", ".pth.tar", ".ckpt", ".bin", ".safetensors"}
    assert {*files.SUFFIXES} == tested | {".pt.tar"} | {*files.KERAS}


def test_one_compiled_part_and_a_network_whose_own_names_have_the_prefix(tmp_path, torch):
    stored = {name.replace("second.", "second._orig_mod."): value for name, value in tensors(torch).items()}
    torch.save(stored, tmp_path / "part.pt")
    assert load(tmp_path / "part.pt")[0]["b"]["bias"].shape == (2,)
    torch.save(tensors(torch, "module."), tmp_path / "own.pt")
    names = {path: f"module.{name}" for path, name in NAMES.items()}
    assert interop.load(tmp_path / "own.pt", LAYER, (2, 2, 1), lambda _: names)[0]["a"]["bias"].shape == (3,)


def test_another_prefix_is_hinted_at(tmp_path, torch):
    torch.save(tensors(torch, "backbone."), tmp_path / "x.pt")
    with pytest.raises(interop.Mismatch, match=r"x\.pt: .*; without the prefix 'backbone\.' the names .* would match"):
        load(tmp_path / "x.pt")
    names = {path: f"net.{name}" for path, name in NAMES.items()}
    torch.save(tensors(torch), tmp_path / "x.pt")
    with pytest.raises(interop.Mismatch, match=r"with the prefix 'net\.' the names in the file would match"):
        interop.load(tmp_path / "x.pt", LAYER, (2, 2, 1), lambda _: names)


WRAPPED = {
    **{key: lambda one, key=key: {key: one, "epoch": 3} for key in torchfiles.WRAPPERS},
    "alone, under any key": lambda one: {"net": one, "step": 1, "note": "x"},
    "beside an average": lambda one: {"model": one, "model_ema": one},
    "beside the optimizer": lambda one: {"model": one, "optimizer": {"state": {0: one}, "param_groups": [{"lr": 0.1}]}},
}


@pytest.mark.parametrize("case", WRAPPED)
def test_the_model_of_a_checkpoint_is_found(case, tmp_path, torch):
    torch.save(WRAPPED[case](tensors(torch)), tmp_path / "x.pt")
    assert load(tmp_path / "x.pt")[0]["a"]["kernel"].shape == (4, 3)


NO_MODEL = {
    "two": (lambda one: {"model": one, "state_dict": one}, "holds several dicts of tensors, 'model', 'state_dict'"),
    "two others": (lambda one: {"x": one, "y": one}, "holds several dicts of tensors, 'x', 'y'"),
    "an epoch": (lambda one: one | {"epoch": 3}, "holds a int under 'epoch'; expected a dict of tensors by name"),
    "a number": (lambda one: {1: one["first.bias"]}, "names a tensor by 1; expected a dict of tensors by name"),
    "nothing": (lambda one: {}, "is empty; expected a dict of tensors by name, or one under 'state_dict' or"),
    "a list": (lambda one: list(one.values()), "holds a list; expected a dict of tensors by name"),
    "a tensor": (lambda one: one["first.bias"], "holds a Tensor; expected a dict of tensors by name"),
}


@pytest.mark.parametrize("case", NO_MODEL)
def test_a_file_without_one_dict_of_tensors_says_what_it_holds(case, tmp_path, torch):
    make, said = NO_MODEL[case]
    torch.save(make(tensors(torch)), tmp_path / "x.pt")
    with pytest.raises(ValueError, match=rf"x\.pt: {said}"):
        interop.read(tmp_path / "x.pt")


EIGHT = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")


@pytest.mark.filterwarnings("ignore")  # torch's, of rare kinds
def test_every_kind_of_tensor_is_read_bit_for_bit_or_named(tmp_path, torch):
    dtypes = {
        str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)
    }
    read, refused = set(), set()
    for name, dtype in dtypes.items():
        try:
            value = torch.arange(16, dtype=torch.uint8).repeat(16).view(dtype)
            torch.save({"x": value}, tmp_path / "x.pt")
        except (
            RuntimeError,
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
        ):  # torch has no such tensors, or none to save
            continue
        try:
            found = interop.read(tmp_path / "x.pt")["x"]
        except ValueError as error:
            assert str(error).startswith(f"{tmp_path / 'x.pt'}: ")  # noqa: PT017
            refused.add(name)
            continue
        read.add(name)
        assert found.dtype == (jnp.float32 if name == "bfloat16" else jnp.dtype(name))
        if name != "bfloat16":
            assert found.tobytes() == bytes(range(16)) * 16
    assert read >= {*EIGHT, "bfloat16", "float16", "float32", "float64", "int64", "uint8", "complex64", "bool"}
    assert not read & refused


TENSORS = {
    "that require a gradient": (lambda torch, x: x.requires_grad_(), ""),
    "parameters": (lambda torch, x: torch.nn.Parameter(x), ""),
    "conjugated": (lambda torch, x: torch.complex(x, x).conj(), ""),
    "a view": (lambda torch, x: x.T[:2], ""),
    "expanded": (lambda torch, x: x[0, 0].expand(3, 2), ""),
    "sparse": (lambda torch, x: x.to_sparse(), "x is sparse_coo; expected a dense tensor"),
    "compressed": (lambda torch, x: x.to_sparse_csr(), "x is sparse_csr; expected a dense tensor"),
    "on the meta device": (lambda torch, x: x.to("meta"), "x is float32 on the device meta; expected a dense tensor"),
    "quantized": (lambda torch, x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "x is qint8; expected a dense"),
    "endless": (lambda torch, x: x[0, 0].expand(1 << 20, 1 << 20), "tensors claim 4,398,046,511,104 bytes, far more"),
}


@pytest.mark.filterwarnings("ignore")  # torch's, of beta features
@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_numpy_does_not_take_are_read_or_named(case, tmp_path, torch):
    make, said = TENSORS[case]
    value = make(torch, torch.arange(6.0).reshape(2, 3))
    torch.save({"x": value}, tmp_path / "x.pt")
    if said:
        with pytest.raises(ValueError, match=rf"x\.pt: (its )?{said}"):
            interop.read(tmp_path / "x.pt")
    else:
        expected = value.detach().resolve_conj().numpy()
        np.testing.assert_array_equal(interop.read(tmp_path / "x.pt")["x"], expected)


# ---------------------------------------------------------------- false claims and damage


def hdf5(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def lazy(file):
    file.create_dataset("layers/dense/vars/0", (1 << 18, 1 << 17), "f4", chunks=(1024, 1024))


def doubled(file):
    """Forty groups, each linked twice from the one before: 2⁴⁰ paths."""
    group = file.create_group("layers")
    for _ in range(40):
        below = group.create_group("a")
        group["b"] = below
        group = below


def circle(file):
    file["layers/x"] = file.create_group("layers/y")
    file["layers/y/z"] = file["layers"]


def listed(**attributes):
    def fill(file):
        group = file.create_group("d")
        group["kernel"] = np.ones(2)
        file.attrs["layer_names"], group.attrs["weight_names"] = ["d"], ["kernel"]
        for name, value in attributes.items():
            (file if name in ("layer_names", "model_config") else group).attrs[name] = value

    return fill


def named_type(file):
    file["layers/dense/vars/0"] = np.dtype("f4")


def texts(file):
    file["layers/dense/vars/0"], file["layers/dense/vars/1"] = "text", np.ones(2)


HDF5 = {
    "a lazy array": (lazy, "its arrays claim 137,438,953,472 bytes, far more than the file has"),
    "2**40 paths": (doubled, "is another name of a group, which is not followed"),
    "a circle": (circle, "is another name of a group, which is not followed"),
    "a type": (named_type, "/layers/dense/vars/0 is a Datatype, neither a group nor an array"),
    "a text": (texts, r"dense/vars/0 is (object|\|S4); expected numbers"),
    "names that are numbers": (listed(layer_names=3), "is not a complete HDF5 file of Keras weights"),
    "names that are no arrays": (listed(weight_names=["nothing"]), "is not a complete HDF5 file"),
    "a config that is a number": (listed(model_config=3), "its model_config is not JSON"),
    "a deep config": (listed(model_config="[" * 50_000), "is not a complete HDF5 file|its model_config is not JSON"),
    "no names": (lambda file: file.attrs.update(layer_names=["d"]), "is not a complete HDF5 file"),
}


@pytest.mark.process
@pytest.mark.parametrize("case", HDF5)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_keras_files_that_claim_too_much_or_hold_something_else_are_named(case, suffix, tmp_path):
    fill, said = HDF5[case]
    path = hdf5(tmp_path / "x.h5", fill)
    if suffix == ".keras":
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
            archive.write(path, "model.weights.h5")
        path = tmp_path / "x.keras"
    with pytest.raises(ValueError, match=rf"x{suffix}: .*({said})") as caught:
        interop.read(path)
    assert "\n" not in str(caught.value)


def archive_of(path, *, config="{}", weights=b"x", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model.weights.h5", weights)
        archive.writestr("config.json", config)
    return path


def with_flag(path):
    """Say of all members that they are encrypted."""
    content = bytearray(archive_of(path).read_bytes())
    for start, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = content.find(start)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(start, place + 1)
    path.write_bytes(bytes(content))


KERAS_ARCHIVES = {
    "a bomb": lambda path: archive_of(path, weights=bytes(80 << 20), compression=zipfile.ZIP_DEFLATED),
    "a deep config": lambda path: archive_of(path, config="[" * 100_000),
    "a config that is no text": lambda path: archive_of(path, config=b"\xff\xfe\xff"),
    "encrypted": with_flag,
}


@pytest.mark.parametrize("case", KERAS_ARCHIVES)
def test_hostile_archives_of_keras_are_named(case, tmp_path):
    KERAS_ARCHIVES[case](tmp_path / "x.keras")
    with pytest.raises(
        ValueError, match=r"x\.keras: (is not a complete Keras archive|model\.weights\.h5 claims 83,886,080)"
    ):
        interop.read(tmp_path / "x.keras")


def safetensors_of(path):
    interop.write_safetensors(path, {"a": np.ones((2, 3), np.float32), "b": np.arange(3)})


def pth_of(path):
    path.write_bytes((GOLDEN / "torch_model.pth").read_bytes())


def keras_of(path):
    path.write_bytes((GOLDEN / "keras_model.keras").read_bytes())


def h5_of(path):
    path.write_bytes((GOLDEN / "keras_model.weights.h5").read_bytes())


# mutants of each kind; one of HDF5 starts a process
MUTATED = {".safetensors": (safetensors_of, 300), ".pth": (pth_of, 40), ".keras": (keras_of, 20), ".h5": (h5_of, 20)}


@pytest.mark.process
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", MUTATED)
def test_mutated_files_are_read_or_named(suffix, tmp_path):
    write, count = MUTATED[suffix]
    if suffix == ".pth":
        pytest.importorskip("torch", reason="reading .pth needs PyTorch")
    path, random = tmp_path / f"x{suffix}", np.random.default_rng(3)
    write(path)
    good = np.frombuffer(path.read_bytes(), np.uint8)
    size = len(good) if suffix != ".keras" else 400  # of the first member's header and superblock
    for _ in range(count):
        bad = good.copy()
        if suffix == ".keras":
            bad[len(bad) - 1 - random.integers(0, size, 3)] = random.integers(0, 256, 3)  # the archive's directory
        else:
            bad[random.integers(0, size, 2)] = random.integers(0, 256, 2)
        path.write_bytes(bad.tobytes())
        try:
            interop.read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017


CHILDREN = {
    "hangs": ("import time; time.sleep(60)", "libhdf5 did not return within 0 seconds"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", "libhdf5 ended with SIGSEGV"),
    "fills the memory": ("raise MemoryError", "MemoryError"),
}


@pytest.mark.process
@pytest.mark.parametrize("case", CHILDREN)
def test_a_library_that_does_not_survive_a_file_is_no_end_of_the_program(case, tmp_path, monkeypatch):
    program, said = CHILDREN[case]
    (tmp_path / "child.py").write_text(program)
    monkeypatch.setattr(hdf5files, "_CHILD", tmp_path / "child.py")
    monkeypatch.setattr(hdf5files, "SECONDS", 0.4 if case == "hangs" else 60.0)
    h5_of(tmp_path / "x.h5")
    with pytest.raises(ValueError, match=rf"x\.h5: is not a complete HDF5 file of Keras weights \(.*{said}") as caught:
        interop.read(tmp_path / "x.h5")
    assert "\n" not in str(caught.value)


@pytest.mark.process
def test_the_memory_of_the_reader_is_bounded(tmp_path, monkeypatch):
    """An array whose chunks are missing takes no space in the file; reading it would fill them in."""
    path = hdf5(
        tmp_path / "x.h5", lambda file: file.create_dataset("layers/dense/vars/0", (1 << 32,), "i1", chunks=(1 << 20,))
    )
    child = tmp_path / "child.py"
    source = hdf5files._CHILD.read_text()
    child.write_text(source.replace("claimed > max(", "claimed < 0 * max("))
    assert child.read_text() != source
    monkeypatch.setattr(hdf5files, "_CHILD", child)
    with pytest.raises(
        ValueError, match=r"x\.h5: is not a complete HDF5 file of Keras weights \(.*(allocate|Memory|memory)"
    ):
        interop.read(path)


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_what_is_no_file_is_never_opened(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    for make, said in (
        (os.mkfifo, "is a pipe"),
        (os.mkdir, "is a folder"),
        (lambda p: p.symlink_to("no"), "link to noth"),
    ):
        make(path)
        with pytest.raises(ValueError, match=rf"x{suffix}: .*{said}"):
            interop.read(path)
        path.rmdir() if path.is_dir() else path.unlink()


# ---------------------------------------------------------------- writing


def cached(path):
    pixels = np.zeros((1, 2, 2, 1), np.uint8)
    with pytest.warns(RuntimeWarning, match="could not be cached in .*No space left"):
        decoded.store(path, "f", data.from_arrays(pixels, [0]))
    raise OSError(errno.ENOSPC, "No space left on device", str(path))  # a cache is optional, so it warns


WRITERS = {
    "safetensors": lambda path: interop.write_safetensors(path, {"a": np.ones(3)}),
    "save": lambda path: interop.save(path, {"a": jnp.ones(3)}, {}),
    "keras": lambda path: interop.write_keras(path.with_suffix(".h5"), {"a/kernel": np.ones(3)}),
    "json": lambda path: records.write_json(path, {"a": 1}),
    "arrays": lambda path: records.write_arrays(path, {"a": np.ones(3)}),
    "text": lambda path: disk.write_whole(path, "text"),
    "cache": cached,
}


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(writer, moment, tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "x.h5"
    path.write_bytes(b"old")
    monkeypatch.setattr(*((os, "fsync", full) if moment == "fsync" else (pathlib.Path, "replace", full)))
    with pytest.raises(OSError, match=r"No space left on device.*x\.h5") as caught:
        WRITERS[writer](path)
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("x.h5", b"old")]


# ---------------------------------------------------------------- documentation


@pytest.mark.slow
def test_the_examples_of_the_package_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = lambda: models.resnet50(3, depths=(1, 1, 1, 1), width=1 / 16)
    params, state = small().init(jax.random.key(0), (224, 224, 3))
    theirs = interop.to_torch(small(), params, state, (224, 224, 3), interop.torchvision.resnet)
    interop.write_safetensors("resnet50.safetensors", theirs)
    lines = [line.strip() for line in interop.__doc__.splitlines() if line.startswith("    ")]
    assert len(lines) >= 4
    names = {"interop": interop, "models": types.SimpleNamespace(resnet50=small)}
    for line in lines:
        exec(line, names)
    again = interop.read("theirs.safetensors")
    assert {name: array.shape for name, array in again.items()} == {name: a.shape for name, a in theirs.items()}


def test_channels_first_is_said_where_weights_do_not_fit(tmp_path):
    interop.write_safetensors(tmp_path / "x.safetensors", {"a": np.ones(2)})
    with pytest.raises(ValueError, match=r"in_shape=\(3, 32, 32\): channels come last here: \(32, 32, 3\)"):
        interop.load(tmp_path / "x.safetensors", LAYER, (3, 32, 32), lambda _: NAMES)


def test_numbers_in_headers_are_not_believed(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(ValueError, match=r"x\.safetensors: is not a complete safetensors file"):
        interop.read(tmp_path / "x.safetensors")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match=r"x\.safetensors: is not a complete safetensors file"):
        interop.read(tmp_path / "x.safetensors")
