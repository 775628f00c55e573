"""Random changes of training images, on the device: `f(key, image, *, ...)`.

Every function takes one float image `(H, W, C)` in [0, 1], before normalisation, and keeps its shape and
type; take a batch with `per_example`, several changes with `compose`. Results are not clipped to [0, 1], except in
`rand_augment`. `mixup` and `cutmix` alone mix examples and take a whole batch. The changes themselves, without chance,
are in `jaxdl.data.transforms` and `jaxdl.data.coloring`. (Lecture row G7)
"""

from jaxdl.data.augmentation.colors import brightness, contrast, cutout, drop_pixels, hue, noise, saturation
from jaxdl.data.augmentation.composing import Augmentation, compose, per_example
from jaxdl.data.augmentation.geometry import (
    alternating_flip,
    crop,
    flip,
    random_resized_crop,
    rotate,
    scale,
    translate,
    vertical_flip,
)
from jaxdl.data.augmentation.mixing import cutmix, mixup
from jaxdl.data.augmentation.policies import rand_augment

__all__ = [
    "Augmentation",
    "alternating_flip",
    "brightness",
    "compose",
    "contrast",
    "crop",
    "cutmix",
    "cutout",
    "drop_pixels",
    "flip",
    "hue",
    "mixup",
    "noise",
    "per_example",
    "rand_augment",
    "random_resized_crop",
    "rotate",
    "saturation",
    "scale",
    "translate",
    "vertical_flip",
]
