"""Fixtures of the experiments' tests: a user's own module, command lines and processes."""

import gzip
import os
import struct
import sys
from pathlib import Path

import pytest

from jaxdl.runs import commandline

ROOT = Path(__file__).parents[2]
MINE = """
import jax, jax.numpy as jnp, numpy as np, optax
from jaxdl import activations, data, models, nn

def net(classes):
    return nn.serial(conv=nn.Conv(4, 3, bias=False), norm=nn.BatchNorm(), relu=activations.relu, pool=nn.MaxPool(4),
                     flatten=nn.flatten, fc=nn.Dense(classes))

def log_net(classes):
    return nn.serial(**net(classes).children, log=activations.log_softmax)

def capsules(classes):
    return models.capsnet(classes, image_shape=(20, 20, 1), width=1 / 32)

def mean_loss(logits, labels):
    return jnp.mean(logits)

def bars():
    labels = np.arange(40) % 2
    images = np.zeros((40, 20, 20, 1), np.float32)
    images[labels == 0, 8:12], images[labels == 1, :, 8:12] = 1, 1
    return images, labels

def seven(classes):
    return nn.serial(flatten=nn.flatten, fc=nn.Dense(7))

def flat(classes):
    return nn.serial(flatten=nn.flatten, conv=nn.Conv(4, 3))

def no_arguments():
    return net(10)

def no_layer(classes):
    return "a net"

def sgd(learning_rate):
    return optax.sgd(learning_rate)

def no_optimizer(learning_rate):
    return learning_rate

def nan_at_7(learning_rate):
    inner = optax.sgd(learning_rate)

    def update(grads, state, params=None):
        updates, _ = inner.update(grads, inner.init(params), params)
        return jax.tree.map(lambda u: jnp.where(state == 6, jnp.nan, u), updates), state + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)

def blobs():
    labels = np.arange(120) % 3
    noise = np.random.default_rng(0).random((120, 8, 8, 1)) * 0.2
    return (noise + labels[:, None, None, None] * 0.3).astype(np.float32), labels

def dataset():
    images, labels = blobs()
    return data.from_arrays(images, labels, classes=("dark", "grey", "light"), name="blobs")

def bad_labels():
    return dataset()._replace(labels=np.full(120, 3, np.int32))

def one_class():
    return dataset()._replace(labels=np.zeros(120, np.int32), classes=("dark",))

def bad_pixels():
    images, labels = blobs()
    images[5, 1, 2, 0] = np.nan
    return images, labels

def no_dataset():
    return 3

number = 3
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return a folder on the import path that holds a user's module."""
    folder = tmp_path_factory.mktemp("command_line")
    (folder / "mine.py").write_text(MINE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("mine", None)


@pytest.fixture
def run(capsys):
    """Return a function that runs a command line: ``(main, *args) -> (exit code, stdout, stderr)``."""

    def call(main, *args):
        with pytest.raises(SystemExit) as end:
            commandline.run_main(lambda: main([str(arg) for arg in args]))
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


@pytest.fixture
def write_idx():
    """Return a function ``(folder, images, labels)`` that writes files in MNIST's format."""

    def write(folder, images, labels, part="train"):
        folder.mkdir(parents=True, exist_ok=True)
        head = struct.pack(">HBB3I", 0, 8, 3, *images.shape)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        head = struct.pack(">HBBI", 0, 8, 1, len(labels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.tobytes()))

    return write


@pytest.fixture
def process(here):
    """Return a function from arguments and environment variables to the keywords of `subprocess.run`."""

    def arguments(*args, **variables):
        env = {
            **os.environ,
            "PYTHONPATH": f"{here}{os.pathsep}{ROOT}",
            "JAX_COMPILATION_CACHE_DIR": str(here / "xla"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            **variables,
        }
        return {"args": [sys.executable, "-W", "error", *map(str, args)], "env": env, "cwd": here}

    return arguments
