"""`experiments.export`: the files give the network's outputs again, without jaxdl where they promise it, and a card."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import flax.serialization
import jax
import numpy as np
import pytest
from jax import export as jax_export
from markdown_it import MarkdownIt

from experiments import cards, export
from jaxdl import data, interop, models, nn, runs
from jaxdl.kernels.native import calls
from tests import zoo

OLD = pathlib.Path(__file__).parents[1] / "old_runs" / "train_cnn"
HOSTILE = "<script>x</script> [a](http://x) ``` | \x1b[31m\u202e"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the export of a run of random weights, its layer with variables, and raw images with their outputs."""
    folder, layer = tmp_path_factory.mktemp("export") / "run", models.tiny_cnn(3)
    folder.mkdir()
    params, state = layer.init(jax.random.key(1), (8, 8, 1))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
    preprocessing = data.fit_normalization(images, 255.0)
    (folder / "config.json").write_text(json.dumps({"model": "tiny_cnn", "optimizer": ["jaxdl.sgd"]}))
    runs.write_preprocessing(folder, preprocessing, (8, 8, 1), ("a", "b", "c"))
    runs.save_final(folder, "jaxdl.sgd", 1, params, state)
    assert export.main([str(folder), "--format", "stablehlo", "safetensors", "linen"]) == 0
    normalized = data.normalize(images, preprocessing)
    outputs = np.asarray(jax.jit(layer.apply)(params, state, normalized)[0])
    return folder / "export" / "jaxdl.sgd", layer, (params, state), images, np.asarray(normalized), outputs


def blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.S)


@pytest.mark.process
def test_the_program_runs_where_there_is_jax_alone(exported, tmp_path):
    out, *_, images, _, outputs = exported
    np.save(tmp_path / "images.npy", images)
    code, *_ = blocks((out / cards.FILE).read_text())
    blocked = ("jaxdl", "flax", "optax", "onednn", "orbax", "safetensors")
    text = "\n".join([
        f"import sys\nsys.modules.update(dict.fromkeys({blocked}))",
        f"import numpy as np\nimages = np.load({str(tmp_path / 'images.npy')!r})",
        code,
        f"np.save({str(tmp_path / 'outputs.npy')!r}, outputs)",
        "assert network.call(images[:2]).shape == (2, 3), 'any number of images'",
    ])  # fmt: skip
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), outputs, rtol=1e-5, atol=1e-5)


def test_the_program_is_for_cpu_and_cuda_and_calls_no_code_of_ours(exported):
    out, *_ = exported
    network = jax_export.deserialize(bytearray((out / "model.stablehlo").read_bytes()))
    assert network.platforms == ("cpu", "cuda")
    assert calls.TARGET not in network.mlir_module()
    assert network.in_avals[0].shape[1:] == (8, 8, 1)


@pytest.mark.parametrize("number", [1, 2])
def test_the_other_files_give_the_outputs_by_the_code_of_the_card(exported, number, monkeypatch):
    out, _, (params, state), _, normalized, outputs = exported
    monkeypatch.chdir(out)
    names = {"normalized_images": normalized}
    exec(compile(blocks((out / cards.FILE).read_text())[number], "card", "exec"), names)
    np.testing.assert_allclose(names["outputs"], outputs, rtol=1e-5, atol=1e-5)
    if number == 1:
        jax.tree.map(np.testing.assert_array_equal, (names["params"], names["state"]), (params, state))


def test_a_batch_size_can_be_fixed_and_must_be_where_the_network_needs_it(exported):
    _, layer, (params, state), *_ = exported
    run = runs.Run(layer, params, state, data.no_normalization(1, 1.0), (8, 8, 1), ("a",), {"model": "x"}, "jaxdl.sgd")
    assert export.program(run, 4).in_avals[0].shape == (4, 8, 8, 1)
    fixed = run._replace(layer=nn.serial(flat=lambda x: x.reshape(len(x), -1), fc=nn.Dense(2)))
    params, state = fixed.layer.init(jax.random.key(0), (8, 8, 1))
    fixed = fixed._replace(params=params, state=state)
    with pytest.raises(ValueError, match="batch_size=0: the network 'x' cannot be written for any number of images"):
        export.program(fixed, 0)
    assert export.program(fixed, 4).out_avals[0].shape == (4, 2)


def test_the_card_has_the_scores_of_the_run(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(OLD, folder)
    assert export.main([str(folder), "--format", "safetensors"]) == 0
    out = folder / "export" / "jaxdl.sgd"
    text = (out / cards.FILE).read_text()
    found = np.load(OLD / "predictions.npz")
    hits = (found["probabilities_0"].argmax(1) == found["labels"])[found["labels"] == 3]
    row = next(line for line in text.splitlines() if line.startswith("| 3 | ") and line.count("|") == 6)
    assert row.split(" | ")[1::2] == [f"{len(hits)}", f"{100 * hits.mean():.2f}"]
    assert "Test accuracy 85.79 % (95 % interval 81.80 to 89.03 %, Wilson) on 359 images" in text
    assert [path.name for path in sorted(out.iterdir())] == ["README.md", "model.safetensors"]
    params, _ = interop.load(out / "model.safetensors", models.softmax_regression(10), (8, 8, 1))
    assert sum(map(np.size, jax.tree.leaves(params))) == 650


def test_names_from_a_stranger_stay_text_and_their_code_is_not_called(tmp_path, run):
    folder = tmp_path / "run"
    shutil.copytree(OLD, folder)
    about = json.loads((folder / "preprocessing.json").read_text())
    about["classes"] = [f"{i} {HOSTILE}" for i in range(10)]
    (folder / "preprocessing.json").write_text(json.dumps(about))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["command"], manifest["data"]["name"] = HOSTILE, HOSTILE
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run(export.main, folder, "--format", "safetensors")[0] == 0
    text = (folder / "export" / "jaxdl.sgd" / cards.FILE).read_text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    kinds = {one.type for token in tokens for one in (token, *(token.children or []))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model": "os:getcwd"}))
    code, _, err = run(export.main, folder)
    assert code == 2
    assert "names code from outside of jaxdl" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch-size", -1], "batch_size=-1 is not allowed: it must be at least 0"),
        (["--optimizer", "optax.adam"], "optimizer='optax.adam' is not in this run; it has jaxdl.sgd"),
    ],
)
def test_odd_options_get_one_line(run, options, said):
    code, _, err = run(export.main, OLD, *options)
    assert code == 2
    assert said in err


def test_linen_variables_are_those_of_the_module(exported):
    out, layer, (params, state), *_ = exported
    variables = flax.serialization.msgpack_restore((out / "linen.msgpack").read_bytes())
    wanted = interop.to_linen(layer).init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    assert jax.tree.structure(variables) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, variables, {"params": params, "batch_stats": state})


@pytest.mark.parametrize("name", ["vit", "capsnet", "densenet_bc", "resnet50 preactivation", "mobilenet"])
def test_networks_take_a_symbolic_number_of_images(name):
    layer, in_shape = zoo.tiny(name)
    variables = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))
    images = jax.ShapeDtypeStruct((export.any_number(), *in_shape), np.float32)
    outputs = jax.eval_shape(lambda variables, x: layer.apply(*variables, x)[0], variables, images)
    assert str(jax.tree.leaves(outputs)[0].shape[0]) == "n"
