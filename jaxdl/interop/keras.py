"""Keras' names for the parameters of `jaxdl.models`, as of the applications of Keras 3.15, for `load` and `to_keras`.

Each function maps the paths of the network's leaves to the names of Keras' layers. Keras need not be installed.
"""

from jaxdl import nn
from jaxdl.interop.layouts import renamed
from jaxdl.interop.torchvision import by_rules


def vgg(layer: nn.Layer) -> dict[str, str]:
    """Return Keras' names for VGG16 and VGG19.

    Examples:
        >>> from jaxdl import models
        >>> names = keras.vgg(models.vgg16())
        >>> names["conv1_1"], names["fc6"]
        ('block1_conv1', 'fc1')
    """
    rules = [
        (r"conv(\d)_(\d)", lambda match: f"block{match[1]}_conv{match[2]}"),
        (r"fc([67])", lambda match: f"fc{int(match[1]) - 5}"),
        (r"fc8", lambda match: "predictions"),
    ]
    return renamed(layer, by_rules(rules), "VGG without batch norm")


def resnet(layer: nn.Layer) -> dict[str, str]:
    """Return Keras' names for ResNet50, ResNet101 and ResNet152, which are ``variant="keras"`` here."""
    kinds = {"conv": "conv", "norm": "bn"}
    body = r"conv(\d)/block(\d+)/residual/body/(conv|norm)(\d)"
    shortcut = r"conv(\d)/block(\d+)/residual/shortcut/(conv|norm)"
    rules = [
        (r"(conv|norm)1", lambda match: f"conv1_{kinds[match[1]]}"),
        (body, lambda match: f"conv{match[1]}_block{match[2]}_{match[4]}_{kinds[match[3]]}"),
        (shortcut, lambda match: f"conv{match[1]}_block{match[2]}_0_{kinds[match[3]]}"),
        (r"fc", lambda match: "predictions"),
    ]
    return renamed(layer, by_rules(rules), "ResNet")


def densenet(layer: nn.Layer) -> dict[str, str]:
    """Return Keras' names for DenseNet121, DenseNet169 and DenseNet201, which are ``variant="keras"`` here."""
    kinds = {"conv": "conv", "norm": "bn"}
    rules = [
        (r"(conv|norm)0", lambda match: f"conv1_{kinds[match[1]]}"),
        (r"block(\d)/layer(\d+)/new/norm1", lambda match: f"conv{int(match[1]) + 1}_block{match[2]}_0_bn"),
        (r"block(\d)/layer(\d+)/new/conv1", lambda match: f"conv{int(match[1]) + 1}_block{match[2]}_1_conv"),
        (r"block(\d)/layer(\d+)/new/norm2", lambda match: f"conv{int(match[1]) + 1}_block{match[2]}_1_bn"),
        (r"block(\d)/layer(\d+)/new/conv2", lambda match: f"conv{int(match[1]) + 1}_block{match[2]}_2_conv"),
        (r"transition(\d)/(conv|norm)", lambda match: f"pool{int(match[1]) + 1}_{kinds[match[2]]}"),
        (r"norm", lambda match: "bn"),
        (r"fc", lambda match: "predictions"),
    ]
    return renamed(layer, by_rules(rules), "DenseNet")
