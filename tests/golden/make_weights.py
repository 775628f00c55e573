"""Make what `tests/test_interop.py` compares with: torchvision's and Keras' logits, names, shapes and files.

In an environment of its own (``make golden`` makes it; versions are written along), from the repository's root:

    python tests/golden/make_weights.py

Networks are those of the two libraries with every number of channels divided by 8, or by 16 in Keras' ResNet; weights
are drawn by name, so that only logits, names and shapes are stored. The same versions write the same bytes.
"""

import gzip
import io
import json
import os
import re
import zipfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
import torchvision
from keras.src.applications import densenet as keras_densenet
from keras.src.applications import resnet as keras_resnet
from torch import nn
from torchvision import models
from weights import draw, images

HERE = Path(__file__).parent
stored = {
    "versions": np.array(
        ", ".join(f"{one.__name__} {one.__version__.partition('+')[0]}" for one in (torch, torchvision, keras))
    )
}


# ---------------------------------------------------------------- PyTorch


def shrunk(module, factor):
    """The same modules with all channels divided, but for the three of images."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            given = 3 if child.in_channels == 3 else child.in_channels // factor
            options = {"stride": child.stride, "padding": child.padding, "bias": child.bias is not None}
            setattr(module, name, nn.Conv2d(given, child.out_channels // factor, child.kernel_size, **options))
        elif isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(child.num_features // factor, eps=child.eps))
        elif isinstance(child, nn.Linear):
            out = child.out_features if child.out_features == 10 else child.out_features // factor
            setattr(module, name, nn.Linear(child.in_features // factor, out))
        else:
            shrunk(child, factor)
    return module


def record_torch(name, model, size, factor=8):
    """Store the logits and the names and shapes of the state dict."""
    model = shrunk(model, factor).eval()
    state = {n: torch.tensor(draw(n, tuple(t.shape))) for n, t in model.state_dict().items() if t.ndim}
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        logits = model(torch.tensor(images(size)).permute(0, 3, 1, 2))
    store(name, logits.numpy(), {n: list(t.shape) for n, t in model.state_dict().items()})


def store(name, logits, shapes):
    stored[f"{name}.logits"] = logits
    stored[f"{name}.shapes"] = np.frombuffer(json.dumps(shapes).encode(), np.uint8)


tiny = {"num_classes": 10}
googlenet = models.GoogLeNet(**tiny, aux_logits=True, init_weights=False)
record_torch("torch.alexnet", models.alexnet(**tiny), 224, factor=16)  # its average pool is none at 224 alone
record_torch("torch.vgg11", models.vgg11(**tiny), 224, factor=32)
record_torch("torch.vgg11_bn", models.vgg11_bn(**tiny), 224, factor=32)
record_torch("torch.googlenet", googlenet, 224)
record_torch("torch.resnet_basic", models.ResNet(models.resnet.BasicBlock, [2, 1, 1, 1], **tiny), 64)
record_torch("torch.resnet_bottleneck", models.ResNet(models.resnet.Bottleneck, [2, 1, 1, 1], **tiny), 64)
record_torch("torch.densenet", models.DenseNet(8, (2, 2, 1, 1), 16, **tiny), 64, factor=1)


# ---------------------------------------------------------------- Keras


def shrunk_keras(model, factor):
    """The same model with all channels divided."""

    def smaller(layer):
        config = layer.get_config()
        for key in ("filters", "units"):
            if config.get(key, 10) != 10:
                config[key] //= factor
        config.pop("activation", None) if isinstance(layer, keras.layers.Dense) and config["units"] == 10 else None
        return layer.__class__.from_config(config)

    return keras.models.clone_model(model, clone_function=smaller)


def draw_keras(model):
    for weight in model.weights:
        weight.assign(draw(weight.path, tuple(weight.shape)))
    return {weight.path: list(weight.shape) for weight in model.weights}


def record_keras(name, model, size, factor=8):
    model = shrunk_keras(model, factor)
    shapes = draw_keras(model)
    logits = keras.ops.convert_to_numpy(model(images(size), training=False))
    store(name, logits, shapes)


def resnet_stages(x):
    for i, width in enumerate((64, 128, 256, 512), 2):
        depth = 2 if i == 2 else 1
        x = keras_resnet.stack_residual_blocks_v1(x, width, depth, stride1=1 if i == 2 else 2, name=f"conv{i}")
    return x


options = {"weights": None, "classes": 10, "classifier_activation": None}
record_keras("keras.vgg16", keras.applications.VGG16(**options, input_shape=(32, 32, 3)), 32, factor=32)
resnet = keras_resnet.ResNet(resnet_stages, False, True, **options, input_shape=(64, 64, 3))
record_keras("keras.resnet", resnet, 64, factor=16)
densenet = keras_densenet.DenseNet([2, 2, 1, 1], **options, input_shape=(64, 64, 3))
record_keras("keras.densenet", densenet, 64, factor=4)

np.savez_compressed(HERE / "weights.npz", **stored)


# ---------------------------------------------------------------- names and shapes at full size

full = {}
with torch.device("meta"):
    for name in ("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
                 "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121", "densenet161",
                 "densenet169", "densenet201"):  # fmt: skip
        model = getattr(models, name)()
        full[f"torch.{name}"] = {n: list(t.shape) for n, t in model.state_dict().items()}
    model = models.GoogLeNet(aux_logits=True, init_weights=False)
    full["torch.googlenet"] = {n: list(t.shape) for n, t in model.state_dict().items()}
for name in ("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152", "DenseNet121", "DenseNet169", "DenseNet201"):
    with keras.device("meta"):
        model = getattr(keras.applications, name)(weights=None)
    full[f"keras.{name}"] = {w.path: list(w.shape) for w in model.weights}
buffer = io.BytesIO()
with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
    file.write(json.dumps(full).encode())
(HERE / "weights_names.json.gz").write_bytes(buffer.getvalue())


# ---------------------------------------------------------------- files as the libraries write them

keras.utils.clear_session()  # or names of layers would go on counting
x = keras.Input((8, 8, 3))
y = keras.layers.Conv2D(4, 3, name="conv1_conv")(x)
y = keras.layers.BatchNormalization(name="conv1_bn")(y)
y = keras.layers.Flatten()(y)
y = keras.layers.Dense(3, name="predictions", use_bias=False)(y)
model = keras.Model(x, y)
draw_keras(model)
for file in ("keras_model.keras", "keras_model.h5", "keras_model.weights.h5"):
    (model.save_weights if "weights" in file else model.save)(HERE / file)
with zipfile.ZipFile(HERE / "keras_model.keras") as archive:
    contents = {name: archive.read(name) for name in archive.namelist()}
# again, without what differs from day to day and from process to process
contents["metadata.json"] = re.sub(
    rb'"date_saved": "[^"]*"', b'"date_saved": "2000-01-01@00:00:00"', contents["metadata.json"]
)
contents["config.json"] = re.sub(rb'"shared_object_id": \d+', b'"shared_object_id": 0', contents["config.json"])
with zipfile.ZipFile(HERE / "keras_model.keras", "w") as archive:
    for name, content in contents.items():
        archive.writestr(zipfile.ZipInfo(name), content)
shapes = {"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,)}
torch.save({name: torch.tensor(draw(name, shape)) for name, shape in shapes.items()}, HERE / "torch_model.pth")
