"""MobileNet: alternating depthwise and pointwise convolutions. [Lecture row I]"""

from jaxdl import activations, initializers, nn
from jaxdl.models.options import scaled

# (output channels, stride) of each depthwise separable convolution
SEPARABLE = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def mobilenet(num_classes: int = 1000, *, width: float = 1.0, dropout: float = 1e-3) -> nn.Layer:
    """MobileNet v1 for 224x224 images: a 3x3 convolution and thirteen depthwise separable ones.

    It has 4,231,976 parameters for 1000 classes and three channels.

    Args:
        num_classes: number of logits.
        width: the paper's α, a multiplier of every channel count.
        dropout: probability of dropping an input of the last layer, as in the authors' code.

    Kernels are drawn from N(0, .09²) truncated at two deviations, as in the authors' code.

    Reference: A. Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,
    2017, https://arxiv.org/abs/1704.04861.

    Examples:
        >>> models.mobilenet(10, width=0.25).out_shape((64, 64, 3))
        (10,)
    """
    channels = scaled(32, width)
    separable = {}
    for i, (out, stride) in enumerate(SEPARABLE, 1):
        separable[f"depthwise{i}"] = _conv(channels, 3, stride=stride, groups=channels)
        channels = scaled(out, width)
        separable[f"pointwise{i}"] = _conv(channels, 1)
    net = nn.serial(
        conv1=_conv(scaled(32, width), 3, stride=2),
        **separable,
        pool=nn.global_avg_pool,
        dropout=nn.Dropout(dropout),
        fc=nn.Dense(num_classes, kernel_init=initializers.truncated_normal(0.09)),
    )
    return nn.sized("MobileNet", net)


def _conv(features: int, window: int, *, stride: int = 1, groups: int = 1) -> nn.Layer:
    init = initializers.truncated_normal(0.09)
    return nn.serial(
        conv=nn.Conv(features, window, stride=stride, groups=groups, bias=False, kernel_init=init),
        norm=nn.BatchNorm(eps=1e-3),
        relu=activations.relu,
    )
