"""Data sets bigger than memory: images are read, decoded and resized by Grain's workers while training goes on.

    stream = streaming.open_images("imagenet", size=224)
    parts = streaming.split(stream, seed=0, dev_fraction=0.01)
    with streaming.Loader(parts.train, 256, seed=0, epochs=90, random_crop=True) as loader:
        for batch in loader.batches(epoch=0): ...

Every batch is a function of (seed, epoch, number of the batch), whatever the number of workers, and `Loader.batches`
starts at any of them. The extra `streaming` installs Grain.
"""

from jaxdl.data.streaming.images import StreamedImages
from jaxdl.data.streaming.loader import Loader, eval_batches
from jaxdl.data.streaming.opening import (
    ImageStream,
    estimate,
    fit_normalization,
    in_memory,
    looks_streamable,
    open_images,
    peek,
    split,
)

__all__ = [
    "ImageStream",
    "Loader",
    "StreamedImages",
    "estimate",
    "eval_batches",
    "fit_normalization",
    "in_memory",
    "looks_streamable",
    "open_images",
    "peek",
    "split",
]
