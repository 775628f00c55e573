"""ResNet for ImageNet and for CIFAR, plain networks of the same depths, and pre-activation. [Lecture row I]

Reference for all: K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2015,
https://arxiv.org/abs/1512.03385. For pre-activation: the same authors, Identity Mappings in Deep Residual Networks,
2016, https://arxiv.org/abs/1603.05027.
"""

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jaxdl import activations, initializers, nn
from jaxdl.models.options import check_choice, scaled

HE = initializers.variance_scaling(2.0, "fan_out", "normal")  # over fan-out, as in the authors' code
HEAD = initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # PyTorch's default, which that code keeps

# number of a bottleneck's strided convolution, bias in convolutions, eps and momentum of batch norm
VARIANTS = {
    "torch": (2, False, 1e-5, 0.9),
    "paper": (1, False, 1e-5, 0.9),
    "keras": (1, True, 1.001e-5, 0.99),
}

Norm = Callable[[], nn.Layer]
Conv = Callable[..., nn.Layer]


def resnet(
    num_classes: int = 1000,
    *,
    depths: Sequence[int] = (2, 2, 2, 2),
    bottleneck: bool = False,
    shortcut: str | None = "B",
    variant: str = "torch",
    preactivation: bool = False,
    width: float = 1.0,
) -> nn.Layer:
    """ResNet for 224x224 images: a 7x7 convolution, a pool, four stages of residual blocks, one dense layer.

    Parameter counts for 1000 classes and three channels: resnet18 11,689,512, resnet34 21,797,672, resnet50
    25,557,032, resnet101 44,549,160, resnet152 60,192,808.

    Args:
        num_classes: number of logits.
        depths: number of blocks in conv2, conv3, ...
        bottleneck: whether blocks are 1x1, 3x3 and 1x1 convolutions, the last four times as wide, instead of two 3x3.
        shortcut: where the shape changes, "A" subsamples and appends zero channels and "B" projects by a 1x1
            convolution; "C" projects everywhere; None makes the plain network without shortcuts.
        variant: "paper" puts a bottleneck's stride in the first convolution, "torch" in the 3x3 (known as v1.5; 4.1
            instead of 3.8 billion multiply-adds for resnet50). "keras" is "paper" with biases in the convolutions
            and Keras' batch norm constants.
        preactivation: whether norm and ReLU precede each convolution, as in the paper of 2016, instead of following.
        width: multiplier of every channel count.

    Convolutions are initialised by He's rule over fan-out, as in the authors' code, the last layer uniformly in
    ±1/sqrt(fan_in) with bias 0.
    """
    check_choice("variant", variant, VARIANTS)
    _, bias, eps, momentum = VARIANTS[variant]
    conv = functools.partial(_conv, bias=bias)
    norm = functools.partial(nn.BatchNorm, eps=eps, momentum=momentum)
    channels = scaled(64, width)
    widths = [scaled(64 * 2**i, width) for i in range(len(depths))]
    net = nn.serial(
        conv1=conv(channels, 7, 2),
        norm1=norm(),
        relu1=activations.relu,
        pool1=nn.MaxPool(3, stride=2, padding=1),
        **_stages(channels, depths, widths, bottleneck, shortcut, VARIANTS[variant][0], preactivation, conv, norm),
        pool=nn.global_avg_pool,
        fc=nn.Dense(num_classes, kernel_init=HEAD),
    )
    return nn.sized("this ResNet", net)


def resnet_cifar(
    num_classes: int = 10,
    *,
    depth: int = 20,
    shortcut: str | None = "A",
    preactivation: bool = False,
    width: float = 1.0,
) -> nn.Layer:
    """ResNet for 32x32 images: a 3x3 convolution, three stages of 16, 32 and 64 channels, one dense layer.

    Parameter counts on three channels: resnet20 269,722, resnet32 464,154, resnet44 658,586, resnet56 853,018,
    resnet110 1,727,962.

    Args:
        num_classes: number of logits.
        depth: number of layers with weights, 6n + 2.
        shortcut, preactivation, width: as in `resnet`.

    Initialisation is as in `resnet`; He's rule over the 10 outputs of the last layer would start at a loss near 6.

    The paper trains with weight decay 1e-4, momentum .9, batches of 128, padded crops and flips, and a learning rate of
    .1 divided by 10 after 32,000 and 48,000 of 64,000 steps. Its errors are 8.75 (20), 7.51 (32), 7.17 (44), 6.97 (56)
    and 6.43 % (110).
    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth: got {depth}, allowed are 8, 14, 20, ...: 6n + 2 layers for stages of n blocks")
    widths = [scaled(16 * 2**i, width) for i in range(3)]
    depths = [(depth - 2) // 6] * 3
    net = nn.serial(
        conv1=_conv(widths[0], 3),
        norm1=nn.BatchNorm(),
        relu1=activations.relu,
        **_stages(widths[0], depths, widths, False, shortcut, 1, preactivation, _conv, nn.BatchNorm),
        pool=nn.global_avg_pool,
        fc=nn.Dense(num_classes, kernel_init=HEAD),
    )
    return nn.sized("this ResNet", net)


resnet18 = functools.partial(resnet, depths=(2, 2, 2, 2))
resnet34 = functools.partial(resnet, depths=(3, 4, 6, 3))
resnet50 = functools.partial(resnet, depths=(3, 4, 6, 3), bottleneck=True)
resnet101 = functools.partial(resnet, depths=(3, 4, 23, 3), bottleneck=True)
resnet152 = functools.partial(resnet, depths=(3, 8, 36, 3), bottleneck=True)
plain18 = functools.partial(resnet18, shortcut=None)
plain34 = functools.partial(resnet34, shortcut=None)

resnet20 = functools.partial(resnet_cifar, depth=20)
resnet32 = functools.partial(resnet_cifar, depth=32)
resnet44 = functools.partial(resnet_cifar, depth=44)
resnet56 = functools.partial(resnet_cifar, depth=56)
resnet110 = functools.partial(resnet_cifar, depth=110)
plain20 = functools.partial(resnet20, shortcut=None)
plain32 = functools.partial(resnet32, shortcut=None)
plain44 = functools.partial(resnet44, shortcut=None)
plain56 = functools.partial(resnet56, shortcut=None)
plain110 = functools.partial(resnet110, shortcut=None)


def _stages(channels, depths, widths, bottleneck, shortcut, strided, preactivation, conv: Conv, norm: Norm):
    """Return conv2, conv3, ... and, with pre-activation, the norm and ReLU that follow them."""
    check_choice("shortcut", shortcut, ("A", "B", "C", None))
    stages = {}
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        blocks = {}
        for j in range(depth):
            stride = 2 if i > 0 and j == 0 else 1
            convs = _bottleneck(width, stride, strided, conv) if bottleneck else _basic(width, stride, conv)
            out = 4 * width if bottleneck else width
            if shortcut is None:
                block = _plain(convs, norm)
            elif preactivation:
                block = _preactivated(convs, _shortcut(shortcut, channels, out, stride, conv), norm, i == j == 0)
            else:
                block = _postactivated(convs, _shortcut(shortcut, channels, out, stride, conv, norm), norm)
            blocks[f"block{j + 1}"], channels = block, out
        stages[f"conv{i + 2}"] = nn.serial(**blocks)
    ending = {"norm": norm(), "relu": activations.relu} if preactivation and shortcut else {}
    return stages | ending


def _basic(width: int, stride: int, conv: Conv) -> list[nn.Layer]:
    return [conv(width, 3, stride), conv(width, 3)]


def _bottleneck(width: int, stride: int, strided: int, conv: Conv) -> list[nn.Layer]:
    first, second = (stride, 1) if strided == 1 else (1, stride)
    return [conv(width, 1, first), conv(width, 3, second), conv(4 * width, 1)]


def _plain(convs: Sequence[nn.Layer], norm: Norm) -> nn.Layer:
    body = {}
    for i, conv in enumerate(convs, 1):
        body |= {f"conv{i}": conv, f"norm{i}": norm(), f"relu{i}": activations.relu}
    return nn.serial(**body)


def _postactivated(convs: Sequence[nn.Layer], shortcut: nn.Layer, norm: Norm) -> nn.Layer:
    *inner, _ = _plain(convs, norm).children.items()  # the last ReLU comes after the sum
    return nn.serial(residual=nn.residual(nn.serial(**dict(inner)), shortcut), relu=activations.relu)


def _preactivated(convs: Sequence[nn.Layer], shortcut: nn.Layer, norm: Norm, first: bool) -> nn.Layer:
    """Share the first norm and ReLU of body and shortcut where the shape changes; the first block uses the stem's."""
    body = {}
    for i, conv in enumerate(convs, 1):
        body |= {f"norm{i}": norm(), f"relu{i}": activations.relu, f"conv{i}": conv}
    shared = {name: body.pop(name) for name in ("norm1", "relu1")} if first or shortcut is not nn.identity else {}
    return nn.serial(**({} if first else shared), residual=nn.residual(nn.serial(**body), shortcut))


def _shortcut(option: str, channels: int, out: int, stride: int, conv: Conv, norm: Norm | None = None) -> nn.Layer:
    if option != "C" and (channels, stride) == (out, 1):
        return nn.identity
    if option == "A":
        return nn.function(functools.partial(_subsample, stride=stride, out=out), kind="shortcut_a")
    return nn.serial(conv=conv(out, 1, stride), **({"norm": norm()} if norm else {}))


def _subsample(x, stride: int, out: int):
    return jnp.pad(x[:, ::stride, ::stride], [(0, 0)] * 3 + [(0, out - x.shape[-1])])


def _conv(features: int, window: int, stride: int = 1, *, bias: bool = False) -> nn.Layer:
    return nn.Conv(features, window, stride=stride, padding=window // 2, bias=bias, kernel_init=HE)
