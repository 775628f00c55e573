"""Make the Keras files of `tests/use/test_interop.py`: models within models, shared and recurrent layers, norms.

In an environment of its own (``make golden`` makes it), from the repository's root:

    python tests/golden/make_keras.py

Every model is written in Keras' three formats, gzipped because HDF5 is mostly zeros. Weights are drawn by the full path
of names, ``MODEL/LAYER/kernel``. The same versions write the same bytes.
"""

import gzip
import io
import os
import re
import tempfile
import zipfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import keras
from keras import layers
from weights import draw

HERE = Path(__file__).parent


def nested():
    """A Sequential and a functional model with a shared layer, both within a model."""
    inner = keras.Sequential(
        [layers.Conv2D(2, 1, name="ca"), layers.BatchNormalization(name="bn"), layers.Conv2D(2, 1, name="cb")],
        name="inner",
    )
    x = keras.Input((4,))
    shared = layers.Dense(4, name="shared")
    functional = keras.Model(x, layers.Add()([shared(shared(x)), x]), name="functional")
    around = keras.Sequential([functional, layers.Dense(3, name="ca")], name="around")
    x = keras.Input((2, 1, 3))
    y = layers.Flatten()(inner(x))
    return keras.Model(x, layers.Dense(2, name="head", use_bias=False)(around(functional(y))), name="nested")


def recurrent():
    """Recurrent layers, and norms without scale or offset."""
    x = keras.Input((3, 2))
    y = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(x)
    y = layers.BatchNormalization(scale=False, name="no_scale")(y)
    y = layers.BatchNormalization(center=False, name="no_offset")(y)
    y = layers.BatchNormalization(scale=False, center=False, name="neither")(y)
    y = layers.LayerNormalization(center=False, name="layer_norm")(y)
    y = layers.SimpleRNN(2, use_bias=False, name="plain", return_sequences=True)(
        layers.GRU(2, return_sequences=True)(y)
    )
    stack = layers.RNN([layers.LSTMCell(2, name="first"), layers.GRUCell(1, name="second")], name="stack")
    return keras.Model(x, stack(y), name="recurrent")


def paths(model, above=""):
    """(full path of names, variable) of every weight."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from paths(layer, f"{above}{layer.name}/")
        else:
            for weight in layer.weights:
                yield above + weight.path[weight.path.index(f"{layer.name}/") :], weight


def fixed(contents):
    """A .keras archive without what differs from day to day and from process to process."""
    with zipfile.ZipFile(io.BytesIO(contents)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    date = rb'"date_saved": "2000-01-01@00:00:00"'
    files["metadata.json"] = re.sub(rb'"date_saved": "[^"]*"', date, files["metadata.json"])
    files["config.json"] = re.sub(rb'"shared_object_id": \d+', b'"shared_object_id": 0', files["config.json"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


for make in (nested, recurrent):
    keras.utils.clear_session()  # or names of layers would go on counting
    model = make()
    first = {id(weight): path for path, weight in reversed([*paths(model)])}  # of a shared model's two paths
    for path, weight in paths(model):
        path = first[id(weight)]
        weight.assign(draw(path, tuple(weight.shape)))
    for suffix in (".keras", ".h5", ".weights.h5"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"keras_{make.__name__}{suffix}"
            (model.save_weights if "weights" in suffix else model.save)(file)
            contents = fixed(file.read_bytes()) if suffix == ".keras" else file.read_bytes()
        with gzip.GzipFile(HERE / f"{file.name}.gz", "wb", mtime=0) as zipped:
            zipped.write(contents)
