"""DenseNet for ImageNet and for CIFAR: every layer sees the outputs of all layers before it. [Lecture row I]

Reference for all: G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, Densely Connected Convolutional Networks, 2016,
https://arxiv.org/abs/1608.06993.
"""

import functools
from collections.abc import Callable, Sequence

from jaxdl import activations, initializers, nn
from jaxdl.models.options import check_choice

HE = initializers.he_normal()
VARIANTS = {"torch": (1e-5, 0.9), "keras": (1.001e-5, 0.99)}  # eps and momentum of the batch norm


def densenet(
    num_classes: int = 1000,
    *,
    depths: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
    variant: str = "torch",
    dropout: float = 0.0,
) -> nn.Layer:
    """DenseNet for 224x224 images: a 7x7 convolution, a pool, four dense blocks with transitions between them.

    Parameter counts for 1000 classes and three channels: densenet121 7,978,856, densenet161 28,681,000, densenet169
    14,149,480, densenet201 20,013,928.

    Args:
        num_classes: number of logits.
        depths: layers in each block; a layer is a 1x1 convolution to 4·growth channels and a 3x3 to ``growth``.
        growth: channels that each layer adds.
        variant: "torch" or "keras", which differ in batch norm's eps and momentum alone.
        dropout: probability of dropping a unit after each 3x3 convolution.

    Transitions halve channels, height and width. Kernels are initialised by He's rule, the last bias at 0.
    """
    check_choice("variant", variant, VARIANTS)
    eps, momentum = VARIANTS[variant]
    norm = functools.partial(nn.BatchNorm, eps=eps, momentum=momentum)
    net = nn.serial(
        conv0=_conv(2 * growth, 7, stride=2),
        norm0=norm(),
        relu0=activations.relu,
        pool0=nn.MaxPool(3, stride=2, padding=1),
        **_blocks(depths, 2 * growth, growth, True, 0.5, dropout, norm),
        pool=nn.global_avg_pool,
        fc=nn.Dense(num_classes, kernel_init=HE),
    )
    return nn.sized("this DenseNet", net)


def densenet_cifar(
    num_classes: int = 10, *, depth: int = 40, growth: int = 12, bottleneck: bool = False, dropout: float = 0.0
) -> nn.Layer:
    """DenseNet for 32x32 images with three dense blocks; ``bottleneck`` makes it the paper's BC form.

    Parameter counts on three channels: 1,019,722 at depth 40 and growth 12 (the paper's error is 5.24 % with
    augmentation), 769,162 for BC at depth 100 and growth 12 (4.51 %).

    Args:
        num_classes: number of logits.
        depth: number of layers with weights: 3n + 4, or 6n + 4 with ``bottleneck``.
        growth: channels that each layer adds.
        bottleneck: whether 1x1 convolutions precede the 3x3 ones and transitions halve the channels.
        dropout: as in `densenet`; the paper uses .2 without augmentation.
    """
    layers_each = 2 if bottleneck else 1
    if depth < 4 + 3 * layers_each or (depth - 4) % (3 * layers_each):
        raise ValueError(f"depth: got {depth}, allowed are {3 * layers_each}n + 4 with n ≥ 1, for three equal blocks")
    depths = [(depth - 4) // (3 * layers_each)] * 3
    first = 2 * growth if bottleneck else 16
    compression = 0.5 if bottleneck else 1.0
    net = nn.serial(
        conv0=_conv(first, 3),
        **_blocks(depths, first, growth, bottleneck, compression, dropout, nn.BatchNorm),
        pool=nn.global_avg_pool,
        fc=nn.Dense(num_classes, kernel_init=HE),
    )
    return nn.sized("this DenseNet", net)


densenet121 = functools.partial(densenet, depths=(6, 12, 24, 16))
densenet161 = functools.partial(densenet, depths=(6, 12, 36, 24), growth=48)
densenet169 = functools.partial(densenet, depths=(6, 12, 32, 32))
densenet201 = functools.partial(densenet, depths=(6, 12, 48, 32))
densenet40 = functools.partial(densenet_cifar, depth=40)
densenet_bc100 = functools.partial(densenet_cifar, depth=100, bottleneck=True)


def _blocks(depths, channels, growth, bottleneck, compression, dropout, norm: Callable[[], nn.Layer]):
    """Return block1, transition1, block2, ... and the norm and ReLU that follow them."""
    parts = {}
    for i, depth in enumerate(depths, 1):
        layers = {f"layer{j}": _dense_layer(growth, bottleneck, dropout, norm) for j in range(1, depth + 1)}
        parts[f"block{i}"] = nn.serial(**layers)
        channels += depth * growth
        if i < len(depths):
            channels = int(compression * channels)
            parts[f"transition{i}"] = nn.serial(
                norm=norm(), relu=activations.relu, conv=_conv(channels, 1), pool=nn.AvgPool(2)
            )
    return parts | {"norm": norm(), "relu": activations.relu}


def _dense_layer(growth: int, bottleneck: bool, dropout: float, norm: Callable[[], nn.Layer]) -> nn.Layer:
    convs = [_conv(4 * growth, 1), _conv(growth, 3)] if bottleneck else [_conv(growth, 3)]
    new = {}
    for i, conv in enumerate(convs, 1):
        new |= {f"norm{i}": norm(), f"relu{i}": activations.relu, f"conv{i}": conv}
    if dropout:
        new["dropout"] = nn.Dropout(dropout)
    return nn.parallel("concat", old=nn.identity, new=nn.serial(**new))


def _conv(features: int, window: int, *, stride: int = 1) -> nn.Layer:
    return nn.Conv(features, window, stride=stride, padding=window // 2, bias=False, kernel_init=HE)
