"""Networks, each declared with `jaxdl.nn`'s combinators: ``NAME(num_classes=10, *, options) -> nn.Layer``.

Depths and widths of one's own go to the general functions in the modules: `models.resnet.resnet`, `models.vit.vit`,
`models.gpt.gpt`, `models.vgg.vgg`, `models.densenet.densenet`.
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.models.alexnet import alexnet, alexnet_2012
from jaxdl.models.capsnet import capsnet
from jaxdl.models.cnn import small_cnn, tiny_cnn
from jaxdl.models.deepobs import net_2c2d, net_3c3d
from jaxdl.models.densenet import densenet40, densenet121, densenet161, densenet169, densenet201, densenet_bc100
from jaxdl.models.googlenet import googlenet
from jaxdl.models.gpt import char_transformer, gpt2
from jaxdl.models.inception_v4 import inception_resnet_v2, inception_v4
from jaxdl.models.lecture import cifar_demo, lecture_keras, lecture_torch
from jaxdl.models.lenet import lenet5
from jaxdl.models.lenet_1998 import lenet5_1998
from jaxdl.models.mlp import mlp, softmax_regression
from jaxdl.models.mobilenet import mobilenet
from jaxdl.models.resnet import (
    plain18,
    plain20,
    plain32,
    plain34,
    plain44,
    plain56,
    plain110,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from jaxdl.models.vgg import vgg11, vgg13, vgg16, vgg19
from jaxdl.models.vit import tiny_vit, vit_b16, vit_b32, vit_h14, vit_l16, vit_l32, vit_s16, vit_ti16
from jaxdl.models.yolov3 import darknet53, yolov3

__all__ = [
    "alexnet",
    "alexnet_2012",
    "capsnet",
    "char_transformer",
    "cifar_demo",
    "darknet53",
    "densenet40",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_bc100",
    "googlenet",
    "gpt2",
    "inception_resnet_v2",
    "inception_v4",
    "lecture_keras",
    "lecture_torch",
    "lenet5",
    "lenet5_1998",
    "mlp",
    "mobilenet",
    "net_2c2d",
    "net_3c3d",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "plain110",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
    "small_cnn",
    "softmax_regression",
    "tiny_cnn",
    "tiny_vit",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "vit_b16",
    "vit_b32",
    "vit_h14",
    "vit_l16",
    "vit_l32",
    "vit_s16",
    "vit_ti16",
    "yolov3",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
