"""Write `docs/zoo.md`, the table of the networks, from `jaxdl.models` itself.

    python -m docs.make_zoo [NAME ...]

With names, only the rows of these networks are counted again.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxdl import analysis, models

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).with_name("zoo.md")
ACCURACY = ROOT / "benchmarks" / "accuracy.md"
HEADER = ("network", "image", "parameters", "published", "multiply-adds", "published", "activations", "receptive field",
          "trained here: test accuracy", "the paper's")  # fmt: skip
INTRODUCTION = """# The networks

`jaxdl.analysis.summary` counts every row from the network itself, without allocating it; the columns beside show the
figures that the paper, its authors' code or torchvision publishes. `python -m experiments.summary NAME` prints a
network layer by layer.

- Multiply-adds are those of matrix products and convolutions for one image, which papers and torchvision call FLOPs.
- Activations are the values that one image keeps in evaluation, including its own pixels: outputs of convolutions,
  pools, norms and dense layers. ReLU, dropout and flatten work in place.
- The receptive field is the side, in pixels, of the region that one value depends on, just before the spatial axes end
  (before the global pool or flatten).
- Accuracy is that of complete runs on real data with the network of that row, from
  [benchmarks/accuracy.md](../benchmarks/accuracy.md); an empty cell was not trained to the end here. The paper's
  accuracy is given for MNIST and CIFAR-10; on CIFAR-10 it is for the original images and many more epochs (ResNet:
  182, DenseNet: 300).

Made by `python -m docs.make_zoo`.

"""
NOTES = """
The published figures of AlexNet with one tower, VGG, GoogLeNet (torch), ResNet, DenseNet and ViT from width B on are
torchvision's; those of ViT Ti and S are timm's, and GPT-2's come from the authors' file. Those of the 1998 and 2012
networks, the CIFAR networks and CapsNet are from the papers and lectures. MobileNet, Inception-v4 and
Inception-ResNet-v2 have the reference code's trainable parameters, and MobileNet's 569 M is from its paper.
GoogLeNet's paper states about 1.5 billion multiply-adds; its table of sizes counts weights only and contradicts its
own widths in three rows. The paper's ResNet-50 has its strides in the 1×1 convolutions (3.8 billion), torchvision's
in the 3×3.
"""
IMAGENET, CIFAR, DIGITS = (224, 224, 3), (32, 32, 3), (28, 28, 1)


class Net(NamedTuple):
    """One row: the network and its published figures."""

    name: str
    in_shape: tuple[int, ...]
    parameters: str = ""  # as published
    multiply_adds: str = ""
    options: Mapping[str, Any] = {}
    accuracy: str = ""  # the paper's, on MNIST or CIFAR-10


NETS = [
    Net("lecture_keras", DIGITS),
    Net("lecture_keras", CIFAR),
    Net("lecture_torch", DIGITS, "431,080"),
    Net("cifar_demo", CIFAR, "22,466"),
    Net("lenet5", DIGITS, "61,706"),
    Net("lenet5_1998", DIGITS, "60,000", accuracy="99.05 % (MNIST)"),
    Net("alexnet", IMAGENET, "61,100,840", "714 M"),
    Net("alexnet_2012", (227, 227, 3), "60 M"),
    Net("vgg11", IMAGENET, "132,863,336", "7.609 G"),
    Net("vgg13", IMAGENET, "133,047,848", "11.308 G"),
    Net("vgg16", IMAGENET, "138,357,544", "15.47 G"),
    Net("vgg19", IMAGENET, "143,667,240", "19.632 G"),
    Net("googlenet", IMAGENET, "", "1.5 G"),
    Net("googlenet", IMAGENET, "6,624,904", "1.498 G", {"variant": "torch"}),
    Net("resnet18", IMAGENET, "11,689,512", "1.814 G"),
    Net("resnet34", IMAGENET, "21,797,672", "3.664 G"),
    Net("resnet50", IMAGENET, "25,557,032", "4.089 G"),
    Net("resnet50", IMAGENET, "25.5 M", "3.8 G", {"variant": "paper"}),
    Net("resnet101", IMAGENET, "44,549,160", "7.801 G"),
    Net("resnet152", IMAGENET, "60,192,808", "11.514 G"),
    Net("plain34", IMAGENET, "", "3.6 G"),
    Net("resnet20", CIFAR, "0.27 M", accuracy="91.25 % (CIFAR-10)"),
    Net("resnet32", CIFAR, "0.46 M", accuracy="92.49 % (CIFAR-10)"),
    Net("resnet44", CIFAR, "0.66 M", accuracy="92.83 % (CIFAR-10)"),
    Net("resnet56", CIFAR, "0.85 M", accuracy="93.03 % (CIFAR-10)"),
    Net("resnet110", CIFAR, "1.7 M", accuracy="93.57 % (CIFAR-10)"),
    Net("plain20", CIFAR),
    Net("plain32", CIFAR),
    Net("densenet121", IMAGENET, "7,978,856", "2.834 G"),
    Net("densenet161", IMAGENET, "28,681,000", "7.728 G"),
    Net("densenet169", IMAGENET, "14,149,480", "3.36 G"),
    Net("densenet201", IMAGENET, "20,013,928", "4.291 G"),
    Net("densenet40", CIFAR, "1.0 M", accuracy="94.76 % (CIFAR-10)"),
    Net("densenet_bc100", CIFAR, "0.8 M", accuracy="95.49 % (CIFAR-10)"),
    Net("capsnet", DIGITS, "8.2 M", accuracy="99.75 % (MNIST)"),
    Net("mobilenet", IMAGENET, "4,231,976", "569 M"),
    Net("inception_v4", (299, 299, 3), "42,679,816"),
    Net("inception_resnet_v2", (299, 299, 3), "55,813,192"),
    Net("darknet53", (256, 256, 3), "41,609,928", "9.35 G"),
    Net("yolov3", (416, 416, 3), "61,949,149", "32.93 G"),
    Net("small_cnn", DIGITS),
    Net("vit_ti16", IMAGENET, "5,717,416"),
    Net("vit_s16", IMAGENET, "22,050,664"),
    Net("vit_b16", IMAGENET, "86,567,656", "17.564 G"),
    Net("vit_b32", IMAGENET, "88,224,232", "4.409 G"),
    Net("vit_l16", IMAGENET, "304,326,632", "61.555 G"),
    Net("vit_l32", IMAGENET, "306,535,400", "15.378 G"),
    Net("vit_h14", IMAGENET, "632,045,800", "167.295 G"),
    Net("tiny_vit", (8, 8, 1)),
    Net("gpt2", (1024,), "124,439,808"),
    Net("char_transformer", (128,)),
]


def page(names: Sequence[str] = ()) -> str:
    """Return the page as Markdown; with names, only their rows are made anew."""
    there = PAGE.read_text(encoding="utf-8").splitlines(keepends=True) if names else []
    kept = {tuple(row.removeprefix("| ").split(" | ")[:2]): row for row in there}
    lines = []
    for net in NETS:
        row = None if net.name in names else kept.get(tuple(_label(net)))
        lines.append(row or line(net, summary(net)))
    return begin() + "".join(lines) + NOTES


def begin() -> str:
    """Return the page up to its first network."""
    return INTRODUCTION + _row(HEADER) + _row(["---", "---"] + ["---:"] * 6 + ["---"] * 2)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def line(net: Net, table: analysis.Summary) -> str:
    """Return the row of a network, from its summary."""
    counted = [f"{table.parameters:,}", net.parameters, short(table.multiply_adds), net.multiply_adds]
    kept, field = short(table.activations), str(last_field(table))
    return _row([*_label(net), *counted, kept, field, accuracy(net, table.parameters), net.accuracy])


def _label(net: Net) -> list[str]:
    options = f" ({', '.join(map(str, net.options.values()))})" if net.options else ""
    return [f"{net.name}{options}", "×".join(map(str, net.in_shape))]


def summary(net: Net) -> analysis.Summary:
    """Count a network at as many classes as its paper has."""
    return analysis.summary(getattr(models, net.name)(**net.options), net.in_shape)


def last_field(table: analysis.Summary) -> int | str:
    """Return the receptive field just before the spatial axes end, or nothing for texts, which have none."""
    images = [row for row in table.rows if isinstance(row.output, tuple) and len(row.output) == 3]
    return images[-1].receptive_field[0] if images else ""


def short(n: int) -> str:
    """Write a count with four digits and a unit."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.4g} {unit}"
    return str(n)


def accuracy(net: Net, parameters: int) -> str:
    """Return the accuracy of a network of that name and size from the committed table, if it has one."""
    if net.options:
        return ""
    rows = [line.split(" | ") for line in ACCURACY.read_text(encoding="utf-8").splitlines() if "--model" in line]
    found = [row for row in rows if re.search(rf"--model {net.name}\b", row[-1]) and row[1] == f"{parameters:,}"]
    return "; ".join(f"{row[2]} ({row[0].removeprefix('| ').partition(', ')[2].replace('|', '')})" for row in found)


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - {net.name for net in NETS}:
        sys.exit(f"docs.make_zoo: got {min(unknown)!r}, allowed are the names in its table NETS")
    PAGE.write_text(page(sys.argv[1:]), encoding="utf-8")
