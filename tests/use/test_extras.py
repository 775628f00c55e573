"""Without any extra the library imports, and whatever needs one says which, with the command that installs it."""

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from jaxdl import extras

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import pathlib, sys

import jax, numpy as np

from jaxdl import extras

OF_FLAX = {"absl", "rich"}  # requirements of what the core needs
for name in [name for name in sys.modules if name.partition(".")[0] in {*extras.PACKAGES} - OF_FLAX]:
    del sys.modules[name]
for name in {"fcntl", *extras.PACKAGES} - OF_FLAX:
    sys.modules[name] = None  # an import of it fails as if it were not installed

import jaxdl
from jaxdl import activations, analysis, applications, backprop, classical, compare, data, gradcheck, initializers
from jaxdl import interop, kernels, layers, losses, metrics, models, nn, optimizers, primitives, regularizers
from jaxdl import schedules, sizes, studies, training
from jaxdl.data import streaming
from jaxdl.data.reading import fetching, named, pixels

del sys.modules["fcntl"]  # which Windows lacks
from jaxdl import runs  # which needs no extra until it writes a page, but locks folders by fcntl

folder = pathlib.Path(sys.argv[1])
for name in ("a.safetensors", "a.h5", "a.pth", "a.png"):
    (folder / name).write_bytes(b"1234")
layer, params = nn.Dense(1), {"bias": np.ones(1, np.float32)}
USES = {
    "plots": lambda: __import__("jaxdl.plots"),
    "pages": lambda: __import__("jaxdl.runs.pages"),
    "save": lambda: interop.save(folder / "b.safetensors", params, {}),
    "safetensors": lambda: interop.load(folder / "a.safetensors", layer, (1,)),
    "h5": lambda: interop.read(folder / "a.h5"),
    "write_keras": lambda: interop.write_keras(folder / "b.h5", {"a/kernel": np.ones(1)}),
    "pth": lambda: interop.read(folder / "a.pth"),
    "checkpoint": lambda: training.checkpoints.save(folder / "c", 1, params, {}),
    "digits": lambda: data.load("digits"),
    "png": lambda: pixels.decode(b'1234', 'a.png'),
    "pooch": lambda: fetching.fetch(["http://127.0.0.1:1/a"], folder / "a", check=print),
}
for use, call in USES.items():
    try:
        call()
    except ImportError as error:
        print(f"{use}: {error}")
    else:
        print(f"{use}: nothing is missing")
print(analysis.summary(layer, (3,)).splitlines()[0] if isinstance(analysis.summary(layer, (3,)), str) else "table")
"""


@pytest.mark.process
def test_a_missing_extra_is_named_with_its_command(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *lines, _ = done.stdout.splitlines()
    extra = dict.fromkeys(("save", "safetensors", "h5", "write_keras"), "jaxdl[interop]")
    extra |= dict.fromkeys(("plots", "pages"), "jaxdl[plots]") | {"pth": "torch"}
    for line in lines:
        use, _, said = line.partition(": ")
        wanted = extra.get(use, "jaxdl[experiments]")
        assert re.fullmatch(rf".+ needs [\w-]+: install it with `pip install '{re.escape(wanted)}'`", said), line
    assert len(lines) == 11


def test_every_optional_library_is_a_requirement_of_an_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {re.match(r"[\w-]+", one)[0] for wanted in project["optional-dependencies"].values() for one in wanted}
    assert {*extras.PACKAGES.values()} - listed == {"absl-py"}  # comes with grain


def test_the_error_of_a_library_that_is_there_is_passed_on():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such'$"), extras.needed("a test", "plots"):
        import no_such  # noqa: F401
