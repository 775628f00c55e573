"""Darknet-53 and YOLOv3, a network that finds objects on maps of three resolutions. [Lecture row I]

Reference for both: J. Redmon, A. Farhadi, YOLOv3: An Incremental Improvement, 2018, https://arxiv.org/abs/1804.02767,
and the authors' files darknet53.cfg and yolov3.cfg, https://github.com/pjreddie/darknet.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jaxdl import activations, initializers, nn
from jaxdl.models.options import scaled

HE = initializers.he_normal()
DEPTHS = (1, 2, 8, 8, 4)  # residual blocks per stage
STRIDES = (32, 16, 8)  # pixels from one place of a map to the next, in the order of the outputs
ANCHORS = (  # (width, height) of YOLOv3's boxes in pixels, three for each output
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)


def darknet53(num_classes: int = 1000, *, depths: Sequence[int] = DEPTHS, width: float = 1.0) -> nn.Layer:
    """Darknet-53: five stages, each a strided 3x3 convolution and residual blocks of 1x1 and 3x3 convolutions.

    It has 41,609,928 parameters for 1000 classes and three channels. All convolutions are without bias and followed by
    batch norm and leaky ReLU of slope .1; the last layer is dense on the mean over all places.

    Args:
        num_classes: number of logits.
        depths: residual blocks per stage.
        width: multiplier of every channel count.

    Examples:
        >>> models.darknet53(10, depths=(1, 1), width=0.25).out_shape((32, 32, 3))
        (10,)
    """
    stages = {f"conv{i + 2}": _stage(i, depth, width) for i, depth in enumerate(depths)}
    return nn.serial(
        conv1=_conv(scaled(32, width), 3), **stages, pool=nn.global_avg_pool, fc=nn.Dense(num_classes, kernel_init=HE)
    )


def yolov3(num_classes: int = 80, *, anchors: int = 3, depths: Sequence[int] = DEPTHS, width: float = 1.0) -> nn.Layer:
    """YOLOv3: Darknet-53 without its last layer, and boxes predicted at three resolutions, from coarse to fine.

    It has 61,949,149 parameters for 80 classes and three channels. The output for images ``(h, w, 3)`` is a tuple of
    maps ``(h / s, w / s, anchors (5 + num_classes))`` for s = 32, 16 and 8, which
    `applications.detection.decode_boxes` turns into boxes. Each finer map sees its stage of the trunk beside the
    coarser map, enlarged twofold.

    Args:
        num_classes: number of classes.
        anchors: boxes per place.
        depths: residual blocks per stage, at least three stages.
        width: multiplier of every channel count but the outputs'.

    Height and width of the images must be multiples of 2 to the power of the number of stages, 32 for five: other
    sizes raise a ValueError.

    Examples:
        >>> models.yolov3(2, depths=(1, 1, 1), width=0.25).out_shape((32, 32, 3))  # 3 anchors, 5 + 2 numbers each
        ((4, 4, 21), (8, 8, 21), (16, 16, 21))
    """
    if len(depths) < 3:
        raise ValueError(f"depths: got {tuple(depths)}, allowed are three stages or more, one per resolution and above")
    first = len(depths) - 3
    stages = {f"conv{i + 2}": _stage(i, depth, width) for i, depth in enumerate(depths[: first + 1])}
    check = nn.function(functools.partial(_divisible, multiple=2 ** len(depths)), kind="check")
    head = functools.partial(_head, outputs=anchors * (5 + num_classes), width=width)
    # above the finest of the three stages: (its map, (outputs so far, features of the coarser map))
    coarsest = nn.serial(stage=_stage(first + 2, depths[-1], width), neck=_neck(512, width), outputs=_end(head(1024)))
    middle = _finer(_stage(first + 1, depths[-2], width), coarsest, 256, head, width)
    finest = _finer(nn.identity, middle, 128, head, width)
    return nn.serial(check=check, conv1=_conv(scaled(32, width), 3), **stages, boxes=finest, outputs=_outputs)


def _stage(number: int, depth: int, width: float) -> nn.Layer:
    """Halve height and width, and double the channels of the first stage ``number`` times."""
    inner, outer = scaled(32 * 2**number, width), scaled(64 * 2**number, width)
    block = lambda: nn.residual(nn.serial(conv1=_conv(inner, 1), conv2=_conv(outer, 3)))
    return nn.serial(down=_conv(outer, 3, 2), **{f"block{i + 1}": block() for i in range(depth)})


def _conv(features: int, window: int, stride: int = 1) -> nn.Layer:
    conv = nn.Conv(features, window, stride=stride, padding=window // 2, bias=False, kernel_init=HE)
    return nn.serial(conv=conv, norm=nn.BatchNorm(), relu=functools.partial(activations.leaky_relu, negative_slope=0.1))


def _neck(features: int, width: float) -> nn.Layer:
    """Five convolutions of alternating windows, which end with that many channels."""
    narrow, wide = scaled(features, width), scaled(2 * features, width)
    return nn.serial(**{f"conv{i}": _conv(wide, 3) if i % 2 == 0 else _conv(narrow, 1) for i in range(1, 6)})


def _head(features: int, *, outputs: int, width: float) -> nn.Layer:
    return nn.serial(conv=_conv(scaled(features, width), 3), boxes=nn.Conv(outputs, 1, kernel_init=HE))


def _end(head: nn.Layer) -> nn.Layer:
    """Map features to ((output,), features)."""
    return nn.parallel(_started, head=head, features=nn.identity)


def _finer(stage: Any, coarser: nn.Layer, features: int, head: Callable[[int], nn.Layer], width: float) -> nn.Layer:
    """Map the stage before to (the outputs of the coarser maps and of this one, its features).

    Args:
        stage: makes this resolution's map of the trunk.
        coarser: maps that to (outputs, features) of the coarser resolutions.
        features: channels of this resolution's neck.
        head: channels → layer that ends in an output.
        width: multiplier of channel counts.
    """
    enlarged = nn.serial(conv=_conv(scaled(features, width), 1), up=_doubled)
    joined = nn.parallel("concat", coarse=nn.pick(1, nn.pick(1, enlarged)), trunk=nn.pick(0))
    neck = nn.serial(join=joined, neck=_neck(features, width), outputs=_end(head(2 * features)))
    return nn.serial(
        stage=stage,
        below=nn.parallel(tuple, trunk=nn.identity, coarser=coarser),
        scales=nn.parallel(_appended, before=nn.pick(1, nn.pick(0)), here=neck),
    )


def _started(parts: list[Any]) -> tuple[Any, Any]:
    return (parts[0],), parts[1]


def _appended(parts: list[Any]) -> tuple[Any, Any]:
    before, (here, features) = parts
    return (*before, *here), features


def _outputs(scales: tuple[Any, Any]) -> Any:
    return scales[0]


def _doubled(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _divisible(x, multiple: int):
    height, width = x.shape[1:3]
    if height % multiple or width % multiple:
        raise ValueError(
            f"in_shape: got images of {height}x{width}, allowed for YOLOv3 are heights and widths divisible by "
            f"{multiple}"
        )
    return x
