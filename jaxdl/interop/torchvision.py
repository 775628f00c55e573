"""Torchvision's names for the parameters of `jaxdl.models`, as of torchvision 0.29, for `load` and `to_torch`.

Each function maps the paths of the network's leaves to the modules of a state dict. Torchvision need not be installed.
"""

import re
from collections.abc import Callable, Sequence

from jaxdl import nn
from jaxdl.interop.layouts import renamed


def alexnet(layer: nn.Layer) -> dict[str, str]:
    """Return torchvision's names for AlexNet with one tower."""
    features = {f"conv{i}": f"features.{place}" for i, place in enumerate((0, 3, 6, 8, 10), 1)}
    table = features | {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
    return renamed(layer, table.get, "AlexNet with one tower")


def vgg(layer: nn.Layer) -> dict[str, str]:
    """Return torchvision's names for VGG-11 to VGG-19, with or without batch norm."""
    features = [name for name in layer.children if re.match(r"(conv|norm|relu)\d_|pool\d", name)]
    table = {name: f"features.{i}" for i, name in enumerate(features)}
    table |= {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    return renamed(layer, table.get, "VGG")


def resnet(layer: nn.Layer) -> dict[str, str]:
    """Return torchvision's names for ResNet-18 to ResNet-152 with projections (``shortcut="B"``).

    Examples:
        >>> from jaxdl import models
        >>> names = torchvision.resnet(models.resnet18(shortcut="B"))
        >>> names["conv1"], names["norm1"]
        ('conv1', 'bn1')
    """
    stage = lambda match: f"layer{int(match[1]) - 1}.{int(match[2]) - 1}"
    rules = [
        (r"conv1|fc", lambda match: match[0]),
        (r"norm1", lambda match: "bn1"),
        (r"conv(\d)/block(\d+)/residual/body/conv(\d)", lambda match: f"{stage(match)}.conv{match[3]}"),
        (r"conv(\d)/block(\d+)/residual/body/norm(\d)", lambda match: f"{stage(match)}.bn{match[3]}"),
        (r"conv(\d)/block(\d+)/residual/shortcut/conv", lambda match: f"{stage(match)}.downsample.0"),
        (r"conv(\d)/block(\d+)/residual/shortcut/norm", lambda match: f"{stage(match)}.downsample.1"),
    ]
    return renamed(layer, by_rules(rules), "ResNet")


def googlenet(layer: nn.Layer) -> dict[str, str]:
    """Return torchvision's names for GoogLeNet with ``variant="torch"``.

    Torchvision's own file includes the auxiliary heads (``auxiliary=True``) and expects images scaled to [-1, 1], which
    torchvision does inside the network (``transform_input``).
    """
    modules = {"conv": "conv", "norm": "bn"}
    branches = {"branch1": "branch1", "branch3/reduce": "branch2.0", "branch3/conv": "branch2.1",
                "branch5/reduce": "branch3.0", "branch5/conv": "branch3.1", "pool/project": "branch4.1"}  # fmt: skip
    stem = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3"}
    rules = [
        (r"(conv1|conv2_reduce|conv2)/(conv|norm)", lambda match: f"{stem[match[1]]}.{modules[match[2]]}"),
        (
            rf"(inception\d\w)/({'|'.join(branches)})/(conv|norm)",
            lambda match: f"{match[1]}.{branches[match[2]]}.{modules[match[3]]}",
        ),
        (r"(aux\d)/(?:.*/)?conv/(conv|norm)", lambda match: f"{match[1]}.conv.{modules[match[2]]}"),
        (r"(aux\d)/(?:.*/)?(fc\d)", lambda match: f"{match[1]}.{match[2]}"),
        (r"fc", lambda match: "fc"),
    ]
    return renamed(layer, by_rules(rules), "GoogLeNet")


def densenet(layer: nn.Layer) -> dict[str, str]:
    """Return torchvision's names for DenseNet-121 to DenseNet-201."""
    dense = lambda match: f"features.denseblock{match[1]}.denselayer{match[2]}.{match[3]}"
    rules = [
        (r"conv0|norm0", lambda match: f"features.{match[0]}"),
        (r"block(\d)/layer(\d+)/new/(conv\d|norm\d)", dense),
        (r"transition(\d)/(conv|norm)", lambda match: f"features.transition{match[1]}.{match[2]}"),
        (r"norm", lambda match: "features.norm5"),
        (r"fc", lambda match: "classifier"),
    ]
    return renamed(layer, by_rules(rules), "DenseNet")


def by_rules(rules: Sequence[tuple[str, Callable[[re.Match], str]]]) -> Callable[[str], str | None]:
    """Return a function that renames a path by the first rule (regular expression, match → name) that matches fully.

    Examples:
        >>> rename = torchvision.by_rules([(r"fc([67])", lambda match: f"classifier.{match[1]}")])
        >>> rename("fc6"), rename("conv1")
        ('classifier.6', None)
    """

    def rename(path: str) -> str | None:
        for pattern, name in rules:
            if match := re.fullmatch(pattern, path):
                return name(match)
        return None

    return rename
