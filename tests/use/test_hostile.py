"""Files from strangers: the library opens them and runs nothing in them.

The laws read the sources: every opener that could run code, or that chooses a decoder by content, stands in a named set
with the reason why it is safe.
"""

import ast
import dataclasses
import io
import json
import os
import pathlib
import sys
import tarfile
import types

import jax
import numpy as np
import pytest
from PIL import Image

import jaxdl
from experiments import catalogue, predict, report
from experiments.compare_optimizers import command as compare_optimizers
from experiments.train_cnn import command as train_cnn
from experiments.transfer import command as transfer
from jaxdl import data, nn, runs
from jaxdl.data.reading import pixels
from jaxdl.runs import calling, commandline

ROOT = pathlib.Path(jaxdl.__file__).parents[1]
SOURCES = [path for folder in ("jaxdl", "experiments", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 8 8 rectfill\nshowpage\n%%EOF\n"


# ---------------------------------------------------------------- images


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """Put a program called gs first on the path, and return the file that it makes when it is run."""
    from PIL import EpsImagePlugin

    program, mark = tmp_path / "bin" / "gs", tmp_path / "gs-was-run"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers an earlier search
    return mark


def contents(kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(file, kind)
    return file.getvalue()


def folder_of(tmp_path):
    for name, content in {"a/good.png": contents(), "b/digit.png": POSTSCRIPT}.items():
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(content)
    return tmp_path / "images"


def archive_of(tmp_path):
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(folder_of(tmp_path), "images")
    return tmp_path / "images.tar"


READERS = {
    "folder": lambda tmp_path: data.load(folder_of(tmp_path)),
    "archive": lambda tmp_path: data.load(archive_of(tmp_path)),
    "predict": lambda tmp_path: predict.read_image(folder_of(tmp_path) / "b" / "digit.png", (8, 8, 1), 255.0),
}


@pytest.mark.process
def test_the_file_does_run_a_program_where_pillow_may_choose(tmp_path, ghostscript):
    path = folder_of(tmp_path) / "b" / "digit.png"
    with Image.open(path) as image, pytest.raises(OSError):
        image.load()
    assert ghostscript.exists()


@pytest.mark.parametrize("reader", READERS)
def test_postscript_called_png_is_refused_and_runs_nothing(reader, tmp_path, ghostscript):
    with pytest.raises(ValueError, match=r"digit\.png:? cannot be read as an image of the formats PNG, ") as caught:
        READERS[reader](tmp_path)
    assert "\n" not in str(caught.value)
    assert not ghostscript.exists()


def test_every_format_that_pillow_writes_is_read_or_refused(tmp_path):
    """Pillow chooses its decoder by content, whatever the name of the file."""
    Image.init()
    refused = set()
    for kind in sorted(set(Image.SAVE) - {"PDF"}):  # Pillow writes PDF and cannot open it
        path = tmp_path / "image.png"
        try:
            path.write_bytes(contents(kind))
            Image.open(path).close()
        except (OSError, KeyError, ValueError, DeprecationWarning):  # no grey images, or its library is missing
            continue
        if kind in {*pixels.FORMATS, "MPO"}:
            assert predict.read_image(path, (8, 8, 1), 255.0).shape == (8, 8, 1)
            continue
        with pytest.raises(ValueError, match=r"image\.png: cannot be read as an image of the formats"):
            predict.read_image(path, (8, 8, 1), 255.0)
        refused.add(kind)
    assert "EPS" in refused


# ---------------------------------------------------------------- the sources

OPENED = {
    "jaxdl/data/reading/pixels.py": "formats",
    "benchmarks/streaming.py": "formats",
}  # file -> the keyword that makes Pillow's open safe
WEIGHTS_ONLY = {"jaxdl/interop/torchfiles.py"}
NUMPY = {"benchmarks/determinism.py", "benchmarks/speed/rows.py", "benchmarks/kills.py"}
IMPORTED = {
    "jaxdl/__init__.py": "modules of jaxdl itself, as attributes",
    "jaxdl/runs/calling.py": "package.module:function; one that a run folder names needs trust_run",
    "jaxdl/extras.py": "optional libraries, named in the sources",
    "benchmarks/mutants/making.py": "modules of jaxdl, named in the sources",
    "experiments/catalogue.py": "the experiments themselves, found by their files",
    "experiments/listings/peers.py": "torch and keras, named in the sources",
    "benchmarks/streaming.py": "torch, before its memory is measured",
    "benchmarks/fuzz/child.py": "modules of jaxdl and experiments, named in the sources",
    "benchmarks/on_gpu/parts.py": "modules of benchmarks, named in the sources",
    "benchmarks/speed/alone.py": "modules of benchmarks, named in the sources",
    "docs/make_lectures.py": "modules of jaxdl, named in the sources",
}
COMPILED = {
    "benchmarks/mutants/running.py": "mutants of jaxdl's own sources",
    "docs/make_notebooks.py": "the notebooks of docs/notebooks",
    "docs/make_mistakes.py": "the page's own lines, which raise the messages that it shows",
}


def calls():
    """Yield (file, called name, keywords) for every call in the sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                yield str(path.relative_to(ROOT)), ast.unparse(node.func), keywords


def test_calls_that_could_run_code_stand_in_a_named_set():
    opened, loaded, numpy_loaded, imported, run = {}, set(), set(), set(), set()
    for file, name, keywords in calls():
        first, _, last = name.rpartition(".")
        if last == "open" and first in ("Image", "pillow", "PIL.Image"):
            opened[file] = next((k for k in keywords if k == "formats"), None)
        if name == "torch.load":
            loaded.add(file if keywords.get("weights_only") == "True" else f"{file}: without weights_only")
        if name in ("np.load", "numpy.load", "jnp.load"):
            safe = keywords.get("allow_pickle", "False") == "False"
            numpy_loaded.add(file if safe else f"{file}: with pickles")
        if last in ("import_module", "resolve_name") or name == "__import__":
            imported.add(file)
        runs_code = name in ("eval", "exec", "compile", "os.system", "os.popen", "joblib.load", "yaml.load")
        runs_code |= first in ("pickle", "marshal", "shelve", "dill", "cloudpickle") or "allow_pickle" in keywords
        if runs_code and not (last == "load" and keywords.get("allow_pickle") == "False"):
            run.add(file)
    assert opened == OPENED
    assert loaded == WEIGHTS_ONLY
    assert numpy_loaded == NUMPY
    assert imported == {*IMPORTED}
    assert run == {*COMPILED}


# ---------------------------------------------------------------- run folders


STRANGER = "import pathlib\npathlib.Path(r'{mark}').touch()\ndef net(*args, **kwargs):\n    raise SystemExit(3)\n"
COMMANDS = {  # experiment -> the options of its config that may name functions
    train_cnn: ("dataset", "model", "optimizer", "loss"),
    compare_optimizers: ("problems", "optimizer"),
    transfer: ("source", "different"),
}
SMALL = {
    train_cnn: {"model": "tiny_cnn", "steps_per_call": 1},
    compare_optimizers: {"problems": ("beale",), "optimizer": ("jaxdl.sgd",)},
    transfer: {"source": "digits", "different": "experiments.transfer.patches:photo_patches"},
}
CLAIMS = [catalogue.load(name) for name in catalogue.demonstrations()]
COMMANDS |= {module: ("dataset",) for module in CLAIMS if hasattr(module.Config, "dataset")}
# tested apart, or no reader of run folders
OTHERS = {"cards", "export", "predict", "report", "same", "summary", "cifar10_speedrun", "__init__"}
OTHERS |= {"__main__", "all", "catalogue"} | {module.Config.EXPERIMENT for module in CLAIMS if module not in COMMANDS}


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Put a module on the path, and return the file that it makes when it is imported."""
    (tmp_path / "stranger.py").write_text(STRANGER.format(mark=tmp_path / "imported"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger", raising=False)
    return tmp_path / "imported"


def test_every_experiment_that_resumes_is_listed():
    there = {path.stem for path in (ROOT / "experiments").glob("*.py")}
    there |= {path.parent.name for path in (ROOT / "experiments").glob("*/__main__.py")}
    assert there == {command.__name__.split(".")[1] for command in COMMANDS} | OTHERS
    for command, options in COMMANDS.items():
        fields = {field.name for field in dataclasses.fields(command.Config)}
        assert {"resume", "trust_run", *options} <= fields


@pytest.mark.parametrize(
    ("command", "option"), [(command, option) for command, options in COMMANDS.items() for option in options]
)
def test_resume_calls_what_a_folder_names_only_where_it_is_trusted(command, option, tmp_path, stranger, monkeypatch):
    config = command.Config(**SMALL.get(command, {}))
    several = isinstance(getattr(config, option), tuple)

    def store(name):
        commandline.save_config(tmp_path, dataclasses.replace(config, **{option: (name,) if several else name}))

    for name in ("stranger:net", "os:_exit"):
        store(name)
        said = rf"config.json: names code .*{option}='{name}'; .* add --trust-run [^\n]*$"
        with pytest.raises(ValueError, match=said):
            command.main(["--resume", str(tmp_path)])
    assert not stranger.exists()
    store("stranger:net")
    with pytest.raises((SystemExit, ValueError)):
        command.main(["--resume", str(tmp_path), "--trust-run"])
    assert stranger.exists(), "the flag lets it run"


def finished_run(folder, model):
    config = {"model": model, "optimizer": ["jaxdl.sgd"]}
    (folder / "config.json").write_text(json.dumps(config))
    normalization = data.no_normalization(1, 255.0)
    runs.write_preprocessing(folder, normalization, (8, 8, 1), ("a", "b"))
    layer = nn.serial(flat=nn.flatten, fc=nn.Dense(2))
    runs.save_final(folder, "jaxdl.sgd", 1, *layer.init(jax.random.key(0), (8, 8, 1)))
    return layer


def test_load_and_predict_call_what_a_folder_names_only_where_it_is_trusted(tmp_path, stranger, capsys, monkeypatch):
    for name in ("stranger:net", "os:_exit", "jaxdl.runs.calling:pkgutil", "jaxdl.runs.folder:_module_name"):
        finished_run(tmp_path, name)
        for call in (lambda: runs.load(tmp_path), lambda: predict.main([str(tmp_path), "digit.png"])):
            with pytest.raises(ValueError, match=rf"model='{name}'; .*--trust-run \(in Python, trust_run=True\)$"):
                call()
    assert not stranger.exists()
    layer = finished_run(tmp_path, "mine:net")
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(net=lambda classes: layer))
    (tmp_path / "digit.png").write_bytes(contents())
    (tmp_path / "digit.png").rename(odd := tmp_path / os.fsdecode(b"digit-\xe9.png"))
    assert predict.main([str(tmp_path), str(odd), "--trust-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("%") == 2, "by default three classes, or all of two"
    assert "digit-\N{LATIN SMALL LETTER E WITH ACUTE}.png: " in said
    assert runs.load(tmp_path, trust_run=True).classes == ("a", "b")


def test_reports_read_no_code(tmp_path, stranger):
    finished_run(tmp_path, "stranger:net")
    with pytest.raises(SystemExit, match=r"metrics.csv: is missing"):
        report.main([str(tmp_path)])
    assert not stranger.exists()


def test_names_of_the_library_itself_need_no_flag():
    ours = ["jaxdl.models.capsnet:capsule_loss", "jaxdl.models:resnet20", "jaxdl.models.resnet:resnet20", "tiny_cnn"]
    ours += [*compare_optimizers.default_optimizers(), "optax.adam(eps=1e-3)"]
    assert [name for name in ours if calling.is_foreign(name)] == []
    foreign = [
        "os:_exit",
        "jaxdlx:f",
        "jaxdl.runs.folder:os",
        "jaxdl.models:_x",
        "jaxdl.none:f",
        "experiments.report:sys",
    ]
    foreign += [
        "experiments.report:sys",
        "experiments.train_cnn.choices:functools.partial",
        "jaxdl.data:nothing",
        " os:_exit",
        "mine:f(a=1)",
        ":f",
        "a:",
    ]
    assert [name for name in foreign if not calling.is_foreign(name)] == []


def test_a_name_that_the_reader_gives_too_is_trusted(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, "mine", types.SimpleNamespace(data=lambda: seen.append(1)))
    commandline.save_config(tmp_path, dataclasses.replace(train_cnn.Config(), dataset="mine:data"))
    assert commandline.resuming(tmp_path, train_cnn.Config(dataset="mine:data")) == f"--resume {tmp_path} --trust-run"
    assert commandline.resuming(tmp_path, train_cnn.Config()) == f"--resume {tmp_path}"
    for given in (["--dataset", "mine:data"], ["--dataset=mine:data"]):
        assert commandline.parse(train_cnn.Config, ["--resume", str(tmp_path), *given]).dataset == "mine:data"
    with pytest.raises(ValueError, match="--trust-run"):
        commandline.parse(train_cnn.Config, ["--resume", str(tmp_path)])
    assert not seen


STATISTICS = {"mean": [0.5], "std": [0.1], "scale": 16.0}
BAD = {
    "config.json": [
        "[" * 100_000,
        "[]",
        '{"model": 3}',
        '{"model": "cnn", "optimizer": []}',
        '{"model": "cnn", "optimizer": [3]}',
        "{",
    ],
    "preprocessing.json": [
        "[]",
        "{}",
        "[" * 100_000,
        '{"in_shape": [8, 8, "x"]}',
        '{"in_shape": [8, 8, 1], "classes": 3}',
        *(
            json.dumps({"in_shape": [8, 8, 1], "classes": ["a"] * 10, "normalization": {**STATISTICS, **wrong}})
            for wrong in ({"scale": None}, {"scale": 0}, {"mean": [0, 0]}, {"std": [-1]}, {"std": [None]})
        ),
    ],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in BAD.items() for text in texts])
def test_damaged_files_of_a_run_are_named(file, text, tmp_path):
    finished_run(tmp_path, "tiny_cnn")
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=rf"{file}: "):
        runs.load(tmp_path)
