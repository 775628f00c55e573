"""GoogLeNet: Inception modules, reduced or naive, and auxiliary heads. [Lecture row I]"""

from collections.abc import Sequence

from jaxdl import activations, initializers, nn
from jaxdl.models.options import check_choice, scaled

# widths from the paper's table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; projection after the pool
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
CEIL = ((0, 1), (0, 1))  # padding with which a pool of stride 2 rounds its output length up


def googlenet(
    num_classes: int = 1000,
    *,
    variant: str = "paper",
    auxiliary: bool = False,
    naive: bool = False,
    modules: Sequence[str] = tuple(MODULES),
    dropout: float = 0.4,
    width: float = 1.0,
) -> nn.Layer:
    """GoogLeNet for 224x224 images: a convolutional stem, nine Inception modules, one dense layer.

    Parameter counts for 1000 classes and three channels, without and with the auxiliary heads: "paper" 6,998,552 and
    13,378,280; "batch_norm" 7,005,832 and 13,385,816; "torch" 6,624,904 and 13,004,888.

    Args:
        num_classes: number of logits.
        variant: "paper" has biases and local response norm; "batch_norm" has batch norm instead of both; "torch"
            follows torchvision, with batch norm, 3x3 in place of 5x5 convolutions, and a 2x2 pool before 5a.
        auxiliary: whether to put heads on 4a and 4d. The network then returns `nn.WithAuxiliary` in training, where
            each head's loss has weight .3, and the logits alone in evaluation.
        naive: whether to leave out the modules' 1x1 reductions and projection, as in the paper's figure 2a.
        modules: names of the modules to build; the paper's network has all nine.
        dropout: probability of dropping an input of the last layer; the heads use .7.
        width: multiplier of every channel count.

    Kernels are initialised by Glorot's rule, biases at 0; the paper specifies neither.

    Reference: C. Szegedy et al., Going Deeper with Convolutions, 2014, https://arxiv.org/abs/1409.4842.

    Examples:
        >>> models.googlenet(10, modules=("3a",), width=0.25).out_shape((64, 64, 3))
        (10,)
    """
    check_choice("variant", variant, ("paper", "batch_norm", "torch"))
    batch_norm = variant != "paper"
    for name in modules:
        check_choice("modules", name, MODULES)

    def chosen(*names):
        chosen_widths = {name: MODULES[name] for name in names if name in modules}
        return {f"inception{name}": _module(*w, naive, variant, width) for name, w in chosen_widths.items()}

    def head(name):
        return {name: nn.auxiliary(_head(num_classes, batch_norm, width), weight=0.3)} if auxiliary else {}

    net = nn.serial(
        **_stem(batch_norm, width),
        **chosen("3a", "3b"),
        pool3=nn.MaxPool(3, stride=2, padding=CEIL),
        **chosen("4a"),
        **head("aux1"),
        **chosen("4b", "4c", "4d"),
        **head("aux2"),
        **chosen("4e"),
        pool4=nn.MaxPool(2, padding=CEIL) if variant == "torch" else nn.MaxPool(3, stride=2, padding=CEIL),
        **chosen("5a", "5b"),
        pool5=nn.global_avg_pool,
        dropout=nn.Dropout(dropout),
        fc=nn.Dense(num_classes, kernel_init=initializers.glorot_uniform()),
    )
    return nn.sized("GoogLeNet", net)


def _stem(batch_norm: bool, width: float) -> dict[str, nn.Layer]:
    def norm(name):
        return {} if batch_norm else {name: nn.LocalResponseNorm(alpha=1e-4 / 5, k=1.0)}

    return {
        "conv1": _conv(scaled(64, width), 7, batch_norm, stride=2),
        "pool1": nn.MaxPool(3, stride=2, padding=CEIL),
        **norm("norm1"),
        "conv2_reduce": _conv(scaled(64, width), 1, batch_norm),
        "conv2": _conv(scaled(192, width), 3, batch_norm),
        **norm("norm2"),
        "pool2": nn.MaxPool(3, stride=2, padding=CEIL),
    }


def _module(c1, reduce3, c3, reduce5, c5, pool, naive: bool, variant: str, width: float) -> nn.Layer:
    if naive:
        return naive_inception(c1, c3, c5, variant=variant, width=width)
    return inception(c1, reduce3, c3, reduce5, c5, pool, variant=variant, width=width)


def inception(
    c1: int, reduce3: int, c3: int, reduce5: int, c5: int, pool: int, *, variant: str = "paper", width: float = 1.0
) -> nn.Layer:
    """Inception module: parallel 1x1, 3x3 and 5x5 convolutions and a 3x3 pool, with 1x1 convolutions to save work.

    Args:
        c1: channels of the 1x1 branch.
        reduce3, c3: channels of the 1x1 convolution before the 3x3, and of the 3x3.
        reduce5, c5: the same for the 5x5 branch.
        pool: channels of the 1x1 convolution after the pool.
        variant, width: as in `googlenet`.
    """
    c1, reduce3, c3, reduce5, c5, pool = (scaled(c, width) for c in (c1, reduce3, c3, reduce5, c5, pool))
    batch_norm, large = variant != "paper", 3 if variant == "torch" else 5
    return nn.parallel(
        "concat",
        branch1=_conv(c1, 1, batch_norm),
        branch3=nn.serial(reduce=_conv(reduce3, 1, batch_norm), conv=_conv(c3, 3, batch_norm)),
        branch5=nn.serial(reduce=_conv(reduce5, 1, batch_norm), conv=_conv(c5, large, batch_norm)),
        pool=nn.serial(pool=nn.MaxPool(3, stride=1, padding=1), project=_conv(pool, 1, batch_norm)),
    )


def naive_inception(c1: int, c3: int, c5: int, *, variant: str = "paper", width: float = 1.0) -> nn.Layer:
    """Inception module without reductions; its pool keeps all channels, so each module adds to their number.

    See `inception`.
    """
    batch_norm, large = variant != "paper", 3 if variant == "torch" else 5
    return nn.parallel(
        "concat",
        branch1=_conv(scaled(c1, width), 1, batch_norm),
        branch3=_conv(scaled(c3, width), 3, batch_norm),
        branch5=_conv(scaled(c5, width), large, batch_norm),
        pool=nn.MaxPool(3, stride=1, padding=1),
    )


def _head(num_classes: int, batch_norm: bool, width: float) -> nn.Layer:
    init = initializers.glorot_uniform()
    return nn.serial(
        pool=nn.AvgPool(5, stride=3),
        conv=_conv(scaled(128, width), 1, batch_norm),
        flatten=nn.flatten,
        fc1=nn.Dense(scaled(1024, width), kernel_init=init),
        relu=activations.relu,
        dropout=nn.Dropout(0.7),
        fc2=nn.Dense(num_classes, kernel_init=init),
    )


def _conv(features: int, window: int, batch_norm: bool, *, stride: int = 1) -> nn.Layer:
    init = initializers.glorot_uniform()
    conv = nn.Conv(features, window, stride=stride, padding=window // 2, bias=not batch_norm, kernel_init=init)
    norm = {"norm": nn.BatchNorm(eps=1e-3)} if batch_norm else {}
    return nn.serial(conv=conv, **norm, relu=activations.relu)
