"""Weights as other programs write them: whole Keras models, and any tree of arrays there and back."""

import gzip
import importlib.util
import json
import pathlib
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import interop, nn, training
from jaxdl.interop import kerasfiles

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
_spec = importlib.util.spec_from_file_location("weights", GOLDEN / "weights.py")
_weights = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_weights)
draw = _weights.draw


# ---------------------------------------------------------------- Keras (3.15.1, golden/make_keras.py)

NESTED = {
    "inner/ca/kernel": (1, 1, 3, 2), "inner/ca/bias": (2,),
    "inner/bn/gamma": (2,), "inner/bn/beta": (2,), "inner/bn/moving_mean": (2,), "inner/bn/moving_variance": (2,),
    "inner/cb/kernel": (1, 1, 2, 2), "inner/cb/bias": (2,),
    "functional/shared/kernel": (4, 4), "functional/shared/bias": (4,),
    "around/ca/kernel": (4, 3), "around/ca/bias": (3,),
    "head/kernel": (3, 2),
}  # fmt: skip
LSTM = {"kernel": (8,), "recurrent_kernel": (2, 8), "bias": (8,)}
RECURRENT = {
    **{
        f"both/{way}_lstm/lstm_cell/{name}": (2, 8) if name == "kernel" else shape
        for way in ("forward", "backward")
        for name, shape in LSTM.items()
    },
    "no_scale/beta": (4,), "no_scale/moving_mean": (4,), "no_scale/moving_variance": (4,),
    "no_offset/gamma": (4,), "no_offset/moving_mean": (4,), "no_offset/moving_variance": (4,),
    "neither/moving_mean": (4,), "neither/moving_variance": (4,),
    "layer_norm/gamma": (4,),
    "gru/gru_cell/kernel": (4, 6), "gru/gru_cell/recurrent_kernel": (2, 6), "gru/gru_cell/bias": (2, 6),
    "plain/simple_rnn_cell/kernel": (2, 2), "plain/simple_rnn_cell/recurrent_kernel": (2, 2),
    "stack/stacked_rnn_cells/first/kernel": (2, 8), "stack/stacked_rnn_cells/first/recurrent_kernel": (2, 8),
    "stack/stacked_rnn_cells/first/bias": (8,), "stack/stacked_rnn_cells/second/kernel": (2, 3),
    "stack/stacked_rnn_cells/second/recurrent_kernel": (1, 3), "stack/stacked_rnn_cells/second/bias": (2, 3),
}  # fmt: skip


def golden(name, folder):
    path = folder / name
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))
    return path


def check(found, shapes):
    assert {name: array.shape for name, array in found.items()} == shapes
    for name, shape in shapes.items():
        np.testing.assert_array_equal(found[name], draw(name, shape), name)


@pytest.mark.process
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_models_within_models_have_every_array_under_its_full_path(suffix, tmp_path):
    found = interop.read(golden(f"keras_nested{suffix}", tmp_path))
    if suffix == ".h5":  # this format stores a shared model at each of its places
        for name in ("kernel", "bias"):
            again = found.pop(f"around/functional/shared/{name}")
            np.testing.assert_array_equal(again, found[f"functional/shared/{name}"])
    check(found, NESTED)


@pytest.mark.process
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_recurrent_layers_and_norms_without_scale_or_offset(suffix, tmp_path):
    check(interop.read(golden(f"keras_recurrent{suffix}", tmp_path)), RECURRENT)


@pytest.mark.process
def test_a_file_that_does_not_say_which_part_of_a_norm_is_missing_is_refused(tmp_path):
    path = golden("keras_recurrent.weights.h5", tmp_path)
    said = r"the norm 'no_scale' has 3 arrays; .* only \.keras and Model\.save\(NAME\.h5\) say"
    with pytest.raises(ValueError, match=rf"{path.name}: {said}"):
        interop.read(path)


@pytest.mark.process
def test_a_net_with_a_model_inside_is_loaded_and_written_as_keras_orders_it(tmp_path):
    inner = nn.serial(ca=nn.Conv(2, 1), bn=nn.BatchNorm(eps=1e-3), cb=nn.Conv(2, 1))
    shared = nn.serial(shared=nn.Dense(4))
    layer = nn.serial(inner=inner, flat=nn.flatten, functional=shared, ca=nn.Dense(3), head=nn.Dense(2, bias=False))
    names = {path: path for path in ("inner/ca", "inner/bn", "inner/cb", "functional/shared", "head")}
    names["ca"] = "around/ca"
    path = golden("keras_nested.weights.h5", tmp_path)
    params, state = interop.load(path, layer, (2, 1, 3), lambda _: names)
    np.testing.assert_array_equal(params["inner"]["cb"]["kernel"], draw("inner/cb/kernel", (1, 1, 2, 2)))
    np.testing.assert_array_equal(state["inner"]["bn"]["var"], draw("inner/bn/moving_variance", (2,)))
    exported = interop.to_keras(layer, params, state, (2, 1, 3), lambda _: names)
    interop.write_keras(tmp_path / "mine.h5", exported)
    check(interop.read(tmp_path / "mine.h5"), NESTED)
    # Keras reads a layer's arrays in order: all trained ones, then the running statistics
    with h5py.File(golden("keras_nested.h5", tmp_path)) as theirs, h5py.File(tmp_path / "mine.h5") as ours:
        listed = theirs["model_weights"]["inner"].attrs["weight_names"].tolist()
        assert ours["inner"].attrs["weight_names"].astype(str).tolist() == [str(name) for name in listed]


def numbered(path, layers):
    """Write a Keras 3 file from {path of groups: (name or None, number of arrays)}."""
    with h5py.File(path, "w") as file:
        for place, (name, number) in layers.items():
            group = file.create_group(f"{place}/vars")
            if name is not None:
                group.attrs["name"] = name
            for i in range(number):
                group[str(i)] = np.full((2, 2), i, np.float32)
    return path


UNKNOWN = {
    "of another class": (
        {"layers/my_layer": ("mine", 2)},
        r"the layer 'mine' \(my_layer\) has 2 numbered arrays; its cl",
    ),
    "with more arrays": ({"layers/dense": ("d", 4)}, r"'d' \(dense\) has 4 numbered arrays; expected kernel, bias"),
    "with fewer": (
        {"layers/lstm/cell": ("lstm_cell", 1)},
        r"'lstm_cell' .* has 1 numbered arrays; expected kernel",
    ),
    "twice": ({"layers/dense": ("d", 2), "layers/dense_1": ("d", 2)}, "two arrays are called d/kernel; give"),
    "of the model": ({"layers/dense": ("d", 2), "": ("m", 1)}, "the model has 1 arrays that belong to no layer"),
    "below a list": ({"layers/list/deep/my_cell": ("c", 3)}, r"the layer 'c' \(my_cell\) has 3 numbered arrays"),
    "norm of one": ({"layers/layer_normalization": ("n", 1)}, "the norm 'n' has 1 arrays; expected gamma, beta"),
}


@pytest.mark.process
@pytest.mark.parametrize("case", UNKNOWN)
def test_arrays_that_cannot_be_named_are_an_error(case, tmp_path):
    layers, said = UNKNOWN[case]
    with pytest.raises(ValueError, match=rf"odd\.weights\.h5: .*{said}"):
        interop.read(numbered(tmp_path / "odd.weights.h5", layers))


@pytest.mark.process
def test_no_array_of_a_file_is_passed_over(tmp_path):
    path = numbered(tmp_path / "odd.weights.h5", {"layers/dense_3": (None, 2), "optimizer": (None, 7)})
    assert {*interop.read(path)} == {"dense_3/kernel", "dense_3/bias"}
    with h5py.File(path, "a") as file:
        file["layers/dense_3/loose"] = np.ones(3)
    with pytest.raises(ValueError, match="the array /layers/dense_3/loose belongs to no layer"):
        interop.read(path)
    with h5py.File(path, "a") as file:
        del file["layers/dense_3/loose"]
        file["layers/dense_3/vars/a"] = np.ones(3)
    with pytest.raises(ValueError, match=r"/layers/dense_3/vars has 0, 1, a; expected 0, 1, 2"):
        interop.read(path)
    listed = golden("keras_nested.h5", tmp_path)
    with h5py.File(listed, "a") as file:
        file["model_weights/head/more"] = np.ones(3)
    with pytest.raises(ValueError, match="the layer 'head' has arrays that its list does not name: more"):
        interop.read(listed)


@pytest.mark.process
def test_the_config_of_an_archive_decides(tmp_path):
    """Two norms have one array each, and config.json alone tells the scale from the offset."""
    norms = {"layers/layer_normalization": ("a", 1), "layers/layer_normalization_1": ("b", 1)}
    weights = numbered(tmp_path / "x.weights.h5", norms).read_bytes()

    def archive(config):
        with zipfile.ZipFile(tmp_path / "x.keras", "w") as file:
            file.writestr("model.weights.h5", weights)
            file.writestr("config.json", config)
        return tmp_path / "x.keras"

    layers = [
        {"class_name": "LayerNormalization", "config": {"name": name, "scale": name == "a", "center": name == "b"}}
        for name in "ab"
    ]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    assert {*interop.read(archive(json.dumps(config)))} == {"a/gamma", "b/beta"}
    layers[0]["config"]["center"] = True
    with pytest.raises(ValueError, match=r"the norm 'a' has 1 arrays; expected gamma, beta$"):
        interop.read(archive(json.dumps(config)))
    with pytest.raises(ValueError, match=r"x\.keras: is not a complete Keras archive"):
        interop.read(archive("{"))


def test_arrays_that_hdf5_or_keras_would_lose_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    for tensors, said in (
        ({"a/b": np.ones(1), "a/b/c": np.ones(1)}, r"'a/b/c' lies within 'a/b'"),
        ({"a/b": jnp.ones(1, jnp.bfloat16)}, r"'a/b' is bfloat16; expected float32"),
        ({"a/b": np.ones(1, complex)}, r"'a/b' is complex128; expected float32"),
    ):
        with pytest.raises(ValueError, match=rf"tensors: {said}"):
            interop.write_keras(path, tensors)
    assert not path.exists()


def test_the_class_of_a_layer_is_spelled_as_keras_spells_it():
    # keras.src.utils.naming.to_snake_case of 3.15.1
    for name, snake in {
        "BatchNormalization": "batch_normalization", "PReLU": "p_re_lu", "Conv2DTranspose": "conv2d_transpose",
        "DepthwiseConv2D": "depthwise_conv2d", "LSTMCell": "lstm_cell", "SimpleRNNCell": "simple_rnn_cell",
        "GRUCell": "gru_cell", "RMSNormalization": "rms_normalization", "EinsumDense": "einsum_dense",
        "SeparableConv1D": "separable_conv1d",
    }.items():  # fmt: skip
        assert kerasfiles._snake(name) == snake
        assert snake in kerasfiles._NAMES or snake in kerasfiles._NORMS


# ---------------------------------------------------------------- any tree of arrays

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "complex64", "bfloat16"]
DTYPES += ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
NOT_STORED = [
    "int4",
    "uint4",
    "float8_e4m3",
    "float8_e3m4",
    "float8_e4m3b11fnuz",
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
]  # safetensors has not
WIDE = ["int64", "uint64", "float64"]  # JAX narrows them


def bits(shape, dtype, seed):
    """Return an array of random bits, with NaNs of all kinds, subnormals and negative zeros."""
    random, dtype = np.random.default_rng(seed), jnp.dtype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    raw = random.integers(0, 256, (int(np.prod(shape)) * dtype.itemsize,), dtype=np.uint8)
    return raw.view(dtype).reshape(shape)


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    array = bits(shape, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**32)))
    return draw(st.sampled_from([lambda a: a, lambda a: a.T, lambda a: a[::-1] if a.ndim else a]))(array)


KEYS = st.text("ab/.", min_size=1, max_size=3) | st.integers(0, 2)
TREES = st.recursive(
    arrays(),
    lambda below: (
        st.dictionaries(KEYS, below, max_size=3).filter(lambda d: len({*map(type, d)}) < 2)  # JAX sorts keys
        | st.lists(below, max_size=2)
        | st.tuples(below)
    ),
    max_leaves=6,
)


def layer_of(params, state):
    """Return a layer whose params and state have these trees."""
    return nn.function(jnp.abs)._replace(init=lambda key, in_shape: jax.tree.map(jnp.zeros_like, (params, state)))


def same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


@settings(max_examples=80, deadline=None, derandomize=True)
@given(params=TREES, state=TREES)
def test_any_tree_of_arrays_comes_back_bit_for_bit_or_is_refused(params, state, tmp_path_factory):
    path = tmp_path_factory.mktemp("tree") / "x.safetensors"
    try:
        interop.save(path, params, state)
    except ValueError as error:
        assert "two leaves have the path" in str(error)  # noqa: PT017
        paths = [jax.tree_util.keystr(p, simple=True, separator="/") for tree in (params, state)
                 for p, _ in jax.tree_util.tree_leaves_with_path(tree)]  # fmt: skip
        assert any("/" in str(p) for p in paths)
        return
    same(interop.load(path, layer_of(params, state), ()), (params, state))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_comes_back_bit_for_bit(dtype, tmp_path):
    tree = {"many": bits((3, 50), dtype, 0), "one": bits((), dtype, 1), "none": bits((0, 2), dtype, 2)}
    interop.save(tmp_path / "x.safetensors", tree, jax.tree.map(jnp.asarray, tree))
    same(interop.load(tmp_path / "x.safetensors", layer_of(tree, tree), ()), (tree, tree))


def test_every_type_of_jax_is_in_one_of_the_lists():
    scalars = {name for name in dir(jnp) if isinstance(getattr(jnp, name), type(jnp.float32))}
    known = {*DTYPES, *NOT_STORED, *WIDE, "bool_", "complex128", "int2", "uint2", "int1", "uint1"}
    known |= {"int_", "uint", "float_", "complex_", "single", "double", "csingle", "cdouble"}  # other names of these
    assert scalars <= known


@pytest.mark.parametrize("dtype", NOT_STORED)
def test_types_that_the_format_has_not_are_named(dtype, tmp_path):
    with pytest.raises(ValueError, match=rf"params/a/b is {dtype}; safetensors supports bool, "):
        interop.save(tmp_path / "x.safetensors", {"a": {"b": np.zeros(2, jnp.dtype(dtype))}}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [*WIDE, ">f4"])
def test_wide_types_are_kept_in_the_file_and_refused_on_loading(dtype, tmp_path):
    value = np.arange(3).astype(dtype)
    interop.save(tmp_path / "x.safetensors", {"a": value}, {})
    stored = interop.read(tmp_path / "x.safetensors")["params/a"]
    np.testing.assert_array_equal(stored, value)
    if dtype == ">f4":
        assert stored.dtype == np.float32
        return
    assert stored.dtype == value.dtype
    with pytest.raises(ValueError, match=rf"x.safetensors: params/a is {dtype}, which JAX narrows unless"):
        interop.load(tmp_path / "x.safetensors", layer_of({"a": np.zeros(3, np.float32)}, {}), ())


REFUSED = {
    "a number": ({"a": 1.5}, "params/a is a float; allowed are arrays"),
    "a string": ({"a": {"b": "x"}}, "params/a/b is a str; allowed are arrays"),
    "a function": ([jnp.ones(1), jnp.sin], "params/1 is a .*; allowed are arrays"),
    "a random key": ({"a": jax.random.key(0)}, "params/a is a random key; jax.random.key_data"),
    "two of one name": ({"a/b": np.ones(1), "a": {"b": np.zeros(1)}}, "two leaves have the path params/a/b"),
    "text": ({"a": np.array(["x"])}, "params/a is <U1; safetensors supports"),
    "objects": ({"a": np.array([None])}, "params/a is object; safetensors supports"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_leaves_that_would_vanish_or_overwrite_one_another_are_named(case, tmp_path):
    tree, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        interop.save(tmp_path / "x.safetensors", tree, {})
    assert not list(tmp_path.iterdir())


def test_safetensors_own_name_and_types_of_others_are_named(tmp_path):
    with pytest.raises(ValueError, match="'__metadata__' is safetensors' own"):
        interop.write_safetensors(tmp_path / "x.safetensors", {"__metadata__": np.ones(1)})
    header = json.dumps({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}).encode()
    (tmp_path / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(3))
    with pytest.raises(ValueError, match=r"odd.safetensors: (a is F6_E2M3; allowed are|is not a complete)"):
        interop.read(tmp_path / "odd.safetensors")


def test_a_checkpoint_keeps_the_same_trees(tmp_path):
    tree = {dtype: [bits((2, 2), dtype, 3), (bits((), dtype, 4), bits((0,), dtype, 5))] for dtype in DTYPES}
    tree |= {"a/b": np.float32([1]), "a": {"b": np.float32([2])}, "key": jax.random.key(7)}
    training.checkpoints.save(tmp_path, 1, jax.tree.map(jnp.asarray, tree), {})
    found = training.checkpoints.restore(tmp_path / "00000001", tree).tree
    key, wanted = found.pop("key"), tree.pop("key")
    assert (jax.random.key_data(key) == jax.random.key_data(wanted)).all()
    same(found, tree)


def test_a_checkpoint_of_two_leaves_that_are_called_alike_is_refused(tmp_path):
    class Alike(str):
        __slots__ = ()

        def __eq__(self, other):
            return self is other

        def __hash__(self):
            return 1

        def __lt__(self, other):
            return id(self) < id(other)

    tree = {Alike("a"): jnp.ones(1), Alike("a"): jnp.zeros(1)}
    with pytest.raises(ValueError, match=r"two leaves have the path \['a'\]"):
        training.checkpoints.save(tmp_path, 1, tree, {})
