"""docs/zoo.md: the committed page is the generated one and holds every network."""

import inspect

from docs import make_zoo
from jaxdl import models


def test_the_committed_page_has_one_row_a_network():
    """Each row is compared in tests/test_zoo.py, beside the other figures of its network."""
    page, begin = make_zoo.PAGE.read_text(encoding="utf-8"), make_zoo.begin()
    assert page.startswith(begin), "run: python -m docs.make_zoo"
    assert page.endswith(make_zoo.NOTES), "run: python -m docs.make_zoo"
    rows = page.removeprefix(begin).removesuffix(make_zoo.NOTES).splitlines()
    assert [row.split(" | ")[0].split()[1] for row in rows] == [net.name for net in make_zoo.NETS]


def test_every_named_network_is_there():
    small_or_generic = {"mlp", "softmax_regression", "tiny_cnn", "net_2c2d", "net_3c3d"}
    plain = {name for name in models.__all__ if name.startswith("plain")}
    named = {name for name in models.__all__ if callable(getattr(models, name)) and _makes_a_layer(name)}
    assert named - small_or_generic - plain <= {net.name for net in make_zoo.NETS}


def _makes_a_layer(name):
    parameters = inspect.signature(getattr(models, name)).parameters
    return "num_classes" in parameters


def test_published_multiply_adds_are_within_a_percent_where_they_have_three_digits():
    units, compared = {"M": 1e6, "G": 1e9}, 0
    for line in make_zoo.PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 6 and cells[6][:1].isdigit() and len(cells[6].split()[0].replace(".", "")) >= 3:
            counted, published = (float(n) * units[unit] for n, unit in (cell.split() for cell in cells[5:7]))
            assert abs(counted / published - 1) < 0.01, cells[1]
            compared += 1
    assert compared == 23  # AlexNet, VGG, GoogLeNet (torch), ResNet, DenseNet, MobileNet, Darknet, YOLOv3, ViT
