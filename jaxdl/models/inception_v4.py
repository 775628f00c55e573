"""Inception-v4 and Inception-ResNet-v2. [Lecture row I]

Reference for both: C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, Inception-v4, Inception-ResNet and the Impact of
Residual Connections on Learning, 2016, https://arxiv.org/abs/1602.07261. As in the authors' code, kernels are
initialised by He's rule from a normal distribution truncated at two deviations.
"""

import functools
from collections.abc import Sequence

from jaxdl import activations, initializers, nn
from jaxdl.models.options import scaled

HE = initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def inception_v4(
    num_classes: int = 1000, *, depths: Sequence[int] = (4, 7, 3), dropout: float = 0.2, width: float = 1.0
) -> nn.Layer:
    """Inception-v4 for 299x299 images.

    It has 42,679,816 parameters for 1000 classes and three channels.

    Args:
        num_classes: number of logits.
        depths: number of modules A, B and C.
        dropout: probability of dropping an input of the last layer.
        width: multiplier of every channel count.

    Examples:
        >>> models.inception_v4(10, depths=(1, 1, 1), width=0.25).out_shape((299, 299, 3))
        (10,)
    """
    conv = functools.partial(_conv, width=width)
    a = nn.parallel(
        "concat",
        branch1=conv(96, 1),
        branch3=_row(conv(64, 1), conv(96, 3)),
        branch5=_row(conv(64, 1), conv(96, 3), conv(96, 3)),
        pool=_row(nn.AvgPool(3, stride=1, padding=1), conv(96, 1)),
    )
    b = nn.parallel(
        "concat",
        branch1=conv(384, 1),
        branch7=_row(conv(192, 1), conv(224, (1, 7)), conv(256, (7, 1))),
        branch13=_row(conv(192, 1), conv(192, (7, 1)), conv(224, (1, 7)), conv(224, (7, 1)), conv(256, (1, 7))),
        pool=_row(nn.AvgPool(3, stride=1, padding=1), conv(128, 1)),
    )
    reduction_b = nn.parallel(
        "concat",
        branch3=_row(conv(192, 1), conv(192, 3, stride=2, padding="VALID")),
        branch7=_row(conv(256, 1), conv(256, (1, 7)), conv(320, (7, 1)), conv(320, 3, stride=2, padding="VALID")),
        pool=nn.MaxPool(3, stride=2),
    )
    net = nn.serial(
        stem=_stem_v4(conv),
        a=_times(depths[0], a),
        reduction_a=_reduction_a(conv, 384, 192, 224, 256),
        b=_times(depths[1], b),
        reduction_b=reduction_b,
        c=_times(depths[2], _module_c(conv)),
        **_end(num_classes, dropout),
    )
    return nn.sized("Inception-v4", net)


def _stem_v4(conv) -> nn.Layer:
    return nn.serial(
        conv1=conv(32, 3, stride=2, padding="VALID"),
        conv2=conv(32, 3, padding="VALID"),
        conv3=conv(64, 3),
        mixed3=nn.parallel("concat", pool=nn.MaxPool(3, stride=2), branch3=conv(96, 3, stride=2, padding="VALID")),
        mixed4=nn.parallel(
            "concat",
            branch3=_row(conv(64, 1), conv(96, 3, padding="VALID")),
            branch7=_row(conv(64, 1), conv(64, (1, 7)), conv(64, (7, 1)), conv(96, 3, padding="VALID")),
        ),
        mixed5=nn.parallel("concat", branch3=conv(192, 3, stride=2, padding="VALID"), pool=nn.MaxPool(3, stride=2)),
    )


def _module_c(conv) -> nn.Layer:
    split = nn.parallel("concat", wide=conv(256, (1, 3)), high=conv(256, (3, 1)))
    return nn.parallel(
        "concat",
        branch1=conv(256, 1),
        branch3=_row(conv(384, 1), split),
        branch5=_row(conv(384, 1), conv(448, (3, 1)), conv(512, (1, 3)), split),
        pool=_row(nn.AvgPool(3, stride=1, padding=1), conv(256, 1)),
    )


def inception_resnet_v2(
    num_classes: int = 1000, *, depths: Sequence[int] = (10, 20, 9), dropout: float = 0.2, width: float = 1.0
) -> nn.Layer:
    """Inception-ResNet-v2 for 299x299 images, as in the authors' code, whose widths differ from the paper's figures.

    It has 55,813,192 trained parameters for 1000 classes and three channels; its batch norms have no scale.

    Args:
        num_classes: number of logits.
        depths: number of residual blocks at 35x35, 17x17 and 8x8; one 8x8 block without scaling and ReLU follows.
        dropout, width: as in `inception_v4`.

    Residuals are multiplied by .17, .1 and .2; without this, the paper found training unstable.

    Examples:
        >>> models.inception_resnet_v2(10, depths=(1, 1, 1), width=0.25).out_shape((299, 299, 3))
        (10,)
    """
    conv = functools.partial(_conv, width=width, scale=False)
    channels = [scaled(n, width) for n in (96, 64, 64, 96)]  # of the four branches of mixed5
    out_a = sum(channels)
    block35 = nn.parallel(
        "concat",
        branch1=conv(32, 1),
        branch3=_row(conv(32, 1), conv(32, 3)),
        branch5=_row(conv(32, 1), conv(48, 3), conv(64, 3)),
    )
    block17 = nn.parallel(
        "concat", branch1=conv(192, 1), branch7=_row(conv(128, 1), conv(160, (1, 7)), conv(192, (7, 1)))
    )
    block8 = nn.parallel(
        "concat", branch1=conv(192, 1), branch3=_row(conv(192, 1), conv(224, (1, 3)), conv(256, (3, 1)))
    )
    reduction_b = nn.parallel(
        "concat",
        branch3=_row(conv(256, 1), conv(384, 3, stride=2, padding="VALID")),
        branch3_narrow=_row(conv(256, 1), conv(288, 3, stride=2, padding="VALID")),
        branch5=_row(conv(256, 1), conv(288, 3), conv(320, 3, stride=2, padding="VALID")),
        pool=nn.MaxPool(3, stride=2),
    )
    out_b = out_a + 2 * scaled(384, width)
    out_c = out_b + sum(scaled(n, width) for n in (384, 288, 320))
    net = nn.serial(
        stem=_stem_resnet(conv),
        a=_times(depths[0], _residual(block35, out_a, 0.17)),
        reduction_a=_reduction_a(conv, 384, 256, 256, 384),
        b=_times(depths[1], _residual(block17, out_b, 0.1)),
        reduction_b=reduction_b,
        c=_times(depths[2], _residual(block8, out_c, 0.2)),
        last=_residual(block8, out_c, None),
        conv7=conv(1536, 1),
        **_end(num_classes, dropout),
    )
    return nn.sized("Inception-ResNet-v2", net)


def _stem_resnet(conv) -> nn.Layer:
    return nn.serial(
        conv1=conv(32, 3, stride=2, padding="VALID"),
        conv2=conv(32, 3, padding="VALID"),
        conv3=conv(64, 3),
        pool1=nn.MaxPool(3, stride=2),
        conv4=conv(80, 1),
        conv5=conv(192, 3, padding="VALID"),
        pool2=nn.MaxPool(3, stride=2),
        mixed5=nn.parallel(
            "concat",
            branch1=conv(96, 1),
            branch5=_row(conv(48, 1), conv(64, 5)),
            branch3=_row(conv(64, 1), conv(96, 3), conv(96, 3)),
            pool=_row(nn.AvgPool(3, stride=1, padding=1), conv(64, 1)),
        ),
    )


def _reduction_a(conv, n: int, k: int, m: int, last: int) -> nn.Layer:
    """Return the reduction of the paper's figure 7, which both networks use with different widths."""
    return nn.parallel(
        "concat",
        branch3=conv(n, 3, stride=2, padding="VALID"),
        branch5=_row(conv(k, 1), conv(m, 3), conv(last, 3, stride=2, padding="VALID")),
        pool=nn.MaxPool(3, stride=2),
    )


def _residual(branches: nn.Layer, channels: int, scale: float | None) -> nn.Layer:
    """Return ReLU(x + scale · (1x1 convolution of the branches)); None leaves out scale and ReLU."""
    up = nn.Conv(channels, 1, kernel_init=HE)
    if scale is None:
        return nn.residual(nn.serial(branches=branches, up=up))
    scaling = nn.function(lambda x: x * scale, kind="scale")
    body = nn.serial(branches=branches, up=up, scale=scaling)
    return nn.serial(residual=nn.residual(body), relu=activations.relu)


def _conv(features: int, window, *, stride: int = 1, padding="SAME", width: float, scale: bool = True) -> nn.Layer:
    options = {"stride": stride, "padding": padding, "bias": False, "kernel_init": HE}
    return nn.serial(
        conv=nn.Conv(scaled(features, width), window, **options),
        norm=nn.BatchNorm(eps=1e-3, scale=scale),
        relu=activations.relu,
    )


def _row(*parts: nn.Layer) -> nn.Layer:
    return nn.serial(**{f"part{i}": part for i, part in enumerate(parts, 1)})


def _times(depth: int, module: nn.Layer) -> nn.Layer:
    return nn.serial(**{f"block{i}": module for i in range(1, depth + 1)})


def _end(num_classes: int, dropout: float) -> dict[str, nn.Layer]:
    fc = nn.Dense(num_classes, kernel_init=initializers.glorot_uniform())
    return {"pool": nn.global_avg_pool, "dropout": nn.Dropout(dropout), "fc": fc}
