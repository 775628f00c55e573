"""A small convolutional network with batch norm for small images."""

import functools
from collections.abc import Sequence

from jaxdl import activations, initializers, nn


def small_cnn(
    num_classes: int = 10,
    *,
    widths: Sequence[int] = (32, 64, 128),
    hidden: int = 256,
    dropout: float = 0.3,
) -> nn.Layer:
    """Stages of 3x3 convolution, 2x2 max pool, batch norm and ReLU; then one hidden layer with dropout.

    The pool comes before the batch norm, so that norm and ReLU process a quarter of the values; max pooling and ReLU
    commute. With the defaults it has 390,634 parameters on 28x28x1. Kernels are initialised by He's rule.

    Args:
        num_classes: number of logits.
        widths: channels per stage; each stage halves height and width.
        hidden: units of the hidden layer.
        dropout: probability of dropping a hidden unit.

    Examples:
        >>> from jaxdl import analysis
        >>> analysis.count_parameters(models.small_cnn(), (28, 28, 1))
        390634
    """
    init = initializers.he_normal()
    stages = {}
    for i, width in enumerate(widths, 1):
        stages[f"stage{i}"] = nn.serial(
            conv=nn.Conv(width, 3, bias=False, kernel_init=init),  # batch norm's offset makes a bias irrelevant
            pool=nn.MaxPool(2),
            norm=nn.BatchNorm(),
            relu=activations.relu,
        )
    net = nn.serial(
        **stages,
        flatten=nn.flatten,
        fc1=nn.Dense(hidden, kernel_init=init),
        relu=activations.relu,
        dropout=nn.Dropout(dropout),
        fc2=nn.Dense(num_classes, kernel_init=initializers.glorot_uniform()),
    )
    return nn.sized("this net", net)


tiny_cnn = functools.partial(small_cnn, widths=(32, 64), hidden=128)  # for 8x8 images: 53,098 parameters
