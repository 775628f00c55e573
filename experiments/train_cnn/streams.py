"""The choice between a data set in memory and a stream, and the reading of a stream.

A folder or archive stays in memory if its images have one size and take at most `RESIDENT` bytes when decoded. Images
of several sizes are resized, to --image-size or the size that the network was made for; if they then fit they are kept
in memory, too. All others are read and decoded by workers while training goes on (`jaxdl.data.streaming`).

Files whose images end up in memory are opened and decoded once, with three exceptions. The first file is opened before
the others, because its size decides between memory and stream. If sizes turn out to differ, the files up to there are
read again and resized. Grey images of more than a third of `RESIDENT` are read twice, because the first pass keeps
pixels only if they would fit in colour.
"""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from experiments.train_cnn import targets
from experiments.train_cnn.config import Config, require
from jaxdl import data, runs
from jaxdl.data import streaming
from jaxdl.data.reading import decoded, pixels
from jaxdl.data.reading.archives import is_packed
from jaxdl.data.reading.fetching import cache_folder
from jaxdl.data.reading.images import MOST_DECODED, SizesDiffer
from jaxdl.data.streaming.index import shards_in
from jaxdl.runs import tasks

RESIDENT: Final = 1 << 30  # bytes of decoded images, as many as `training.fits_in_memory` allows on a CPU
EVALUATED: Final = 1 << 26  # bytes of a batch of evaluation
MADE_FOR: Final = {  # networks -> the height and width of the images that their papers use
    "yolov3": 416,
    "darknet53": 256,
    "alexnet_2012": 227,
    **dict.fromkeys(("inception_v4", "inception_resnet_v2"), 299),
    **dict.fromkeys(("alexnet", "googlenet", "mobilenet", "plain18", "plain34", "resnet18", "resnet34"), 224),
    **dict.fromkeys(("resnet50", "resnet101", "resnet152", "densenet121", "densenet161", "densenet169"), 224),
    **dict.fromkeys(("densenet201", "vgg11", "vgg13", "vgg16", "vgg19", "vit_b16", "vit_b32", "vit_h14"), 224),
    **dict.fromkeys(("vit_l16", "vit_l32", "vit_s16", "vit_ti16"), 224),
    **dict.fromkeys(("lenet5_1998", "small_cnn", "lecture_keras", "cifar_demo", "net_3c3d"), 32),
    **dict.fromkeys((f"{kind}{depth}" for kind in ("plain", "resnet") for depth in (20, 32, 44, 56, 110)), 32),
    **dict.fromkeys(("densenet40", "densenet_bc100"), 32),
    **dict.fromkeys(("lenet5", "lecture_torch", "net_2c2d", "capsnet"), 28),
    "tiny_vit": 8,
}


class Opened(NamedTuple):
    """A data set and its parts, in memory or streamed."""

    dataset: data.Dataset
    splits: data.Splits
    stream: streaming.ImageStream | None = None  # whose images are not in memory
    targets: tuple[str, ...] = ()  # names of the targets, if there are no classes


def open_data(config: Config) -> Opened:
    """Load the data set, or open it as a stream if it is too big or was asked for.

    Raises:
        ValueError: for a data set that cannot be streamed although that, or a size of its images, was asked for.
        ImportError: if Grain is needed and not installed; the message names the extra.
    """
    largest = math.isqrt(pixels.MOST_PIXELS)
    require((config.image_size or 0) <= largest, "image_size", config.image_size, f"at most {largest:,}")
    fractions: dict[str, Any] = {"dev_fraction": config.dev_fraction, "test_fraction": config.test_fraction}
    if config.targets:
        return _with_targets(config, fractions)
    known: set[tuple[int, int]] = set()
    if not _wants_stream(config):
        try:
            dataset = runs.dataset(config.dataset, data_dir=config.data_dir, skip_unreadable=config.skip_unreadable)
        except SizesDiffer as error:
            if config.stream == "never" or not _is_random_access(config):
                raise
            known = error.sizes
        else:
            if _path(config) is not None:
                print(decoded.status(cache_folder() / "decoded"), flush=True)
            return Opened(dataset, data.split(dataset, seed=config.seed, **fractions))
    stream = streaming.open_images(
        Path(config.dataset),
        size=_size(config, known),
        skip_unreadable=config.skip_unreadable,
        workers=config.workers,
        on_progress=_Progress(),
        keep_pixels={"always": 0, "auto": RESIDENT, "never": MOST_DECODED}[config.stream],
    )
    classes = stream.index.classes
    require(len(classes) > 1, "dataset", config.dataset, f"one with at least two classes; it has {', '.join(classes)}")
    splits = streaming.split(stream, seed=config.seed, **fractions)
    too_big = sum(part.images.nbytes for part in splits) > RESIDENT
    if config.stream == "always" or (too_big and config.stream == "auto"):
        return Opened(stream.dataset(), splits, stream)
    return Opened(stream.dataset(), streaming.in_memory(stream, splits))


def _with_targets(config: Config, fractions: dict[str, Any]) -> Opened:
    folder, table = (Path(one).expanduser() for one in (config.dataset, config.targets))
    made_for, skip = MADE_FOR.get(_network(config)), config.skip_unreadable
    dataset, names = targets.load(folder, table, config.image_size, made_for=made_for, skip_unreadable=skip)
    splits = data.split(dataset, seed=config.seed, **fractions)
    if tasks.task(vars(config)) == "numbers":
        targets.warn_of_scales(names, splits.train.labels)
    return Opened(dataset, splits, targets=names)


def _wants_stream(config: Config) -> bool:
    """Return whether the data are images on disk that `data.load` would refuse, or should not keep in memory."""
    path, asked = _path(config), config.stream == "always" or config.image_size is not None
    if path is None:
        allowed = "left out: only a folder or tar archive of images has images to read"
        require(config.image_size is None, "image_size", config.image_size, allowed)
        require(config.stream != "always", "stream", config.stream, allowed)
        return False
    if asked or config.stream == "never":
        return asked
    if path.is_file() and (is_packed(path) or path.stat().st_size <= RESIDENT // 8):  # deflated less than eightfold
        return False
    return (path.is_dir() and bool(shards_in(path))) or streaming.estimate(path) > RESIDENT


def _is_random_access(config: Config) -> bool:
    path = _path(config)
    return path is not None and not (path.is_file() and is_packed(path))


def _path(config: Config) -> Path | None:
    """Return the path of the images on disk; None for a data set that is no folder or archive of images."""
    path = Path(config.dataset).expanduser()
    named = re.sub("[-_ ]", "", config.dataset.lower()) in {name.replace("_", "") for name in data.NAMES}
    return None if named or not streaming.looks_streamable(path) else path


def _size(config: Config, known: set[tuple[int, int]]) -> int | None:
    """Return the size to resize images to; None for images that have one size already.

    Args:
        config: the options.
        known: two heights and widths, if it is known that there are several.

    Raises:
        ValueError: for images of several sizes, if neither an option nor the network tells the size.
    """
    if config.image_size is not None:
        return config.image_size
    named = _network(config)
    if known and named in MADE_FOR:
        return MADE_FOR[named]
    sizes = streaming.peek(config.dataset)[1] | known
    if len(sizes) <= 1:
        return None
    some = ", ".join(f"{width} x {height}" for height, width in sorted(sizes)[:3])
    require(
        named in MADE_FOR, "image_size", None, f"given, as --image-size N: the images have several sizes ({some}, ...)"
    )
    return MADE_FOR[named]


def _network(config: Config) -> str:
    return config.model.removeprefix("jaxdl.models:").partition("(")[0]


class _Progress:
    """Prints how far the first pass over the images is, every ten seconds."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def __call__(self, seen: int, count: int) -> None:
        if time.monotonic() - self.said > 10:
            self.said = time.monotonic()
            print(f"first pass over the images: {seen:,} of {count:,}", flush=True)


# ---------------------------------------------------------------- batches


def training_loader(config: Config, opened: Opened) -> streaming.Loader | None:
    """Return the reader of the training batches of a stream, this process's part; None for a data set in memory."""
    if opened.stream is None:
        return None
    turns = len(config.optimizer) + bool(config.noise_floor)
    return streaming.Loader(
        opened.splits.train,
        config.batch_size,
        seed=config.seed,
        epochs=config.epochs,
        turns=turns,
        random_crop=config.augment[0] == "resized_crop",
        workers=config.workers,
        shard=(jax.process_index(), jax.process_count()),
    )


def augment_on_device(config: Config, loader: streaming.Loader | None) -> tuple[str, ...]:
    """Return the augmentations that are left to the device: workers cut random windows out of the files."""
    if loader is None or config.augment[0] != "resized_crop":
        return config.augment
    return config.augment[1:] or ("none",)


def eval_batches(examples: data.Examples, size: int, multiple: int) -> Iterator[data.Batch]:
    """Return the batches of an evaluation, smaller than ``size`` if the images are streamed and large.

    Args:
        examples: in memory or streamed.
        size: the largest number of examples per batch, a multiple of ``multiple``.
        multiple: the number of devices.
    """
    images: Any = examples.images
    if not isinstance(images, streaming.StreamedImages):
        return data.eval_batches(examples, size)
    most = EVALUATED // int(np.prod(images.shape[1:]))
    return streaming.eval_batches(examples, max(multiple, min(size, most // multiple * multiple)))


def place(config: Config, in_shape: tuple[int, ...]) -> str:
    """Return a phrase on how a stream is read."""
    by = f"{config.workers} processes" if config.workers else "threads"
    return f"streamed from disk at {' x '.join(map(str, in_shape[:2]))} pixels by {by}"
