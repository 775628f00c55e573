"""VGG: 3x3 convolutions, 2x2 max pools and three dense layers. [Lecture row I]"""

import functools
from collections.abc import Sequence

from jaxdl import activations, initializers, nn
from jaxdl.models.options import scaled

WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    num_classes: int = 1000,
    *,
    depths: Sequence[int] = (1, 1, 2, 2, 2),
    batch_norm: bool = False,
    dropout: float = 0.5,
    width: float = 1.0,
) -> nn.Layer:
    """VGG for 224x224 images: five groups of 3x3 convolutions, each followed by a pool, then 4096-4096-classes.

    The paper's columns A, B, D and E are vgg11, vgg13, vgg16 and vgg19, with 132,863,336, 133,047,848, 138,357,544
    and 143,667,240 parameters for 1000 classes and three channels. Layers are named as in the authors' files,
    conv1_1 to conv5_3 and fc6 to fc8.

    Args:
        num_classes: number of logits.
        depths: number of convolutions in each group.
        batch_norm: whether batch norm precedes each convolution's ReLU; the paper is older than batch norm.
        dropout: probability of dropping a hidden unit of fc6 and fc7.
        width: multiplier of every channel count.

    Kernels are initialised by Glorot's rule, which the paper found to make pre-training unnecessary; biases start at 0.

    Reference: K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014,
    https://arxiv.org/abs/1409.1556.
    """
    init = initializers.glorot_uniform()
    groups = {}
    for i, (depth, channels) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        for j in range(1, depth + 1):
            groups[f"conv{i}_{j}"] = nn.Conv(scaled(channels, width), 3, padding=1, kernel_init=init)
            if batch_norm:
                groups[f"norm{i}_{j}"] = nn.BatchNorm()
            groups[f"relu{i}_{j}"] = activations.relu
        groups[f"pool{i}"] = nn.MaxPool(2)
    net = nn.serial(
        **groups,
        flatten=nn.flatten,
        fc6=nn.Dense(scaled(4096, width), kernel_init=init),
        relu6=activations.relu,
        drop6=nn.Dropout(dropout),
        fc7=nn.Dense(scaled(4096, width), kernel_init=init),
        relu7=activations.relu,
        drop7=nn.Dropout(dropout),
        fc8=nn.Dense(num_classes, kernel_init=init),
    )
    return nn.sized("VGG", net)


vgg11 = functools.partial(vgg, depths=(1, 1, 2, 2, 2))
vgg13 = functools.partial(vgg, depths=(2, 2, 2, 2, 2))
vgg16 = functools.partial(vgg, depths=(2, 2, 3, 3, 3))
vgg19 = functools.partial(vgg, depths=(2, 2, 4, 4, 4))
