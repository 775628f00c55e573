"""Files from strangers: whatever the library opens, nothing in it is run.

The laws read the sources: every opener that could run something, or that chooses a decoder by content, stands in a
named set with what makes it safe.
"""

import ast
import io
import pathlib
import tarfile

import numpy as np
import pytest
from PIL import Image

import jaxdl
from experiments import predict
from jaxdl import data
from jaxdl.data import pixels

ROOT = pathlib.Path(jaxdl.__file__).parents[1]
SOURCES = [path for folder in ("jaxdl", "experiments", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n0 0 8 8 rectfill\nshowpage\n%%EOF\n"


# ---------------------------------------------------------------- images


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A program called gs, first on the path, that leaves a mark when it is run."""
    from PIL import EpsImagePlugin

    program, mark = tmp_path / "bin" / "gs", tmp_path / "gs-was-run"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what Pillow remembers of an earlier look
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
    """What Pillow decodes beyond the named formats, by content, however the file is called."""
    Image.init()
    refused = set()
    for kind in sorted(set(Image.SAVE) - {"PDF"}):  # which Pillow cannot open
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

OPENED = {"jaxdl/data/pixels.py": "formats"}  # file -> the keyword that makes Pillow's open safe
WEIGHTS_ONLY = {"jaxdl/interop/files.py"}
NUMPY = {"jaxdl/data/decoded.py", "jaxdl/runs/contents.py"}
IMPORTED = {
    "jaxdl/runs/names.py": "package.module:function; one that a run folder names needs trust_run",
    "jaxdl/data/fetching.py": "optional libraries, named in the sources",
    "benchmarks/mutants.py": "modules of jaxdl, named in the sources",
    "benchmarks/speed/rows.py": "modules of benchmarks, named in the sources",
    "docs/make_lectures.py": "modules of jaxdl, named in the sources",
}
COMPILED = {"benchmarks/mutants.py": "mutants of jaxdl's own sources"}


def calls():
    """(file, name of what is called, its keywords) of every call in the sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                yield str(path.relative_to(ROOT)), ast.unparse(node.func), keywords


def test_what_could_run_something_stands_in_a_named_set():
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
        if last == "import_module" or name == "__import__":
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
