"""Weights of other frameworks: logits, names at full size and files; flax modules as layers and back.

Expected numbers come from torchvision and Keras (`golden/make_weights.py`) or from flax itself.
"""

import functools
import gzip
import importlib.util
import json
import pathlib
import re
import shutil
import sys
import types
import zipfile

import h5py
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from flax import linen

from jaxdl import data, interop, models, nn, optimizers, runs, training
from jaxdl.interop import keras, torchvision

GOLDEN = pathlib.Path(__file__).parent / "golden"
STORED = np.load(GOLDEN / "weights.npz")
_spec = importlib.util.spec_from_file_location("weights", GOLDEN / "weights.py")
_weights = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_weights)
draw, images = _weights.draw, _weights.images


# ---------------------------------------------------------------- the same logits as the source

SMALL = {
    "torch.vgg11": (functools.partial(models.vgg11, width=1 / 32), torchvision.vgg, 224),
    "torch.vgg11_bn": (functools.partial(models.vgg11, width=1 / 32, batch_norm=True), torchvision.vgg, 224),
    "torch.resnet_basic": (
        functools.partial(models.resnet18, depths=(2, 1, 1, 1), width=1 / 8), torchvision.resnet, 64,
    ),
    "torch.resnet_bottleneck": (
        functools.partial(models.resnet50, depths=(2, 1, 1, 1), width=1 / 8), torchvision.resnet, 64,
    ),
    "keras.vgg16": (functools.partial(models.vgg16, width=1 / 32), keras.vgg, 32),
    "keras.resnet": (
        functools.partial(models.resnet50, depths=(2, 1, 1, 1), width=1 / 16, variant="keras"), keras.resnet, 64,
    ),
    "torch.alexnet": (functools.partial(models.alexnet, width=1 / 16), torchvision.alexnet, 224),
    "torch.googlenet": (
        functools.partial(models.googlenet, variant="torch", auxiliary=True, width=1 / 8), torchvision.googlenet, 224,
    ),
    "torch.densenet": (
        functools.partial(models.densenet121, depths=(2, 2, 1, 1), growth=8), torchvision.densenet, 64,
    ),
    "keras.densenet": (
        functools.partial(models.densenet121, depths=(2, 2, 1, 1), growth=8, variant="keras"), keras.densenet, 64,
    ),
}  # fmt: skip


def small(case):
    """Return the network, its in_shape, the naming, and the tensors drawn by their names."""
    make, names, size = SMALL[case]
    shapes = json.loads(bytes(STORED[f"{case}.shapes"]))
    tensors = {name: draw(name, tuple(shape)) if shape else np.array(0) for name, shape in shapes.items()}
    return make(10), (size, size, 3), names, tensors


def functions(case):
    return (
        (interop.from_torch, interop.to_torch) if case.startswith("torch") else (interop.from_keras, interop.to_keras)
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", SMALL)
def test_logits_are_those_of_the_source_and_the_export_goes_back(case):
    layer, in_shape, names, tensors = small(case)
    load, export = functions(case)
    params, state = load(tensors, layer, in_shape, names)
    logits, _ = jax.jit(layer.apply)(params, state, images(in_shape[0]))
    expected = STORED[f"{case}.logits"]
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    back = export(layer, params, state, in_shape, names)
    assert set(back) == {name for name in tensors if not name.endswith("num_batches_tracked")}
    for name, array in back.items():
        np.testing.assert_array_equal(array, tensors[name], name)


# ---------------------------------------------------------------- names and shapes at full size

FULL = json.loads(gzip.decompress((GOLDEN / "weights_names.json.gz").read_bytes()))
OPTIONS = {"googlenet": {"variant": "torch", "auxiliary": True}}
OPTIONS |= {f"vgg{depth}_bn": {"batch_norm": True} for depth in (11, 13, 16, 19)}


DEEP = pytest.mark.slow  # tracing the deepest of them takes longest


@pytest.mark.parametrize("case", [pytest.param(n, marks=DEEP) if re.search("(?i)densenet|152", n) else n for n in FULL])
def test_names_and_shapes_at_full_size(case, monkeypatch):
    """This holds for every full network that torchvision or Keras has, too."""
    # tracing hundreds of layers takes twice as long with checked annotations, which the small networks have tried
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    source, name = case.split(".")
    options = OPTIONS.get(name, {})
    if source == "keras" and not name.startswith("VGG"):
        options = {"variant": "keras"}
    layer, in_shape = getattr(models, name.lower().removesuffix("_bn"))(**options), (224, 224, 3)
    names = getattr(
        torchvision if source == "torch" else keras, re.match("[a-z]+", name.lower())[0].removesuffix("_bn")
    )
    params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))
    export = functions(case)[1]
    exported = jax.eval_shape(lambda p, s: export(layer, p, s, in_shape, names), params, state)
    found = {name: list(array.shape) for name, array in exported.items()}
    assert found == {name: shape for name, shape in FULL[case].items() if not name.endswith("num_batches_tracked")}


def test_every_full_network_of_torchvision_and_keras_is_among_them():
    families = [name for name in models.__all__ if re.fullmatch(r"alexnet|googlenet|(vgg|resnet|densenet)\d+", name)]
    of_cifar = {"resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "densenet40"}
    in_torch = {f"torch.{name}" for name in set(families) - of_cifar}
    assert in_torch | {f"torch.vgg{depth}_bn" for depth in (11, 13, 16, 19)} == {
        n for n in FULL if n.startswith("torch.")
    }
    lacking = {"alexnet", "googlenet", "vgg11", "vgg13", "resnet18", "resnet34", "densenet161"}  # not in keras
    in_keras = {f"keras.{name}" for name in set(families) - of_cifar - lacking}
    assert in_keras == {name.lower() for name in FULL if name.startswith("keras.")}


def test_a_network_of_another_family_is_named():
    with pytest.raises(ValueError, match=r"layer: expected ResNet of jaxdl.models; got .* conv1_1, conv2_1"):
        torchvision.resnet(models.vgg11())
    with pytest.raises(ValueError, match=r"expected VGG without batch norm .*norm1_1"):
        keras.vgg(models.vgg11(batch_norm=True))
    with pytest.raises(ValueError, match="expected ResNet"):
        torchvision.resnet(models.plain18())


def test_weights_of_another_architecture_are_listed_in_full():
    layer, in_shape, names, tensors = small("torch.resnet_basic")
    tensors["extra.weight"] = tensors.pop("fc.bias")
    tensors["conv1.weight"] = tensors["conv1.weight"][:, :2]
    with pytest.raises(interop.Mismatch) as caught:
        interop.from_torch(tensors, layer, in_shape, names)
    assert caught.value.missing == ["fc.bias"]
    assert caught.value.unexpected == ["extra.weight"]
    assert caught.value.shapes == {"conv1.weight": ((8, 2, 7, 7), (8, 3, 7, 7))}
    assert str(caught.value) == (
        "weights of another architecture; 1 not in the weights: fc.bias; 1 not in the network: extra.weight; "
        "1 of another shape: conv1.weight is (8, 2, 7, 7), expected (8, 3, 7, 7)"
    )
    with pytest.raises(interop.Mismatch, match=r"not in the weights: .*, ... and .* more; .* not in the network: "):
        interop.from_torch(tensors, models.vgg11(10), (224, 224, 3), torchvision.vgg)


def test_a_naming_that_leaves_something_out_is_no_mismatch_of_the_file():
    layer, in_shape = nn.serial(a=nn.Dense(2), b=nn.Dense(2)), (3,)
    with pytest.raises(ValueError, match=r"names: must cover the network, but leave out .*'b'"):
        interop.from_torch({"x.weight": np.ones((2, 3)), "x.bias": np.ones(2)}, layer, in_shape, lambda _: {"a": "x"})


PARTS = nn.serial(block=nn.serial(conv=nn.Conv(2, 3), relu=jax.nn.relu), flat=nn.flatten, fc=nn.Dense(3))
OF_PARTS = {"block/conv": "features.0", "fc": "classifier"}


def test_a_dict_of_names_is_a_function_of_the_layer_that_returns_it():
    params, state = PARTS.init(jax.random.key(0), (4, 4, 1))
    expected = {
        "features.0.weight": np.transpose(params["block"]["conv"]["kernel"], (3, 2, 0, 1)),
        "features.0.bias": params["block"]["conv"]["bias"],
        "classifier.weight": np.transpose(np.reshape(params["fc"]["kernel"], (4, 4, 2, 3)), (3, 2, 0, 1)).reshape(
            3, -1
        ),
        "classifier.bias": params["fc"]["bias"],
    }
    for names in (OF_PARTS, lambda layer: OF_PARTS):
        written = interop.to_torch(PARTS, params, state, (4, 4, 1), names)
        assert set(written) == set(expected)
        jax.tree.map(np.testing.assert_array_equal, written, expected)
        again = interop.from_torch(written, PARTS, (4, 4, 1), names)
        jax.tree.map(np.testing.assert_array_equal, again, (params, state))
        keras_own = interop.to_keras(PARTS, params, state, (4, 4, 1), names)
        assert set(keras_own) == {f"{name}/{own}" for name in OF_PARTS.values() for own in ("kernel", "bias")}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"block/convv": "f", "fc": "c"}, r"got 'block/convv', .*nearest: block/conv"),
        ({"features.0": "block/conv", "classifier": "fc"}, "got 'features.0', which does not exist"),
        ({"block": "f", "fc": "c"}, "names: got 'block', whose kind is serial; allowed are paths of conv, dense"),
        ({"block/relu": "f", "fc": "c"}, "names: got 'block/relu', whose kind is relu"),
        ({"fc": "c"}, r"names: must cover the network, but leave out \['params'\]\['block'\]\['conv'\]\['bias'\]"),
        ({"block/conv": "f", "fc": "f"}, "names: give f to more than one path"),
        (lambda layer: "torchvision.resnet", "names: got str, allowed are dicts"),
    ],
)
def test_names_that_are_not_the_networks_lose_no_array_in_silence(names, said):
    params, state = PARTS.init(jax.random.key(0), (4, 4, 1))
    for convert in (interop.to_torch, interop.to_keras):
        with pytest.raises(ValueError, match=said):
            convert(PARTS, params, state, (4, 4, 1), names)


# ---------------------------------------------------------------- files


def variables():
    layer = models.small_cnn(10, widths=(4, 6), hidden=8)
    params, state = layer.init(jax.random.key(0), (8, 8, 1))
    return layer, params, jax.tree.map(lambda leaf: leaf + 0.5, state)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def test_own_weights_go_through_safetensors(tmp_path):
    layer, params, state = variables()
    params["fc2"]["bias"] = params["fc2"]["bias"].astype(jnp.bfloat16)
    interop.save(tmp_path / "mine.safetensors", params, state)
    equal(interop.load(tmp_path / "mine.safetensors", layer, (8, 8, 1)), (params, state))
    assert "params/stage1/conv/kernel" in interop.read(tmp_path / "mine.safetensors")
    with pytest.raises(interop.Mismatch, match=r"mine.safetensors: .*1 of another shape: params/fc1/kernel"):
        interop.load(tmp_path / "mine.safetensors", layer, (16, 16, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


@pytest.mark.process
@pytest.mark.parametrize("case", ["torch.resnet_basic", "keras.resnet"])
def test_a_foreign_file_in_one_call(case, tmp_path):
    layer, in_shape, names, tensors = small(case)
    expected = functions(case)[0](tensors, layer, in_shape, names)
    if case.startswith("torch"):
        interop.write_safetensors(tmp_path / "file.safetensors", tensors, metadata={"format": "pt"})
        equal(interop.load(tmp_path / "file.safetensors", layer, in_shape, names), expected)
    else:
        interop.write_keras(tmp_path / "file.h5", tensors)
        equal(interop.load(tmp_path / "file.h5", layer, in_shape, names), expected)


def drawn(*names):
    shapes = {"conv1_conv/kernel": (3, 3, 3, 4), "predictions/kernel": (144, 3)}
    return {name: draw(name, shapes.get(name, (4,))) for name in names}


@pytest.mark.process
@pytest.mark.parametrize("file", ["keras_model.keras", "keras_model.h5", "keras_model.weights.h5"])
def test_files_that_keras_wrote(file):
    found = interop.read(GOLDEN / file)
    norm = [f"conv1_bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    expected = drawn("conv1_conv/kernel", "conv1_conv/bias", "predictions/kernel", *norm)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.process
def test_keras_1_s_names_are_taken_by_order(tmp_path):
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [b"block1_conv1", b"block1_pool"]
        file.create_group("block1_pool").attrs["weight_names"] = []
        group = file.create_group("block1_conv1")
        group.attrs["weight_names"] = [b"block1_conv1_W_1:0", b"block1_conv1_b_1:0"]
        group["block1_conv1_W_1:0"], group["block1_conv1_b_1:0"] = np.ones((3, 3, 3, 4)), np.zeros(4)
    assert {n: a.shape for n, a in interop.read(tmp_path / "old.h5").items()} == {
        "block1_conv1/kernel": (3, 3, 3, 4), "block1_conv1/bias": (4,),
    }  # fmt: skip


def test_files_that_torch_wrote(tmp_path):
    pytest.importorskip("torch", reason="reading .pth needs PyTorch")
    found = interop.read(GOLDEN / "torch_model.pth")
    assert set(found) == {"features.0.weight", "features.0.bias"}
    np.testing.assert_array_equal(found["features.0.weight"], draw("features.0.weight", (4, 3, 3, 3)))
    evil = tmp_path / "evil.pth"
    touched = tmp_path / "touched"
    pickled(evil, touched)
    with pytest.raises(ValueError, match=r"evil.pth: holds Python objects other than tensors"):
        interop.read(evil)
    assert not touched.exists()
    truncated(GOLDEN / "torch_model.pth", tmp_path / "half.pth")
    with pytest.raises(ValueError, match=r"half.pth: is not a complete PyTorch file"):
        interop.read(tmp_path / "half.pth")


def pickled(path, touched):
    """Write an object that makes a file when it is unpickled."""
    import torch

    class Evil:
        def __reduce__(self):
            return pathlib.Path.touch, (touched,)

    torch.save({"weight": Evil()}, path)


def truncated(source, target):
    content = pathlib.Path(source).read_bytes()
    target.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".keras", ".weights.h5"])
def test_truncated_empty_missing_and_foreign_files_are_named(suffix, tmp_path):
    whole = GOLDEN / f"keras_model{suffix}"
    if suffix == ".safetensors":
        whole = tmp_path / "whole.safetensors"
        interop.write_safetensors(whole, {"a": np.ones(1000, np.float32)})
    truncated(whole, tmp_path / f"half{suffix}")
    (tmp_path / f"empty{suffix}").touch()
    (tmp_path / f"text{suffix}").write_text("<html>" * 1000)
    for name in ("half", "empty", "text"):
        with pytest.raises(ValueError, match=rf"{name}{suffix}: is not a complete"):
            interop.read(tmp_path / f"{name}{suffix}")
    with pytest.raises(ValueError, match=rf"none{suffix}: there is no such file"):
        interop.read(tmp_path / f"none{suffix}")


@pytest.mark.process
def test_other_suffixes_and_other_contents_are_named(tmp_path):
    for missing in ("weights.pkl", "a_run"):  # such as a mistyped folder of a run after --start-from
        with pytest.raises(ValueError, match=f"{missing}: there is no such file"):
            interop.read(tmp_path / missing)
    (tmp_path / "weights.pkl").touch()
    with pytest.raises(ValueError, match=r"weights.pkl: the name ends in '.pkl', allowed are .safetensors"):
        interop.read(tmp_path / "weights.pkl")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.ones(3)
    with pytest.raises(ValueError, match=r"data.h5: is not a Keras weights file; it contains x"):
        interop.read(tmp_path / "data.h5")
    with zipfile.ZipFile(tmp_path / "code.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(ValueError, match=r"code.keras: is not a complete Keras archive with a model.weights.h5"):
        interop.read(tmp_path / "code.keras")
    with pytest.raises(ValueError, match=r"Keras loads by name from files that end in .h5"):
        interop.write_keras(tmp_path / "a.weights.h5", {"a/kernel": np.ones(1)})
    with pytest.raises(ValueError, match="'kernel' is not of the form"):
        interop.write_keras(tmp_path / "a.h5", {"kernel": np.ones(1)})


@pytest.mark.process
@pytest.mark.parametrize("kind", ["soft", "external", "storage"])
def test_links_out_of_a_file_are_not_followed(kind, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    shutil.copy(GOLDEN / "keras_model.h5", tmp_path / "secret.h5")
    with h5py.File(tmp_path / "links.h5", "w") as file:
        group = file.create_group("conv")
        file.attrs["layer_names"], group.attrs["weight_names"] = [b"conv"], [b"kernel"]
        if kind == "soft":
            group["kernel"] = h5py.SoftLink("/conv")
        elif kind == "external":
            group["kernel"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/model_weights")
        else:
            group.create_dataset("kernel", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
    with pytest.raises(ValueError, match=r"links.h5: /conv/kernel (is a link|keeps its values)"):
        interop.read(tmp_path / "links.h5")


# ---------------------------------------------------------------- flax


class Net(linen.Module):
    """A flax module with batch norm and dropout that takes ``train``."""

    num_classes: int

    @linen.compact
    def __call__(self, x, *, train: bool = False):
        x = linen.relu(linen.BatchNorm(use_running_average=not train, momentum=0.9)(linen.Conv(8, (3, 3))(x)))
        x = linen.avg_pool(x, (4, 4), (4, 4)).reshape(x.shape[0], -1)
        return linen.Dense(self.num_classes)(linen.Dropout(0.2, deterministic=not train)(x))


@pytest.mark.slow
def test_a_flax_module_computes_the_same_as_a_layer():
    layer, x = interop.from_linen(Net(3)), jnp.asarray(images(8))
    params, state = layer.init(jax.random.key(0), (8, 8, 3))
    assert set(params) == {"Conv_0", "BatchNorm_0", "Dense_0"}
    assert set(state) == {"batch_stats"}
    assert layer.out_shape((8, 8, 3)) == (3,)
    variables = {"params": params, **state}
    y, same = layer.apply(params, state, x)
    np.testing.assert_array_equal(y, Net(3).apply(variables, x))
    equal(same, state)
    key = jax.random.key(1)
    rngs = {"dropout": jax.random.split(key, 1)[0]}
    expected, changed = Net(3).apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)
    y, moved = layer.apply(params, state, x, train=True, key=key)
    np.testing.assert_array_equal(y, expected)
    equal(moved, changed)


class Inverted(linen.Module):
    """A module without state that takes ``deterministic``, the opposite of ``train``."""

    @linen.compact
    def __call__(self, x, deterministic: bool):
        return linen.Dropout(0.5)(linen.Dense(4)(x), deterministic=deterministic)


class Silent(linen.Module):
    """A module with other names for its mode and its random key."""

    @linen.compact
    def __call__(self, x, learn: bool = False):
        return x + jax.random.normal(self.make_rng("noise"), x.shape) if learn else x


def test_modes_and_keys_by_other_names():
    layer, x = interop.from_linen(Inverted()), jnp.ones((5, 3))
    params, state = layer.init(jax.random.key(0), (3,))
    assert state == {}
    dropped = layer.apply(params, state, x, train=True, key=jax.random.key(1))[0]
    assert 0 < (dropped == 0).mean() < 1
    np.testing.assert_array_equal(layer.apply(params, state, x)[0], Inverted().apply({"params": params}, x, True))
    silent = interop.from_linen(Silent(), mode="learn", rngs=["noise"])
    assert silent.apply({}, {}, x, train=True, key=jax.random.key(0))[0].std() > 0
    np.testing.assert_array_equal(silent.apply({}, {}, x)[0], x)
    with pytest.raises(ValueError, match=r"mode: got 'on', which is no argument .* it takes \['x', 'learn'\]"):
        interop.from_linen(Silent(), mode="on")
    with pytest.raises(ValueError, match=r"module: got type, allowed are instances of flax\.linen\.Module"):
        interop.from_linen(Net)


def test_a_call_that_needs_more_than_a_batch_is_refused_by_what_it_needs():
    class Needing(linen.Module):
        def __call__(self, x, learn, *, mask):
            return x

    with pytest.raises(ValueError, match=r"module: its call needs learn, mask, allowed is one batch, and mode='learn'"):
        interop.from_linen(Needing())


@pytest.mark.parametrize(
    ("name", "in_training"),
    [("is_train", True), ("inference", False), ("eval", False), ("is_eval", False), ("test", False)],
)
def test_the_argument_that_turns_training_on_or_off_is_found(name, in_training):
    source = f"class Told(linen.Module):\n def __call__(self, x, {name}): return told.append({name}) or x"
    exec(source, names := {"linen": linen, "told": (told := [])})
    layer = interop.from_linen(names["Told"]())
    for train in (True, False):
        layer.apply({}, {}, jnp.ones((1, 2)), train=train)
    assert told == [in_training, not in_training]


@pytest.mark.slow
def test_a_flax_module_trains_as_model_of_an_experiment(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(net=Net))
    layer = runs.model("mine:net", 10)
    examples = data.load("digits")
    x, labels = jnp.asarray(examples.images[:64]) / 16, jnp.asarray(examples.labels[:64])
    batch = data.Batch(x, labels, jnp.ones(64), jnp.arange(64))
    optimizer = optimizers.adam(0.01)
    state = training.create(jax.random.key(0), layer, optimizer, (8, 8, 1))
    step = jax.jit(training.train_step(layer, optimizer))
    losses = []
    for _ in range(25):
        state, metrics = step(state, batch, jax.random.key(1))
        losses.append(float(metrics["loss"] / metrics["weight"]))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_a_layer_lives_in_flax_code():
    inner = nn.serial(conv=nn.Conv(4, 3), norm=nn.BatchNorm(), flat=nn.flatten, drop=nn.Dropout(0.5))

    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            return linen.Dense(2)(interop.to_linen(inner)(x, train=train))

    x = jnp.asarray(images(6))
    variables = Outer().init(jax.random.key(0), x)
    own = next(name for name in variables["params"] if name != "Dense_0")
    params, state = variables["params"][own], variables["batch_stats"][own]
    assert jax.tree.structure((params, state)) == jax.tree.structure(
        jax.eval_shape(lambda: inner.init(jax.random.key(0), (6, 6, 3)))
    )
    module = interop.to_linen(inner)
    alone = {"params": params, "batch_stats": state}
    np.testing.assert_array_equal(module.apply(alone, x), inner.apply(params, state, x)[0])
    y, changed = module.apply(alone, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})
    expected = inner.apply(params, state, x, train=True, key=jax.random.key(9))[1]
    equal(changed["batch_stats"], expected)
    assert 0.2 < (y == 0).mean() < 0.8
    with pytest.raises(ValueError, match="Dropout draws at random"):
        module.apply(alone, x, train=True, mutable=["batch_stats"])

    def loss(params, stats, key):
        variables = {"params": params, "batch_stats": stats}
        y, moved = Outer().apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(y, jnp.array([0, 1])).mean(), moved["batch_stats"]

    params, stats, losses = variables["params"], variables["batch_stats"], []
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    for i in range(20):
        (value, stats), grads = step(params, stats, jax.random.key(i))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        losses.append(float(value))
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_there_and_back_again_is_the_same_layer():
    layer, params, state = variables()
    again = interop.from_linen(interop.to_linen(layer))
    x = jnp.ones((2, 8, 8, 1))
    np.testing.assert_array_equal(again.apply(params, {"batch_stats": state}, x)[0], layer.apply(params, state, x)[0])
    shapes = jax.eval_shape(lambda: again.init(jax.random.key(0), (8, 8, 1)))
    assert jax.tree.structure(shapes) == jax.tree.structure((params, {"batch_stats": state}))


def test_a_flax_module_of_tokens_is_a_layer_of_whole_numbers():
    class Tokens(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3)(linen.Embed(9, 4)(x).mean(1))

    layer, x = interop.from_linen(Tokens(), input_dtype=jnp.int32), jnp.array([[1, 2], [8, 0]])
    params, state = layer.init(jax.random.key(0), (2,))
    assert layer.out_shape((2,)) == (3,)
    table, kernel, bias = map(
        np.asarray, (params["Embed_0"]["embedding"], params["Dense_0"]["kernel"], params["Dense_0"]["bias"])
    )
    expected = table[np.asarray(x)].mean(1) @ kernel + bias
    np.testing.assert_allclose(layer.apply(params, state, x)[0], expected, rtol=1e-6, atol=1e-6)
