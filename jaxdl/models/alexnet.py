"""AlexNet with one tower, and the network of 2012 with two towers and local response norm. [Lecture row I]"""

from typing import Any

from jaxdl import activations, initializers, nn
from jaxdl.models.options import check_choice, scaled


def alexnet(num_classes: int = 1000, *, dropout: float = 0.5, width: float = 1.0) -> nn.Layer:
    """AlexNet with one tower for 224x224 images: convolutions 64-192-384-256-256, then 4096-4096-classes.

    It has 61,100,840 parameters for 1000 classes and three channels. Kernels are initialised by He's rule, biases
    at 0.

    Args:
        num_classes: number of logits.
        dropout: probability of dropping an input of fc6 and fc7.
        width: multiplier of every channel count.

    Reference: A. Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014,
    https://arxiv.org/abs/1404.5997.

    Examples:
        >>> models.alexnet().out_shape((224, 224, 3))
        (1000,)
    """
    init = initializers.he_normal()
    net = nn.serial(
        conv1=nn.Conv(scaled(64, width), 11, stride=4, padding=2, kernel_init=init),
        relu1=activations.relu,
        pool1=nn.MaxPool(3, stride=2),
        conv2=nn.Conv(scaled(192, width), 5, padding=2, kernel_init=init),
        relu2=activations.relu,
        pool2=nn.MaxPool(3, stride=2),
        conv3=nn.Conv(scaled(384, width), 3, padding=1, kernel_init=init),
        relu3=activations.relu,
        conv4=nn.Conv(scaled(256, width), 3, padding=1, kernel_init=init),
        relu4=activations.relu,
        conv5=nn.Conv(scaled(256, width), 3, padding=1, kernel_init=init),
        relu5=activations.relu,
        pool5=nn.MaxPool(3, stride=2),
        flatten=nn.flatten,
        drop6=nn.Dropout(dropout),
        fc6=nn.Dense(scaled(4096, width), kernel_init=init),
        relu6=activations.relu,
        drop7=nn.Dropout(dropout),
        fc7=nn.Dense(scaled(4096, width), kernel_init=init),
        relu7=activations.relu,
        fc8=nn.Dense(num_classes, kernel_init=init),
    )
    return nn.sized("AlexNet", net)


def alexnet_2012(
    num_classes: int = 1000, *, order: str = "norm_pool", dropout: float = 0.5, width: float = 1.0
) -> nn.Layer:
    """AlexNet of 2012: convolutions 96-256-384-384-256 in two groups, local response norm, then 4096-4096-classes.

    It has 60,965,224 parameters for 1000 classes on 227x227x3. The paper states 224x224, from which its 55x55 maps do
    not follow.

    Args:
        num_classes: number of logits.
        order: "norm_pool" as in the paper, or "pool_norm" as the lecture draws it.
        dropout: probability of dropping a hidden unit of fc6 and fc7.
        width: multiplier of every channel count.

    As in the paper, kernels are drawn from N(0, .01²). Biases start at 1 in conv2, conv4, conv5 and the hidden dense
    layers, which keeps their ReLUs active at first, and at 0 elsewhere.

    Reference: A. Krizhevsky, I. Sutskever, G. Hinton, ImageNet Classification with Deep Convolutional Neural
    Networks, 2012, https://papers.nips.cc/paper/4824.

    Examples:
        >>> from jaxdl import nn
        >>> net = models.alexnet_2012()
        >>> nn.at(net, "conv1").out_shape((227, 227, 3)), net.out_shape((227, 227, 3))
        ((55, 55, 96), (1000,))

    [Lecture row H8]
    """
    check_choice("order", order, ("norm_pool", "pool_norm"))
    start: dict[str, Any] = {"kernel_init": initializers.normal(0.01)}
    alive: dict[str, Any] = start | {"bias_init": initializers.ones()}

    def channels(n):
        return scaled(n, width, multiple=2)

    def norm_and_pool(i):
        layers = {f"norm{i}": nn.LocalResponseNorm(), f"pool{i}": nn.MaxPool(3, stride=2)}
        return layers if order == "norm_pool" else dict(reversed(layers.items()))

    net = nn.serial(
        conv1=nn.Conv(channels(96), 11, stride=4, padding="VALID", **start),
        relu1=activations.relu,
        **norm_and_pool(1),
        conv2=nn.Conv(channels(256), 5, padding=2, groups=2, **alive),
        relu2=activations.relu,
        **norm_and_pool(2),
        conv3=nn.Conv(channels(384), 3, padding=1, **start),
        relu3=activations.relu,
        conv4=nn.Conv(channels(384), 3, padding=1, groups=2, **alive),
        relu4=activations.relu,
        conv5=nn.Conv(channels(256), 3, padding=1, groups=2, **alive),
        relu5=activations.relu,
        pool5=nn.MaxPool(3, stride=2),
        flatten=nn.flatten,
        fc6=nn.Dense(scaled(4096, width), **alive),
        relu6=activations.relu,
        drop6=nn.Dropout(dropout),
        fc7=nn.Dense(scaled(4096, width), **alive),
        relu7=activations.relu,
        drop7=nn.Dropout(dropout),
        fc8=nn.Dense(num_classes, **start),
    )
    return nn.sized("AlexNet of 2012", net)
